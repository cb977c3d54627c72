//! Keeps values of build arguments out of what is stored.
//!
//! The command of a step may contain values of its arguments, and an engine's error may quote them. A step is therefore
//! stored as a mark under the cache's own secret, and an error is not stored if there are arguments.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::digest::Digest;
use crate::requirements::without_secrets;

/// Returns the mark of a step: constant for a step in one cache, and meaningless without `secret`.
pub(crate) fn mark(secret: &[u8; 32], step: &str) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(step.as_bytes());
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    Digest::from(bytes)
}

/// Returns the part of an engine's message that may be stored. With build arguments that is nothing, because the engine
/// may quote a value completely, in part or changed.
pub(crate) fn storable_message(message: &str, has_build_args: bool) -> String {
    if has_build_args {
        return "the build failed; what the engine said is in its log alone, since it may quote a build argument".to_owned();
    }
    without_secrets(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_message_is_stored_without_credentials_and_only_without_build_arguments() {
        let said = "cannot fetch https://u:hunter2@h/acme/s3cr3t: refused";
        assert_eq!(storable_message(said, false), "cannot fetch https://h/acme/s3cr3t: refused");
        assert!(!storable_message(said, true).contains("s3cr3t"));
    }

    #[test]
    fn a_mark_depends_on_the_secret_and_the_step() {
        let marks = [mark(&[1; 32], "a"), mark(&[1; 32], "b"), mark(&[2; 32], "a")];
        assert_eq!(mark(&[1; 32], "a"), marks[0]);
        assert!(marks[0] != marks[1] && marks[0] != marks[2]);
    }
}
