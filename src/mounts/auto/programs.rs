//! The programs whose RUNs get cache mounts: where each has its cache, and what changes that.

use super::super::kinds::Kind;

pub(super) struct Program {
    pub(super) kind: Kind,
    pub(super) names: &'static [&'static str],
    /// The words that make it fill its cache, each list from the first argument that is not an option.
    pub(super) actions: &'static [&'static [&'static str]],
    /// Actions that get no mount, and why.
    pub(super) unsafe_actions: &'static [(&'static [&'static str], &'static str)],
    pub(super) place: Place,
    /// The directories below `place` that contain only what can be fetched again.
    pub(super) parts: &'static [&'static str],
    /// Variables and options that set a different directory. Variables of npm are case-insensitive.
    pub(super) place_variables: &'static [&'static str],
    pub(super) place_options: &'static [&'static str],
    /// Options and variables that disable the cache.
    pub(super) off: &'static [&'static str],
    pub(super) off_variables: &'static [&'static str],
    /// Options and variables that restrict it to the content of the cache.
    pub(super) offline: &'static [&'static str],
    pub(super) offline_variables: &'static [&'static str],
    /// Options and variables whose value `symlink` makes installed files links into the cache.
    pub(super) link_settings: &'static [&'static str],
    /// Its configuration files, variables that name one, and words of settings that affect the cache.
    pub(super) config_files: &'static [&'static str],
    pub(super) config_variables: &'static [&'static str],
    pub(super) config_words: &'static [&'static str],
    /// `true` if its builds depend on the libraries of the image, so that images with different bases must not share a
    /// cache.
    pub(super) builds: bool,
}

/// The cache directory of a program that runs as root.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// Below `XDG_CACHE_HOME`, else below this directory of `HOME`, under this name.
    Cache(&'static str, &'static str),
    /// Below `HOME`.
    Home(&'static str),
    /// Below `XDG_CACHE_HOME` under this name, else this path, whatever `HOME` is.
    CacheOr(&'static str, &'static str),
    /// This path.
    Fixed(&'static str),
}

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

const LINKS: &str = "what it installs is linked to its store";
const ENVIRONMENTS: &str = "it keeps environments in its cache";

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
        // The other directory has the packages of npx.
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
        // Neither the package lists, which later steps may need, nor the state, which is part of the image.
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

    /// Returns `true` if a word of a command is the program: `pip`, `/opt/venv/bin/pip3.12`.
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

/// Returns `true` if these arguments start with the action, apart from options and their values.
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
