//! Creates the layers of COPY, ADD and WORKDIR instructions.
//!
//! Of the context's files, it only reads the first bytes of those that ADD may unpack.
//!
//! Follows `BuildKit`'s `solver/llbsolver/file/backend.go` and `fsutil`'s `copy/copy.go`. For each source:
//!
//! - The part of the destination up to its last slash is created as a directory, with its parents. Links in it are
//!   followed.
//! - A file is copied into the destination if that is a directory, else to the destination itself. For a directory, its
//!   content is copied.
//! - A directory that exists at the destination keeps its mode and owner, and gets the time of the source. Directories
//!   below it get mode, owner and time.
//! - A file replaces a file or link. A directory is never replaced, and never replaces anything else.
//! - Layers have no extended attributes. Engines write only capabilities into layers, and a file loses these when its
//!   owner is set.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;

use super::accounts::{Accounts, has_names, has_negative_id};
use super::layer::{FileContent, FinishedLayer, LayerBuilder, LayerChange};
use super::refusal::Refusal;
use super::sources::{CopySources, join};
use super::tail::{PlannedCopy, PlannedLayer};
use super::tree::{Attributes, ImageNode, ImageTree};
use crate::context::{ContextEntry, ContextEntryKind, MatchState, PatternMatcher, Shape};

/// The number of bytes that decide whether ADD may unpack a file: the size of a tar header, which is the longest of the
/// known signatures.
const SIGNATURE_LENGTH: usize = 512;

/// Returns the layer that an instruction adds to `tree`.
///
/// `accounts` are those of the image below, or `None` if an earlier grafted layer may have changed them. `now` is the
/// time of entries that do not have one from a source, in seconds since 1970.
///
/// Fails if the layer would not be exactly the one of a builder.
pub(crate) fn make_layer(
    planned: &PlannedLayer,
    sources: &CopySources,
    tree: &ImageTree,
    accounts: Option<&Accounts>,
    now: i64,
) -> Result<FinishedLayer, Refusal> {
    let refuse = |what: String| Refusal::at(planned.line(), what);
    let owner_of = |text: &str| match accounts {
        _ if has_negative_id(text) => Err(format!("the owner `{text}` is negative")),
        Some(accounts) => Ok(accounts.owner(text)),
        None if has_names(text) => Err("an earlier layer may change the users of the image".to_owned()),
        None => Ok(Accounts::default().owner(text)),
    };
    match planned {
        PlannedLayer::Workdir { path, user, .. } => {
            let (uid, gid) = match user.as_deref() {
                Some(user) => owner_of(user).map_err(&refuse)?,
                None => (0, 0),
            };
            let mut layer = LayerBuilder::new(tree);
            let path = layer.follow(path).map_err(&refuse)?;
            let like = Attributes { mode: 0o755, uid, gid, modified: now };
            layer.make_all(&path, like).map_err(&refuse)?;
            layer.finish().map_err(refuse)
        }
        PlannedLayer::Copy(copy) => {
            let owner = copy.owner.as_deref().map(owner_of).transpose().map_err(&refuse)?;
            let layer = layer_of_copy(copy, sources, tree, owner, now).map_err(&refuse)?;
            if copy.is_linked {
                if copy.owner.as_deref().is_some_and(has_names) {
                    return Err(refuse("--link needs a numeric owner".to_owned()));
                }
                let empty = ImageTree::default();
                let linked = layer_of_copy(copy, sources, &empty, owner, now).map_err(&refuse)?;
                if let Some(difference) = layer.difference_to_linked(&linked) {
                    return Err(refuse(difference));
                }
            }
            layer.finish().map_err(refuse)
        }
    }
}

fn layer_of_copy<'t>(
    copy: &PlannedCopy,
    sources: &CopySources,
    tree: &'t ImageTree,
    owner: Option<(u32, u32)>,
    now: i64,
) -> Result<LayerBuilder<'t>, String> {
    let exclude = (!copy.exclude.is_empty()).then(|| PatternMatcher::new(&copy.exclude)).transpose();
    let mut copier = SourceCopier {
        copy,
        sources,
        layer: LayerBuilder::new(tree),
        owner,
        now,
        exclude: exclude.map_err(|error| error.to_string())?,
        contents_by_inode: HashMap::new(),
        open_directories: Vec::new(),
    };
    for source in &copy.sources {
        for name in sources.expand(source)? {
            copier.contents_by_inode.clear();
            copier.copy_named(&name)?;
        }
    }
    for (name, text) in &copy.contents {
        copier.copy_text(name, text)?;
    }
    Ok(copier.layer)
}

struct SourceCopier<'c, 't> {
    copy: &'c PlannedCopy,
    sources: &'c CopySources,
    layer: LayerBuilder<'t>,
    owner: Option<(u32, u32)>,
    now: i64,
    exclude: Option<PatternMatcher>,
    /// The content numbers of the current source's files with several hard links, by device and inode.
    contents_by_inode: HashMap<(u64, u64), usize>,
    /// The directories above the current entry, from the copied one on. Excluded directories among them are created
    /// only if something below them is copied.
    open_directories: Vec<OpenDirectory>,
}

struct OpenDirectory {
    source: String,
    target: String,
    is_made: bool,
}

impl SourceCopier<'_, '_> {
    fn attributes(&self, mode: u32, modified: i64) -> Attributes {
        let (uid, gid) = self.owner.unwrap_or_default();
        Attributes { mode, uid, gid, modified }
    }

    /// Ensures that `path` and its parents, which are above the destination, are directories.
    fn make_all(&mut self, path: &str) -> Result<(), String> {
        let like = self.attributes(self.copy.mode.map_or(0o755, |mode| mode & 0o777), self.now);
        self.layer.make_all(path, like)
    }

    /// Returns the target of a source with this name. Creates the directories above it.
    fn prepare(&mut self, name: &str, is_directory: bool) -> Result<String, String> {
        let destination = self.copy.destination.as_str();
        let (above, last) = destination.rsplit_once('/').unwrap_or(("", destination));
        let is_inside = matches!(last, "" | ".");
        let path = destination.trim_end_matches("/.").trim_end_matches('/').trim_start_matches('/');
        let above = self.layer.follow(if is_inside { path } else { above.trim_start_matches('/') })?;
        self.make_all(&above)?;
        let mut target = self.layer.follow(path)?;
        let there = self.layer.get(&target);
        if !is_directory && matches!(there, Some(ImageNode::Directory(_))) {
            target = join(&target, name.rsplit('/').next().unwrap_or_default());
        }
        let parent = target.rsplit_once('/').map_or("", |(parent, _)| parent).to_owned();
        let made = if is_directory && there.is_none() { target.clone() } else { parent };
        self.make_all(&made)?;
        Ok(target)
    }

    fn copy_named(&mut self, name: &str) -> Result<(), String> {
        let source = self.sources.follow(name)?;
        let is_directory = self.sources.shape(&source) == Some(Shape::Directory);
        if self.copy.is_add && !is_directory && self.sources.entry(&source).is_some_and(may_be_archive) {
            return Err(format!("{name} may be an archive"));
        }
        let target = self.prepare(name, is_directory)?;
        self.copy_entry(&source, "", &target, &MatchState::default())
    }

    fn copy_text(&mut self, name: &str, text: &str) -> Result<(), String> {
        let target = self.prepare(name, false)?;
        self.check_replaced(&target)?;
        let attributes = self.attributes(self.copy.mode.unwrap_or(0o644), self.now);
        self.add_file(target, FileContent::Text(text.to_owned()), attributes);
        Ok(())
    }

    fn add_file(&mut self, target: String, content: FileContent, attributes: Attributes) -> usize {
        let number = self.layer.contents.len();
        self.layer.contents.push(content);
        self.layer.put(target, LayerChange::File(number, attributes));
        number
    }

    /// Fails if `target` is a directory, because a directory is never replaced.
    fn check_replaced(&self, target: &str) -> Result<(), String> {
        match self.layer.get(target) {
            Some(ImageNode::Directory(_)) => Err(format!("/{target} is a directory and cannot be replaced")),
            _ => Ok(()),
        }
    }

    /// Copies the entry `source`. `below` is its path relative to the copied directory, and empty for that directory
    /// itself.
    fn copy_entry(
        &mut self,
        source: &str,
        below: &str,
        target: &str,
        parent: &MatchState,
    ) -> Result<(), String> {
        let (mut is_included, mut state) = (true, MatchState::default());
        if let (false, Some(exclude)) = (below.is_empty(), &self.exclude) {
            let (is_excluded, own) = exclude.matches_below(below, parent);
            (is_included, state) = (!is_excluded, own);
            if is_excluded && !exclude.has_exclusions() {
                return Ok(());
            }
        }
        let is_directory = self.sources.shape(source) == Some(Shape::Directory);
        if !is_included && !is_directory {
            return Ok(());
        }
        if is_included {
            self.make_open_directories()?;
        }
        if is_directory {
            return self.copy_directory(source, below, target, is_included, &state);
        }
        self.check_replaced(target)?;
        let Some(entry) = self.sources.entry(source) else { return Ok(()) };
        let attributes = self.entry_attributes(entry);
        match &entry.kind {
            ContextEntryKind::Symlink(link) => {
                self.layer.put(target.to_owned(), LayerChange::Link(link.clone(), attributes));
            }
            ContextEntryKind::File | ContextEntryKind::HardLink(_) => {
                let inode = (entry.metadata.dev(), entry.metadata.ino());
                if let Some(number) = self.contents_by_inode.get(&inode) {
                    self.layer.put(target.to_owned(), LayerChange::File(*number, attributes));
                    return Ok(());
                }
                let content = FileContent::Path { path: entry.absolute.clone(), size: entry.size() };
                let number = self.add_file(target.to_owned(), content, attributes);
                if entry.metadata.nlink() > 1 {
                    self.contents_by_inode.insert(inode, number);
                }
            }
            _ => return Err(format!("{source} is not a file, directory or link")),
        }
        Ok(())
    }

    fn copy_directory(
        &mut self,
        source: &str,
        below: &str,
        target: &str,
        is_included: bool,
        state: &MatchState,
    ) -> Result<(), String> {
        let is_new = is_included && self.make_directory(source, below, target)?;
        self.open_directories.push(OpenDirectory {
            source: source.to_owned(),
            target: target.to_owned(),
            is_made: is_included,
        });
        for name in self.sources.names(source) {
            let (source, below) = (join(source, name), join(below, name));
            self.copy_entry(&source, &below, &join(target, name), state)?;
        }
        self.open_directories.pop();
        let is_top = below.is_empty();
        if is_included && (!is_top || is_new) {
            let directory = self.directory_attributes(source);
            self.layer.put(target.to_owned(), LayerChange::Directory(directory));
        } else if is_top && let Some(there) = self.layer.directory(target) {
            let modified = self.directory_attributes(source).modified;
            self.layer.put(target.to_owned(), LayerChange::Directory(Attributes { modified, ..there }));
        }
        Ok(())
    }

    /// Ensures that `target` is a directory, for a copy of `source`. Returns `true` if it was created.
    fn make_directory(&mut self, source: &str, below: &str, target: &str) -> Result<bool, String> {
        match self.layer.get(target) {
            None => {
                let directory = self.directory_attributes(source);
                self.layer.put(target.to_owned(), LayerChange::Directory(directory));
                Ok(true)
            }
            Some(ImageNode::Directory(there)) if !below.is_empty() => {
                let mode = self.source_mode(source);
                self.layer.put(target.to_owned(), LayerChange::Directory(Attributes { mode, ..there }));
                Ok(false)
            }
            Some(ImageNode::Directory(_)) => Ok(false),
            Some(_) => Err(format!("/{target} is not a directory")),
        }
    }

    /// Creates the excluded directories above an entry that is about to be copied.
    fn make_open_directories(&mut self) -> Result<(), String> {
        for index in 0..self.open_directories.len() {
            let OpenDirectory { source, target, is_made } = &self.open_directories[index];
            if *is_made {
                continue;
            }
            let (source, target) = (source.clone(), target.clone());
            // The copied directory itself is never excluded, so all of these are below it.
            self.make_directory(&source, "below", &target)?;
            self.open_directories[index].is_made = true;
        }
        Ok(())
    }

    fn metadata(&self, source: &str) -> &Metadata {
        self.sources.entry(source).map_or(&self.sources.root, |entry| &entry.metadata)
    }

    fn source_mode(&self, source: &str) -> u32 {
        self.metadata(source).mode() & 0o7777
    }

    /// Returns the attributes of a copy of the directory `source`.
    fn directory_attributes(&self, source: &str) -> Attributes {
        let mode = self.copy.mode.unwrap_or_else(|| self.source_mode(source));
        self.attributes(mode, self.metadata(source).mtime())
    }

    fn entry_attributes(&self, entry: &ContextEntry) -> Attributes {
        let mode = match entry.kind {
            ContextEntryKind::Symlink(_) => 0o777,
            _ => self.copy.mode.unwrap_or(entry.metadata.mode() & 0o7777),
        };
        self.attributes(mode, entry.metadata.mtime())
    }
}

/// Returns `true` if ADD may unpack a file, judged by its first bytes: it is compressed, or begins with a tar header.
/// Also returns `true` if the file cannot be read.
fn may_be_archive(entry: &ContextEntry) -> bool {
    /// The signatures of compressed files (moby/go-archive, `compression`).
    const COMPRESSED: [&[u8]; 4] = [b"BZh", b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    if !matches!(entry.kind, ContextEntryKind::File | ContextEntryKind::HardLink(_)) {
        return false;
    }
    let mut beginning = Vec::new();
    let file = File::open(&entry.absolute);
    if file.and_then(|file| file.take(SIGNATURE_LENGTH as u64).read_to_end(&mut beginning)).is_err() {
        return true;
    }
    let is_skippable = beginning.len() > 3 && beginning[1..4] == *b"\x2a\x4d\x18" && beginning[0] >> 4 == 5;
    is_skippable
        || COMPRESSED.iter().any(|magic| beginning.starts_with(magic))
        || beginning.len() == SIGNATURE_LENGTH
            && (beginning[257..].starts_with(b"ustar") || has_tar_checksum(&beginning))
}

/// Returns `true` if the checksum of a tar header is correct. Some programs sum up signed bytes.
fn has_tar_checksum(header: &[u8]) -> bool {
    let field = String::from_utf8_lossy(&header[148..156]);
    let claimed = i64::from_str_radix(field.trim_matches(['\0', ' ']), 8).unwrap_or_default();
    let bytes = || (0..).zip(header).map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
    claimed == unsigned || claimed == signed
}
