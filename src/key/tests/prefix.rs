//! Tests of the cuts of prefixes, and of the changes that affect their keys.

use super::*;

/// Returns a build of `text` in which all images have a digest.
fn build(text: &str) -> Case {
    changed(|case| {
        case.text = text.to_owned();
        case.pins = map([("", "sha256:aa")]);
        case.files = vec![
            file("requirements.txt", "flask==3.0\n"),
            file("src/app.py", "print()"),
            file("data.bin", "data"),
            file("web/package.json", "{}"),
            file("install.sh", "pip install -r requirements.txt\n"),
        ];
        case.files.push(("src".to_owned(), "dir".to_owned(), 0o755, Vec::new()));
    })
}

/// Returns the lines of the last instructions of all prefixes, the deepest first, or the reason why there are none.
fn cut_lines(case: &Case) -> Result<Vec<usize>, String> {
    let found = keys(case).prefixes.map_err(|reason| reason.to_string())?;
    assert!(!found.is_empty() && found.is_sorted_by(|one, other| one.cut > other.cut));
    let dockerfile = Dockerfile::parse(&case.text).unwrap();
    for prefix in &found {
        let stage = &dockerfile.stages[prefix.cut.stage];
        assert_eq!(*stage.instructions[prefix.cut.instructions - 1].lines.start(), prefix.line);
    }
    Ok(found.iter().map(|prefix| prefix.line).collect())
}

const NOTHING: &[usize] = &[];

#[test]
fn prefixes_end_after_the_last_step_of_a_builder_and_after_the_last_installation() {
    const PIP: &str = "RUN pip install -r requirements.txt";
    let table: &[(&str, &[usize])] = &[
        // No instruction needs a builder.
        ("FROM python\nCOPY . .\nCMD x", NOTHING),
        ("FROM scratch\nCOPY . .", NOTHING),
        ("FROM python\nENV A=b\nWORKDIR /app", NOTHING),
        ("FROM scratch AS a\nCOPY . .\nFROM a\nLABEL a=b", NOTHING),
        // One or two positions in a single stage.
        ("FROM python\nCOPY requirements.txt .\n{PIP}\nCOPY . .\nCMD x", &[3]),
        ("FROM python\n{PIP}\nRUN echo\nCOPY . .", &[3, 2]),
        ("FROM python\nRUN echo\n{PIP}\nCOPY . .", &[3]),
        ("FROM python\nRUN echo\nCOPY . .", &[2]),
        ("FROM python\n{PIP}\nRUN apt-get install -y curl\nRUN id\nRUN id", &[5, 3]),
        ("FROM python\n# note\n\n{PIP}\n\n# end\nUSER app", &[4]),
        ("FROM python\nRUN <<EOF\npip install flask\nEOF\nCOPY . .", &[2]),
        ("FROM python\nRUN pip \\\n  install flask\nLABEL a=b", &[2]),
        ("FROM python\nCOPY <<EOF /etc/x\nhello\nEOF\nLABEL a=b", NOTHING),
        ("FROM python\nCOPY install.sh requirements.txt ./\nRUN ./install.sh\nRUN echo", &[4, 3]),
        // Other stages.
        ("FROM python AS b\n{PIP}\nFROM python\nCOPY --from=b /venv /venv\nCOPY . .", &[4]),
        ("FROM python AS b\nCOPY . .\nRUN echo\nFROM python\nCOPY --from=b /out /out\nCOPY . .", &[5]),
        ("FROM python AS b\n{PIP}\nFROM b AS c\nFROM python\nCOPY --from=c /venv /venv\nRUN echo", &[6, 5]),
        ("FROM python AS b\n{PIP}\nFROM b\nCOPY . .", &[3]),
        ("FROM python AS b\n{PIP}\nFROM b AS c\nENV A=b\nFROM c\nCOPY . .", &[5]),
        ("FROM python AS b\n{PIP}\nFROM b\nCOPY . .\nRUN echo\nCMD x", &[5, 3]),
        ("FROM python AS b\nRUN echo\nFROM b\nCOPY . .", &[3]),
        (
            "FROM python AS b\n{PIP}\nFROM python\nRUN echo\nRUN --mount=from=b,target=/b cp -r /b /c\nRUN id",
            &[6, 5],
        ),
        ("FROM python\nCOPY --from=node /bin/node /bin/\nCOPY . .", &[2]),
        ("FROM python\nCOPY --from=data /model /model\nCOPY . .", &[2]),
        ("FROM python\n{PIP}\nFROM scratch\nCOPY --from=0 / /\nLABEL a=b", &[4]),
        // ADD.
        ("FROM python\nADD data.bin /data\nCOPY . .", &[2]),
        ("FROM python\nADD site.tar.gz /data\nCOPY . .", &[2]),
        ("FROM python\nADD . /app\nCMD x", NOTHING),
        ("FROM python\nADD src /app\nADD src/ /app\nADD src/app.py requirements.txt /app/", NOTHING),
        ("FROM python\nRUN id\nADD src/app.py /app/\nADD data* /app/", &[4]),
    ];
    for (text, lines) in table {
        let text = text.replace("{PIP}", PIP);
        let expected = if lines.is_empty() {
            Err("the target stage has no RUN and copies from no other stage".to_owned())
        } else {
            Ok(lines.to_vec())
        };
        assert_eq!(cut_lines(&build(&text)), expected, "{text}");
    }
}

#[test]
fn a_trigger_of_the_base_image_belongs_to_the_from_instruction() {
    let triggered = |text: &str, triggers: &[&str]| {
        let mut case = build(text);
        case.onbuild =
            [("python".to_owned(), triggers.iter().map(|line| (*line).to_owned()).collect())].into();
        cut_lines(&case).unwrap()
    };
    assert_eq!(triggered("FROM python\nCOPY . .", &["RUN pip install flask"]), [1]);
    assert_eq!(
        triggered("FROM python\nRUN echo\nCOPY . .", &["COPY . /src", "RUN pip install flask"]),
        [2, 1]
    );
    let base = "FROM python AS b\nONBUILD RUN echo\nFROM b\nCOPY . .";
    assert_eq!(cut_lines(&build(base)).unwrap(), [3]);
}

#[test]
fn the_target_stage_is_the_one_that_is_cut() {
    let mut case = build("FROM python AS a\nRUN echo\nCOPY . .\nFROM a AS b\nRUN id\nRUN id");
    assert_eq!(cut_lines(&case).unwrap(), [6]);
    case.target = Some("a".to_owned());
    assert_eq!(cut_lines(&case).unwrap(), [2]);
}

/// The shallow prefix ends with line 15, the deepest one with line 22.
const STAGES: &str = "\
# syntax=docker/dockerfile:1
ARG PY=3.12
ARG LATE=1
FROM node AS web
ARG FLAVOUR=a
COPY web /web
RUN echo $FLAVOUR > /out
FROM python:${PY} AS base
ENV A=b
ONBUILD RUN touch /triggered
FROM base AS app
ARG INDEX
WORKDIR /app
COPY requirements.txt .
RUN --mount=type=secret,id=pip --mount=source=pip.conf,target=/etc/pip.conf pip install -r requirements.txt
ARG MODE=x
COPY --from=web /out /out
COPY --from=data /model /model
COPY <<EOF /etc/app.conf
mode=1
EOF
RUN --mount=type=ssh echo $MODE
ARG VERSION=dev
ARG LATE
COPY src/ src/
LABEL version=$VERSION
ONBUILD RUN touch /later
CMD [\"python\"]
FROM base AS unreached
COPY . .
";

fn stages() -> Case {
    let mut case = build(STAGES);
    case.target = Some("app".to_owned());
    case.secrets = ["pip", "unused"].map(str::to_owned).into();
    case.files.push(file("pip.conf", "[global]\n"));
    case.files.push(file("README.md", "read me"));
    case
}

type CaseChange = fn(&mut Case);

/// The prefix keys that a change affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Affects {
    Both,
    Deepest,
    Nothing,
}

fn prefix_keys(case: &Case) -> [CacheKey; 2] {
    let prefixes = keys(case).prefixes.unwrap();
    let found: Vec<CacheKey> = prefixes.iter().map(|prefix| prefix.key).collect();
    found.try_into().unwrap()
}

fn affected(before: &Case, after: &Case) -> Affects {
    let ([deep, shallow], [new_deep, new_shallow]) = (prefix_keys(before), prefix_keys(after));
    match (deep == new_deep, shallow == new_shallow) {
        (false, false) => Affects::Both,
        (false, true) => Affects::Deepest,
        (true, true) => Affects::Nothing,
        (true, false) => panic!("the deepest prefix contains the other one"),
    }
}

#[test]
fn a_change_of_the_dockerfile_affects_the_prefixes_that_contain_it() {
    use Affects::{Both, Deepest, Nothing};
    let table = [
        // Before both cuts.
        ("ENV A=b", "ENV A=c", Both),
        ("python:${PY} AS base", "--platform=linux/arm64 python:${PY} AS base", Both),
        ("ONBUILD RUN touch /triggered", "ONBUILD RUN touch /other", Both),
        ("ONBUILD RUN touch /triggered\n", "", Both),
        ("ARG INDEX", "ARG INDEX=other", Both),
        ("WORKDIR /app", "WORKDIR /srv", Both),
        ("WORKDIR /app", "WORKDIR /app\nCMD [\"x\"]", Both),
        ("WORKDIR /app", "WORKDIR /app\nLABEL a=b", Both),
        ("COPY requirements.txt .", "COPY requirements.txt ./", Both),
        ("COPY requirements.txt .", "COPY --chown=1 requirements.txt .", Both),
        ("id=pip", "id=pypi", Both),
        ("target=/etc/pip.conf", "target=/pip.conf", Both),
        ("pip install -r", "pip install --no-deps -r", Both),
        ("docker/dockerfile:1", "docker/dockerfile:1.7", Both),
        // Between the cuts.
        ("FLAVOUR=a", "FLAVOUR=b", Deepest),
        ("FROM node AS web", "FROM debian AS web", Deepest),
        ("COPY web /web", "COPY web /w", Deepest),
        ("> /out", "> /out2", Deepest),
        ("MODE=x", "MODE=y", Deepest),
        ("/out /out", "/out /srv/out", Deepest),
        ("/model /model", "/model /m", Deepest),
        ("COPY --from=data", "COPY --from=web", Deepest),
        ("mode=1", "mode=2", Deepest),
        ("--mount=type=ssh", "--network=none --mount=type=ssh", Deepest),
        ("COPY --from=web", "LABEL a=b\nCOPY --from=web", Deepest),
        // After both, or without effect on the image.
        ("ARG PY=3.12", "ARG PY=3.12-slim", Nothing),
        ("VERSION=dev", "VERSION=prod", Nothing),
        ("VERSION=dev\n", "VERSION=dev\nARG INDEX=late\nARG MODE=late\n", Nothing),
        ("ARG LATE=1", "ARG LATE=2", Nothing),
        ("ARG LATE=1", "ARG LATE=1\nARG UNUSED=1", Nothing),
        ("COPY src/ src/", "COPY src/ web/ README.md src/", Nothing),
        ("COPY src/ src/", "COPY . .", Nothing),
        ("COPY src/ src/\n", "", Nothing),
        ("version=$VERSION", "version=1", Nothing),
        ("touch /later", "touch /latest", Nothing),
        ("CMD [\"python\"]", "ENTRYPOINT [\"python\"]", Nothing),
        ("CMD [\"python\"]", "CMD [\"python\"]\nUSER app\nEXPOSE 80\nENV A=c", Nothing),
        ("ARG MODE", "ONBUILD RUN touch /later\nARG MODE", Nothing),
        ("WORKDIR /app", "ONBUILD COPY . .\nWORKDIR /app", Nothing),
        ("WORKDIR /app", "# note\n\nWORKDIR    /app", Nothing),
        ("AS app", "AS App", Nothing),
        ("AS unreached\nCOPY", "AS unreached\nRUN", Nothing),
        ("FROM base AS unreached", "FROM python AS unreached", Nothing),
    ];
    let before = stages();
    for (from, to, expected) in table {
        assert!(before.text.contains(from), "{from}");
        let mut after = before.clone();
        after.text = before.text.replacen(from, to, 1);
        assert_eq!(affected(&before, &after), expected, "{from} → {to}");
    }
    let mut renamed = before.clone();
    renamed.text = before.text.replace("web", "assets").replace("COPY assets /assets", "COPY web /web");
    assert_eq!(affected(&before, &renamed), Nothing);
}

#[test]
fn a_change_of_anything_else_affects_the_prefixes_that_can_see_it() {
    use Affects::{Both, Deepest, Nothing};
    fn set(case: &mut Case, path: &str, change: impl FnOnce(&mut (String, String, u32, Vec<u8>))) {
        change(case.files.iter_mut().find(|file| file.0 == path).unwrap());
    }
    fn edit(case: &mut Case, path: &str) {
        set(case, path, |file| file.3 = b"# new".to_vec());
    }
    let table: &[(&str, CaseChange, Affects)] = &[
        ("a copied file", |case| edit(case, "requirements.txt"), Both),
        ("its mode", |case| set(case, "requirements.txt", |file| file.2 = 0o600), Both),
        ("its kind", |case| set(case, "requirements.txt", |file| file.1 = "symlink".to_owned()), Both),
        ("a mounted file", |case| edit(case, "pip.conf"), Both),
        ("a file of a stage", |case| edit(case, "web/package.json"), Deepest),
        ("a new file of a stage", |case| case.files.push(file("web/index.js", "")), Deepest),
        ("a file that is copied later", |case| edit(case, "src/app.py"), Nothing),
        ("a new file that is copied later", |case| case.files.push(file("src/new.py", "")), Nothing),
        ("a file that nothing copies", |case| edit(case, "README.md"), Nothing),
        ("the order of files", |case| case.files.reverse(), Nothing),
        (
            "the base's digest",
            |case| case.pins = map([("python", "sha256:bb"), ("node", "sha256:aa"), ("docker", "sha256:aa")]),
            Both,
        ),
        (
            "the digest of a stage's base",
            |case| case.pins = map([("python", "sha256:aa"), ("node", "sha256:bb"), ("docker", "sha256:aa")]),
            Deepest,
        ),
        (
            "the frontend's digest",
            |case| case.pins = map([("python", "sha256:aa"), ("node", "sha256:aa"), ("docker", "sha256:bb")]),
            Both,
        ),
        ("an argument", |case| case.build_args.extend(map([("INDEX", "1")])), Both),
        ("an argument of a FROM", |case| case.build_args.extend(map([("PY", "3.13-slim")])), Nothing),
        ("a later argument", |case| case.build_args.extend(map([("MODE", "1")])), Deepest),
        ("an argument of a stage", |case| case.build_args.extend(map([("FLAVOUR", "1")])), Deepest),
        ("the last argument", |case| case.build_args.extend(map([("VERSION", "1")])), Nothing),
        ("a global argument that is used late", |case| case.build_args.extend(map([("LATE", "2")])), Nothing),
        ("an undeclared argument", |case| case.build_args.extend(map([("UNRELATED", "2")])), Nothing),
        ("a proxy", |case| case.build_args.extend(map([("http_proxy", "http://p")])), Nothing),
        ("the epoch", |case| case.build_args.extend(map([("SOURCE_DATE_EPOCH", "1")])), Both),
        ("an argument to BuildKit", |case| case.build_args.extend(map([("BUILDKIT_X", "1")])), Both),
        ("a secret", |case| _ = case.secrets.remove("pip"), Both),
        ("an unused secret", |case| _ = case.secrets.remove("unused"), Nothing),
        ("an SSH agent", |case| case.ssh.clear(), Deepest),
        (
            "a named context",
            |case| _ = case.contexts.insert("data".to_owned(), NamedContext::Files(Digest::of(b"new"))),
            Deepest,
        ),
        ("an unused context", |case| _ = case.contexts.remove("other"), Nothing),
        (
            "a context instead of the base",
            |case| _ = case.contexts.insert("base".to_owned(), NamedContext::Files(Digest::of(b"new"))),
            Both,
        ),
        ("a platform", |case| case.platform = Some("linux/arm64".to_owned()), Both),
        ("the network", |case| case.network = Some("host".to_owned()), Both),
        ("a host", |case| _ = case.run_options.insert("add-host".to_owned(), vec!["a:1".to_owned()]), Both),
        ("a user-defined input", |case| case.extra = map([("week", "1")]), Both),
        ("a user-defined tag", |case| case.tags = ["x".to_owned()].into(), Both),
        ("an additional context", |case| case.additional_context = Some("{}".to_owned()), Both),
        ("a label", |case| case.labels = map([("a", "b")]), Nothing),
        (
            "an option of the image",
            |case| _ = case.image_options.insert("output:compression".to_owned(), vec!["zstd".to_owned()]),
            Nothing,
        ),
        ("unknown triggers", |case| case.triggers = false, Both),
    ];
    let mut before = stages();
    before.pins = map([("python", "sha256:aa"), ("node", "sha256:aa"), ("docker", "sha256:aa")]);
    for (what, change, expected) in table {
        let mut after = before.clone();
        change(&mut after);
        assert_eq!(affected(&before, &after), *expected, "{what}");
    }
}

#[test]
fn everything_counts_if_the_triggers_of_a_base_are_unknown() {
    let mut before = stages();
    before.triggers = false;
    let changes: [CaseChange; 4] = [
        |case| case.files.push(file("src/new.py", "")),
        |case| case.build_args.extend(map([("UNDECLARED", "1")])),
        |case| _ = case.contexts.remove("other"),
        |case| _ = case.secrets.remove("unused"),
    ];
    for change in changes {
        let mut after = before.clone();
        change(&mut after);
        assert_eq!(affected(&before, &after), Affects::Both);
    }
}

#[test]
fn two_targets_with_the_same_beginning_share_its_prefix() {
    let text = "FROM python AS b\nRUN pip install flask\nFROM b AS one\nCOPY src /src\nFROM b AS two\nCOPY web /web\n";
    let on = |target: &str| {
        let mut case = build(text);
        case.target = Some(target.to_owned());
        keys(&case).prefixes.unwrap()[0].key
    };
    assert_eq!(on("one"), on("two"));
}

#[test]
fn there_is_no_prefix_where_something_is_not_known_exactly() {
    let table: &[(&str, CaseChange, &str)] = &[
        (
            "an unpinned base",
            |case| case.pins = map([("docker/", "sha256:aa"), ("node", "sha256:aa")]),
            "the base image python:${PY} has no known digest",
        ),
        (
            "an unpinned frontend",
            |case| case.pins = map([("python", "sha256:aa"), ("node", "sha256:aa")]),
            "the frontend docker/dockerfile:1 has no known digest",
        ),
        (
            "a frontend in an argument",
            |case| case.build_args.extend(map([("BUILDKIT_SYNTAX", "docker/dockerfile:1.9")])),
            "the frontend given with BUILDKIT_SYNTAX has no known digest",
        ),
        (
            "a different frontend",
            |case| case.text = case.text.replace("docker/dockerfile:1", "me/frontend"),
            "the Dockerfile uses the unknown frontend me/frontend",
        ),
        (
            "a different frontend in an argument",
            |case| case.build_args.extend(map([("BUILDKIT_SYNTAX", "me/frontend")])),
            "the Dockerfile uses the unknown frontend given with BUILDKIT_SYNTAX",
        ),
        (
            "a stage that a context replaces",
            |case| _ = case.contexts.insert("app".to_owned(), NamedContext::Files(Digest::of(b"x"))),
            "the target stage has no RUN and copies from no other stage",
        ),
    ];
    for (what, change, expected) in table {
        let mut case = stages();
        change(&mut case);
        assert_eq!(cut_lines(&case).unwrap_err(), *expected, "{what}");
    }
    let mut case = stages();
    case.text.push_str("INCLUDE x\n");
    assert_eq!(cut_lines(&case).unwrap_err(), "the instructions of the Dockerfile are unknown");
    // An unknown input of the deepest prefix does not prevent the other one.
    let mut case = stages();
    case.pins = map([("docker/", "sha256:aa"), ("python", "sha256:aa")]);
    assert_eq!(cut_lines(&case).unwrap(), [15]);
    let mut case = stages();
    let address = NamedContext::Address { address: "docker-image://x".to_owned(), digest: None };
    case.contexts.insert("data".to_owned(), address);
    assert_eq!(cut_lines(&case).unwrap(), [15]);
}

#[test]
fn the_prefix_keys_of_a_known_build_are_stable() {
    // A change here makes every published prefix a miss: raise the version and announce it.
    let [deep, shallow] = prefix_keys(&stages()).map(|key| key.to_string());
    assert_eq!(deep, "6c9d4026009366470346a16184a099b268182dfb957c44c4555dc8b7b85754cc");
    assert_eq!(shallow, "3854f09a5dbf5b62a3fe5cd48360d5be841e5e22c710a775ad6a36ffbd372a65");
}
