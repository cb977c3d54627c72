//! The GitHub Actions cache as a remote store: which entries a job sees and replaces, and which permissions it needs.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use larder::store::backend::remote::{ActionsJob, RemoteSettings, RemoteUrl};
use larder::store::backend::{Backend, BackendError, BackendObject, FaultReason};
use serde_json::Value;
use tempfile::TempDir;

use crate::actions_cache_server::{ActionsCacheServer, DEFAULT_BRANCH, Permission, SECRET, seconds_from_now};
use crate::store_backends::error_text;
use crate::support::{Run, run_to_end};

const MAIN: &str = "refs/heads/main";

fn open(url: &str, actions: ActionsJob) -> Arc<dyn Backend> {
    let settings = RemoteSettings { actions, deadline: Duration::from_secs(20), ..RemoteSettings::default() };
    url.parse::<RemoteUrl>().unwrap().open(&settings).unwrap()
}

/// Opens the store of a job that runs for `reference`.
fn backend(server: &ActionsCacheServer, reference: &str, base: Option<&str>) -> Arc<dyn Backend> {
    open("ghac:///team/x", server.job(reference, base))
}

fn paths(backend: &dyn Backend) -> Vec<String> {
    let mut paths: Vec<String> = backend.list("").unwrap().into_iter().map(|object| object.path).collect();
    paths.sort();
    paths
}

#[test]
fn a_job_sees_only_entries_of_its_ref_its_base_and_the_default_branch() {
    let server = ActionsCacheServer::start();
    for (reference, path) in [
        (MAIN, "of/main"),
        ("refs/heads/release", "of/release"),
        ("refs/heads/other", "of/other"),
        ("refs/pull/7/merge", "of/own"),
    ] {
        backend(&server, reference, None).write(path, path.as_bytes()).unwrap();
    }
    let job = backend(&server, "refs/pull/7/merge", Some("release"));
    assert_eq!(paths(job.as_ref()), ["of/main", "of/own", "of/release"]);
    assert_eq!(job.read("of/other", 100).unwrap(), None);
    for path in paths(job.as_ref()) {
        assert_eq!(job.read(&path, 100).unwrap().as_deref(), Some(path.as_bytes()));
    }
    assert_eq!(paths(backend(&server, MAIN, None).as_ref()), ["of/main"]);
}

#[test]
fn entries_of_the_jobs_ref_take_precedence_and_are_listed_once() {
    let server = ActionsCacheServer::start();
    let main = backend(&server, MAIN, None);
    main.write("a", b"of main").unwrap();
    let job = backend(&server, "refs/heads/topic", None);
    job.write("a", b"own").unwrap();
    assert_eq!(job.list("").unwrap(), [BackendObject { path: "a".to_owned(), size: 3 }]);
    assert_eq!(job.read("a", 10).unwrap().as_deref(), Some(&b"own"[..]));
    assert_eq!(main.read("a", 10).unwrap().as_deref(), Some(&b"of main"[..]), "each writes to its own ref");
    job.remove("a").unwrap();
    assert_eq!(job.read("a", 10).unwrap(), None, "a removed object is not read from a different ref");
    assert_eq!(paths(job.as_ref()), Vec::<String>::new());
}

#[test]
fn the_default_branch_comes_from_the_event_or_else_from_the_api() {
    let server = ActionsCacheServer::start();
    backend(&server, "refs/heads/trunk", None).write("of/trunk", b"1").unwrap();
    backend(&server, MAIN, None).write("of/main", b"1").unwrap();
    let directory = TempDir::new().unwrap();
    let event = directory.path().join("event.json");
    for (content, listed) in [
        (r#"{"ref": "refs/heads/topic", "repository": {"default_branch": "trunk"}}"#, "of/trunk"),
        (r#"{"schedule": "0 0 * * *"}"#, "of/main"),
    ] {
        fs::write(&event, content).unwrap();
        let job = ActionsJob { event: Some(event.clone()), ..server.job("refs/heads/topic", None) };
        server.take_requests();
        assert_eq!(paths(open("ghac:///team/x", job).as_ref()), [listed]);
        let is_requested = server.take_requests().iter().any(|call| call == "GET /api/repos/octo/larder");
        assert_eq!(is_requested, listed == format!("of/{DEFAULT_BRANCH}"));
    }
}

#[test]
fn an_object_is_not_confused_with_one_of_a_longer_name_or_in_capitals() {
    let server = ActionsCacheServer::start();
    let job = backend(&server, MAIN, None);
    job.write("a/b-longer", b"longer").unwrap();
    assert_eq!(job.read("a/b", 100).unwrap(), None);
    assert_eq!(job.size("a/b").unwrap(), None);
    job.write("a/B", b"capital").unwrap();
    assert_eq!(job.read("a/b", 100).unwrap(), None);
    job.write("a/b", b"small").unwrap();
    assert_eq!(job.read("a/B", 100).unwrap().as_deref(), Some(&b"capital"[..]));
    assert_eq!(paths(job.as_ref()), ["a/B", "a/b", "a/b-longer"]);
    job.remove("a/b").unwrap();
    assert_eq!(paths(job.as_ref()), ["a/B", "a/b-longer"]);
}

#[test]
fn stores_and_other_programs_in_one_repository_do_not_interfere() {
    let server = ActionsCacheServer::start();
    let stores =
        ["ghac://", "ghac:///a", "ghac:///a/b", "ghac:///A"].map(|url| open(url, server.job(MAIN, None)));
    for (number, store) in stores.iter().enumerate() {
        store.write("x", &[b'0' + u8::try_from(number).unwrap()]).unwrap();
    }
    server.insert_entry(MAIN, "a/theirs!", &"f".repeat(64), Some(b"of another program"));
    server.insert_entry(MAIN, "a/theirs", "larder", Some(b"of another program"));
    for (number, store) in stores.iter().enumerate() {
        assert_eq!(store.read("x", 1).unwrap().unwrap(), [b'0' + u8::try_from(number).unwrap()]);
        assert_eq!(store.read("theirs", 100).unwrap(), None);
        store.remove("theirs").unwrap();
    }
    assert_eq!(paths(stores[1].as_ref()), ["b/x", "x"]);
    assert_eq!(paths(stores[3].as_ref()), ["x"]);
    assert_eq!(server.entries().len(), 6, "{:?}", server.entries());
}

#[test]
fn an_object_is_replaced_only_if_its_content_differs() {
    let server = ActionsCacheServer::start();
    let job = backend(&server, MAIN, None);
    for content in [&b"one"[..], b"two", b"", b"longer"] {
        job.write("a", content).unwrap();
        assert_eq!(job.read("a", 10).unwrap().as_deref(), Some(content));
    }
    server.take_requests();
    job.write("a", b"longer").unwrap();
    let seen = server.take_requests();
    assert!(!seen.iter().any(|call| call.starts_with("DELETE")), "{seen:?}");
    assert_eq!(server.entries().len(), 1);
}

#[test]
fn a_name_reserved_by_a_dead_job_is_reported_as_busy() {
    let server = ActionsCacheServer::start();
    let job = backend(&server, MAIN, None);
    job.write("a", b"1").unwrap();
    let (key, version, _) = server.entries().remove(0);
    job.remove("a").unwrap();
    server.insert_entry(MAIN, &key, &version, None);
    let settings = RemoteSettings {
        actions: server.job(MAIN, None),
        deadline: Duration::from_secs(3),
        ..RemoteSettings::default()
    };
    let url: RemoteUrl = "ghac:///team/x".parse().unwrap();
    let error = url.open(&settings).unwrap().write("a", b"2").unwrap_err();
    assert_eq!(error.reason, FaultReason::Busy, "{}", error_text(&error));
    assert_eq!(job.read("a", 10).unwrap(), None);
}

#[test]
fn entries_removed_during_a_listing_hide_no_other_entries() {
    let server = ActionsCacheServer::start();
    let job = backend(&server, MAIN, None);
    job.write("o/first", b"1").unwrap();
    let (_, version, _) = server.entries().remove(0);
    for number in 0..350 {
        server.insert_entry(MAIN, &format!("team/x/o/{number}!"), &version, Some(b"1"));
    }
    server.remove_one_after_each_page();
    let listed = paths(job.as_ref());
    let remaining = paths(job.as_ref());
    assert!((340..350).contains(&remaining.len()), "{}", remaining.len());
    assert!(remaining.iter().all(|path| listed.contains(path)));
}

#[test]
fn an_operation_without_permission_is_denied_and_names_the_permission() {
    let server = ActionsCacheServer::start();
    backend(&server, MAIN, None).write("a", b"1").unwrap();
    let job = |may| open("ghac:///team/x", server.job_at(server.port, MAIN, None, may));
    let (reader, nobody) = (job(Permission::ReadActions), job(Permission::None));
    assert_eq!(paths(reader.as_ref()), ["a"]);
    assert_eq!(nobody.read("a", 10).unwrap().as_deref(), Some(&b"1"[..]), "reading needs no permission");
    nobody.write("b", b"1").unwrap();
    for error in [
        reader.remove("a").unwrap_err(),
        reader.write("a", b"2").unwrap_err(),
        nobody.list("").unwrap_err(),
        nobody.marks("m").unwrap_err(),
    ] {
        assert_eq!(error.reason, FaultReason::Denied);
        let shown = error_text(&error);
        assert!(
            shown.contains("it answered 403 Forbidden (Resource not accessible by integration); ")
                && shown.contains("`permissions: actions: write`"),
            "{shown}"
        );
    }
}

#[test]
fn neither_errors_nor_debug_output_show_tokens_or_signed_urls() {
    let server = ActionsCacheServer::start();
    let assert_no_secret = |backend: &dyn Backend, error: &BackendError| {
        let shown = format!("{}\n{backend:?}\n{}", error_text(error), backend.place());
        for secret in [SECRET, "s3cret", "sig=", "Bearer"] {
            assert!(!shown.contains(secret), "{secret} is in\n{shown}");
        }
    };
    let stranger = ActionsJob {
        runtime_token: Some(format!("{SECRET}-stranger")),
        token: Some(format!("{SECRET}-stranger")),
        ..server.job(MAIN, None)
    };
    assert!(!format!("{stranger:?}").contains(SECRET));
    let backend = open("ghac:///team/x", stranger);
    for error in [
        backend.read("a", 10).unwrap_err(),
        backend.size("a").unwrap_err(),
        backend.write("a", b"1").unwrap_err(),
        backend.list("").unwrap_err(),
        backend.remove("a").unwrap_err(),
    ] {
        assert_eq!(error.reason, FaultReason::Denied, "{}", error_text(&error));
        assert_no_secret(backend.as_ref(), &error);
    }
    // This read fails after the signed URL was received.
    let backend = open("ghac:///team/x", server.job(MAIN, None));
    backend.write("large", &[7; 1000]).unwrap();
    assert_no_secret(backend.as_ref(), &backend.read("large", 999).unwrap_err());
}

#[test]
fn a_rate_limit_is_waited_for_if_there_is_time_and_else_reported_at_once() {
    let server = ActionsCacheServer::start();
    let job = backend(&server, MAIN, None);
    for status in [429, 403] {
        server.refuse_next_request(status, &[("retry-after", "1")]);
        let started = Instant::now();
        assert_eq!(paths(job.as_ref()), Vec::<String>::new());
        assert!(started.elapsed() > Duration::from_millis(900), "{status}");
    }
    let ends = seconds_from_now(3600);
    for (status, headers) in [
        (429, &[("retry-after", "3600")][..]),
        (403, &[("retry-after", "3600")]),
        (403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &ends)]),
    ] {
        server.refuse_next_request(status, headers);
        let started = Instant::now();
        let error = job.list("").unwrap_err();
        assert_eq!(error.reason, FaultReason::Unreachable, "{}", error_text(&error));
        assert!(started.elapsed() < Duration::from_secs(2), "{status}");
    }
}

/// A machine that runs jobs, with its own cache.
struct Machine {
    base: TempDir,
}

impl Machine {
    fn new() -> Self {
        let base = TempDir::with_prefix("larder-ghac-").unwrap();
        fs::write(base.path().join("requirements.txt"), "flask==3.0\n").unwrap();
        Self { base }
    }

    fn larder(&self, job: &ActionsJob, without: &str, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.base.path())
            .env("LARDER_REMOTE", "ghac:///pip")
            .env("LARDER_MIN_FREE_GB", "0")
            .env("ACTIONS_CACHE_SERVICE_V2", "True")
            .current_dir(self.base.path())
            .stdin(Stdio::null());
        for (variable, value) in [
            ("ACTIONS_RESULTS_URL", &job.results_url),
            ("ACTIONS_RUNTIME_TOKEN", &job.runtime_token),
            ("GITHUB_TOKEN", &job.token),
            ("GITHUB_API_URL", &job.api_url),
            ("GITHUB_REPOSITORY", &job.repository),
            ("GITHUB_REF", &job.reference),
            ("GITHUB_BASE_REF", &job.base),
        ] {
            command.env(variable, value.as_deref().unwrap_or_default());
        }
        run_to_end(command.env_remove(without), None)
    }

    fn dir(&self, job: &ActionsJob, verb: &str) -> Value {
        let arguments = ["dir", verb, "pip", "--key-files", "requirements.txt", "--format", "json"];
        let run = self.larder(job, "", &arguments).success();
        assert_eq!(run.stderr, "", "no warning is expected");
        serde_json::from_str(&run.stdout).unwrap()
    }

    fn pip(&self) -> impl AsRef<Path> {
        self.base.path().join("pip")
    }
}

#[test]
fn a_pull_request_on_a_different_machine_restores_what_the_default_branch_saved() {
    let server = ActionsCacheServer::start();
    let (main, pull_request) = (server.job(MAIN, None), server.job("refs/pull/7/merge", Some("main")));
    let first = Machine::new();
    fs::create_dir(first.pip()).unwrap();
    fs::write(first.pip().as_ref().join("wheel"), vec![7; 3_000_000]).unwrap();
    assert_eq!(first.dir(&main, "save")["outcome"], "saved");
    let second = Machine::new();
    let restored = second.dir(&pull_request, "restore");
    assert_eq!(restored["outcome"], "hit", "{restored}");
    assert_eq!(fs::read(second.pip().as_ref().join("wheel")).unwrap(), vec![7; 3_000_000]);
    // Other refs do not see the entries that a pull request saves.
    fs::write(second.base.path().join("requirements.txt"), "flask==3.1\n").unwrap();
    assert_eq!(second.dir(&pull_request, "save")["outcome"], "saved");
    let third = Machine::new();
    fs::write(third.base.path().join("requirements.txt"), "flask==3.1\n").unwrap();
    assert_ne!(third.dir(&main, "restore")["outcome"], "hit");
}

#[test]
fn a_missing_variable_is_named_with_a_hint_how_a_workflow_sets_it() {
    let server = ActionsCacheServer::start();
    let (machine, job) = (Machine::new(), server.job(MAIN, None));
    let variables = [
        ("ACTIONS_RESULTS_URL", "core.exportVariable('ACTIONS_RESULTS_URL', process.env.ACTIONS_RESULTS_URL"),
        ("ACTIONS_RUNTIME_TOKEN", "`uses: actions/github-script`"),
        ("ACTIONS_CACHE_SERVICE_V2", "core.exportVariable('ACTIONS_CACHE_SERVICE_V2'"),
        ("GITHUB_TOKEN", "`permissions: actions: write`"),
        ("GITHUB_REPOSITORY", "every step of a workflow"),
        ("GITHUB_REF", "every step of a workflow"),
    ];
    thread::scope(|scope| {
        for (variable, hint) in variables {
            let (machine, job) = (&machine, &job);
            scope.spawn(move || {
                let run = machine.larder(job, variable, &["cache", "stats"]);
                let cause =
                    format!("cannot open ghac:///pip/v1: GitHub's cache needs the variable {variable}");
                let run = run.failure(2, &cause).hint(hint);
                assert!(!run.stderr.contains(SECRET), "{}", run.stderr);
            });
        }
    });
}
