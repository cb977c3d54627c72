//! From what was typed to what is meant: flags, environment and `larder.yaml`, resolved once.
//!
//! Flags come before the environment, that before the file, that before the
//! defaults. Nothing below this room reads any of them. Every variable is
//! named in [`env_vars`].

mod additional_context;
mod build;
mod checkout;
mod ci;
mod ci_systems;
mod config_file;
mod container;
mod dir;
mod docker_config;
pub(crate) mod duration;
mod engine;
pub(crate) mod env_vars;
mod fields;
mod home;
mod lanes;
mod mounts;
mod named_image;
mod output;
mod places;
mod precedence;
mod run_of_image;
mod size;
mod source;
mod step_options;
mod store;
mod tiers;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(crate) use container::RunSettings;
pub(crate) use tiers::{base_repository, parse_repository};

pub(crate) use crate::plan::{
    BuildSettings, ContextSource, Destination, DirRestoreSettings, DirSaveSettings, DirSettings,
    DockerfileSource, JobSettings, MountSettings, NamedContext, Output, OutputKind, ProgressMode,
    SourceSettings, TierSettings,
};

use self::docker_config::DockerConfig;
use self::precedence::Behind;
use crate::cli::GlobalArgs;
use crate::endpoint::{DockerContextError, EndpointError};
use crate::key::Seal;
use crate::registry::Login;
use crate::registry::ecr::EcrLogin;

/// Where Docker, and containers/image, look for the certificates of registries.
const CERTIFICATES: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

/// The environment, captured once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    values: BTreeMap<String, String>,
    /// The values that are not UTF-8, byte for byte.
    bytes: BTreeMap<String, Vec<u8>>,
}

impl Environment {
    /// Captures this process's environment; values that are not UTF-8 are taken as far as they are. Without HOME the user's
    /// home is looked up.
    pub(crate) fn of_process() -> Self {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        let mut environment = Self::default();
        for (name, value) in std::env::vars_os() {
            let name = text(name);
            if value.to_str().is_none() {
                environment.bytes.insert(name.clone(), value.as_bytes().to_vec());
            }
            environment.values.insert(name, text(value));
        }
        if environment.get(env_vars::HOME).is_none() {
            environment.values.insert(env_vars::HOME.to_owned(), text(home::of_user().into()));
        }
        environment
    }

    /// The value of `name`; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    /// The value of `name`, empty or not.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The value of `name`, byte for byte.
    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.bytes.get(name).map(Vec::as_slice).or_else(|| self.raw(name).map(str::as_bytes))
    }

    /// The value of `name`, which is to be handed on as text.
    ///
    /// # Errors
    ///
    /// Fails when it is not UTF-8.
    fn text(&self, name: &str) -> Result<Option<&str>, String> {
        if self.bytes.contains_key(name) {
            return Err(format!("the value of {name} in the environment is not UTF-8"));
        }
        Ok(self.raw(name))
    }

    /// The names of all variables.
    fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// The variables that begin like this and are empty.
    pub(crate) fn empty(&self, start: &str) -> Vec<&str> {
        let empty = self.values.iter().filter(|(name, value)| name.starts_with(start) && value.is_empty());
        empty.map(|(name, _)| name.as_str()).collect()
    }

    /// Whether `name`, a variable of another program, is switched on: set, and not to one of the words for no.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| switch(value) != Some(false))
    }

    /// Whether `variable` switches something on or off; `None` where it is not set.
    ///
    /// # Errors
    ///
    /// Fails on other words, which could mean either.
    pub(crate) fn switch(&self, variable: &'static str) -> Result<Option<bool>, SettingsError> {
        let read = |value| {
            switch(value).ok_or_else(|| {
                let reason = format!("`{value}` is neither true nor false");
                SettingsError::Variable { variable, reason }
            })
        };
        self.get(variable).map(read).transpose()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        Self { values: variables.into_iter().collect(), bytes: BTreeMap::new() }
    }
}

/// The words for yes and no that people write into variables.
fn switch(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// A flag, a variable or the configuration file says something that cannot be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// A flag's value is malformed.
    #[error("--{flag}: {reason}")]
    Flag {
        /// The flag without dashes.
        flag: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A flag of docker build that cannot be honoured.
    #[error("--{flag} is not supported: {reason}")]
    Refused {
        /// The flag without dashes.
        flag: &'static str,
        /// Why not.
        reason: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// An environment variable's value is malformed.
    #[error("{variable}: {reason}")]
    Variable {
        /// The variable.
        variable: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The configuration file is missing, unreadable or malformed.
    #[error("configuration file {}: {reason}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The build context is not there.
    #[error("build context `{}` {reason}", .path.display())]
    Context {
        /// What was given.
        path: PathBuf,
        /// What it is instead.
        reason: &'static str,
    },
    /// The engine's address is none.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The Docker context cannot be used.
    #[error(transparent)]
    DockerContext(#[from] DockerContextError),
}

impl SettingsError {
    /// The same, as a fault of the image that the file describes, unless a flag that was typed is at fault. `keys` returns
    /// where the value of a flag is written there.
    fn of_image(
        self,
        file: &config_file::ConfigFile,
        name: &str,
        is_typed: impl Fn(&str) -> bool,
        keys: impl Fn(&str) -> Vec<String>,
    ) -> Self {
        match self {
            Self::Context { .. } => file.fault_of_image(name, &["context"], self),
            Self::Flag { flag, ref reason } if !is_typed(flag) => {
                let keys = keys(flag);
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                let reason: &dyn std::fmt::Display = if keys.is_empty() { &self } else { reason };
                file.fault_of_image(name, &keys, reason)
            }
            error => error,
        }
    }

    fn flag(flag: &'static str, reason: impl Into<String>) -> Self {
        Self::Flag { flag, reason: reason.into() }
    }
}

/// What every command needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What all builds of the job share.
    pub(crate) job: JobSettings,
    /// Docker's configuration directory: logins, contexts, proxies.
    pub(crate) docker_config: PathBuf,
    /// What Docker's `config.json` says beside logins.
    docker: DockerConfig,
    /// What is odd in the environment and in Docker's configuration, and does not stop a command.
    pub(crate) warnings: Vec<String>,
    /// This is a CI job or a terminal that cannot redraw.
    pub(crate) no_redraw: bool,
    /// What `larder.yaml` says.
    file: config_file::ConfigFile,
}

/// Logins for Amazon's registries, kept beside Docker's.
fn ecr_login(docker_config: &Path, environment: &Environment) -> EcrLogin {
    let identity: Vec<&str> =
        env_vars::AWS_IDENTITY.iter().map(|variable| environment.get(variable).unwrap_or_default()).collect();
    let endpoints = [env_vars::AWS_ENDPOINT_URL_ECR, env_vars::AWS_ENDPOINT_URL];
    let endpoint = endpoints.iter().find_map(|variable| environment.get(variable));
    let keys = environment.get(env_vars::AWS_SHARED_CREDENTIALS_FILE).map(PathBuf::from);
    let keys = keys.or_else(|| Some(Path::new(environment.get(env_vars::HOME)?).join(".aws/credentials")));
    // Other keys under the same name are another identity.
    let keys = keys.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let identity = format!("{}\n{keys}", identity.join("\n"));
    EcrLogin::new(&docker_config.join("larder"), &identity, endpoint)
}

impl Settings {
    /// Whether a cache at fault fails the command.
    fn is_strict(&self, typed: bool, environment: &Environment) -> Result<bool, SettingsError> {
        let behind = Behind { environment, file: &self.file };
        behind.switched_on(typed, env_vars::LARDER_STRICT, self.file.strict)
    }

    /// The names of the images in `larder.yaml`.
    pub(crate) fn image_names(&self) -> impl Iterator<Item = &str> {
        self.file.images.keys().map(String::as_str)
    }

    /// The names of the images in `larder.yaml` that have one of these tags, or one of them as their name.
    pub(crate) fn images_tagged(&self, tags: &[String]) -> Vec<&str> {
        let images = self.file.images.iter();
        let fits = |tag: &String, name: &str, own: &[String]| tag == name || own.contains(tag);
        let tagged = images.filter(|(name, image)| tags.iter().any(|tag| fits(tag, name, &image.tags)));
        tagged.map(|(name, _)| name.as_str()).collect()
    }

    /// Resolves the options that every command takes.
    ///
    /// An engine is waited for only by a command that needs one.
    ///
    /// # Errors
    ///
    /// Fails when an address, a context or the configuration file is unusable.
    pub(crate) fn resolve(
        global: &GlobalArgs,
        environment: &Environment,
        needs_engine: bool,
    ) -> Result<Self, SettingsError> {
        let file = config_file::ConfigFile::load(
            global.config.as_deref().or(environment.get(env_vars::LARDER_CONFIG).map(Path::new)),
        )?;
        let docker_config = environment
            .get(env_vars::DOCKER_CONFIG)
            .map(PathBuf::from)
            .or_else(|| environment.get(env_vars::HOME).map(|home| Path::new(home).join(".docker")))
            .unwrap_or_else(|| PathBuf::from("/.docker"));
        let (docker, mut warnings) = DockerConfig::read(&docker_config);
        let (given_logins, odd) = docker_config::given_logins(environment);
        warnings.extend(odd);
        warnings.extend(env_vars::unknown(environment));
        let engine_wait = Behind { environment, file: &file }.first(
            ("wait-for-engine", global.wait_for_engine.as_deref()),
            env_vars::LARDER_WAIT_FOR_ENGINE,
            ("wait_for_engine", None),
            duration::parse,
        )?;
        let engine_wait = engine_wait.filter(|_| needs_engine);
        let endpoints = engine::resolve(global, environment, &docker_config, &docker, engine_wait)?;
        let headers = docker.headers();
        let endpoints: Vec<_> =
            endpoints.into_iter().map(|endpoint| endpoint.with_headers(&headers)).collect();
        let cache_dir = global
            .cache_dir
            .clone()
            .or_else(|| environment.get(env_vars::LARDER_CACHE_DIR).map(PathBuf::from))
            .or_else(|| file.cache_dir.clone())
            .or_else(|| {
                // A relative one is to be ignored (XDG Base Directory Specification).
                let base = environment.get(env_vars::XDG_CACHE_HOME).map(Path::new)?;
                base.is_absolute().then(|| base.join("larder"))
            })
            .unwrap_or_else(|| {
                let home = environment.get(env_vars::HOME).unwrap_or("/");
                Path::new(home).join(".cache/larder")
            });
        let certificates = match environment.get(env_vars::LARDER_CERTS_DIR) {
            Some(directory) if Path::new(directory).is_dir() => vec![PathBuf::from(directory)],
            Some(other) => {
                let reason = format!("`{other}` is not a directory");
                return Err(SettingsError::Variable { variable: env_vars::LARDER_CERTS_DIR, reason });
            }
            None => CERTIFICATES.map(PathBuf::from).to_vec(),
        };
        // Without a working directory there is no checkout either.
        let facts = lanes::Facts::gather(environment, &std::env::current_dir().unwrap_or_default());
        let behind = Behind { environment, file: &file };
        let lanes = lanes::resolve(global.lane.as_deref(), global.store.trunk.as_deref(), behind, &facts)?;
        let ecr = ecr_login(&docker_config, environment);
        let job = JobSettings {
            endpoint: endpoints[0].clone(),
            endpoints,
            engine_wait,
            login: Login::new(&docker_config).with_given(given_logins).with_ecr(ecr.clone()),
            ecr,
            certificates,
            cache_dir,
            cache_fault: None,
            store: store::resolve(&global.store, &lanes.lanes, environment, &file)?,
            lanes,
            seal: Seal::new(environment.get(env_vars::LARDER_KEY_SECRET).unwrap_or_default().as_bytes()),
        };
        Ok(Self {
            job,
            docker,
            warnings,
            docker_config,
            no_redraw: environment.is_on(env_vars::CI)
                || environment.get(env_vars::TERM).is_none_or(|terminal| terminal == "dumb"),
            file,
        })
    }
}
