//! Implements `--auto-mounts`: adds cache mounts to RUN instructions that could use one. The user's Dockerfile is not
//! changed on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::context::{ContextEntry, ContextEntryKind, Filter, WalkedContext, walk_selected};
use crate::dockerfile::{Dockerfile, Options, Resolution, insert_flags};
use crate::key::reads_docker_syntax;
use crate::mounts::{AutoMountInputs, AutoMounts, auto_mounts, has_candidates};
use crate::pipeline::base_lookup::BaseLookup;
use crate::pipeline::blocking::blocking;
use crate::pipeline::error::{PipelineError, Result};
use crate::pipeline::input_snapshot::InputSnapshot;
use crate::pipeline::inputs::{BuildContext, Inputs, NOT_LOCAL, ignore_files};
use crate::pipeline::keys::resolve_options;
use crate::pipeline::reached_mounts::has_version;
use crate::pipeline::reporter::{BuildEvent, Reporter};
use crate::pipeline::session::EngineConnection;
use crate::pipeline::visible_files::ignore_patterns;
use crate::plan::BuildSettings;
use crate::platform;

/// Larger files are assumed to be data, and are not read.
const MAX_READ_BYTES: u64 = 1 << 20;

/// Adds the mounts if requested, and reports the lines. Errors in the Dockerfile are reported by the build itself.
pub(crate) async fn add_auto_mounts(
    inputs: &mut Inputs,
    build: &BuildSettings,
    connection: &EngineConnection,
    reporter: &dyn Reporter,
) -> Result<()> {
    if !build.mounts.auto {
        return Ok(());
    }
    let Some((_, text)) = inputs.user_text() else {
        reporter.warn(&format!("--auto-mounts: {NOT_LOCAL}; nothing is added to it"));
        return Ok(());
    };
    let Ok(dockerfile) = text.parsed().cloned() else { return Ok(()) };
    let text = text.as_str().to_owned();
    let source = &build.source;
    let reason = if !reads_docker_syntax(&dockerfile, &source.build_args) || !supports_mounts(&dockerfile) {
        "the frontend that reads the Dockerfile may not support cache mounts"
    } else if source.options.get("force-network-mode").is_some_and(|mode| mode == "none") {
        "without a network, steps need the files that earlier steps left in their caches"
    } else {
        ""
    };
    if !reason.is_empty() {
        reporter.warn(&format!("--auto-mounts: {reason}; no cache mounts are added"));
        return Ok(());
    }
    let own = connection.platform().await.unwrap_or_else(|_| platform::local_container_platform());
    let lookup = connection.base_lookup(build, inputs);
    let requested: BTreeSet<&String> = source.platforms.iter().collect();
    // `None` is the default platform of the engine.
    let requested = if requested.is_empty() { vec![None] } else { requested.into_iter().map(Some).collect() };
    let mut found: Option<AutoMounts> = None;
    for platform in requested {
        let options = Options { platform: platform.cloned(), ..resolve_options(source, own.clone()) };
        let Some(here) = mounts_on(&dockerfile, options, inputs, &lookup).await else { return Ok(()) };
        found = Some(match found {
            Some(others) => intersection(others, here),
            None => here,
        });
    }
    let AutoMounts { flags, skipped } = found.unwrap_or_default();
    let lines: Vec<usize> = flags.keys().copied().collect();
    reporter.report(&BuildEvent::AutoMounts { lines: &lines, skipped: &skipped });
    if flags.is_empty() {
        return Ok(());
    }
    let changed = insert_flags(&text, &flags);
    inputs.replace_dockerfile(changed).map_err(|error| PipelineError::AutoMounts(Arc::new(error)))
}

/// Returns `true` if the frontend of a Dockerfile supports `--mount`, which 1.0 and 1.1 do not.
fn supports_mounts(dockerfile: &Dockerfile) -> bool {
    !dockerfile.directives.syntax.as_ref().is_some_and(|syntax| has_version(syntax, &["1.0", "1.1"]))
}

/// Returns the mounts for one platform, or `None` if the build itself will fail.
async fn mounts_on(
    dockerfile: &Dockerfile,
    mut options: Options,
    inputs: &Inputs,
    lookup: &BaseLookup<'_>,
) -> Option<AutoMounts> {
    let resolution = dockerfile.resolve(&options).ok()?;
    if !has_candidates(&resolution) {
        return Some(AutoMounts::default());
    }
    let bases = resolution.bases.iter();
    let wanted: Vec<(String, String)> =
        bases.map(|base| (base.reference.clone(), base.platform.to_string())).collect();
    for ((reference, _), base) in wanted.iter().zip(lookup.look_up_all(&wanted).await) {
        options.triggers.extend(base.triggers.map(|triggers| (reference.clone(), triggers)));
        options.base_settings.extend(base.start.map(|start| (reference.clone(), start)));
    }
    let resolution = dockerfile.resolve(&options).ok()?;
    let seen = visible_entries(inputs, &resolution).await;
    let paths: Option<Vec<String>> = seen.as_ref().map(|seen| seen.keys().cloned().collect());
    let read = |path: &str| {
        let entry = seen.as_ref()?.get(path)?;
        let metadata = std::fs::metadata(&entry.absolute).ok().filter(std::fs::Metadata::is_file)?;
        let bytes =
            if metadata.len() <= MAX_READ_BYTES { std::fs::read(&entry.absolute).ok()? } else { Vec::new() };
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let surroundings =
        AutoMountInputs { starts: &options.base_settings, files: paths.as_deref(), read: &read };
    Some(auto_mounts(&resolution, &surroundings))
}

/// Returns the files of the context that the build sees, or `None` if only the engine can read them.
async fn visible_entries(inputs: &Inputs, resolution: &Resolution) -> Option<BTreeMap<String, ContextEntry>> {
    let directory = match &inputs.context {
        _ if resolution.context.is_empty() => return Some(BTreeMap::new()),
        BuildContext::Empty(_) => return Some(BTreeMap::new()),
        BuildContext::Archive(_) | BuildContext::Remote(_) => return None,
        BuildContext::Directory(directory) => directory,
    };
    // The snapshot of the keys detects changes of these files.
    let exclude =
        ignore_patterns(ignore_files(directory, &inputs.dockerfile), &mut InputSnapshot::default()).ok()?;
    let filter = Filter { exclude, withheld: inputs.withheld(directory), ..Filter::default() };
    let (directory, context) = (directory.clone(), resolution.context.clone());
    let WalkedContext { entries, .. } =
        blocking(move || walk_selected(&directory, &filter, &context)).await.ok()?;
    let files = entries.into_iter().filter(|entry| entry.kind != ContextEntryKind::Directory);
    Some(files.map(|entry| (entry.path.clone(), entry)).collect())
}

/// Returns the mounts that are the same for two platforms, because the platforms share the Dockerfile.
fn intersection(mut one: AutoMounts, other: AutoMounts) -> AutoMounts {
    let AutoMounts { flags, skipped: left } = &mut one;
    flags.retain(|line, here| {
        let is_same = other.flags.get(line) == Some(here);
        if !is_same && !other.skipped.iter().any(|left| left.starts_with(&format!("line {line}:"))) {
            left.push(format!("line {line}: cannot add a cache mount: its location depends on the platform"));
        }
        is_same
    });
    let more: Vec<String> = other.skipped.into_iter().filter(|line| !left.contains(line)).collect();
    left.extend(more);
    one
}
