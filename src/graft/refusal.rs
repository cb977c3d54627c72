//! The reasons why an image cannot be grafted.

use crate::dockerfile::PrefixObstacle;

/// The reason why the last instructions of a Dockerfile need a builder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(transparent)]
    Impossible(#[from] PrefixObstacle),
    #[error("line {line}: {what}")]
    Instruction { line: usize, what: String },
    #[error("the environment variables of the base image are unknown")]
    UnknownBase,
    #[error("the Dockerfile declares SOURCE_DATE_EPOCH")]
    SourceDateEpoch,
    #[error("the config of the prefix cannot be read")]
    UnreadableConfig,
    #[error("the image would have more than {0} layers")]
    TooManyLayers(usize),
    #[error("the build context cannot be read: {0}")]
    UnreadableContext(String),
}

impl Refusal {
    pub(crate) fn at(line: usize, what: impl Into<String>) -> Self {
        Self::Instruction { line, what: what.into() }
    }
}
