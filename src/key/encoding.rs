//! Encodes and hashes the inputs of a key. The parent module documents the encoding.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::fields::FieldHasher;
use super::input::{Input, InputKind};
use super::seal::Seal;
use crate::digest::Digest;
use crate::requirements::without_secrets;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum KeyRole {
    Image,
    Dependency,
    Base,
    Prefix,
}

impl KeyRole {
    fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Dependency => "dependency",
            Self::Base => "base",
            Self::Prefix => "prefix",
        }
    }
}

/// A cache key. It is printed as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CacheKey(Digest);

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a cache key: expected 64 lower-case hex digits")]
pub(crate) struct InvalidCacheKey(String);

impl From<Digest> for CacheKey {
    fn from(digest: Digest) -> Self {
        Self(digest)
    }
}

impl CacheKey {
    pub(crate) fn digest(&self) -> Digest {
        self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.hex())
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CacheKey {
    type Err = InvalidCacheKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digest = format!("sha256:{text}").parse().map_err(|_| InvalidCacheKey(text.to_owned()))?;
        Ok(Self(digest))
    }
}

impl Serialize for CacheKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CacheKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("two key inputs of kind {kind} are named `{name}`")]
pub(crate) struct DuplicateInput {
    pub(crate) kind: InputKind,
    pub(crate) name: String,
}

/// A collection of inputs, from which keys are computed. The order in which inputs are added does not matter.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeyBuilder {
    inputs: BTreeMap<(&'static str, String), Input>,
}

impl KeyBuilder {
    /// Adds an input. Fails if its kind already has one with this name, even an equal one.
    pub(crate) fn add(&mut self, input: Input) -> Result<(), DuplicateInput> {
        if self.get(input.kind, &input.name).is_some() {
            return Err(DuplicateInput { kind: input.kind, name: input.name });
        }
        self.inputs.insert((input.kind.name(), input.name.clone()), input);
        Ok(())
    }

    pub(crate) fn add_values(
        &mut self,
        kind: InputKind,
        name: impl Into<String>,
        values: &[&[u8]],
    ) -> Result<(), DuplicateInput> {
        self.add(Input::of_values(kind, name, values))
    }

    /// Like [`add_values`](Self::add_values), with the description `about` for display.
    pub(super) fn add_described(
        &mut self,
        kind: InputKind,
        name: impl Into<String>,
        values: &[&[u8]],
        about: &str,
    ) -> Result<(), DuplicateInput> {
        self.add(Input::of_values(kind, name, values).about(without_secrets(about)))
    }

    pub(super) fn get(&self, kind: InputKind, name: &str) -> Option<&Input> {
        self.inputs.get(&(kind.name(), name.to_owned()))
    }

    pub(crate) fn into_inputs(self) -> Vec<Input> {
        self.inputs.into_values().collect()
    }

    /// Returns the key of all added inputs for one role.
    pub(crate) fn finish(&self, role: KeyRole, seal: &Seal) -> CacheKey {
        Self::finish_all(&[(role, self)], seal).remove(0)
    }

    /// Returns the keys of several collections of inputs. Keys with the same confidential inputs share one seal.
    pub(super) fn finish_all(keys: &[(KeyRole, &Self)], seal: &Seal) -> Vec<CacheKey> {
        let confidential: Vec<Vec<&Input>> = keys.iter().map(|(_, key)| key.confidential()).collect();
        let sealed = seal.seal_all(&confidential);
        keys.iter().zip(sealed).map(|((role, key), sealed)| key.key(*role, sealed)).collect()
    }

    fn confidential(&self) -> Vec<&Input> {
        self.inputs.values().filter(|input| input.kind.is_confidential()).collect()
    }

    /// Computes the key of the inputs that are not confidential, and of the sealed digest of the others.
    fn key(&self, role: KeyRole, sealed: Option<Digest>) -> CacheKey {
        let sealed = sealed.map(|digest| Input::with_digest(InputKind::Sealed, "values", digest));
        let open = self.inputs.values().filter(|input| !input.kind.is_confidential());
        let mut inputs: Vec<&Input> = open.chain(&sealed).collect();
        inputs.sort_by_key(|input| (input.kind.name(), &input.name));
        let mut fields = FieldHasher::new("larder-key-v2");
        fields.field(role.name().as_bytes());
        fields.inputs(&inputs);
        CacheKey(fields.digest())
    }
}
