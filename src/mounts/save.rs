//! Saving a mount: only what is new or changed is read, and what no build uses any more is left out.

use super::conversation::{Conversation, Found, Taken};
use super::error::MountError;
use super::uses::{Counted, Tally, file, known, trim};
use crate::archive::{
    CommitError, FileData, Listing, Node, NodeKind, SMALL_FILE, Shrunk, commit, read_listing, take_over,
};
use crate::courier::protocol::{Notes, Owner, ReadOutcome};
use crate::digest::Digest;
use crate::store::{Entry, EntryKind, Meter, Save, Saved, Store, Subject};

/// Files that are asked for at once.
const ASKED: usize = 8192;

/// How a mount is saved.
#[derive(Debug, Clone)]
pub struct SaveTerms {
    /// Entries of one mount in one project.
    pub family: String,
    /// What the entry is made for.
    pub key: Digest,
    /// Title and tags; what is counted is filled in.
    pub subject: Subject,
    /// A file goes after so many builds in a row that did not read it; `None` keeps all.
    pub unused_builds: Option<u32>,
    /// Bytes that the entry may have; the least recently used files go.
    pub max_size: Option<u64>,
    /// Save whatever is left of the mount.
    pub allow_shrink: bool,
}

/// A mount that was looked at, and what became of it.
#[derive(Debug)]
pub struct SavedMount {
    /// What became of it.
    pub outcome: SaveOutcome,
    /// Files of the mount that the build read and that were there before it.
    pub used: Tally,
    /// Files that the build added.
    pub added: Tally,
    /// Packages, such as wheels, among the files that were used.
    pub packages_used: Tally,
    /// Packages among the files that were added.
    pub packages_added: Tally,
    /// Files that are left out of the entry since nobody uses them, or since it would be too large.
    pub trimmed: Tally,
    /// Whether the builder notes which files are read; else `used` says nothing.
    pub notes_uses: bool,
    /// Whose the mount's own directory is.
    pub root: Owner,
    /// What could not be read.
    pub notes: Notes,
}

/// What became of a mount.
#[derive(Debug)]
pub enum SaveOutcome {
    /// It is in the store, as this entry.
    Saved(Box<Saved>),
    /// The store has it already.
    Unchanged,
    /// There is nothing in it, and was nothing before.
    Empty,
    /// Far less is in it than in the entry before: that is an accident.
    Refused(Shrunk),
}

/// Saves what the mount holds; what `before` has of it already is not read again.
///
/// # Errors
///
/// Fails when the store or the builder does, and when the meter stops it; then nothing is saved.
pub fn save(
    store: &Store,
    before: Option<&Entry>,
    mut conversation: Conversation,
    terms: &SaveTerms,
    meter: &Meter,
) -> Result<SavedMount, MountError> {
    let listed = before.map(|entry| read_listing(store, entry, true)).transpose()?;
    let mut found = conversation.list()?;
    let counted = Counted::of(&mut found, listed.as_ref());
    let mut saved = SavedMount {
        outcome: SaveOutcome::Unchanged,
        used: counted.used,
        added: counted.added,
        packages_used: counted.packages,
        packages_added: Tally::default(),
        trimmed: Tally::default(),
        notes_uses: found.notes_uses,
        root: found.root,
        notes: std::mem::take(&mut found.notes),
    };
    let Found { listing: Listing { nodes }, .. } = found;
    let going = trim(&nodes, terms.unused_builds, terms.max_size);
    let mut wanted: Vec<(u32, Node)> = Vec::with_capacity(nodes.len());
    for ((number, node), going) in (0..).zip(nodes).zip(going) {
        if let (true, NodeKind::File(file)) = (going, &node.kind) {
            saved.trimmed.add(file.size);
        } else {
            wanted.push((number, node));
        }
    }
    let kept: u64 = wanted.iter().filter_map(|(_, node)| file(node)).map(|file| file.size).sum();
    let replaces = before.map(|entry| entry.manifest.subject.bytes).filter(|_| !terms.allow_shrink);
    let is_empty = wanted.iter().all(|(_, node)| node.kind == NodeKind::Directory);
    let shrunk = match replaces {
        Some(_) if is_empty => Some(Shrunk::Empty),
        before => Shrunk::to(kept + saved.trimmed.bytes, before),
    };
    if let Some(shrunk) = shrunk {
        saved.outcome = SaveOutcome::Refused(shrunk);
        conversation.bye()?;
        return Ok(saved);
    }
    if is_empty {
        saved.outcome = SaveOutcome::Empty;
        conversation.bye()?;
        return Ok(saved);
    }
    let known: Vec<Option<&FileData>> =
        wanted.iter().map(|(_, node)| listed.as_ref().and_then(|listed| known(node, listed))).collect();
    if let (Some(entry), Some(listed)) = (before, &listed)
        && is_all(&wanted, &known, listed)
        && store.is_everywhere(entry)
    {
        conversation.bye()?;
        return Ok(saved);
    }
    let save = store.save(EntryKind::Mount, &terms.family, terms.key)?;
    let mut writing =
        Writing { save, nodes: Vec::new(), packages: Tally::default(), notes: &mut saved.notes, meter };
    writing.take(before, wanted, &known, &mut conversation)?;
    conversation.bye()?;
    let Writing { save, nodes, packages, .. } = writing;
    saved.packages_added = packages;
    let listing = listing(nodes);
    let replaces = replaces.map(|before| before.saturating_sub(saved.trimmed.bytes));
    saved.outcome = match commit(save, &listing, terms.subject.clone(), replaces) {
        Ok(entry) => SaveOutcome::Saved(Box::new(entry)),
        Err(CommitError::Shrunk(shrunk)) => SaveOutcome::Refused(shrunk),
        Err(CommitError::Store(error)) => return Err(error.into()),
    };
    Ok(saved)
}

/// Whether the entry holds just this, counts of use included.
fn is_all(wanted: &[(u32, Node)], known: &[Option<&FileData>], listed: &Listing) -> bool {
    wanted.len() == listed.nodes.len()
        && wanted.iter().zip(known).zip(&listed.nodes).all(|(((_, node), known), before)| {
            match (&node.kind, known) {
                (NodeKind::File(file), Some(known)) => {
                    let same = Node { kind: before.kind.clone(), ..node.clone() };
                    file.unused == known.unused && same == *before
                }
                (NodeKind::File(_), None) => false,
                // What happens in a directory sets its time, and tells nothing.
                (NodeKind::Directory, _) => Node { mtime: before.mtime, ..node.clone() } == *before,
                _ => node == before,
            }
        })
}

/// The list of what was kept; a further name of a file that was not kept goes, too.
fn listing(nodes: Vec<Option<Node>>) -> Listing {
    let mut listing = Listing::default();
    for node in nodes.into_iter().flatten() {
        if let NodeKind::HardLink { target } = &node.kind
            && listing.find(target).is_none()
        {
            continue;
        }
        listing.nodes.push(node);
    }
    listing
}

/// Whether bytes are the first of a package: a wheel is a zip archive, a source distribution a compressed tar.
fn is_package(bytes: &[u8]) -> bool {
    const ZIP: &[u8] = b"PK\x03\x04";
    const GZIP: &[u8] = &[0x1f, 0x8b];
    bytes.starts_with(ZIP) || bytes.starts_with(GZIP)
}

/// An entry that is being written.
struct Writing<'a> {
    save: Save,
    nodes: Vec<Option<Node>>,
    /// Packages among the files that were read.
    packages: Tally,
    notes: &'a mut Notes,
    meter: &'a Meter,
}

impl Writing<'_> {
    /// Takes what the entry before has, and asks the builder for the rest.
    fn take(
        &mut self,
        before: Option<&Entry>,
        wanted: Vec<(u32, Node)>,
        known: &[Option<&FileData>],
        conversation: &mut Conversation,
    ) -> Result<(), MountError> {
        let taken = match before {
            Some(entry) => take_over(&mut self.save, entry, known)?,
            None => vec![None; wanted.len()],
        };
        let (mut small, mut large) = (Vec::new(), Vec::new());
        for ((number, mut node), taken) in wanted.into_iter().zip(taken) {
            if let NodeKind::File(file) = &mut node.kind {
                if let Some(data) = taken {
                    *file = FileData { used: file.used, unused: file.unused, ..data };
                } else {
                    file.data = None;
                    let read = if file.size < SMALL_FILE { &mut small } else { &mut large };
                    read.push((self.nodes.len(), number, file.size));
                }
            }
            self.nodes.push(Some(node));
        }
        self.meter.expect(small.iter().chain(&large).map(|(_, _, size)| size).sum());
        for files in small.chunks(ASKED).chain(large.chunks(ASKED)) {
            self.read(files, conversation)?;
        }
        Ok(())
    }

    fn read(
        &mut self,
        files: &[(usize, u32, u64)],
        conversation: &mut Conversation,
    ) -> Result<(), MountError> {
        let asked: Vec<(u32, u64)> = files.iter().map(|(_, number, size)| (*number, *size)).collect();
        // Of a small file, that shares its chunks with others: so that a torn one is not written.
        let mut waiting: Vec<u8> = Vec::new();
        let mut begun: Option<u64> = None;
        let mut package = None;
        conversation.read::<MountError>(&asked, &mut |place, taken| {
            let (node, _, size) = files[place];
            let is_small = size < SMALL_FILE;
            self.meter.check().map_err(|_| MountError::Interrupted)?;
            if let Taken::Bytes(bytes) = &taken {
                package.get_or_insert_with(|| is_package(bytes));
            }
            match taken {
                Taken::Bytes(bytes) if is_small => waiting.extend(bytes),
                Taken::Bytes(bytes) => {
                    if begun.is_none() {
                        self.save.boundary()?;
                        begun = Some(self.save.position());
                    }
                    self.save.write(&bytes)?;
                    self.meter.add(bytes.len() as u64);
                }
                Taken::End(ReadOutcome::Whole) => {
                    let at = begun.take().unwrap_or(self.save.position());
                    if is_small {
                        self.save.write(&waiting)?;
                        self.meter.add(waiting.len() as u64);
                    } else {
                        self.save.boundary()?;
                    }
                    waiting.clear();
                    if let Some(Node { kind: NodeKind::File(file), .. }) = &mut self.nodes[node] {
                        file.at = at;
                        file.package = package.take().unwrap_or_default();
                        if file.package {
                            self.packages.add(file.size);
                        }
                    }
                }
                Taken::End(outcome) => {
                    package = None;
                    waiting.clear();
                    if begun.take().is_some() {
                        self.save.boundary()?;
                    }
                    let node = self.nodes[node].take();
                    if let (ReadOutcome::Unreadable, Some(node)) = (outcome, node) {
                        self.notes.add(&node.path, &"it cannot be read");
                    }
                }
            }
            Ok(())
        })
    }
}
