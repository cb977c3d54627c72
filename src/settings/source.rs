//! Resolves the inputs of a build: the context, the Dockerfile, arguments, secrets, and options of RUN steps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::step_options::{entitlements, options};
use super::{
    ContextSource, DockerfileSource, Environment, NamedContext, Settings, SettingsError, SourceSettings,
    additional_context, env_vars, fields,
};
use crate::buildkit::session::{SecretSource, SshAgent};
use crate::cli::BuildArgs;
use crate::platform::Platform;
use crate::registry::{ImageRef, InvalidImageRef};

impl SourceSettings {
    pub(crate) fn resolve(
        build: &BuildArgs,
        environment: &Environment,
        settings: &Settings,
    ) -> Result<Self, SettingsError> {
        let (args, steps) = (&build.source, &build.steps);
        let context = context(&build.context)?;
        let dockerfile = match args.file.as_deref() {
            None | Some("") => DockerfileSource::Default,
            Some("-") if context == ContextSource::Stdin => {
                return Err(SettingsError::flag(
                    "file",
                    "stdin cannot be both the context and the Dockerfile",
                ));
            }
            Some("-") => DockerfileSource::Stdin,
            Some(path) => DockerfileSource::File(PathBuf::from(path)),
        };
        let mut build_args = BTreeMap::new();
        for arg in &args.build_arg {
            match arg.split_once('=') {
                Some(("", _)) => {
                    return Err(SettingsError::flag("build-arg", format!("`{arg}` has no name")));
                }
                Some((name, value)) => drop(build_args.insert(name.to_owned(), value.to_owned())),
                None => {
                    let value = environment.text(arg);
                    if let Some(value) = value.map_err(|reason| SettingsError::flag("build-arg", reason))? {
                        build_args.insert(arg.clone(), value.to_owned());
                    }
                }
            }
        }
        let context_of_use = additional_context::parse(args.additional_context.as_deref())?;
        for (name, value) in &context_of_use.values {
            build_args.entry(name.clone()).or_insert_with(|| value.clone());
        }
        if let Some(epoch) = environment.get(env_vars::SOURCE_DATE_EPOCH) {
            if epoch.parse::<i64>().is_err() {
                return Err(SettingsError::Variable {
                    variable: env_vars::SOURCE_DATE_EPOCH,
                    reason: format!("`{epoch}` is no number of seconds since 1970"),
                });
            }
            build_args.entry(env_vars::SOURCE_DATE_EPOCH.to_owned()).or_insert_with(|| epoch.to_owned());
        }
        let mut proxies = settings.docker.proxy_args(&settings.job.endpoint);
        proxies.retain(|name, _| !build_args.keys().any(|given| given.eq_ignore_ascii_case(name)));
        build_args.append(&mut proxies);
        // The engine fills in missing parts of a platform.
        let any = Platform {
            os: String::new(),
            os_version: String::new(),
            architecture: String::new(),
            variant: String::new(),
        };
        let platforms = if args.platform.is_empty() {
            environment.get(env_vars::DOCKER_DEFAULT_PLATFORM).map(str::to_owned).into_iter().collect()
        } else {
            args.platform.clone()
        };
        if let Some(invalid) =
            platforms.iter().find_map(|platform| Platform::parse(platform, Some(&any)).err())
        {
            let reason = invalid.to_string();
            return Err(if args.platform.is_empty() {
                SettingsError::Variable { variable: env_vars::DOCKER_DEFAULT_PLATFORM, reason }
            } else {
                SettingsError::flag("platform", reason)
            });
        }
        Ok(Self {
            context,
            dockerfile,
            build_args,
            target: args.target.clone().filter(|target| !target.is_empty()),
            platforms,
            named_contexts: named_contexts(&args.build_context)?,
            secrets: secrets(&args.secret, environment)?,
            ssh: ssh_agents(&args.ssh, environment)?,
            labels: labels(&args.label)?,
            options: options(steps)?,
            entitlements: entitlements(steps)?,
            pull: args.pull,
            key_extra: key_extra(&args.key_extra)?,
            key_tags: args
                .tags
                .iter()
                .map(|tag| tag.trim().to_owned())
                .filter(|tag| !tag.is_empty())
                .collect(),
            additional_context: context_of_use.text,
            variables: context_of_use.values,
        })
    }
}

/// Returns `true` if the engine fetches the context, by buildx's rule (`urlutil.IsRemoteURL`).
pub(super) fn is_remote(text: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@", "github.com/"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
}

fn context(text: &str) -> Result<ContextSource, SettingsError> {
    if text == "-" {
        return Ok(ContextSource::Stdin);
    }
    let path = Path::new(text);
    if path.is_dir() {
        return Ok(ContextSource::Directory(path.to_owned()));
    }
    if is_remote(text) {
        return Ok(ContextSource::Remote(text.to_owned()));
    }
    let reason = if path.exists() { "is not a directory" } else { "does not exist" };
    Err(SettingsError::Context { path: path.to_owned(), reason })
}

fn named_contexts(flags: &[String]) -> Result<BTreeMap<String, NamedContext>, SettingsError> {
    let mut contexts = BTreeMap::new();
    for flag in flags {
        let Some((name, value)) =
            flag.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty())
        else {
            return Err(SettingsError::flag("build-context", format!("`{flag}` is not NAME=CONTEXT")));
        };
        let context = if value.starts_with("oci-layout://") {
            return Err(SettingsError::flag(
                "build-context",
                "an OCI layout cannot be sent yet: load it into the engine and use docker-image://",
            ));
        } else if let Some(image) = value.strip_prefix("docker-image://") {
            let image: Result<ImageRef, _> = image.parse();
            image.map_err(|error| SettingsError::flag("build-context", error.to_string()))?;
            NamedContext::Reference(value.to_owned())
        } else if is_remote(value) || value.starts_with("target:") {
            NamedContext::Reference(value.to_owned())
        } else if Path::new(value).is_dir() {
            NamedContext::Directory(PathBuf::from(value))
        } else {
            return Err(SettingsError::flag("build-context", format!("`{value}` is not a directory")));
        };
        // Like Docker's client, normalizes the name of an image to its shortest form.
        let image: ImageRef = name
            .parse()
            .map_err(|error: InvalidImageRef| SettingsError::flag("build-context", error.to_string()))?;
        let name = image.familiar();
        contexts.insert(name.strip_suffix(":latest").unwrap_or(&name).to_owned(), context);
    }
    Ok(contexts)
}

fn secrets(
    flags: &[String],
    environment: &Environment,
) -> Result<BTreeMap<String, SecretSource>, SettingsError> {
    let mut secrets = BTreeMap::new();
    for flag in flags {
        let failed = |reason: String| SettingsError::flag("secret", reason);
        let (mut id, mut src, mut env, mut kind) = (None, None, None, None);
        for (key, value) in fields::parse(flag).map_err(failed)? {
            let slot = match key.as_str() {
                "id" => &mut id,
                "src" | "source" => &mut src,
                "env" => &mut env,
                "type" => &mut kind,
                _ => return Err(failed(format!("`{key}` is not one of id, src, env, type"))),
            };
            *slot = value;
        }
        let id = id.filter(|id| !id.is_empty()).ok_or_else(|| failed(format!("`{flag}` has no id")))?;
        match kind.as_deref() {
            None | Some("file" | "env") => {}
            Some(other) => return Err(failed(format!("type `{other}` is neither file nor env"))),
        }
        if kind.as_deref() == Some("env") && env.is_none() {
            env = src.take();
        }
        let variable = env.or_else(|| {
            let by_id = src.is_none() && kind.as_deref() != Some("file") && environment.raw(&id).is_some();
            by_id.then(|| id.clone())
        });
        let source = if let Some(variable) = variable {
            // Like Docker's client, treats an unset variable as an empty secret.
            SecretSource::Value(environment.bytes(&variable).unwrap_or_default().to_vec())
        } else {
            let path = PathBuf::from(src.unwrap_or_else(|| id.clone()));
            if !path.is_file() {
                return Err(failed(format!("`{}` of secret {id} is not a file", path.display())));
            }
            SecretSource::File(path)
        };
        secrets.insert(id, source);
    }
    Ok(secrets)
}

fn ssh_agents(
    flags: &[String],
    environment: &Environment,
) -> Result<BTreeMap<String, SshAgent>, SettingsError> {
    let mut agents = BTreeMap::new();
    for flag in flags {
        let (id, paths) = flag.split_once('=').unwrap_or((flag, ""));
        let paths: Vec<PathBuf> =
            paths.split(',').filter(|path| !path.is_empty()).map(PathBuf::from).collect();
        let agent = match paths.as_slice() {
            [] => match environment.get(env_vars::SSH_AUTH_SOCK) {
                Some(socket) => SshAgent::Socket(PathBuf::from(socket)),
                None => {
                    return Err(SettingsError::flag(
                        "ssh",
                        "no agent runs (SSH_AUTH_SOCK is not set): start one, or name a key: --ssh default=KEY",
                    ));
                }
            },
            [socket] if is_socket(socket) => SshAgent::Socket(socket.clone()),
            keys => match keys.iter().find(|key| !key.is_file()) {
                Some(missing) => {
                    let reason = format!("`{}` is neither an agent's socket nor a key", missing.display());
                    return Err(SettingsError::flag("ssh", reason));
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

fn labels(flags: &[String]) -> Result<BTreeMap<String, String>, SettingsError> {
    let mut labels = BTreeMap::new();
    for flag in flags {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        if name.is_empty() {
            return Err(SettingsError::flag("label", format!("`{flag}` has no name")));
        }
        labels.insert(name.to_owned(), value.to_owned());
    }
    Ok(labels)
}

pub(super) fn key_extra(flags: &[String]) -> Result<BTreeMap<String, String>, SettingsError> {
    let mut extra = BTreeMap::new();
    for flag in flags {
        let Some((name, value)) = flag.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(SettingsError::flag("key-extra", format!("`{flag}` is not NAME=VALUE")));
        };
        extra.insert(name.to_owned(), value.to_owned());
    }
    Ok(extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_file_or_a_variable() {
        let environment: Environment = [("TOKEN".to_owned(), "v".to_owned())].into_iter().collect();
        let found = secrets(&["id=a,env=TOKEN".to_owned(), "id=TOKEN".to_owned()], &environment).unwrap();
        for id in ["a", "TOKEN"] {
            assert!(matches!(&found[id], SecretSource::Value(value) if value == b"v"), "{id}");
        }
        for (flag, reason) in [
            ("src=/x", "has no id"),
            ("id=a,src=/nonexistent", "is not a file"),
            ("id=a,colour=red", "is not one of"),
            ("id=a,type=vault", "neither file nor env"),
        ] {
            let error = secrets(&[flag.to_owned()], &environment).unwrap_err().to_string();
            assert!(error.contains(reason), "{flag}: {error}");
        }
        assert!(!format!("{found:?}").contains("118"), "a secret's bytes are not in its debug output");
    }
}
