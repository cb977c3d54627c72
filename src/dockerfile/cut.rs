//! A position in a stage of a Dockerfile, which separates a prefix of the image from the rest.

/// A position in a stage: after one of its own instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cut {
    /// The index of the stage in the Dockerfile.
    pub(crate) stage: usize,
    /// The number of the stage's own instructions before the cut, including the FROM; at least 1. The ONBUILD triggers
    /// of the base run directly after the FROM. They are always before the cut, and are not counted.
    pub(crate) instructions: usize,
}
