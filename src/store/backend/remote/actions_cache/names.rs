//! Encodes paths as keys of the cache, and decodes them.
//!
//! ```text
//! chunks/3f/3f9A  below  team/x   ─▶  team/x/chunks/3f/3f9%41!
//! ```
//!
//! The encoding is reversible in spite of the rules of the service. The service ignores case when it compares keys, so
//! capital letters are escaped. It does not allow commas. If no entry has the requested key, it returns an entry whose
//! key begins with it, so each key ends with a character that occurs nowhere else.

use std::fmt::Write as _;

use crate::store::backend::remote::url::percent_decode;

/// The last character of each key, which occurs nowhere else in a key.
const KEY_END: char = '!';

#[derive(Debug, Clone)]
pub(super) struct EntryNames {
    /// The escaped prefix, with a trailing slash unless it is empty.
    prefix: String,
}

impl EntryNames {
    pub(super) fn below(prefix: &str) -> Self {
        let slash = if prefix.is_empty() { "" } else { "/" };
        Self { prefix: format!("{}{slash}", escape(prefix)) }
    }

    pub(super) fn key(&self, path: &str) -> String {
        format!("{}{KEY_END}", self.keys_below(path))
    }

    /// Returns the prefix of the keys of all objects in `directory`; it is empty or ends with a slash.
    pub(super) fn keys_below(&self, directory: &str) -> String {
        format!("{}{}", self.prefix, escape(directory))
    }

    /// Returns the path of the object with this key, if the key is valid and below the prefix.
    pub(super) fn path(&self, key: &str) -> Option<String> {
        let path = percent_decode(key.strip_prefix(&self.prefix)?.strip_suffix(KEY_END)?).ok()?;
        (self.key(&path) == key).then_some(path)
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => escaped.push(char::from(byte)),
            _ => write!(escaped, "%{byte:02x}").expect("writing to a string never fails"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_decoded_to_their_path_and_other_names_are_rejected() {
        let names = EntryNames::below("Team, x");
        assert_eq!(names.key("a/B-c_~2f.json"), "%54eam%2c%20x/a/%42-c_~2f.json!");
        assert_eq!(names.path("%54eam%2c%20x/a/%42-c_~2f.json!").as_deref(), Some("a/B-c_~2f.json"));
        for other in [
            "a!",
            "%54eam%2c%20x/a",
            "%54eam%2c%20x/A!",
            "%54eam%2c%20x/%61!",
            "%54eam%2c%20x/%5A!",
            "%54eam%2c%20x/%+1!",
        ] {
            assert_eq!(names.path(other), None, "{other}");
        }
    }

    proptest! {
        /// One repository can contain several stores with any prefixes.
        #[test]
        fn no_key_is_a_prefix_of_a_different_one_in_any_case(
            prefixes in prop::array::uniform2("[aA!%/,]{0,4}"),
            paths in prop::array::uniform2("[aA~]{1,3}"),
        ) {
            let key = |store: usize| EntryNames::below(&prefixes[store]).key(&paths[store]).to_lowercase();
            let place = |store: usize| {
                let slash = if prefixes[store].is_empty() { "" } else { "/" };
                format!("{}{slash}{}", prefixes[store], paths[store])
            };
            prop_assert_eq!(key(0).starts_with(&key(1)), place(0) == place(1));
            prop_assert_eq!(EntryNames::below(&prefixes[0]).path(&EntryNames::below(&prefixes[0]).key(&paths[0])), Some(paths[0].clone()));
        }
    }
}
