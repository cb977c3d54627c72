//! Tests of image lookups in a registry that requires a token.

use std::collections::BTreeMap;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::registry::connection::MAX_BODY_SIZE;

const TOKEN: &str = "t0ken";

/// Starts a registry and token server with these files by path; those under `/v2/` require a token.
async fn registry(files: BTreeMap<String, Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let realm = format!("http://{host}/token");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            // Hang up on a TLS client hello.
            while !head.ends_with(b"\r\n\r\n") && head.first() != Some(&0x16) {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let Some(path) = head.split(' ').nth(1) else { continue };
            let path = path.split('?').next().unwrap_or(path);
            let allowed = head.contains(&format!("Bearer {TOKEN}"));
            let (status, more, body) = match files.get(path) {
                _ if path == "/token" && head.starts_with("GET") => {
                    ("200 OK", String::new(), format!("{{\"token\":\"{TOKEN}\"}}").into_bytes())
                }
                _ if path == "/token" => ("401 Unauthorized", String::new(), Vec::new()),
                _ if !allowed => {
                    let more = format!("www-authenticate: Bearer realm=\"{realm}\",service=\"tests\"\r\n");
                    ("401 Unauthorized", more, Vec::new())
                }
                Some(body) => ("200 OK", String::new(), body.clone()),
                None => ("404 Not Found", String::new(), Vec::new()),
            };
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status}\r\n{more}content-length: {length}\r\nconnection: close\r\n\r\n");
            drop(stream.write_all(&[head.as_bytes(), &body].concat()).await);
        }
    });
    host
}

fn blob(bytes: &[u8]) -> (String, Digest) {
    let digest = Digest::of(bytes);
    (format!("/v2/app/blobs/{digest}"), digest)
}

fn manifest(config: &Digest) -> Vec<u8> {
    format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{OCI_MANIFEST}\",\"config\":{{\"digest\":\"{config}\"}},\"layers\":[]}}"
    )
    .into_bytes()
}

/// Queries a registry that has `tagged` under `app:1`, and these other files.
async fn query(tagged: &[u8], others: &[(String, Vec<u8>)]) -> Result<Option<RemoteImage>, RegistryError> {
    let mut files: BTreeMap<String, Vec<u8>> = others.iter().cloned().collect();
    files.insert("/v2/app/manifests/1".to_owned(), tagged.to_vec());
    let name: ImageRef = format!("{}/app:1", registry(files).await).parse().unwrap();
    let login = Credentials { username: "ci".to_owned(), secret: "s3cret".to_owned() };
    remote_image(&name, "linux/amd64", &login, &RegistryAccess::default()).await
}

const CONFIG: &[u8] = br#"{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["sha256:a"]}}"#;

#[tokio::test]
async fn manifest_and_config_are_read_from_a_registry_that_requires_a_token() {
    let (path, digest) = blob(CONFIG);
    let manifest = manifest(&digest);
    let image = query(&manifest, &[(path, CONFIG.to_vec())]).await.unwrap().unwrap();
    assert_eq!((image.target, image.manifest), (Digest::of(&manifest), Digest::of(&manifest)));
    assert_eq!(image.config.layers, ["sha256:a"]);
}

#[tokio::test]
async fn an_index_resolves_to_the_image_of_the_platform_and_never_to_an_attestation() {
    let (path, digest) = blob(CONFIG);
    let ours = manifest(&digest);
    let entry = |platform: &str, more: &str| {
        format!("{{\"digest\":\"{}\",\"platform\":{platform}{more}}}", Digest::of(&ours))
    };
    let at = format!("/v2/app/manifests/{}", Digest::of(&ours));
    let amd64 = entry(r#"{"os":"linux","architecture":"amd64"}"#, "");
    let arm64 = entry(r#"{"os":"linux","architecture":"arm64"}"#, "");
    let attested = entry(
        r#"{"os":"linux","architecture":"amd64"}"#,
        r#","annotations":{"vnd.docker.reference.type":"attestation-manifest"}"#,
    );
    for (entries, found) in [
        (format!("{arm64},{amd64}"), true),
        // The config of an entry without a platform is read.
        (entry("null", ""), true),
        (format!("{arm64},{attested}"), false),
    ] {
        let index =
            format!("{{\"schemaVersion\":2,\"mediaType\":\"{OCI_INDEX}\",\"manifests\":[{entries}]}}");
        let files = [(path.clone(), CONFIG.to_vec()), (at.clone(), ours.clone())];
        let image = query(index.as_bytes(), &files).await.unwrap();
        assert_eq!(image.as_ref().map(|image| image.manifest), found.then(|| Digest::of(&ours)), "{entries}");
        assert!(image.is_none_or(|image| image.target == Digest::of(index.as_bytes())));
    }
}

#[tokio::test]
async fn malformed_responses_are_rejected_and_errors_contain_no_secret() {
    let (path, digest) = blob(CONFIG);
    let valid = manifest(&digest);
    let wrong = [(path, b"{}".to_vec())];
    for (tagged, others, reason) in [
        (&b"{"[..], &[][..], "malformed"),
        (b"{\"schemaVersion\":1,\"fsLayers\":[]}", &[], "neither"),
        (&valid, &[], "missing"),
        (&valid, &wrong, "requested digest"),
        (&vec![b' '; MAX_BODY_SIZE + 1], &[], "too large"),
    ] {
        let error = query(tagged, others).await.unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("/app"), "{error}");
        assert!(!error.contains("s3cret") && !error.contains(TOKEN), "{error}");
    }
    let host = registry(BTreeMap::new()).await;
    let unknown: ImageRef = format!("{host}/app:2").parse().unwrap();
    assert_eq!(
        remote_image(&unknown, "linux/amd64", &Credentials::default(), &RegistryAccess::default())
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn mirrors_are_queried_before_docker_hub() {
    let (path, digest) = blob(CONFIG);
    let manifest = manifest(&digest);
    let files = [
        ("/v2/library/larder-test-absent/manifests/1".to_owned(), manifest.clone()),
        (path.replace("/app/", "/library/larder-test-absent/"), CONFIG.to_vec()),
    ];
    let empty = registry(BTreeMap::new()).await;
    let mirror = registry(files.into_iter().collect()).await;
    let mirrors = vec![format!("http://{empty}/"), "nonsense".to_owned(), format!("http://{mirror}")];
    let reach = RegistryAccess { mirrors, ..RegistryAccess::default() };
    let name: ImageRef = "larder-test-absent:1".parse().unwrap();
    let found = remote_image(&name, "linux/amd64", &Credentials::default(), &reach).await;
    assert_eq!(found.unwrap().unwrap().manifest, Digest::of(&manifest));
}
