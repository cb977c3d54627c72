//! Repeats a build whose steps the builder now has, with other exports.

use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::job::Job;
use crate::buildkit::SolveError;
use crate::buildkit::solve::{CacheEntry, ExporterResponse};
use crate::pipeline::exports::Exports;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::request::{self, Conditions};

/// Status messages waiting to be dropped.
const WAITING: usize = 256;

/// What differs from the build.
pub(super) struct Repeat {
    pub(super) exports: Exports,
    /// The directory of the Dockerfile, if it is a different one.
    pub(super) dockerfile: Option<PathBuf>,
    pub(super) labels: Labels,
    pub(super) cache_imports: Vec<CacheEntry>,
    pub(super) cache_exports: Vec<CacheEntry>,
}

/// The labels of an image besides those in the Dockerfile.
pub(super) enum Labels {
    /// Not even those of the build.
    None,
    /// Those of the build and, if it is given, this one.
    Added(Option<(&'static str, String)>),
}

impl Job<'_> {
    pub(super) async fn repeat(
        &self,
        keys: Option<&BuildKeys>,
        repeat: Repeat,
        cancel: &CancellationToken,
    ) -> Result<ExporterResponse, SolveError> {
        let conditions = Conditions {
            // As in the build: otherwise the context would be sent again, or an older upload used instead.
            ambiguous: keys.and_then(|keys| keys.ambiguous),
            every_step: false,
            engine_images: self.engine().is_some(),
            attestations: false,
            cache_imports: Vec::new(),
            dockerfile: repeat.dockerfile,
        };
        let login = self.registries().login().clone();
        let (mut request, attachments) =
            request::request(self.build, self.inputs, repeat.exports, login, &conditions);
        let attributes = &mut request.attributes;
        attributes.retain(|name, _| name != "no-cache" && !name.starts_with("attest:"));
        match repeat.labels {
            Labels::None => attributes.retain(|name, _| !name.starts_with("label:")),
            Labels::Added(label) => {
                attributes.extend(label.map(|(name, value)| (format!("label:{name}"), value)));
            }
        }
        request.cache_imports = repeat.cache_imports;
        request.cache_exports = repeat.cache_exports;
        let (status, mut updates) = mpsc::channel(WAITING);
        let dropping = tokio::spawn(async move { while updates.recv().await.is_some() {} });
        let solved = self.client().solve(request, attachments, status, cancel.clone()).await;
        drop(dropping);
        solved
    }
}
