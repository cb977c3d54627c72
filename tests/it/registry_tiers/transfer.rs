//! Images that are copied from one registry to another.

use std::io::Read;

use serde_json::Value;

use super::front::{Fault, RecordedCall, RegistryProxy};
use super::{Agent, BuildResult, tags};
use crate::engines::any_engine;
use crate::registries::Registry;

/// The size of the largest layer in bytes: two and a half parts of an upload.
const LARGE: usize = 20 << 20;
/// The allowance in bytes for the heads of calls, and for the archive around the file of a layer.
const SLACK: usize = 64 << 10;

/// Two registries with a front each. The first has an image, which `other` pushes to both.
struct Pair {
    registries: [Registry; 2],
    fronts: [RegistryProxy; 2],
    other: Agent,
}

impl Pair {
    fn new() -> Self {
        let registries = [Registry::open(), Registry::open()];
        let fronts = [&registries[0], &registries[1]].map(|registry| RegistryProxy::before(&registry.host));
        let agent = Agent::new(&any_engine());
        let mut noise = vec![0; LARGE];
        std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut noise).unwrap();
        agent.context.write("app.py", noise);
        agent.build(&["--push", "-t", &format!("{}/app:1", fronts[0].host)]);
        fronts[0].seen();
        let other = agent.other_agent(&any_engine(), "b");
        Self { registries, fronts, other }
    }

    fn push(&self) -> BuildResult {
        let [first, second] = [0, 1].map(|index| format!("{}/app:2", self.fronts[index].host));
        self.other.build(&["--push", "-t", &first, "-t", &second])
    }

    /// Returns the number of calls of `method` to the registry at `index`, and the bytes of requests and of answers.
    fn moved(&self, index: usize, method: &str) -> [usize; 3] {
        let calls: Vec<RecordedCall> =
            self.fronts[index].seen().into_iter().filter(|call| call.method == method).collect();
        [calls.len(), calls.iter().map(|call| call.sent).sum(), calls.iter().map(|call| call.answered).sum()]
    }

    /// Returns the path of the largest layer in the first registry.
    fn largest_layer(&self) -> &'static str {
        let manifest: Value = serde_json::from_str(&self.registries[0].manifest("app", "1")).unwrap();
        let layers = manifest["layers"].as_array().unwrap();
        let largest = layers.iter().max_by_key(|layer| layer["size"].as_u64()).unwrap();
        format!("/v2/app/blobs/{}", largest["digest"].as_str().unwrap()).leak()
    }

    fn assert_copied(&self, built: &BuildResult) {
        assert!(built.is_hit_in_registry(), "{}", built.run.stderr);
        assert_eq!(built.tier("registry").1, "copied from one registry to another");
        let [first, second] = &self.registries;
        assert_eq!(second.manifest("app", "2"), first.manifest("app", "1"));
        assert_eq!(tags(second, "app"), ["2", "larder-KEY"]);
    }
}

#[test]
fn an_image_that_one_registry_has_is_copied_to_the_other() {
    let pair = Pair::new();
    let built = pair.push();
    pair.assert_copied(&built);
    let tier = built.record["tiers"].as_array().unwrap().iter().find(|tier| tier["tier"] == "registry");
    let bytes = tier.unwrap()["bytes"].as_u64().unwrap();
    assert!(bytes > LARGE as u64, "{bytes}");
    // A second push moves no layers.
    pair.fronts[1].seen();
    assert!(pair.push().is_hit_in_registry());
    assert_eq!(pair.moved(1, "PATCH"), [0, 0, 0]);
}

#[test]
fn a_copy_resumes_after_a_broken_connection() {
    let pair = Pair::new();
    let layer = pair.largest_layer();
    pair.fronts[0].fail("GET", layer, Fault::Reset, 1);
    pair.fronts[1].fail("PATCH", "/blobs/uploads/", Fault::Answer("503 Busy", ""), 1);
    pair.fronts[1].fail("PATCH", "/blobs/uploads/", Fault::Lost, 1);
    let built = pair.push();
    pair.assert_copied(&built);
    let read: Vec<usize> =
        pair.fronts[0].seen().iter().filter(|call| call.path == layer).map(|call| call.answered).collect();
    assert!(read.len() == 2 && read[0] > LARGE && read[1] < SLACK, "{read:?}");
    // There are three parts. One was refused before it was read, and one was lost on the way.
    let patched: Vec<usize> =
        pair.fronts[1].seen().iter().filter(|call| call.method == "PATCH").map(|call| call.sent).collect();
    assert!((LARGE..LARGE + SLACK).contains(&patched.iter().sum()), "{patched:?}");
    assert_eq!(patched.len(), 4, "{patched:?}");
}

#[test]
fn a_blob_is_sent_from_its_beginning_if_the_registry_loses_the_upload() {
    let pair = Pair::new();
    pair.fronts[1].fail("PATCH", "/blobs/uploads/", Fault::Cut, 1);
    let built = pair.push();
    pair.assert_copied(&built);
    let [calls, sent, _] = pair.moved(1, "PATCH");
    assert!(calls > 3 && sent > LARGE, "{calls} calls, {sent} bytes");
}

#[test]
fn an_image_that_is_damaged_on_the_way_is_not_a_hit() {
    let pair = Pair::new();
    pair.registries[0].damage_layers();
    let built = pair.push();
    assert_eq!(built.record["outcome"], "built", "{}", built.run.stderr);
    assert!(
        built.tier("registry").1.contains("does not have the requested digest"),
        "{:?}",
        built.tier("registry")
    );
    assert!(built.run.stderr.contains("going on without it"), "{}", built.run.stderr);
    assert_eq!(
        tags(&pair.registries[1], "app").last().unwrap(),
        "larder-KEY",
        "the built image is tagged with its key"
    );
}
