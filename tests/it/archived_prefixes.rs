//! Builds without a registry that continue from archived prefixes.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::engines::{Engine, any_engine, every_engine};
use crate::registries::Registry;
use crate::support::{BUSYBOX, TestContext, run_to_end};

/// Returns a Dockerfile with two prefixes: one ends with an install, one with the RUN after it.
fn dockerfile(end: &str) -> String {
    format!(
        "FROM {BUSYBOX}\nENV A=1\nWORKDIR /srv\nCOPY requirements.txt .\n\
         RUN pip install -r requirements.txt || cat /proc/sys/kernel/random/uuid > /one\n\
         RUN cat /proc/sys/kernel/random/uuid {end}\n\
         COPY app.py .\nENV A=2 B=$A\nLABEL c=d\nCMD [\"cat\", \"app.py\"]\n"
    )
}

/// Creates a project with two prefixes and code after them. The RUNs have a different result each time they run.
fn project(engine: &Engine) -> TestContext {
    let context = TestContext::with_archiving(engine);
    let mark = context.tag("mark");
    context.write("requirements.txt", mark).write("app.py", "1\n").write("Dockerfile", dockerfile("> /two"));
    context
}

/// Returns the outcome of the `prefix` tier, the reason, and the number of bytes that were loaded.
fn prefix(record: &Value) -> (&str, &str, u64) {
    let tiers = record["tiers"].as_array().unwrap();
    let tier = tiers.iter().find(|tier| tier["tier"] == "prefix");
    tier.map_or(("", "", 0), |tier| {
        (tier["outcome"].as_str().unwrap(), tier["reason"].as_str().unwrap(), tier["bytes"].as_u64().unwrap())
    })
}

/// Returns the numbers of total, cached and imported steps.
fn steps(record: &Value) -> [u64; 3] {
    ["total", "cached", "imported"].map(|count| record["steps"][count].as_u64().unwrap())
}

/// Returns the kinds of the store's entries, sorted.
fn kinds(context: &TestContext) -> Vec<String> {
    let list = context.larder(&["cache", "list", "--format", "json"]).success();
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let entries = list["entries"].as_array().unwrap().iter();
    let mut kinds: Vec<String> = entries.map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect();
    kinds.sort();
    kinds
}

/// Returns the names of the loaded prefixes that contain layers of this test. Other tests use the same engine.
fn loaded(engine: &Engine, tag: &str) -> Vec<String> {
    // A prefix of a different test may be removed while this one looks at it.
    let layers =
        |name: &str| engine.inspect(name)["RootFS"]["Layers"].as_array().cloned().unwrap_or_default();
    let own = layers(tag);
    let listed =
        engine.docker().args(["images", "--format", "{{.Repository}}:{{.Tag}}", "larder-prefix"]).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    let is_own = |name: &&str| {
        let layers = layers(name);
        layers.get(2) == own.get(2)
    };
    listed.lines().filter(is_own).map(str::to_owned).collect()
}

#[test]
fn an_engine_without_the_layers_continues_from_the_store() {
    let all = every_engine();
    for (index, from) in all.iter().enumerate() {
        let to = &all[(index + 1) % all.len()];
        let pair = format!("{} to {}", from.name, to.name);
        let saving = project(from);
        let tag = saving.tag("app");
        saving.build(&["-t", &tag, "."]);
        assert_eq!(kinds(&saving), ["image", "prefix", "prefix"], "{pair}");

        saving.write("app.py", "2\n");
        let context = saving.on_engine(to);
        let built = context.build(&["-t", &tag, "."]);
        let (outcome, reason, bytes) = prefix(&built);
        assert_eq!(outcome, "hit", "{pair}: {reason}");
        assert!(reason.starts_with("the store has the layers up to line 6"), "{pair}: {reason}");
        assert!(bytes > 0, "{pair}");
        assert_eq!(steps(&built)[..2], [4, 3], "{pair}");
        for path in ["/one", "/two"] {
            assert_eq!(to.read(&tag, path), from.read(&tag, path), "{pair}: {path}");
        }
        assert_eq!(to.read(&tag, "/srv/app.py"), b"2\n", "{pair}");

        // The engine still has the prefix, so it is neither loaded nor looked up again.
        assert_eq!(loaded(to, &tag).len(), 1, "{pair}");
        saving.write("app.py", "3\n");
        let again = context.build(&["-t", &tag, "."]);
        assert_eq!(prefix(&again).0, "hit", "{pair}");
        assert!(prefix(&again).1.contains("has continued from"), "{pair}: {}", prefix(&again).1);
        assert_eq!((prefix(&again).2, steps(&again)[1]), (0, 3), "{pair}");

        let plain = context.tag("plain");
        context.build(&["--tiers", "engine", "--no-cache", "-t", &plain, "."]);
        assert_eq!(to.inspect(&tag)["Config"], to.inspect(&plain)["Config"], "{pair}");

        // If only the last RUN has changed, the shorter prefix still saves the install.
        saving.write("Dockerfile", dockerfile("> /other"));
        let third = saving.on_engine(&all[(index + 2) % all.len()]);
        let shallow = third.build(&["-t", &tag, "."]);
        assert!(prefix(&shallow).1.contains("up to line 5"), "{pair}: {}", prefix(&shallow).1);
        assert_eq!(steps(&shallow)[1], 2, "{pair}");
        saving.write("Dockerfile", dockerfile("> /two"));

        // The first engine built the layers itself.
        let own = saving.build(&["-t", &tag, "."]);
        assert_eq!((prefix(&own).0, steps(&own)[1]), ("", 3), "{pair}: {}", prefix(&own).1);
    }
}

#[test]
fn a_step_that_fails_after_a_prefix_is_shown_with_its_lines() {
    let all = every_engine();
    for (index, from) in all.iter().enumerate() {
        let saving = project(from);
        let tag = saving.tag("app");
        saving.build(&["-t", &tag, "."]);
        saving.write("Dockerfile", dockerfile("> /two") + "RUN echo unlucky; exit 3\n");
        let context = saving.on_engine(&all[(index + 1) % all.len()]);
        let failed = context.larder(&["build", "-t", &tag, "."]).failure(1, "exit code: 3");
        assert!(failed.stderr.contains("the store has the layers up to line 5"), "{}", failed.stderr);
        assert!(failed.stderr.contains("11 | >>> RUN echo unlucky; exit 3"), "{}", failed.stderr);
    }
}

#[test]
fn a_pushed_build_continues_from_the_store_if_the_registry_has_no_prefix() {
    let all = every_engine();
    let (from, to) = (&all[0], &all[1]);
    let registry = Registry::open();
    let saving = project(from);
    let name = format!("{}/{}", registry.host, saving.tag("pushed"));
    saving.build(&["-t", &name, "."]);

    // An image from the store is pushed without a builder that could describe its prefixes.
    let context = saving.on_engine(to);
    let found = context.build(&["--push", "-t", &name, "."]);
    assert_eq!(found["hit_tier"], "archive");

    saving.write("app.py", "2\n");
    let built = saving.on_engine(&all[2]).build(&["--push", "-t", &name, "."]);
    let (outcome, reason, bytes) = prefix(&built);
    assert_eq!(outcome, "hit", "{reason}");
    assert!(reason.starts_with("the store has the layers up to line 6") && bytes > 0, "{reason}");
    assert_eq!(steps(&built)[..2], [4, 3]);
}

#[test]
fn a_prefix_that_was_removed_from_the_engine_is_loaded_again() {
    for engine in every_engine().into_iter().filter(|engine| engine.name != any_engine().name) {
        let saving = project(&any_engine());
        let tag = saving.tag("app");
        saving.build(&["-t", &tag, "."]);
        let context = saving.on_engine(&engine);
        saving.write("app.py", "2\n");
        assert_eq!(prefix(&context.build(&["-t", &tag, "."])).0, "hit", "{}", engine.name);
        for name in loaded(&engine, &tag) {
            engine.docker().args(["rmi", &name]).output().unwrap();
        }
        saving.write("app.py", "3\n");
        let again = context.build(&["-t", &tag, "."]);
        assert!(prefix(&again).1.starts_with("the store has"), "{}: {}", engine.name, prefix(&again).1);
        assert_eq!(steps(&again)[1], 3, "{}", engine.name);
    }
}

#[test]
fn a_loaded_prefix_that_was_not_used_for_a_long_time_is_removed_from_the_engine() {
    let all = every_engine();
    let (from, to) = (&all[0], &all[1]);
    let saving = project(from);
    let (context, tag) = (saving.on_engine(to), saving.tag("app"));
    let next = |number: u8| {
        saving.write("requirements.txt", saving.tag(&format!("{number}"))).write("app.py", "1\n");
        saving.build(&["-t", &tag, "."]);
        saving.write("app.py", "2\n");
        let built = context.build(&["-t", &tag, "."]);
        assert!(prefix(&built).1.starts_with("the store has"), "{}", prefix(&built).1);
        loaded(to, &tag)
    };
    let [first] = &next(0)[..] else { panic!("expected one prefix") };
    // Pretend that three other prefixes were used more recently, but not within the last hour.
    let builders = fs::read_dir(saving.path("home/.cache/larder/v1/builder")).unwrap();
    for path in builders.map(|file| file.unwrap().path()) {
        let mut notes: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        if notes["loaded"].get(first).is_some() {
            let other = |number: u8| (format!("larder-prefix:{number}"), json!("2026-01-01T02:00:00Z"));
            let mut all: serde_json::Map<_, _> = (0..3).map(other).collect();
            all.insert(first.clone(), json!("2026-01-01T01:00:00Z"));
            notes["loaded"] = all.into();
            fs::write(path, notes.to_string()).unwrap();
        }
    }
    assert_eq!(next(1).len(), 1);
    let old = to.docker().args(["image", "inspect", first]).output().unwrap();
    assert!(!old.status.success(), "{first} was not removed");
}

#[test]
fn prefixes_are_evicted_before_images_and_a_damaged_one_is_ignored() {
    let all = every_engine();
    let (from, to) = (&all[0], &all[1]);
    let saving = project(from);
    let tag = saving.tag("app");
    saving.build(&["--cache-max-entries", "1", "-t", &tag, "."]);
    assert_eq!(kinds(&saving), ["image", "prefix"]);

    let entry = newest_prefix(&saving);
    let id = entry.as_str().unwrap();
    let files = walkdir::WalkDir::new(saving.path("home/.cache/larder/v1/entries")).into_iter();
    let file = files.map(|file| file.unwrap().into_path()).find(|path| path.to_string_lossy().contains(id));
    fs::write(file.expect("the entry"), "{}\n").unwrap();
    saving.write("app.py", "2\n");
    let context = saving.on_engine(to);
    let built = context.build(&["-t", &tag, "."]);
    assert_eq!((prefix(&built).0, steps(&built)[1]), ("", 0));
    assert_eq!(to.read(&tag, "/srv/app.py"), b"2\n");
}

#[test]
fn a_build_ignores_prefixes_that_are_too_old_or_disabled_by_an_option() {
    let all = every_engine();
    let (from, to) = (&all[0], &all[1]);
    let saving = project(from);
    let tag = saving.tag("app");
    saving.build(&["-t", &tag, "."]);
    std::thread::sleep(std::time::Duration::from_secs(2));
    saving.write("app.py", "2\n");
    let mut last = newest_prefix(&saving);
    for flags in [&["--max-age", "1s"][..], &["--tiers", "engine,archive"], &["--no-cache", "--read-only"]] {
        saving.write("app.py", format!("{flags:?}"));
        let context = saving.on_engine(to);
        let built = context.build(&[flags, &["-t", &tag, "."]].concat());
        assert_eq!(steps(&built)[2], 0, "{flags:?}: {}", prefix(&built).1);
        assert_ne!(prefix(&built).0, "hit", "{flags:?}");
        assert_eq!(loaded(to, &tag), [""; 0], "{flags:?}");
        let old = std::mem::replace(&mut last, newest_prefix(&saving));
        assert_eq!(last != old, flags[0] == "--max-age", "{flags:?}");
    }
}

/// Returns the id of the store's newest prefix entry.
fn newest_prefix(context: &TestContext) -> Value {
    let list = context.larder(&["cache", "list", "--format", "json"]).success();
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let entries = list["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "prefix");
    entries.max_by_key(|entry| entry["created"].as_str().unwrap()).unwrap()["id"].clone()
}

#[test]
fn an_archived_image_is_as_old_as_the_prefix_that_it_continues() {
    const AGE: u64 = 10;
    let all = every_engine();
    let saving = project(&all[0]);
    let tag = saving.tag("app");
    saving.build(&["-t", &tag, "."]);
    std::thread::sleep(std::time::Duration::from_secs(AGE + 2));
    saving.write("app.py", "2\n");
    assert_eq!(prefix(&saving.on_engine(&all[1]).build(&["-t", &tag, "."])).0, "hit");
    let built = saving.on_engine(&all[2]).build(&[
        "--tiers",
        "archive",
        "--max-age",
        &format!("{AGE}s"),
        "-t",
        &tag,
        ".",
    ]);
    let tiers = built["tiers"].as_array().unwrap();
    let archive = tiers.iter().find(|tier| tier["tier"] == "archive").unwrap();
    assert!(archive["reason"].as_str().unwrap().contains("before --max-age"), "{archive}");
}

/// Loads the base image into the engine without its history.
fn load_without_history(engine: &Engine, name: &str) {
    let saved = engine.docker().args(["save", BUSYBOX]).output().unwrap();
    let mut files = BTreeMap::new();
    for file in tar::Archive::new(&*saved.stdout).entries().unwrap() {
        let mut file = file.unwrap();
        let path = file.path().unwrap().to_string_lossy().into_owned();
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        files.insert(path, content);
    }
    let image: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let layer = image[0]["Layers"][0].as_str().unwrap();
    let mut config: Value = serde_json::from_slice(&files[image[0]["Config"].as_str().unwrap()]).unwrap();
    config.as_object_mut().unwrap().remove("history");
    let manifest = json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in [
        ("layer.tar", files[layer].clone()),
        ("config.json", config.to_string().into_bytes()),
        ("manifest.json", manifest.to_string().into_bytes()),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, &*content).unwrap();
    }
    run_to_end(engine.docker().arg("load").stdin(Stdio::piped()), Some(&tar.into_inner().unwrap())).success();
}

/// BuildKit appends the missing entries at the end of the history, which then does not show which instruction created a
/// layer.
#[test]
fn an_image_on_a_base_without_history_has_no_prefixes() {
    for engine in every_engine() {
        let context = project(&engine);
        let (base, tag) = (context.tag("base"), context.tag("app"));
        load_without_history(&engine, &base);
        context.write("Dockerfile", dockerfile("> /two").replace(BUSYBOX, &base));
        let run = context.larder(&["build", "-t", &tag, "."]).success();
        assert!(run.stderr.contains("the history of the base image"), "{}: {}", engine.name, run.stderr);
        assert_eq!(kinds(&context), ["image"], "{}", engine.name);
    }
}
