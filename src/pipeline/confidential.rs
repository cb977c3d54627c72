//! Keeps the values of build arguments out of everything that is stored.
//!
//! The command of a step may contain the values of its arguments, and an engine's error may quote them. Therefore a
//! step is stored as a mark, an HMAC under the cache's secret, and an error is not stored if there are build arguments.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::digest::Digest;
use crate::requirements::without_secrets;

/// Returns the mark of a step: the same for a step throughout one cache, and meaningless without `secret`.
pub(crate) fn step_mark(secret: &[u8; 32], step: &str) -> Digest {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(step.as_bytes());
    let bytes: [u8; 32] = mac.finalize().into_bytes().into();
    Digest::from(bytes)
}

/// Returns the part of an engine's message that may be stored. If there are build arguments, no part of the message may
/// be stored, because the engine may quote a value completely, partly or in a changed form.
pub(crate) fn storable_message(message: &str, has_build_args: bool) -> String {
    if has_build_args {
        return "the build failed; the engine's message is not stored because it may quote a build argument"
            .to_owned();
    }
    without_secrets(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engines_message_is_stored_without_credentials_and_only_without_build_arguments() {
        let message = "cannot fetch https://u:hunter2@h/acme/s3cr3t: refused";
        assert_eq!(storable_message(message, false), "cannot fetch https://h/acme/s3cr3t: refused");
        assert!(!storable_message(message, true).contains("s3cr3t"));
    }

    #[test]
    fn a_mark_depends_on_the_secret_and_the_step() {
        let marks = [step_mark(&[1; 32], "a"), step_mark(&[1; 32], "b"), step_mark(&[2; 32], "a")];
        assert_eq!(step_mark(&[1; 32], "a"), marks[0]);
        assert!(marks[0] != marks[1] && marks[0] != marks[2]);
    }
}
