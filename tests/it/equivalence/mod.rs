//! Checks that `larder build` and `docker build` create the same images.
//!
//! Each project is built three times on every engine:
//!
//! 1. by the engine's docker client,
//! 2. by larder: every step must come from BuildKit's cache, which proves that larder requests exactly the same steps.
//!    All layers and all times in the image config are then equal, too,
//! 3. by larder with `--no-cache`: the layers are created again. Everything must be equal, except the times at which
//!    the steps ran, in the config and of the files that they created. All files of the context have times in the
//!    past, so that their times are compared.

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
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::engines::{Engine, engines};
use crate::image::Image;
use crate::support::{Run, TestContext, json, run_to_end};

/// The first engine version whose built-in frontend supports here-documents, `COPY --link` and named contexts.
const NEWER_FRONTEND: u32 = 23;

/// A Dockerfile and flags.
#[derive(Clone, Copy)]
struct Project {
    /// What it tests.
    name: &'static str,
    dockerfile: &'static str,
    arguments: &'static [&'static str],
}

impl Project {
    const fn new(name: &'static str, dockerfile: &'static str) -> Self {
        Self { name, dockerfile, arguments: &[] }
    }

    const fn with(self, arguments: &'static [&'static str]) -> Self {
        Self { arguments, ..self }
    }
}

/// The files of every project. Each gets a unique last line.
///
/// The first step of each project has to copy one of them. Otherwise its steps may be in BuildKit's cache from an
/// earlier test.
const FILES: [(&str, &str); 5] = [
    ("src/a", "alpha\n"),
    ("src/b", "beta\n"),
    ("src/deep/er/c", "gamma\n"),
    ("run.sh", "#!/bin/sh\necho hello\n"),
    ("notes.md", "never copied\n"),
];

/// A project on one engine that both tools build.
struct Bench {
    context: TestContext,
    /// The project's path. Tests pass it instead of `.`, because BuildKit reuses the files of one context `.` for the
    /// next and treats files with the same name, size and time as equal.
    directory: String,
    start: SystemTime,
    /// Environment variables of both tools.
    variables: Vec<(&'static str, String)>,
}

impl Bench {
    /// Creates an empty project.
    fn new(engine: &Engine) -> Self {
        let context = TestContext::new(engine);
        let directory = context.project().to_string_lossy().into_owned();
        Self { context, directory, start: SystemTime::now(), variables: Vec::new() }
    }

    /// Creates a project with [`FILES`] and this Dockerfile.
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

    /// Runs `docker build` in the project.
    fn docker(&self, arguments: &[&str], input: Option<&[u8]>) -> Run {
        let mut docker = self.engine().docker();
        docker.arg("build").args(arguments).current_dir(self.context.project());
        docker.envs(self.variables.iter().cloned());
        docker.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        run_to_end(&mut docker, input)
    }

    /// Runs `larder build` in the project.
    fn larder(&self, arguments: &[&str], input: Option<&[u8]>) -> Run {
        let metadata = self.context.path("metadata.json");
        let mut larder = self.context.command(&["build", "--metadata-file", &metadata.to_string_lossy()]);
        larder.args(arguments).envs(self.variables.iter().cloned());
        larder.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        run_to_end(&mut larder, input)
    }

    /// Returns the metadata of the last `larder build`.
    fn record(&self) -> Value {
        json(&self.context.path("metadata.json"))
    }

    /// Builds the project three times and compares the images, as the module documentation describes. Returns the name
    /// of the last image.
    #[track_caller]
    fn assert_same(&self, what: &str, arguments: &[&str], input: Option<&[u8]>) -> String {
        let peer = self.assert_cached(what, arguments, input);
        let label = format!("{what} on {}, without cache", self.engine().name);
        let name = self.context.tag("uncached");
        let run = self.larder(&[&["--no-cache", "-t", &name], arguments].concat(), input);
        assert_eq!(run.code, 0, "{label}: {}", run.stderr);
        assert_eq!(self.record()["steps"]["cached"], 0, "{label}");
        let image = Image::from_engine(self.engine(), &name).without_build_times(self.start);
        image.assert_equals(&peer.without_build_times(self.start), &label);
        name
    }

    /// Builds the project with docker and then with larder, which must find every step in the cache. Returns docker's
    /// image.
    #[track_caller]
    fn assert_cached(&self, what: &str, arguments: &[&str], input: Option<&[u8]>) -> Image {
        let label = format!("{what} on {}", self.engine().name);
        age(&self.context.path(""));
        let (docker_tag, larder_tag) = (self.context.tag("docker"), self.context.tag("larder"));
        let run = self.docker(&[&["-t", &docker_tag], arguments].concat(), input);
        assert_eq!(run.code, 0, "{label}: docker build: {}", run.stderr);
        // Without it, a project that was already built in this test would be an image hit.
        let extra = format!("way={what}");
        let run = self.larder(&[&["-t", &larder_tag, "--key-extra", &extra], arguments].concat(), input);
        assert_eq!(run.code, 0, "{label}: larder build: {}", run.stderr);
        let record = self.record();
        assert_eq!(record["outcome"], "built", "{label}");
        assert_eq!(record["steps"]["cached"], record["steps"]["total"], "{label}: {}", run.stderr);
        let peer = Image::from_engine(self.engine(), &docker_tag);
        // Equal ids imply equal images. In containerd's store, the id also depends on the attestation, which contains a
        // time.
        if self.engine().inspect(&larder_tag)["Id"] != self.engine().inspect(&docker_tag)["Id"] {
            Image::from_engine(self.engine(), &larder_tag).assert_equals(&peer, &label);
        }
        peer
    }
}

/// Sets the times of all files below a directory to times in the past that are derived from their paths.
fn age(directory: &Path) {
    for entry in walkdir::WalkDir::new(directory).contents_first(true) {
        let entry = entry.expect("an entry");
        let digest: [u8; 32] = Sha256::digest(entry.path().as_os_str().as_encoded_bytes()).into();
        let [_, a, b, c, d, ..] = digest;
        let number = u32::from_be_bytes([0, b, c, d]);
        let past = Duration::new(981_173_106 + u64::from(a) + u64::from(number), number);
        let time = FileTime::from_system_time(SystemTime::UNIX_EPOCH + past);
        filetime::set_symlink_file_times(entry.path(), time, time).expect("a time");
    }
}

/// Runs `work` on all engines of version `since` or later, in parallel.
fn on_engines(since: u32, work: impl Fn(&Engine) + Sync) {
    let engines = engines().into_iter().filter(|engine| engine.major() >= since).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        for engine in &engines {
            scope.spawn(|| work(engine));
        }
    });
}

/// Checks each project in its own directory on every engine of version `since` or later.
fn assert_all_same(projects: &[Project], since: u32) {
    on_engines(since, |engine| {
        for project in projects {
            let bench = Bench::with_files(engine, project.dockerfile);
            bench.assert_same(project.name, &[project.arguments, &[&bench.directory]].concat(), None);
        }
    });
}
