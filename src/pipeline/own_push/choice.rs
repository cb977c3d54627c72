//! Decides whether larder or the engine pushes an image. Pure.
//!
//! Measured on two cores, an engine on the same machine and a registry on it, with installed Python packages as layers
//! (seconds; "saved" is larder's push through `docker save`):
//!
//! | new layer | image | engine 20.10 / 28.5 | larder, data root | larder, saved |
//! |---|---|---|---|---|
//! | FIGURES |

/// Images below this size in bytes are left to the engine, which compresses all of it in about a second. The size of
/// the image counts and not that of the new layers: what larder has pushed once, the engine would compress again.
const LEAST_IMAGE: u64 = 32_000_000;
/// `docker save` writes all layers of an image about four times as fast as the engine compresses some of them.
const SAVES_FASTER: u64 = 4;

/// What is known of an image before it is pushed. Sizes are of uncompressed layers, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Estimate {
    pub(super) image: u64,
    /// The layers that have to be compressed; `None` if that is unknown.
    pub(super) missing: Option<u64>,
    /// `true` if larder can read single layers.
    pub(super) is_readable: bool,
    /// `true` if this machine has built other images with the same engine, which may have pushed their layers.
    pub(super) is_kept: bool,
}

/// Returns `true` if larder is expected to push the image faster than the engine.
pub(super) fn pays(Estimate { image, missing, is_readable, is_kept }: Estimate) -> bool {
    if image < LEAST_IMAGE {
        false
    } else if is_readable {
        true
    } else {
        // A kept engine learns which blobs its layers have only from its own pushes.
        !is_kept && missing.is_some_and(|missing| missing.saturating_mul(SAVES_FASTER) >= image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn larder_pushes_large_images_that_it_can_read_and_large_layers_of_new_engines() {
        const MB: u64 = 1_000_000;
        for (image, missing, is_readable, is_kept, expected) in [
            (10 * MB, Some(10 * MB), true, false, false),
            (600 * MB, Some(400 * MB), true, true, true),
            (600 * MB, Some(0), true, true, true),
            (600 * MB, Some(150 * MB), false, false, true),
            (600 * MB, Some(149 * MB), false, false, false),
            (600 * MB, Some(400 * MB), false, true, false),
            (600 * MB, None, false, false, false),
        ] {
            let estimate = Estimate { image, missing, is_readable, is_kept };
            assert_eq!(pays(estimate), expected, "{estimate:?}");
        }
    }
}
