//! Determines which files of a cache depend on each other and must be saved or left out together.
//!
//! Pure. Programs assume that a directory is complete. Single files are left out only if the whole content has the
//! layout of a cache whose parts are known to be downloaded or created again independently of each other:
//!
//! | cache           | recognised by               | a unit                                                  | never left out alone    |
//! |-----------------|-----------------------------|---------------------------------------------------------|-------------------------|
//! | pip             | `http`, `http-v2`, `wheels` | a response with its `.body`; a directory with wheels    | `selfcheck`             |
//! | apt packages    | `lock`, `partial`           | a `.deb`                                                | the rest                |
//! | Go modules      | `cache/download`            | all versions of a module, downloaded and unpacked       | checksums, repositories |
//! | Go build cache  | `ab/HASH-a`                 | an entry                                                | the rest                |
//! | Cargo registry  | `cache/HOST/*.crate`        | a `.crate` with its unpacked directory                  | the index               |
//! | ccache, sccache | `a/b/HASH`                  | an entry                                                | statistics, settings    |
//!
//! Any other directory is a single unit. So is a cache that contains a file that its program is not known to create, or
//! a link between units.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Component, Path};

use super::listing::{Node, NodeKind};

#[derive(Debug, PartialEq, Eq)]
enum Membership {
    /// The cache as a whole: it is never left out alone.
    WholeCache,
    Unit(String),
}

struct CacheLayout {
    /// Returns what a file, link or directory belongs to, or `None` if the cache cannot contain such a file. Any
    /// directory may be the parent of a unit.
    membership: fn(&[&str]) -> Option<Membership>,
    /// Each function returns `true` for a path that only this cache contains. The cache is recognised if each function
    /// matches some path.
    markers: &'static [fn(&[&str]) -> bool],
}

const CACHE_LAYOUTS: [CacheLayout; 6] = [
    CacheLayout { membership: pip, markers: &[|names| matches!(names, ["http" | "http-v2" | "wheels", ..])] },
    CacheLayout {
        membership: apt,
        markers: &[
            |names| matches!(names, ["lock"] | ["archives", "lock"]),
            |names| matches!(names, ["partial", ..] | ["archives", "partial", ..]),
        ],
    },
    CacheLayout { membership: go_modules, markers: &[|names| matches!(names, ["cache", "download", _, ..])] },
    CacheLayout {
        membership: go_build,
        markers: &[|names| matches!(go_build(names), Some(Membership::Unit(_)))],
    },
    CacheLayout {
        membership: cargo_registry,
        markers: &[|names| matches!(names, ["cache", _, name] if stem(name, "crate").is_some())],
    },
    CacheLayout {
        membership: compiler_cache,
        markers: &[|names| matches!(compiler_cache(names), Some(Membership::Unit(_)))],
    },
];

/// Returns the unit of each node, or `None` for nodes that are saved as long as any unit is.
///
/// If the dependencies are not known, no node has a unit.
pub(crate) fn units<'a>(nodes: impl Iterator<Item = &'a Node> + Clone) -> Vec<Option<u32>> {
    let known = CACHE_LAYOUTS.iter().find_map(|shape| shape.units(nodes.clone()));
    known.unwrap_or_else(|| vec![None; nodes.count()])
}

/// Returns for each node `true` if no file of its unit is missing. `missing` contains the indices of the missing nodes.
/// Fails with the first missing node that has no unit, because everything may depend on it.
pub(crate) fn complete_units<'a, T>(
    units: &[Option<u32>],
    missing: &'a [(usize, T)],
) -> Result<Vec<bool>, &'a T> {
    let broken: HashSet<u32> =
        missing.iter().map(|(place, what)| units[*place].ok_or(what)).collect::<Result<_, _>>()?;
    Ok(units.iter().map(|unit| unit.is_none_or(|unit| !broken.contains(&unit))).collect())
}

impl CacheLayout {
    fn units<'a>(&self, nodes: impl Iterator<Item = &'a Node> + Clone) -> Option<Vec<Option<u32>>> {
        let is_marked = |mark: &fn(&[&str]) -> bool| {
            nodes.clone().any(|node| names(&node.path).is_some_and(|names| mark(&names)))
        };
        if !self.markers.iter().all(is_marked) {
            return None;
        }
        let mut numbers: HashMap<String, u32> = HashMap::new();
        let mut with_files: HashSet<u32> = HashSet::new();
        let mut units = Vec::new();
        for node in nodes {
            let Membership::Unit(name) = self.membership_of(node)? else {
                units.push(None);
                continue;
            };
            let next = u32::try_from(numbers.len()).ok()?;
            let number = *numbers.entry(name).or_insert(next);
            if node.kind != NodeKind::Directory {
                with_files.insert(number);
            }
            units.push(Some(number));
        }
        // A directory that only contains the directories of units is not part of a unit.
        Some(units.into_iter().map(|unit| unit.filter(|unit| with_files.contains(unit))).collect())
    }

    /// Returns what a node belongs to, or `None` if the cache cannot contain it or it links to a different unit.
    fn membership_of(&self, node: &Node) -> Option<Membership> {
        let names = names(&node.path)?;
        let part = (self.membership)(&names);
        match &node.kind {
            NodeKind::Directory => Some(part.unwrap_or(Membership::WholeCache)),
            NodeKind::File(_) => part,
            NodeKind::HardLink { target } => {
                let first = (self.membership)(&self::names(target)?);
                part.filter(|part| first.as_ref() == Some(part))
            }
            NodeKind::Symlink { target } => {
                let end = (self.membership)(&follow(&names, target)?);
                part.filter(|part| end.as_ref() == Some(part))
            }
        }
    }
}

fn names(path: &OsStr) -> Option<Vec<&str>> {
    Some(path.to_str()?.split('/').collect())
}

/// Resolves a link by its text. Returns `None` if it leads out of the cache.
fn follow<'a>(link: &[&'a str], target: &'a OsStr) -> Option<Vec<&'a str>> {
    let mut names = link[..link.len() - 1].to_vec();
    for component in Path::new(target).components() {
        match component {
            Component::Normal(name) => names.push(name.to_str()?),
            Component::CurDir => {}
            Component::ParentDir => drop(names.pop()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(names)
}

fn unit(names: &[&str]) -> Membership {
    Membership::Unit(names.join("/"))
}

fn stem<'a>(name: &'a str, extension: &str) -> Option<&'a str> {
    name.strip_suffix(extension)?.strip_suffix('.')
}

fn is_hex(text: &str, count: usize) -> bool {
    text.len() == count && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn pip(names: &[&str]) -> Option<Membership> {
    match names {
        ["selfcheck.json" | "CACHEDIR.TAG"] | ["selfcheck", _] => Some(Membership::WholeCache),
        ["http" | "http-v2", start @ .., name] if start.len() == 5 => {
            // The name of a file that is still being written has a suffix after the hash.
            let hash = name.get(..56)?;
            let is_response = is_hex(hash, 56) && hash.starts_with(&start.concat());
            let response = name.strip_suffix(".body").unwrap_or(name);
            is_response.then(|| unit(&[&names[..6], &[response]].concat()))
        }
        // The hash of a source distribution in four parts, then the wheel that was built from it.
        ["wheels", start @ .., rest, _] if start.len() == 3 => {
            let is_hash = start.iter().all(|part| is_hex(part, 2)) && is_hex(rest, 50);
            is_hash.then(|| unit(&names[..5]))
        }
        ["wheels", start @ .., rest] if start.len() == 3 && is_hex(rest, 50) => Some(unit(names)),
        _ => None,
    }
}

fn apt(names: &[&str]) -> Option<Membership> {
    match names {
        ["pkgcache.bin" | "srcpkgcache.bin"] => Some(Membership::WholeCache),
        ["archives", below @ ..] | below => match below {
            ["lock"] | ["partial", ..] => Some(Membership::WholeCache),
            [name] if stem(name, "deb").is_some() => Some(unit(names)),
            _ => None,
        },
    }
}

fn go_modules(names: &[&str]) -> Option<Membership> {
    match names {
        ["cache", "download", module @ .., "@v"] => Some(unit(module)),
        ["cache", "download", below @ ..] => match below.iter().position(|name| *name == "@v") {
            Some(end) if end > 0 => Some(unit(&below[..end])),
            _ => Some(Membership::WholeCache),
        },
        ["cache", ..] => Some(Membership::WholeCache),
        _ => {
            let at = names.iter().position(|name| name.contains('@'))?;
            let (last, _) = names[at].split_once('@').filter(|(last, _)| !last.is_empty())?;
            Some(unit(&[&names[..at], &[last]].concat()))
        }
    }
}

fn go_build(names: &[&str]) -> Option<Membership> {
    match names {
        ["README" | "trim.txt" | "testexpire.txt"] | ["fuzz", ..] => Some(Membership::WholeCache),
        // The entry of an executable built by `go run` is a directory.
        [start, name, ..] if is_hex(start, 2) => {
            let (hash, kind) = name.rsplit_once('-')?;
            let is_entry = is_hex(hash, 64) && hash.starts_with(start) && matches!(kind, "a" | "d");
            is_entry.then(|| unit(&names[..2]))
        }
        _ => None,
    }
}

fn cargo_registry(names: &[&str]) -> Option<Membership> {
    match names {
        ["CACHEDIR.TAG"] | ["index", ..] => Some(Membership::WholeCache),
        ["cache", host, name] => Some(unit(&[host, stem(name, "crate")?])),
        ["src", host, name, ..] => Some(unit(&[host, name])),
        _ => None,
    }
}

fn compiler_cache(names: &[&str]) -> Option<Membership> {
    match names {
        ["CACHEDIR.TAG" | "ccache.conf" | "stats"] | ["tmp" | "lock", ..] => Some(Membership::WholeCache),
        [one, "stats"] if is_hex(one, 1) => Some(Membership::WholeCache),
        [one, other, "stats"] if is_hex(one, 1) && is_hex(other, 1) => Some(Membership::WholeCache),
        ["preprocessor", one, other, name] | [one, other, name] if is_hex(one, 1) && is_hex(other, 1) => {
            let is_sha256 = is_hex(name, 64) && name.starts_with(&format!("{one}{other}"));
            // Hashes of ccache are in base 32, followed by their type: result or manifest.
            let is_base32 = name.len() > 20
                && name
                    .strip_suffix(['R', 'M'])
                    .is_some_and(|hash| hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'v')));
            (is_sha256 || is_base32).then(|| unit(names))
        }
        _ => None,
    }
}

#[cfg(test)]
pub(crate) fn pip_response_path(number: u8) -> String {
    format!("http-v2/0/0/0/{:x}/{:x}/000{number:02x}{:051}", number / 16, number % 16, 0)
}

#[cfg(test)]
pub(crate) fn pip_wheel_directory() -> String {
    format!("wheels/00/00/00/{:050}", 0)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::archive::{FileData, NodeTime};

    /// Parses a node: `a/` is a directory, `a -> b` a symbolic link, `a = b` a hard link to `b`, and anything else a
    /// file.
    fn node(text: &str) -> Node {
        let (path, kind) = if let Some((path, target)) = text.split_once(" -> ") {
            (path, NodeKind::Symlink { target: target.into() })
        } else if let Some((path, target)) = text.split_once(" = ") {
            (path, NodeKind::HardLink { target: target.into() })
        } else if let Some(path) = text.strip_suffix('/') {
            (path, NodeKind::Directory)
        } else {
            (text, NodeKind::File(FileData::default()))
        };
        Node {
            path: path.into(),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: NodeTime(0, 0),
            xattrs: BTreeMap::new(),
        }
    }

    /// Returns the paths of each unit, one line for each. The paths without a unit come last.
    fn shown(paths: &[&str]) -> Vec<String> {
        let nodes: Vec<Node> = paths.iter().map(|path| node(path)).collect();
        let units = units(nodes.iter());
        let numbers: BTreeSet<u32> = units.iter().flatten().copied().collect();
        let of = |unit: Option<u32>| {
            let members = paths.iter().zip(&units).filter(|(_, of)| **of == unit);
            members.map(|(path, _)| *path).collect::<Vec<_>>().join(" ")
        };
        let kept = of(None);
        let all = numbers.iter().map(|number| of(Some(*number)));
        all.chain((!kept.is_empty()).then(|| format!("whole: {kept}"))).collect()
    }

    const HASH: &str = "ab00000000000000000000000000000000000000000000000000000000000000";

    #[test]
    fn files_of_known_caches_are_grouped_into_units() {
        let (action, data) = (format!("ab/{HASH}-a"), format!("ab/{HASH}-d"));
        let (program, inside) = (format!("ab/{HASH}-d/"), format!("ab/{HASH}-d/tool"));
        let object = format!("a/b/{HASH}");
        let (response, body) = (pip_response_path(1), pip_response_path(1) + ".body");
        let old = response.replace("http-v2", "http");
        let (built, on_the_way) = (pip_wheel_directory(), "wheels/00/00/00/");
        let [directory, file, origin] = ["/", "/a.whl", "/origin.json"].map(|name| built.clone() + name);
        for (paths, expected) in [
            (
                &["http-v2/", "http-v2/0/", &response, &body, &old, "selfcheck/z"][..],
                &[&format!("{response} {body}"), &old, "whole: http-v2/ http-v2/0/ selfcheck/z"][..],
            ),
            (
                &["wheels/", on_the_way, &directory, &file, &origin],
                &[&format!("{directory} {file} {origin}"), &format!("whole: wheels/ {on_the_way}")],
            ),
            (
                &[
                    "archives/",
                    "archives/a.deb",
                    "archives/b.deb",
                    "archives/lock",
                    "archives/partial/",
                    "pkgcache.bin",
                ],
                &[
                    "archives/a.deb",
                    "archives/b.deb",
                    "whole: archives/ archives/lock archives/partial/ pkgcache.bin",
                ],
            ),
            (&["a.deb", "lock", "partial/"], &["a.deb", "whole: lock partial/"]),
            (
                &[
                    "cache/download/h/m/",
                    "cache/download/h/m/@v/",
                    "cache/download/h/m/@v/v1.mod",
                    "cache/download/h/m/v2/@v/v2.mod",
                    "cache/download/sumdb/s/lookup/h/m@v1",
                    "cache/lock",
                    "h/m/v2@v2/a.go",
                    "h/m@v0/",
                    "h/m@v1/",
                    "h/m@v1/a@b/c.go",
                ],
                &[
                    "cache/download/h/m/@v/ cache/download/h/m/@v/v1.mod h/m@v0/ h/m@v1/ h/m@v1/a@b/c.go",
                    "cache/download/h/m/v2/@v/v2.mod h/m/v2@v2/a.go",
                    "whole: cache/download/h/m/ cache/download/sumdb/s/lookup/h/m@v1 cache/lock",
                ],
            ),
            (&["README", &action, &data], &[&action, &data, "whole: README"]),
            (&[&action, &program, &inside], &[&action, &format!("{program} {inside}")]),
            (
                &[
                    "cache/h/a-1.crate",
                    "cache/h/b-1.crate",
                    "index/h/config.json",
                    "src/h/",
                    "src/h/a-1/",
                    "src/h/a-1/l.rs",
                ],
                &[
                    "cache/h/a-1.crate src/h/a-1/ src/h/a-1/l.rs",
                    "cache/h/b-1.crate",
                    "whole: index/h/config.json src/h/",
                ],
            ),
            (
                &["0/1/2345678901234567890123abcdefgvM", "0/1/stats", "ccache.conf"],
                &["0/1/2345678901234567890123abcdefgvM", "whole: 0/1/stats ccache.conf"],
            ),
            (&[&object], &[&object]),
        ] {
            assert_eq!(shown(paths), expected, "{paths:?}");
        }
    }

    #[test]
    fn an_unknown_cache_is_a_single_unit() {
        let response = pip_response_path(1);
        for paths in [
            // Programs that are not known, and one whose files refer to each other.
            &["_cacache/content-v2/sha512/a/b/c", "_cacache/index-v5/a/b/c"][..],
            &["archive-v0/x/a.py", "wheels-v5/pypi/a -> ../../archive-v0/x"],
            &["caches/modules-2/files-2.1/g/a/1/h/a.jar", "caches/journal-1/file-access.bin"],
            &["example.org/lib@v1.0.0/a/a.go", "example.org/lib@v1.0.0/b/b.go"],
            &["pkgs/a-1-0/info/index.json", "pkgs/urls.txt"],
            &["specifications/a-1.gemspec", "gems/a-1/a.rb"],
            &["a.deb", "b.deb"],
            &["x", "x.body"],
            &["http/index.html", "http-v2/x"],
            // A known program, with a file that it does not create.
            &[&response, &(response.clone() + ".body"), "mine/y"],
            &["lock", "partial/", "a.deb", "Packages"],
            &["cache/download/h/m/@v/v1.mod", "bin/tool"],
            &["cache/h/a-1.crate", "src/h/loose", "git/db"],
            // A known program, with a link between units.
            &[&response, &format!("{} = {response}", self::pip_response_path(2))],
            &[&response, &format!("{} -> {}", self::pip_response_path(2), &response[response.len() - 56..])],
            &["cache/h/a-1.crate", "src/h/a-1/x -> ../b-1/x", "src/h/b-1/x"],
            &["cache/h/a-1.crate", "src/h/a-1/x -> /etc/passwd"],
        ] {
            assert_eq!(shown(paths), [format!("whole: {}", paths.join(" "))], "{paths:?}");
        }
        let inside =
            ["cache/h/a-1.crate", "src/h/a-1/d/x -> ../y", "src/h/a-1/y", "src/h/a-1/z = src/h/a-1/y"];
        assert_eq!(shown(&inside), [inside.join(" ")]);
    }
}
