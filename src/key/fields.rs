//! Hashes fields, each prefixed with its length.

use sha2::{Digest as _, Sha256};

use super::input::Input;
use crate::digest::Digest;

/// A hash of fields. No two different sequences of fields have the same encoding.
pub(super) struct FieldHasher(Sha256);

impl FieldHasher {
    /// Creates a hash whose first field is the name and version of the encoding.
    pub(super) fn new(version: &str) -> Self {
        let mut fields = Self(Sha256::new());
        fields.field(version.as_bytes());
        fields
    }

    pub(super) fn field(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    pub(super) fn count(&mut self, count: usize) {
        self.0.update((count as u64).to_le_bytes());
    }

    /// Adds the number of inputs, and the kind, name and digest of each.
    pub(super) fn inputs(&mut self, inputs: &[&Input]) {
        self.count(inputs.len());
        for input in inputs {
            self.field(input.kind.name().as_bytes());
            self.field(input.name.as_bytes());
            self.field(input.digest.as_bytes());
        }
    }

    pub(super) fn digest(self) -> Digest {
        let bytes: [u8; 32] = self.0.finalize().into();
        Digest::from(bytes)
    }
}
