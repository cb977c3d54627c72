//! The programs for which cache mounts are added: the location of their caches, and the settings that change it.

use super::super::kinds::Kind;

/// A program with a cache.
pub(super) struct Program {
    pub(super) kind: Kind,
    pub(super) names: &'static [&'static str],
    /// The subcommands that fill the cache: the words that follow the leading options.
    pub(super) actions: &'static [&'static [&'static str]],
    /// Subcommands for which no mount is added, with the reasons.
    pub(super) unsafe_actions: &'static [(&'static [&'static str], &'static str)],
    pub(super) place: Place,
    /// The directories below `place` that contain only files that can be downloaded again.
    pub(super) parts: &'static [&'static str],
    /// Variables and options that set a different cache directory. Variables of npm are case-insensitive.
    pub(super) place_variables: &'static [&'static str],
    pub(super) place_options: &'static [&'static str],
    /// Options and variables that disable the cache.
    pub(super) off: &'static [&'static str],
    pub(super) off_variables: &'static [&'static str],
    /// Options and variables that restrict the program to the files in its cache.
    pub(super) offline: &'static [&'static str],
    pub(super) offline_variables: &'static [&'static str],
    /// Options and variables whose value `symlink` makes installed files links into the cache.
    pub(super) link_settings: &'static [&'static str],
    /// Configuration files, variables that refer to one, and words of settings that affect the cache.
    pub(super) config_files: &'static [&'static str],
    pub(super) config_variables: &'static [&'static str],
    pub(super) config_words: &'static [&'static str],
    /// `true` if the cache contains builds that depend on the libraries of the image, so that images with different
    /// bases must not share it.
    pub(super) builds: bool,
}

/// The cache directory of a program that runs as root.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// The directory with the second name below `XDG_CACHE_HOME`, or else below the first directory of `HOME`.
    Cache(&'static str, &'static str),
    /// This directory below `HOME`.
    Home(&'static str),
    /// The directory with this name below `XDG_CACHE_HOME`, or else this path, independent of `HOME`.
    CacheOr(&'static str, &'static str),
    /// A fixed path.
    Fixed(&'static str),
}

/// The values that most programs have in common.
const NONE: Program = Program {
    kind: Kind::Plain,
    names: &[],
    actions: &[],
    unsafe_actions: &[],
    place: Place::Fixed(""),
    parts: &[""],
    place_variables: &[],
    place_options: &[],
    off: &[],
    off_variables: &[],
    offline: &["--offline"],
    offline_variables: &[],
    link_settings: &[],
    config_files: &[],
    config_variables: &[],
    config_words: &["cache", "offline"],
    builds: false,
};

const LINKS: &str = "installed files are links to its store";
const ENVIRONMENTS: &str = "it stores environments in its cache";

pub(super) const PROGRAMS: [Program; 8] = [
    Program {
        kind: Kind::Pip,
        names: &["pip", "pip3"],
        actions: &[&["install"], &["download"], &["wheel"]],
        place: Place::Cache(".cache", "pip"),
        place_variables: &["PIP_CACHE_DIR"],
        place_options: &["--cache-dir"],
        off: &["--no-cache-dir", "--no-cache"],
        off_variables: &["PIP_NO_CACHE_DIR"],
        offline: &["--no-index"],
        offline_variables: &["PIP_NO_INDEX"],
        config_files: &["pip.conf", "pip.ini"],
        config_variables: &["PIP_CONFIG_FILE"],
        config_words: &["cache", "no-index"],
        builds: true,
        ..NONE
    },
    Program {
        kind: Kind::Uv,
        names: &["uv", "uvx"],
        actions: &[&["pip", "install"], &["pip", "sync"], &["sync"], &["add"], &["tool", "install"]],
        unsafe_actions: &[(&["run"], ENVIRONMENTS), (&["tool", "run"], ENVIRONMENTS)],
        place: Place::Cache(".cache", "uv"),
        place_variables: &["UV_CACHE_DIR"],
        place_options: &["--cache-dir"],
        off: &["--no-cache", "--no-cache-dir", "-n"],
        off_variables: &["UV_NO_CACHE"],
        offline_variables: &["UV_OFFLINE"],
        link_settings: &["UV_LINK_MODE", "--link-mode"],
        config_files: &["uv.toml", "pyproject.toml"],
        config_variables: &["UV_CONFIG_FILE"],
        config_words: &["cache-dir", "no-cache", "link-mode", "offline"],
        builds: true,
        ..NONE
    },
    Program {
        kind: Kind::Poetry,
        names: &["poetry"],
        actions: &[&["install"], &["sync"], &["update"], &["add"]],
        place: Place::Cache(".cache", "pypoetry"),
        // The other directories are virtual environments.
        parts: &["cache", "artifacts"],
        place_variables: &["POETRY_CACHE_DIR"],
        off: &["--no-cache"],
        config_files: &["poetry.toml"],
        config_words: &["cache"],
        builds: true,
        ..NONE
    },
    Program {
        kind: Kind::Pdm,
        names: &["pdm"],
        actions: &[&["install"], &["sync"], &["update"], &["add"]],
        place: Place::Cache(".cache", "pdm"),
        place_variables: &["PDM_CACHE_DIR"],
        off_variables: &["PDM_NO_CACHE"],
        config_files: &["pdm.toml"],
        config_variables: &["PDM_CONFIG_FILE", "PDM_INSTALL_CACHE", "PDM_CACHE_METHOD"],
        config_words: &["cache", "offline"],
        builds: true,
        ..NONE
    },
    Program {
        kind: Kind::Npm,
        names: &["npm"],
        actions: &[&["ci"], &["install"], &["i"]],
        place: Place::Home(".npm"),
        // The other directory contains the packages of npx.
        parts: &["_cacache"],
        place_variables: &["npm_config_cache"],
        place_options: &["--cache"],
        offline: &["--offline", "--prefer-offline"],
        offline_variables: &["npm_config_offline", "npm_config_prefer_offline"],
        config_files: &["npmrc"],
        config_variables: &["npm_config_userconfig", "npm_config_globalconfig"],
        ..NONE
    },
    Program {
        kind: Kind::Yarn,
        names: &["yarn"],
        actions: &[&["install"], &[]],
        place: Place::CacheOr("yarn", "/usr/local/share/.cache/yarn"),
        place_variables: &["YARN_CACHE_FOLDER"],
        place_options: &["--cache-folder"],
        config_files: &[".yarnrc", ".yarnrc.yml"],
        config_words: &["cache", "offline", "pnp", "yarn-path", "yarnPath", "nodeLinker"],
        offline_variables: &["YARN_YARN_OFFLINE_MIRROR"],
        ..NONE
    },
    Program {
        kind: Kind::Pnpm,
        names: &["pnpm"],
        unsafe_actions: &[(&["install"], LINKS), (&["i"], LINKS), (&["add"], LINKS), (&["fetch"], LINKS)],
        ..NONE
    },
    Program {
        kind: Kind::Apt,
        names: &["apt-get", "apt"],
        actions: &[&["install"], &["upgrade"], &["dist-upgrade"], &["full-upgrade"], &["build-dep"]],
        // The package lists and the state are not mounted: later steps may need the lists, and the state is part of the
        // image.
        place: Place::Fixed("/var/cache/apt/archives"),
        offline: &["--no-download", "--download-only", "-d"],
        config_files: &["apt.conf"],
        config_variables: &["APT_CONFIG"],
        config_words: &["dir::cache", "archives", "dir {"],
        ..NONE
    },
];

impl Program {
    pub(super) fn of(kind: Kind) -> Option<&'static Self> {
        PROGRAMS.iter().find(|program| program.kind == kind)
    }

    /// Returns `true` if a word of a command is the program, for example `pip` or `/opt/venv/bin/pip3.12`.
    pub(super) fn is_named(&self, word: &str) -> bool {
        let name = word.rsplit('/').next().unwrap_or(word);
        let is_version = |rest: &str| rest.chars().all(|char| char.is_ascii_digit() || char == '.');
        self.names.iter().any(|known| {
            name == *known || (self.kind == Kind::Pip && name.strip_prefix(known).is_some_and(is_version))
        })
    }

    /// Returns `true` if `name` is this variable; names are case-insensitive for npm.
    pub(super) fn is_variable(&self, known: &str, name: &str) -> bool {
        known == name || (self.kind == Kind::Npm && known.eq_ignore_ascii_case(name))
    }
}

/// Returns `true` if the arguments start with the action. Options and their values are skipped.
pub(super) fn acts(arguments: &[String], action: &[&str]) -> bool {
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
