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
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::additional_context::AdditionalContext;
use super::config_file::ConfigFile;
use super::options::OptionLayer;
use super::origin::{Sourced, text};
use super::run_options::RunOptions;
use super::secret::Secret;
use super::size::ByteSize;
use super::source::{
    SourceLayer, check_platform, inherited, is_remote, normalize_key_tags, parse_image_name,
    parse_named_context, with_origin,
};
use super::step_options::StepLayer;
use super::tiers::{RepositoryName, TierNames};
use super::{BuildContextSource, Environment, SettingsError};
use crate::cli::StepArgs;

/// An image that is built and run by its name.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields, expecting = "a mapping")]
pub(super) struct NamedImage {
    /// Tags by which `larder run --tags` selects the image; part of its key.
    pub(super) tags: Vec<String>,
    /// The build context: a directory relative to this file, or a git or http(s) URL. By default this file's directory.
    context: Option<String>,
    /// The Dockerfile, relative to this file. By default `Dockerfile` in the context.
    dockerfile: Option<PathBuf>,
    /// Names of the image in the engine. By default its key below `images`.
    names: Vec<String>,
    /// Build arguments; an argument without a value is taken from the environment.
    args: BTreeMap<String, Option<String>>,
    /// The stage to build.
    target: Option<String>,
    /// Platforms to build for, such as `linux/amd64`.
    platforms: Vec<String>,
    /// Additional build contexts by name; directories are relative to this file.
    build_contexts: BTreeMap<String, String>,
    /// Secrets in the format of `--secret`, such as `id=pip,env=PIP_TOKEN`.
    secrets: Vec<String>,
    /// Labels of the image.
    labels: BTreeMap<String, String>,
    /// Network of RUN steps: default, none or host. The network of the container is `run.network`.
    network: Option<String>,
    /// Hosts in /etc/hosts of RUN steps, as `HOST:IP`.
    add_hosts: Vec<String>,
    /// Size of /dev/shm in RUN steps, such as `64m`.
    shm_size: Option<String>,
    /// Ulimits of RUN steps, as `NAME=SOFT[:HARD]`.
    ulimits: Vec<String>,
    /// Parent cgroup of RUN steps.
    cgroup_parent: Option<String>,
    /// Entitlements of the build: network.host or security.insecure.
    allow: Vec<String>,
    /// What the image is for: part of the key, build arguments, and variables of the container.
    additional_context: Option<BTreeMap<String, String>>,
    /// Options of `larder run`.
    pub(super) run: RunOptions,
    /// Tiers to use: any of engine, registry, prefix, graft, archive, layers, mounts.
    #[cfg_attr(test, schemars(with = "Option<Vec<String>>"))]
    tiers: Option<TierNames>,
    /// Time limit for building the image, such as `30m`.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    timeout: Option<Duration>,
    /// Time limit for moving the image into or out of the store, or its layers to a registry.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    archive_timeout: Option<Duration>,
    /// Repository for cached images and layers, such as `registry.example/app`.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    cache_repo: Option<RepositoryName>,
    /// Maximum size of each cache mount in the store, such as `2GB`.
    #[serde(deserialize_with = "text")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    max_mount_size: Option<ByteSize>,
}

impl NamedImage {
    /// Returns the inputs of the build. Paths are relative to the directory of `file`.
    ///
    /// Without `names`, the image is named by its key, `name`, if that is a valid name. This does not apply to an image
    /// that `is_pushed`: its name has no registry, so it would be pushed to Docker Hub.
    pub(super) fn source(
        &self,
        name: &str,
        file: &ConfigFile,
        is_pushed: bool,
        environment: &Environment,
    ) -> Result<SourceLayer, SettingsError> {
        let directory = file.directory();
        let origin = |key: &str| file.origin(name, &[key]);
        let mut named_contexts = Vec::new();
        for (name, place) in &self.build_contexts {
            let context = parse_named_context(name, place, &directory);
            named_contexts.push(context.map_err(|reason| origin("build_contexts").error(reason))?);
        }
        let secrets = origin("secrets").parse(&self.secrets, |text| {
            let (id, secret) = Secret::parse(text)?;
            Ok((id, secret.in_directory(&directory)))
        })?;
        let values = self.additional_context.clone().map(AdditionalContext::from_values).transpose();
        let names = if self.names.is_empty() && !is_pushed {
            name.parse().into_iter().collect()
        } else {
            origin("names").parse(&self.names, parse_image_name)?
        };
        let context = match self.context.as_deref() {
            Some(place) if is_remote(place) => BuildContextSource::Remote(place.to_owned()),
            place => BuildContextSource::Directory(directory.join(place.unwrap_or_default())),
        };
        let mut build_args = BTreeMap::new();
        for (name, value) in &self.args {
            build_args.extend(match value {
                Some(value) => Some((name.clone(), value.clone())),
                None => inherited(name, environment).map_err(|reason| origin("args").error(reason))?,
            });
        }
        let steps = StepArgs {
            network: self.network.clone(),
            add_host: self.add_hosts.clone(),
            shm_size: self.shm_size.clone(),
            ulimit: self.ulimits.clone(),
            cgroup_parent: self.cgroup_parent.clone(),
            allow: self.allow.clone(),
        };
        let key_of_step = |flag| match flag {
            "add-host" => "add_hosts",
            "shm-size" => "shm_size",
            "ulimit" => "ulimits",
            "cgroup-parent" => "cgroup_parent",
            other => other,
        };
        Ok(SourceLayer {
            context: Some(Sourced::new(context, origin("context"))),
            dockerfile: self
                .dockerfile
                .as_deref()
                .map(|path| Sourced::new(directory.join(path), origin("dockerfile"))),
            build_args,
            target: self.target.clone(),
            platforms: origin("platforms").parse(&self.platforms, check_platform)?,
            named_contexts: with_origin(named_contexts, &origin("build_contexts")),
            secrets: with_origin(secrets, &origin("secrets")),
            labels: self.labels.clone(),
            names,
            key_tags: normalize_key_tags(&self.tags),
            additional_context: values.map_err(|reason| origin("additional_context").error(reason))?,
            steps: StepLayer::parse(&steps, |flag| origin(key_of_step(flag)))?,
        })
    }

    pub(super) fn options(&self) -> OptionLayer {
        OptionLayer {
            tiers: self.tiers.clone(),
            timeout: self.timeout,
            archive_timeout: self.archive_timeout,
            cache_repo: self.cache_repo.clone(),
            max_mount_size: self.max_mount_size,
            ..OptionLayer::default()
        }
    }
}

/// Deserializes a mapping and rejects duplicate names.
pub(super) fn unique<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, NamedImage>, D::Error> {
    struct ImagesVisitor;
    impl<'de> Visitor<'de> for ImagesVisitor {
        type Value = BTreeMap<String, NamedImage>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a mapping")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut images = BTreeMap::new();
            while let Some((name, image)) = access.next_entry::<String, NamedImage>()? {
                if images.contains_key(&name) {
                    return Err(A::Error::custom(format_args!("`{name}` is defined twice")));
                }
                images.insert(name, image);
            }
            Ok(images)
        }
    }
    deserializer.deserialize_map(ImagesVisitor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{BuildArgs, ImageArgs, SourceArgs};
    use crate::registry::ImageRef;
    use crate::settings::NamedContextSource;

    fn image(text: &str) -> NamedImage {
        serde_yaml::from_str(text).unwrap()
    }

    /// Returns the inputs of an image of `/shop/larder.yaml`, overridden by `flags`.
    fn source(image: &NamedImage, flags: &BuildArgs) -> SourceLayer {
        let file = ConfigFile::at("/shop/larder.yaml");
        let environment = [("TOKEN".to_owned(), "of-environment".to_owned())].into_iter().collect();
        let typed = SourceLayer::from_flags(flags, true, &environment).unwrap();
        typed.combine(image.source("bert", &file, flags.push, &environment).unwrap())
    }

    fn names(layer: &SourceLayer) -> Vec<String> {
        layer.names.iter().map(ImageRef::familiar).collect()
    }

    #[test]
    fn flags_override_the_file_and_its_paths_are_relative_to_it() {
        let image = image(
            "tags: [nlp]\ncontext: models/bert\ndockerfile: docker/bert.Dockerfile\ntarget: runtime\n\
             args: {PYTHON: 3.10, TOKEN: null, UNSET: null, KEPT: a, guest_os: none}\nbuild_contexts: {data: data, base: 'docker-image://base'}\n\
             secrets: ['id=a,src=token']\nadditional_context: {batch: '32'}\n",
        );
        let layer = source(&image, &BuildArgs::default());
        assert_eq!(names(&layer), ["bert:latest"]);
        assert_eq!(layer.context.unwrap().value, BuildContextSource::Directory("/shop/models/bert".into()));
        assert_eq!(layer.dockerfile.unwrap().value, PathBuf::from("/shop/docker/bert.Dockerfile"));
        assert_eq!((&*layer.build_args["PYTHON"], &*layer.build_args["TOKEN"]), ("3.10", "of-environment"));
        assert!(!layer.build_args.contains_key("UNSET"));
        let directory = NamedContextSource::Directory("/shop/data".into());
        assert_eq!(layer.named_contexts["data"].value, directory);
        assert_eq!(layer.secrets["a"].value, Secret::File("/shop/token".into()));
        assert_eq!(layer.additional_context.unwrap().values["batch"], "32");

        let typed = BuildArgs {
            image: ImageArgs { tag: vec!["mine".to_owned()], ..ImageArgs::default() },
            source: SourceArgs {
                file: Some("Other".to_owned()),
                build_arg: ["PYTHON=3.9", "KEPT", "B=1", "B"].map(str::to_owned).to_vec(),
                tags: vec!["mine".to_owned()],
                additional_context: Some("{'guest_os': 'CENTOS'}".to_owned()),
                ..SourceArgs::default()
            },
            ..BuildArgs::default()
        };
        let layer = source(&image, &typed);
        assert_eq!(names(&layer), ["mine:latest"]);
        assert_eq!(layer.dockerfile.unwrap().value, PathBuf::from("Other"));
        assert_eq!(layer.target.as_deref(), Some("runtime"));
        assert_eq!(layer.build_args["PYTHON"], "3.9");
        assert_eq!((&*layer.build_args["KEPT"], &*layer.build_args["B"]), ("a", "1"), "unset variables");
        assert!(!layer.build_args.contains_key("guest_os"), "the typed context sets it");
        assert_eq!(layer.key_tags.into_iter().collect::<Vec<_>>(), ["mine", "nlp"]);
    }

    #[test]
    fn an_image_without_names_is_named_by_its_key_unless_it_is_pushed() {
        let plain = image("{}");
        let layer = source(&plain, &BuildArgs::default());
        assert_eq!(names(&layer), ["bert:latest"]);
        assert_eq!(layer.context.unwrap().value, BuildContextSource::Directory("/shop/".into()));
        let pushed = BuildArgs { push: true, ..BuildArgs::default() };
        assert_eq!(names(&source(&plain, &pushed)), [""; 0]);
    }

    #[test]
    fn an_error_names_the_key_that_is_wrong() {
        let file = ConfigFile::at("/shop/larder.yaml");
        for (text, key) in [
            ("secrets: ['src=x']", "images.bert.secrets: "),
            ("platforms: [a/b/c/d]", "images.bert.platforms: "),
            ("names: ['app@sha256:1']", "images.bert.names: "),
            ("add_hosts: [db]", "images.bert.add_hosts: "),
            ("build_contexts: {data: 'oci-layout://x'}", "images.bert.build_contexts: "),
            ("additional_context: {'a b': c}", "images.bert.additional_context: "),
        ] {
            let error =
                image(text).source("bert", &file, false, &Environment::default()).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
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
