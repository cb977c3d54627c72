//! Remote stores against real servers, and against failing servers.

use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use larder::store::backend::remote::{RemoteSettings, RemoteUrl};
use larder::store::backend::{Backend, BackendError, FaultReason, conformance};

use crate::actions_cache_server::{ActionsCacheServer, Permission};
use crate::faulty_proxy::{FaultyProxy, ProxyAction};
use crate::object_servers::{ObjectServer, PASSWORD, USER};

fn settings(deadline: Duration) -> RemoteSettings {
    RemoteSettings {
        user: Some(USER.to_owned()),
        password: Some(PASSWORD.to_owned()),
        deadline,
        ..RemoteSettings::default()
    }
}

fn open(url: &str, settings: &RemoteSettings) -> Arc<dyn Backend> {
    url.parse::<RemoteUrl>().unwrap().open(settings).unwrap()
}

fn backend(server: &ObjectServer) -> Arc<dyn Backend> {
    open(&server.url(), &settings(Duration::from_mins(1)))
}

/// Opens a store through this proxy, with four seconds for each operation.
fn backend_through(server: &ObjectServer, proxy: &FaultyProxy) -> Arc<dyn Backend> {
    open(&server.url_at(proxy.port), &settings(Duration::from_secs(4)))
}

/// Opens a store in the GitHub Actions cache at this port.
fn actions_cache(server: &ActionsCacheServer, port: u16, deadline: Duration) -> Arc<dyn Backend> {
    let actions = server.job_at(port, "refs/heads/main", None, Permission::WriteActions);
    open("ghac:///a/prefix", &RemoteSettings { actions, deadline, ..RemoteSettings::default() })
}

/// Returns the messages and the debug output of an error and its sources.
pub(crate) fn error_text(error: &BackendError) -> String {
    let mut shown = format!("{error}\n{error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        write!(shown, "\n{error}\n{error:?}").unwrap();
        source = error.source();
    }
    shown
}

#[test]
fn s3s_fs_passes_the_conformance_tests() {
    let server = ObjectServer::s3s_fs();
    conformance::check(&backend(&server), backend(&server).as_ref());
}

#[test]
fn ministack_passes_the_conformance_tests() {
    let server = ObjectServer::ministack();
    conformance::check(&backend(&server), backend(&server).as_ref());
}

#[test]
fn wsgidav_passes_the_conformance_tests() {
    let server = ObjectServer::wsgidav();
    conformance::check(&backend(&server), backend(&server).as_ref());
    let temporary_files = backend(&server).list("tmp").unwrap();
    assert_eq!(temporary_files, [], "temporary files were moved to their final paths");
}

#[test]
fn the_github_actions_cache_passes_the_conformance_tests() {
    let server = ActionsCacheServer::start();
    let backend = actions_cache(&server, server.port, Duration::from_mins(1));
    conformance::check(&backend, actions_cache(&server, server.port, Duration::from_mins(1)).as_ref());
}

#[test]
fn a_listing_of_many_pages_of_the_github_actions_cache_is_complete() {
    let server = ActionsCacheServer::start();
    conformance::check_long_listing(actions_cache(&server, server.port, Duration::from_mins(1)).as_ref());
    let pages = server.take_requests().into_iter().filter(|call| call.ends_with("/actions/caches")).count();
    assert_eq!(pages, 12);
}

#[test]
fn a_listing_of_many_pages_is_complete() {
    for server in [ObjectServer::s3s_fs(), ObjectServer::ministack()] {
        conformance::check_long_listing(backend(&server).as_ref());
    }
}

#[test]
fn a_refused_login_is_reported_without_credentials() {
    for server in [ObjectServer::s3s_fs(), ObjectServer::wsgidav()] {
        let secret = "wrong+Secret/Value";
        let stranger =
            RemoteSettings { password: Some(secret.to_owned()), ..settings(Duration::from_mins(1)) };
        let url = server.url();
        let started = Instant::now();
        let backend = open(&url, &stranger);
        for error in [
            backend.read("a", 10).unwrap_err(),
            backend.write("a", b"1").unwrap_err(),
            backend.list("").unwrap_err(),
            backend.mark("m", "").unwrap_err(),
        ] {
            assert_eq!(error.reason, FaultReason::Denied, "{}", server.name);
            let shown = error_text(&error);
            assert!(!shown.contains(secret) && !shown.contains(USER), "{shown}");
            assert!(!shown.contains("Signature=") && !shown.contains("Basic"), "{shown}");
        }
        assert!(started.elapsed() < Duration::from_secs(5), "a refusal is not retried");
    }
}

#[test]
fn a_fault_ends_in_bounded_time_with_the_right_reason() {
    let server = ObjectServer::s3s_fs();
    let faults = [
        (ProxyAction::Stall, FaultReason::TimedOut, 2),
        (ProxyAction::StallAfterTen(100), FaultReason::TimedOut, 2),
        (ProxyAction::Reset, FaultReason::Unreachable, 5),
        (ProxyAction::Cut(100), FaultReason::Unreachable, 5),
        (ProxyAction::Answer(400), FaultReason::Other, 1),
        (ProxyAction::Answer(401), FaultReason::Denied, 1),
        (ProxyAction::Answer(403), FaultReason::Denied, 1),
        (ProxyAction::Answer(429), FaultReason::Unreachable, 5),
        (ProxyAction::Answer(500), FaultReason::Unreachable, 5),
        (ProxyAction::Answer(503), FaultReason::Unreachable, 5),
        (ProxyAction::Answer(507), FaultReason::Full, 1),
        (ProxyAction::Cut(1 << 40), FaultReason::Damaged, 1),
    ];
    thread::scope(|scope| {
        for (fate, reason, requests) in faults {
            let server = &server;
            scope.spawn(move || {
                let proxy = FaultyProxy::always(fate);
                let started = Instant::now();
                let error = backend_through(server, &proxy).read("a", 1000).unwrap_err();
                assert_eq!(error.reason, reason, "{fate:?}: {}", error_text(&error));
                assert!(started.elapsed() < Duration::from_secs(6), "{fate:?} took {:?}", started.elapsed());
                // Pauses between attempts are random, so the last attempt may not fit within the deadline.
                let seen = proxy.seen().len();
                assert!(seen == requests || requests == 5 && seen == 4, "{fate:?}: {:?}", proxy.seen());
            });
        }
    });
}

#[test]
fn an_attempt_that_the_deadline_cuts_short_does_not_hide_how_the_service_failed_before() {
    let server = ObjectServer::s3s_fs();
    thread::scope(|scope| {
        for _ in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let busy = ProxyAction::Answer(503);
                // The pauses add up to 0.7 s or more, so that less than the 0.5 s for a response are left.
                let proxy =
                    FaultyProxy::with_first_actions(server.port, &[busy, busy, busy, ProxyAction::Stall]);
                let backend = open(&server.url_at(proxy.port), &settings(Duration::from_secs(1)));
                let error = backend.read("a", 1000).unwrap_err();
                assert_eq!(error.reason, FaultReason::Unreachable, "{}", error_text(&error));
            });
        }
    });
}

/// An operation on a backend, whose result is discarded.
type Operation = fn(&dyn Backend) -> Result<(), BackendError>;

const OPERATIONS: [Operation; 8] = [
    |backend| backend.read("a", 10).map(drop),
    |backend| backend.size("a").map(drop),
    |backend| backend.write("a", b"1"),
    |backend| backend.list("a").map(drop),
    |backend| backend.remove("a"),
    |backend| backend.set_aside("a"),
    |backend| backend.mark("a", "").map(drop),
    |backend| backend.marks("a").map(drop),
];

/// Runs all operations in parallel on each kind of store, through a proxy with this fate, and asserts that each fails
/// with this reason.
fn assert_all_operations_fail(fate: ProxyAction, reason: FaultReason) {
    let proxy = FaultyProxy::always(fate);
    let actions_server = ActionsCacheServer::start();
    let actions = actions_server.job_at(proxy.port, "refs/heads/main", None, Permission::WriteActions);
    for url in ["s3://bucket?endpoint=http://127.0.0.1:PORT", "webdav://127.0.0.1:PORT/dav", "ghac://"] {
        let url = url.replace("PORT", &proxy.port.to_string());
        let settings = RemoteSettings { actions: actions.clone(), ..settings(Duration::from_secs(1)) };
        let backend = open(&url, &settings);
        thread::scope(|scope| {
            for (number, operation) in OPERATIONS.iter().enumerate() {
                let (backend, url) = (backend.as_ref(), &url);
                scope.spawn(move || {
                    let started = Instant::now();
                    let error = operation(backend).unwrap_err();
                    assert_eq!(error.reason, reason, "{url}, operation {number}: {}", error_text(&error));
                    let took = started.elapsed();
                    assert!(took < Duration::from_secs(3), "{url}, operation {number} took {took:?}");
                });
            }
        });
    }
}

#[test]
fn every_operation_on_a_stalling_server_ends_in_bounded_time() {
    assert_all_operations_fail(ProxyAction::Stall, FaultReason::TimedOut);
}

#[test]
fn every_operation_on_a_refusing_server_is_denied() {
    assert_all_operations_fail(ProxyAction::Answer(403), FaultReason::Denied);
}

#[test]
fn a_temporary_fault_is_retried_without_an_error() {
    let server = ObjectServer::s3s_fs();
    backend(&server).write("a", b"content of a").unwrap();
    let fates = [
        ProxyAction::Answer(503),
        ProxyAction::Reset,
        ProxyAction::Cut(12),
        ProxyAction::Pass,
        ProxyAction::Answer(500),
        ProxyAction::Answer(429),
    ];
    let proxy = FaultyProxy::with_first_actions(server.port, &fates);
    let backend = backend_through(&server, &proxy);
    assert_eq!(backend.read("a", 12).unwrap().as_deref(), Some(&b"content of a"[..]));
    backend.write("b", b"content of b").unwrap();
    assert_eq!(backend.read("b", 12).unwrap().as_deref(), Some(&b"content of b"[..]));
    assert_eq!(proxy.seen().len(), 8, "{:?}", proxy.seen());
}

#[test]
fn an_object_is_read_or_written_with_one_request_and_refused_if_it_is_too_large() {
    for server in [ObjectServer::s3s_fs(), ObjectServer::ministack()] {
        let proxy = FaultyProxy::with_first_actions(server.port, &[]);
        let backend = backend_through(&server, &proxy);
        backend.write("a", &vec![7; 5_000_000]).unwrap();
        assert_eq!(proxy.seen().len(), 1, "{:?}", proxy.seen());
        assert_eq!(backend.read("a", 5_000_000).unwrap().map(|content| content.len()), Some(5_000_000));
        assert_eq!(backend.read("none", 10).unwrap(), None);
        assert_eq!(backend.read("a", 4_999_999).unwrap_err().reason, FaultReason::Damaged);
        assert_eq!(proxy.seen().len(), 4, "{:?}", proxy.seen());
    }
}

#[test]
fn a_missing_bucket_is_an_error_and_not_an_empty_store() {
    let server = ObjectServer::ministack();
    let url = server.url().replace("s3://bucket", "s3://other-bucket");
    let backend = open(&url, &settings(Duration::from_secs(4)));
    for error in [
        backend.list("").unwrap_err(),
        backend.read("a", 10).unwrap_err(),
        backend.write("a", b"1").unwrap_err(),
    ] {
        assert!(error_text(&error).contains("NoSuchBucket"), "{}", error_text(&error));
    }
}

#[test]
fn the_error_for_a_bucket_in_a_different_region_names_the_region() {
    let server = ObjectServer::ministack();
    let backend = open(&format!("{}&region=eu-central-1", server.url()), &settings(Duration::from_secs(4)));
    let error = error_text(&backend.read("a", 10).unwrap_err());
    assert!(error.contains("its region is us-east-1"), "{error}");
}
