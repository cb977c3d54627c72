//! The output of `larder key --explain` and `larder why`, and the secrets that no output or file may contain.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;
use walkdir::WalkDir;

use crate::engines::any_engine;
use crate::support::{BUSYBOX, TestContext, json, sha256};

fn dockerfile(tail: &str) -> String {
    format!(
        "FROM {BUSYBOX} AS deps\nARG INDEX=pypi\nCOPY requirements.txt /tmp/\nRUN true || pip install -r /tmp/requirements.txt\nFROM deps AS app\nCOPY src /srv\n{tail}"
    )
}

fn project(context: &TestContext) {
    context
        .write("Dockerfile", dockerfile("RUN echo done\n"))
        .write("requirements.txt", "flask==3.0.0\n")
        .write("src/main.py", "print()\n")
        .write("src/unique", context.tag("unique"))
        .write("README.md", "not copied\n");
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// A function that edits the project, whose directory it gets as well.
type Edit = fn(&TestContext, &Path);

#[test]
fn why_lists_the_prefixes_and_what_changed_in_each() {
    let context = TestContext::new(&any_engine());
    let dockerfile = |dependency: &str, step: &str| {
        format!(
            "FROM {BUSYBOX}\nCOPY requirements.txt /tmp/\nRUN true || pip install {dependency} -r /tmp/requirements.txt\nCOPY src /srv\nRUN {step}\nCOPY README.md /\n"
        )
    };
    project(&context);
    context.write("Dockerfile", dockerfile("-q", "true"));
    let tag = context.tag("prefixed");
    let why = || context.larder(&["why", "-t", &tag, "."]).success().stdout;
    let first = context.larder(&["key", "."]).success().stdout;
    assert!(first.contains("\nprefix key, up to line 5 (RUN true): "), "{first}");
    assert!(
        first.contains("\nprefix key, up to line 3 (RUN true || pip install -q -r /tmp/requirements.txt): ")
    );
    context.build(&["-t", &tag, "."]);
    let (deep, shallow) = ("prefix up to line 5", "prefix up to line 3");
    // An edit, and then the states of the longer and of the shorter prefix.
    let table: [(&str, String, &str, &str); 4] = [
        ("README.md", "new\n".to_owned(), "unchanged", "unchanged"),
        ("src/main.py", "print(1)\n".to_owned(), "changed: src/main.py changed", "unchanged"),
        ("Dockerfile", dockerfile("-q", "echo"), "changed: Dockerfile line 5", "unchanged"),
        (
            "requirements.txt",
            "flask==3.1.0\n".to_owned(),
            "changed: requirements.txt flask 3.0.0 → 3.1.0",
            "changed: requirements.txt flask 3.0.0 → 3.1.0",
        ),
    ];
    for (path, text, deep_state, shallow_state) in table {
        let before = std::fs::read_to_string(context.project().join(path)).unwrap();
        context.write(path, text);
        let output = why();
        for (prefix, state) in [(deep, deep_state), (shallow, shallow_state)] {
            let line = output.lines().find(|line| line.starts_with(prefix));
            assert!(line.is_some_and(|line| line.contains(&format!("): {state}"))), "{path}: {output}");
        }
        context.write(path, before);
    }
    context.write("requirements.txt", "flask==3.1.0\n");
    let why = parsed(&context.larder(&["why", "--format", "json", "-t", &tag, "."]).success().stdout);
    assert_eq!(why["prefixes"][1]["unchanged"], false);
    assert_eq!(why["prefixes"][1]["changes"][0]["kind"], "requirement");
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nCOPY src /srv\n"));
    let output = context.larder(&["why", "-t", &tag, "."]).success().stdout;
    assert!(
        output.contains("no prefix: the target stage has no RUN and copies from no other stage\n"),
        "{output}"
    );
}

#[test]
fn why_lists_the_changes_since_the_previous_build() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let tag = context.tag("app");
    let why = |flags: &[&str]| {
        let arguments = [&["why", "-t", &tag], flags, &["."]].concat();
        context.larder(&arguments).success().stdout
    };
    assert!(why(&[]).contains("no earlier build of"), "nothing to compare with");
    context.build(&["-t", &tag, "."]);

    let root = context.project();
    let table: &[(&str, &[&str], Edit, &str)] = &[
        ("content", &[], |c, _| _ = c.write("src/main.py", "print(1)\n"), "src/main.py  changed\n"),
        (
            "mode",
            &[],
            |_, root| {
                std::fs::set_permissions(root.join("src/main.py"), Permissions::from_mode(0o755)).unwrap();
            },
            "src/main.py  changed: file 0644 → file 0755\n",
        ),
        ("addition", &[], |c, _| _ = c.write("src/new.py", "x\n"), "src/new.py  added\n"),
        (
            "removal",
            &[],
            |_, root| std::fs::remove_file(root.join("src/main.py")).unwrap(),
            "src/main.py  removed\n",
        ),
        (
            "move",
            &[],
            |_, root| std::fs::rename(root.join("src/main.py"), root.join("src/app.py")).unwrap(),
            "src/app.py  moved from src/main.py\n",
        ),
        (
            "a line",
            &[],
            |c, _| _ = c.write("Dockerfile", dockerfile("RUN echo more\n")),
            "Dockerfile line 7  RUN echo done → RUN echo more\n",
        ),
        (
            "a new line",
            &[],
            |c, _| _ = c.write("Dockerfile", dockerfile("ENV A=1\nRUN echo done\n")),
            "Dockerfile line 7  added: ENV A=1\n",
        ),
        (
            "an argument",
            &["--build-arg", "INDEX=https://u:hunter2@h/"],
            |_, _| {},
            "argument INDEX of stage 0  changed\n",
        ),
        (
            "a requirement",
            &[],
            |c, _| _ = c.write("requirements.txt", "flask==3.1.0\nhttpx\n"),
            "flask 3.0.0 → 3.1.0",
        ),
        (
            "a new requirement",
            &[],
            |c, _| _ = c.write("requirements.txt", "flask==3.0.0\nhttpx>=1\n"),
            "added httpx>=1",
        ),
        (
            "a comment in a requirement file",
            &[],
            |c, _| _ = c.write("requirements.txt", "flask==3.0.0 # web\n"),
            "requirements.txt  changed\n",
        ),
        ("a label", &["--label", "a=b"], |_, _| {}, "label a  added: b\n"),
        ("tags", &["--tags", "bert,gpt"], |_, _| {}, "tag bert  added\n"),
        (
            "an additional context",
            &["--additional-context", "{'guest_os': 'CENTOS'}"],
            |_, _| {},
            "additional context  added: {\"guest_os\":\"CENTOS\"}\n",
        ),
        ("a target", &["--target", "deps"], |_, _| {}, "target  app → deps\n"),
    ];
    for (what, flags, edit, expected) in table {
        edit(&context, &root);
        let output = why(flags);
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let found = output.lines().any(|line| words(line) == words(expected));
        assert!(found, "{what}: {expected:?} is not in\n{output}");
        assert!(!output.contains("hunter2"), "{output}");
        std::fs::remove_dir_all(root.join("src")).unwrap();
        project(&context);
    }
    context.write("README.md", "edited\n");
    assert!(why(&[]).contains("an image was built for it on"), "no input of the key has changed");
}

#[test]
fn a_miss_reports_the_changes_since_the_last_build_of_the_same_repository() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let first = context.tag("app");
    let second = first.replace(":1", ":2");
    context.build(&["-t", &first, "."]);
    context.write("src/main.py", "print(2)\n");
    let missed = context.build(&["-t", &second, "."]);
    let reason = missed["tiers"][0]["reason"].as_str().unwrap();
    assert_eq!(reason, "no image of this key is known: src/main.py changed");
    let why = parsed(&context.larder(&["why", "--format", "json", "-t", &first, "."]).success().stdout);
    assert_eq!(why["schema"], "larder.why.v1");
    assert!(why["known_since"].is_string());
    assert_eq!(why["changes"].as_array().unwrap().len(), 1);
    assert_eq!(why["changes"][0]["after"]["name"], "src/main.py");
    let other = context.tag("other");
    let why = parsed(&context.larder(&["why", "--format", "json", "-t", &other, "."]).success().stdout);
    assert!(why["compared_with"].is_null(), "images of different repositories are not compared");
}

#[test]
fn why_also_compares_with_a_build_that_was_a_hit() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let tag = context.tag("app");
    let build = |content: &str| {
        context.write("src/main.py", content);
        context.build(&["-t", &tag, "."])["image_key"].clone()
    };
    let first = build("1");
    build("2");
    assert_eq!(build("1"), first);
    context.write("src/main.py", "3");
    let run = context.larder(&["why", "--format", "json", "-t", &tag, "."]).success();
    let why = parsed(&run.stdout);
    assert_eq!(why["compared_with"]["image_key"], first, "{why:#}");
    assert_ne!(why["compared_with"]["last_used"], why["compared_with"]["created"]);
}

#[test]
fn a_different_target_is_reported_as_the_only_change() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let tag = context.tag("app");
    context.build(&["-t", &tag, "--target", "deps", "."]);
    let output = context.larder(&["why", "-t", &tag, "."]).success().stdout;
    let changes: Vec<&str> = output.lines().filter(|line| line.starts_with("  ")).map(str::trim).collect();
    assert_eq!(
        changes,
        ["target  deps → app", "instructions and files of different targets are not compared"],
        "{output}"
    );
}

#[test]
fn why_on_a_new_agent_uses_the_remote_store() {
    let engine = any_engine();
    let context = TestContext::with_archiving(&engine);
    project(&context);
    let tag = context.tag("app");
    let (remote, here, fresh) = (context.path("remote"), context.path("here"), context.path("fresh"));
    std::fs::create_dir(&remote).unwrap();
    let remote = format!("file://{}", remote.display());
    let (here, fresh) = (here.to_string_lossy().into_owned(), fresh.to_string_lossy().into_owned());
    context.build(&["-t", &tag, "--cache-dir", &here, "--remote", &remote, "."]);
    let why = || {
        let flags = ["why", "-t", &tag, "--cache-dir", &fresh, "--remote", &remote, "."];
        context.larder(&flags).success().stdout
    };
    let output = why();
    assert!(output.contains("a build uses it from the archive tier"), "{output}");
    context.write("src/main.py", "2\n").write("Dockerfile", dockerfile("RUN echo more\n"));
    let output = why();
    assert!(output.contains("no cache contains an image for it\ncompared with"), "{output}");
    let changes: Vec<String> = output
        .lines()
        .filter(|line| line.starts_with("  "))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(changes, ["Dockerfile line 7 changed to RUN echo more", "src/main.py changed"], "{output}");
}

#[test]
fn why_compares_with_a_build_of_the_same_lane_if_there_is_one() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let tag = context.tag("app");
    for (lane, content) in [("main", "1"), ("pr-1", "2"), ("main", "3"), ("pr-2", "4")] {
        context.write("src/main.py", content);
        context.build(&["-t", &tag, "--lane", lane, "."]);
    }
    let compared = |lane: &str| {
        let run = context.larder(&["why", "--format", "json", "-t", &tag, "--lane", lane, "."]).success();
        parsed(&run.stdout)["compared_with"]["lane"].clone()
    };
    context.write("src/main.py", "5");
    assert_eq!(compared("pr-1"), "pr-1");
    assert_eq!(compared("main"), "main");
    assert_eq!(compared("new"), "pr-2", "the most recent build of any lane");
}

#[test]
fn explain_lists_every_input_with_a_digest() {
    let context = TestContext::new(&any_engine());
    project(&context);
    let run =
        context.larder(&["key", "--explain", "--format", "json", "--secret", "id=s,env=HOME", "."]).success();
    let key = parsed(&run.stdout);
    let names = |list: &str, kind: &str| -> Vec<String> {
        let inputs = key[list].as_array().unwrap().iter().filter(|input| input["kind"] == kind);
        inputs.map(|input| input["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("inputs", "file"), ["requirements.txt", "src", "src/main.py", "src/unique"]);
    assert_eq!(names("inputs", "base-image"), [BUSYBOX]);
    assert_eq!(names("inputs", "stage-arg"), ["0/INDEX"]);
    assert!(names("inputs", "secret-id").is_empty(), "no step mounts it");
    assert!(!names("dependency_inputs", "instruction").is_empty());
    for input in key["inputs"].as_array().unwrap() {
        assert!(input["digest"].as_str().unwrap().starts_with("sha256:"), "{input}");
    }
    let text = context.larder(&["key", "--explain", "."]).success().stdout;
    assert!(text.contains("src/main.py\n"), "{text}");
    assert!(text.contains("  0/3 RUN true || pip install -r /tmp/requirements.txt\n"), "{text}");
    assert!(text.contains("  1 FROM deps AS app\n"), "{text}");
    assert_eq!(context.larder(&["key", "."]).success().stdout.lines().count(), 4, "no inputs");
}

/// Returns the contents of all files below a directory.
fn all_contents(directory: &Path) -> String {
    let files =
        WalkDir::new(directory).into_iter().map(Result::unwrap).filter(|entry| entry.file_type().is_file());
    files.map(|file| String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned()).collect()
}

#[test]
fn values_of_arguments_and_secrets_and_their_plain_digests_are_not_stored_or_shown() {
    const ARGUMENT: &str = "hunter2";
    const SECRET: &str = "s3cr3t-value";
    let context = TestContext::new(&any_engine());
    project(&context);
    let tail = "ARG PIN\nARG DIR\nRUN --mount=type=secret,id=token test -s /run/secrets/token && echo $PIN\nCOPY $DIR /x\n";
    context.write("Dockerfile", dockerfile(tail)).write("token", SECRET).write("conf-hunter2/a", "a");
    let tag = context.tag("app");
    let pin = format!("PIN={ARGUMENT}");
    let flags = ["-t", &tag, "--secret", "id=token,src=token", "--build-arg", &pin, "--build-arg", "DIR=src"];
    context.build(&[&flags[..], &["."]].concat());
    let key =
        context.larder(&[&["key", "--explain", "--format", "json"], &flags[..], &["."]].concat()).success();
    let other = [&flags[..4], &["--build-arg", "PIN=1234", "--build-arg", "DIR=gone-hunter2"]].concat();
    let why = context.larder(&[&["why", "--format", "json"], &other[..], &["."]].concat()).success();
    let failed = context.larder(&[&["build"], &other[..], &["."]].concat());
    assert_eq!(failed.code, 1, "the directory in the argument does not exist: {}", failed.stderr);
    let metadata = std::fs::read_to_string(context.path("metadata.json")).unwrap();

    let stored = all_contents(&context.path("home"))
        + &metadata
        + &key.stdout
        + &why.stdout
        + &key.stderr
        + &why.stderr;
    for value in [ARGUMENT, SECRET, "gone-hunter2"] {
        assert!(!stored.contains(value), "{value} in {stored}");
        assert!(!stored.contains(&sha256(value.as_bytes())), "digest of {value}");
    }
    // The digest of the argument as an input of a key would reveal the value, too.
    let field = |text: &str| [&text.len().to_le_bytes()[..], text.as_bytes()].concat();
    for kind in ["stage-arg", "build-arg"] {
        let count = 2_u64.to_le_bytes().to_vec();
        let fields = [field("larder-input-v1"), field(kind), count, field("set"), field(ARGUMENT)];
        assert!(!stored.contains(&sha256(&fields.concat())));
    }
    let error = json(&context.path("metadata.json"))["error"].clone();
    assert_eq!(error, Value::Null, "the metadata is of the successful build");
    assert!(stored.contains("because it may quote a build argument"), "{stored}");
}

#[test]
fn credentials_in_urls_and_parts_of_arguments_in_engine_errors_are_not_stored() {
    let context = TestContext::new(&any_engine());
    let steps = "RUN echo https://ci:hunter2@pypi.invalid/simple && \\\n  echo https://u:hunt\\\ner2@h\nRUN false || echo https://ci:hunter2@h\n";
    context.write("Dockerfile", format!("FROM {BUSYBOX}\n{steps}"));
    let metadata = context.path("metadata.json");
    let build = |flags: &[&str]| {
        let arguments = [&["build", "--metadata-file", metadata.to_str().unwrap()], flags, &["."]].concat();
        let run = context.larder(&arguments);
        (run.code, std::fs::read_to_string(&metadata).unwrap())
    };
    let (code, mut stored) = build(&[]);
    assert_eq!(code, 0);
    context.write("Dockerfile", format!("FROM {BUSYBOX}\nRUN exit 3; echo https://ci:hunter2@h\n"));
    let (code, failed) = build(&[]);
    assert!(code == 1 && failed.contains("exit code: 3"), "{failed}");
    stored += &failed;
    // The engine's error contains only the path of the reference, so searching it for the whole value is not enough.
    context.write("Dockerfile", "ARG BASE\nFROM $BASE\n");
    let (code, failed) = build(&["--build-arg", "BASE=127.0.0.1:9/acme/hunter2:v7"]);
    assert_eq!(code, 1, "{failed}");
    stored += &failed;
    stored += &all_contents(&context.path("home"));
    for part in ["hunter2", "er2@", "hunt"] {
        assert!(!stored.contains(part), "{part} in {stored}");
    }
}
