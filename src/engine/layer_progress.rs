//! Progress of the layers that an engine pulls or pushes.

use std::collections::BTreeMap;

use bollard::models::ProgressDetail;

/// Transferred and total bytes by layer.
#[derive(Debug, Default)]
pub(super) struct LayerProgress {
    layers: BTreeMap<String, (u64, u64)>,
}

impl LayerProgress {
    /// Records the progress of a layer; it never decreases.
    pub(super) fn record(&mut self, layer: &str, detail: &ProgressDetail) {
        let bytes =
            |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default();
        let known = self.layers.entry(layer.to_owned()).or_default();
        known.0 = known.0.max(bytes(detail.current));
        known.1 = known.1.max(bytes(detail.total)).max(known.0);
    }

    pub(super) fn complete(&mut self, layer: &str) {
        let known = self.layers.entry(layer.to_owned()).or_default();
        known.0 = known.1;
    }

    pub(super) fn totals(&self) -> (u64, u64) {
        self.layers.values().fold((0, 0), |(done, total), (moved, all)| (done + moved, total + all))
    }
}
