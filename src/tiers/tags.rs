//! The tags that larder uses in a repository.
//!
//! | tag | refers to |
//! |---|---|
//! | `larder-KEY` | the image of that key |
//! | `larder-prefix-KEY` | the image of the layers up to some instruction, from which a build can continue |
//! | `KEY` | the base image of that key, in a separate repository |
//! | `larder-builds` | the last builds of the image, see `ledger::pack` |
//! | `cache` | the image that was built last, with the metadata that BuildKit needs to import its layers |
//! | `buildcache` | BuildKit's registry cache: the layers of all stages |
//!
//! A job writes the tags of its own lane, which end in `-LANE`, and also reads those of the other lanes that it may
//! read. The tags of the trunk have no ending.
//!
//! Layer caches for platforms other than linux/amd64 are separate, because agents of several architectures may push to
//! one repository: `cache_linux.arm64`, `buildcache_linux.arm64-LANE`, and `cache_linux.amd64__linux.arm64` for an
//! image for both. They cannot be confused with lanes, which follow a `-`: no platform is written with a `-`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::digest::Digest;
use crate::key::CacheKey;
use crate::platform::Platform;
use crate::store::Lanes;

/// The maximum length of a lane or a set of platforms in a tag. Longer ones are replaced by a digest.
const MAX_LENGTH: usize = 48;
const PREFIX: &str = "larder-prefix-";
/// The platform that is omitted from the tags of layer caches.
const DEFAULT_PLATFORM: &str = "linux/amd64";

/// The tags of a job. Of several tags, the first is that of the job's own lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tags {
    /// The endings of the tags of each lane, the job's own first.
    endings: Vec<String>,
    /// The part of a layer cache's tag after its first word: `_PLATFORM`, or nothing.
    platforms: String,
}

impl Tags {
    pub(crate) fn for_lanes(lanes: &Lanes) -> Self {
        let mut endings = Vec::new();
        for lane in lanes.reads() {
            let is_trunk = lanes.trunk().contains(lane);
            let ending =
                if is_trunk { String::new() } else { format!("-{}", encode_lane(&lane.to_string())) };
            if !endings.contains(&ending) {
                endings.push(ending);
            }
        }
        Self { endings, platforms: String::new() }
    }

    /// Returns the tags with the layer caches of these platforms.
    #[must_use]
    pub(crate) fn with_platforms(self, platforms: &BTreeSet<Platform>) -> Self {
        let names: Vec<String> = platforms.iter().map(Platform::to_string).collect();
        let is_usual = names.is_empty() || names == [DEFAULT_PLATFORM];
        Self {
            platforms: if is_usual { String::new() } else { format!("_{}", encode_platforms(&names)) },
            ..self
        }
    }

    pub(crate) fn of_image(&self, key: CacheKey) -> Vec<String> {
        self.with_endings(&format!("larder-{key}"))
    }

    pub(crate) fn of_prefix(&self, key: CacheKey) -> Vec<String> {
        self.with_endings(&format!("{PREFIX}{key}"))
    }

    /// Returns the tags among `tags` that belong to prefixes of the job's own lane.
    pub(crate) fn own_prefixes<'t>(&self, tags: &'t [String]) -> Vec<&'t str> {
        let own = self.endings.first().map(String::as_str).unwrap_or_default();
        let is_own = |tag: &&str| {
            let key = tag.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(own));
            key.is_some_and(|key| key.parse::<CacheKey>().is_ok())
        };
        tags.iter().map(String::as_str).filter(is_own).collect()
    }

    /// Returns `true` if both tags belong to prefixes with the same key.
    pub(crate) fn is_same_prefix(one: &str, other: &str) -> bool {
        const LENGTH: usize = PREFIX.len() + 64;
        one.starts_with(PREFIX) && one.get(..LENGTH).is_some_and(|key| other.get(..LENGTH) == Some(key))
    }

    pub(crate) fn of_base(&self, key: CacheKey) -> Vec<String> {
        self.with_endings(&key.to_string())
    }

    /// Returns the tag of the last builds in the job's own lane.
    pub(crate) fn of_builds(&self) -> String {
        self.with_endings("larder-builds").swap_remove(0)
    }

    pub(crate) fn inline_caches(&self) -> Vec<String> {
        self.with_endings(&format!("cache{}", self.platforms))
    }

    pub(crate) fn registry_caches(&self) -> Vec<String> {
        self.with_endings(&format!("buildcache{}", self.platforms))
    }

    fn with_endings(&self, start: &str) -> Vec<String> {
        self.endings.iter().map(|ending| format!("{start}{ending}")).collect()
    }
}

/// Encodes a lane with the characters that a tag allows. Different lanes have different encodings.
fn encode_lane(lane: &str) -> String {
    let text = encode(lane, &[(b'_', "__"), (b'.', "."), (b'-', "-")]);
    if text.len() <= MAX_LENGTH {
        return text;
    }
    // A lane that is not shortened never begins with `_h`: its `_` is followed by a `_` or a hex digit.
    let digest = Digest::of(lane.as_bytes()).hex();
    format!("_h{}-{}", &digest[..24], &text[..MAX_LENGTH - 27])
}

/// Encodes platforms with letters, digits, `.` and `_`. Different sets have different encodings.
fn encode_platforms(platforms: &[String]) -> String {
    let joined = platforms.join(",");
    let text = encode(&joined, &[(b'/', "."), (b',', "__")]);
    // A set that is not shortened never begins with `_h`.
    if text.len() <= MAX_LENGTH { text } else { format!("_h{}", &Digest::of(joined.as_bytes()).hex()[..24]) }
}

/// Replaces each byte by its special form, or, unless it is a letter or digit, by `_` and two hex digits.
fn encode(text: &str, special: &[(u8, &str)]) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match special.iter().find(|(own, _)| *own == byte) {
            Some((_, form)) => encoded.push_str(form),
            None if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            // Writing to a string does not fail.
            None => drop(write!(encoded, "_{byte:02x}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Lane;

    #[test]
    fn prefixes_of_other_lanes_are_not_the_jobs_own() {
        let key = |number: u8| CacheKey::from(Digest::of(&[number]));
        let lanes = |own: &str| Lanes::new(lane(own), None, vec![lane("main")]);
        let trunk = Tags::for_lanes(&lanes("main"));
        let branch = Tags::for_lanes(&lanes("pr-1"));
        let tags =
            [trunk.of_prefix(key(1)).remove(0), branch.of_prefix(key(1)).remove(0), "latest".to_owned()];
        assert_eq!(trunk.own_prefixes(&tags), [&tags[0]]);
        assert_eq!(branch.own_prefixes(&tags), [&tags[1]]);
        assert!(Tags::is_same_prefix(&tags[0], &tags[1]));
        assert!(!Tags::is_same_prefix(&tags[0], &trunk.of_prefix(key(2))[0]));
        assert!(tags.iter().all(|tag| tag.len() <= 128));
    }

    fn lane(name: &str) -> Lane {
        Lane::try_from(name.to_owned()).unwrap()
    }

    #[test]
    fn a_job_writes_its_own_tags_and_reads_the_trunks() {
        let tags = |own: &str, target: Option<&str>, trunk: &[&str]| {
            let trunk = trunk.iter().map(|name| lane(name)).collect();
            Tags::for_lanes(&Lanes::new(lane(own), target.map(lane), trunk))
        };
        let request = tags("pr-7", Some("develop"), &["main"]);
        assert_eq!(request.inline_caches(), ["cache-pr-7", "cache-develop", "cache"]);
        assert_eq!(request.registry_caches(), ["buildcache-pr-7", "buildcache-develop", "buildcache"]);
        assert_eq!(tags("pr-7", Some("main"), &["main"]).inline_caches(), ["cache-pr-7", "cache"]);
        assert_eq!(tags("topic", None, &["main", "master"]).inline_caches(), ["cache-topic", "cache"]);
        assert_eq!(tags("main", None, &["main"]).inline_caches(), ["cache"]);
    }

    #[test]
    fn each_lane_has_its_own_valid_tag() {
        let long = "x".repeat(100);
        let names = ["a/b", "a-b", "a_2fb", "a_b", "a__b", "ä", "..", &long, &format!("{long}y")];
        let written: std::collections::BTreeSet<String> =
            names.iter().map(|name| encode_lane(name)).collect();
        assert_eq!(written.len(), names.len());
        let name: crate::registry::ImageRef = "app".parse().unwrap();
        let key = CacheKey::from(Digest::of(b"key"));
        for lane_name in names {
            let lanes = Lanes::new(lane(lane_name), None, vec![lane("main")]);
            for tag in Tags::for_lanes(&lanes).of_image(key) {
                assert!(name.with_tag(&tag).is_some(), "{tag}");
            }
        }
    }

    #[test]
    fn layer_caches_of_other_platforms_differ_from_each_other_and_from_every_lane() {
        let lanes = |own: &str| Lanes::new(lane(own), None, vec![lane("main")]);
        let on = |own: &str, platforms: &[&str]| {
            let platforms = platforms.iter().map(|platform| platform.parse().unwrap()).collect();
            Tags::for_lanes(&lanes(own)).with_platforms(&platforms)
        };
        let table: [(&str, &[&str], &[&str]); 6] = [
            ("main", &["linux/amd64"], &["cache"]),
            ("pr-7", &["linux/amd64"], &["cache-pr-7", "cache"]),
            ("main", &["linux/arm64"], &["cache_linux.arm64"]),
            ("pr-7", &["linux/aarch64"], &["cache_linux.arm64-pr-7", "cache_linux.arm64"]),
            ("main", &["linux/arm"], &["cache_linux.arm.v7"]),
            ("main", &["linux/arm64", "linux/amd64"], &["cache_linux.amd64__linux.arm64"]),
        ];
        for (own, platforms, expected) in table {
            let tags = on(own, platforms);
            assert_eq!(tags.inline_caches(), expected);
            let full: Vec<String> = expected.iter().map(|tag| format!("build{tag}")).collect();
            assert_eq!(tags.registry_caches(), full);
            let key = CacheKey::from(Digest::of(b"key"));
            assert_eq!(
                tags.of_image(key),
                Tags::for_lanes(&lanes(own)).of_image(key),
                "keys include platforms"
            );
        }
        let many: Vec<String> = (0..9).map(|number| format!("linux/arch{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let sets: [&[&str]; 7] = [
            &["linux/amd64"],
            &["linux/arm64"],
            &["linux/amd64", "linux/arm64"],
            &["windows(10.0.17763)/amd64"],
            &["linux/a.b"],
            &many,
            &many[1..],
        ];
        let names = ["main", "_linux.arm64", "linux.arm64", "linux/arm64", "arm64-x", "x"];
        let name: crate::registry::ImageRef = "app".parse().unwrap();
        let mut seen = BTreeSet::new();
        for (own, platforms) in names.iter().flat_map(|own| sets.iter().map(move |set| (own, set))) {
            for tag in [on(own, platforms).inline_caches(), on(own, platforms).registry_caches()] {
                assert!(name.with_tag(&tag[0]).is_some(), "{}", tag[0]);
                assert!(seen.insert(tag[0].clone()), "{} is not unique", tag[0]);
            }
        }
    }
}
