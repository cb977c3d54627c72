//! Estimates how long the engine would have taken to compress the layers that larder has compressed.
//!
//! Measured on two cores: the seconds of `docker push` to a registry on the same machine, and of all threads of larder
//! that compressed the same layers.
//!
//! | layers | larder's threads | Docker 20.10 | Docker 28.5 |
//! |---|---|---|---|
//! | 378 MB of Python packages in one | 5.3 | 13.1 | 5.0 |
//! | the same in five | 5.2 | 7.2 | 2.9 |
//! | 67 MB of source code | 0.7 | 1.6 | 0.7 |
//! | 105 MB of noise | 2.5 | 2.4 | 0.5 |

use std::num::NonZero;
use std::time::Duration;

use super::MAX_TRANSFERS;
use crate::images::CompressionTime;

/// How long an engine takes to compress a layer, as a multiple of the time of larder's threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct EngineSpeed {
    compressible: f64,
    incompressible: f64,
}

impl EngineSpeed {
    /// Docker before 23, with the compression of Go's standard library.
    pub(crate) const OLD: Self = Self { compressible: 2.5, incompressible: 0.9 };
    pub(crate) const NEW: Self = Self { compressible: 0.95, incompressible: 0.2 };

    /// Returns the time that the engine would have taken for these layers: each layer on one core, several at a time.
    pub(super) fn time(self, layers: &[CompressionTime], cores: NonZero<usize>) -> Duration {
        let of_layer = |layer: &CompressionTime| {
            layer.compressible.mul_f64(self.compressible) + layer.incompressible.mul_f64(self.incompressible)
        };
        let longest = layers.iter().map(of_layer).max().unwrap_or_default();
        let all: Duration = layers.iter().map(of_layer).sum();
        let at_once = u32::try_from(cores.get().min(MAX_TRANSFERS)).unwrap_or(1);
        longest.max(all / at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimates_agree_with_what_was_measured() {
        let seconds = Duration::from_secs_f64;
        let shrinking =
            |time| CompressionTime { compressible: seconds(time), incompressible: Duration::ZERO };
        let noise = CompressionTime { compressible: Duration::ZERO, incompressible: seconds(2.5) };
        for (layers, old, new) in [
            (vec![shrinking(5.3)], 13.1, 5.0),
            (vec![shrinking(1.04); 5], 7.2, 2.9),
            (vec![shrinking(0.7)], 1.6, 0.7),
            (vec![noise], 2.4, 0.5),
        ] {
            for (speed, measured) in [(EngineSpeed::OLD, old), (EngineSpeed::NEW, new)] {
                let estimate = speed.time(&layers, NonZero::new(2).unwrap()).as_secs_f64();
                assert!((estimate / measured - 1.0).abs() < 0.2, "{layers:?}: {estimate}, not {measured}");
            }
        }
        assert_eq!(EngineSpeed::OLD.time(&[], NonZero::<usize>::MIN), Duration::ZERO);
    }
}
