//! Resolves the inputs of a build: the context, the Dockerfile, arguments, secrets, and options of RUN steps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::additional_context::AdditionalContext;
use super::origin::{FromText, Origin, Sourced, parse_flag};
use super::secret::Secret;
use super::step_options::StepLayer;
use super::{
    BuildContextSource, DockerfileSource, Environment, NamedContextSource, Settings, SettingsError,
    SourceSettings, env_vars,
};
use crate::buildkit::session::SshAgent;
use crate::cli::BuildArgs;
use crate::platform::Platform;
use crate::registry::{ImageRef, InvalidImageRef};

const NO_SSH_AGENT: &str =
    "no agent is running (SSH_AUTH_SOCK is not set): start one, or pass a key: --ssh default=KEY";

/// The inputs of a build that one source sets: flags, the environment, or an image of `larder.yaml`.
#[derive(Debug, Default)]
pub(super) struct SourceLayer {
    pub(super) context: Option<Sourced<BuildContextSource>>,
    /// The Dockerfile; `-` for stdin, and empty for the default.
    pub(super) dockerfile: Option<Sourced<PathBuf>>,
    pub(super) build_args: BTreeMap<String, String>,
    pub(super) target: Option<String>,
    pub(super) platforms: Vec<String>,
    pub(super) named_contexts: BTreeMap<String, Sourced<NamedContextSource>>,
    pub(super) secrets: BTreeMap<String, Sourced<Secret>>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) names: Vec<ImageRef>,
    pub(super) key_tags: BTreeSet<String>,
    pub(super) additional_context: Option<AdditionalContext>,
    pub(super) steps: StepLayer,
}

impl SourceLayer {
    /// Returns the inputs that flags set. `context` is not set if the flag names an image of `larder.yaml`.
    pub(super) fn from_flags(
        build: &BuildArgs,
        is_image: bool,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let args = &build.source;
        let build_args =
            Origin::Flag("build-arg").parse(&args.build_arg, |text| match text.split_once('=') {
                Some(("", _)) => Err(format!("`{text}` has no name")),
                Some((name, value)) => Ok(Some((name.to_owned(), value.to_owned()))),
                None => inherited(text, environment),
            })?;
        let contexts = Origin::Flag("build-context").parse(&args.build_context, |text| {
            let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
            let (name, value) = pair.ok_or_else(|| format!("`{text}` is not NAME=CONTEXT"))?;
            parse_named_context(name, value, Path::new(""))
        })?;
        let secrets = Origin::Flag("secret").parse(&args.secret, Secret::parse)?;
        let labels = Origin::Flag("label").parse(&args.label, |text| {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            if name.is_empty() {
                return Err(format!("`{text}` has no name"));
            }
            Ok((name.to_owned(), value.to_owned()))
        })?;
        let context = (!is_image).then(|| Sourced::flag("context", parse_context(&build.context)));
        Ok(Self {
            context,
            dockerfile: args.file.as_ref().map(|file| Sourced::flag("file", PathBuf::from(file))),
            build_args: build_args.into_iter().flatten().collect(),
            target: args.target.clone(),
            platforms: Origin::Flag("platform").parse(&args.platform, check_platform)?,
            named_contexts: with_origin(contexts, &Origin::Flag("build-context")),
            secrets: with_origin(secrets, &Origin::Flag("secret")),
            labels: labels.into_iter().collect(),
            names: Origin::Flag("tag").parse(&build.image.tag, parse_image_name)?,
            key_tags: normalize_key_tags(&args.tags),
            additional_context: parse_flag("additional-context", args.additional_context.as_ref())?,
            steps: StepLayer::parse(&build.steps, Origin::Flag)?,
        })
    }

    pub(super) fn from_environment(environment: &Environment) -> Result<Self, SettingsError> {
        let variable = env_vars::DOCKER_DEFAULT_PLATFORM;
        let platforms: Vec<String> = environment.get(variable).map(str::to_owned).into_iter().collect();
        Ok(Self {
            platforms: Origin::Variable(variable).parse(&platforms, check_platform)?,
            ..Self::default()
        })
    }

    /// Returns the inputs of both sources; those of `self` have precedence.
    pub(super) fn combine(self, mut lower: Self) -> Self {
        if let Some(AdditionalContext { values, .. }) = &self.additional_context {
            lower.build_args.retain(|name, _| !values.contains_key(name));
        }
        Self {
            context: self.context.or(lower.context),
            dockerfile: self.dockerfile.or(lower.dockerfile),
            build_args: merged(self.build_args, lower.build_args),
            target: self.target.or(lower.target),
            platforms: if self.platforms.is_empty() { lower.platforms } else { self.platforms },
            named_contexts: merged(self.named_contexts, lower.named_contexts),
            secrets: merged(self.secrets, lower.secrets),
            labels: merged(self.labels, lower.labels),
            names: if self.names.is_empty() { lower.names } else { self.names },
            key_tags: self.key_tags.into_iter().chain(lower.key_tags).collect(),
            additional_context: self.additional_context.or(lower.additional_context),
            steps: self.steps.combine(lower.steps),
        }
    }

    /// Resolves the inputs; `args` contains the flags that do not belong to a layer.
    pub(super) fn resolve(
        self,
        args: &BuildArgs,
        environment: &Environment,
        settings: &Settings,
    ) -> Result<SourceSettings, SettingsError> {
        let context = self.context.unwrap_or_else(|| Sourced::flag("context", parse_context(&args.context)));
        let context = check_context(context)?;
        let dockerfile = resolve_dockerfile(self.dockerfile, &context)?;
        let mut build_args = self.build_args;
        let additional_context = self.additional_context.unwrap_or_default();
        for (name, value) in &additional_context.values {
            build_args.entry(name.clone()).or_insert_with(|| value.clone());
        }
        if let Some(epoch) = environment.get(env_vars::SOURCE_DATE_EPOCH) {
            if epoch.parse::<i64>().is_err() {
                let reason = format!("`{epoch}` is not a number of seconds since 1970");
                return Err(Origin::Variable(env_vars::SOURCE_DATE_EPOCH).error(reason));
            }
            build_args.entry(env_vars::SOURCE_DATE_EPOCH.to_owned()).or_insert_with(|| epoch.to_owned());
        }
        let mut proxies = settings.docker.proxy_args(&settings.job.endpoint);
        proxies.retain(|name, _| !build_args.keys().any(|given| given.eq_ignore_ascii_case(name)));
        build_args.append(&mut proxies);
        let mut named_contexts = BTreeMap::new();
        for (name, Sourced { value, origin }) in self.named_contexts {
            if let NamedContextSource::Directory(path) = &value
                && !path.is_dir()
            {
                return Err(origin.error(format!("`{}` is not a directory", path.display())));
            }
            named_contexts.insert(name, value);
        }
        let mut secrets = BTreeMap::new();
        for (id, Sourced { value, origin }) in self.secrets {
            let secret = value.resolve(&id, environment).map_err(|reason| origin.error(reason))?;
            secrets.insert(id, secret);
        }
        let (options, entitlements) = self.steps.resolve();
        Ok(SourceSettings {
            context,
            dockerfile,
            build_args,
            target: self.target.filter(|target| !target.is_empty()),
            platforms: self.platforms,
            named_contexts,
            secrets,
            ssh: parse_ssh_agents(&args.source.ssh, environment)?,
            labels: self.labels,
            options,
            entitlements,
            pull: args.source.pull,
            key_extra: parse_key_extra(&args.source.key_extra)?,
            key_tags: self.key_tags,
            additional_context: additional_context.text,
            variables: additional_context.values,
        })
    }
}

/// Returns the entries of both maps; those of `upper` have precedence.
fn merged<T>(upper: BTreeMap<String, T>, mut lower: BTreeMap<String, T>) -> BTreeMap<String, T> {
    lower.extend(upper);
    lower
}

pub(super) fn with_origin<T>(values: Vec<(String, T)>, origin: &Origin) -> BTreeMap<String, Sourced<T>> {
    values.into_iter().map(|(name, value)| (name, Sourced::new(value, origin.clone()))).collect()
}

/// Returns a build argument that is given without a value, and is then that of the environment. An unset variable sets
/// no argument, so that a value with lower precedence applies.
pub(super) fn inherited(name: &str, environment: &Environment) -> Result<Option<(String, String)>, String> {
    Ok(environment.text(name)?.map(|value| (name.to_owned(), value.to_owned())))
}

/// Checks a platform. The engine fills in missing parts.
pub(super) fn check_platform(text: &str) -> Result<String, String> {
    let any = Platform {
        os: String::new(),
        os_version: String::new(),
        architecture: String::new(),
        variant: String::new(),
    };
    Platform::parse(text, Some(&any)).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn parse_reference(text: &str) -> Result<ImageRef, String> {
    text.parse().map_err(|error: InvalidImageRef| error.to_string())
}

/// Parses the name of an image; a digest is an error.
pub(super) fn parse_image_name(text: &str) -> Result<ImageRef, String> {
    let name = parse_reference(text)?;
    match name.digest() {
        Some(_) => Err(format!("`{text}`: an image cannot be named by a digest")),
        None => Ok(name),
    }
}

pub(super) fn normalize_key_tags(tags: &[String]) -> BTreeSet<String> {
    tags.iter().map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect()
}

impl FromText for AdditionalContext {
    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

/// Returns `true` if the engine fetches the context, by buildx's rule (`urlutil.IsRemoteURL`).
pub(super) fn is_remote(text: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@", "github.com/"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
}

/// Parses the context of a flag; whether a directory exists is not checked.
fn parse_context(text: &str) -> BuildContextSource {
    if text == "-" {
        BuildContextSource::Stdin
    } else if is_remote(text) && !Path::new(text).is_dir() {
        BuildContextSource::Remote(text.to_owned())
    } else {
        BuildContextSource::Directory(PathBuf::from(text))
    }
}

fn check_context(context: Sourced<BuildContextSource>) -> Result<BuildContextSource, SettingsError> {
    let Sourced { value, origin } = context;
    let BuildContextSource::Directory(path) = &value else { return Ok(value) };
    if path.is_dir() {
        return Ok(value);
    }
    let reason = if path.exists() { "is not a directory" } else { "does not exist" };
    let error = SettingsError::Context { path: path.clone(), reason };
    Err(if matches!(origin, Origin::Flag(_)) { error } else { origin.error(error.to_string()) })
}

fn resolve_dockerfile(
    file: Option<Sourced<PathBuf>>,
    context: &BuildContextSource,
) -> Result<DockerfileSource, SettingsError> {
    let Some(Sourced { value, origin }) = file else { return Ok(DockerfileSource::Default) };
    match value.to_str() {
        Some("") => Ok(DockerfileSource::Default),
        Some("-") if *context == BuildContextSource::Stdin => {
            Err(origin.error("stdin cannot be both the context and the Dockerfile"))
        }
        Some("-") => Ok(DockerfileSource::Stdin),
        _ if matches!(origin, Origin::Key { .. }) && !value.exists() => {
            Err(origin.error(format!("`{}` does not exist", value.display())))
        }
        _ => Ok(DockerfileSource::File(value)),
    }
}

/// Returns the normalized name and the value of a named context. A directory is relative to `directory`; whether it
/// exists is not checked.
pub(super) fn parse_named_context(
    name: &str,
    value: &str,
    directory: &Path,
) -> Result<(String, NamedContextSource), String> {
    let context = if value.starts_with("oci-layout://") {
        let reason = "an OCI layout is not supported: load it into the engine and use docker-image://";
        return Err(reason.to_owned());
    } else if let Some(image) = value.strip_prefix("docker-image://") {
        parse_reference(image)?;
        NamedContextSource::Reference(value.to_owned())
    } else if is_remote(value) || value.starts_with("target:") {
        NamedContextSource::Reference(value.to_owned())
    } else {
        NamedContextSource::Directory(directory.join(value))
    };
    // Like Docker's client, normalizes the name of an image to its shortest form.
    let name = parse_reference(name)?.familiar();
    Ok((name.strip_suffix(":latest").unwrap_or(&name).to_owned(), context))
}

fn parse_ssh_agents(
    flags: &[String],
    environment: &Environment,
) -> Result<BTreeMap<String, SshAgent>, SettingsError> {
    let failed = |reason: String| SettingsError::flag("ssh", reason);
    let mut agents = BTreeMap::new();
    for flag in flags {
        let (id, paths) = flag.split_once('=').unwrap_or((flag, ""));
        let paths: Vec<PathBuf> =
            paths.split(',').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
        let agent = match paths.as_slice() {
            [] => {
                let socket = environment.get(env_vars::SSH_AUTH_SOCK).map(PathBuf::from);
                SshAgent::Socket(socket.ok_or_else(|| failed(NO_SSH_AGENT.to_owned()))?)
            }
            [socket] if is_socket(socket) => SshAgent::Socket(socket.clone()),
            keys => match keys.iter().find(|key| !key.is_file()) {
                Some(missing) => {
                    let missing = missing.display();
                    return Err(failed(format!("`{missing}` is neither an agent's socket nor a key")));
                }
                None => SshAgent::Keys(paths),
            },
        };
        agents.insert(id.to_owned(), agent);
    }
    Ok(agents)
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
}

pub(super) fn parse_key_extra(flags: &[String]) -> Result<BTreeMap<String, String>, SettingsError> {
    let pairs = Origin::Flag("key-extra").parse(flags, |text| {
        let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let (name, value) = pair.ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
        Ok((name.to_owned(), value.to_owned()))
    })?;
    Ok(pairs.into_iter().collect())
}
