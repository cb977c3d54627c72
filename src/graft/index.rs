//! The index of a prefix: its [`Tree`] and its [`Accounts`], encoded as text and stored in the config of the prefix.
//!
//! ```text
//!  base64( zstd( "larder-index 1" 0 passwd 0 group 0 directory ))
//!
//!  directory   MODE ' ' UID ' ' GID ' ' SECONDS 0 node … '.'
//!  node        'f' NAME 0  |  'l' NAME 0 TARGET 0  |  'd' NAME 0 directory
//! ```
//!
//! The mode is octal, and the seconds are relative to those of the directory above. Names are in byte order. Extended
//! attributes are omitted, because layers do not repeat those of directories.

use std::fmt::Write as _;
use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::accounts::Accounts;
use super::tree::{Attributes, Node, Tree};

const HEADER: &str = "larder-index 1";
/// Yields about 240 kB in 0.2 s for an image with 40 000 files.
const ZSTD_LEVEL: i32 = 12;
/// The maximum size of the uncompressed text in bytes.
const LARGEST: u64 = 256 << 20;
/// The maximum size of the stored form in bytes. With the rest of the config, it is below the limit of a config.
const LARGEST_STORED: usize = 4 << 20;
/// The maximum depth of nested directories.
const DEEPEST: usize = 256;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) tree: Tree,
    pub(crate) accounts: Accounts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the index of the prefix is damaged")]
pub(crate) struct IndexError;

impl Index {
    /// Returns the stored form, or `None` if an account file contains a NUL byte or the result is larger than a config
    /// may be.
    pub(crate) fn encode(&self) -> Option<String> {
        let Accounts { passwd, group } = &self.accounts;
        if passwd.contains('\0') || group.contains('\0') {
            return None;
        }
        let mut text = format!("{HEADER}\0{passwd}\0{group}\0");
        self.write(&mut text);
        let compressed = zstd::bulk::compress(text.as_bytes(), ZSTD_LEVEL).ok()?;
        Some(STANDARD_NO_PAD.encode(compressed)).filter(|stored| stored.len() <= LARGEST_STORED)
    }

    fn write(&self, text: &mut String) {
        // The directories from the root to the current one, with their times.
        let mut open: Vec<(&str, i64)> = Vec::new();
        for (path, node) in ordered(&self.tree) {
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            while !path.is_empty() && open.last().is_some_and(|(open, _)| *open != parent) {
                open.pop();
                text.push('.');
            }
            let name = path.rsplit('/').next().unwrap_or_default();
            match node {
                Node::File => drop(write!(text, "f{name}\0")),
                Node::Link(target) => drop(write!(text, "l{name}\0{target}\0")),
                Node::Directory(Attributes { mode, uid, gid, modified }) => {
                    let above = open.last().map_or(0, |(_, modified)| *modified);
                    if !path.is_empty() {
                        let _ = write!(text, "d{name}\0");
                    }
                    let _ = write!(text, "{mode:o} {uid} {gid} {}\0", modified.wrapping_sub(above));
                    open.push((path, *modified));
                }
            }
        }
        text.extend(open.iter().map(|_| '.'));
    }

    /// Parses the stored form.
    pub(crate) fn decode(stored: &str) -> Result<Self, IndexError> {
        let compressed = STANDARD_NO_PAD.decode(stored).map_err(|_| IndexError)?;
        let mut text = String::new();
        let reader = zstd::Decoder::new(&*compressed).map_err(|_| IndexError)?;
        reader.take(LARGEST).read_to_string(&mut text).map_err(|_| IndexError)?;
        let mut reader = Reader { rest: &text };
        if reader.field()? != HEADER {
            return Err(IndexError);
        }
        let accounts = Accounts { passwd: reader.field()?.to_owned(), group: reader.field()?.to_owned() };
        let mut tree = Tree::default();
        reader.directory(&mut tree, String::new(), 0, 0)?;
        if reader.rest.is_empty() { Ok(Self { tree, accounts }) } else { Err(IndexError) }
    }
}

/// Returns the nodes in an order in which the content of a directory directly follows it.
fn ordered(tree: &Tree) -> Vec<(&str, &Node)> {
    let mut nodes: Vec<_> = tree.nodes().collect();
    nodes.sort_by(|(one, _), (other, _)| one.split('/').cmp(other.split('/')));
    nodes
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn field(&mut self) -> Result<&'a str, IndexError> {
        let (field, rest) = self.rest.split_once('\0').ok_or(IndexError)?;
        self.rest = rest;
        Ok(field)
    }

    fn directory(
        &mut self,
        tree: &mut Tree,
        path: String,
        above: i64,
        depth: usize,
    ) -> Result<(), IndexError> {
        let attributes: Vec<&str> = self.field()?.split(' ').collect();
        let [mode, uid, gid, seconds] = attributes[..] else { return Err(IndexError) };
        let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777).ok_or(IndexError)?;
        let (uid, gid) = uid.parse().ok().zip(gid.parse().ok()).ok_or(IndexError)?;
        let modified = above.wrapping_add(seconds.parse().map_err(|_| IndexError)?);
        if depth > DEEPEST {
            return Err(IndexError);
        }
        loop {
            let mut rest = self.rest.chars();
            let kind = rest.next().ok_or(IndexError)?;
            self.rest = rest.as_str();
            if kind == '.' {
                break;
            }
            let name = self.field()?;
            if matches!(name, "" | "." | "..") || name.contains('/') {
                return Err(IndexError);
            }
            let below = if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
            match kind {
                'f' => tree.insert(below, Node::File),
                'l' => tree.insert(below, Node::Link(self.field()?.to_owned())),
                'd' => self.directory(tree, below, modified, depth + 1)?,
                _ => return Err(IndexError),
            }
        }
        tree.insert(path, Node::Directory(Attributes { mode, uid, gid, modified }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> Index {
        let directory = |mode, uid, modified| Node::Directory(Attributes { mode, uid, gid: 3, modified });
        let mut tree = Tree::default();
        for (path, node) in [
            ("", directory(0o755, 0, 1_700_000_000)),
            ("a", directory(0o1777, 7, -5)),
            ("a-b", Node::File),
            ("a/b", directory(0o700, 4_000_000_000, 1_700_000_001)),
            ("a/b/.", Node::File),
            ("a/b/c d\n", Node::Link("../é".to_owned())),
            ("z", Node::File),
        ] {
            if !path.ends_with("/.") {
                tree.insert(path.to_owned(), node);
            }
        }
        let accounts = Accounts { passwd: "root:x:0:0\n".to_owned(), group: String::new() };
        Index { tree, accounts }
    }

    #[test]
    fn an_index_is_unchanged_after_encoding_and_decoding() {
        let index = example();
        assert_eq!(Index::decode(&index.encode().unwrap()).unwrap(), index);
        assert_eq!(Index::decode(&Index::default().encode().unwrap()).unwrap(), Index::default());
    }

    #[test]
    fn an_index_of_forty_thousand_files_has_less_than_300_kb() {
        let mut random = 1_u64;
        let mut word = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{:x}", random >> 44)
        };
        let mut tree = Tree::default();
        let directory = |modified| Node::Directory(Attributes { mode: 0o755, uid: 0, gid: 0, modified });
        for package in 0..400 {
            let path = format!("site-packages/{}_{package}", word());
            tree.insert(path.clone(), directory(1_700_000_000 + package));
            tree.insert(format!("{path}/__pycache__"), directory(1_700_000_001 + package));
            for _ in 0..50 {
                let module = word();
                tree.insert(format!("{path}/{module}.py"), Node::File);
                tree.insert(format!("{path}/__pycache__/{module}.cpython-312.pyc"), Node::File);
            }
        }
        tree.insert("site-packages".to_owned(), directory(1_700_000_000));
        assert!(tree.nodes().count() > 40_000);
        let stored = Index { tree, ..Index::default() }.encode().unwrap();
        assert!(stored.len() < 300_000, "{}", stored.len());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_decoder_panic(text in "[dfl.0-9a-c /\\-]{0,60}") {
            let text = format!("larder-index 1\0\0\0{}", text.replace('-', "\0"));
            let _ = Index::decode(&STANDARD_NO_PAD.encode(zstd::bulk::compress(text.as_bytes(), 1).unwrap()));
            let _ = Index::decode(&text);
        }
    }

    #[test]
    fn a_damaged_index_is_rejected() {
        let stored =
            |text: &str| STANDARD_NO_PAD.encode(zstd::bulk::compress(text.as_bytes(), ZSTD_LEVEL).unwrap());
        let whole = "larder-index 1|||755 0 0 0|fa|.".replace('|', "\0");
        assert!(Index::decode(&stored(&whole)).is_ok());
        for end in 0..whole.len() {
            assert_eq!(Index::decode(&stored(&whole[..end])), Err(IndexError), "{end}");
        }
        for (from, to) in [
            ("fa", "f.."),
            ("fa", "fa/b"),
            ("fa", "f"),
            ("fa", "xa"),
            ("755", "99755"),
            ("index 1", "index 2"),
        ] {
            assert_eq!(Index::decode(&stored(&whole.replace(from, to))), Err(IndexError), "{to}");
        }
        assert_eq!(Index::decode(&stored(&format!("{whole}."))), Err(IndexError));
        let deep =
            format!("larder-index 1|||755 0 0 0|{}", "da|755 0 0 0|".repeat(10_000)).replace('|', "\0");
        assert_eq!(Index::decode(&stored(&deep)), Err(IndexError));
        for text in ["", "?", "AAAA"] {
            assert_eq!(Index::decode(text), Err(IndexError), "{text}");
        }
    }
}
