//! Seals digests of values that could be guessed.
//!
//! A build argument can be as short as `1` or a four-digit PIN. Anyone with a plain digest of it, or of a key whose
//! other inputs are known, could try all candidates quickly. Such values are therefore hashed with Argon2id (RFC 9106),
//! with OWASP's minimum parameters for passwords: one guess takes 19 MiB and tens of milliseconds. If the user provides
//! a secret, guessing is not feasible without it.
//!
//! The salt is a digest of the kinds and names of the values. Therefore, keys of one build with the same values share
//! one seal. The disadvantage is that one table of guesses would serve for all builds with arguments of these names.
//! Only a secret protects values for which someone would compute such a table.

use std::fmt;
use std::panic::resume_unwind;
use std::thread::{self, ScopedJoinHandle};

use argon2::{Algorithm, Argon2, Params, Version};

use super::fields::FieldHasher;
use super::input::Input;
use crate::digest::Digest;

/// The memory in KiB, the number of passes, and the number of lanes.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

#[derive(Clone)]
pub(crate) struct Seal {
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
    /// Creates a seal with a secret that everyone who computes the same keys must share. An empty one means no secret.
    pub(crate) fn new(secret: &[u8]) -> Self {
        // A digest is used because Argon2 limits the length of a secret.
        let secret = if secret.is_empty() { Vec::new() } else { Digest::of(secret).as_bytes().to_vec() };
        Self { secret, cost: COST }
    }

    #[cfg(test)]
    pub(super) fn cheap() -> Self {
        Self { secret: Vec::new(), cost: (8, 1, 1) }
    }

    /// Returns one sealed digest of `inputs`, which must be sorted.
    pub(super) fn seal(&self, inputs: &[&Input]) -> Digest {
        let (mut values, mut names) =
            (FieldHasher::new("larder-seal-v2"), FieldHasher::new("larder-salt-v1"));
        for input in inputs {
            for fields in [&mut values, &mut names] {
                fields.field(input.kind.name().as_bytes());
                fields.field(input.name.as_bytes());
            }
            values.field(input.digest.as_bytes());
        }
        self.stretch(&values.digest(), &names.digest())
    }

    /// Seals several lists concurrently, and equal lists only once. An empty list has no digest.
    pub(super) fn seal_all(&self, lists: &[Vec<&Input>]) -> Vec<Option<Digest>> {
        let mut distinct: Vec<&[&Input]> = Vec::new();
        for list in lists {
            if !list.is_empty() && !distinct.contains(&list.as_slice()) {
                distinct.push(list);
            }
        }
        let closed: Vec<Digest> = thread::scope(|scope| {
            let threads: Vec<_> = distinct.iter().map(|list| scope.spawn(|| self.seal(list))).collect();
            let joined = threads.into_iter().map(ScopedJoinHandle::join);
            joined.map(|digest| digest.unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        let place = |list: &Vec<&Input>| distinct.iter().position(|known| known == list);
        lists.iter().map(|list| Some(closed[place(list)?])).collect()
    }

    /// Returns the input in the form that may be stored and shown. A confidential digest is sealed; the result depends
    /// only on kind, name, value and secret. Sealing takes tens of milliseconds.
    #[must_use]
    pub(crate) fn publish(&self, input: &Input) -> Input {
        let mut published = input.clone();
        if input.kind.is_confidential() {
            published.digest = self.seal(&[input]);
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
