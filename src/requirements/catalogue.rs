//! The tools that install dependencies, and the names of their files.
//!
//! A tool is listed with all files that it may read, even if few projects contain all of them.

use super::{Format, pip};

/// Environment variables of pip, uv and npm that name files.
pub(crate) const FILE_VARIABLES: [(&str, Format); 11] = [
    ("PIP_CONSTRAINT", Format::PipRequirements),
    ("PIP_REQUIREMENT", Format::PipRequirements),
    ("PIP_BUILD_CONSTRAINT", Format::PipRequirements),
    ("UV_CONSTRAINT", Format::PipRequirements),
    ("UV_BUILD_CONSTRAINT", Format::PipRequirements),
    ("UV_OVERRIDE", Format::PipRequirements),
    ("UV_EXCLUDE", Format::PipRequirements),
    ("PIP_CONFIG_FILE", Format::Verbatim),
    ("UV_CONFIG_FILE", Format::Verbatim),
    ("NPM_CONFIG_USERCONFIG", Format::Verbatim),
    ("BUNDLE_GEMFILE", Format::Verbatim),
];

/// A tool whose files have fixed names in one directory.
pub(super) struct Tool {
    pub(super) programs: &'static [&'static str],
    /// The subcommands that install dependencies; if empty, the tool always installs them.
    pub(super) verbs: &'static [&'static str],
    pub(super) files: &'static [&'static str],
    /// Options that name the directory.
    pub(super) directory: &'static [&'static str],
    /// Options that name a file.
    pub(super) file: &'static [&'static str],
}

const NODE: &[&str] = &["package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"];

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        programs: &["uv"],
        verbs: &["sync", "lock", "export", "run", "add", "remove", "build", "tree"],
        files: &["pyproject.toml", "uv.lock", "uv.toml", ".python-version"],
        directory: &["--directory", "--project"],
        file: &["--with-requirements", "--requirements", "-r", "--constraints", "-c", "--script"],
    },
    Tool {
        programs: &["poetry"],
        verbs: &["install", "sync", "export", "lock", "update", "add", "build", "run"],
        files: &["pyproject.toml", "poetry.lock", "poetry.toml"],
        directory: &["-C", "--directory", "-P", "--project"],
        file: &[],
    },
    Tool {
        programs: &["pdm"],
        verbs: &["install", "sync", "export", "lock", "update", "add", "build", "run"],
        files: &["pyproject.toml", "pdm.lock", "pdm.toml"],
        directory: &["-p", "--project"],
        file: &["-L", "--lockfile"],
    },
    Tool {
        programs: &["pipenv"],
        verbs: &["install", "sync", "lock", "requirements", "update", "run"],
        files: &["Pipfile", "Pipfile.lock"],
        directory: &[],
        file: &["-r", "--requirements"],
    },
    Tool {
        programs: &["hatch", "flit", "rye"],
        verbs: &[],
        files: &["pyproject.toml", "requirements.lock", "requirements-dev.lock", "hatch.toml"],
        directory: &[],
        file: &[],
    },
    Tool {
        programs: &["conda", "mamba", "micromamba", "conda-lock", "pixi"],
        verbs: &["env", "create", "install", "update"],
        files: &["environment.yml", "environment.yaml", "conda-lock.yml", "pixi.toml", "pixi.lock"],
        directory: &[],
        file: &["-f", "--file"],
    },
    Tool {
        programs: &["npm"],
        verbs: &["ci", "i", "install", "install-clean", "clean-install", "add", "update", "rebuild"],
        files: NODE,
        directory: &["--prefix", "-C"],
        file: &[],
    },
    Tool {
        programs: &["yarn"],
        verbs: &[],
        files: &["package.json", "yarn.lock", ".yarnrc", ".yarnrc.yml", ".npmrc"],
        directory: &["--cwd"],
        file: &[],
    },
    Tool {
        programs: &["pnpm"],
        verbs: &["i", "install", "fetch", "add", "update", "deploy"],
        files: &["package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml", ".npmrc", ".pnpmfile.cjs"],
        directory: &["-C", "--dir", "--prefix"],
        file: &[],
    },
    Tool {
        programs: &["bun"],
        verbs: &["i", "install", "add", "update"],
        files: &["package.json", "bun.lock", "bun.lockb", "bunfig.toml"],
        directory: &["--cwd"],
        file: &[],
    },
    Tool {
        programs: &["go"],
        verbs: &["mod", "get", "install", "build", "generate", "test", "work"],
        files: &["go.mod", "go.sum", "go.work", "go.work.sum"],
        directory: &["-C"],
        file: &["-modfile"],
    },
    Tool {
        programs: &["cargo"],
        verbs: &["build", "b", "fetch", "install", "chef", "vendor", "check", "test", "run"],
        files: &["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain"],
        directory: &["-C"],
        file: &["--manifest-path", "--recipe-path"],
    },
    Tool {
        programs: &["bundle", "bundler"],
        verbs: &[],
        files: &["Gemfile", "Gemfile.lock", ".bundle/config"],
        directory: &[],
        file: &["--gemfile"],
    },
    Tool {
        programs: &["composer"],
        verbs: &["install", "i", "update", "require"],
        files: &["composer.json", "composer.lock", "auth.json"],
        directory: &["-d", "--working-dir"],
        file: &[],
    },
    Tool {
        programs: &["mix"],
        verbs: &["deps.get", "deps.compile"],
        files: &["mix.exs", "mix.lock"],
        directory: &[],
        file: &[],
    },
    Tool {
        programs: &["mvn", "mvnw"],
        verbs: &[],
        files: &["pom.xml", ".mvn/maven.config"],
        directory: &[],
        file: &["-f", "--file", "-s", "--settings"],
    },
    Tool {
        programs: &["gradle", "gradlew"],
        verbs: &[],
        files: &[
            "build.gradle",
            "build.gradle.kts",
            "settings.gradle",
            "settings.gradle.kts",
            "gradle.properties",
            "gradle.lockfile",
            "gradle/libs.versions.toml",
        ],
        directory: &["-p", "--project-dir"],
        file: &["-b", "--build-file"],
    },
];

/// Tools that install packages named on their command line, and read no dependency files. The second element lists the
/// subcommands that install packages; if it is empty, the tool always installs them.
pub(super) const INSTALLERS: &[(&str, &[&str])] = &[
    ("apt-get", &["install", "build-dep", "upgrade", "dist-upgrade"]),
    ("apt", &["install", "build-dep", "upgrade", "full-upgrade"]),
    ("aptitude", &["install", "upgrade"]),
    ("apk", &["add", "upgrade"]),
    ("yum", &["install", "localinstall", "groupinstall", "update", "upgrade"]),
    ("dnf", &["install", "groupinstall", "builddep", "update", "upgrade"]),
    ("microdnf", &["install", "update", "upgrade"]),
    ("zypper", &["install", "in", "update", "up"]),
    ("pacman", &["-S", "-Sy", "-Syu", "-Syyu"]),
    ("pipx", &["install", "inject"]),
    ("uvx", &[]),
    ("gem", &["install"]),
    ("dotnet", &["restore", "build", "publish"]),
    ("easy_install", &[]),
];

/// Returns `true` if a file's name indicates pip requirements.
pub(crate) fn is_requirements_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let Some((stem, extension)) = lower.rsplit_once('.') else { return false };
    matches!(extension, "txt" | "in" | "pip")
        && ["req", "constraint", "deps", "dependenc", "packages"].iter().any(|part| stem.contains(part))
}

/// Returns `true` if a file's name indicates a list of dependencies.
pub(super) fn is_manifest_name(name: &str) -> bool {
    let known = || TOOLS.iter().flat_map(|tool| tool.files).chain(&pip::PROJECT_FILES);
    known().any(|file| *file == name)
        || name.rsplit_once('.').is_some_and(|(_, extension)| extension == "lock")
}

/// Returns `true` for the name of a lock file in the standard format (PEP 751): `pylock.toml`, `pylock.dev.toml`.
pub(super) fn is_pylock(name: &str) -> bool {
    name.starts_with("pylock.") && matches!(name.rsplit_once('.'), Some((_, "toml")))
}
