//! Keeping values of build arguments out of what is stored.
//!
//! A step's digest is that of all it is made of, its arguments' values among
//! them; an engine's error may quote a value. What is kept of the one is a mark
//! under the cache's own secret, of the other the text with names for values.

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::digest::Digest;

/// The mark of a step: the same for the same step in one cache, and nothing to anyone without `secret`.
pub(super) fn mark(secret: &[u8; 32], step: &str) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(step.as_bytes());
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    Digest::from(bytes)
}

/// `text` with `${NAME}` wherever the value of a build argument stands as a word of its own.
pub(super) fn without_values(text: &str, build_args: &BTreeMap<String, String>) -> String {
    let mut values: Vec<(&str, &str)> =
        build_args.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    values.retain(|(_, value)| !value.is_empty());
    // The longest first, since one may be part of another.
    values.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    let mut hidden = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = None;
    while let Some(next) = rest.chars().next() {
        let found = values.iter().find(|(_, value)| starts_a_word(before) && is_word(rest, value));
        let length = if let Some((name, value)) = found {
            hidden.extend(["${", name, "}"]);
            value.len()
        } else {
            hidden.push(next);
            next.len_utf8()
        };
        before = rest[..length].chars().next_back();
        rest = &rest[length..];
    }
    hidden
}

fn starts_a_word(before: Option<char>) -> bool {
    !before.is_some_and(char::is_alphanumeric)
}

fn is_word(text: &str, value: &str) -> bool {
    text.strip_prefix(value).is_some_and(|rest| starts_a_word(rest.chars().next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden_where_they_are_words() {
        let build_args: BTreeMap<String, String> =
            [("PIN", "42"), ("URL", "https://u:42@h/"), ("EMPTY", ""), ("WORD", "prod")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        for (text, shown) in [
            ("\"/conf/prod.yml\": not found", "\"/conf/${WORD}.yml\": not found"),
            ("exit code 42, 142 of 421", "exit code ${PIN}, 142 of 421"),
            ("from https://u:42@h/: refused", "from ${URL}: refused"),
            ("production", "production"),
            ("é42 ü", "é42 ü"),
            ("", ""),
        ] {
            assert_eq!(without_values(text, &build_args), shown);
        }
    }

    #[test]
    fn a_mark_depends_on_the_secret_and_the_step() {
        let marks = [mark(&[1; 32], "a"), mark(&[1; 32], "b"), mark(&[2; 32], "a")];
        assert_eq!(mark(&[1; 32], "a"), marks[0]);
        assert!(marks[0] != marks[1] && marks[0] != marks[2]);
    }
}
