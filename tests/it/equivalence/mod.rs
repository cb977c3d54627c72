//! The image of `larder build` is the one that `docker build` makes.
//!
//! Each project is built three times on every engine:
//!
//! 1. by the engine's own client;
//! 2. by larder: every step has to come from BuildKit's cache, which proves that
//!    BuildKit was asked for the very same steps; then even the times in the image
//!    config and all layers are the same;
//! 3. by larder with `--no-cache`: now the layers are really made a second time.
//!    Everything has to be the same but the times at which the steps ran: in the
//!    config, and of what the steps made. All that comes from the context is
//!    given a time in the past, so that a difference there shows.

mod conditions;
mod contexts;
mod failures;
mod instructions;
mod secrets;
mod ssh;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use filetime::FileTime;
use larder::digest::Digest;
use serde_json::Value;

use crate::engines::{Engine, engines};
use crate::image::Image;
use crate::support::{Run, TestContext, finish, json};

/// The built-in frontend of this engine and later ones knows heredocs, `COPY --link` and named contexts.
const NEWER_FRONTEND: u32 = 23;

/// A Dockerfile and flags.
#[derive(Clone, Copy)]
struct Project {
    /// What it shows.
    what: &'static str,
    dockerfile: &'static str,
    arguments: &'static [&'static str],
}

impl Project {
    const fn new(what: &'static str, dockerfile: &'static str) -> Self {
        Self { what, dockerfile, arguments: &[] }
    }

    const fn with(self, arguments: &'static [&'static str]) -> Self {
        Self { arguments, ..self }
    }
}

/// Files that every project of a table has; each gets a last line that no other test has.
///
/// Each project has to copy one of them before anything else: else its steps may
/// be in BuildKit's cache from an earlier run of the tests.
const FILES: [(&str, &str); 5] = [
    ("src/a", "alpha\n"),
    ("src/b", "beta\n"),
    ("src/deep/er/c", "gamma\n"),
    ("run.sh", "#!/bin/sh\necho hello\n"),
    ("notes.md", "nobody copies this\n"),
];

/// Both tools in one project, on one engine.
struct Bench {
    context: TestContext,
    /// The project's path. Docker's client lets all contexts that it is told of as `.` take turns in one place of
    /// BuildKit's, where files of one name, size and time pass for the same.
    place: String,
    start: SystemTime,
    /// Variables that both tools see.
    variables: Vec<(&'static str, String)>,
}

impl Bench {
    /// An empty project.
    fn new(engine: &Engine) -> Self {
        let context = TestContext::new(engine);
        let place = context.project().to_string_lossy().into_owned();
        Self { context, place, start: SystemTime::now(), variables: Vec::new() }
    }

    /// A project with [`FILES`] and this Dockerfile.
    fn with_files(engine: &Engine, dockerfile: &str) -> Self {
        let bench = Self::new(engine);
        for (path, content) in FILES {
            bench.context.write(path, format!("{content}# {}\n", bench.context.tag("for")));
        }
        bench.context.write(".dockerignore", "*.md\n");
        bench.context.write("Dockerfile", dockerfile);
        bench
    }

    fn engine(&self) -> &Engine {
        &self.context.engine
    }

    /// `docker build` in the project.
    fn docker(&self, arguments: &[&str], input: Option<&[u8]>) -> Run {
        let mut docker = self.engine().docker();
        docker.arg("build").args(arguments).current_dir(self.context.project());
        docker.envs(self.variables.iter().cloned());
        docker.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        finish(&mut docker, input)
    }

    /// `larder build` in the project.
    fn larder(&self, arguments: &[&str], input: Option<&[u8]>) -> Run {
        let metadata = self.context.path("metadata.json");
        let mut larder = self.context.command(&["build", "--metadata-file", &metadata.to_string_lossy()]);
        larder.args(arguments).envs(self.variables.iter().cloned());
        larder.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        finish(&mut larder, input)
    }

    /// The record of the last `larder build`.
    fn record(&self) -> Value {
        json(&self.context.path("metadata.json"))
    }

    /// Builds three times, as the module says, and answers the name of the last image.
    #[track_caller]
    fn assert_same(&self, what: &str, arguments: &[&str], input: Option<&[u8]>) -> String {
        let peer = self.assert_cached(what, arguments, input);
        let label = format!("{what} on {}, built anew", self.engine().name);
        let name = self.context.tag("anew");
        let run = self.larder(&[&["--no-cache", "-t", &name], arguments].concat(), input);
        assert_eq!(run.code, 0, "{label}: {}", run.stderr);
        assert_eq!(self.record()["steps"]["cached"], 0, "{label}");
        let image = Image::of(self.engine(), &name).timeless(self.start);
        image.assert_is(&peer.timeless(self.start), &label);
        name
    }

    /// Builds twice: larder, as the second, finds every step in the cache. Answers docker's image.
    #[track_caller]
    fn assert_cached(&self, what: &str, arguments: &[&str], input: Option<&[u8]>) -> Image {
        let label = format!("{what} on {}", self.engine().name);
        age(&self.context.path(""));
        let (theirs, ours) = (self.context.tag("theirs"), self.context.tag("ours"));
        let run = self.docker(&[&["-t", &theirs], arguments].concat(), input);
        assert_eq!(run.code, 0, "{label}: docker build: {}", run.stderr);
        // The same project from elsewhere would be an exact hit.
        let extra = format!("way={what}");
        let run = self.larder(&[&["-t", &ours, "--key-extra", &extra], arguments].concat(), input);
        assert_eq!(run.code, 0, "{label}: larder build: {}", run.stderr);
        let record = self.record();
        assert_eq!(record["outcome"], "built", "{label}");
        assert_eq!(record["steps"]["cached"], record["steps"]["total"], "{label}: {}", run.stderr);
        let peer = Image::of(self.engine(), &theirs);
        // Ids are content addresses; with containerd's store that of an attestation, with its time, goes in.
        if self.engine().inspect(&ours)["Id"] != self.engine().inspect(&theirs)["Id"] {
            Image::of(self.engine(), &ours).assert_is(&peer, &label);
        }
        peer
    }
}

/// Gives everything below a directory a time in the past that follows from its path.
fn age(directory: &Path) {
    for entry in walkdir::WalkDir::new(directory).contents_first(true) {
        let entry = entry.expect("an entry");
        let digest = Digest::of(entry.path().as_os_str().as_encoded_bytes());
        let [_, a, b, c, d, ..] = *digest.as_bytes();
        let number = u32::from_be_bytes([0, b, c, d]);
        let past = Duration::new(981_173_106 + u64::from(a) + u64::from(number), number);
        let time = FileTime::from_system_time(SystemTime::UNIX_EPOCH + past);
        filetime::set_symlink_file_times(entry.path(), time, time).expect("a time");
    }
}

/// Does the same on every engine from `since` on, on all of them at once.
fn on_engines(since: u32, work: impl Fn(&Engine) + Sync) {
    let engines = engines().into_iter().filter(|engine| engine.major() >= since).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        for engine in &engines {
            scope.spawn(|| work(engine));
        }
    });
}

/// Builds each project in a directory of its own, on every engine from `since` on.
fn assert_all_same(projects: &[Project], since: u32) {
    on_engines(since, |engine| {
        for project in projects {
            let bench = Bench::with_files(engine, project.dockerfile);
            bench.assert_same(project.what, &[project.arguments, &[&bench.place]].concat(), None);
        }
    });
}
