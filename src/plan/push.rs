//! The settings for pushing an image.

use crate::registry::Compression;

/// The program that pushes images of an engine with a graph driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum PushWith {
    /// larder, where it is expected to be faster.
    #[default]
    Auto,
    Engine,
    Larder,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PushSettings {
    pub(crate) with: PushWith,
    pub(crate) compression: Compression,
}

impl PushSettings {
    /// Returns the compression that an engine with a graph driver uses, or larder when it pushes instead.
    pub(crate) fn effective(self) -> Compression {
        if self.with == PushWith::Engine { Compression::Gzip } else { self.compression }
    }

    /// Returns `true` if the engine may push when that is faster. Engines with a graph driver only use gzip.
    pub(crate) fn may_leave_to_engine(self) -> bool {
        self.with == PushWith::Auto && self.compression == Compression::Gzip
    }
}
