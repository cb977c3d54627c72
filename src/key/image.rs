//! Computes the image key, which includes everything that can change the image.
//!
//! It includes the reached stages' instructions in canonical form, the values of the arguments that they declare, base
//! images by digest (by reference if the digest is unknown), the context files that they can see, and the options. It
//! does not include comments, names of stages, unreached stages, build arguments that no reached stage declares,
//! proxies, and the image's names.
//!
//! If the instructions are unknown, because the text does not parse or uses a frontend other than Docker's, the key
//! includes the whole text and everything given with it.

use super::dependency::{self, DependencyLayers};
use super::encoding::{CacheKey, DuplicateInput, KeyBuilder, KeyRole};
use super::image_inputs::{ContextAccess, ImageInputs, ParsedDockerfile, pinned, shown_digest};
use super::input::{Input, InputKind};
use super::installer::Installations;
use super::prefix::{self, NoPrefixReason, PrefixKey, PrefixKeys, UnfinishedPrefixes};
use super::project::ContextLookup;
use super::reached::ReachedStages;
use super::seal::Seal;
use crate::dockerfile::{Dockerfile, Resolution};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) image: CacheKey,
    pub(crate) dependency: CacheKey,
    /// The inputs of the image key, sorted by kind and name. The digests of confidential ones must stay in the process;
    /// only the result of [`Seal::publish`] may be stored or shown.
    pub(crate) inputs: Vec<Input>,
    pub(crate) dependency_inputs: Vec<Input>,
    pub(crate) layers: DependencyLayers,
    pub(crate) prefixes: PrefixKeys,
    /// The prefixes that a graft publishes, after each of its larger layers. The deepest is first.
    pub(crate) grafted: Vec<PrefixKey>,
}

impl Keys {
    /// Returns the inputs that may be shown: those of the image key, and the dependency files.
    pub(crate) fn shown_inputs(&self) -> impl Iterator<Item = &Input> {
        let is_dependency =
            |input: &&Input| matches!(input.kind, InputKind::Requirement | InputKind::MissingRequirement);
        self.inputs.iter().chain(self.dependency_inputs.iter().filter(is_dependency))
    }

    /// Returns the inputs in the form that may be stored. Confidential digests are sealed, which takes tens of
    /// milliseconds each.
    pub(crate) fn published(&self, seal: &Seal) -> Vec<Input> {
        self.shown_inputs().map(|input| seal.publish(input)).collect()
    }
}

impl ImageInputs<'_> {
    /// Computes all keys. Only dependency files of the context are read. Fails if two context files have the same path.
    pub(crate) fn keys(&self, context: &ContextAccess<'_>) -> Result<Keys, DuplicateInput> {
        let parsed = self.parsed.filter(|_| self.reads_docker_syntax());
        let (image, dependency, layers, prefixes) = if let Some(parsed) = parsed {
            let ParsedDockerfile { dockerfile, resolution, .. } = parsed;
            let project = ContextLookup::of(resolution, self.files, context.read);
            let installations = Installations::of(&project, resolution);
            let (dependency, layers) =
                dependency::dependency(self, dockerfile, resolution, &project, &installations)?;
            let prefixes = prefix::prefixes(self, &parsed, &installations, context)?;
            (self.image(dockerfile, resolution)?, dependency, layers, prefixes)
        } else {
            let whole = self.unparsed_inputs()?;
            (whole.clone(), whole, DependencyLayers::none(), UnfinishedPrefixes::none(self.no_prefixes()))
        };
        let mut builders = vec![(KeyRole::Image, &image), (KeyRole::Dependency, &dependency)];
        let UnfinishedPrefixes { prefixes, grafted } = prefixes;
        let all = prefixes.iter().flatten().chain(&grafted);
        builders.extend(all.map(|prefix| (KeyRole::Prefix, &prefix.inputs)));
        let mut finished = KeyBuilder::finish_all(&builders, self.seal).into_iter();
        let mut next = || finished.next().expect("each collection of inputs has a key");
        let (image_key, dependency_key) = (next(), next());
        let prefixes =
            prefixes.map(|prefixes| prefixes.into_iter().map(|prefix| prefix.with_key(next())).collect());
        let grafted = grafted.into_iter().map(|prefix| prefix.with_key(next())).collect();
        Ok(Keys {
            image: image_key,
            dependency: dependency_key,
            inputs: image.into_inputs(),
            dependency_inputs: dependency.into_inputs(),
            layers,
            prefixes,
            grafted,
        })
    }

    /// Returns the reason why a Dockerfile whose instructions are unknown has no prefixes.
    fn no_prefixes(&self) -> NoPrefixReason {
        let syntax = self.parsed.and_then(|parsed| parsed.dockerfile.directives.syntax.clone());
        match syntax {
            _ if self.reads_docker_syntax() => NoPrefixReason::UnknownInstructions,
            Some(syntax) if !self.build_args.contains_key("BUILDKIT_SYNTAX") => {
                NoPrefixReason::UnknownFrontend(syntax)
            }
            _ => NoPrefixReason::UnknownFrontend("given with BUILDKIT_SYNTAX".to_owned()),
        }
    }

    fn image(&self, dockerfile: &Dockerfile, resolution: &Resolution) -> Result<KeyBuilder, DuplicateInput> {
        let mut key = KeyBuilder::default();
        self.add_reached(&mut key, dockerfile, resolution)?;
        let place = ReachedStages::of(resolution).position(resolution.target).to_string();
        let name = resolution.stages.iter().find(|stage| stage.index == resolution.target);
        let name = name.and_then(|stage| stage.name.as_deref()).unwrap_or(&place);
        key.add_described(InputKind::Target, "stage", &[place.as_bytes()], name)?;
        self.add_image_options(&mut key)?;
        Ok(key)
    }

    /// Adds everything that the reached stages depend on.
    pub(super) fn add_reached(
        &self,
        key: &mut KeyBuilder,
        dockerfile: &Dockerfile,
        resolution: &Resolution,
    ) -> Result<(), DuplicateInput> {
        self.add_directives(key, dockerfile)?;
        let reached = ReachedStages::of(resolution);
        for stage in &resolution.stages {
            reached.add_stage(key, stage, stage.instructions.len())?;
        }
        reached.add_bases(key, &(0..resolution.bases.len()).collect(), self.bases)?;
        Self::add_platform(key, resolution)?;
        let has_unknown_triggers = !resolution.unknown_triggers.is_empty();
        self.add_build_args(key, |name| resolution.sees_undeclared_arg(name))?;
        self.add_ids(key, resolution)?;
        self.add_contexts(key, |name| has_unknown_triggers || resolution.named_contexts.contains(name))?;
        self.add_run_options(key)?;
        self.add_extra(key)?;
        self.add_files(key)
    }

    /// Returns the inputs for a text whose instructions are unknown: everything that was given.
    fn unparsed_inputs(&self) -> Result<KeyBuilder, DuplicateInput> {
        let mut key = KeyBuilder::default();
        key.add_values(InputKind::Dockerfile, "text", &[self.text.as_bytes()])?;
        for (number, pin) in self.bases.iter().enumerate() {
            let [state, digest] = pinned(pin.digest.as_deref());
            let name = format!("#{number}");
            key.add_described(
                InputKind::BaseImage,
                &name,
                &[pin.platform.as_bytes(), state, digest],
                shown_digest(pin),
            )?;
            key.add_values(InputKind::BaseName, &name, &[pin.reference.as_bytes()])?;
        }
        if let Some(target) = self.target {
            key.add_described(InputKind::Target, "stage", &[target.as_bytes()], target)?;
        }
        if let Some(platform) = self.platform {
            key.add_described(InputKind::Platform, "target", &[platform.as_bytes()], platform)?;
        }
        self.add_build_args(&mut key, |name| !Resolution::is_proxy_arg(name))?;
        for (kind, ids) in [(InputKind::SecretId, self.secrets), (InputKind::SshId, self.ssh)] {
            for id in ids {
                key.add_values(kind, id, &[])?;
            }
        }
        self.add_contexts(&mut key, |_| true)?;
        self.add_run_options(&mut key)?;
        self.add_image_options(&mut key)?;
        self.add_extra(&mut key)?;
        self.add_files(&mut key)?;
        Ok(key)
    }
}
