//! Keeping values of build arguments out of what is stored.
//!
//! A step's words may hold its arguments' values; an engine's error may quote
//! one. What is kept of the one is a mark under the cache's own secret, of the
//! other nothing where arguments are given.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::digest::Digest;
use crate::requirements::without_secrets;

/// The mark of a step: the same for the same step in one cache, and nothing to anyone without `secret`.
pub(crate) fn mark(secret: &[u8; 32], step: &str) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(step.as_bytes());
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    Digest::from(bytes)
}

/// What is kept of an engine's words. Beside build arguments that is none of them: an engine quotes a value whole, in
/// part or changed.
pub(crate) fn kept_words(words: &str, shows_values: bool) -> String {
    if shows_values {
        return "the build failed; what the engine said is in its log alone, since it may quote a build argument".to_owned();
    }
    without_secrets(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_words_are_kept_without_credentials_and_only_where_no_argument_was_given() {
        let said = "cannot fetch https://u:hunter2@h/acme/s3cr3t: refused";
        assert_eq!(kept_words(said, false), "cannot fetch https://h/acme/s3cr3t: refused");
        assert!(!kept_words(said, true).contains("s3cr3t"));
    }

    #[test]
    fn a_mark_depends_on_the_secret_and_the_step() {
        let marks = [mark(&[1; 32], "a"), mark(&[1; 32], "b"), mark(&[2; 32], "a")];
        assert_eq!(mark(&[1; 32], "a"), marks[0]);
        assert!(marks[0] != marks[1] && marks[0] != marks[2]);
    }
}
