//! A prefix in the output of `larder key` and `larder why`.

use serde::Serialize;

use crate::key::{CacheKey, PrefixKey};

#[derive(Serialize)]
pub(super) struct PrefixLine {
    pub(super) key: CacheKey,
    /// The number of the line of the last instruction.
    line: usize,
    instruction: String,
    #[serde(skip)]
    pub(super) place: String,
}

impl From<&PrefixKey> for PrefixLine {
    fn from(prefix: &PrefixKey) -> Self {
        let (line, instruction) = (prefix.line, prefix.instruction.clone());
        Self { key: prefix.key, line, instruction, place: prefix.describe_end() }
    }
}
