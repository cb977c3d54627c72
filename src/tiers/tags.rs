//! The tags that larder keeps in a repository.
//!
//! | tag | stands for |
//! |---|---|
//! | `larder-KEY` | the image of that key |
//! | `KEY` | the image that others stand on, in a repository of its own |
//! | `cache` | the image that was built last, with what BuildKit needs to take its layers |
//! | `buildcache` | BuildKit's registry cache: the layers of all stages |
//!
//! A job writes under the tags of its own lane, which end in `-LANE`, and also
//! reads those of the other lanes that it reads. The trunk's tags have no such end.

use std::fmt::Write as _;

use crate::digest::Digest;
use crate::key::CacheKey;
use crate::store::Lanes;

/// The longest ending of a tag that is written out.
const LONGEST: usize = 48;

/// The endings of the tags of one job, its own first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags {
    endings: Vec<String>,
}

impl Tags {
    /// The tags of a job with these lanes.
    pub fn of(lanes: &Lanes) -> Self {
        let mut endings = Vec::new();
        for lane in lanes.reads() {
            let is_trunk = lanes.trunk().contains(lane);
            let ending = if is_trunk { String::new() } else { format!("-{}", written(&lane.to_string())) };
            if !endings.contains(&ending) {
                endings.push(ending);
            }
        }
        Self { endings }
    }

    /// Those of an image, the job's own first.
    pub fn of_image(&self, key: CacheKey) -> Vec<String> {
        self.all(&format!("larder-{key}"))
    }

    /// Those of an image that others stand on, the job's own first.
    pub fn of_base(&self, key: CacheKey) -> Vec<String> {
        self.all(&key.to_string())
    }

    /// Those of images with an inline cache, the job's own first.
    pub fn inline_caches(&self) -> Vec<String> {
        self.all("cache")
    }

    /// Those of registry caches, the job's own first.
    pub fn registry_caches(&self) -> Vec<String> {
        self.all("buildcache")
    }

    fn all(&self, start: &str) -> Vec<String> {
        self.endings.iter().map(|ending| format!("{start}{ending}")).collect()
    }
}

/// A lane in the letters that a tag may have; no two lanes are written alike.
fn written(lane: &str) -> String {
    let mut text = String::new();
    for byte in lane.bytes() {
        match byte {
            b'_' => text.push_str("__"),
            byte if byte.is_ascii_alphanumeric() || b".-".contains(&byte) => text.push(char::from(byte)),
            // Writing to a string does not fail.
            byte => drop(write!(text, "_{byte:02x}")),
        }
    }
    if text.len() <= LONGEST {
        return text;
    }
    // Nothing that is written out begins with a `_` before an `h`.
    let digest = Digest::of(lane.as_bytes()).hex();
    format!("_h{}-{}", &digest[..24], &text[..LONGEST - 27])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Lane;

    fn lane(name: &str) -> Lane {
        Lane::try_from(name.to_owned()).unwrap()
    }

    #[test]
    fn a_job_writes_its_own_tags_and_reads_the_trunks() {
        let tags = |own: &str, target: Option<&str>, trunk: &[&str]| {
            let trunk = trunk.iter().map(|name| lane(name)).collect();
            Tags::of(&Lanes::new(lane(own), target.map(lane), trunk))
        };
        let request = tags("pr-7", Some("develop"), &["main"]);
        assert_eq!(request.inline_caches(), ["cache-pr-7", "cache-develop", "cache"]);
        assert_eq!(request.registry_caches(), ["buildcache-pr-7", "buildcache-develop", "buildcache"]);
        assert_eq!(tags("pr-7", Some("main"), &["main"]).inline_caches(), ["cache-pr-7", "cache"]);
        assert_eq!(tags("topic", None, &["main", "master"]).inline_caches(), ["cache-topic", "cache"]);
        assert_eq!(tags("main", None, &["main"]).inline_caches(), ["cache"]);
    }

    #[test]
    fn lanes_are_written_apart_and_as_tags() {
        let long = "x".repeat(100);
        let names = ["a/b", "a-b", "a_2fb", "a_b", "a__b", "ä", "..", &long, &format!("{long}y")];
        let written: std::collections::BTreeSet<String> = names.iter().map(|name| written(name)).collect();
        assert_eq!(written.len(), names.len());
        let name: crate::registry::ImageRef = "app".parse().unwrap();
        let key = CacheKey::from(Digest::of(b"key"));
        for lane_name in names {
            let lanes = Lanes::new(lane(lane_name), None, vec![lane("main")]);
            for tag in Tags::of(&lanes).of_image(key) {
                assert!(name.with_tag(&tag).is_some(), "{tag}");
            }
        }
    }
}
