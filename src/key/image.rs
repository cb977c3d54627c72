//! The image key: everything that can change the image.
//!
//! Counted are the reached stages' instructions in their canonical form, the
//! values of the arguments that they declare, base images by digest (by
//! reference where none is known), the context files that they can see, and
//! the options. Not counted are comments, names of stages, stages that are not
//! reached, build arguments that no reached stage declares, proxies, and the
//! image's names.
//!
//! Where the instructions cannot be told apart, because the text does not
//! parse or another frontend than Docker's own reads it, the whole text counts
//! and everything else that was given with it.

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
    /// The key of its dependencies.
    pub(crate) dependency: CacheKey,
    /// What the image key is made of, sorted by kind and name. The digests of
    /// confidential ones stay in the process; what is stored or shown is
    /// [`Seal::publish`].
    pub(crate) inputs: Vec<Input>,
    /// What the dependency key is made of.
    pub(crate) dependency_inputs: Vec<Input>,
    /// The layers that the dependency key decides.
    pub(crate) layers: DependencyLayers,
}

impl Keys {
    /// All that can be told of the keys: what the image key is made of, and the dependency files.
    pub(crate) fn told(&self) -> impl Iterator<Item = &Input> {
        let is_dependency =
            |input: &&Input| matches!(input.kind, InputKind::Requirement | InputKind::MissingRequirement);
        self.inputs.iter().chain(self.dependency_inputs.iter().filter(is_dependency))
    }

    /// The same as it may be stored; confidential digests are sealed, which takes tens of milliseconds for each.
    pub(crate) fn published(&self, seal: &Seal) -> Vec<Input> {
        self.told().map(|input| seal.publish(input)).collect()
    }
}

impl ImageInputs<'_> {
    /// Computes both keys. `read` yields a context file's bytes by path, or
    /// `None` for what is no file; it is asked for dependency files alone.
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
        // Sealing takes a while, so both at once.
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

    /// Everything that was given, for a text that cannot be told apart.
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
