//! The image key: everything that can change the image.
//!
//! It includes the reached stages' instructions in canonical form, the values of the arguments that they declare, base
//! images by digest (by reference if it is unknown), the context files that they can see, and the options. It does not
//! include comments, names of stages, unreached stages, build arguments that no reached stage declares, proxies, and
//! the image's names.
//!
//! If the instructions are unknown, because the text does not parse or uses a frontend other than Docker's, the whole
//! text and everything given with it is included.

use super::dependency::{self, DependencyLayers};
use super::encoding::{CacheKey, DuplicateInput, KeyBuilder, KeyRole};
use super::given::{ImageInputs, pinned, told};
use super::input::{Input, InputKind};
use super::reached::Reached;
use super::seal::Seal;
use crate::dockerfile::{Dockerfile, Resolution};

/// The keys of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The key of the whole image.
    pub image: CacheKey,
    pub(crate) dependency: CacheKey,
    /// The inputs of the image key, sorted by kind and name. The digests of confidential ones must stay in the process;
    /// what is stored or shown is [`Seal::publish`].
    pub(crate) inputs: Vec<Input>,
    pub(crate) dependency_inputs: Vec<Input>,
    /// The layers that the dependency key determines.
    pub(crate) layers: DependencyLayers,
}

impl Keys {
    /// Returns the inputs that may be shown: those of the image key, and the dependency files.
    pub(crate) fn told(&self) -> impl Iterator<Item = &Input> {
        let is_dependency =
            |input: &&Input| matches!(input.kind, InputKind::Requirement | InputKind::MissingRequirement);
        self.inputs.iter().chain(self.dependency_inputs.iter().filter(is_dependency))
    }

    /// Returns the inputs in the form that may be stored. Confidential digests are sealed, which takes tens of
    /// milliseconds each.
    pub(crate) fn published(&self, seal: &Seal) -> Vec<Input> {
        self.told().map(|input| seal.publish(input)).collect()
    }
}

impl ImageInputs<'_> {
    /// Computes both keys. `read` returns a context file's bytes by path, or `None` if the path is not a file; it is
    /// called for dependency files only.
    ///
    /// # Errors
    ///
    /// Fails if two context files have one path.
    pub fn keys(&self, read: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<Keys, DuplicateInput> {
        let parsed = self.parsed.filter(|_| self.reads_docker_syntax());
        let (image, dependency, layers) = if let Some((dockerfile, resolution)) = parsed {
            let (dependency, layers) = dependency::dependency(self, dockerfile, resolution, read)?;
            (self.image(dockerfile, resolution)?, dependency, layers)
        } else {
            let whole = self.whole()?;
            (whole.clone(), whole, DependencyLayers::none())
        };
        // Sealing is slow, so both run concurrently.
        let (image_key, dependency_key) = std::thread::scope(|scope| {
            let image = scope.spawn(|| image.finish(KeyRole::Image, self.seal));
            let dependency = dependency.finish(KeyRole::Dependency, self.seal);
            (image.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), dependency)
        });
        Ok(Keys {
            image: image_key,
            dependency: dependency_key,
            inputs: image.into_inputs(),
            dependency_inputs: dependency.into_inputs(),
            layers,
        })
    }

    fn image(&self, dockerfile: &Dockerfile, resolution: &Resolution) -> Result<KeyBuilder, DuplicateInput> {
        let mut key = KeyBuilder::default();
        self.add_directives(&mut key, dockerfile)?;
        let reached = Reached::of(resolution);
        for stage in &resolution.stages {
            reached.add_stage(&mut key, stage, stage.instructions.len())?;
        }
        reached.add_bases(&mut key, &(0..resolution.bases.len()).collect(), self.bases)?;
        let place = reached.place(resolution.target).to_string();
        let name = resolution.stages.iter().find(|stage| stage.index == resolution.target);
        let name = name.and_then(|stage| stage.name.as_deref()).unwrap_or(&place);
        key.add_told(InputKind::Target, "stage", &[place.as_bytes()], name)?;
        Self::add_platform(&mut key, resolution)?;
        let untold = !resolution.untold_triggers.is_empty();
        self.add_build_args(&mut key, |name| resolution.sees_undeclared_arg(name))?;
        self.add_ids(&mut key, resolution)?;
        self.add_contexts(&mut key, |name| untold || resolution.named_contexts.contains(name))?;
        self.add_run_options(&mut key)?;
        self.add_image_options(&mut key)?;
        self.add_extra(&mut key)?;
        self.add_files(&mut key)?;
        Ok(key)
    }

    /// Includes everything that was given, for a text whose instructions are unknown.
    fn whole(&self) -> Result<KeyBuilder, DuplicateInput> {
        let mut key = KeyBuilder::default();
        key.add_values(InputKind::Dockerfile, "text", &[self.text.as_bytes()])?;
        for (number, pin) in self.bases.iter().enumerate() {
            let [state, digest] = pinned(pin.digest.as_deref());
            let name = format!("#{number}");
            key.add_told(InputKind::BaseImage, &name, &[pin.platform.as_bytes(), state, digest], told(pin))?;
            key.add_values(InputKind::BaseName, &name, &[pin.reference.as_bytes()])?;
        }
        if let Some(target) = self.target {
            key.add_told(InputKind::Target, "stage", &[target.as_bytes()], target)?;
        }
        if let Some(platform) = self.platform {
            key.add_told(InputKind::Platform, "target", &[platform.as_bytes()], platform)?;
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
