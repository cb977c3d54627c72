//! A build that continues from a prefix makes the same image as `docker build`.
//!
//! For each cut of the corpus, a first agent pushes the image of the instructions before the cut, which publishes the
//! prefix. A second agent with an empty cache builds the whole Dockerfile and must continue from the prefix. The
//! engine's own client builds the image to compare with. Files and runtime configuration must be the same. Times and
//! entries of the history are not compared.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::engines::{Engine, engines};
use crate::registries::Registry;
use crate::support::{Run, TestContext, is_full, json, run_to_end};

#[path = "../corpus/prefixes/mod.rs"]
mod corpus;

use corpus::Case;

/// Replaces the marker of the cut, because prefixes end after installations. It installs nothing.
const INSTALLATION: &str = "RUN true || pip install flask";
/// The first major version of an engine whose frontend supports here-documents and named contexts.
const NEWER_FRONTEND: u32 = 23;
/// `make test` builds one in this many cuts.
const SHARE: usize = 10;
/// The number of cuts that are built on one engine at a time.
const AT_ONCE: usize = 3;

/// A Dockerfile of the corpus with one of its cuts.
struct Cut {
    case: Case,
    whole: String,
    /// [`Self::whole`] without the instructions of the stage that follow the cut.
    before: String,
}

impl Cut {
    fn all(topic: &str) -> Vec<Self> {
        let cases = corpus::cases()
            .into_iter()
            .filter(|case| case.topic == topic && !case.unbuilt && !case.text.contains("FROM scratch"));
        let cuts = cases.flat_map(|case| {
            let cuts: Vec<usize> = case.cuts().collect();
            cuts.into_iter().filter_map(move |line| Self::at(&case, line)).collect::<Vec<_>>()
        });
        cuts.collect()
    }

    /// Returns `None` if nothing follows the cut, or if no engine can build the case.
    fn at(case: &Case, line: usize) -> Option<Self> {
        let is_built = !case
            .refused
            .as_ref()
            .is_some_and(|reason| reason.contains("built for") || reason.contains("replaces"));
        let lines: Vec<&str> = case.text.split_inclusive('\n').collect();
        let is_from = |line: &&str| line.trim_start().to_lowercase().starts_with("from ");
        let rest = lines.iter().skip(line).take_while(|line| !is_from(line)).count();
        let is_cut = |line: &&str| line.trim_end() == "# cut";
        let is_end = lines[line..line + rest].iter().all(|line| is_cut(line) || line.trim().is_empty());
        let part = |lines: &[&str]| lines.concat();
        let head = part(&lines[..line]);
        let head = head.trim_end().strip_suffix("# cut")?.to_owned()
            + &lines[line - 1].replace("# cut", INSTALLATION);
        (is_built && !is_end).then(|| Self {
            case: case.clone(),
            whole: head.clone() + &part(&lines[line..]),
            before: head + &part(&lines[line + rest..]),
        })
    }

    /// Builds the whole Dockerfile with both tools and asserts that the images are the same.
    fn assert_continues(&self, engine: &Engine, registry: &Registry) {
        let label = format!("{} on {}", self.case.name, engine.name);
        let context = TestContext::new(engine);
        for path in ["run.sh", "src/a", "src/b", "src/deep/er/c"] {
            context.write(path, format!("#!/bin/sh\necho {path} {}\n", context.tag("for")));
        }
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_dir_all("unpacked", context.project().join("src")).unwrap();
        context.write("files.tar", tar.into_inner().unwrap());
        std::fs::write(context.path("token"), "s3cret").unwrap();
        let base = context.tag("base");
        if let Some(text) = &self.case.base {
            std::fs::write(context.path("Base"), text).unwrap();
            let run = Self::docker(&context, &["-f", "../Base", "-t", &base]);
            assert_eq!(run.code, 0, "{label}: {}", run.stderr);
        }
        let name = format!("{}/{}", registry.host, context.tag("app"));
        let peer = context.tag("theirs");
        let options = self.options(&context);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let flags: Vec<&str> = self.case.flags.iter().map(String::as_str).collect();

        std::fs::write(context.path("Before"), self.before.replace("BASE", &base)).unwrap();
        std::fs::write(context.path("Whole"), self.whole.replace("BASE", &base)).unwrap();
        let build = |agent: &str, file: &str| {
            let cache = context.path(agent).to_string_lossy().into_owned();
            let metadata = context.path("metadata.json");
            let own = ["build", "--push", "-t", &name, "-f", file, "--cache-dir", &cache, "--metadata-file"];
            let run =
                context.larder(&[&own[..], &[&metadata.to_string_lossy(), "."], &options, &flags].concat());
            assert_eq!(run.code, 0, "{label}: {}", run.stderr);
            json(&metadata)
        };
        build("first", "../Before");
        let record = build("second", "../Whole");
        let tiers = record["tiers"].as_array().unwrap();
        let tier = tiers.iter().find(|tier| tier["tier"] == "prefix").unwrap_or(&Value::Null);
        match &self.case.refused {
            None if self.case.unkeyed => {}
            None => assert_eq!(tier["outcome"], "hit", "{label}: {tier}"),
            Some(_) => assert_ne!(tier["outcome"], "hit", "{label}: {tier}"),
        }

        let run = Self::docker(&context, &[&["-f", "../Whole", "-t", &peer], &options[..], &flags].concat());
        assert_eq!(run.code, 0, "{label}: {}", run.stderr);
        for field in ["Architecture", "Author", "Config", "Os", "Variant"] {
            let (ours, theirs) = (engine.inspect(&name), engine.inspect(&peer));
            assert_eq!(ours[field], theirs[field], "{label}: {field}");
        }
        let layers = |image: &str| engine.inspect(image)["RootFS"]["Layers"].as_array().map(Vec::len);
        assert_eq!(layers(&name), layers(&peer), "{label}: layers");
        let files = |image: &str| {
            let entries = engine.entries(image, "/").into_iter();
            entries
                .map(|entry| (entry.attributes, String::from_utf8_lossy(&entry.content).into_owned()))
                .collect::<BTreeSet<_>>()
        };
        let (ours, theirs) = (files(&name), files(&peer));
        let differences: Vec<_> = ours.symmetric_difference(&theirs).collect();
        assert!(differences.is_empty(), "{label}: {differences:?}");
    }

    fn docker(context: &TestContext, arguments: &[&str]) -> Run {
        let mut docker = context.engine.docker();
        // If the context is `.`, 20.10 confuses files of the same size and time in different directories.
        docker.arg("build").args(arguments).arg(context.project()).current_dir(context.project());
        run_to_end(&mut docker, None)
    }

    /// Returns the flags of the case, which are the same for both tools.
    fn options(&self, context: &TestContext) -> Vec<String> {
        let mut options = Vec::new();
        options.extend(self.case.target.iter().map(|target| format!("--target={target}")));
        options.extend(self.case.arguments.iter().map(|(name, value)| format!("--build-arg={name}={value}")));
        options
            .extend(self.case.contexts.iter().map(|(name, value)| format!("--build-context={name}={value}")));
        if self.case.secret {
            options.push(format!("--secret=id=token,src={}", context.path("token").display()));
        }
        options
    }
}

fn assert_all_continue(topic: &str) {
    let registry = Registry::open();
    let cuts: Vec<Cut> = Cut::all(topic).into_iter().step_by(if is_full() { 1 } else { SHARE }).collect();
    let engines = engines();
    std::thread::scope(|scope| {
        for (engine, first) in
            engines.iter().flat_map(|engine| (0..AT_ONCE).map(move |first| (engine, first)))
        {
            let (cuts, registry) = (&cuts, &registry);
            scope.spawn(move || {
                for cut in cuts.iter().skip(first).step_by(AT_ONCE) {
                    let is_newer = cut.case.newer || !cut.case.contexts.is_empty();
                    if !is_newer || engine.major() >= NEWER_FRONTEND {
                        cut.assert_continues(engine, registry);
                    }
                }
            });
        }
    });
}

#[test]
fn a_build_from_a_prefix_has_the_same_arguments() {
    assert_all_continue("args");
}

#[test]
fn a_build_from_a_prefix_has_the_same_command_and_entrypoint() {
    assert_all_continue("commands");
}

#[test]
fn a_build_from_a_prefix_has_the_same_settings() {
    assert_all_continue("config");
}

#[test]
fn a_build_from_a_prefix_has_the_same_files() {
    assert_all_continue("files");
}

#[test]
fn a_build_from_a_prefix_has_the_same_files_of_other_stages() {
    assert_all_continue("stages");
}

#[test]
fn a_build_from_a_prefix_has_the_same_triggers() {
    assert_all_continue("triggers");
}
