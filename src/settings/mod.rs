//! Resolves flags, environment variables and `larder.yaml`, in this order of precedence, into typed settings.
//!
//! Other modules must not read flags, variables or the file. All variables are named in [`env_vars`].

mod additional_context;
mod build;
mod checkout;
mod ci;
mod ci_systems;
mod config_file;
mod container;
mod dir;
mod docker_config;
#[cfg(test)]
mod documentation;
pub(crate) mod duration;
mod engine;
pub(crate) mod env_vars;
mod fallback_directories;
mod fields;
mod home;
mod lanes;
mod mounts;
mod named_image;
mod options;
mod origin;
mod output;
mod push;
mod run_options;
mod secret;
mod size;
mod source;
mod step_options;
mod store;
mod tiers;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

pub(crate) use container::RunSettings;
pub(crate) use tiers::{archive_timeout, base_repository, parse_repository};

pub(crate) use crate::plan::{
    BuildContextSource, BuildOutput, BuildSettings, DirRestoreSettings, DirSaveSettings, DirSettings,
    DockerfileSource, JobSettings, MountSettings, NamedContextSource, OutputDestination, OutputKind,
    ProgressMode, PushSettings, PushWith, SourceSettings, TierSettings,
};

use self::config_file::ConfigFile;
use self::docker_config::DockerConfig;
use self::options::OptionLayer;
use self::origin::Origin;
use crate::cli::{GlobalArgs, UnsupportedOption};
use crate::endpoint::{DockerContextError, EndpointError};
use crate::key::Seal;
use crate::registry::Login;
use crate::registry::ecr::EcrLogin;

/// The directories in which Docker and containers/image search for the certificates of registries.
const CERTIFICATE_DIRECTORIES: [&str; 2] = ["/etc/docker/certs.d", "/etc/containers/certs.d"];

#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    values: BTreeMap<String, String>,
    bytes: BTreeMap<String, Vec<u8>>,
}

impl Environment {
    /// Captures this process's environment; values that are not UTF-8 are converted lossily. Without HOME, the user's
    /// home directory is looked up.
    pub(crate) fn from_process() -> Self {
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
            environment.values.insert(env_vars::HOME.to_owned(), text(home::home_of_process_user().into()));
        }
        environment
    }

    /// Returns the value of `name`; an empty one counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.raw(name).filter(|value| !value.is_empty())
    }

    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.bytes.get(name).map(Vec::as_slice).or_else(|| self.raw(name).map(str::as_bytes))
    }

    /// Returns the value of `name`, or an error if it is not UTF-8 and so cannot be passed on as text.
    fn text(&self, name: &str) -> Result<Option<&str>, String> {
        if self.bytes.contains_key(name) {
            return Err(format!("the value of {name} in the environment is not UTF-8"));
        }
        Ok(self.raw(name))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Returns the names of variables that start with `start` and have an empty value.
    pub(crate) fn empty_variables(&self, start: &str) -> Vec<&str> {
        let empty = self.values.iter().filter(|(name, value)| name.starts_with(start) && value.is_empty());
        empty.map(|(name, _)| name.as_str()).collect()
    }

    /// Returns `true` if `name`, a variable of a different program, is set, and its value does not mean no.
    pub(crate) fn is_enabled(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| parse_switch(value) != Some(false))
    }

    /// Returns the boolean value of `variable`, or `None` if it is not set. A value that means neither yes nor no is an
    /// error.
    pub(crate) fn switch(&self, variable: &'static str) -> Result<Option<bool>, SettingsError> {
        let read = |value| {
            parse_switch(value).ok_or_else(|| {
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

fn parse_switch(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("--{flag}: {reason}")]
    Flag { flag: &'static str, reason: String },
    /// A flag of `docker build` that larder does not support.
    #[error("--{flag} is not supported: {reason}")]
    Unsupported { flag: &'static str, reason: &'static str, instead: &'static str },
    #[error("{variable}: {reason}")]
    Variable { variable: &'static str, reason: String },
    #[error("configuration file {}: {reason}", .path.display())]
    File { path: PathBuf, reason: String },
    #[error("build context `{}` {reason}", .path.display())]
    Context { path: PathBuf, reason: &'static str },
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    DockerContext(#[from] DockerContextError),
}

impl SettingsError {
    /// Attributes the error of a flag to the image `name` in `larder.yaml`. `keys` returns the path, relative to the
    /// image, of the key that sets a flag, or `None` if the flag is from the command line.
    fn attributed_to_image(
        self,
        file: &ConfigFile,
        name: &str,
        keys: impl Fn(&str) -> Option<Vec<String>>,
    ) -> Self {
        let Self::Flag { flag, reason } = &self else { return self };
        let Some(keys) = keys(flag) else { return self };
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        file.origin(name, &keys).error(reason)
    }

    fn unsupported(option: Option<&'static UnsupportedOption>) -> Result<(), Self> {
        option.map_or(Ok(()), |&UnsupportedOption { name: flag, reason, alternative: instead, .. }| {
            Err(Self::Unsupported { flag, reason, instead })
        })
    }

    fn flag(flag: &'static str, reason: impl Into<String>) -> Self {
        Self::Flag { flag, reason: reason.into() }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) job: JobSettings,
    pub(crate) docker_config: PathBuf,
    /// The contents of Docker's `config.json`, except for logins.
    docker: DockerConfig,
    /// Problems in the environment and in Docker's configuration that do not stop a command.
    pub(crate) warnings: Vec<String>,
    /// `true` in CI jobs and on terminals that cannot redraw.
    pub(crate) cannot_redraw: bool,
    /// The settings of the flags that all commands share, of the environment and of `larder.yaml`.
    options: OptionLayer,
    file: ConfigFile,
}

/// Returns the login for ECR, which caches its tokens in Docker's configuration directory.
fn ecr_login(docker_config: &Path, environment: &Environment) -> EcrLogin {
    let identity: Vec<&str> =
        env_vars::AWS_IDENTITY.iter().map(|variable| environment.get(variable).unwrap_or_default()).collect();
    let endpoints = [env_vars::AWS_ENDPOINT_URL_ECR, env_vars::AWS_ENDPOINT_URL];
    let endpoint = endpoints.iter().find_map(|variable| environment.get(variable));
    let keys = environment.get(env_vars::AWS_SHARED_CREDENTIALS_FILE).map(PathBuf::from);
    let keys = keys.or_else(|| Some(Path::new(environment.get(env_vars::HOME)?).join(".aws/credentials")));
    // Different keys under the same name are a different identity.
    let keys = keys.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let identity = format!("{}\n{keys}", identity.join("\n"));
    EcrLogin::new(&docker_config.join("larder"), &identity, endpoint)
}

impl Settings {
    pub(crate) fn image_names(&self) -> impl Iterator<Item = &str> {
        self.options.images.keys().map(String::as_str)
    }

    /// Returns the names of the images in `larder.yaml` that match one of these tags by their tags or by their name.
    pub(crate) fn images_tagged(&self, tags: &[String]) -> Vec<&str> {
        let images = self.options.images.iter();
        let fits = |tag: &String, name: &str, own: &[String]| tag == name || own.contains(tag);
        let tagged = images.filter(|(name, image)| tags.iter().any(|tag| fits(tag, name, &image.tags)));
        tagged.map(|(name, _)| name.as_str()).collect()
    }

    /// Resolves the options that all commands share. Waits for an engine only if the command `needs_engine`.
    pub(crate) fn resolve(
        global: &GlobalArgs,
        environment: &Environment,
        needs_engine: bool,
    ) -> Result<Self, SettingsError> {
        let variable = environment.get(env_vars::LARDER_CONFIG).map(Path::new);
        let file = ConfigFile::load(global.config.as_deref().or(variable))?;
        let options = OptionLayer::from_global_flags(global)?
            .combine(OptionLayer::from_environment(environment)?)
            .combine(file.options.clone());
        let docker_config = environment
            .get(env_vars::DOCKER_CONFIG)
            .map(PathBuf::from)
            .or_else(|| environment.get(env_vars::HOME).map(|home| Path::new(home).join(".docker")))
            .unwrap_or_else(|| PathBuf::from("/.docker"));
        let (docker, mut warnings) = DockerConfig::read(&docker_config);
        let (given_logins, odd) = docker_config::logins_from_variable(environment);
        warnings.extend(odd);
        warnings.extend(env_vars::unknown_variables(environment));
        let engine_wait = options.engine_wait.filter(|_| needs_engine);
        let endpoints = engine::resolve(global, environment, &docker_config, &docker, engine_wait)?;
        let headers = docker.headers();
        let endpoints: Vec<_> =
            endpoints.into_iter().map(|endpoint| endpoint.with_headers(&headers)).collect();
        let cache_dir = options
            .cache_dir
            .clone()
            .or_else(|| {
                // The XDG Base Directory Specification requires that relative paths are ignored.
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
                return Err(Origin::Variable(env_vars::LARDER_CERTS_DIR).error(reason));
            }
            None => CERTIFICATE_DIRECTORIES.map(PathBuf::from).to_vec(),
        };
        // Without a working directory there is no checkout.
        let facts = lanes::LaneSources::read(environment, &std::env::current_dir().unwrap_or_default());
        let lanes = lanes::resolve(&options, environment, &facts);
        let ecr = ecr_login(&docker_config, environment);
        let job = JobSettings {
            endpoint: endpoints[0].clone(),
            endpoints,
            engine_wait,
            login: Login::new(&docker_config).with_environment(given_logins).with_ecr(ecr.clone()),
            ecr,
            certificates,
            cache_dir,
            cache_fault: None,
            store: store::resolve(&options, &lanes.lanes, environment)?,
            lanes,
            ci: lanes::ci_job(environment, &facts),
            shares_builds: environment.switch(env_vars::LARDER_SHARE_BUILDS)?.unwrap_or(true),
            seal: Seal::new(environment.get(env_vars::LARDER_KEY_SECRET).unwrap_or_default().as_bytes()),
        };
        Ok(Self {
            job,
            docker,
            warnings,
            docker_config,
            cannot_redraw: environment.is_enabled(env_vars::CI)
                || environment.get(env_vars::TERM).is_none_or(|terminal| terminal == "dumb"),
            options,
            file,
        })
    }
}
