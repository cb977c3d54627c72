//! larder as a running process: its standard error so far, signals, and its end.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::polling::{await_some, await_true};
use crate::support::Run;

/// A started command. It is killed if the test ends first.
pub(crate) struct Running {
    child: Child,
    stderr: Arc<Mutex<Vec<u8>>>,
    reading: Option<JoinHandle<()>>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
        let mut pipe = child.stderr.take().expect("a pipe");
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let collected = Arc::clone(&stderr);
        let reading = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                collected.lock().expect("no panic").extend_from_slice(&buffer[..read]);
            }
        });
        Self { child, stderr, reading: Some(reading) }
    }

    /// Returns its standard error so far.
    pub(crate) fn stderr_so_far(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().expect("no panic")).into_owned()
    }

    /// Waits until its standard error contains this text.
    #[track_caller]
    pub(crate) fn await_stderr(&self, text: &str) {
        await_true(Duration::from_mins(1), text, || self.stderr_so_far().contains(text));
    }

    /// Returns `true` once it has a handler for SIGINT.
    pub(crate) fn handles_interrupts(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
        caught & (1 << (Signal::INT.as_raw() - 1)) != 0
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("the process still runs");
    }

    /// Waits for its end and returns its exit code and output. Panics if it does not end within `limit`.
    #[track_caller]
    pub(crate) fn end(mut self, limit: Duration) -> Run {
        let status =
            await_some(limit, "larder ends", || self.child.try_wait().expect("a child can be waited for"));
        self.reading.take().expect("not joined yet").join().expect("no panic");
        let mut stdout = String::new();
        self.child.stdout.take().expect("a pipe").read_to_string(&mut stdout).expect("text");
        Run { code: status.code().unwrap_or(-1), stdout, stderr: self.stderr_so_far() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
