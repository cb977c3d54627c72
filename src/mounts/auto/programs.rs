//! The programs for which cache mounts are added: the location of their caches, and the settings that change it.

use super::super::kinds::CacheKind;

pub(super) struct Program {
    pub(super) kind: CacheKind,
    pub(super) names: &'static [&'static str],
    /// The subcommands that fill the cache: the words that follow the leading options.
    pub(super) actions: &'static [&'static [&'static str]],
    /// Subcommands for which no mount is added, with the reasons.
    pub(super) unsafe_actions: &'static [(&'static [&'static str], &'static str)],
    pub(super) location: CacheLocation,
    /// The directories below `place` that contain only files that can be downloaded again.
    pub(super) subdirectories: &'static [&'static str],
    /// Variables and options that set a different cache directory. Variables of npm are case-insensitive.
    pub(super) location_variables: &'static [&'static str],
    pub(super) location_options: &'static [&'static str],
    /// Options and variables that disable the cache.
    pub(super) disabling_options: &'static [&'static str],
    pub(super) disabling_variables: &'static [&'static str],
    /// Options and variables that restrict the program to the files in its cache.
    pub(super) offline_options: &'static [&'static str],
    pub(super) offline_variables: &'static [&'static str],
    /// Options and variables whose value `symlink` makes installed files links into the cache.
    pub(super) link_settings: &'static [&'static str],
    /// Configuration files, variables that refer to one, and words of settings that affect the cache.
    pub(super) config_files: &'static [&'static str],
    pub(super) config_variables: &'static [&'static str],
    pub(super) config_words: &'static [&'static str],
    /// `true` if the cache contains builds that depend on the libraries of the image, so that images with different
    /// bases must not share it.
    pub(super) has_builds: bool,
}

/// The cache directory of a program that runs as root.
#[derive(Clone, Copy)]
pub(super) enum CacheLocation {
    /// The directory with the second name below `XDG_CACHE_HOME`, or else below the first directory of `HOME`.
    Cache(&'static str, &'static str),
    Home(&'static str),
    /// The directory with this name below `XDG_CACHE_HOME`, or else this path, independent of `HOME`.
    CacheOr(&'static str, &'static str),
    Fixed(&'static str),
}

const DEFAULTS: Program = Program {
    kind: CacheKind::Other,
    names: &[],
    actions: &[],
    unsafe_actions: &[],
    location: CacheLocation::Fixed(""),
    subdirectories: &[""],
    location_variables: &[],
    location_options: &[],
    disabling_options: &[],
    disabling_variables: &[],
    offline_options: &["--offline"],
    offline_variables: &[],
    link_settings: &[],
    config_files: &[],
    config_variables: &[],
    config_words: &["cache", "offline"],
    has_builds: false,
};

const LINKS: &str = "installed files are links to its store";
const ENVIRONMENTS: &str = "it stores environments in its cache";

pub(super) const PROGRAMS: [Program; 8] = [
    Program {
        kind: CacheKind::Pip,
        names: &["pip", "pip3"],
        actions: &[&["install"], &["download"], &["wheel"]],
        location: CacheLocation::Cache(".cache", "pip"),
        location_variables: &["PIP_CACHE_DIR"],
        location_options: &["--cache-dir"],
        disabling_options: &["--no-cache-dir", "--no-cache"],
        disabling_variables: &["PIP_NO_CACHE_DIR"],
        offline_options: &["--no-index"],
        offline_variables: &["PIP_NO_INDEX"],
        config_files: &["pip.conf", "pip.ini"],
        config_variables: &["PIP_CONFIG_FILE"],
        config_words: &["cache", "no-index"],
        has_builds: true,
        ..DEFAULTS
    },
    Program {
        kind: CacheKind::Uv,
        names: &["uv", "uvx"],
        actions: &[&["pip", "install"], &["pip", "sync"], &["sync"], &["add"], &["tool", "install"]],
        unsafe_actions: &[(&["run"], ENVIRONMENTS), (&["tool", "run"], ENVIRONMENTS)],
        location: CacheLocation::Cache(".cache", "uv"),
        location_variables: &["UV_CACHE_DIR"],
        location_options: &["--cache-dir"],
        disabling_options: &["--no-cache", "--no-cache-dir", "-n"],
        disabling_variables: &["UV_NO_CACHE"],
        offline_variables: &["UV_OFFLINE"],
        link_settings: &["UV_LINK_MODE", "--link-mode"],
        config_files: &["uv.toml", "pyproject.toml"],
        config_variables: &["UV_CONFIG_FILE"],
        config_words: &["cache-dir", "no-cache", "link-mode", "offline"],
        has_builds: true,
        ..DEFAULTS
    },
    Program {
        kind: CacheKind::Poetry,
        names: &["poetry"],
        actions: &[&["install"], &["sync"], &["update"], &["add"]],
        location: CacheLocation::Cache(".cache", "pypoetry"),
        // The other directories are virtual environments.
        subdirectories: &["cache", "artifacts"],
        location_variables: &["POETRY_CACHE_DIR"],
        disabling_options: &["--no-cache"],
        config_files: &["poetry.toml"],
        config_words: &["cache"],
        has_builds: true,
        ..DEFAULTS
    },
    Program {
        kind: CacheKind::Pdm,
        names: &["pdm"],
        actions: &[&["install"], &["sync"], &["update"], &["add"]],
        location: CacheLocation::Cache(".cache", "pdm"),
        location_variables: &["PDM_CACHE_DIR"],
        disabling_variables: &["PDM_NO_CACHE"],
        config_files: &["pdm.toml"],
        config_variables: &["PDM_CONFIG_FILE", "PDM_INSTALL_CACHE", "PDM_CACHE_METHOD"],
        config_words: &["cache", "offline"],
        has_builds: true,
        ..DEFAULTS
    },
    Program {
        kind: CacheKind::Npm,
        names: &["npm"],
        actions: &[&["ci"], &["install"], &["i"]],
        location: CacheLocation::Home(".npm"),
        // The other directory contains the packages of npx.
        subdirectories: &["_cacache"],
        location_variables: &["npm_config_cache"],
        location_options: &["--cache"],
        offline_options: &["--offline", "--prefer-offline"],
        offline_variables: &["npm_config_offline", "npm_config_prefer_offline"],
        config_files: &["npmrc"],
        config_variables: &["npm_config_userconfig", "npm_config_globalconfig"],
        ..DEFAULTS
    },
    Program {
        kind: CacheKind::Yarn,
        names: &["yarn"],
        actions: &[&["install"], &[]],
        location: CacheLocation::CacheOr("yarn", "/usr/local/share/.cache/yarn"),
        location_variables: &["YARN_CACHE_FOLDER"],
        location_options: &["--cache-folder"],
        config_files: &[".yarnrc", ".yarnrc.yml"],
        config_words: &["cache", "offline", "pnp", "yarn-path", "yarnPath", "nodeLinker"],
        offline_variables: &["YARN_YARN_OFFLINE_MIRROR"],
        ..DEFAULTS
    },
    Program {
        kind: CacheKind::Pnpm,
        names: &["pnpm"],
        unsafe_actions: &[(&["install"], LINKS), (&["i"], LINKS), (&["add"], LINKS), (&["fetch"], LINKS)],
        ..DEFAULTS
    },
    Program {
        kind: CacheKind::Apt,
        names: &["apt-get", "apt"],
        actions: &[&["install"], &["upgrade"], &["dist-upgrade"], &["full-upgrade"], &["build-dep"]],
        // The package lists and the state are not mounted: later steps may need the lists, and the state is part of the
        // image.
        location: CacheLocation::Fixed("/var/cache/apt/archives"),
        offline_options: &["--no-download", "--download-only", "-d"],
        config_files: &["apt.conf"],
        config_variables: &["APT_CONFIG"],
        config_words: &["dir::cache", "archives", "dir {"],
        ..DEFAULTS
    },
];

impl Program {
    pub(super) fn of(kind: CacheKind) -> Option<&'static Self> {
        PROGRAMS.iter().find(|program| program.kind == kind)
    }

    /// Returns `true` if a word of a command is the program, for example `pip` or `/opt/venv/bin/pip3.12`.
    pub(super) fn is_named(&self, word: &str) -> bool {
        let name = word.rsplit('/').next().unwrap_or(word);
        let is_version = |rest: &str| rest.chars().all(|char| char.is_ascii_digit() || char == '.');
        self.names.iter().any(|known| {
            name == *known
                || (self.kind == CacheKind::Pip && name.strip_prefix(known).is_some_and(is_version))
        })
    }

    /// Returns `true` if `name` is this variable; names are case-insensitive for npm.
    pub(super) fn is_variable(&self, known: &str, name: &str) -> bool {
        known == name || (self.kind == CacheKind::Npm && known.eq_ignore_ascii_case(name))
    }
}

/// Returns `true` if the arguments start with the action. Options and their values are skipped.
pub(super) fn starts_with_action(arguments: &[String], action: &[&str]) -> bool {
    if arguments.iter().any(|word| matches!(word.as_str(), "--help" | "-h" | "--version")) {
        return false;
    }
    let mut is_value = false;
    for (index, word) in arguments.iter().enumerate() {
        if word.starts_with('-') {
            is_value = !word.contains('=');
            continue;
        }
        if !action.is_empty()
            && arguments[index..].iter().zip(action).filter(|(a, b)| a == b).count() == action.len()
        {
            return true;
        }
        if !is_value {
            return false;
        }
        is_value = false;
    }
    action.is_empty()
}
