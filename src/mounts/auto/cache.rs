//! A directory that may be mounted as a cache, and its relation to other paths of the image.

use crate::context::clean_path;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CacheDirectory {
    /// Absolute and cleaned.
    pub(super) path: String,
    /// The number of leading components that exist in the image without the cache. The others are created for the
    /// cache, and newer builders remove them after a mount.
    existing: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// The path is a parent of the directories that are created for the cache.
    Above,
    /// The path is one of the directories that are created for the cache, or it is beside or below one.
    Within,
    Unrelated,
}

/// Directories that exist in any image.
const STANDARD_DIRECTORIES: [&str; 13] = [
    "/root",
    "/home",
    "/opt",
    "/srv",
    "/etc",
    "/tmp",
    "/usr",
    "/usr/local",
    "/usr/local/share",
    "/var",
    "/var/cache",
    "/var/tmp",
    "/var/cache/apt/archives",
];

impl CacheDirectory {
    /// Creates the cache directory `path` in an image that also contains the directories `present`. Fails with a reason
    /// if it cannot be mounted.
    pub(super) fn new(path: &str, present: &[String]) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err(format!("its cache directory `{path}` is not an absolute path"));
        }
        let path = absolute(path);
        if path.contains([',', '"', '\'', '$', ' ', '\\', '`', '*', '?', '[', '{']) {
            return Err(format!(
                "its cache directory `{path}` contains characters that are not supported in a mount"
            ));
        }
        let known = || STANDARD_DIRECTORIES.into_iter().chain(present.iter().map(String::as_str));
        let is_above = |upper: &str, lower: &str| contains_path(upper, lower);
        if path == "/" || (path != "/var/cache/apt/archives" && known().any(|known| is_above(&path, known))) {
            return Err(format!("{path} contains more than its cache"));
        }
        let kept = known().map(|known| common_components(known, &path)).max().unwrap_or_default();
        Ok(Self { path, existing: kept })
    }

    pub(super) fn add_existing(&mut self, path: &str) {
        self.existing = self.existing.max(common_components(path, &self.path));
    }

    /// Returns the relation of an absolute path, which may end with a pattern.
    pub(super) fn relation(&self, path: &str) -> Relation {
        let path = absolute(path);
        let own: Vec<&str> = components(&self.path);
        let theirs: Vec<&str> = components(&path);
        let same = own.iter().zip(&theirs).take_while(|(own, pattern)| matches(pattern, own)).count();
        match same {
            // The last existing directory is not created for the cache.
            _ if same == theirs.len() && same < self.first_created() => Relation::Above,
            _ if same >= self.first_created() => Relation::Within,
            _ => Relation::Unrelated,
        }
    }

    /// Returns the number of components of the topmost directory that is created for the cache.
    fn first_created(&self) -> usize {
        (self.existing + 1).min(components(&self.path).len())
    }

    /// Returns `true` if `text` contains the path, or the part of it below a home directory.
    pub(super) fn is_mentioned(&self, text: &str) -> bool {
        let hidden = components(&self.path).into_iter().find(|part| part.starts_with('.') && part.len() > 1);
        text.contains(&self.path)
            || hidden.is_some_and(|hidden| {
                text.contains(&format!("/{hidden}"))
                    || text.contains(&format!("\"{hidden}\""))
                    || text.contains(&format!("'{hidden}'"))
            })
    }
}

pub(super) fn absolute(path: &str) -> String {
    format!("/{}", clean_path(path).trim_start_matches('/'))
}

/// Returns `true` if `upper` is `lower` or a parent of it.
pub(super) fn contains_path(upper: &str, lower: &str) -> bool {
    let below = lower.strip_prefix(upper.trim_end_matches('/'));
    below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn components(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty()).collect()
}

fn common_components(known: &str, path: &str) -> usize {
    let (known, path) = (components(known), components(path));
    known.iter().zip(&path).take_while(|(a, b)| a == b).count()
}

/// Returns `true` if a component with `*`, `?`, `[…]` or `{…}` may match `name`.
fn matches(pattern: &str, name: &str) -> bool {
    let is_special = |char: char| matches!(char, '*' | '?' | '[' | ']' | '{' | '}');
    let (Some(first), Some(last)) = (pattern.find(is_special), pattern.rfind(is_special)) else {
        return pattern == name;
    };
    let may_be_hidden = !name.starts_with('.') || !pattern.starts_with(['*', '?']);
    may_be_hidden && name.starts_with(&pattern[..first]) && name.ends_with(&pattern[last + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_related_to_the_cache_directory() {
        let present = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        for (cache, there, path, relation) in [
            ("/root/.cache/pip", &[][..], "/root/.cache/pip", Relation::Within),
            ("/root/.cache/pip", &[], "/root/.cache/pip/wheels", Relation::Within),
            ("/root/.cache/pip", &[], "/root/.cache", Relation::Within),
            ("/root/.cache/pip", &[], "/root/.cache/huggingface", Relation::Within),
            ("/root/.cache/pip", &[], "/root/.c*", Relation::Within),
            ("/root/.cache/pip", &[], "/root/*", Relation::Unrelated),
            ("/root/.cache/pip", &[], "/root/.local", Relation::Unrelated),
            ("/root/.cache/pip", &[], "/root", Relation::Above),
            ("/root/.cache/pip", &[], "/", Relation::Above),
            ("/root/.cache/pip", &[], "/*", Relation::Above),
            ("/app/.cache/pip", &[], "/app/x", Relation::Within),
            ("/app/.cache/pip", &["/app"], "/app/x", Relation::Unrelated),
            ("/app/.cache/pip", &["/app"], "/app", Relation::Above),
            ("/pip", &[], "/usr/bin/pip", Relation::Unrelated),
            ("/var/cache/apt/archives", &[], "/var/cache/apt/archives/x.deb", Relation::Within),
            ("/var/cache/apt/archives", &[], "/var/cache/apt/pkgcache.bin", Relation::Unrelated),
        ] {
            let cache = CacheDirectory::new(cache, &present(there)).unwrap();
            assert_eq!(cache.relation(path), relation, "{cache:?} {path}");
        }
        for (cache, there) in
            [("pip", &[][..]), ("/", &[]), ("/tmp", &[]), ("/a,b", &[]), ("/src", &["/src/app"])]
        {
            assert!(CacheDirectory::new(cache, &present(there)).is_err(), "{cache}");
        }
    }
}
