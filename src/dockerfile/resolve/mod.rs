//! Resolves what a build of one target reaches: stages, images, files, arguments.
//!
//! ```text
//!  globals   platform arguments, ARGs before FROM
//!  plan      each stage's expanded base: a stage, an image, a context, scratch
//!  reach     from the target back over FROM, COPY --from and mounts' from=
//!  walk      the reached instructions in order, with the variables they see
//! ```
//!
//! Behaviour after `BuildKit`'s `frontend/dockerfile/dockerfile2llb/convert.go`.

mod globals;
mod options;
mod plan;
mod resolution;
mod walk;

#[cfg(test)]
mod tests;

pub(crate) use globals::PLATFORM_ARGS;
pub use options::{BaseStart, Options, ResolveError};
pub use resolution::{
    BaseImage, BaseUse, CacheMount, ContextSource, Resolution, ResolvedInstruction, ResolvedStage, Source,
};

use super::Dockerfile;

impl Dockerfile {
    /// Resolves one target for one platform.
    ///
    /// # Errors
    ///
    /// Fails for an unknown target, and where the frontend would fail before it ran anything: a word that cannot be
    /// expanded, a blank base, a `--from` with a variable or an index out of range, an invalid platform. Callers should
    /// leave all errors except the unknown target to the engine, which knows the rules of its own version.
    pub fn resolve(&self, options: &Options) -> Result<Resolution, ResolveError> {
        let globals = globals::Globals::of(self, options)?;
        let plan = plan::Plan::of(self, options, &globals)?;
        walk::walk(self, options, &globals, &plan)
    }
}
