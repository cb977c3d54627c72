//! A project directory of its own for each test, and larder run in it with nothing of the machine's.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::engines::Engine;

/// Returns `true` in `make test-full`, which runs random and repeated tests at their full size.
pub(crate) fn is_full() -> bool {
    std::env::var_os("LARDER_TEST_FULL").is_some()
}

/// The base image that every engine has.
pub(crate) const BUSYBOX: &str = "larder-test/busybox:1";

/// A project, a cache and a home of its own, and an engine.
pub(crate) struct TestContext {
    directory: Arc<TempDir>,
    pub(crate) engine: Engine,
    /// The environment requests that images are archived.
    archives: bool,
}

/// What a run of larder came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    /// Asserts that it succeeded.
    #[track_caller]
    pub(crate) fn success(self) -> Self {
        assert_eq!(self.code, 0, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts that it failed with this exit code, said this in its one line of cause, gave a hint, and did not panic.
    #[track_caller]
    pub(crate) fn failure(self, code: i32, cause: &str) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        let line = self.stderr.lines().rev().find(|line| line.starts_with("error: ")).unwrap_or_default();
        assert!(line.contains(cause), "`{cause}` is not in `{line}`\n{}", self.stderr);
        assert!(
            !self.stderr.contains("panicked") && !self.stderr.contains("stack backtrace"),
            "{}",
            self.stderr
        );
        self
    }

    /// Asserts that a hint contains this.
    #[track_caller]
    pub(crate) fn hint(self, hint: &str) -> Self {
        let hinted = self.stderr.lines().any(|line| line.starts_with("hint: ") && line.contains(hint));
        assert!(hinted, "no hint with `{hint}`:\n{}", self.stderr);
        self
    }
}

impl TestContext {
    pub(crate) fn new(engine: &Engine) -> Self {
        let directory = TempDir::with_prefix("larder-it-").expect("a temporary directory");
        let context = Self { directory: Arc::new(directory), engine: engine.clone(), archives: false };
        std::fs::create_dir_all(context.project()).expect("a project");
        context
    }

    /// A context whose builds archive their images, as `LARDER_ENABLED=1` requests.
    pub(crate) fn with_archiving(engine: &Engine) -> Self {
        Self { archives: true, ..Self::new(engine) }
    }

    /// The same project and cache with another engine.
    pub(crate) fn on_engine(&self, engine: &Engine) -> Self {
        Self { directory: Arc::clone(&self.directory), engine: engine.clone(), archives: self.archives }
    }

    /// A path below the test's own directory; [`Self::project`] is one of them.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// The project's directory, where larder runs. Its name is no other's: buildx tells contexts apart by that.
    pub(crate) fn project(&self) -> PathBuf {
        self.path(&format!("project-{}", self.unique_name()))
    }

    fn unique_name(&self) -> String {
        let name = self.directory.path().file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        name.trim_start_matches('.').replace("larder-it-", "it-")
    }

    /// Writes a file of the project, with the directories on the way.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.project().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, content).expect("a file");
        self
    }

    /// An image name that no other test uses.
    pub(crate) fn tag(&self, name: &str) -> String {
        format!("{}/{name}:1", self.unique_name())
    }

    /// larder in the project, with an environment of its own, as a job of the trunk.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command
            .args(arguments)
            .current_dir(self.project())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("DOCKER_CONFIG", self.path("docker"))
            .env("LARDER_LANE", "main")
            .env("RUST_BACKTRACE", "1")
            // Whatever else is on this machine's disk.
            .env("LARDER_MIN_FREE_GB", "0")
            .envs(self.engine.environment())
            .envs(self.archives.then_some(("LARDER_ENABLED", "1")))
            .stdin(Stdio::null());
        command
    }

    /// Runs larder to its end.
    pub(crate) fn larder(&self, arguments: &[&str]) -> Run {
        run_to_end(&mut self.command(arguments), None)
    }

    /// Runs larder to its end with this on standard input.
    pub(crate) fn larder_with_input(&self, arguments: &[&str], input: &[u8]) -> Run {
        run_to_end(self.command(arguments).stdin(Stdio::piped()), Some(input))
    }

    /// Builds with a metadata file and answers its content.
    pub(crate) fn build(&self, arguments: &[&str]) -> Value {
        let path = self.path("metadata.json");
        let path_text = path.to_string_lossy().into_owned();
        let arguments = [&["build", "--metadata-file", &path_text], arguments].concat();
        self.larder(&arguments).success();
        json(&path)
    }
}

/// Runs a command to its end.
pub(crate) fn run_to_end(command: &mut Command, input: Option<&[u8]>) -> Run {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    if let Some(input) = input {
        // A command that does not read all of its input says so by itself.
        drop(child.stdin.take().expect("a pipe").write_all(input));
    }
    let output = child.wait_with_output().expect("the command ends");
    Run {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The content of a JSON file.
pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

/// The SHA-256 digest of these bytes, as hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
