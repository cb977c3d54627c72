//! Faults of the store: killed jobs, full disks, many jobs at once, failing remotes. Data whose save was acknowledged
//! must be restored bit for bit, and every fault must be reported with its reason. No engine is needed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::faulty_proxy::{FaultyProxy, ProxyAction};
use crate::object_servers::{ObjectServer, PASSWORD, USER};
use crate::support::{Run, is_full, run_to_end};

/// A pseudo-random number generator (xorshift) that returns the same numbers in every run.
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn bytes(&mut self, size: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.below(u64::MAX).to_le_bytes()).flatten().take(size).collect()
    }
}

/// A machine with a cache, and directories to save in it.
struct Machine {
    base: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { base: TempDir::with_prefix("larder-faults-").unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    fn cache(&self) -> PathBuf {
        self.path("cache")
    }

    fn larder(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.base.path())
            .env("LARDER_CACHE_DIR", self.cache())
            .env("LARDER_MIN_FREE_GB", "0")
            .current_dir(self.base.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        run_to_end(&mut self.larder(arguments), None)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let run = self.run(&[arguments, &["--format", "json"]].concat()).success();
        serde_json::from_str(&run.stdout).unwrap()
    }

    /// Creates a directory of a few files for the family `name` and returns the content of the files by path.
    fn fill(&self, name: &str, rng: &mut Rng) -> BTreeMap<String, Vec<u8>> {
        let directory = self.path(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("small")).unwrap();
        let mut files = BTreeMap::new();
        for number in 0..5 {
            let size = usize::try_from(rng.below(2000)).unwrap();
            files.insert(format!("small/{number}"), rng.bytes(size));
        }
        let size = 600_000 + usize::try_from(rng.below(2_000_000)).unwrap();
        files.insert("large".to_owned(), rng.bytes(size));
        for (path, content) in &files {
            fs::write(directory.join(path), content).unwrap();
        }
        files
    }

    fn save(&self, name: &str, key: &str) -> Command {
        self.larder(&["dir", "save", name, "--key-files", "key", "--key-extra", &format!("K={key}")])
    }

    /// Restores into an empty directory and returns the report and the content of the restored files by path.
    fn restore(&self, name: &str, key: &str) -> (Value, BTreeMap<String, Vec<u8>>) {
        let target = format!("restored-{name}-{key}");
        let extra = format!("K={key}");
        let report = self.json(&[
            "dir",
            "restore",
            &target,
            "--name",
            name,
            "--key-files",
            "key",
            "--key-extra",
            &extra,
        ]);
        let found = content(&self.path(&target));
        let _ = fs::remove_dir_all(self.path(&target));
        (report, found)
    }

    fn assert_no_damage(&self) {
        let verified = self.json(&["cache", "verify"]);
        assert_eq!(verified["faults"], Value::Array(Vec::new()), "{verified}");
        assert_eq!(verified["entries_broken"], Value::Array(Vec::new()), "{verified}");
    }
}

fn content(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = walkdir::WalkDir::new(directory).into_iter().filter_map(Result::ok);
    entries
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let path = entry.path().strip_prefix(directory).unwrap().to_string_lossy().into_owned();
            (path, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// Kills a process after `delay`. Returns `true` if it ended successfully before that.
fn kill_after(mut child: Child, delay: Duration) -> bool {
    let end = Instant::now() + delay;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().unwrap() {
            return status.success();
        }
        thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    // It may have ended before the signal arrived.
    child.wait().unwrap().success()
}

#[test]
fn kills_at_any_moment_lose_nothing_that_was_acknowledged() {
    let kills_needed = if is_full() { 200 } else { 40 };
    let machine = Machine::new();
    fs::write(machine.path("key"), "").unwrap();
    let mut rng = Rng(0x1234_5678_9abc_def1);
    let mut acknowledged: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    // The usual duration of a save, so that kills happen at every moment of one.
    let start = Instant::now();
    acknowledged.insert("first".to_owned(), machine.fill("d", &mut rng));
    assert!(machine.save("d", "first").stderr(Stdio::null()).status().unwrap().success());
    let usual = u64::try_from(start.elapsed().as_millis()).unwrap().max(20);
    let mut kills = 0;
    for round in 0.. {
        if kills == kills_needed {
            break;
        }
        assert!(round < 2000, "only {kills} of {round} runs were killed in time");
        let delay = Duration::from_millis(rng.below(usual + usual / 4));
        if rng.below(4) > 0 {
            let files = machine.fill("d", &mut rng);
            let key = format!("k{}", rng.below(6));
            let ended = kill_after(machine.save("d", &key).stderr(Stdio::null()).spawn().unwrap(), delay);
            if ended {
                acknowledged.insert(key, files);
            } else {
                kills += 1;
                // The entry may have been saved before the save was acknowledged.
                let (report, found) = machine.restore("d", &key);
                if report["outcome"] == "hit" && found == files {
                    acknowledged.insert(key, files);
                }
            }
        } else {
            let list = machine.json(&["cache", "list"]);
            let ids = list["entries"].as_array().unwrap();
            if ids.len() < 3 {
                continue;
            }
            let id =
                ids[usize::try_from(rng.below(ids.len() as u64)).unwrap()]["id"].as_str().unwrap().to_owned();
            let evict = machine.larder(&["cache", "evict", &id]).stdout(Stdio::null()).spawn().unwrap();
            kills += u32::from(!kill_after(evict, delay));
            let remaining = machine.json(&["cache", "list"]);
            let is_there =
                |id: &Value| remaining["entries"].as_array().unwrap().iter().any(|entry| entry["id"] == *id);
            if !is_there(&id.clone().into()) {
                // The key that is no longer a hit belongs to the removed entry.
                acknowledged.retain(|key, _| machine.restore("d", key).0["outcome"] == "hit");
            }
        }
        if round % 25 == 0 {
            machine.assert_no_damage();
        }
    }
    machine.assert_no_damage();
    for (key, files) in &acknowledged {
        let (report, found) = machine.restore("d", key);
        assert_eq!(report["outcome"], "hit", "{key}: {report}");
        assert!(found == *files, "{key} was restored with different content");
    }
    machine.run(&["cache", "clear", "-y"]).success();
    assert_eq!(content(&machine.cache().join("v1/chunks")).len(), 0, "chunks of killed jobs were removed");
    assert_eq!(content(&machine.cache().join("v1/saving")).len(), 0, "marks of killed jobs were removed");
}

#[test]
fn eight_savers_and_two_evictors_at_once_lose_nothing() {
    let seconds = if is_full() { 60 } else { 6 };
    let machine = Machine::new();
    fs::write(machine.path("key"), "").unwrap();
    let end = Instant::now() + Duration::from_secs(seconds);
    let job = |number: u64| {
        let mut rng = Rng(number + 77);
        let name = format!("d{number}");
        let mut saves = 0;
        while Instant::now() < end {
            // All chunks but one belong to one of three contents, which other jobs save and evict at the same time.
            let mut shared = Rng(rng.below(3) + 1);
            let mut files = machine.fill(&name, &mut shared);
            files.insert("own".to_owned(), rng.bytes(1000));
            fs::write(machine.path(&name).join("own"), &files["own"]).unwrap();
            let run = run_to_end(&mut machine.save(&name, "k"), None).success();
            assert!(!run.stderr.contains("warning"), "{}", run.stderr);
            saves += 1;
            let (report, found) = machine.restore(&name, "k");
            // The evictors may have removed the entry, but only as a whole.
            if report["outcome"] == "hit" {
                assert!(found == files, "{name} was restored with different content");
            } else {
                assert_eq!((&report["outcome"], found.len()), (&"miss".into(), 0), "{report}");
            }
        }
        saves
    };
    let evictor = || {
        let mut evictions = 0;
        while Instant::now() < end {
            let run = machine.run(&["cache", "evict", "--cache-max-size-gb", "0.006"]).success();
            assert!(!run.stderr.contains("warning"), "{}", run.stderr);
            evictions += 1;
        }
        evictions
    };
    let (saves, evictions): (u64, u64) = thread::scope(|scope| {
        let savers: Vec<_> = (0..8).map(|number| scope.spawn(move || job(number))).collect();
        let evictors: Vec<_> = (0..2).map(|_| scope.spawn(evictor)).collect();
        let ended = |threads: Vec<thread::ScopedJoinHandle<'_, u64>>| {
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        };
        (ended(savers), ended(evictors))
    });
    assert!(saves >= 8 && evictions >= 2, "{saves} saves and {evictions} evictions are too few");
    machine.assert_no_damage();
    let list = machine.json(&["cache", "list"]);
    for entry in list["entries"].as_array().unwrap() {
        assert_eq!(machine.restore(entry["image"].as_str().unwrap(), "k").0["outcome"], "hit", "{entry}");
    }
}

#[test]
fn a_full_disk_prevents_the_new_entry_and_keeps_the_old_ones() {
    let machine = Machine::new();
    fs::write(machine.path("key"), "").unwrap();
    let mut rng = Rng(5);
    fs::create_dir(machine.cache()).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "larder-test"])
        .arg(machine.cache())
        .status()
        .expect("mount");
    assert!(mount.success(), "this test needs root, as the engines do");
    let unmount = UnmountOnDrop(machine.cache());
    let files = machine.fill("fits", &mut Rng(5));
    machine.json(&["dir", "save", "fits", "--key-files", "key", "--key-extra", "K=1"]);
    fs::create_dir(machine.path("large")).unwrap();
    fs::write(machine.path("large/file"), rng.bytes(6_000_000)).unwrap();
    let large = ["dir", "save", "large", "--key-files", "key"];
    let report = machine.json(&large);
    assert_eq!(report["faults"][0]["reason"], "full", "{report}");
    assert_ne!(report["outcome"], "saved");
    machine.run(&[&large[..], &["--strict"]].concat()).failure(3, "No space left on device");
    machine.assert_no_damage();
    let (report, found) = machine.restore("fits", "1");
    assert!(report["outcome"] == "hit" && found == files, "{report}");
    assert_eq!(
        machine.json(&["cache", "stats"])["bytes_unused"],
        0,
        "chunks of the failed save were removed"
    );
    drop(unmount);
}

#[test]
fn a_save_stops_before_the_disk_is_full_and_removes_its_chunks() {
    let machine = Machine::new();
    fs::write(machine.path("key"), "").unwrap();
    fs::create_dir(machine.cache()).unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64m", "larder-test"])
        .arg(machine.cache())
        .status()
        .expect("mount");
    assert!(mount.success(), "this test needs root, as the engines do");
    let unmount = UnmountOnDrop(machine.cache());
    fs::create_dir(machine.path("d")).unwrap();
    fs::write(machine.path("d/file"), Rng(7).bytes(40_000_000)).unwrap();
    let free = || rustix::fs::statvfs(machine.cache()).map(|found| found.f_bavail * found.f_frsize).unwrap();
    let before = free();
    for (floor, outcome) in [("", "miss"), ("0.05", "miss"), ("0.01", "saved")] {
        let mut save = machine.larder(&["dir", "save", "d", "--key-files", "key", "--format", "json"]);
        // By default a gigabyte must stay free, which is more than this disk has.
        if floor.is_empty() {
            save.env_remove("LARDER_MIN_FREE_GB")
        } else {
            save.env("LARDER_MIN_FREE_GB", floor)
        };
        let run = run_to_end(&mut save, None).success();
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(report["outcome"], outcome, "{floor}: {report}");
        if outcome == "saved" {
            continue;
        }
        assert_eq!(report["faults"][0]["reason"], "full", "{report}");
        assert!(run.stderr.contains("must stay free (--cache-min-free-gb)"), "{}", run.stderr);
        assert!(free() + 100_000 > before, "{floor}: {before} bytes were free, and {} are", free());
    }
    drop(unmount);
}

#[test]
fn the_remote_store_has_its_own_size_limit() {
    let machine = Machine::new();
    fs::write(machine.path("key"), "").unwrap();
    fs::create_dir(machine.path("share")).unwrap();
    fs::create_dir(machine.path("d")).unwrap();
    let url = format!("file://{}", machine.path("share").display());
    for (number, limits) in [["100", "100"], ["0.003", "100"], ["100", "0.005"]].into_iter().enumerate() {
        fs::write(machine.path("d/file"), Rng(number as u64 + 1).bytes(2_000_000)).unwrap();
        let extra = format!("N={number}");
        machine.json(&[
            "dir",
            "save",
            "d",
            "--key-files",
            "key",
            "--key-extra",
            &extra,
            "--remote",
            &url,
            "--cache-max-size-gb",
            limits[0],
            "--remote-max-size-gb",
            limits[1],
        ]);
        // Without this file, the next command measures the size of the store.
        fs::remove_file(machine.path("share/v1/usage.json")).unwrap();
        let count =
            |at: &str| machine.json(&["cache", "stats", "--at", at, "--remote", &url])["entries"].clone();
        let expected = [(1, 1), (1, 2), (2, 2)][number];
        assert_eq!((count("local"), count("remote")), (expected.0.into(), expected.1.into()), "{number}");
    }
}

struct UnmountOnDrop(PathBuf);

impl Drop for UnmountOnDrop {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} is still mounted", self.0.display());
    }
}

#[test]
fn randomly_damaged_files_never_restore_wrong_content() {
    let machine = Machine::new();
    fs::write(machine.path("key"), "").unwrap();
    let mut rng = Rng(99);
    let (mut damaged, mut noticed, mut saved) = (0, 0, Vec::new());
    for round in 0..25 {
        saved.push(machine.fill("d", &mut rng));
        run_to_end(&mut machine.save("d", "k"), None).success();
        let stored: Vec<PathBuf> = walkdir::WalkDir::new(machine.cache().join("v1"))
            .sort_by_file_name()
            .into_iter()
            .map(Result::unwrap)
            .filter(|entry| {
                entry.file_type().is_file() && !entry.path().starts_with(machine.cache().join("v1/damaged"))
            })
            .map(walkdir::DirEntry::into_path)
            .collect();
        for _ in 0..=rng.below(2) {
            let path = &stored[usize::try_from(rng.below(stored.len() as u64)).unwrap()];
            let mut bytes = fs::read(path).unwrap_or_default();
            let at = usize::try_from(rng.below(bytes.len().max(1) as u64)).unwrap();
            match rng.below(4) {
                0 => bytes.truncate(at),
                1 => bytes = rng.bytes(bytes.len()),
                2 if !bytes.is_empty() => bytes[at] ^= 1 << rng.below(8),
                _ => bytes.extend(b"more"),
            }
            fs::write(path, bytes).unwrap();
            damaged += 1;
        }
        let (report, found) = machine.restore("d", "k");
        // If the newest entry is damaged, an older entry with the same key may be restored.
        let is_newest = saved.last() == Some(&found);
        match report["outcome"].as_str().unwrap() {
            "hit" => assert!(saved.contains(&found), "round {round}: {report}"),
            outcome => {
                assert_eq!((outcome, found.len()), ("miss", 0), "round {round}: {report}");
            }
        }
        let is_reported = !report["faults"].as_array().unwrap().is_empty();
        assert!(is_newest || is_reported, "round {round}: no reason is reported: {report}");
        noticed += usize::from(is_reported);
    }
    assert!(noticed > 0, "none of {damaged} damages was noticed, which proves nothing");
}

#[test]
fn a_failing_remote_causes_one_warning_with_its_reason_and_no_failure() {
    for (fate, reason) in [
        (ProxyAction::Stall, "timed-out"),
        (ProxyAction::Reset, "unreachable"),
        (ProxyAction::Answer(403), "denied"),
        (ProxyAction::Answer(500), "unreachable"),
        (ProxyAction::Answer(503), "unreachable"),
    ] {
        let machine = Machine::new();
        fs::write(machine.path("key"), "").unwrap();
        let files = machine.fill("d", &mut Rng(7));
        let proxy = FaultyProxy::always(fate);
        let remote = format!("s3://bucket/larder?endpoint=http://127.0.0.1:{}&region=us-east-1", proxy.port);
        let with_remote = |arguments: &[&str]| {
            let mut command =
                machine.larder(&[arguments, &["--remote", &remote, "--format", "json"]].concat());
            command.env("LARDER_REMOTE_USER", USER).env("LARDER_REMOTE_PASSWORD", PASSWORD);
            run_to_end(command.env("LARDER_REMOTE_TIMEOUT", "2s"), None)
        };
        let start = Instant::now();
        let saved = with_remote(&["dir", "save", "d", "--key-files", "key", "--key-extra", "K=1"]).success();
        let report: Value = serde_json::from_str(&saved.stdout).unwrap();
        assert_eq!(
            (&report["outcome"], &report["faults"][0]["reason"]),
            (&"saved".into(), &reason.into()),
            "{report}"
        );
        assert_eq!(saved.stderr.matches("warning: ").count(), 1, "{fate:?}: {}", saved.stderr);
        assert!(!saved.stderr.contains(PASSWORD), "{}", saved.stderr);
        let restored = ["dir", "restore", "back", "--name", "d", "--key-files", "key", "--key-extra", "K=1"];
        let report: Value = serde_json::from_str(&with_remote(&restored).success().stdout).unwrap();
        assert_eq!(report["outcome"], "hit", "{report}");
        assert!(content(&machine.path("back")) == files);
        assert!(start.elapsed() < Duration::from_secs(40), "{fate:?} took {:?}", start.elapsed());
    }
}

#[test]
fn an_entry_in_a_bucket_is_restored_on_a_different_machine() {
    for server in [ObjectServer::s3s_fs(), ObjectServer::ministack()] {
        let (here, there) = (Machine::new(), Machine::new());
        let files = here.fill("d", &mut Rng(8));
        let on = |machine: &Machine, arguments: &[&str]| {
            fs::write(machine.path("key"), "").unwrap();
            let url = server.url();
            let mut command = machine.larder(&[arguments, &["--remote", &url, "--format", "json"]].concat());
            command.env("LARDER_REMOTE_USER", USER).env("LARDER_REMOTE_PASSWORD", PASSWORD);
            let run = run_to_end(&mut command, None).success();
            assert!(!run.stderr.contains("warning"), "{}: {}", server.name, run.stderr);
            serde_json::from_str::<Value>(&run.stdout).unwrap()
        };
        let key = ["--key-files", "key"];
        assert_eq!(on(&here, &[&["dir", "save", "d"], &key[..]].concat())["outcome"], "saved");
        let restored = on(&there, &[&["dir", "restore", "back", "--name", "d"], &key[..]].concat());
        assert_eq!(restored["outcome"], "hit");
        assert!(content(&there.path("back")) == files);
        assert_eq!(on(&there, &["cache", "list", "--at", "remote"])["entries"].as_array().unwrap().len(), 1);
        assert_eq!(on(&there, &["cache", "verify", "--at", "remote"])["entries_whole"], 1);
        let evicted = on(&there, &["cache", "evict", "--at", "remote", "--max-age", "1s"]);
        assert_eq!(
            evicted["kept_entries"].as_u64().unwrap() + evicted["evicted"].as_array().unwrap().len() as u64,
            1
        );
        on(&there, &["cache", "clear", "-y", "--at", "remote"]);
        assert_eq!(on(&there, &["cache", "stats", "--at", "remote"])["bytes_stored"], 0);
    }
}

#[test]
fn entries_missing_from_a_bucket_after_an_outage_are_sent_by_the_next_save_or_a_push() {
    for server in [ObjectServer::s3s_fs(), ObjectServer::ministack()] {
        let (here, there) = (Machine::new(), Machine::new());
        let files = here.fill("d", &mut Rng(9));
        here.fill("e", &mut Rng(10));
        let run = |machine: &Machine, url: &str, arguments: &[&str]| {
            fs::write(machine.path("key"), "").unwrap();
            let mut command = machine.larder(&[arguments, &["--remote", url]].concat());
            command.env("LARDER_REMOTE_USER", USER).env("LARDER_REMOTE_PASSWORD", PASSWORD);
            run_to_end(command.env("LARDER_REMOTE_TIMEOUT", "2s"), None).success()
        };
        let key = ["--key-files", "key"];
        let restored = |name: &str| {
            let back = format!("back-{name}");
            let arguments = ["dir", "restore", &back, "--name", name, "--format", "json"];
            let run = run(&there, &server.url(), &[&arguments, &key[..]].concat());
            serde_json::from_str::<Value>(&run.stdout).unwrap()["outcome"].clone()
        };
        let proxy = FaultyProxy::always(ProxyAction::Answer(503));
        let down = server.url_at(proxy.port);
        let save = |url: &str, name: &str| run(&here, url, &[&["dir", "save", name], &key[..]].concat());
        save(&down, "d");
        assert_eq!(restored("d"), "miss", "{}", server.name);
        // A save in a different lane does not send entries of this lane.
        let other = ["dir", "save", "e", "--key-files", "key", "--lane", "pr-1"];
        assert!(!run(&here, &server.url(), &other).stderr.contains("sent "), "{}", server.name);
        assert_eq!(restored("d"), "miss", "{}", server.name);
        let saved = save(&server.url(), "e");
        assert!(saved.stderr.contains("sent 1 entry that s3://bucket"), "{}", saved.stderr);
        assert_eq!(restored("d"), "hit", "{}", server.name);
        assert!(content(&there.path("back-d")) == files);

        // Entries that were saved before there was a remote are sent by `cache push`, once.
        here.fill("f", &mut Rng(11));
        run_to_end(&mut here.larder(&["dir", "save", "f", "--key-files", "key"]), None).success();
        let pushed = run(&here, &server.url(), &["cache", "push"]);
        assert!(pushed.stderr.contains("sent 1 entry ("), "{}", pushed.stderr);
        assert_eq!(restored("f"), "hit", "{}", server.name);
        let again = run(&here, &server.url(), &["cache", "push", "--format", "json"]);
        assert_eq!(serde_json::from_str::<Value>(&again.stdout).unwrap()["entries"], 0);
    }
}

#[test]
fn an_s3_error_message_is_printed_once_for_many_objects() {
    let server = ObjectServer::ministack();
    let machine = Machine::new();
    fs::write(machine.path("key"), "").unwrap();
    machine.fill("d", &mut Rng(12));
    let url = server.url().replace("s3://bucket", "s3://other-bucket");
    let mut command = machine.larder(&["dir", "save", "d", "--key-files", "key", "--remote", &url]);
    command.env("LARDER_REMOTE_USER", USER).env("LARDER_REMOTE_PASSWORD", PASSWORD);
    let run = run_to_end(&mut command, None).success();
    assert_eq!(run.stderr.matches("warning: ").count(), 1, "{}", run.stderr);
    let expected = "it answered 404 Not Found (NoSuchBucket: The specified bucket does not exist";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
}
