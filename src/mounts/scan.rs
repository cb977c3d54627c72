//! Scans the file system of a stage: its names, and the content of a few files.

use std::collections::BTreeMap;
use std::path::Path;

use super::conversation::{Conversation, ConversationError, ReadEvent};
use crate::courier::protocol::{MountNode, MountNodeKind, Owner, ReadOutcome};

/// The maximum size of a file whose content is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

#[derive(Debug)]
pub(crate) struct StageScan {
    pub(crate) root: Owner,
    /// All other nodes; parents come first.
    pub(crate) nodes: Vec<MountNode>,
    /// The content of the requested files, by path. Files that are missing, too large or unreadable are left out.
    pub(crate) contents: BTreeMap<&'static str, Vec<u8>>,
}

/// Requests all names, and the content of the regular files at these paths.
pub(crate) fn scan(
    mut conversation: Conversation,
    files: &'static [&'static str],
) -> Result<StageScan, ConversationError> {
    let (root, nodes) = conversation.scan()?;
    let mut contents = BTreeMap::new();
    for path in files {
        let wanted = (0..).zip(&nodes).find_map(|(number, node)| match node.kind {
            MountNodeKind::File(size) if node.path == Path::new(path) && size <= MAX_FILE => {
                Some((number, size))
            }
            _ => None,
        });
        let Some(wanted) = wanted else { continue };
        let (mut content, mut is_whole) = (Vec::new(), false);
        conversation.read(&[wanted], &mut |_, taken| {
            match taken {
                ReadEvent::Bytes(bytes) => content.extend(bytes),
                ReadEvent::End(outcome) => is_whole = outcome == ReadOutcome::Complete,
            }
            Ok::<_, ConversationError>(())
        })?;
        if is_whole {
            contents.insert(*path, content);
        }
    }
    conversation.close()?;
    Ok(StageScan { root, nodes, contents })
}
