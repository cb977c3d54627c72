//! Tests of `Remote` with OpenDAL's memory service, and of the absence of secrets in errors.

use std::error::Error as _;
use std::fmt::Write as _;
use std::time::Duration;

use opendal::services::Memory;

use super::mark::MARK_LIFETIME;
use super::*;
use crate::store::backend::{FaultReason, conformance};

fn in_memory(operator: &Operator) -> RemoteBackend {
    RemoteBackend::new(operator.clone(), "memory".to_owned(), &RemoteSettings::default())
}

fn memory() -> Operator {
    Operator::new(Memory::default()).unwrap()
}

#[test]
fn an_object_store_passes_the_conformance_suite() {
    let operator = memory();
    let backend: Arc<dyn Backend> = Arc::new(in_memory(&operator));
    conformance::check(&backend, &in_memory(&operator));
}

#[test]
fn an_operation_may_be_started_from_any_thread() {
    let backend = in_memory(&memory());
    backend.write("plain", b"1").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let blocking = backend.clone();
    let written = runtime
        .block_on(async { tokio::task::spawn_blocking(move || blocking.write("blocking", b"2")).await });
    written.unwrap().unwrap();
    runtime.block_on(async { backend.write("async", b"3") }).unwrap();
    assert_eq!(backend.list("").unwrap().len(), 3);
}

/// Writes a mark of this age, as a different process would, and returns `true` if it is alive.
fn is_alive_at_age(age: Duration) -> bool {
    let backend = in_memory(&memory());
    let time = Timestamp::now() - jiff::SignedDuration::try_from(age).unwrap();
    backend.write("m/1/00000000", b"1970-01-01T00:00:00Z\nold\n").unwrap();
    backend.write("m/1/00000001", format!("{time}\nnew\n").as_bytes()).unwrap();
    let texts = backend.marks("m").unwrap();
    assert_eq!(backend.list("m").unwrap().is_empty(), texts.is_empty(), "dead marks are removed");
    assert!(texts.is_empty() || texts == ["old\nnew\n"], "{texts:?}");
    !texts.is_empty()
}

#[test]
fn a_mark_is_alive_for_hours_after_its_last_addition() {
    assert!(is_alive_at_age(Duration::ZERO));
    let minute = Duration::from_mins(1);
    assert!(is_alive_at_age(MARK_LIFETIME.saturating_sub(minute)));
    assert!(!is_alive_at_age(MARK_LIFETIME + minute));
}

#[test]
fn foreign_objects_are_not_marks() {
    let backend = in_memory(&memory());
    backend.write("m/readme", b"hello").unwrap();
    backend.write("m/1/00000000", b"without a time").unwrap();
    assert_eq!(backend.marks("m").unwrap(), Vec::<String>::new());
    assert_eq!(backend.list("m").unwrap().len(), 1);
}

/// Returns all text that an error contains.
fn shown(error: &BackendError) -> String {
    let mut shown = format!("{error}\n{error:?}\n{error:#?}");
    let mut source = error.source();
    while let Some(error) = source {
        write!(shown, "\n{error}\n{error:?}").unwrap();
        source = error.source();
    }
    shown
}

/// Returns a port on which nothing listens.
fn closed_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Returns settings with a deadline that is short, but long enough for the last attempt on a busy machine.
fn brief() -> RemoteSettings {
    RemoteSettings { deadline: Duration::from_millis(2500), ..RemoteSettings::default() }
}

#[test]
fn no_error_contains_a_part_of_a_request() {
    let port = closed_port();
    let key = "c2VjcmV0LWtleQ==";
    for (url, secrets) in [
        (
            format!("s3://bucket/p?endpoint=http://127.0.0.1:{port}"),
            vec!["AKIASECRET", key, "Signature", "Credential="],
        ),
        (format!("azblob://box/p?endpoint=http://127.0.0.1:{port}/account"), vec![key, "SharedKey", "sig="]),
        (
            format!("webdav://AKIASECRET:c2VjcmV0LWtleQ%3D%3D@127.0.0.1:{port}/p"),
            vec!["AKIASECRET", key, "c2VjcmV0LWtleQ%3D%3D", "Basic"],
        ),
    ] {
        let settings =
            RemoteSettings { user: Some("AKIASECRET".to_owned()), password: Some(key.to_owned()), ..brief() };
        let url: RemoteUrl = url.parse().unwrap();
        let backend = url.open(&settings).unwrap();
        let error = backend.read("a", 10).unwrap_err();
        assert_eq!(error.reason, FaultReason::Unreachable);
        let shown =
            [shown(&error), format!("{backend:?} {url:?} {url} {settings:?}"), backend.place()].join("\n");
        assert!(shown.contains("Connection refused"), "{shown}");
        for secret in secrets {
            assert!(!shown.contains(secret), "{secret} is in\n{shown}");
        }
    }
}

fn open_fault(url: &str) -> OpenRemoteFault {
    let url: RemoteUrl = url.parse().unwrap();
    url.open(&RemoteSettings::default()).unwrap_err().reason
}

#[test]
fn opening_a_store_reports_missing_settings() {
    assert!(matches!(open_fault("azblob://container"), OpenRemoteFault::NoAccount));
    let wrong = RemoteSettings { password: Some("no base64!".to_owned()), ..RemoteSettings::default() };
    let url: RemoteUrl = "azblob://container?account=a".parse().unwrap();
    let error = url.open(&wrong).unwrap_err();
    assert!(matches!(error.reason, OpenRemoteFault::InvalidAccountKey));
    assert!(!format!("{error:?}").contains("no base64!"));
}

#[test]
fn a_file_url_opens_a_directory() {
    let base = tempfile::tempdir().unwrap();
    let url: RemoteUrl = format!("file://{}/with%20space", base.path().display()).parse().unwrap();
    url.open(&RemoteSettings::default()).unwrap().write("a/b", b"1").unwrap();
    assert_eq!(std::fs::read(base.path().join("with space/a/b")).unwrap(), b"1");
    let gone: RemoteUrl = format!("file://{}/gone/store", base.path().display()).parse().unwrap();
    let gone = gone.open(&RemoteSettings::default()).unwrap();
    assert_eq!(gone.write("a/b", b"1").unwrap_err().reason, FaultReason::Unreachable);
    assert_eq!(gone.list("a").unwrap_err().reason, FaultReason::Unreachable);
    assert!(!base.path().join("gone").exists(), "a missing parent directory is not created");
}
