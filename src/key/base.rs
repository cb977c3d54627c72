//! Computes the key of a base image: the image key, with dependency files in canonical form.

use std::collections::BTreeSet;

use super::encoding::{CacheKey, DuplicateInput, KeyBuilder, KeyRole};
use super::image::Keys;
use super::input::{Input, InputKind};
use super::seal::Seal;

impl Keys {
    /// Returns the key of the image as a base of other images. A dependency file is included in its canonical form, not
    /// by its bytes. If `files` are given, no other files of the context are included.
    pub(crate) fn base(&self, files: Option<Vec<Input>>, seal: &Seal) -> Result<CacheKey, DuplicateInput> {
        let is_requirement =
            |input: &&Input| matches!(input.kind, InputKind::Requirement | InputKind::MissingRequirement);
        let requirements = || self.dependency_inputs.iter().filter(is_requirement);
        let names: BTreeSet<&str> = requirements().map(|input| input.name.as_str()).collect();
        let counts = |input: &&Input| {
            input.kind != InputKind::File || (files.is_none() && !names.contains(input.name.as_str()))
        };
        let mut key = KeyBuilder::default();
        for input in self.inputs.iter().filter(counts).chain(requirements()) {
            key.add(input.clone())?;
        }
        for file in files.into_iter().flatten() {
            key.add(file)?;
        }
        Ok(key.finish(KeyRole::Base, seal))
    }
}
