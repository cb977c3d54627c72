//! Where the time of a key goes: reading a context, its index, the encoding, the sealing, the Dockerfile.
//!
//! `cargo bench`; whole processes against their peers are in `key.sh`.

#![allow(missing_docs, unused_crate_dependencies, reason = "a benchmark")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime};

use divan::{Bencher, black_box};
use larder::context::{Entry, Filter, PatternMatcher, StatIndex, digest_entries, walk};
use larder::digest::Digest;
use larder::dockerfile::{Dockerfile, Options};
use larder::key::{Context, ContextFile, ImageInputs, Input, InputKind, KeyBuilder, KeyRole, Parsed, Seal};

fn main() {
    divan::main();
}

const FILES: usize = 10_000;

const DOCKERFILE: &str = "\
# syntax=docker/dockerfile:1
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS wheels
COPY requirements.txt .
RUN --mount=type=cache,target=/root/.cache/pip pip wheel -r requirements.txt -w /wheels
FROM python:${PYTHON}-slim
COPY --from=wheels /wheels /wheels
RUN pip install --no-index --find-links=/wheels /wheels/*
COPY . /srv
CMD [\"python\", \"-m\", \"app\"]
";

/// A tree of small files whose times have settled.
fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temporary directory");
    for number in 0..FILES {
        let directory = root.path().join(format!("src/{:02}", number % 100));
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join(format!("{number}.py")), vec![b'x'; 5000]).expect("a file");
    }
    root
}

fn entries(root: &Path) -> Vec<Entry> {
    walk(root, &Filter::default()).expect("a directory").collect::<Result<_, _>>().expect("entries")
}

fn index(root: &Path) -> StatIndex {
    let mut entries = entries(root);
    let empty = StatIndex::default();
    let digests = digest_entries(&mut entries, &empty).expect("digests");
    let later = SystemTime::now() + Duration::from_mins(1);
    empty.learn(&entries, &digests, later).expect("an index")
}

#[divan::bench]
fn walk_of_a_context(bencher: Bencher<'_, '_>) {
    let root = tree();
    bencher.bench(|| entries(root.path()));
}

#[divan::bench(args = ["unread", "known"])]
fn digests_of_a_context(bencher: Bencher<'_, '_>, state: &str) {
    let root = tree();
    let index = if state == "known" { index(root.path()) } else { StatIndex::default() };
    let walked = entries(root.path());
    bencher.bench(|| digest_entries(&mut walked.clone(), &index).expect("digests"));
}

#[divan::bench]
fn index_from_bytes(bencher: Bencher<'_, '_>) {
    let root = tree();
    let bytes = index(root.path()).encode();
    bencher.bench(|| StatIndex::decode(black_box(&bytes)));
}

#[divan::bench]
fn ignore_patterns_over_paths(bencher: Bencher<'_, '_>) {
    let patterns = ["**/*.pyc", "**/__pycache__", "!src/keep", "docs/*", "*.md", ".git", "node_modules/**"];
    let matcher = PatternMatcher::new(patterns).expect("patterns");
    let paths: Vec<String> =
        (0..FILES).map(|number| format!("src/{:02}/{number}.py", number % 100)).collect();
    bencher.bench(|| paths.iter().filter(|path| matcher.matches(path)).count());
}

#[divan::bench]
fn dockerfile_parsed_and_resolved() -> usize {
    let dockerfile = Dockerfile::parse(black_box(DOCKERFILE)).expect("a Dockerfile");
    dockerfile.resolve(&Options::default()).expect("a target").steps()
}

#[divan::bench]
fn both_keys_of_a_large_context(bencher: Bencher<'_, '_>) {
    let dockerfile = Dockerfile::parse(DOCKERFILE).expect("a Dockerfile");
    let resolve = Options::default();
    let resolution = dockerfile.resolve(&resolve).expect("a target");
    let files: Vec<ContextFile> = (0..FILES)
        .map(|number| ContextFile {
            path: format!("src/{:02}/{number}.py", number % 100),
            kind: "file".to_owned(),
            mode: 0o644,
            digest: Digest::of(&number.to_le_bytes()),
            xattrs: None,
            size: 0,
        })
        .collect();
    let (none, nothing, no_contexts, options, seal) =
        (BTreeMap::new(), BTreeSet::new(), BTreeMap::new(), BTreeMap::new(), Seal::default());
    let inputs = ImageInputs {
        text: DOCKERFILE,
        parsed: Some(Parsed { dockerfile: &dockerfile, resolution: &resolution, options: &resolve }),
        bases: &[],
        build_args: &none,
        target: None,
        platform: None,
        labels: &none,
        secrets: &nothing,
        ssh: &nothing,
        named_contexts: &no_contexts,
        files: &files,
        network: None,
        run_options: &options,
        image_options: &options,
        extra: &none,
        tags: &nothing,
        additional_context: None,
        seal: &seal,
    };
    let context = Context { read: &|_| None, select: &|_| files.clone() };
    bencher.bench_local(|| inputs.keys(&context).expect("keys").image);
}

#[divan::bench]
fn key_with_a_sealed_argument(bencher: Bencher<'_, '_>) {
    let mut key = KeyBuilder::default();
    key.add(Input::of_values(InputKind::StageArg, "0/VERSION", &[b"set", b"1.2"])).expect("one input");
    bencher.bench(|| key.finish(KeyRole::Image, &Seal::default()));
}
