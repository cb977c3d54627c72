//! Sealing: protects digests of values that could be guessed.
//!
//! A build argument can be as short as `1` or a four-digit PIN. Anyone with a plain digest of it, or of a key whose
//! other inputs are known, could try all candidates quickly. Such values therefore go through Argon2id (RFC 9106), with
//! OWASP's minimum parameters for passwords: one guess takes 19 MiB and tens of milliseconds. With a secret from the
//! user, guessing is infeasible without it.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};

use super::fields::Fields;
use super::input::Input;
use crate::digest::Digest;

/// Memory in KiB, passes, lanes.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

/// The parameters of sealing.
#[derive(Clone)]
pub struct Seal {
    secret: Vec<u8>,
    cost: (u32, u32, u32),
}

impl Default for Seal {
    fn default() -> Self {
        Self { secret: Vec::new(), cost: COST }
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("has_secret", &!self.secret.is_empty()).finish_non_exhaustive()
    }
}

impl Seal {
    /// Creates a seal with a secret that everyone who computes the same keys must share; an empty one means no secret.
    pub(crate) fn new(secret: &[u8]) -> Self {
        // A digest, because Argon2 bounds the length of a secret.
        let secret = if secret.is_empty() { Vec::new() } else { Digest::of(secret).as_bytes().to_vec() };
        Self { secret, cost: COST }
    }

    /// Creates a seal with minimal cost.
    #[cfg(test)]
    pub(super) fn cheap() -> Self {
        Self { secret: Vec::new(), cost: (8, 1, 1) }
    }

    /// Returns one sealed digest over `inputs`, salted with `beside`, the digest of the open inputs.
    pub(super) fn close<'a>(&self, inputs: impl Iterator<Item = &'a Input>, beside: Digest) -> Digest {
        let mut fields = Fields::new("larder-seal-v1");
        for input in inputs {
            fields.field(input.kind.name().as_bytes());
            fields.field(input.name.as_bytes());
            fields.field(input.digest.as_bytes());
        }
        self.stretch(&fields.digest(), &beside)
    }

    /// Returns the input in the form that may be stored and shown: a confidential digest is sealed, deterministically
    /// for kind, name and value. That takes tens of milliseconds each.
    #[must_use]
    pub(crate) fn publish(&self, input: &Input) -> Input {
        let mut published = input.clone();
        if input.kind.is_confidential() {
            published.digest = self.close(std::iter::once(input), Digest::of(input.name.as_bytes()));
        }
        published
    }

    fn stretch(&self, value: &Digest, salt: &Digest) -> Digest {
        let (memory, passes, lanes) = self.cost;
        let mut out = [0; 32];
        Params::new(memory, passes, lanes, Some(out.len()))
            .and_then(|params| {
                let (algorithm, version) = (Algorithm::Argon2id, Version::V0x13);
                if self.secret.is_empty() {
                    return Ok(Argon2::new(algorithm, version, params));
                }
                Argon2::new_with_secret(&self.secret, algorithm, version, params)
            })
            .and_then(|argon2| argon2.hash_password_into(value.as_bytes(), salt.as_bytes(), &mut out))
            .expect("constant costs and lengths are within Argon2's bounds");
        Digest::from(out)
    }
}
