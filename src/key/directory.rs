//! Computes the key of a directory that is saved separately, such as a package manager's cache.
//!
//! ```text
//!  key   = SHA-256( field("larder-dir-v1") · count · input* )      inputs and fields as in `larder-key-v2`
//! ```
//!
//! The key includes the platform, the key files by name and content, and user-defined inputs. A pip requirements file
//! is included in its canonical form, with all files that it includes.

use std::collections::BTreeMap;

use super::encoding::KeyBuilder;
use super::fields::FieldHasher;
use super::input::{Input, InputKind};
use crate::digest::Digest;
use crate::requirements::DependencyClosure;

/// The inputs of a directory's key.
#[derive(Debug, Clone, Default)]
pub struct DirectoryInputs {
    /// The `os/architecture` of this machine.
    pub platform: String,
    /// Files that are included byte for byte, by name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Requirement files with their includes.
    pub requirements: DependencyClosure,
    /// User-defined inputs.
    pub extra: BTreeMap<String, String>,
}

/// Returns the key and its inputs, sorted by kind and name.
///
/// # Panics
///
/// Never: the names of a map differ, so no input occurs twice.
pub fn directory_key(inputs: &DirectoryInputs) -> (Digest, Vec<Input>) {
    let mut key = KeyBuilder::default();
    let mut add = |kind, name: &str, values: &[&[u8]]| {
        key.add_values(kind, name, values).expect("the names of a map differ");
    };
    add(InputKind::Platform, "platform", &[inputs.platform.as_bytes()]);
    for (name, content) in &inputs.files {
        add(InputKind::File, name, &[content]);
    }
    for (name, content) in &inputs.requirements.files {
        add(InputKind::Requirement, name, &[content]);
    }
    for name in &inputs.requirements.missing {
        add(InputKind::MissingRequirement, name, &[]);
    }
    for (name, value) in &inputs.extra {
        add(InputKind::Extra, name, &[value.as_bytes()]);
    }
    let inputs = key.into_inputs();
    let mut fields = FieldHasher::new("larder-dir-v1");
    fields.inputs(&inputs.iter().collect::<Vec<_>>());
    (fields.digest(), inputs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs() -> DirectoryInputs {
        let mut inputs = DirectoryInputs { platform: "linux/amd64".to_owned(), ..DirectoryInputs::default() };
        inputs.files.insert("poetry.lock".to_owned(), b"lock".to_vec());
        inputs.requirements.files.insert("requirements.txt".to_owned(), b"flask==3\n".to_vec());
        inputs.extra.insert("python".to_owned(), "3.12".to_owned());
        inputs
    }

    fn key(inputs: &DirectoryInputs) -> Digest {
        directory_key(inputs).0
    }

    #[test]
    fn the_encoding_is_stable() {
        insta::assert_snapshot!(key(&inputs()));
    }

    #[test]
    fn every_input_matters_and_inputs_cannot_be_confused() {
        let changes: [fn(&mut DirectoryInputs); 7] = [
            |inputs| inputs.platform = "linux/arm64".to_owned(),
            |inputs| _ = inputs.files.insert("poetry.lock".to_owned(), b"other".to_vec()),
            |inputs| _ = inputs.files.insert("uv.lock".to_owned(), b"lock".to_vec()),
            |inputs| _ = inputs.requirements.files.insert("requirements.txt".to_owned(), Vec::new()),
            |inputs| _ = inputs.requirements.missing.insert("base.txt".to_owned()),
            |inputs| _ = inputs.extra.insert("python".to_owned(), "3.13".to_owned()),
            // The same name and content as a file, not as requirements.
            |inputs| {
                inputs.files.extend(std::mem::take(&mut inputs.requirements.files));
            },
        ];
        let mut keys = vec![key(&inputs())];
        for change in changes {
            let mut other = inputs();
            change(&mut other);
            keys.push(key(&other));
        }
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), changes.len() + 1);
    }
}
