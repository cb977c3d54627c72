//! Sends further requests to the builder after a build: for additional exports of steps that it now has, or for a
//! description of the image of a Dockerfile.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::STATUS_BUFFER;
use super::job::Job;
use crate::buildkit::SolveError;
use crate::buildkit::session::Attachments;
use crate::buildkit::solve::{CacheEntry, ExporterResponse, SolveRequest};
use crate::pipeline::exports::Exports;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::request::{self, RequestConditions};

pub(super) struct RepeatedSolve {
    pub(super) exports: Exports,
    pub(super) label: Option<(&'static str, String)>,
    pub(super) cache_imports: Vec<CacheEntry>,
    pub(super) cache_exports: Vec<CacheEntry>,
}

impl Job<'_> {
    pub(super) async fn repeat(
        &self,
        keys: Option<&BuildKeys>,
        repeat: RepeatedSolve,
        cancel: &CancellationToken,
    ) -> Result<ExporterResponse, SolveError> {
        let (mut request, attachments) = self.repeated_request(keys, repeat.exports, None);
        let label = repeat.label.map(|(name, value)| (format!("label:{name}"), value));
        request.attributes.extend(label);
        request.cache_imports = repeat.cache_imports;
        request.cache_exports = repeat.cache_exports;
        let (status, mut updates) = mpsc::channel(STATUS_BUFFER);
        let dropping = tokio::spawn(async move { while updates.recv().await.is_some() {} });
        let solved = self.client()?.solve(request, attachments, status, cancel.clone()).await;
        drop(dropping);
        solved
    }

    /// Returns the image config that the builder would make from the Dockerfile in this directory. It contains only the
    /// labels of the Dockerfile itself.
    pub(super) async fn describe(
        &self,
        keys: &BuildKeys,
        dockerfile: &Path,
    ) -> Result<Option<Vec<u8>>, SolveError> {
        let (mut request, attachments) =
            self.repeated_request(Some(keys), Exports::none(), Some(dockerfile.to_owned()));
        request.attributes.retain(|name, _| !name.starts_with("label:"));
        Box::pin(self.client()?.describe_image(request, attachments)).await
    }

    fn repeated_request(
        &self,
        keys: Option<&BuildKeys>,
        exports: Exports,
        dockerfile: Option<PathBuf>,
    ) -> (SolveRequest, Attachments) {
        let conditions = RequestConditions { dockerfile, ..self.repeated_conditions(keys) };
        let login = self.registries().login().clone();
        let (mut request, attachments) =
            request::request(self.build, self.inputs, exports, login, &conditions);
        request.attributes.retain(|name, _| name != "no-cache" && !name.starts_with("attest:"));
        (request, attachments)
    }

    /// Returns the conditions of a solve whose steps the builder already has.
    pub(super) fn repeated_conditions(&self, keys: Option<&BuildKeys>) -> RequestConditions {
        RequestConditions {
            // The same as in the build. Otherwise the context would be sent again, or an older upload would be used.
            undetected_digest: keys.and_then(|keys| keys.undetected_digest),
            uses_engine_images: self.engine().is_some(),
            ..RequestConditions::default()
        }
    }
}
