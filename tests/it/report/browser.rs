//! Looks at a directory of web pages with Chromium, under the content security policy of Jenkins.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::running::Running;

/// What Jenkins sends with every published file.
const POLICY: &str = "sandbox allow-same-origin; default-src 'none'; img-src 'self'; style-src 'self';";
const PROBE: &str = include_str!("probe.html");
const LIMIT: Duration = Duration::from_mins(1);

/// What Chromium reported about some pages.
#[derive(Debug)]
pub(super) struct Inspection {
    /// What is wrong with the pages and charts.
    pub(super) findings: Vec<String>,
    /// What the policy has blocked.
    pub(super) violations: Vec<String>,
    /// The number of pages and charts that were looked at, counted for each width.
    pub(super) checked: usize,
}

/// Opens the page and the charts of `directory` on a small and on a large screen.
pub(super) fn inspect(directory: &Path) -> Inspection {
    let mut documents: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "style.css")
        .collect();
    documents.sort_unstable();
    let probe = PROBE.replacen("LIST", &serde_json::to_string(&documents).unwrap(), 2);
    let runtime = Runtime::new().unwrap();
    let port = runtime.block_on(serve(directory.to_owned(), probe));
    let output = chromium(&format!("http://127.0.0.1:{port}/probe"));
    assert!(
        output.0.contains("<pre>END</pre>"),
        "the probe did not reach its end:\n{}\n{}",
        output.0,
        output.1
    );
    let lines = |text: &str, mark: &str| {
        text.lines().filter(|line| line.contains(mark)).map(str::to_owned).collect::<Vec<_>>()
    };
    Inspection {
        findings: lines(&output.0, "<pre>FINDING "),
        violations: lines(&output.1, "Content Security Policy"),
        checked: lines(&output.0, "<pre>CHECKED ").len(),
    }
}

/// Serves the probe, and the files of a directory with the policy, until the runtime ends. Returns the port.
async fn serve(directory: PathBuf, probe: String) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (directory, probe) = (directory.clone(), probe.clone());
            let service = service_fn(move |request: Request<Incoming>| {
                let response = respond(request.uri().path(), &directory, &probe);
                async move { Ok::<_, hyper::Error>(response) }
            });
            let serving = hyper::server::conn::http1::Builder::new();
            let serving = serving.serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move { drop(serving.await) });
        }
    });
    port
}

fn respond(path: &str, directory: &Path, probe: &str) -> Response<Full<Bytes>> {
    let response = |status| Response::builder().status(status);
    let text = |text: String| Full::new(Bytes::from(text));
    if path == "/probe" {
        return response(200).header(CONTENT_TYPE, "text/html").body(text(probe.to_owned())).unwrap();
    }
    let kind = match path.rsplit('.').next() {
        Some("html") => "text/html",
        Some("css") => "text/css",
        _ => "image/svg+xml",
    };
    match std::fs::read_to_string(directory.join(path.trim_start_matches('/'))) {
        Ok(content) => response(200)
            .header(CONTENT_TYPE, kind)
            .header(CONTENT_SECURITY_POLICY, POLICY)
            .header("x-content-type-options", "nosniff")
            .body(text(content))
            .unwrap(),
        Err(_) => response(404).body(text(String::new())).unwrap(),
    }
}

/// Returns the document at `url` after its scripts have run, and the messages of the browser.
fn chromium(url: &str) -> (String, String) {
    let home = tempfile::TempDir::with_prefix("larder-chromium-").unwrap();
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
        .args(["--disable-breakpad", "--disable-crash-reporter", "--hide-scrollbars"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", home.path().join("profile").display()))
        .arg(url)
        .env("HOME", home.path())
        .env_remove("DBUS_SESSION_BUS_ADDRESS");
    let run = Running::start(&mut command).end(LIMIT).success();
    (run.stdout, run.stderr)
}
