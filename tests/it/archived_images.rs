//! Images in the archive: loaded on a different agent, after removal from the engine, from a damaged store, within
//! limits.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::engines::{Engine, any_engine, builders, engines, every_engine};
use crate::faulty_proxy::{FaultyProxy, ProxyAction};
use crate::polling::await_true;
use crate::proxy::Proxy;
use crate::running::Running;
use crate::support::{self, BUSYBOX, TestContext, run_to_end};

/// 32 zero bytes in base64, a valid value of `LARDER_SIGNING_KEY`.
const SIGNING_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Writes a project whose image has a large layer, a small layer and a command, and is unique to the test.
fn project(context: &TestContext) {
    context
        .write(
            "Dockerfile",
            format!(
                "FROM {BUSYBOX}\nCOPY noise /noise\nCOPY app /app\nRUN mkdir /d && touch -d '2001-02-03 00:00:00' /d\n\
                 WORKDIR /d\nENV SAID=hello\nCMD [\"sh\", \"-c\", \"echo $SAID; cat /app/own; pwd\"]\n"
            ),
        )
        .write("noise", noise(2_000_000))
        .write("app/own", context.tag("own"));
}

fn noise(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

fn outcome(metadata: &Value) -> (&str, Option<&str>) {
    (metadata["outcome"].as_str().expect("an outcome"), metadata["hit_tier"].as_str())
}

fn tier<'a>(metadata: &'a Value, name: &str) -> &'a Value {
    metadata["tiers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|tier| tier["tier"] == name)
        .expect("the tier was queried")
}

fn remove(engine: &Engine, tag: &str) {
    let removed = engine.docker().args(["rmi", "--force", tag]).output().unwrap();
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
}

/// Returns the cache entries that are images.
fn entries(context: &TestContext) -> Vec<Value> {
    let list = context.larder(&["cache", "list", "--format", "json"]).success();
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    let entries = list["entries"].as_array().unwrap().iter();
    entries.filter(|entry| entry["kind"] == "image").cloned().collect()
}

fn cache(context: &TestContext) -> PathBuf {
    context.path("home/.cache/larder/v1")
}

/// Flips a bit in each file below a directory of the store.
fn corrupt(directory: &Path) {
    for entry in walkdir::WalkDir::new(directory) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let mut content = fs::read(entry.path()).unwrap();
            let middle = content.len() / 2;
            content[middle] ^= 0x40;
            fs::write(entry.path(), content).unwrap();
        }
    }
}

#[test]
fn an_archived_image_loads_into_every_other_engine() {
    for from in every_engine() {
        let saving = TestContext::with_archiving(&from);
        project(&saving);
        let tag = saving.tag("app");
        let built = saving.build(&["-t", &tag, "."]);
        assert_eq!(outcome(&built), ("built", None), "{}", from.name);
        let kept = &built["kept"];
        assert!(kept["added_bytes"].as_u64().unwrap() > 2_000_000, "{kept}");
        let list = entries(&saving);
        let [entry] = &list[..] else { panic!("one entry: {list:?}") };
        assert_eq!(
            (&entry["id"], &entry["image"], &entry["kind"]),
            (&kept["entry"], &json!(tag), &json!("image"))
        );
        for to in every_engine().into_iter().filter(|to| to.name != from.name) {
            let context = saving.on_engine(&to);
            let pair = format!("{} to {}", from.name, to.name);
            let hit = context.build(&["-t", &tag, "."]);
            assert_eq!(outcome(&hit), ("image-hit", Some("archive")), "{pair}: {}", hit["tiers"]);
            assert_eq!(hit["image_key"], built["image_key"], "{pair}");
            assert!(tier(&hit, "archive")["bytes"].as_u64().unwrap() > 2_000_000, "{pair}");
            assert_eq!(to.read(&tag, "/app/own"), saving.tag("own").as_bytes(), "{pair}");
            assert_eq!(to.entries(&tag, "/d")[0].time, 981_158_400, "{pair}");
            let (inspected, original) = (to.inspect(&tag), from.inspect(&tag));
            assert_eq!(inspected["Id"], hit["image_id"], "{pair}");
            for setting in ["Env", "Cmd", "WorkingDir"] {
                assert_eq!(inspected["Config"][setting], original["Config"][setting], "{pair}");
            }
            // The load wrote a note, so that the next build hits in the engine.
            assert_eq!(outcome(&context.build(&["-t", &tag, "."])), ("image-hit", Some("engine")), "{pair}");
            if !to.is_containerd() && !from.is_containerd() {
                assert_eq!(hit["image_id"], built["image_id"], "{pair}");
            }
            remove(&to, &tag);
        }
        // The image was never removed from the first engine.
        assert_eq!(outcome(&saving.build(&["-t", &tag, "."])), ("image-hit", Some("engine")));
    }
}

#[test]
fn loading_an_image_sends_only_layers_missing_from_the_engine() {
    for engine in engines() {
        let context = TestContext::with_archiving(&engine);
        project(&context);
        let (tag, other) = (context.tag("app"), context.tag("other"));
        let built = context.build(&["-t", &tag, "."]);
        // The second image keeps the shared large layer in the engine.
        context.write("app/own", "another");
        context.build(&["-t", &other, "."]);
        remove(&engine, &tag);
        context.write("app/own", context.tag("own"));
        let hit = context.build(&["-t", &tag, "-t", &context.tag("second"), "."]);
        assert_eq!(outcome(&hit), ("image-hit", Some("archive")), "{}: {}", engine.name, hit["tiers"]);
        assert_eq!(hit["image_id"], built["image_id"]);
        let sent = tier(&hit, "archive")["bytes"].as_u64().unwrap();
        assert!(sent < 100_000, "{}: {sent} bytes were sent", engine.name);
        assert_eq!(engine.inspect(&context.tag("second"))["Id"], built["image_id"]);
    }
}

#[test]
fn a_large_image_is_loaded_in_two_parts_and_no_extra_image_remains() {
    let graph_drivers = builders();
    let [from, to] = [&graph_drivers[0], &graph_drivers[graph_drivers.len() - 1]];
    let context = TestContext::with_archiving(from);
    project(&context);
    context.write("lower", noise(40_000_000)).write("upper", noise(40_000_000));
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY lower /\nCOPY upper app /app/\n"));
    let tag = context.tag("large");
    let built = context.build(&["-t", &tag, "."]);
    let builder_is_other = from.name != to.name;
    let context = context.on_engine(to);
    let hits = [context.build(&["-t", &tag, "."]), {
        remove(to, &tag);
        context.build(&["-t", &tag, "."])
    }];
    let tier_of_first = if builder_is_other { "archive" } else { "engine" };
    assert_eq!(outcome(&hits[0]), ("image-hit", Some(tier_of_first)), "{}", hits[0]["tiers"]);
    assert_eq!(outcome(&hits[1]), ("image-hit", Some("archive")), "{}", hits[1]["tiers"]);
    for hit in &hits {
        assert_eq!(hit["image_id"], built["image_id"]);
    }
    assert_eq!(to.inspect(&tag)["RootFS"]["Layers"].as_array().unwrap().len(), 3);
    for path in ["/lower", "/app/upper"] {
        assert_eq!(to.read(&tag, path).len(), 40_000_000, "{path}");
    }
    if builder_is_other {
        let sent = tier(&hits[0], "archive")["bytes"].as_u64().unwrap();
        assert!((80_000_000..90_000_000).contains(&sent), "{sent} bytes: each part once");
        // The lower part was loaded as an image of its own, which must be removed afterwards.
        let mut listed = to.docker();
        listed.args(["images", "--all", "--no-trunc", "--quiet", "--filter", "dangling=true"]);
        let listed = listed.output().unwrap();
        let lower = &to.inspect(&tag)["RootFS"]["Layers"][1];
        for id in String::from_utf8(listed.stdout).unwrap().lines() {
            let layers = &to.inspect(id)["RootFS"]["Layers"];
            assert!(layers[1] != *lower || layers.as_array().map_or(0, Vec::len) > 2, "{id} was left behind");
        }
    }
}

#[test]
fn a_hit_restores_a_name_that_was_moved_to_a_different_image() {
    let engine = any_engine();
    let context = TestContext::with_archiving(&engine);
    project(&context);
    let tag = context.tag("app");
    let built = context.build(&["-t", &tag, "."]);
    assert!(engine.docker().args(["tag", BUSYBOX, &tag]).status().unwrap().success());
    let hit = context.build(&["-t", &tag, "."]);
    // The engine may remove an image that has no name. The hit comes from the engine or from the archive.
    assert_eq!(hit["outcome"], "image-hit");
    assert_eq!(engine.inspect(&tag)["Id"], built["image_id"]);
}

#[test]
fn a_damaged_entry_causes_a_rebuild_that_repairs_it() {
    for damaged in ["chunks", "entries"] {
        let engine = any_engine();
        let context = TestContext::with_archiving(&engine);
        project(&context);
        let tag = context.tag("app");
        // Without the prefix tier, which would add entries of its own.
        let tiers = ["--tiers", "engine,archive,layers,mounts"];
        context.build(&[&tiers[..], &["-t", &tag, "."]].concat());
        remove(&engine, &tag);
        corrupt(&cache(&context).join(damaged));
        let run = context.larder(&[&["build"], &tiers[..], &["-t", &tag, "."]].concat()).success();
        assert!(
            run.stderr.contains("warning: ") && run.stderr.contains("built in"),
            "{damaged}: {}",
            run.stderr
        );
        assert_eq!(engine.read(&tag, "/app/own"), context.tag("own").as_bytes(), "{damaged}");
        remove(&engine, &tag);
        let hit = context.build(&[&tiers[..], &["-t", &tag, "."]].concat());
        assert_eq!(
            outcome(&hit),
            ("image-hit", Some("archive")),
            "{damaged} were repaired: {}",
            hit["tiers"]
        );
        context.larder(&["cache", "verify"]).success();

        corrupt(&cache(&context).join(damaged));
        remove(&engine, &tag);
        context.larder(&["build", "--strict", "-t", &tag, "."]).failure(3, "");
    }
}

#[test]
fn an_evicted_entry_is_a_miss_without_an_error() {
    let engine = any_engine();
    let context = TestContext::with_archiving(&engine);
    project(&context);
    let tag = context.tag("app");
    context.build(&["-t", &tag, "."]);
    context.larder(&["cache", "clear", "-y"]).success();
    assert_eq!(outcome(&context.build(&["-t", &tag, "."])), ("image-hit", Some("engine")));
    remove(&engine, &tag);
    let built = context.build(&["-t", &tag, "."]);
    assert_eq!(outcome(&built), ("built", None));
    assert_eq!(tier(&built, "archive")["reason"], "no image of this key is archived");
    assert_eq!(entries(&context).len(), 1, "it is archived again");
    let stats = context.larder(&["stats", "--format", "json"]).success();
    let stats: Value = serde_json::from_str(&stats.stdout).unwrap();
    let sums = &stats["sums"];
    assert_eq!((&sums["image_hits"], &sums["built"]), (&json!(1), &json!(2)), "{sums}");
}

#[test]
fn the_least_recently_used_image_is_evicted() {
    let engine = any_engine();
    let context = TestContext::with_archiving(&engine);
    project(&context);
    let keep = |name: &str| {
        let (name, tags) = (context.tag(name), format!("bert-{name}"));
        context.build(&["--cache-max-entries", "5", "--tags", &tags, "-t", &name, "."])
    };
    for name in ["a", "b", "c", "d", "e"] {
        assert_eq!(outcome(&keep(name)), ("built", None), "{name}");
    }
    assert_eq!(outcome(&keep("a")), ("image-hit", Some("engine")), "the first image is used again");
    keep("f");
    let titles: Vec<String> =
        entries(&context).iter().map(|entry| entry["image"].as_str().unwrap().to_owned()).collect();
    assert_eq!(titles.len(), 5, "{titles:?}");
    assert!(titles.contains(&context.tag("a")) && !titles.contains(&context.tag("b")), "{titles:?}");
}

#[test]
fn an_image_older_than_max_age_is_rebuilt_with_every_step() {
    let context = TestContext::with_archiving(&any_engine());
    project(&context);
    let tag = context.tag("app");
    for tier_name in ["engine", "archive"] {
        let build = |age: &str| context.build(&["-t", &tag, "--tiers", tier_name, "--max-age", age, "."]);
        build("1h");
        assert_eq!(outcome(&build("1h")), ("image-hit", Some(tier_name)));
        std::thread::sleep(std::time::Duration::from_millis(2100));
        let rebuilt = build("2s");
        assert_eq!(outcome(&rebuilt), ("built", None), "{rebuilt:#}");
        assert!(
            tier(&rebuilt, tier_name)["reason"].as_str().unwrap().contains("before --max-age"),
            "{rebuilt:#}"
        );
        assert_eq!(
            (&rebuilt["steps"]["cached"], &tier(&rebuilt, "layers")["reason"]),
            (&0.into(), &"--max-age".into())
        );
        // The creation time is new, even if the id is the same.
        let created = if tier_name == "engine" {
            let note = format!("image/{}.json", rebuilt["image_key"].as_str().unwrap());
            let note: Value =
                serde_json::from_slice(&std::fs::read(cache(&context).join(note)).unwrap()).unwrap();
            note["images"][0]["created"].clone()
        } else {
            entries(&context)[0]["created"].clone()
        };
        assert!(created.as_str() > rebuilt["started"].as_str(), "{created} {}", rebuilt["started"]);
        assert_eq!(outcome(&build("1h")), ("image-hit", Some(tier_name)));
    }
}

#[test]
fn an_image_beyond_the_size_limit_is_not_archived_and_causes_a_warning() {
    let context = TestContext::with_archiving(&any_engine());
    project(&context);
    let run = context.larder(&["build", "--cache-max-size-gb", "0.001", "."]).success();
    assert!(run.stderr.contains("warning: cannot archive the image"), "{}", run.stderr);
    assert!(run.stderr.contains("more than the limit of 1 MB for the whole cache"), "{}", run.stderr);
    assert!(!context.path("home/.cache/larder/v1/chunks").exists(), "it is refused before any of it is read");
    assert_eq!(entries(&context), [] as [Value; 0]);
}

#[test]
fn a_forced_rebuild_replaces_the_archived_image() {
    let engine = any_engine();
    let context = TestContext::with_archiving(&engine);
    project(&context);
    // Each build of this Dockerfile makes a different image.
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN cat /proc/sys/kernel/random/uuid > /own\n"));
    let tag = context.tag("app");
    let old = context.build(&["-t", &tag, "."]);
    let new = context.build(&["-t", &tag, "--force-rebuild", "."]);
    assert_ne!(old["image_id"], new["image_id"]);
    assert_eq!(old["image_key"], new["image_key"]);
    let list = entries(&context);
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!(list[0]["id"], new["kept"]["entry"]);
    for image in [&old, &new] {
        remove(&engine, image["image_id"].as_str().unwrap());
    }
    let hit = context.build(&["-t", &tag, "."]);
    assert_eq!((outcome(&hit), &hit["image_id"]), (("image-hit", Some("archive")), &new["image_id"]));
    let old_is_there = engine
        .docker()
        .args(["inspect", old["image_id"].as_str().unwrap()])
        .output()
        .unwrap()
        .status
        .success();
    assert!(!old_is_there, "the old image is never served again");
}

#[test]
fn archiving_and_loading_stop_at_the_archive_timeout() {
    let engine = any_engine();
    let context = TestContext::with_archiving(&engine);
    project(&context);
    let tag = context.tag("app");
    let with_timeout = ["build", "--archive-timeout", "1ms", "-t", &tag, "."];
    let run = context.larder(&with_timeout).success();
    assert!(
        run.stderr.contains("warning: cannot archive the image: it took longer than 1ms"),
        "{}",
        run.stderr
    );
    assert_eq!(entries(&context).len(), 0);
    remove(&engine, &tag);
    context.build(&["-t", &tag, "."]);
    remove(&engine, &tag);
    let run = context.larder(&with_timeout).success();
    assert!(run.stderr.contains("warning: loading the image took longer than 1ms"), "{}", run.stderr);
    assert!(run.stderr.contains("built in "), "{}", run.stderr);
    assert_eq!(engine.read(&tag, "/app/own"), context.tag("own").as_bytes());
}

#[test]
fn an_image_whose_archiving_was_interrupted_is_archived_by_the_next_hit() {
    for engine in engines() {
        let context = TestContext::with_archiving(&engine);
        project(&context);
        context.write("noise", noise(100_000_000));
        let tag = context.tag("app");
        let running = Running::start(&mut context.command(&["build", "-t", &tag, "."]));
        let has_begun = || fs::read_dir(cache(&context).join("chunks")).is_ok_and(|found| found.count() > 0);
        await_true(Duration::from_mins(1), "archiving has begun", has_begun);
        running.signal(Signal::INT);
        running.end(Duration::from_secs(10)).failure(130, "interrupted");
        assert_eq!(entries(&context).len(), 0, "{}", engine.name);
        let hit = context.build(&["-t", &tag, "."]);
        assert_eq!(outcome(&hit), ("image-hit", Some("engine")), "{}: {}", engine.name, hit["tiers"]);
        assert!(hit["kept"].is_object(), "{}: {hit}", engine.name);
        assert_eq!(entries(&context).len(), 1, "{}", engine.name);
        assert!(context.build(&["-t", &tag, "."])["kept"].is_null(), "it is archived once");
    }
}

#[test]
fn an_image_that_was_not_archived_is_archived_for_its_export() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        project(&context);
        let (tag, file) = (context.tag("app"), context.path("app.larder"));
        let file = file.to_str().unwrap();
        context.build(&["-t", &tag, "."]);
        assert_eq!(entries(&context).len(), 0);
        context.larder(&["cache", "export", &tag, "-o", file]).success();
        assert_eq!(entries(&context)[0]["image"], tag, "{}", engine.name);
        remove(&engine, &tag);
        let run = context.larder(&["run", "--from-cache", file]).success();
        assert!(run.stdout.contains(&context.tag("own")), "{}: {}", engine.name, run.stdout);
        let export = |name: &str| context.larder(&["cache", "export", name, "-o", file]);
        export("nonesuch:1").failure(2, "there is no cache entry `nonesuch:1`");
        export(BUSYBOX).failure(2, "was not built by larder on this machine").hint("--enable-cache");
    }
}

#[test]
fn an_image_is_archived_without_read_access_to_the_engines_files() {
    for engine in builders() {
        let proxy = Proxy::unix(&engine.host);
        let context = TestContext::with_archiving(&engine.at(&engine.name, proxy.host()));
        project(&context);
        let open = |path: &Path| fs::set_permissions(path, PermissionsExt::from_mode(0o777)).unwrap();
        fs::create_dir(context.path("home")).unwrap();
        let larder = context.path("larder");
        fs::copy(env!("CARGO_BIN_EXE_larder"), &larder).unwrap();
        let socket = PathBuf::from(proxy.host().trim_start_matches("unix://"));
        for path in [&context.path(""), &context.path("home"), socket.parent().unwrap(), &socket] {
            open(path);
        }
        let (tag, metadata) = (context.tag("app"), context.path("metadata.json"));
        let arguments = ["build", "-t", &tag, "--metadata-file", metadata.to_str().unwrap(), "."];
        let own = context.command(&arguments);
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&larder).args(own.get_args());
        command.current_dir(context.project()).env_clear();
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let run = run_to_end(&mut command, None).success();
        let built = support::json(&metadata);
        assert!(built["kept"].is_object(), "{}: {}", engine.name, run.stderr);
        remove(&engine, &tag);
        let hit = context.build(&["-t", &tag, "."]);
        assert_eq!(outcome(&hit), ("image-hit", Some("archive")), "{}: {}", engine.name, hit["tiers"]);
        assert_eq!(hit["image_id"], built["image_id"], "{}", engine.name);
    }
}

#[test]
fn a_layer_shared_by_several_images_is_stored_once() {
    let context = TestContext::with_archiving(&any_engine());
    project(&context);
    let added = |number: u32| {
        context.write("app/own", format!("{number} {}", context.tag("own")));
        context.build(&["."])["kept"]["added_bytes"].as_u64().unwrap()
    };
    assert!(added(1) > 2_000_000);
    for number in 2..5 {
        let more = added(number);
        assert!(more < 20_000, "image {number} added {more} bytes");
    }
}

#[test]
fn an_image_is_archived_only_on_request() {
    let engine = any_engine();
    let context = TestContext::new(&engine);
    project(&context);
    let tag = context.tag("app");
    let mut number = 0;
    let mut build = |flags: &[&str], variables: &[(&str, &str)], file: &str| {
        number += 1;
        context.write("app/own", format!("{number} {tag}")).write("larder.yaml", file);
        let path = context.path("metadata.json");
        let fixed = ["build", "-t", &tag, "--metadata-file", path.to_str().unwrap(), "."];
        let mut command = context.command(&[&fixed, flags].concat());
        let run = command.envs(variables.iter().copied()).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let built: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(outcome(&built), ("built", None), "{flags:?} {variables:?} {file}");
        let has_line = built["tiers"].as_array().unwrap().iter().any(|tier| tier["tier"] == "archive");
        assert_eq!(has_line, built["kept"].is_object(), "a tier that is off by default is not listed");
        built["kept"].is_object()
    };
    let remote = format!("file://{}", context.path("remote").display());
    fs::create_dir(context.path("remote")).unwrap();
    assert!(!build(&[], &[], ""));
    assert!(!build(&["--auto-mounts"], &[("LARDER_MAX_SIZE_GB", "5")], "strict: true\n"));
    assert!(build(&["--enable-cache"], &[], ""));
    assert!(build(&["--tiers", "engine,archive"], &[], ""));
    assert!(build(&[], &[("LARDER_ENABLED", "1")], ""));
    assert!(build(&[], &[], "enabled: true\n"));
    assert!(build(&["--remote", &remote], &[], ""));
    assert!(build(&[], &[("LARDER_SIGNING_KEY", SIGNING_KEY)], ""));
}

#[test]
fn an_engine_hit_archives_the_image_if_the_archive_is_enabled() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let tag = context.tag("app");
    context.build(&["-t", &tag, "."]);
    assert_eq!(entries(&context), [] as [Value; 0]);
    let hit = context.build(&["-t", &tag, "--enable-cache", "."]);
    assert_eq!(outcome(&hit), ("image-hit", Some("engine")));
    assert_eq!(entries(&context).len(), 1);
    assert!(context.build(&["-t", &tag, "--enable-cache", "."])["kept"].is_null(), "it is archived already");
}

#[test]
fn an_export_by_image_name_exports_the_entry_of_its_build() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let (tag, file) = (context.tag("app"), context.path("app.larder"));
    context.build(&["-t", &tag, "--enable-cache", "--tags", "bert", "."]);
    let before = entries(&context);
    context.larder(&["cache", "export", &tag, "-o", file.to_str().unwrap()]).success();
    assert_eq!(entries(&context)[0]["id"], before[0]["id"]);
    assert_eq!(entries(&context)[0]["tags"], before[0]["tags"]);
}

#[test]
fn an_archived_image_is_a_hit_for_a_build_that_does_not_archive() {
    let engine = any_engine();
    let context = TestContext::new(&engine);
    project(&context);
    let tag = context.tag("app");
    context.build(&["--enable-cache", "-t", &tag, "."]);
    remove(&engine, &tag);
    let hit = context.build(&["-t", &tag, "."]);
    assert_eq!(outcome(&hit), ("image-hit", Some("archive")), "{}", hit["tiers"]);
}

#[test]
fn disabled_tiers_are_neither_queried_nor_written() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let reasons = |metadata: &Value| -> Vec<(String, String)> {
        let tiers = metadata["tiers"].as_array().unwrap().iter();
        let skipped_tiers = tiers.filter(|tier| tier["outcome"] == "skipped");
        skipped_tiers
            .map(|tier| (tier["tier"].as_str().unwrap().into(), tier["reason"].as_str().unwrap().into()))
            .collect()
    };
    for flags in [["--enable-cache=false"], ["--tiers=mounts"], ["--tiers=engine"], ["--read-only"]] {
        let built = context.build(&[&flags[..], &["."]].concat());
        let skipped: Vec<String> = reasons(&built).into_iter().map(|(tier, _)| tier).collect();
        let expected: &[&str] = match flags[0] {
            "--enable-cache=false" => &["engine", "mounts"],
            "--tiers=mounts" => &["engine"],
            "--tiers=engine" => &["mounts"],
            _ => &[],
        };
        assert_eq!(skipped, expected, "{flags:?}");
        assert_eq!(built["kept"], Value::Null, "{flags:?}");
        assert_eq!(entries(&context).len(), 0, "{flags:?}");
        context.write("app/own", format!("{flags:?}"));
    }
    let switched_off = context.command(&["build", "."]).env("LARDER_ENABLED", "0").output().unwrap();
    assert!(switched_off.status.success());
    assert_eq!(entries(&context).len(), 0);
    let both =
        context.command(&["build", "--enable-cache", "."]).env("LARDER_ENABLED", "0").output().unwrap();
    assert!(both.status.success());
    assert_eq!(entries(&context).len(), 1, "a flag overrides a variable");
    context
        .larder(&["build", "--tiers", "engine,disk", "."])
        .failure(2, "`disk` is not one of engine, registry, prefix, graft, archive, layers, mounts");
}

#[test]
fn a_remote_store_serves_images_to_machines_with_an_empty_cache() {
    let [from, to] = [engines().swap_remove(0), engines().pop().unwrap()];
    let first = TestContext::new(&from);
    project(&first);
    let remote = format!("file://{}", first.path("remote").display());
    fs::create_dir(first.path("remote")).unwrap();
    let tag = first.tag("app");
    let built = first.build(&["--remote", &remote, "-t", &tag, "."]);
    let second = TestContext::new(&to);
    for file in ["Dockerfile", "noise", "app/own"] {
        second.write(file, fs::read(first.project().join(file)).unwrap());
    }
    let hit = second.build(&["--remote", &remote, "-t", &tag, "."]);
    let tier = if to.name == from.name { "engine" } else { "archive" };
    assert_eq!(outcome(&hit), ("image-hit", Some(tier)), "{}", hit["tiers"]);
    assert_eq!(hit["image_key"], built["image_key"]);
    assert_eq!(entries(&second).len(), 1, "the hit was copied to the local store");
}

#[test]
fn a_failing_remote_is_reported_once_and_named_in_the_summary() {
    let context = TestContext::with_archiving(&any_engine());
    let mark = context.tag("mark");
    context.write(
        "Dockerfile",
        format!(
            "FROM {BUSYBOX}\nRUN --mount=type=cache,target=/a echo {mark} > /a/b\n\
             RUN --mount=type=cache,target=/c echo {mark} > /c/d\n"
        ),
    );
    let proxy = FaultyProxy::always(ProxyAction::Answer(403));
    let remote = format!("s3://bucket/larder?endpoint=http://127.0.0.1:{}&region=us-east-1", proxy.port);
    let metadata = context.path("metadata.json");
    let build = ["build", "--remote", &remote, "--metadata-file", metadata.to_str().unwrap(), "."];
    let mut command = context.command(&build);
    command.env("LARDER_REMOTE_USER", "user").env("LARDER_REMOTE_PASSWORD", "password");
    let run = run_to_end(&mut command, None).success();
    assert_eq!(run.stderr.matches("warning: ").count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("failed: it answered 403 Forbidden"), "{}", run.stderr);
    let record = support::json(&metadata);
    assert!(record["remote"]["place"].as_str().unwrap().starts_with("s3://bucket/larder"), "{record}");
    assert!(record["kept"].is_object(), "{record}");
}
