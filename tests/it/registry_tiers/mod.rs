//! Caches in registries: images that are found by their key, layer caches, prefixes, and failing registries.

mod base;
mod connections;
mod faults;
mod faulty_layers;
mod figures;
pub(crate) mod front;
mod images;
mod lanes;
mod layers;
mod platforms;
mod prefixes;
mod transfer;

use serde_json::Value;

use crate::engines::Engine;
use crate::registries::Registry;
use crate::support::{BUSYBOX, Run, TestContext, json};

/// An agent: larder on an engine with its own cache directory, in the project that all agents build.
struct Agent {
    context: TestContext,
    name: String,
}

/// The result of a build.
struct BuildResult {
    record: Value,
    run: Run,
}

impl Agent {
    /// Returns a different agent on `engine`, with an empty cache.
    fn other_agent(&self, engine: &Engine, name: &str) -> Self {
        Self { context: self.context.on_engine(engine), name: name.to_owned() }
    }

    fn new(engine: &Engine) -> Self {
        let context = TestContext::new(engine);
        let mark = context.tag("mark");
        context.write("requirements.txt", format!("{mark}\n")).write("app.py", "1\n").write(
            "Dockerfile",
            format!(
                "FROM {BUSYBOX} AS wheels\nCOPY requirements.txt /\nRUN echo {mark} > /wheels\n\
                 FROM {BUSYBOX}\nCOPY --from=wheels /wheels /wheels\nRUN echo {mark} > /installed\nCOPY app.py /\n"
            ),
        );
        Self { context, name: "a".to_owned() }
    }

    /// Builds with these arguments and without prefixes, which would be used instead of layer caches.
    fn build_of_layers(&self, arguments: &[&str]) -> BuildResult {
        self.build(&[&["--tiers", "engine,registry,layers,mounts"], arguments].concat())
    }

    /// Builds with these arguments. The build must succeed, whatever the registry does.
    fn build(&self, arguments: &[&str]) -> BuildResult {
        let (cache, metadata) = (self.path("cache"), self.path("metadata.json"));
        let own = ["build", "--cache-dir", &cache, "--metadata-file", &metadata];
        let run = self.context.larder(&[&own[..], arguments, &["."]].concat()).success();
        BuildResult { record: json(metadata.as_ref()), run }
    }

    fn path(&self, name: &str) -> String {
        self.context.path(&format!("{}-{name}", self.name)).to_string_lossy().into_owned()
    }
}

impl BuildResult {
    /// Returns the outcome and the reason of a tier.
    fn tier(&self, name: &str) -> (String, String) {
        let tiers = self.record["tiers"].as_array().unwrap();
        let tier = tiers.iter().find(|tier| tier["tier"] == name);
        let tier = tier.unwrap_or_else(|| panic!("no {name}: {}", self.run.stderr));
        let text = |field: &str| tier[field].as_str().unwrap().to_owned();
        (text("outcome"), text("reason"))
    }

    fn is_hit_in_registry(&self) -> bool {
        self.record["outcome"] == "image-hit" && self.record["hit_tier"] == "registry"
    }

    fn steps(&self) -> [u64; 3] {
        ["total", "cached", "imported"].map(|count| self.record["steps"][count].as_u64().unwrap())
    }
}

/// Returns the tags of a repository except those of prefixes, sorted. The digits of keys are replaced by `KEY`.
fn tags(registry: &Registry, repository: &str) -> Vec<String> {
    let answer = registry.get(&format!("/v2/{repository}/tags/list"));
    let list: Value = serde_json::from_str(&answer).unwrap_or_default();
    let tags = list["tags"].as_array().cloned().unwrap_or_default();
    let mut tags: Vec<String> = tags
        .iter()
        .filter_map(Value::as_str)
        .filter(|tag| !tag.starts_with("larder-prefix-") && !tag.starts_with("larder-builds"))
        .map(|tag| match tag.strip_prefix("larder-") {
            Some(key) => format!("larder-KEY{}", &key[64..]),
            None => tag.to_owned(),
        })
        .collect();
    tags.sort();
    tags
}
