//! Recognises builds that failed because something in a registry could not be fetched. BuildKit has no error codes for
//! this, so the engine's message decides. A manifest is resolved first, and a layer is pulled when it is needed.

/// Phrases for a layer that is missing, truncated or damaged.
const LAYER_PHRASES: [&str; 8] = [
    "failed to copy",
    "failed to extract",
    "failed to register layer",
    "httpReadSeeker",
    "short read",
    "unexpected EOF",
    // From containerd's content store:
    "unexpected commit digest",
    "unlazy",
];
const CACHE_PHRASES: [&str; 2] = ["failed to load cache key", "failed to fetch"];
const IMAGE_PHRASES: [&str; 2] = ["failed to do request", "failed to resolve source metadata"];

pub(super) fn is_layer_error(message: &str) -> bool {
    contains_any(message, &LAYER_PHRASES)
}

/// Returns `true` if a cache or one of its layers could not be fetched.
pub(super) fn is_cache_error(message: &str) -> bool {
    is_layer_error(message) || contains_any(message, &CACHE_PHRASES)
}

/// Returns `true` if an image or one of its layers could not be fetched.
pub(super) fn is_image_error(message: &str) -> bool {
    is_cache_error(message) || contains_any(message, &IMAGE_PHRASES)
}

/// Returns `true` if containerd's store could not unpack the image because it removed a different one at that moment.
pub(super) fn is_removal_error(message: &str) -> bool {
    contains_any(message, &["failed to prepare extraction snapshot"])
}

fn contains_any(message: &str, phrases: &[&str]) -> bool {
    // The output of a user's program may contain any of the phrases.
    !message.contains("exit code") && phrases.iter().any(|phrase| message.contains(phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetch_failures_are_distinguished_from_failed_steps() {
        for (message, layer, cache, image) in [
            ("failed to compute cache key: short read: expected 157 bytes but got 149", true, true, true),
            ("failed to register layer: unexpected EOF", true, true, true),
            ("failed to load cache key: not found", false, true, true),
            ("failed to resolve source metadata for r/app@sha256:1: not found", false, false, true),
            (
                "process \"curl: unexpected EOF\" did not complete successfully: exit code: 1",
                false,
                false,
                false,
            ),
            ("failed to calculate checksum of ref: \"/a\": not found", false, false, false),
        ] {
            let found = (is_layer_error(message), is_cache_error(message), is_image_error(message));
            assert_eq!(found, (layer, cache, image), "{message}");
        }
        // The message of Docker 28.5.
        let removal = "failed to prepare extraction snapshot \"extract-1-a sha256:1\": parent snapshot sha256:2 does not exist: not found";
        assert!(is_removal_error(removal) && !is_image_error(removal));
        assert!(!is_removal_error("failed to resolve source metadata for r/app@sha256:1: not found"));
    }
}
