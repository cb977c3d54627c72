//! The tools that install dependencies, and the names of their files.
//!
//! A tool is listed with all files that it may read, even if few projects contain all of them.

use super::{DependencyFormat, pip};

/// Environment variables of pip, uv and npm that name files.
pub(crate) const FILE_VARIABLES: [(&str, DependencyFormat); 11] = [
    ("PIP_CONSTRAINT", DependencyFormat::PipRequirements),
    ("PIP_REQUIREMENT", DependencyFormat::PipRequirements),
    ("PIP_BUILD_CONSTRAINT", DependencyFormat::PipRequirements),
    ("UV_CONSTRAINT", DependencyFormat::PipRequirements),
    ("UV_BUILD_CONSTRAINT", DependencyFormat::PipRequirements),
    ("UV_OVERRIDE", DependencyFormat::PipRequirements),
    ("UV_EXCLUDE", DependencyFormat::PipRequirements),
    ("PIP_CONFIG_FILE", DependencyFormat::Verbatim),
    ("UV_CONFIG_FILE", DependencyFormat::Verbatim),
    ("NPM_CONFIG_USERCONFIG", DependencyFormat::Verbatim),
    ("BUNDLE_GEMFILE", DependencyFormat::Verbatim),
];

/// A tool whose files have fixed names in one directory.
pub(super) struct Tool {
    pub(super) programs: &'static [&'static str],
    /// The subcommands that install dependencies; if empty, the tool always installs them.
    pub(super) subcommands: &'static [&'static str],
    pub(super) files: &'static [&'static str],
    pub(super) directory_options: &'static [&'static str],
    pub(super) file_options: &'static [&'static str],
}

const TOOL: Tool =
    Tool { programs: &[], subcommands: &[], files: &[], directory_options: &[], file_options: &[] };

pub(super) const TOOLS: &[Tool] = &[
    Tool {
        programs: &["uv"],
        subcommands: &["sync", "lock", "export", "run", "add", "remove", "build", "tree"],
        files: &["pyproject.toml", "uv.lock", "uv.toml", ".python-version"],
        directory_options: &["--directory", "--project"],
        file_options: &["--with-requirements", "--requirements", "-r", "--constraints", "-c", "--script"],
    },
    Tool {
        programs: &["poetry"],
        subcommands: &["install", "sync", "export", "lock", "update", "add", "build", "run"],
        files: &["pyproject.toml", "poetry.lock", "poetry.toml"],
        directory_options: &["-C", "--directory", "-P", "--project"],
        ..TOOL
    },
    Tool {
        programs: &["pdm"],
        subcommands: &["install", "sync", "export", "lock", "update", "add", "build", "run"],
        files: &["pyproject.toml", "pdm.lock", "pdm.toml"],
        directory_options: &["-p", "--project"],
        file_options: &["-L", "--lockfile"],
    },
    Tool {
        programs: &["pipenv"],
        subcommands: &["install", "sync", "lock", "requirements", "update", "run"],
        files: &["Pipfile", "Pipfile.lock"],
        file_options: &["-r", "--requirements"],
        ..TOOL
    },
    Tool {
        programs: &["hatch", "flit", "rye"],
        files: &["pyproject.toml", "requirements.lock", "requirements-dev.lock", "hatch.toml"],
        ..TOOL
    },
    Tool {
        programs: &["conda", "mamba", "micromamba", "conda-lock", "pixi"],
        subcommands: &["env", "create", "install", "update"],
        files: &["environment.yml", "environment.yaml", "conda-lock.yml", "pixi.toml", "pixi.lock"],
        file_options: &["-f", "--file"],
        ..TOOL
    },
    Tool {
        programs: &["npm"],
        subcommands: &["ci", "i", "install", "install-clean", "clean-install", "add", "update", "rebuild"],
        files: &["package.json", "package-lock.json", "npm-shrinkwrap.json", ".npmrc"],
        directory_options: &["--prefix", "-C"],
        ..TOOL
    },
    Tool {
        programs: &["yarn"],
        files: &["package.json", "yarn.lock", ".yarnrc", ".yarnrc.yml", ".npmrc"],
        directory_options: &["--cwd"],
        ..TOOL
    },
    Tool {
        programs: &["pnpm"],
        subcommands: &["i", "install", "fetch", "add", "update", "deploy"],
        files: &["package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml", ".npmrc", ".pnpmfile.cjs"],
        directory_options: &["-C", "--dir", "--prefix"],
        ..TOOL
    },
    Tool {
        programs: &["bun"],
        subcommands: &["i", "install", "add", "update"],
        files: &["package.json", "bun.lock", "bun.lockb", "bunfig.toml"],
        directory_options: &["--cwd"],
        ..TOOL
    },
    Tool {
        programs: &["go"],
        subcommands: &["mod", "get", "install", "build", "generate", "test", "work"],
        files: &["go.mod", "go.sum", "go.work", "go.work.sum"],
        directory_options: &["-C"],
        file_options: &["-modfile"],
    },
    Tool {
        programs: &["cargo"],
        subcommands: &["build", "b", "fetch", "install", "chef", "vendor", "check", "test", "run"],
        files: &["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain"],
        directory_options: &["-C"],
        file_options: &["--manifest-path", "--recipe-path"],
    },
    Tool {
        programs: &["bundle", "bundler"],
        files: &["Gemfile", "Gemfile.lock", ".bundle/config"],
        file_options: &["--gemfile"],
        ..TOOL
    },
    Tool {
        programs: &["composer"],
        subcommands: &["install", "i", "update", "require"],
        files: &["composer.json", "composer.lock", "auth.json"],
        directory_options: &["-d", "--working-dir"],
        ..TOOL
    },
    Tool {
        programs: &["mix"],
        subcommands: &["deps.get", "deps.compile"],
        files: &["mix.exs", "mix.lock"],
        ..TOOL
    },
    Tool {
        programs: &["mvn", "mvnw"],
        files: &["pom.xml", ".mvn/maven.config"],
        file_options: &["-f", "--file", "-s", "--settings"],
        ..TOOL
    },
    Tool {
        programs: &["gradle", "gradlew"],
        files: &[
            "build.gradle",
            "build.gradle.kts",
            "settings.gradle",
            "settings.gradle.kts",
            "gradle.properties",
            "gradle.lockfile",
            "gradle/libs.versions.toml",
        ],
        directory_options: &["-p", "--project-dir"],
        file_options: &["-b", "--build-file"],
        ..TOOL
    },
];

/// Tools that install packages named on their command line, and read no dependency files. The second element lists the
/// subcommands that install packages; if it is empty, the tool always installs them.
pub(super) const PACKAGE_INSTALLERS: &[(&str, &[&str])] = &[
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

pub(crate) fn is_requirements_name(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let Some((stem, extension)) = lower.rsplit_once('.') else { return false };
    matches!(extension, "txt" | "in" | "pip")
        && ["req", "constraint", "deps", "dependenc", "packages"].iter().any(|part| stem.contains(part))
}

pub(super) fn is_manifest_name(name: &str) -> bool {
    let known = || TOOLS.iter().flat_map(|tool| tool.files).chain(&pip::PROJECT_FILES);
    known().any(|file| *file == name)
        || name.rsplit_once('.').is_some_and(|(_, extension)| extension == "lock")
}

/// Returns `true` for the name of a lock file in the standard format (PEP 751): `pylock.toml`, `pylock.dev.toml`.
pub(super) fn is_pylock(name: &str) -> bool {
    name.starts_with("pylock.") && matches!(name.rsplit_once('.'), Some((_, "toml")))
}
