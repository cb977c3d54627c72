//! Excludes the files that larder itself writes from the directories that a build reads: the cache directory, and the
//! results of this and of earlier builds.
//!
//! These files must not be inputs of a build: they would be copied into the image, including the cache's secret, and
//! change with every build. They are left out of both the key and the context that the engine receives.
//!
//! A directory that `--output` fills belongs to larder if larder created it. A result of an earlier build, or the
//! previous output of this build, is an input if an instruction names it explicitly. Naming the cache directory or a
//! file that this build writes at its end is an error.

use std::path::{Path, PathBuf};
use std::{fs, io};

use super::inputs::{BuildContext, Inputs};
use super::keys::resolve_options;
use crate::dockerfile::{ContextPaths, ContextSelector};
use crate::notes::Notes;
use crate::plan::{BuildSettings, NamedContextSource, OutputDestination, OutputKind};
use crate::platform;

#[derive(Debug, Clone)]
struct LarderPath {
    /// The path without symbolic links, as far as it exists.
    path: PathBuf,
    what: &'static str,
    /// `true` if a build may use it when an instruction names it.
    can_be_named: bool,
    /// `true` if larder also creates missing parent directories.
    creates_parents: bool,
}

#[derive(Debug, Clone, Default)]
struct LarderPaths(Vec<LarderPath>);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the Dockerfile reads `{path}` from the build context, but that is {what}")]
pub(crate) struct WithheldFileError {
    path: String,
    what: &'static str,
}

pub(crate) fn withhold_larder_files(
    inputs: &mut Inputs,
    build: &BuildSettings,
    (cache_dir, notes): (&Path, &Notes),
) -> Result<(), WithheldFileError> {
    let own = LarderPaths::of(build, cache_dir, notes);
    let dockerfile = inputs.built_text().and_then(|text| text.parsed().ok());
    // The named paths do not depend on the base image, and the build itself reports errors in the Dockerfile.
    let resolution = dockerfile.and_then(|file| {
        file.resolve(&resolve_options(&build.source, platform::local_container_platform())).ok()
    });
    let selected = |name: Option<&String>| match (&resolution, name) {
        (None, _) => ContextPaths::default(),
        (Some(resolution), None) => resolution.context.clone(),
        (Some(resolution), Some(name)) => resolution.named_paths.get(name).cloned().unwrap_or_default(),
    };
    if let BuildContext::Directory(directory) = &inputs.context {
        let withheld = own.below(directory, &selected(None))?;
        inputs.withheld.insert(directory.clone(), withheld);
    }
    for (name, context) in &build.source.named_contexts {
        if let NamedContextSource::Directory(directory) = context {
            let withheld = own.below(directory, &selected(Some(name)))?;
            inputs.withheld.insert(directory.clone(), withheld);
        }
    }
    Ok(())
}

impl LarderPaths {
    fn of(build: &BuildSettings, cache_dir: &Path, notes: &Notes) -> Self {
        let mut places = Vec::new();
        let mut add = |path: &Path, what, can_be_named, creates_parents| {
            let path = resolved(path);
            places.extend(path.map(|path| LarderPath { path, what, can_be_named, creates_parents }));
        };
        add(cache_dir, "larder's cache", false, true);
        // The context may be the cache directory itself.
        add(&notes.content(), "larder's cache", false, true);
        let files = [
            ("the file of --metadata-file", &build.metadata_file),
            ("the file of --iidfile", &build.iid_file),
        ];
        for (what, path) in files {
            if let Some(path) = path {
                add(path, what, false, false);
            }
        }
        for output in &build.outputs {
            match &output.kind {
                OutputKind::Local(directory) if is_own_directory(directory, notes) => {
                    add(directory, "the result of --output", true, true);
                }
                OutputKind::Tar(OutputDestination::File(path))
                | OutputKind::Oci(OutputDestination::File(path))
                | OutputKind::Docker(OutputDestination::File(path)) => {
                    add(path, "the result of --output", true, true);
                }
                _ => {}
            }
        }
        for path in notes.results().iter().filter(|path| path.is_file()) {
            add(path, "a result of an earlier command", true, false);
        }
        Self(places)
    }

    /// Returns the paths below `directory` that are left out of the build. Fails if `taken` names one that must not be
    /// used.
    fn below(&self, directory: &Path, taken: &ContextPaths) -> Result<Vec<String>, WithheldFileError> {
        let Ok(root) = fs::canonicalize(directory) else { return Ok(Vec::new()) };
        let mut below: Vec<String> = Vec::new();
        for place in &self.0 {
            let Some(own) = path_below(&root, &place.path) else { continue };
            if taken.selectors().any(|selector| names_path(selector, &own)) {
                if place.can_be_named {
                    continue;
                }
                return Err(WithheldFileError { path: own, what: place.what });
            }
            let outermost = if place.creates_parents { outermost(&root, &place.path) } else { &place.path };
            below.extend(path_below(&root, outermost));
        }
        below.sort_unstable();
        below.dedup();
        Ok(below)
    }
}

/// Returns `true` if larder created the directory or will create it.
pub(crate) fn is_own_directory(directory: &Path, notes: &Notes) -> bool {
    match fs::read_dir(directory) {
        Ok(mut entries) => {
            let is_noted = || fs::canonicalize(directory).is_ok_and(|real| notes.results().contains(&real));
            entries.next().is_none() || is_noted()
        }
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Returns `true` if a source names the path `own` or a path below it.
fn names_path(selector: &ContextSelector, own: &str) -> bool {
    let is_in =
        |path: &str| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let parents = selector.include.as_deref().filter(|_| selector.path.is_empty());
    !selector.is_pattern && (is_in(&selector.path) || parents.is_some_and(is_in))
}

/// Returns the path relative to `root`, or `None` if it is not below `root`.
fn path_below(root: &Path, path: &Path) -> Option<String> {
    let below = path.strip_prefix(root).ok()?.to_str()?;
    (!below.is_empty()).then(|| below.to_owned())
}

/// Returns the highest directory below `root` that contains nothing but `path`. The result is the same before and after
/// larder creates `path`.
fn outermost<'a>(root: &Path, path: &'a Path) -> &'a Path {
    let mut outermost = path;
    while let Some(parent) = outermost.parent().filter(|parent| *parent != root) {
        let has_others = match fs::read_dir(parent) {
            Ok(entries) => entries.flatten().any(|entry| entry.path() != outermost),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        };
        if has_others {
            break;
        }
        outermost = parent;
    }
    outermost
}

/// Returns the path with symbolic links resolved in the part that exists.
fn resolved(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find_map(|ancestor| {
        let real = fs::canonicalize(ancestor).ok()?;
        let rest = path.strip_prefix(ancestor).ok()?;
        Some(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
    })
}
