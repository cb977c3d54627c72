//! `moby.upload.v1.Upload`: provides data to BuildKit as if it were fetched by HTTP.
//!
//! A build context from a tar stream is passed to the frontend as the address `http://buildkit-session/<name>`;
//! BuildKit then pulls it from here.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bollard_buildkit_proto::moby::upload::v1::BytesMessage;
use bollard_buildkit_proto::moby::upload::v1::upload_server::{Upload as UploadService, UploadServer};
use tokio_stream::StreamExt;
use tokio_util::io::ReaderStream;
use tonic::{Request, Response, Status, Streaming};

use super::header_text::text;
use super::{Reply, ReplyStream};

pub(super) const METHODS: [&str; 1] = ["/moby.upload.v1.Upload/Pull"];

/// Size of a message in bytes.
const CHUNK: usize = 256 << 10;

#[derive(Debug, Clone)]
pub(crate) enum Upload {
    File(PathBuf),
    /// Data embedded in this program.
    Bytes(&'static [u8]),
}

pub(super) fn service(uploads: BTreeMap<String, Upload>) -> UploadServer<Uploads> {
    UploadServer::new(Uploads(uploads))
}

pub(super) struct Uploads(BTreeMap<String, Upload>);

#[tonic::async_trait]
impl UploadService for Uploads {
    type PullStream = ReplyStream<BytesMessage>;

    async fn pull(&self, request: Request<Streaming<BytesMessage>>) -> Reply<Self::PullStream> {
        let path = text(request.metadata(), "urlpath")?;
        let name = path.rsplit('/').next().unwrap_or_default();
        let unknown = || Status::not_found(format!("this session has no upload `{name}`"));
        let chunks: Self::PullStream = match self.0.get(name).ok_or_else(unknown)? {
            Upload::File(path) => {
                let file = tokio::fs::File::open(path).await?;
                let chunks = ReaderStream::with_capacity(file, CHUNK);
                Box::pin(chunks.map(|chunk| Ok(BytesMessage { data: chunk?.to_vec() })))
            }
            Upload::Bytes(bytes) => Box::pin(tokio_stream::iter(
                bytes.chunks(CHUNK).map(|chunk| Ok(BytesMessage { data: chunk.to_vec() })),
            )),
        };
        Ok(Response::new(chunks))
    }
}
