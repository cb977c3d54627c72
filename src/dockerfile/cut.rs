//! A position in a stage of a Dockerfile, which separates a prefix of the image from the rest.

use super::{Dockerfile, InstructionKind};

/// A position in a stage: after one of its own instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cut {
    /// The index of the stage in the Dockerfile.
    pub(crate) stage: usize,
    /// The number of the stage's own instructions before the cut, the FROM included; at least 1. The ONBUILD triggers
    /// of the base run directly after the FROM, so they are always before the cut, and are not counted.
    pub(crate) instructions: usize,
}

impl Dockerfile {
    /// Returns the Dockerfile without the instructions of the cut's stage behind the cut, and without that stage's
    /// ONBUILD lines. All other stages remain.
    pub(crate) fn until(&self, cut: Cut) -> Self {
        let mut before = self.clone();
        if let Some(stage) = before.stages.get_mut(cut.stage) {
            stage.instructions.truncate(cut.instructions);
            stage.instructions.retain(|instruction| !matches!(instruction.kind, InstructionKind::Onbuild(_)));
        }
        before
    }
}
