//! Describes the image of a Dockerfile that ends at a cut, with the help of the builder. No steps are run.

use std::io;
use std::time::Duration;

use super::job::Job;
use super::prefix::PrefixLookup;
use crate::buildkit::SolveError;
use crate::dockerfile::{Cut, Dockerfile, InstructionKind, Resolution, Source, truncate_to_prefix};
use crate::images::SavePrefixError;
use crate::key::PrefixKey;
use crate::pipeline::inputs::NOT_LOCAL;
use crate::pipeline::keys::BuildKeys;
use crate::registry::{CutBase, CutImage, PrefixError, RegistryError, UploadError};

#[derive(Debug, thiserror::Error)]
pub(super) enum CutImageError {
    #[error(transparent)]
    Solve(Box<SolveError>),
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    #[error("the Dockerfile cannot be written")]
    Write(#[source] io::Error),
    #[error("{}", NOT_LOCAL)]
    NotLocal,
}

#[derive(Debug, thiserror::Error)]
#[error("the layers up to {place} are not {action}")]
pub(super) struct UnsavedPrefix {
    place: String,
    action: &'static str,
    #[source]
    reason: Box<UnsavedReason>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum UnsavedReason {
    #[error(transparent)]
    Cut(#[from] CutImageError),
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Upload(#[from] UploadError),
    #[error(transparent)]
    Archive(#[from] SavePrefixError),
    #[error("that took longer than {0:?}")]
    TimedOut(Duration),
}

impl UnsavedPrefix {
    /// `action` is what was not done: `published`, `archived`.
    pub(super) fn new(prefix: &PrefixKey, action: &'static str, reason: UnsavedReason) -> Self {
        Self { place: prefix.describe_end(), action, reason: Box::new(reason) }
    }

    /// Returns `true` if no build on this base image can save prefixes.
    pub(super) fn is_base_unsupported(&self) -> bool {
        let (UnsavedReason::Prefix(error) | UnsavedReason::Archive(SavePrefixError::Prefix(error))) =
            &*self.reason
        else {
            return false;
        };
        error.is_base_unsupported()
    }
}

impl From<SolveError> for CutImageError {
    fn from(error: SolveError) -> Self {
        Self::Solve(Box::new(error))
    }
}

impl Job<'_> {
    /// Returns the Dockerfile up to the cut, as it was built, and the index of the stage that contains the cut.
    pub(super) fn cut_text(
        &self,
        key: &PrefixKey,
        prefixes: &PrefixLookup,
    ) -> Result<(String, usize), CutImageError> {
        let continued = prefixes.continuation.as_ref().map(|continued| &continued.text);
        let text = continued.or_else(|| self.inputs.built_text()).ok_or(CutImageError::NotLocal)?;
        let dockerfile = text.parsed().map_err(|_| CutImageError::NotLocal)?;
        let cut = cut_in(dockerfile, key);
        Ok((truncate_to_prefix(text.as_str(), dockerfile, cut), cut.stage))
    }

    pub(super) async fn cut_image(
        &self,
        (keys, key): (&BuildKeys, &PrefixKey),
        prefixes: &PrefixLookup,
    ) -> Result<CutImage, CutImageError> {
        let (cut_text, _) = self.cut_text(key, prefixes)?;
        let directory = self.inputs.write_dockerfile(&cut_text).map_err(CutImageError::Write)?;
        let config = self.describe(keys, directory.path()).await?.ok_or(PrefixError::MalformedCutConfig)?;
        let base = CutBase {
            own_entries: history_length(&keys.resolution, key.cut),
            layers: self.base_layers(keys),
            is_prefix: prefixes.continuation.is_some(),
            has_times: !self.build.source.build_args.contains_key("SOURCE_DATE_EPOCH"),
        };
        Ok(CutImage::parse(&config, base)?)
    }
}

/// Returns where a prefix ends in this version of the Dockerfile. Instructions before the end may be missing here.
fn cut_in(dockerfile: &Dockerfile, key: &PrefixKey) -> Cut {
    let instructions = dockerfile.stages[key.cut.stage].instructions.iter();
    let instructions = instructions.take_while(|at| *at.lines.start() <= key.line).count();
    Cut { stage: key.cut.stage, instructions: instructions.max(1) }
}

/// Returns the number of entries in the history of a prefix that its base image does not have: one for each instruction
/// of the target stage and of the stages that it is based on, except ONBUILD.
fn history_length(resolution: &Resolution, cut: Cut) -> usize {
    let find = |index| resolution.stages.iter().find(|stage| stage.index == index);
    let mut count = 0;
    let mut next = find(cut.stage);
    while let Some(stage) = next {
        let is_target = stage.index == cut.stage;
        let triggers = stage.instructions.iter().filter(|at| at.is_trigger).count();
        let limit = if is_target { cut.instructions + triggers } else { usize::MAX };
        let own = stage.instructions.iter().take(limit).skip(1);
        count += own.filter(|at| !matches!(at.instruction.kind, InstructionKind::Onbuild(_))).count();
        next = if let Source::Stage(base) = stage.base { find(base) } else { None };
    }
    count
}
