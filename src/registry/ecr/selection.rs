//! Selects the images of a repository to remove.

use jiff::Timestamp;
use serde::Serialize;

use super::EcrImage;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImageSelection {
    /// Patterns of the tags to remove; `*` matches any text.
    pub(crate) tags: Vec<String>,
    pub(crate) include_untagged: bool,
    pub(crate) before: Option<Timestamp>,
    /// The number of newest images with a matching tag to keep.
    pub(crate) keep: usize,
}

/// A tag to remove, or the digest of an untagged image. An image is removed with its last tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ImageToRemove {
    pub(crate) digest: String,
    /// `None` for an untagged image.
    pub(crate) tag: Option<String>,
    /// The number of bytes freed; 0 unless this removes the image.
    pub(crate) bytes: u64,
}

impl ImageSelection {
    /// Returns the tags and untagged images of `images` to remove, oldest first.
    pub(crate) fn select(&self, images: &[EcrImage]) -> Vec<ImageToRemove> {
        let mut images: Vec<&EcrImage> = images.iter().collect();
        images.sort_by_key(|image| std::cmp::Reverse(image.pushed));
        let fits = |tag: &&String| self.tags.iter().any(|pattern| matches_pattern(tag, pattern));
        let mut kept = 0;
        let mut doomed = Vec::new();
        for image in images {
            let is_old = self.before.is_none_or(|before| image.pushed.is_some_and(|pushed| pushed < before));
            if image.tags.is_empty() {
                if self.include_untagged && is_old {
                    doomed.push(ImageToRemove {
                        digest: image.digest.clone(),
                        tag: None,
                        bytes: image.bytes,
                    });
                }
                continue;
            }
            let fitting: Vec<&String> = image.tags.iter().filter(fits).collect();
            if fitting.is_empty() {
                continue;
            }
            if kept < self.keep {
                kept += 1;
                continue;
            }
            if !is_old {
                continue;
            }
            let is_removed = fitting.len() == image.tags.len();
            for (index, tag) in fitting.into_iter().enumerate() {
                let bytes = if is_removed && index == 0 { image.bytes } else { 0 };
                doomed.push(ImageToRemove { digest: image.digest.clone(), tag: Some(tag.clone()), bytes });
            }
        }
        doomed.reverse();
        doomed
    }
}

/// Returns `true` if a tag matches a pattern, in which `*` matches any text.
pub(super) fn matches_pattern(tag: &str, pattern: &str) -> bool {
    let Some((start, mut rest)) = pattern.split_once('*') else { return tag == pattern };
    let Some(mut tag) = tag.strip_prefix(start) else { return false };
    while let Some((part, more)) = rest.split_once('*') {
        let Some(at) = tag.find(part) else { return false };
        (tag, rest) = (&tag[at + part.len()..], more);
    }
    tag.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(digest: &str, tags: &[&str], pushed: i64) -> EcrImage {
        EcrImage {
            digest: digest.to_owned(),
            is_index: false,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            bytes: 10,
            pushed: Timestamp::from_second(pushed).ok(),
            pulled: None,
        }
    }

    fn selected(wanted: &ImageSelection) -> Vec<(String, String, u64)> {
        let images = [
            image("a", &["larder-1", "v1"], 1),
            image("b", &["larder-2"], 2),
            image("c", &["larder-3", "larder-3-pr"], 3),
            image("d", &["cache"], 4),
            image("e", &[], 5),
        ];
        let doomed = wanted.select(&images).into_iter();
        doomed.map(|doomed| (doomed.digest, doomed.tag.unwrap_or_default(), doomed.bytes)).collect()
    }

    #[test]
    fn an_image_is_removed_with_its_last_tag() {
        let tags = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect();
        let row = |digest: &str, tag: &str, bytes| (digest.to_owned(), tag.to_owned(), bytes);
        let keys = ImageSelection { tags: tags(&["larder-*"]), ..ImageSelection::default() };
        let all = [
            row("a", "larder-1", 0),
            row("b", "larder-2", 10),
            row("c", "larder-3-pr", 0),
            row("c", "larder-3", 10),
        ];
        assert_eq!(selected(&keys), all);
        assert_eq!(selected(&ImageSelection { keep: 1, ..keys.clone() }), all[..2]);
        assert_eq!(
            selected(&ImageSelection { keep: 1, before: Timestamp::from_second(2).ok(), ..keys.clone() }),
            all[..1]
        );
        assert_eq!(
            selected(&ImageSelection { include_untagged: true, ..ImageSelection::default() }),
            [row("e", "", 10)]
        );
        assert_eq!(
            selected(&ImageSelection { tags: tags(&["cache"]), ..ImageSelection::default() }),
            [row("d", "cache", 10)]
        );
        assert_eq!(selected(&ImageSelection::default()), []);
    }

    #[test]
    fn a_star_matches_any_text() {
        for (tag, pattern, like) in [
            ("larder-1-pr", "larder-*-pr", true),
            ("larder-1", "larder-*-pr", false),
            ("cache", "cache", true),
            ("cache2", "cache", false),
            ("anything", "*", true),
            ("a-b-a", "a*b*a", true),
            ("ab", "ab*b", false),
        ] {
            assert_eq!(matches_pattern(tag, pattern), like, "{tag} {pattern}");
        }
    }
}
