//! `larder dir`: saves directories and restores them in later runs. No engine is needed.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use walkdir::WalkDir;

use crate::engines::Engine;
use crate::running::Running;
use crate::support::{Run, TestContext, run_to_end};

const KEY: [&str; 2] = ["--key-files", "requirements.txt"];

/// Creates a project with a `requirements.txt` and a package cache of two files.
fn project() -> TestContext {
    let context = TestContext::new(&Engine::none());
    context.write("requirements.txt", "flask==3.0\n");
    context.write(".pip-cache/wheel", noise(1, 2_000_000)).write(".pip-cache/index/page", "page");
    context
}

/// Returns pseudo-random bytes, which cannot be compressed.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(size).collect()
}

impl TestContext {
    fn dir(&self, verb: &str, flags: &[&str]) -> Run {
        self.larder(&[&["dir", verb, ".pip-cache"], &KEY[..], flags].concat())
    }

    /// Runs `larder dir`, which must succeed, and returns its JSON report.
    fn dir_report(&self, verb: &str, flags: &[&str]) -> Value {
        let run = self.dir(verb, &[&["--format", "json"], flags].concat()).success();
        serde_json::from_str(&run.stdout).expect("JSON")
    }

    fn cache(&self) -> PathBuf {
        self.project().join(".pip-cache")
    }

    fn remove_cache(&self) {
        fs::remove_dir_all(self.cache()).unwrap();
    }

    /// Returns the path of the largest chunk in the store, which is one of the wheel's.
    fn chunk(&self) -> PathBuf {
        let chunks = WalkDir::new(self.path("home/.cache/larder/v1/chunks")).into_iter().map(Result::unwrap);
        let files = chunks.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path);
        files.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
    }
}

/// Sets the modification times to one in the past, as a package manager does when it unpacks files.
fn age(directory: &Path) {
    let time = filetime::FileTime::from_unix_time(1_700_000_000, 5);
    for entry in WalkDir::new(directory).contents_first(true) {
        filetime::set_symlink_file_times(entry.unwrap().path(), time, time).unwrap();
    }
}

#[test]
fn a_saved_directory_is_restored_and_saving_it_unchanged_adds_nothing() {
    let context = project();
    age(&context.cache());
    assert_eq!(context.dir_report("restore", &[])["outcome"], "miss");
    let saved = context.dir_report("save", &[]);
    assert_eq!((&saved["schema"], &saved["outcome"]), (&"larder.dir.v1".into(), &"saved".into()));
    assert_eq!((&saved["files"], &saved["bytes"]), (&2.into(), &2_000_004.into()));
    context.remove_cache();
    let restored = context.dir_report("restore", &[]);
    assert_eq!(restored["outcome"], "hit");
    assert_eq!(restored["entry"], saved["entry"]);
    assert_eq!((&restored["written"], &restored["unchanged"]), (&2.into(), &0.into()));
    assert_eq!(fs::read(context.cache().join("wheel")).unwrap(), noise(1, 2_000_000));
    // If no file has changed, none is read, so a missing chunk is not written again.
    let chunk = context.chunk();
    fs::remove_file(&chunk).unwrap();
    let again = context.dir_report("save", &[]);
    assert_eq!((&again["outcome"], &again["entry"]), (&"unchanged".into(), &saved["entry"]));
    assert!(!chunk.exists(), "the unchanged file was read");
    let line = context.dir("restore", &[]).success().stderr;
    assert!(
        line.starts_with("restored .pip-cache: 2 files, 2.00 MB (0 written, 2 unchanged) from "),
        "{line}"
    );
}

#[test]
fn a_save_after_a_restore_reads_only_new_files() {
    let context = project();
    age(&context.cache());
    context.dir_report("save", &[]);
    context.remove_cache();
    context.dir_report("restore", &[]);
    context.write("requirements.txt", "flask==3.1\n").write(".pip-cache/new", noise(2, 100_000));
    let saved = context.dir_report("save", &[]);
    assert_eq!((&saved["written"], &saved["unchanged"]), (&1.into(), &2.into()));
    let added = saved["added_bytes"].as_u64().unwrap();
    assert!((100_000..110_000).contains(&added), "{added}");
}

#[test]
fn comments_in_requirements_do_not_change_the_key_but_included_files_do() {
    let context = project();
    context.write("requirements.txt", "-r base.txt\nflask==3.0\n").write("base.txt", "six\n");
    context.dir_report("save", &[]);
    context.write("requirements.txt", "# why\n-r base.txt\n\n  flask==3.0\n");
    assert_eq!(context.dir_report("restore", &[])["outcome"], "hit");
    context.write("base.txt", "six==1\n");
    let missed = context.dir_report("restore", &[]);
    assert_eq!(missed["outcome"], "miss");
    assert!(
        missed["reason"].as_str().unwrap().starts_with("base.txt changed since the entry of 2"),
        "{missed}"
    );
    assert_eq!(context.dir_report("restore", &["--fallback"])["outcome"], "fallback");
    let other = context.dir_report("restore", &["--key-extra", "python=3.12", "--fallback"]);
    assert_eq!(other["outcome"], "fallback");
    assert_ne!(other["key"], missed["key"]);
}

#[test]
fn a_named_directory_can_be_restored_to_a_different_path() {
    let context = project();
    context.dir_report("save", &["--name", "pip"]);
    let elsewhere = ["dir", "restore", "other", KEY[0], KEY[1], "--name", "pip", "--format", "json"];
    let run = context.larder(&elsewhere).success();
    assert!(run.stdout.contains("\"outcome\": \"hit\""), "{}", run.stdout);
    assert!(context.project().join("other/wheel").exists());
    assert_eq!(
        context.dir_report("restore", &["--fallback"])["outcome"],
        "miss",
        "the entry has a different name"
    );
}

#[test]
fn missing_key_files_are_a_miss_that_names_them_and_prevent_a_save() {
    let context = project();
    context.dir_report("save", &[]);
    context.remove_cache();
    for (pattern, named) in [
        ("requirement.txt", "requirement.txt does not exist (requirements.txt does) (looked for in /"),
        ("poetry.lock", "poetry.lock does not exist (looked for in /"),
        ("services/**/*.lock", "no file matches services/**/*.lock (looked for in /"),
    ] {
        let key = ["--key-files", "requirements.txt", pattern];
        let run = context.larder(&[&["dir", "restore", ".pip-cache"], &key[..]].concat()).success();
        assert!(run.stderr.contains(&format!("warning: --key-files: {named}")), "{}", run.stderr);
        assert!(run.stderr.contains("no hit for .pip-cache"), "{}", run.stderr);
        assert!(!context.cache().exists());
        // The fallback is the newest entry of any key.
        let json = [&["dir", "restore", ".pip-cache", "--fallback", "--format", "json"], &key[..]].concat();
        let run = context.larder(&json).success();
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(report["outcome"], "fallback");
        assert!(report["reason"].as_str().unwrap().contains(pattern), "{report}");
        let run = context.larder(&[&["dir", "save", ".pip-cache"], &key[..]].concat()).success();
        assert!(run.stderr.contains("did not save .pip-cache"), "{}", run.stderr);
        context.remove_cache();
    }
    assert_eq!(context.dir_report("restore", &[])["outcome"], "hit", "the entry was not replaced");
    let run = context.larder(&["dir", "restore", "x", "--key-files", ".pip-cache"]);
    run.failure(2, ".pip-cache is a directory").hint("relative to the working directory");
}

#[test]
fn every_key_file_that_matches_a_pattern_changes_the_key() {
    let context = project();
    context.larder(&["dir", "save", ".pip-cache"]).failure(2, "--key-files").hint("larder dir save --help");
    let limit =
        context.dir("save", &["--max-size", "much"]).failure(2, "`much` is not a size such as 64m or 2GB");
    limit.hint("--max-size <SIZE>: Limit the size");
    context.dir("save", &["--cache-dir", ".pip-cache/own"]).failure(2, "contains the cache directory");
    context.dir("restore", &["--cache-dir", "."]).failure(2, "is inside the cache directory");
    context.write("services/a/poetry.lock", "a").write("services/b/poetry.lock", "b");
    let key = |context: &TestContext| {
        let arguments = ["dir", "restore", "x", "--key-files", "services/**/poetry.lock", "--format", "json"];
        let run = context.larder(&arguments).success();
        serde_json::from_str::<Value>(&run.stdout).unwrap()["key"].clone()
    };
    let before = key(&context);
    context.write("services/b/poetry.lock", "c");
    assert_ne!(key(&context), before);
}

#[test]
fn a_damaged_entry_causes_a_warning_and_the_directory_stays_unchanged() {
    let context = project();
    context.dir_report("save", &[]);
    fs::write(context.cache().join("wheel"), "modified").unwrap();
    let chunk = context.chunk();
    let bytes = fs::read(&chunk).unwrap();
    fs::write(&chunk, &bytes[..bytes.len() - 3]).unwrap();
    let strict = TestContext::new(&Engine::none());
    let copy = Command::new("cp").arg("-a").arg(context.path(".")).arg(strict.path("copy")).status().unwrap();
    assert!(copy.success());

    let run = context.dir("restore", &["--format", "json"]).success();
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(report["outcome"], "miss");
    assert_eq!(report["faults"][0]["reason"], "damaged");
    assert!(run.stderr.starts_with("warning: ") && run.stderr.contains("is damaged"), "{}", run.stderr);
    assert_eq!(fs::read(context.cache().join("wheel")).unwrap(), b"modified");
    assert_eq!(fs::read_dir(context.cache()).unwrap().count(), 2, "the staging directory was not removed");

    let project = strict.path("copy").join(context.project().file_name().unwrap());
    let mut command = context.command(&["dir", "restore", ".pip-cache", KEY[0], KEY[1], "--strict"]);
    command.current_dir(project).env("HOME", strict.path("copy/home"));
    run_to_end(&mut command, None).failure(3, "is damaged").hint("without --strict");
}

#[test]
fn a_cache_that_cannot_be_written_causes_a_warning() {
    let context = project();
    context.write("no-directory", "");
    let flags = ["--cache-dir", "no-directory"];
    let report = context.dir_report("save", &flags);
    assert_eq!(report["outcome"], "miss");
    assert!(!report["faults"].as_array().unwrap().is_empty());
    context.dir("save", &[&flags[..], &["--strict"]].concat()).failure(3, "no-directory");
    let mut command = context.command(&[&["dir", "save", ".pip-cache"], &KEY[..], &flags].concat());
    run_to_end(command.env("LARDER_STRICT", "1"), None).failure(3, "no-directory");
}

#[test]
fn a_save_of_a_missing_or_much_smaller_directory_is_refused() {
    let context = project();
    context.dir_report("save", &[]);
    let missing = || context.larder(&["dir", "save", "gone", KEY[0], KEY[1]]).success().stderr;
    assert!(missing().contains("warning: gone is not saved: it does not exist"), "{}", missing());
    fs::remove_file(context.cache().join("wheel")).unwrap();
    context.write("requirements.txt", "flask==3.1\n");
    let run = context.dir("save", &["--format", "json"]).success();
    assert!(run.stdout.contains("\"outcome\": \"refused\""), "{}", run.stdout);
    let warning = "it contains 4 B, but the last entry contains 2.00 MB; --allow-shrink";
    assert!(run.stderr.contains(warning), "{}", run.stderr);
    context.dir("save", &["--strict"]).failure(3, "it contains 4 B");
    assert_eq!(
        context.dir_report("restore", &["--fallback"])["bytes"],
        2_000_004,
        "the larger entry was not replaced"
    );
    fs::remove_file(context.cache().join("wheel")).unwrap();
    assert_eq!(context.dir_report("save", &["--allow-shrink"])["bytes"], 4);
}

#[test]
fn max_size_leaves_out_the_least_recently_used_files() {
    let context = project();
    context.remove_cache();
    let (used, old) = (1_600_000_000, 1_500_000_000);
    let response = |number: usize, end: &str| format!("http-v2/0/0/0/0/{number}/0000{number}{:051}{end}", 0);
    for (number, time) in [(1, old), (2, used)] {
        for path in ["", ".body"].map(|end| response(number, end)) {
            context.write(&format!(".pip-cache/{path}"), noise(3, 500_000));
            let time = filetime::FileTime::from_unix_time(time, 0);
            filetime::set_file_times(context.cache().join(path), time, time).unwrap();
        }
    }
    let run = context.dir("save", &["--max-size", "1.2MB", "--format", "json"]).success();
    let report: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((&report["bytes"], &report["skipped"]), (&1_000_000.into(), &2.into()));
    assert!(run.stderr.contains("not saved: 2 files that were used least recently, 1 MB"), "{}", run.stderr);
    assert!(context.cache().join(response(1, "")).exists(), "skipped files stay in the directory");

    // If the directory contains files that are not pip's, larder cannot know which belong together, and saves all or
    // none.
    context.write(".pip-cache/foreign", "not written by pip");
    let report = context.dir_report("save", &["--max-size", "1.2MB"]);
    assert_eq!(report["outcome"], "refused", "{report}");
    assert!(report["reason"].as_str().unwrap().contains("larger than --max-size"), "{report}");
}

#[test]
fn links_out_of_the_directory_are_restored_only_with_outside_links() {
    let context = project();
    symlink("/usr/bin/python3", context.cache().join("python")).unwrap();
    let saved = context.dir("save", &[]).success().stderr;
    assert!(saved.contains(
        "links that lead out of the directory: python; restoring the entry requires --outside-links"
    ));
    context.remove_cache();
    let run = context.dir("restore", &["--format", "json"]).success();
    assert!(run.stdout.contains("\"outcome\": \"refused\""), "{}", run.stdout);
    assert!(run.stderr.contains("python: the link leads out of the directory, to `/usr/bin/python3`"));
    assert!(!context.cache().exists());
    context.dir("restore", &["--strict"]).failure(3, "leads out of the directory");
    assert_eq!(context.dir_report("restore", &["--outside-links"])["outcome"], "hit");
    assert_eq!(fs::read_link(context.cache().join("python")).unwrap(), Path::new("/usr/bin/python3"));
}

#[test]
fn a_lane_reads_the_entries_of_the_trunk_but_cannot_change_them() {
    let context = project();
    let trunk = context.dir_report("save", &["--lane", "main"]);
    let restored = context.dir_report("restore", &["--lane", "pr-1"]);
    assert_eq!((&restored["outcome"], &restored["lane"]), (&"hit".into(), &"main".into()));
    context.write(".pip-cache/poison", "poison");
    assert_eq!(context.dir_report("save", &["--lane", "pr-1"])["lane"], "pr-1");
    context.remove_cache();
    assert_eq!(context.dir_report("restore", &["--lane", "main"])["entry"], trunk["entry"]);
    assert!(!context.cache().join("poison").exists());
    assert_eq!(context.dir_report("restore", &["--lane", "pr-1"])["lane"], "pr-1");
    assert!(context.cache().join("poison").exists());
}

#[test]
fn with_a_read_only_cache_a_save_reports_the_reason_and_a_restore_works() {
    let context = project();
    context.dir_report("save", &[]);
    context.write(".pip-cache/new", "new");
    let report = context.dir_report("save", &["--read-only", "--strict"]);
    assert_eq!(report["reason"], "the cache is read-only");
    context.remove_cache();
    assert_eq!(context.dir_report("restore", &["--read-only"])["files"], 2);
}

#[test]
fn an_interrupted_restore_leaves_no_files_in_the_directory() {
    let context = project();
    for number in 0..24 {
        context.write(&format!(".pip-cache/{number}"), noise(10 + number, 4_000_000));
    }
    context.dir_report("save", &[]);
    context.remove_cache();
    fs::create_dir(context.cache()).unwrap();
    let running =
        Running::start(&mut context.command(&[&["dir", "restore", ".pip-cache"], &KEY[..]].concat()));
    crate::polling::await_true(Duration::from_secs(30), "it stages files", || {
        fs::read_dir(context.cache()).unwrap().next().is_some()
    });
    running.signal(Signal::INT);
    let run = running.end(Duration::from_secs(30));
    let names: Vec<_> =
        fs::read_dir(context.cache()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let staged = names.iter().any(|name| name.to_string_lossy().starts_with(".larder-restore-"));
    assert!(!staged, "{names:?}");
    // If the restore was already complete when the signal arrived, all files exist.
    match run.code {
        130 => assert!(names.is_empty() && run.stderr.contains("interrupted"), "{names:?}\n{}", run.stderr),
        code => assert_eq!((code, names.len()), (0, 26), "{}", run.stderr),
    }
}

#[test]
fn concurrent_restores_of_a_directory_succeed() {
    let context = project();
    context.dir_report("save", &[]);
    context.remove_cache();
    let arguments = [&["dir", "restore", ".pip-cache"], &KEY[..]].concat();
    let running: Vec<Running> = (0..4).map(|_| Running::start(&mut context.command(&arguments))).collect();
    for running in running {
        let run = running.end(Duration::from_mins(1)).success();
        assert!(run.stderr.starts_with("restored "), "{}", run.stderr);
    }
    assert_eq!(fs::metadata(context.cache().join("wheel")).unwrap().size(), 2_000_000);
    assert_eq!(fs::read_dir(context.cache()).unwrap().count(), 2);
}

#[test]
fn files_included_by_a_requirements_file_of_any_name_change_the_key() {
    let context = project();
    context
        .write("requirements/base.txt", "-r common.txt\nflask\n")
        .write("requirements/common.txt", "x==1\n");
    let key = ["--key-files", "requirements/base.txt"];
    let report = |verb: &str| {
        let run =
            context.larder(&[&["dir", verb, ".pip-cache", "--format", "json"], &key[..]].concat()).success();
        serde_json::from_str::<Value>(&run.stdout).unwrap()
    };
    assert_eq!(report("save")["outcome"], "saved");
    assert_eq!(report("restore")["outcome"], "hit");
    context.write("requirements/common.txt", "x==2\n");
    assert_eq!(report("restore")["outcome"], "miss");
}

#[test]
fn a_directory_that_changes_while_it_is_read_does_not_replace_the_entry() {
    let context = project();
    // A thread appends to the file, so that it has changed each time it was read.
    let large = context.cache().join("wheel");
    fs::write(&large, noise(3, 20_000_000)).unwrap();
    assert_eq!(context.dir_report("save", &[])["outcome"], "saved");
    let writing = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::OpenOptions::new().append(true).open(&large).unwrap();
            while writing.load(std::sync::atomic::Ordering::Relaxed) {
                std::io::Write::write_all(&mut file, b"more").unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        // A busy disk can block the writer for so long that a save succeeds, so try several times.
        let refused = (0..10).find_map(|_| {
            let report = context.dir_report("save", &[]);
            (report["outcome"] == "refused").then_some(report)
        });
        let strict = (0..10).map(|_| context.dir("save", &["--strict"])).find(|run| run.code != 0);
        writing.store(false, std::sync::atomic::Ordering::Relaxed);
        assert!(refused.is_some(), "no save was refused");
        strict.expect("a strict save fails").failure(3, "wheel");
    });
    context.remove_cache();
    let restored = context.dir_report("restore", &[]);
    assert!(restored["bytes"].as_u64().unwrap() >= 20_000_000, "{restored}");
}

#[test]
fn the_next_save_with_a_remote_uploads_an_entry_that_was_saved_without_it() {
    let (context, other) = (project(), project());
    let remote = context.path("remote");
    fs::create_dir(&remote).unwrap();
    age(&context.cache());
    let url = format!("file://{}", remote.display());
    assert_eq!(context.dir_report("save", &[])["outcome"], "saved");
    context.remove_cache();
    assert_eq!(context.dir_report("restore", &[])["outcome"], "hit");
    assert_eq!(context.dir_report("save", &[])["outcome"], "unchanged");
    assert_eq!(context.dir_report("save", &["--remote", &url])["outcome"], "saved");
    assert_eq!(context.dir_report("save", &["--remote", &url])["outcome"], "unchanged");
    other.remove_cache();
    assert_eq!(other.dir_report("restore", &["--remote", &url])["outcome"], "hit");
}

#[test]
fn a_save_beyond_the_size_limit_leaves_nothing_in_the_cache() {
    let context = project();
    let report = context.dir_report("save", &["--cache-max-size-gb", "0.001"]);
    assert_eq!(report["faults"][0]["reason"], "refused", "{report}");
    let stats = context.larder(&["cache", "stats", "--format", "json"]).success();
    let stats: Value = serde_json::from_str(&stats.stdout).unwrap();
    assert_eq!((&stats["entries"], &stats["bytes_stored"]), (&0.into(), &0.into()));
}

#[test]
fn a_read_only_cache_is_read_but_not_changed() {
    let context = project();
    context.dir_report("save", &[]);
    context.remove_cache();
    let files = || {
        let entries = WalkDir::new(context.path("home/.cache/larder")).sort_by_file_name().into_iter();
        entries.map(|entry| entry.unwrap().into_path()).collect::<Vec<_>>()
    };
    let before = files();
    assert_eq!(context.dir_report("restore", &["--read-only"])["outcome"], "hit");
    context.write(".pip-cache/more", "more");
    context.dir_report("save", &["--read-only"]);
    assert_eq!(files(), before);
}

#[test]
fn the_entry_limit_is_enforced_after_each_save() {
    let context = project();
    for name in ["one", "two", "three"] {
        context.dir_report("save", &["--name", name, "--cache-max-entries", "2"]);
    }
    let list = context.larder(&["cache", "list", "--format", "json"]).success();
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let names: Vec<&str> =
        list["entries"].as_array().unwrap().iter().map(|entry| entry["family"].as_str().unwrap()).collect();
    assert_eq!(names, ["three", "two"]);
}

#[test]
fn a_failing_remote_causes_only_one_warning() {
    let context = project();
    fs::write(context.path("remote"), "no directory").unwrap();
    let url = format!("file://{}", context.path("remote").display());
    let run = context.dir("restore", &["--fallback", "--lane", "pr-1", "--remote", &url]).success();
    assert_eq!(run.stderr.matches("warning: ").count(), 1, "{}", run.stderr);
}
