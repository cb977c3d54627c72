//! Resolves what a build of one target reaches: stages, images, files, arguments.
//!
//! ```text
//!  globals   platform arguments, ARGs before the first FROM
//!  plan      each stage's expanded base (a stage, an image, a context or scratch), and the stages
//!            that the target reaches through FROM, COPY --from and from= of mounts
//!  walk      the reached instructions in order, with the variables that they see
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
pub use options::Options;
pub(crate) use options::{BaseSettings, ResolveError};
pub(crate) use resolution::{
    BaseImage, CacheMount, ContextSource, Resolution, ResolvedInstruction, ResolvedStage, Source,
};
pub(crate) use walk::join as resolve_path;

use super::Dockerfile;

impl Dockerfile {
    /// Resolves one target for one platform.
    ///
    /// # Errors
    ///
    /// Fails for an unknown target, and where the frontend would fail before it runs a step: for a word that cannot be
    /// expanded, an empty base, a `--from` with a variable or an index out of range, or an invalid platform. Callers
    /// should let the engine report all errors except the unknown target, because the rules depend on its version.
    pub fn resolve(&self, options: &Options) -> Result<Resolution, ResolveError> {
        let globals = globals::GlobalScope::of(self, options)?;
        let plan = plan::ResolvePlan::of(self, options, &globals)?;
        walk::resolve_stages(self, options, &globals, &plan)
    }
}
