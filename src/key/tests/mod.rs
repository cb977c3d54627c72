//! Tests of changes that affect a key, and of changes that do not.

mod dependency;
mod encoding;
mod image;
mod prefix;
mod properties;

use std::collections::{BTreeMap, BTreeSet};

use super::dependency::DependencyLayers;
use super::encoding::{KeyBuilder, KeyRole};
use super::*;
use crate::digest::Digest;
use crate::dockerfile::{ContextPaths, ContextSelector, Dockerfile, Options};

const TEXT: &str = "\
# syntax=docker/dockerfile:1
ARG PY=3.11
FROM python:${PY}-slim AS base
ENV PIP_NO_CACHE_DIR=1
FROM base AS deps
ARG INDEX
WORKDIR /app
COPY requirements.txt more.txt /app/
RUN --mount=type=secret,id=pip --mount=type=ssh \\
    # the index is private
    pip install -i $INDEX -r /app/requirements.txt
COPY --from=data /model /model
FROM node AS unreached
COPY web /web
RUN npm ci
FROM deps AS app
ARG VERSION=dev
COPY src/ src/
RUN echo $VERSION > version
CMD [\"python\", \"-m\", \"app\"]
";

/// A build whose parts tests can change.
#[derive(Clone)]
struct Case {
    text: String,
    build_args: BTreeMap<String, String>,
    target: Option<String>,
    platform: Option<String>,
    /// Digest of each base, by the prefix of its reference.
    pins: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    secrets: BTreeSet<String>,
    ssh: BTreeSet<String>,
    contexts: BTreeMap<String, NamedContext>,
    files: Vec<(String, String, u32, Vec<u8>)>,
    network: Option<String>,
    run_options: BTreeMap<String, Vec<String>>,
    image_options: BTreeMap<String, Vec<String>>,
    extra: BTreeMap<String, String>,
    tags: BTreeSet<String>,
    additional_context: Option<String>,
    triggers: bool,
    /// ONBUILD triggers of base images, by reference.
    onbuild: BTreeMap<String, Vec<String>>,
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn file(path: &str, text: &str) -> (String, String, u32, Vec<u8>) {
    (path.to_owned(), "file".to_owned(), 0o644, text.as_bytes().to_vec())
}

fn case() -> Case {
    Case {
        text: TEXT.to_owned(),
        build_args: map([("INDEX", "https://user:hunter2@index/simple"), ("UNRELATED", "1")]),
        target: None,
        platform: None,
        pins: map([("python:3.11", "sha256:aa")]),
        labels: BTreeMap::new(),
        secrets: ["pip", "unused"].map(str::to_owned).into(),
        ssh: ["default".to_owned()].into(),
        contexts: [("data", "aa"), ("other", "bb")]
            .map(|(name, text)| (name.to_owned(), NamedContext::Files(Digest::of(text.as_bytes()))))
            .into(),
        files: vec![
            file("requirements.txt", "# top\nflask==3.0\n-r more.txt\n"),
            file("more.txt", "pandas==2.1.4\n"),
            file("src/app.py", "print()"),
            file("README.md", "read me"),
            file("web/package.json", "{}"),
        ],
        network: None,
        run_options: BTreeMap::new(),
        image_options: BTreeMap::new(),
        extra: BTreeMap::new(),
        tags: BTreeSet::new(),
        additional_context: None,
        triggers: true,
        onbuild: BTreeMap::new(),
    }
}

/// Removes the positions of RUNs, so that keys of different texts can be compared.
fn anywhere(keys: Keys) -> Keys {
    Keys { layers: DependencyLayers::none(), ..keys }
}

fn keys(case: &Case) -> Keys {
    let mut options = Options {
        target: case.target.clone(),
        build_args: case.build_args.clone(),
        platform: case.platform.clone(),
        named_contexts: case.contexts.keys().cloned().collect(),
        ..Options::default()
    };
    let dockerfile = Dockerfile::parse(&case.text).ok();
    if case.triggers {
        // As in the pipeline: resolve, inspect the bases, resolve again.
        let first = dockerfile.as_ref().and_then(|file| file.resolve(&options).ok());
        let bases = first.into_iter().flat_map(|found| found.bases);
        let triggers = |reference: &String| case.onbuild.get(reference).cloned().unwrap_or_default();
        options.triggers = bases.map(|base| (base.reference.clone(), triggers(&base.reference))).collect();
    }
    let resolution = dockerfile.as_ref().and_then(|file| file.resolve(&options).ok());
    let digest_of = |reference: &String| {
        case.pins.iter().find(|(name, _)| reference.starts_with(*name)).map(|(_, digest)| digest.clone())
    };
    let bases = resolution.iter().flat_map(|found| &found.bases);
    let mut pins: Vec<BasePin> = bases
        .map(|base| BasePin {
            reference: base.reference.clone(),
            platform: base.platform.to_string(),
            digest: digest_of(&base.reference),
        })
        .collect();
    let syntax = dockerfile.as_ref().and_then(|dockerfile| dockerfile.directives.syntax.clone());
    if let Some(digest) = syntax.as_ref().and_then(digest_of) {
        let (reference, platform) = (syntax.unwrap_or_default(), options.build_platform.clone());
        pins.push(BasePin { reference, platform, digest: Some(digest) });
    }
    let all: Vec<ContextFile> = case
        .files
        .iter()
        .map(|(path, kind, mode, bytes)| ContextFile {
            path: path.clone(),
            kind: kind.clone(),
            mode: *mode,
            digest: Digest::of(bytes),
            xattrs: None,
            size: bytes.len() as u64,
        })
        .collect();
    let select = |paths: &ContextPaths| -> Vec<ContextFile> {
        all.iter().filter(|file| sees(paths, &file.path)).cloned().collect()
    };
    let files = resolution.as_ref().map_or_else(|| all.clone(), |resolution| select(&resolution.context));
    let read =
        |path: &str| case.files.iter().find(|(name, ..)| name == path).map(|(.., bytes)| bytes.clone());
    let inputs = ImageInputs {
        text: &case.text,
        parsed: dockerfile
            .as_ref()
            .zip(resolution.as_ref())
            .map(|(dockerfile, resolution)| ParsedDockerfile { dockerfile, resolution, options: &options }),
        bases: &pins,
        build_args: &case.build_args,
        target: case.target.as_deref(),
        platform: case.platform.as_deref(),
        labels: &case.labels,
        secrets: &case.secrets,
        ssh: &case.ssh,
        named_contexts: &case.contexts,
        files: &files,
        network: case.network.as_deref(),
        run_options: &case.run_options,
        image_options: &case.image_options,
        extra: &case.extra,
        tags: &case.tags,
        additional_context: case.additional_context.as_deref(),
        seal: &Seal::cheap(),
    };
    inputs.keys(&ContextAccess { read: &read, select: &select }).unwrap()
}

/// Returns `true` if a step reads the file, in a context without links.
fn sees(paths: &ContextPaths, path: &str) -> bool {
    let below = |selector: &ContextSelector| {
        path.strip_prefix(selector.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    paths.is_everything() || paths.selectors().any(|selector| selector.is_pattern || below(selector))
}

fn changed(change: impl FnOnce(&mut Case)) -> Case {
    let mut case = case();
    change(&mut case);
    case
}

fn edited(from: &str, to: &str) -> Case {
    assert!(TEXT.contains(from), "{from}");
    changed(|case| case.text = TEXT.replace(from, to))
}

fn rewritten(path: &str, text: &str) -> Case {
    changed(|case| {
        let file = case.files.iter_mut().find(|file| file.0 == path).unwrap();
        file.3 = text.as_bytes().to_vec();
    })
}
