//! Tests of the image key.

use super::*;

/// Returns changes that may change the image.
fn relevant() -> Vec<(&'static str, Case)> {
    let context = |text: &str| NamedContext::Files(Digest::of(text.as_bytes()));
    vec![
        ("no change", case()),
        ("a RUN", edited("> version", "> /version")),
        ("a metadata instruction", edited("CMD [", "ENTRYPOINT [")),
        ("the base of a stage", edited("FROM deps AS app", "FROM base AS app")),
        ("a stage's platform", edited("FROM deps AS app", "FROM --platform=linux/arm64 deps AS app")),
        ("the syntax", edited("docker/dockerfile:1", "docker/dockerfile:1.7")),
        ("the escape character", changed(|case| case.text = format!("# escape=`\n{TEXT}"))),
        ("an argument's default", edited("VERSION=dev", "VERSION=prod")),
        ("an argument of a stage", changed(|case| case.build_args.extend(map([("VERSION", "1")])))),
        ("an argument's value", changed(|case| case.build_args.extend(map([("INDEX", "https://y")])))),
        ("one argument less", changed(|case| _ = case.build_args.remove("INDEX"))),
        ("an empty argument", changed(|case| case.build_args.extend(map([("INDEX", "")])))),
        ("an argument of a FROM", changed(|case| case.build_args.extend(map([("PY", "3.12")])))),
        (
            "an argument to BuildKit",
            changed(|case| {
                case.build_args.extend(map([("BUILDKIT_INLINE_CACHE", "1")]));
            }),
        ),
        ("a base's digest", changed(|case| case.pins = map([("python:3.11", "sha256:bb")]))),
        ("a base without a digest", changed(|case| case.pins = BTreeMap::new())),
        ("the platform", changed(|case| case.platform = Some("linux/arm64".to_owned()))),
        (
            "the builder's platform, given explicitly",
            changed(|case| {
                case.platform = Some("linux/amd64".to_owned());
            }),
        ),
        ("the target", changed(|case| case.target = Some("deps".to_owned()))),
        ("a different target", changed(|case| case.target = Some("base".to_owned()))),
        ("a file's content", rewritten("src/app.py", "print(1)")),
        ("a file's mode", changed(|case| case.files[2].2 = 0o755)),
        ("a file's kind", changed(|case| case.files[2].1 = "symlink".to_owned())),
        ("a file's name", changed(|case| case.files[2].0 = "src/main.py".to_owned())),
        ("one more file", changed(|case| case.files.push(file("src/b.py", "")))),
        ("one file less", changed(|case| _ = case.files.remove(2))),
        ("a comment in a file", rewritten("requirements.txt", "flask==3.0\n-r more.txt\n")),
        ("one secret less", changed(|case| _ = case.secrets.remove("pip"))),
        ("one SSH agent less", changed(|case| case.ssh.clear())),
        ("a named context", changed(|case| _ = case.contexts.insert("data".to_owned(), context("cc")))),
        (
            "a named context by address",
            changed(|case| {
                let address = NamedContext::Address { address: "docker-image://x".to_owned(), digest: None };
                case.contexts.insert("data".to_owned(), address);
            }),
        ),
        (
            "a context that replaces a base",
            changed(|case| {
                case.contexts.insert("base".to_owned(), context("cc"));
            }),
        ),
        ("a label", changed(|case| case.labels = map([("a", "b")]))),
        ("a different value of a label", changed(|case| case.labels = map([("a", "c")]))),
        ("the network", changed(|case| case.network = Some("host".to_owned()))),
        (
            "a host",
            changed(|case| {
                case.run_options.insert("add-host".to_owned(), vec!["a:1".to_owned()]);
            }),
        ),
        (
            "two hosts",
            changed(|case| {
                case.run_options.insert("add-host".to_owned(), vec!["a:1".to_owned(), "b:2".to_owned()]);
            }),
        ),
        (
            "an exporter's attribute",
            changed(|case| {
                case.image_options.insert("add-host".to_owned(), vec!["a:1".to_owned()]);
            }),
        ),
        ("a user-defined input", changed(|case| case.extra = map([("week", "1")]))),
        ("a different value of a user-defined input", changed(|case| case.extra = map([("week", "2")]))),
        ("a user-defined tag", changed(|case| case.tags = ["bert".to_owned()].into())),
        ("an additional context", changed(|case| case.additional_context = Some("{}".to_owned()))),
        ("unknown triggers", changed(|case| case.triggers = false)),
        ("an unknown frontend", edited("docker/dockerfile:1", "me/frontend")),
        ("a text that does not parse", changed(|case| case.text.push_str("INCLUDE x\n"))),
    ]
}

#[test]
fn every_relevant_change_makes_a_different_image_key() {
    let mut seen: BTreeMap<CacheKey, &str> = BTreeMap::new();
    for (what, case) in relevant() {
        let other = seen.insert(keys(&case).image, what);
        assert_eq!(other, None, "{what} makes no difference");
    }
}

#[test]
fn irrelevant_changes_change_neither_key() {
    let before = anywhere(keys(&case()));
    let table = [
        ("a comment", edited("FROM deps", "# about deps\n\nFROM deps")),
        ("a comment inside a RUN", edited("# the index is private", "# the index")),
        ("a RUN's continuation", edited(" \\\n    # the index is private\n   ", "")),
        ("a keyword's spelling", edited("WORKDIR /app", "workdir   /app")),
        (
            "blanks between words",
            edited("COPY requirements.txt more.txt /app/", "COPY   requirements.txt more.txt \t/app/"),
        ),
        ("a stage's name", edited("AS app", "AS api")),
        ("a stage's name and its uses", changed(|case| case.text = TEXT.replace("deps", "wheels"))),
        ("a global argument that nothing uses", edited("FROM python", "ARG MORE=1\nFROM python")),
        (
            "a different name of the same base",
            changed(|case| {
                case.build_args.extend(map([("PY", "3.12")]));
                case.pins.extend(map([("python:3.12", "sha256:aa")]));
            }),
        ),
        ("line ends", changed(|case| case.text = TEXT.replace('\n', "\r\n"))),
        ("an unreached stage", edited("RUN npm ci", "RUN npm install")),
        ("one more unreached stage", edited("FROM deps", "FROM alpine AS more\nCOPY . .\nFROM deps")),
        ("an undeclared argument", changed(|case| case.build_args.extend(map([("UNRELATED", "2")])))),
        ("a proxy", changed(|case| case.build_args.extend(map([("HTTP_PROXY", "http://p")])))),
        ("a secret that nothing mounts", changed(|case| _ = case.secrets.remove("unused"))),
        ("a context that nothing uses", changed(|case| _ = case.contexts.remove("other"))),
        ("a file that nothing reads", rewritten("README.md", "other")),
        ("a file of an unreached stage", rewritten("web/package.json", "[]")),
        ("the order of files", changed(|case| case.files.reverse())),
        ("the target by name", changed(|case| case.target = Some("APP".to_owned()))),
        ("the digest of an unused base", changed(|case| case.pins.extend(map([("node", "sha256:cc")])))),
    ];
    for (what, case) in table {
        assert_eq!(anywhere(keys(&case)), before, "{what}");
    }
}

#[test]
fn no_value_of_a_build_argument_can_be_read_from_the_keys() {
    let keys = keys(&case());
    assert!(!format!("{keys:?}").contains("hunter2"));
    let all = keys.inputs.iter().chain(&keys.dependency_inputs);
    assert!(all.clone().all(|input| !input.name.contains("hunter2")));
    // Published digests differ for different values, but are not plain digests of them.
    let seal = Seal::default();
    let published = |case: &Case| -> Vec<(String, Digest, Digest)> {
        let arguments = super::keys(case).inputs.into_iter();
        let arguments = arguments.filter(|input| input.kind.is_confidential());
        arguments.map(|input| (input.name.clone(), input.digest, seal.publish(&input).digest)).collect()
    };
    let other = changed(|case| case.build_args.extend(map([("INDEX", "other")])));
    let (before, after) = (published(&case()), published(&other));
    assert!(before.iter().all(|(_, plain, sealed)| plain != sealed));
    let differing: Vec<_> =
        before.iter().zip(&after).filter(|(one, two)| one.2 != two.2).map(|(one, _)| &one.0).collect();
    assert_eq!(differing, ["1/INDEX"]);
    assert_eq!(before, published(&case()));
}

#[test]
fn a_key_with_build_arguments_depends_on_the_secret() {
    let mut key = KeyBuilder::default();
    key.add_values(InputKind::File, "a", &[b"1"]).unwrap();
    let finish = |key: &KeyBuilder, seal: &Seal| key.finish(KeyRole::Image, seal);
    let (open, own) = (Seal::default(), Seal::new(b"ours"));
    assert_eq!(finish(&key, &open), finish(&key, &own), "nothing to seal");
    key.add_values(InputKind::BuildArg, "PIN", &[b"1234"]).unwrap();
    assert_ne!(finish(&key, &open), finish(&key, &own));
    assert_eq!(finish(&key, &own), finish(&key, &Seal::new(b"ours")));
    assert_eq!(finish(&key, &open), finish(&key, &Seal::new(b"")));
    let input = Input::of_values(InputKind::BuildArg, "PIN", &[b"1234"]);
    assert_ne!(open.publish(&input), own.publish(&input));
}
