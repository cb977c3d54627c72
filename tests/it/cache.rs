//! `larder cache`: lists, removes, verifies, exports and imports cache entries.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::{Run, run_to_end};

/// A cache directory of one test. No engine is needed.
struct Cache {
    base: TempDir,
}

impl Cache {
    fn new() -> Self {
        Self { base: tempfile::tempdir().unwrap() }
    }

    fn directory(&self) -> PathBuf {
        self.base.path().join("cache")
    }

    /// Saves a directory of this name with one file of pseudo-random bytes. Returns the short id of the entry.
    fn save(&self, lane: &str, name: &str, bytes: usize) -> String {
        let mut seed: [u8; 32] = Sha256::digest(name).into();
        let mut content = Vec::new();
        while content.len() < bytes {
            content.extend(seed);
            seed = Sha256::digest(seed).into();
        }
        let directory = self.base.path().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("file"), &content[..bytes]).unwrap();
        std::fs::write(self.base.path().join("key"), name).unwrap();
        let arguments = ["save", name, "--key-files", "key", "--lane", lane];
        let mut command = self.larder("dir", &[&arguments[..], &["--format", "json"]].concat());
        let run = run_to_end(&mut command, None).success();
        let report: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(report["outcome"], "saved", "{report}");
        report["entry"].as_str().unwrap()[..12].to_owned()
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        self.larder("cache", arguments)
    }

    fn larder(&self, subcommand: &str, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_larder"));
        command
            .arg(subcommand)
            .args(arguments)
            .env_clear()
            .env("HOME", self.base.path())
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .env("LARDER_CACHE_DIR", self.directory())
            .env("LARDER_MIN_FREE_GB", "0")
            .current_dir(self.base.path())
            .stdin(std::process::Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        run_to_end(&mut self.command(arguments), None)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let run = self.run(&[arguments, &["--format", "json"]].concat()).success();
        serde_json::from_str(&run.stdout).unwrap()
    }

    fn titles(&self) -> Vec<String> {
        let list = self.json(&["list"]);
        list["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["image"].as_str().unwrap().to_owned())
            .collect()
    }

    fn largest_chunk(&self) -> PathBuf {
        let files = walkdir::WalkDir::new(self.directory().join("v1/chunks")).into_iter().map(Result::unwrap);
        let files = files.filter(|entry| entry.file_type().is_file());
        files.max_by_key(|entry| entry.metadata().unwrap().len()).unwrap().into_path()
    }
}

#[test]
fn the_list_has_all_documented_fields_and_the_last_used_entry_first() {
    let cache = Cache::new();
    assert!(cache.run(&["list"]).success().stdout.starts_with("No cache entries in "));
    cache.save("main", "older", 1000);
    let id = cache.save("pr-7", "newer", 2_000_000);
    let list = cache.json(&["list"]);
    assert_eq!(list["schema"], "larder.cache-list.v1");
    let first = &list["entries"][0];
    for field in ["id", "kind", "key", "lane", "image", "tags", "created", "last_used", "bytes", "nodes"] {
        assert!(!first[field].is_null(), "{field}");
    }
    assert_eq!(
        (&first["id"], &first["lane"], &first["bytes"]),
        (&id.into(), &"pr-7".into(), &2_000_000.into())
    );
    assert_eq!(cache.titles(), ["newer", "older"]);
    let text = cache.run(&["list"]).success().stdout;
    assert!(text.starts_with("2 cache entries in ") && text.contains("2 MB in 1 file"), "{text}");
}

#[test]
fn an_entry_can_be_named_by_the_start_of_its_id() {
    let cache = Cache::new();
    let id = cache.save("main", "one", 1000);
    let info = cache.json(&["info", &id[..4]]);
    assert_eq!((&info["id"], &info["family"]), (&Value::from(id.clone()), &Value::from("one")));
    assert!(cache.run(&["info", &id]).success().stdout.contains("sha256:"));
    let unknown = cache.run(&["info", "zzzz"]).failure(2, "there is no cache entry `zzzz`");
    let unknown = unknown.hint(&format!("{id}: dir one"));
    unknown.hint("larder cache list");
    cache.run(&["info", ""]).failure(2, "there is no cache entry");
    while cache.titles().len() < 17 {
        // An id is hexadecimal, so two of seventeen begin with the same digit.
        cache.save("main", &format!("entry {}", cache.titles().len()), 10);
    }
    let ids: Vec<String> = (cache.json(&["list"])["entries"].as_array().unwrap().iter())
        .map(|entry| entry["id"].as_str().unwrap()[..1].to_owned())
        .collect();
    let twice = ids.iter().find(|id| ids.iter().filter(|other| other == id).count() > 1).unwrap();
    cache.run(&["info", twice]).failure(2, &format!("cache entries begin with `{twice}`"));
}

#[test]
fn statistics_show_how_full_the_cache_is() {
    let cache = Cache::new();
    cache.save("main", "one", 2_000_000);
    cache.save("pr-7", "two", 1_000_000);
    let stats = cache.json(&["stats", "--cache-max-size-gb", "0.01"]);
    assert_eq!((&stats["entries"], &stats["limit_bytes"]), (&2.into(), &10_000_000.into()));
    // Besides the content, it includes a list of files.
    assert!((3_000_000..3_001_000).contains(&stats["bytes_logical"].as_u64().unwrap()));
    assert!((3_000_000..3_010_000).contains(&stats["bytes_stored"].as_u64().unwrap()));
    assert_eq!(stats["lanes"].as_array().unwrap().len(), 2);
    assert_eq!(stats["engine_build_cache_bytes"], Value::Null);
    let mut signing = cache.command(&["stats"]);
    signing.env("LARDER_SIGNING_KEY", "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=");
    let stdout = run_to_end(&mut signing, None).success().stdout;
    assert!(
        stdout.contains("Entries are signed with: iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=\n"),
        "{stdout}"
    );
    let text = cache.run(&["stats", "--cache-max-size-gb", "0.01"]).success().stdout;
    assert!(text.contains("Stored: 3.00 MB / 10 MB\nUsage: 30.0%\n"), "{text}");
}

#[test]
fn statistics_of_an_empty_cache_show_no_savings_and_one_entry_is_singular() {
    let cache = Cache::new();
    let text = cache.run(&["stats"]).success().stdout;
    assert!(text.contains("Entries: 0, no limit\nStored: 0 B / 100 GB\nUsage: 0.0%\n"), "{text}");
    assert!(!text.contains("saved"), "{text}");
    let id = cache.save("main", "one", 0);
    let file = cache.base.path().join("one.tar");
    let run = cache.run(&["export", &id, "-o", file.to_str().unwrap()]).success();
    assert!(run.stderr.contains("exported 1 entry (1 chunk, "), "{}", run.stderr);
    let text = cache.run(&["verify"]).success().stdout;
    assert!(text.contains("1 entry is complete, 0 are not; 1 chunk with "), "{text}");
    let run = cache.run(&["evict", "--max-age", "1s", "--cache-max-entries", "1"]).success();
    assert!(run.stdout.contains("0 entries removed, freed 0 B; 1 entry left, "), "{}", run.stdout);
}

#[test]
fn a_dry_run_shows_what_the_eviction_removes() {
    let cache = Cache::new();
    for name in ["a", "b", "c"] {
        cache.save("main", name, 2_000_000);
    }
    let limit = ["--cache-max-size-gb", "0.0045"];
    let plan = cache.json(&[&["evict", "--dry-run"], &limit[..]].concat());
    assert_eq!((&plan["dry_run"], &plan["evicted"][0]["image"]), (&true.into(), &"a".into()));
    assert_eq!(cache.titles().len(), 3);
    let done = cache.json(&[&["evict"], &limit[..]].concat());
    assert_eq!(done["evicted"], plan["evicted"]);
    assert_eq!(cache.titles(), ["c", "b"]);
    let by_count = cache.run(&["evict", "--cache-max-entries", "1"]).success().stdout;
    assert!(by_count.contains("exceeds the limit on entries"), "{by_count}");
    assert_eq!(cache.titles(), ["c"]);
    assert_eq!(cache.json(&["evict", "--max-age", "1ms"])["evicted"][0]["cause"], "unused");
    assert_eq!(cache.titles(), [""; 0]);
}

#[test]
fn a_single_entry_can_be_evicted_by_its_id() {
    let cache = Cache::new();
    let id = cache.save("main", "one", 1000);
    cache.save("main", "two", 1000);
    cache.run(&["evict", &id[..6]]).success();
    assert_eq!(cache.titles(), ["two"]);
    cache.run(&["evict", "--read-only"]).failure(2, "the cache is read-only").hint("--read-only");
}

#[test]
fn clear_asks_for_confirmation_and_fails_without_a_terminal() {
    let cache = Cache::new();
    cache.save("main", "one", 1000);
    cache.run(&["clear"]).failure(2, "standard input is not a terminal").hint("-y");
    assert_eq!(cache.titles(), ["one"]);
    cache.run(&["clear", "-y"]).success();
    assert_eq!(cache.titles(), [""; 0]);
    for (answer, left) in [("n\n", 1), ("\n", 1), ("y\n", 0)] {
        if cache.titles().is_empty() {
            cache.save("main", "one", 1000);
        }
        // `script` runs larder in a pseudo-terminal.
        let larder = format!("{} cache clear", env!("CARGO_BIN_EXE_larder"));
        let command = cache.command(&[]);
        let environment: Vec<_> = command
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        let mut script = std::process::Command::new("script");
        script
            .args(["-qec", &larder, "/dev/null"])
            .env_clear()
            .envs(environment)
            .stdin(std::process::Stdio::piped());
        script.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let run = run_to_end(&mut script, Some(answer.as_bytes()));
        assert!(run.stdout.contains("Remove the 1 entry"), "{}", run.stdout);
        assert_eq!(cache.titles().len(), left, "{answer:?}");
    }
}

#[test]
fn verify_finds_damage_and_repair_sets_it_aside() {
    let cache = Cache::new();
    cache.save("main", "one", 2_000_000);
    let verified = cache.json(&["verify"]);
    assert_eq!((&verified["entries_whole"], &verified["faults"]), (&1.into(), &Value::Array(Vec::new())));
    let chunk = cache.largest_chunk();
    let mut bytes = std::fs::read(&chunk).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&chunk, bytes).unwrap();
    let found = cache.run(&["verify"]).failure(3, "the cache is damaged").hint("--repair");
    assert!(found.stdout.contains("is incomplete"), "{}", found.stdout);
    assert!(chunk.exists());
    cache.run(&["verify", "--repair"]).failure(3, "some entries could not be repaired").hint("set aside");
    assert_eq!(cache.titles(), [""; 0]);
    cache.run(&["verify"]).success();
}

#[test]
fn entries_can_be_exported_to_a_file_and_imported() {
    let (here, there) = (Cache::new(), Cache::new());
    let ids = [here.save("main", "one", 2_000_000), here.save("pr-1", "two", 1000)];
    let file = here.base.path().join("entries.tar");
    here.run(&["export", &ids[0], &ids[1][..5], "--output", &file.to_string_lossy()]).success();
    let stderr = there.run(&["import", &file.to_string_lossy()]).success().stderr;
    assert!(stderr.starts_with("imported 2 entries"), "{stderr}");
    assert_eq!(there.titles().len(), 2);
    there.run(&["verify"]).success();
    let piped = here.run(&["export", &ids[0], "--output", "-"]).success();
    assert!(piped.stdout.contains("chunks/"));
    std::fs::write(&file, b"not an archive at all".repeat(100)).unwrap();
    there.run(&["import", &file.to_string_lossy()]).failure(2, "");
    there.run(&["import", "/nonexistent"]).failure(2, "cannot read /nonexistent");
    here.run(&["export", &ids[0], "--output", "/nonexistent/x"]).failure(2, "cannot write /nonexistent/x");
}

#[test]
fn listing_a_remote_store_requires_a_valid_existing_one() {
    let cache = Cache::new();
    cache.run(&["list", "--at", "remote"]).failure(2, "no remote store is configured").hint("LARDER_REMOTE");
    cache
        .run(&["list", "--remote", "ftp://x"])
        .failure(2, "is not the address of a remote store")
        .hint("--remote");
    let remote = cache.base.path().join("remote");
    let unmounted = format!("file://{}", remote.display());
    cache.run(&["list", "--at", "remote", "--remote", &unmounted]).failure(2, "does not exist");
    std::fs::create_dir(&remote).unwrap();
    let url = format!("file://{}", remote.display());
    assert!(
        cache
            .run(&["list", "--at", "remote", "--remote", &url])
            .success()
            .stdout
            .starts_with("No cache entries")
    );
    assert_eq!(std::fs::read_dir(Path::new(&remote)).unwrap().count(), 0, "listing creates no files");
}

#[test]
fn a_command_whose_output_cannot_be_written_fails() {
    let cache = Cache::new();
    cache.save("main", "one", 1000);
    for arguments in [&["list"][..], &["stats", "--format", "json"], &["verify"]] {
        let mut command = cache.command(arguments);
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command.stdout(full).stderr(std::process::Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(2) && stderr.contains("No space left on device"),
            "{arguments:?}: {stderr}"
        );
    }
}
