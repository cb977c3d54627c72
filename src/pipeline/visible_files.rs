//! Digests the files of a build's contexts that the build can see: those that are not ignored, and the named contexts
//! in use.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::base_lookup::BaseLookup;
use super::directory_digests::{DigestedDirectory, DirectoryDigester};
use super::input_snapshot::InputSnapshot;
use super::inputs::{Inputs, ignore_files};
use super::keys::KeysError;
use crate::context::{self, ContextError, FileKind, Filter, ignorefile};
use crate::digest::Digest;
use crate::dockerfile::{ContextPaths, Dockerfile, Resolution};
use crate::key::{ContextFile, NamedContext as NamedInput, reads_docker_syntax};
use crate::plan::{BuildSettings, NamedContextSource, SourceSettings};

pub(super) struct VisiblePaths {
    pub(super) context: ContextPaths,
    named: BTreeMap<String, ContextPaths>,
}

impl VisiblePaths {
    pub(super) fn of(dockerfile: &Dockerfile, resolution: &Resolution, source: &SourceSettings) -> Self {
        // An unknown frontend may read everything.
        let foreign = !reads_docker_syntax(dockerfile, &source.build_args);
        let any = foreign || !resolution.unknown_triggers.is_empty();
        let in_use =
            source.named_contexts.keys().filter(|name| any || resolution.named_contexts.contains(*name));
        let named = in_use.map(|name| {
            let known = || resolution.named_paths.get(name).cloned().unwrap_or_default();
            (name.clone(), if foreign { ContextPaths::everything() } else { known() })
        });
        let context = if foreign { ContextPaths::everything() } else { resolution.context.clone() };
        Self { context, named: named.collect() }
    }
}

/// Digests the files that the reached steps can see, without the ignored ones. Returns `None` if they see no files.
pub(super) async fn visible_files(
    directory: &Path,
    inputs: &Inputs,
    seen: &ContextPaths,
    files: &mut DirectoryDigester<'_>,
) -> Result<Option<DigestedDirectory>, ContextError> {
    if seen.is_empty() {
        return Ok(None);
    }
    let exclude = ignore_patterns(ignore_files(directory, &inputs.dockerfile), &mut files.snapshot)?;
    let filter = Filter { exclude, withheld: inputs.withheld(directory), ..Filter::default() };
    Ok(Some(files.digest(directory, filter, seen.clone()).await?))
}

/// Returns the patterns of the first ignore file that exists. `snapshot` records the content of the files.
pub(crate) fn ignore_patterns(
    candidates: impl IntoIterator<Item = PathBuf>,
    snapshot: &mut InputSnapshot,
) -> Result<Vec<String>, ContextError> {
    for path in candidates {
        let read = std::fs::read(&path);
        snapshot.record_file(path.clone(), read.as_deref().ok());
        match read {
            Ok(text) => return Ok(ignorefile::parse(&text)),
            // Without the patterns, ignored files would become inputs and be sent.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(ContextError::unreadable(&path, error));
            }
            Err(_) => {}
        }
    }
    Ok(Vec::new())
}

pub(super) fn context_file(file: context::FileDigest) -> ContextFile {
    let kind = match file.kind {
        FileKind::File => "file",
        FileKind::Directory => "dir",
        FileKind::Symlink => "symlink",
        FileKind::Fifo => "fifo",
        FileKind::CharDevice => "char-device",
        FileKind::BlockDevice => "block-device",
    };
    ContextFile {
        path: file.path,
        kind: kind.to_owned(),
        mode: file.mode,
        digest: file.digest,
        xattrs: file.xattrs,
        size: file.size,
    }
}

/// Returns the inputs for the named contexts in use. A directory's own `.dockerignore` applies to it.
pub(super) async fn named_contexts(
    (settings, inputs): (&BuildSettings, &Inputs),
    resolution: &Resolution,
    seen: &VisiblePaths,
    lookup: &BaseLookup<'_>,
    files: &mut DirectoryDigester<'_>,
) -> Result<BTreeMap<String, NamedInput>, KeysError> {
    let mut contexts = BTreeMap::new();
    for (name, context) in &settings.source.named_contexts {
        let Some(paths) = seen.named.get(name) else { continue };
        let input = match context {
            NamedContextSource::Directory(directory) => {
                let ignore_file = directory.join(ignorefile::FILE_NAME);
                let filter = Filter {
                    exclude: ignore_patterns([ignore_file], &mut files.snapshot)?,
                    withheld: inputs.withheld(directory),
                    ..Filter::default()
                };
                NamedInput::Files(digest_of_files(
                    &files.digest(directory, filter, paths.clone()).await?.files(),
                ))
            }
            NamedContextSource::Reference(address) => {
                let Some(image) = address.strip_prefix("docker-image://") else {
                    return Err(KeysError::RemoteNamedContext(name.clone()));
                };
                let wanted = [(image.to_owned(), resolution.platform.to_string())];
                let digest =
                    lookup.look_up_all(&wanted).await.into_iter().next().and_then(|base| base.digest);
                NamedInput::Address { address: address.clone(), digest }
            }
        };
        contexts.insert(name.clone(), input);
    }
    Ok(contexts)
}

/// Returns one digest for a list of files. Variable-length fields are preceded by their length.
fn digest_of_files(files: &[context::FileDigest]) -> Digest {
    let mut bytes = Vec::new();
    for file in files {
        bytes.extend((file.path.len() as u64).to_le_bytes());
        bytes.extend(file.path.as_bytes());
        bytes.push(file.kind as u8);
        bytes.extend(file.mode.to_le_bytes());
        bytes.extend(file.digest.as_bytes());
        bytes.push(u8::from(file.xattrs.is_some()));
        bytes.extend(file.xattrs.iter().flat_map(Digest::as_bytes));
    }
    Digest::of(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignore_file_that_was_edited_removed_or_created_is_reported() {
        let base = tempfile::tempdir().unwrap();
        let candidates = ["Dockerfile.dockerignore", ".dockerignore"].map(|name| base.path().join(name));
        let [specific, common] = &candidates;
        let changed = |change: &dyn Fn()| {
            std::fs::write(common, "*.log\n").unwrap();
            let mut snapshot = InputSnapshot::default();
            assert_eq!(ignore_patterns(candidates.clone(), &mut snapshot).unwrap(), ["*.log"]);
            change();
            snapshot.changed_inputs()
        };
        assert!(changed(&|| ()).is_empty());
        let name = |path: &Path| [path.display().to_string()];
        assert_eq!(changed(&|| std::fs::write(common, "*.txt\n").unwrap()), name(common));
        assert_eq!(changed(&|| std::fs::remove_file(common).unwrap()), name(common));
        assert_eq!(changed(&|| std::fs::write(specific, "").unwrap()), name(specific));
    }
}
