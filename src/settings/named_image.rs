//! `images` of `larder.yaml`: images that are built and run by name.
//!
//! ```yaml
//! images:
//!   bert:
//!     tags: [nlp, pytorch]
//!     context: models/bert
//!     dockerfile: docker/bert.Dockerfile
//!     names: [shop/ci-bert:latest]
//!     args: { PYTHON: "3.12", TOKEN: null }
//!     target: runtime
//!     additional_context: { guest_os: CENTOS }
//!     tiers: [engine, archive, mounts]
//!     timeout: 30m
//!     run:
//!       command: [python, run.py, --batch-size, "32"]
//!       gpus: all
//!       shm_size: 8g
//!       volumes: [./data:/data]
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::additional_context;
use super::run_of_image::RunOfImage;
use super::source::is_remote;
use crate::cli::{BuildArgs, SourceArgs, StepArgs};
use crate::registry::ImageRef;

/// An image that is built and run by its name.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct NamedImage {
    /// Words that `larder run --tags` selects it by; part of its key.
    pub(super) tags: Vec<String>,
    /// The build context, relative to this file: a directory, or a git or http(s) address. By default this file's directory.
    context: Option<String>,
    /// The Dockerfile, relative to this file. By default `Dockerfile` in the context.
    dockerfile: Option<PathBuf>,
    /// Names of the image in the engine. By default the name that it has here.
    names: Vec<String>,
    /// Build arguments; one without a value comes from the environment.
    args: BTreeMap<String, Option<String>>,
    /// The stage up to which it is built.
    target: Option<String>,
    /// The platforms that it is built for, such as `linux/amd64`.
    platforms: Vec<String>,
    /// Further contexts by their names, directories relative to this file.
    build_contexts: BTreeMap<String, String>,
    /// Secrets as `--secret` takes them, such as `id=pip,env=PIP_TOKEN`.
    secrets: Vec<String>,
    /// Labels of the image.
    labels: BTreeMap<String, String>,
    /// Network of RUN steps: default, none or host. That of the container is `run.network`.
    network: Option<String>,
    /// Hosts in /etc/hosts of RUN steps, as `HOST:IP`.
    add_hosts: Vec<String>,
    /// Size of /dev/shm in RUN steps, such as `64m`.
    shm_size: Option<String>,
    /// Limits of RUN steps, as `NAME=SOFT[:HARD]`.
    ulimits: Vec<String>,
    /// Parent cgroup of RUN steps.
    cgroup_parent: Option<String>,
    /// What a build may not do by itself: network.host or security.insecure.
    allow: Vec<String>,
    /// What it is made for: part of the key, arguments of the build, environment of a run.
    additional_context: Option<BTreeMap<String, String>>,
    /// How it is run.
    pub(super) run: RunOfImage,
    /// Tiers that are used: some of engine, registry, prefix, graft, archive, layers, mounts.
    pub(super) tiers: Option<Vec<String>>,
    /// How long its build may take, such as `30m`.
    pub(super) timeout: Option<String>,
    /// How long moving it into or out of the store, or its layers to a registry, may take.
    pub(super) archive_timeout: Option<String>,
    /// Repository for what is kept of it in a registry, such as `registry.example/app`.
    pub(super) cache_repo: Option<String>,
    /// Bytes that each of its cache mounts may have in the store, such as `2GB`.
    pub(super) max_mount_size: Option<String>,
}

/// Returns the key that sets a flag of a build, or `None` if the flag was typed or has no key.
pub(super) fn keys(flag: &str, typed: &BuildArgs) -> Option<Vec<String>> {
    let SourceArgs { build_arg, platform, build_context, secret, label, additional_context, .. } =
        &typed.source;
    let (key, is_typed) = match flag {
        "tag" => ("names", !typed.tag.is_empty()),
        "build-arg" => ("args", !build_arg.is_empty()),
        "platform" => ("platforms", !platform.is_empty()),
        "build-context" => ("build_contexts", !build_context.is_empty()),
        "secret" => ("secrets", !secret.is_empty()),
        "label" => ("labels", !label.is_empty()),
        "additional-context" => ("additional_context", additional_context.is_some()),
        "network" => ("network", typed.steps.network.is_some()),
        "add-host" => ("add_hosts", !typed.steps.add_host.is_empty()),
        "shm-size" => ("shm_size", typed.steps.shm_size.is_some()),
        "ulimit" => ("ulimits", !typed.steps.ulimit.is_empty()),
        "allow" => ("allow", !typed.steps.allow.is_empty()),
        _ => return None,
    };
    (!is_typed).then(|| vec![key.to_owned()])
}

impl NamedImage {
    /// Returns the configured Dockerfile if it does not exist.
    pub(super) fn missing_dockerfile(&self, directory: &Path) -> Option<PathBuf> {
        let path = directory.join(self.dockerfile.as_deref()?);
        (!path.exists()).then_some(path)
    }

    /// Returns `true` if the image has names or its key `name` is a valid one.
    pub(super) fn has_name(&self, name: &str) -> bool {
        !self.names.is_empty() || name.parse::<ImageRef>().is_ok()
    }

    /// Returns the flags of its build: typed ones override those of the file, whose paths are relative to `directory`.
    pub(super) fn build(&self, name: &str, directory: &Path, typed: &BuildArgs) -> BuildArgs {
        let SourceArgs { file, build_arg, target, platform, build_context, secret, label, tags, .. } =
            &typed.source;
        let pairs = |map: &BTreeMap<String, String>| -> Vec<String> {
            map.iter().map(|(name, value)| format!("{name}={value}")).collect()
        };
        // Typed `--additional-context` overrides build arguments of the file.
        let made_for = additional_context::parse(typed.source.additional_context.as_deref());
        let made_for = made_for.map(|made_for| made_for.values).unwrap_or_default();
        let mut args = self.args.clone();
        args.retain(|name, _| !made_for.contains_key(name));
        let secrets: Vec<String> =
            self.secrets.iter().map(|secret| located_secret(directory, secret)).collect();
        let contexts = self.build_contexts.iter();
        let contexts = contexts.map(|(name, place)| (name.clone(), located(directory, place))).collect();
        let additional_context = self
            .additional_context
            .as_ref()
            .map(|mapping| serde_json::to_string(mapping).expect("a mapping of text to text can be written"));
        let source = SourceArgs {
            file: file
                .clone()
                .or_else(|| self.dockerfile.as_deref().map(|path| in_directory(directory, path))),
            build_arg: [variables(&args), build_arg.clone()].concat(),
            target: target.clone().or_else(|| self.target.clone()),
            platform: first(platform, &self.platforms),
            build_context: [pairs(&contexts), build_context.clone()].concat(),
            secret: [&secrets[..], secret].concat(),
            label: [pairs(&self.labels), label.clone()].concat(),
            tags: [&self.tags[..], tags].concat(),
            additional_context: typed.source.additional_context.clone().or(additional_context),
            ..typed.source.clone()
        };
        let steps = &typed.steps;
        let steps = StepArgs {
            network: steps.network.clone().or_else(|| self.network.clone()),
            add_host: [&self.add_hosts[..], &steps.add_host].concat(),
            shm_size: steps.shm_size.clone().or_else(|| self.shm_size.clone()),
            ulimit: [&self.ulimits[..], &steps.ulimit].concat(),
            cgroup_parent: steps.cgroup_parent.clone().or_else(|| self.cgroup_parent.clone()),
            allow: [&self.allow[..], &steps.allow].concat(),
        };
        // Without a registry in its name, it could only be pushed to Docker Hub.
        let is_called_so = self.names.is_empty() && !typed.push;
        let names = if is_called_so { vec![name.to_owned()] } else { self.names.clone() };
        BuildArgs {
            context: self
                .context
                .as_deref()
                .map_or_else(|| in_directory(directory, Path::new("")), |place| located(directory, place)),
            source,
            steps,
            tag: first(&typed.tag, &names),
            ..typed.clone()
        }
    }
}

fn first(typed: &[String], written: &[String]) -> Vec<String> {
    if typed.is_empty() { written.to_vec() } else { typed.to_vec() }
}

/// Returns `NAME=VALUE`, or `NAME` for a value from the environment.
fn variables(map: &BTreeMap<String, Option<String>>) -> Vec<String> {
    let flag = |(name, value): (&String, &Option<String>)| match value {
        Some(value) => format!("{name}={value}"),
        None => name.clone(),
    };
    map.iter().map(flag).collect()
}

/// Makes a context that is a directory relative to `directory`; other contexts are fetched by the engine.
fn located(directory: &Path, place: &str) -> String {
    let is_reference = is_remote(place) || place.contains("://") || place.starts_with("target:");
    if is_reference { place.to_owned() } else { in_directory(directory, Path::new(place)) }
}

/// Makes the file of a secret relative to `directory`.
fn located_secret(directory: &Path, secret: &str) -> String {
    let located = |field: &str| match field.split_once('=') {
        Some((name @ ("src" | "source"), file)) => {
            format!("{name}={}", in_directory(directory, Path::new(file)))
        }
        _ => field.to_owned(),
    };
    // With that type, `src` names a variable.
    let is_file = !secret.split(',').any(|field| field == "type=env");
    if is_file { secret.split(',').map(located).collect::<Vec<_>>().join(",") } else { secret.to_owned() }
}

/// Deserializes a mapping and rejects duplicate names.
pub(super) fn unique<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, NamedImage>, D::Error> {
    struct Unique;
    impl<'de> Visitor<'de> for Unique {
        type Value = BTreeMap<String, NamedImage>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a mapping")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut images = BTreeMap::new();
            while let Some((name, image)) = access.next_entry::<String, NamedImage>()? {
                if images.contains_key(&name) {
                    return Err(A::Error::custom(format_args!("`{name}` is there twice")));
                }
                images.insert(name, image);
            }
            Ok(images)
        }
    }
    deserializer.deserialize_map(Unique)
}

fn in_directory(directory: &Path, path: &Path) -> String {
    let path = directory.join(path);
    if path.as_os_str().is_empty() { ".".to_owned() } else { path.to_string_lossy().into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(text: &str) -> NamedImage {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn flags_override_the_file_and_its_paths_are_relative_to_it() {
        let image = image(
            "tags: [nlp]\ncontext: models/bert\ndockerfile: docker/bert.Dockerfile\ntarget: runtime\n\
             args: {PYTHON: 3.10, TOKEN: null}\nbuild_contexts: {data: data, base: 'docker-image://base'}\n\
             additional_context: {guest_os: CENTOS}\n",
        );
        let built = image.build("bert", Path::new("/shop"), &BuildArgs::default());
        assert_eq!((&*built.context, &built.tag[..]), ("/shop/models/bert", &["bert".to_owned()][..]));
        assert_eq!(built.source.file.unwrap(), "/shop/docker/bert.Dockerfile");
        assert_eq!(built.source.build_arg, ["PYTHON=3.10", "TOKEN"]);
        assert_eq!(built.source.build_context, ["base=docker-image://base", "data=/shop/data"]);
        assert_eq!(built.source.additional_context.unwrap(), r#"{"guest_os":"CENTOS"}"#);
        let typed = BuildArgs {
            tag: vec!["mine".to_owned()],
            source: SourceArgs {
                file: Some("Other".to_owned()),
                build_arg: vec!["PYTHON=3.9".to_owned()],
                tags: vec!["mine".to_owned()],
                ..SourceArgs::default()
            },
            ..BuildArgs::default()
        };
        let built = image.build("bert", Path::new(""), &typed);
        assert_eq!((&*built.context, &built.tag[..]), ("models/bert", &["mine".to_owned()][..]));
        assert_eq!(
            (built.source.file.as_deref(), built.source.target.as_deref()),
            (Some("Other"), Some("runtime"))
        );
        // Of two values the later one counts.
        assert_eq!(built.source.build_arg, ["PYTHON=3.10", "TOKEN", "PYTHON=3.9"]);
        assert_eq!(built.source.tags, ["nlp", "mine"]);
    }

    #[test]
    fn an_image_without_settings_is_built_from_the_files_directory() {
        let built = image("{}").build("app", Path::new(""), &BuildArgs::default());
        assert_eq!((&*built.context, &built.tag[..]), (".", &["app".to_owned()][..]));
        assert!(image("{}").has_name("app") && !image("{}").has_name("My App"));
        assert!(image("names: [app]").has_name("My App"));
    }

    #[test]
    fn a_run_has_the_options_of_the_file() {
        let image = image(
            "run:\n  command: [python, run.py]\n  env: {A: '1', B: null}\n  gpus: all\n  shm_size: 8g\n  \
             volumes: [./data:/data, cache:/cache]\n",
        );
        let (options, command) = (&image.run.options, &image.run.command);
        assert_eq!(*command, ["python", "run.py"]);
        for (name, expected) in [
            ("env", &["A=1", "B"][..]),
            ("gpus", &["all"]),
            ("shm-size", &["8g"]),
            ("volume", &["./data:/data", "cache:/cache"]),
        ] {
            assert_eq!(options.get(name), expected, "{name}");
        }
    }
}
