//! Tests of uploads to a registry that breaks connections, may not report what it has received, and may reject parts.

use std::io::Write;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::{BodyExt, Collected, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::super::growing_blob::growing_blob;
use super::super::{CredentialSource, Credentials, ImageRef, RegistryAccess};
use super::*;

/// A registry with one repository that records its requests.
#[derive(Default)]
struct Server {
    /// Breaks the connection of the first streamed request after this number of bytes.
    cut_after: Mutex<Option<usize>>,
    /// `true` if the bytes of a broken request are stored and reported, as by distribution.
    keeps_parts: bool,
    refuses_parts: bool,
    /// `true` if requests require a token.
    asks_for_tokens: bool,
    received: Mutex<Vec<u8>>,
    stored: Mutex<Vec<Vec<u8>>>,
    calls: Mutex<Vec<String>>,
}

impl Server {
    async fn start(self) -> (Arc<Self>, Repository) {
        let server = Arc::new(self);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (serving, own) = (Arc::clone(&server), host.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, host) = (Arc::clone(&serving), own.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let (server, host) = (Arc::clone(&server), host.clone());
                        async move { server.answer(request, &host).await }
                    });
                    let serve = hyper::server::conn::http1::Builder::new();
                    drop(serve.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        let name: ImageRef = format!("{host}/app").parse().unwrap();
        let login = Credentials { username: "ci".to_owned(), secret: "s3cret".to_owned() };
        let reach = RegistryAccess::default();
        (server, Repository::new(&name, CredentialSource::Known(login), &reach).unwrap())
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        host: &str,
    ) -> Result<Response<Full<Bytes>>, http::Error> {
        let (head, mut body) = request.into_parts();
        let has_range = head.headers.contains_key(CONTENT_RANGE);
        let address = head.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        let part = if has_range { " (part)" } else { "" };
        self.calls.lock().unwrap().push(format!("{} {address}{part}", head.method));
        let answer = Response::builder().header(LOCATION, "/upload");
        let empty = Full::default();
        if head.uri.path() == "/token" {
            let form = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
            self.calls.lock().unwrap().push(String::from_utf8_lossy(&form).into_owned());
            return answer.body(Full::from(r#"{"token":"t"}"#));
        }
        if self.asks_for_tokens && !head.headers.contains_key("authorization") {
            let challenge = format!(
                "Bearer realm=\"http://{host}/token\",service=\"r\",scope=\"repository:app:pull,push\""
            );
            return answer.status(401).header("www-authenticate", challenge).body(empty);
        }
        match head.method {
            Method::POST if address.contains("mount=") => answer.status(201).body(empty),
            Method::POST => {
                self.received.lock().unwrap().clear();
                answer.status(202).body(empty)
            }
            Method::PATCH if has_range && self.refuses_parts => answer.status(416).body(empty),
            Method::PATCH => {
                let cut = self.cut_after.lock().unwrap().take();
                while let Some(Ok(frame)) = body.frame().await {
                    let data = frame.into_data().unwrap_or_default();
                    let mut received = self.received.lock().unwrap();
                    received.extend_from_slice(&data);
                    if cut.is_some_and(|cut| received.len() >= cut) {
                        if !self.keeps_parts {
                            received.clear();
                        }
                        // Like a gateway whose connection to the registry broke.
                        return answer.status(502).header("connection", "close").body(empty);
                    }
                }
                answer.status(202).body(empty)
            }
            Method::GET => {
                let received = self.received.lock().unwrap().len();
                answer.status(204).header(RANGE, format!("0-{}", received.saturating_sub(1))).body(empty)
            }
            Method::PUT => {
                let rest = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
                let mut received = self.received.lock().unwrap();
                received.extend_from_slice(&rest);
                let is_right = address.ends_with(&Digest::of(&received).to_string());
                self.stored.lock().unwrap().push(std::mem::take(&mut received));
                answer.status(if is_right { 201 } else { 400 }).body(empty)
            }
            _ => answer.status(404).body(empty),
        }
    }

    /// Returns the methods of the calls; that of a call that sent a part ends with ` part`.
    fn methods(&self) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        let method = |call: &String| {
            let part = if call.ends_with(" (part)") { " part" } else { "" };
            format!("{}{part}", call.split(' ').next().unwrap_or_default())
        };
        calls.iter().map(method).collect()
    }
}

fn content() -> Vec<u8> {
    (0..20_000_000_u32)
        .map(|number| u8::try_from(number.wrapping_mul(2_654_435_761) >> 24).unwrap())
        .collect()
}

/// Uploads the content while it is being written, and returns the result.
async fn upload(repository: &mut Repository, content: &[u8]) -> Result<(Digest, u64), UploadError> {
    let (mut writer, blob) = growing_blob().unwrap();
    let bytes = content.to_vec();
    let writing = tokio::task::spawn_blocking(move || {
        for part in bytes.chunks(1 << 20) {
            // The writer fails if the upload has failed.
            if writer.write_all(part).is_err() {
                return;
            }
        }
        writer.finish();
    });
    let uploaded = repository.upload_growing(&blob, &mut |_| {}).await;
    drop(blob);
    writing.await.unwrap();
    uploaded
}

#[tokio::test]
async fn a_blob_is_sent_in_one_request_while_it_is_made() {
    let content = content();
    let (server, mut repository) = Server { refuses_parts: true, ..Server::default() }.start().await;
    let uploaded = upload(&mut repository, &content).await.unwrap();
    assert_eq!(uploaded, (Digest::of(&content), content.len() as u64));
    assert!(*server.stored.lock().unwrap() == [content]);
    assert_eq!(server.methods(), ["POST", "PATCH", "PUT"]);
}

#[tokio::test]
async fn after_a_broken_connection_the_rest_is_sent_in_parts_if_the_registry_reports_what_it_received() {
    let content = content();
    let cut_after = || Mutex::new(Some(5_000_000));
    let keeping = Server { cut_after: cut_after(), keeps_parts: true, ..Server::default() };
    let forgetful = Server { cut_after: cut_after(), ..Server::default() };
    let refusing =
        Server { refuses_parts: true, cut_after: cut_after(), keeps_parts: true, ..Server::default() };
    for (server, expected) in [
        (keeping, &["POST", "PATCH", "GET", "PATCH part", "PATCH part", "PUT"][..]),
        (forgetful, &["POST", "PATCH", "GET", "POST", "PATCH", "PUT"]),
        // A registry that rejects parts receives the complete blob again.
        (refusing, &["POST", "PATCH", "GET", "PATCH part", "POST", "PATCH", "PUT"]),
    ] {
        let (server, mut repository) = server.start().await;
        upload(&mut repository, &content).await.unwrap();
        assert!(*server.stored.lock().unwrap() == std::slice::from_ref(&content), "{expected:?}");
        assert_eq!(server.methods(), expected);
    }
}

#[tokio::test]
async fn an_abandoned_blob_is_not_stored() {
    let (server, mut repository) = Server::default().start().await;
    let (mut writer, blob) = growing_blob().unwrap();
    writer.write_all(b"half").unwrap();
    drop(writer);
    let failed = repository.upload_growing(&blob, &mut |_| {}).await.unwrap_err();
    assert!(matches!(failed, UploadError::Abandoned(_)), "{failed:?}");
    assert!(server.stored.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_small_blob_is_sent_in_the_request_that_closes_its_upload() {
    let (server, mut repository) = Server::default().start().await;
    let digest = repository.upload_blob(&Bytes::from_static(b"{}")).await.unwrap();
    assert_eq!(digest, Digest::of(b"{}"));
    assert_eq!(server.methods(), ["HEAD", "POST", "PUT"]);
}

#[tokio::test]
async fn a_mount_is_requested_with_a_token_for_both_repositories() {
    let (server, mut repository) = Server { asks_for_tokens: true, ..Server::default() }.start().await;
    let blob = Digest::of(b"layer");
    assert!(!repository.has_blob(blob).await.unwrap());
    let name: ImageRef = format!("{}/base/image", repository.image_name().host()).parse().unwrap();
    let mut from =
        Repository::new(&name, CredentialSource::Known(Credentials::default()), &RegistryAccess::default())
            .unwrap();
    let moved = repository.copy_blob(&mut from, (blob, 5), &mut |_| {}).await.unwrap();
    assert_eq!(moved, 0);
    let calls = server.calls.lock().unwrap();
    assert!(
        calls.contains(&format!("POST /v2/app/blobs/uploads/?mount={blob}&from=base/image")),
        "{calls:?}"
    );
    let token_request = calls.iter().rfind(|call| call.contains("scope=")).unwrap();
    assert!(
        token_request.contains("repository%3Aapp%3Apull%2Cpush+repository%3Abase%2Fimage%3Apull"),
        "the last token is for both: {token_request}"
    );
}
