//! Images that are defined in `larder.yaml`: built and run by name, several at once.

use serde_json::Value;

use crate::engines::{Engine, any_engine, engines};
use crate::support::{BUSYBOX, TestContext};

/// Writes a project with three images, each with its own context. Two of them have a tag in common.
fn shop(context: &TestContext) {
    let own = context.tag("own");
    let file = format!(
        "images:\n  bert:\n    tags: [nlp, pytorch]\n    context: models/bert\n    dockerfile: docker/Model\n    \
         names: [{}]\n    args: {{WHO: bert, FROM_OUTSIDE: null}}\n    run:\n      command: [cat, /who, /data/file]\n      \
         volumes: [./data:/data:ro]\n      env: {{MODE: fast}}\n  \
         gpt:\n    tags: [nlp]\n    context: models/gpt\n    dockerfile: docker/Model\n    names: [{}]\n    \
         additional_context: {{WHO: gpt}}\n    run:\n      command: [sh, -c, 'cat /who; echo $WHO']\n  \
         resnet:\n    tags: [vision]\n    context: models/resnet\n    dockerfile: docker/Model\n    names: [{}]\n    \
         tiers: [engine]\n",
        context.tag("bert"),
        context.tag("gpt"),
        context.tag("resnet")
    );
    context
        .write("larder.yaml", file)
        .write(
            "docker/Model",
            format!("FROM {BUSYBOX}\nARG WHO=nobody\nARG FROM_OUTSIDE\nCOPY own /own\nRUN echo $WHO $FROM_OUTSIDE > /who\n"),
        )
        .write("data/file", "data\n");
    for model in ["bert", "gpt", "resnet"] {
        context.write(&format!("models/{model}/own"), format!("{own} {model}"));
    }
}

fn entries(context: &TestContext) -> Vec<Value> {
    let list = context.larder(&["cache", "list", "--format", "json"]).success();
    let list: Value = serde_json::from_str(&list.stdout).unwrap();
    list["entries"].as_array().unwrap().clone()
}

fn who(engine: &Engine, image: &str) -> String {
    String::from_utf8(engine.read(image, "/who")).unwrap()
}

#[test]
fn an_image_is_built_by_name_with_its_settings_from_larder_yaml() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        shop(&context);
        let built = context.build(&["bert"]);
        assert_eq!((&built["outcome"], &built["names"][0]), (&"built".into(), &context.tag("bert").into()));
        assert_eq!(who(&engine, &context.tag("bert")), "bert\n", "{}", engine.name);
        // The same from a different directory, with `--config`.
        let file = context.project().join("larder.yaml");
        let mut elsewhere = context.command(&["build", "--config", file.to_str().unwrap(), "bert"]);
        let output = elsewhere.current_dir(context.path("")).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && stderr.contains("image hit (engine)"), "{stderr}");
        // Flags override the file. An argument with the value `null` comes from the environment.
        let other = context.tag("other");
        let mut typed = context.command(&["build", "--build-arg", "WHO=me", "-t", &other, "bert"]);
        assert!(typed.env("FROM_OUTSIDE", "here").output().unwrap().status.success());
        assert_eq!(who(&engine, &other), "me here\n", "{}", engine.name);
        // Paths in the file are relative to its directory, even if `--config` is a relative path.
        let mut below = context.command(&["run", "--config", "../larder.yaml", "bert"]);
        let ran = below.current_dir(context.project().join("docker")).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "bert\ndata\n", "{ran:?}");
        // `additional_context` sets build arguments. An image without the archive tier is not archived.
        context.larder(&["build", "gpt"]).success();
        assert_eq!(who(&engine, &context.tag("gpt")), "gpt\n", "{}", engine.name);
        let kept = entries(&context).len();
        context.larder(&["build", "resnet"]).success();
        assert_eq!(entries(&context).len(), kept, "{}", engine.name);
        let key = context.larder(&["key", "bert", "--format", "json"]).success().stdout;
        let key: Value = serde_json::from_str(&key).unwrap();
        assert_eq!(key["image_key"], built["image_key"], "{}", engine.name);
    }
}

#[test]
fn several_images_are_built_in_parallel_and_each_line_has_the_image_name() {
    for engine in engines() {
        let context = TestContext::new(&engine);
        shop(&context);
        let run = context.larder(&["build", "bert", "gpt", "resnet"]).success();
        for line in run.stderr.lines() {
            assert!(["bert | ", "gpt | ", "resnet | "].iter().any(|name| line.starts_with(name)), "{line}");
        }
        for model in ["bert", "gpt", "resnet"] {
            assert!(!engine.inspect(&context.tag(model)).is_null(), "{}: {model}", engine.name);
            assert!(run.stderr.contains(&format!("{model} |   built in ")), "{}", run.stderr);
        }
        // The lines of a summary are not interleaved with lines of other images.
        let lines: Vec<&str> = run.stderr.lines().collect();
        for model in ["bert", "gpt", "resnet"] {
            let start = lines.iter().position(|line| *line == format!("{model} | larder")).unwrap();
            let end =
                lines.iter().position(|line| line.starts_with(&format!("{model} |   sha256:"))).unwrap();
            let is_own = |line: &&str| line.starts_with(&format!("{model} | "));
            assert!(start < end && lines[start..=end].iter().all(is_own), "{model}: {}", run.stderr);
        }
        let again = context.larder(&["build", "gpt", "bert"]).success();
        assert_eq!(again.stderr.matches("image hit (engine)").count(), 2, "{}", again.stderr);
        // An image that fails does not stop the others.
        std::fs::write(context.project().join("models/gpt/own"), "changed").unwrap();
        std::fs::remove_file(context.project().join("models/bert/own")).unwrap();
        let run = context.larder(&["build", "bert", "gpt"]).failure(1, "1 of 2 images failed: bert");
        assert!(
            run.stderr.contains("gpt |   built in ") && run.stderr.contains("bert | error: "),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn a_tag_selects_the_images_to_run() {
    let context = TestContext::new(&any_engine());
    shop(&context);
    let run = context.larder(&["run", "--tags", "nlp", "--enable-cache"]).success();
    assert_eq!(run.stdout, "bert\ndata\ngpt\ngpt\n");
    let again = context.larder(&["run", "--tags", "nlp"]).success();
    assert_eq!((again.stdout, again.stderr.matches("image hit (engine)").count()), (run.stdout, 2));
    // Selected by its name it is the same image. It runs the command of the command line.
    let named = context.larder(&["run", "bert", "--", "sh", "-c", "cat /who; echo $MODE"]).success();
    assert_eq!(named.stdout, "bert\nfast\n");
    assert!(named.stderr.contains("image hit (engine)"), "{}", named.stderr);
    let entry = entries(&context).into_iter().find(|entry| entry["image"] == context.tag("bert")).unwrap();
    assert_eq!(entry["tags"], serde_json::json!(["nlp", "pytorch"]));
    // A container that fails does not stop the next image from being run.
    let failing = context.larder(&["run", "--tags", "nlp", "--", "sh", "-c", "cat /who; exit 3"]);
    assert_eq!((failing.code, &*failing.stdout), (3, "bert\ngpt\n"), "{}", failing.stderr);
}

#[test]
fn errors_in_larder_yaml_and_unknown_names_are_reported_with_their_position() {
    let context = TestContext::new(&any_engine());
    shop(&context);
    context
        .larder(&["build", "bert", "nothing"])
        .failure(2, "and `nothing` is not one of them")
        .hint("bert, gpt, resnet");
    context
        .larder(&["run", "--tags", "audio"])
        .failure(2, "no image in larder.yaml has the tag audio")
        .hint("bert");
    for command in ["build", "run", "key"] {
        let none = "larder.yaml: `bertt` is neither a directory nor one of its images (bert, gpt, resnet)";
        context.larder(&[command, "bertt"]).failure(2, none);
    }
    context.larder(&["build", "bert", "bert"]).failure(2, "bert and bert have the same name").hint("names");
    for flag in [&["-t", "x"][..], &["--iidfile", "x"], &["--metadata-file", "x"], &["-f", "x"], &["-o", "x"]]
    {
        context
            .larder(&[&["build", "bert", "gpt"], flag].concat())
            .failure(2, "supports a single image, but 2 are given");
    }
    let run = context.larder(&["build", "bert", "gpt", "--progress", "json"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    let error = r#""level":"error","text":"progress in JSON supports a single image, but 2 are given""#;
    assert!(run.stderr.contains(error), "{}", run.stderr);
    for (text, cause) in [
        ("images:\n  a:\n    contexxt: .\n", "images.a: unknown field `contexxt`"),
        ("images:\n  a:\n    contexxt: .\n", "line 3"),
        ("images:\n  a: {}\n\n  b:\n    timeout: soon\n", "images.b.timeout: "),
        ("images:\n  a: {}\n\n  b:\n    timeout: soon\n", "line 5"),
        ("images:\n  b:\n    tiers: [attic]\n", "images.b.tiers[0]: `attic`"),
        ("images:\n  b:\n    context: missing\n", "images.b.context: build context `"),
        (
            "tiers: [attic]\nimages:\n  b:\n    timeout: 3m\n",
            "tiers[0]: `attic` is not one of engine, registry, prefix, graft, archive, layers, mounts at line 1",
        ),
        ("archive_timeout: soon\nimages: {b: {}}\n", "archive_timeout: "),
        ("enabled: perhaps\n", "enabled: invalid type"),
    ] {
        context.write("larder.yaml", text);
        context.larder(&["build", "b"]).failure(2, cause);
    }
    context.write("larder.yaml", "images:\n  b:\n    timeout: 3m\n");
    context.larder(&["build", "--build-arg", "=x", "b"]).failure(2, "error: --build-arg: ");
    let mut command = context.command(&["build", "b"]);
    let output = command.env("LARDER_TIMEOUT", "soon").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: LARDER_TIMEOUT: "), "{output:?}");
    context.write("larder.yaml", "images:\n  b:\n    run: {gpus: some}\n");
    context.larder(&["run", "b"]).failure(2, "images.b.run.gpus: `some`");
}

#[test]
fn larder_yaml_sets_the_tiers_and_the_archive_timeout() {
    let context = TestContext::new(&any_engine());
    shop(&context);
    let build = |file: &str| {
        context.write("larder.yaml", file);
        let built = context.build(&["-f", "docker/Model", "models/bert"]);
        (built["outcome"].clone(), built["kept"].is_null())
    };
    assert_eq!(build("enabled: false\n"), ("built".into(), true));
    assert_eq!(build("tiers: [engine]\n"), ("built".into(), true), "there is no note yet");
    assert_eq!(build("tiers: [archive]\n"), ("built".into(), false), "the engine is not queried");
    assert_eq!(build("tiers: [engine]\n").0, "image-hit");
    context.write("models/bert/own", context.tag("changed"));
    assert_eq!(build("archive_timeout: 1ms\n"), ("built".into(), true));
}

#[test]
fn images_of_one_larder_yaml_share_their_cache_mounts() {
    let context = TestContext::new(&any_engine());
    let target = format!("/{}", context.tag("mount").replace(['/', ':'], "-"));
    for (name, script) in [("first", "echo wheel > T/wheel"), ("second", "test -e T/wheel")] {
        let run = format!("RUN --mount=type=cache,target={target} {}\n", script.replace('T', &target));
        context.write(&format!("{name}/Dockerfile"), format!("FROM {BUSYBOX}\n{run}"));
    }
    context.write("larder.yaml", "images:\n  first: {context: first}\n  second: {context: second}\n");
    let first = context.build(&["-t", &context.tag("first"), "first"]);
    assert_eq!(first["mounts"][0]["saved_files"], 1, "{first}");
    let second = context.build(&["-t", &context.tag("second"), "second"]);
    let tier = second["tiers"].as_array().unwrap().iter().find(|tier| tier["tier"] == "mounts").unwrap();
    assert_eq!(tier["outcome"], "hit", "{second}");
}
