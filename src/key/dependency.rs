//! Computes the dependency key: two builds with the same key install the same dependencies in the same way.
//!
//! The key includes each reached stage that installs dependencies, up to and including its last installing RUN. A stage
//! that such a part is based on or copies from is included in full. If no stage installs anything, each reached stage
//! is included up to its first instruction that reads the context.
//!
//! Of the context, the key includes only dependency files:
//!
//! - Files that the included RUNs name, with the files that these include. They are found through the COPY, ADD or bind
//!   mount that provides them.
//! - Files that an included instruction copies one by one: a script or a lock file that is copied before an
//!   installation belongs to it.
//! - The scripts, named files and mounts of a RUN that installs through a script (see `installer`).
//!
//! Other files of a `COPY . .` are not included, so the key does not determine the bytes of a layer; the image key
//! does. A named file that is not in the context is included as missing, under the name that the command uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::encoding::{CacheKey, DuplicateInput, KeyBuilder};
use super::image_inputs::{ContextFile, ImageInputs};
use super::input::{Input, InputKind};
use super::installer::Installations;
use super::project::ContextLookup;
use super::reached::ReachedStages;
use crate::digest::Digest;
use crate::dockerfile::{
    Dockerfile, InstructionKind, Resolution, ResolvedInstruction, ResolvedStage, Source,
};
use crate::requirements::{self, DependencyClosure};

/// A RUN, by its stage's index in the Dockerfile and its first line.
pub(crate) type RunPlace = (usize, usize);

/// The layers that a dependency key determines completely, except for the exact form of its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DependencyLayers {
    /// A digest of the exact dependency files: of the content that the key omits, and of the modes.
    files: Digest,
    pub(crate) runs: BTreeSet<RunPlace>,
}

impl DependencyLayers {
    pub(super) fn none() -> Self {
        Self { files: Digest::of(b""), runs: BTreeSet::new() }
    }

    /// Returns a digest of the layers under a dependency key. Equal digests mean equal layers.
    pub(crate) fn digest(&self, dependency_key: CacheKey) -> Digest {
        Digest::of(format!("larder-layers-v1\n{dependency_key}\n{}", self.files).as_bytes())
    }
}

pub(super) fn dependency(
    inputs: &ImageInputs<'_>,
    dockerfile: &Dockerfile,
    resolution: &Resolution,
    project: &ContextLookup<'_>,
    installations: &Installations,
) -> Result<(KeyBuilder, DependencyLayers), DuplicateInput> {
    let mut key = KeyBuilder::default();
    inputs.add_directives(&mut key, dockerfile)?;
    ImageInputs::add_platform(&mut key, resolution)?;
    inputs.add_run_options(&mut key)?;
    inputs.add_extra(&mut key)?;
    inputs.add_ids(&mut key, resolution)?;
    let reached = ReachedStages::of(resolution);
    let counted =
        IncludedInstructions::of(resolution, &|stage, number| installations.at(stage, number).installs);
    let (mut images, mut contexts) = (BTreeSet::new(), BTreeSet::new());
    for (stage, instructions) in counted.stages() {
        reached.add_stage(&mut key, stage, instructions.len())?;
        for source in sources(stage, instructions) {
            match source {
                Source::Image(index) => _ = images.insert(*index),
                Source::Context(name) => _ = contexts.insert(name.as_str()),
                Source::Stage(_) | Source::Scratch => {}
            }
        }
    }
    reached.add_bases(&mut key, &images, inputs.bases)?;
    let has_unknown_triggers = !resolution.unknown_triggers.is_empty();
    inputs.add_contexts(&mut key, |name| has_unknown_triggers || contexts.contains(name))?;
    inputs.add_build_args(&mut key, |name| {
        name.starts_with("BUILDKIT_") || (has_unknown_triggers && resolution.sees_undeclared_arg(name))
    })?;
    if has_unknown_triggers {
        // A trigger may copy and install anything.
        inputs.add_files(&mut key)?;
    }
    let mut closure = DependencyClosure::default();
    let mut copied = BTreeSet::new();
    for (stage, instructions) in counted.stages() {
        for (number, resolved) in instructions.iter().enumerate() {
            copied.extend(resolved.context.iter().map(|source| source.path.as_str()));
            let installation = installations.at(stage.index, number);
            copied.extend(installation.files.iter().map(String::as_str));
            for named in &installation.named {
                closure.add(&named.uses, &project.seen_by(stage, number, named));
            }
        }
    }
    for (path, content) in &closure.files {
        let pins = requirements::listing(path, content);
        key.add(Input::of_values(InputKind::Requirement, path, &[content]).pinning(pins))?;
    }
    let alone = |file: &&ContextFile| {
        let path = file.path.as_str();
        file.kind != "dir" && copied.contains(path) && !closure.files.contains_key(path)
    };
    for file in inputs.files.iter().filter(alone).filter(|_| !has_unknown_triggers) {
        // The digest is used because such a file may be too large to be read here.
        let content = if file.kind == "file" { None } else { project.read(&file.path) };
        let digest = content.map_or(file.digest, |content| Digest::of(&content));
        key.add_values(InputKind::File, &file.path, &[file.kind.as_bytes(), digest.as_bytes()])?;
    }
    for path in &closure.missing {
        key.add_values(InputKind::MissingRequirement, path, &[])?;
    }
    if has_unknown_triggers {
        return Ok((key, DependencyLayers::none()));
    }
    let counts = |file: &&ContextFile| closure.files.contains_key(&file.path) || alone(file);
    let files: BTreeMap<&str, &ContextFile> =
        inputs.files.iter().filter(counts).map(|file| (file.path.as_str(), file)).collect();
    let runs = counted.determined_runs(&|path| files.contains_key(path));
    let mut written = String::new();
    for (path, ContextFile { mode, digest, xattrs, .. }) in &files {
        let _ = writeln!(written, "{path:?} {mode:o} {digest} {xattrs:?}");
    }
    Ok((key, DependencyLayers { files: Digest::of(written.as_bytes()), runs }))
}

/// The number of instructions of each reached stage that are included.
struct IncludedInstructions<'a> {
    resolution: &'a Resolution,
    /// By index in the Dockerfile.
    counts: BTreeMap<usize, usize>,
}

impl<'a> IncludedInstructions<'a> {
    /// `installs` returns `true` if an instruction, by its stage's index and its number, installs dependencies.
    fn of(resolution: &'a Resolution, installs: &dyn Fn(usize, usize) -> bool) -> Self {
        let stages = &resolution.stages;
        let installing = stages.iter().filter_map(|stage| {
            let last = (0..stage.instructions.len()).rfind(|number| installs(stage.index, *number))?;
            Some((stage.index, last + 1))
        });
        let mut counts: BTreeMap<usize, usize> = installing.collect();
        if counts.is_empty() {
            counts.extend(stages.iter().map(|stage| {
                let reads = stage.instructions.iter().position(|resolved| !resolved.context.is_empty());
                (stage.index, reads.unwrap_or(stage.instructions.len()))
            }));
        }
        let mut counted = Self { resolution, counts };
        loop {
            let needed: Vec<usize> = counted
                .stages()
                .flat_map(|(stage, instructions)| sources(stage, instructions))
                .filter_map(|source| if let Source::Stage(index) = source { Some(*index) } else { None })
                .collect();
            let mut grown = false;
            for stage in stages.iter().filter(|stage| needed.contains(&stage.index)) {
                let all = stage.instructions.len();
                grown |= counted.counts.insert(stage.index, all) != Some(all);
            }
            if !grown {
                return counted;
            }
        }
    }

    /// Returns the RUNs before which only `known` files of the context are read.
    fn determined_runs(&self, known: &dyn Fn(&str) -> bool) -> BTreeSet<RunPlace> {
        let mut decided = BTreeSet::new();
        let mut known_stages = BTreeSet::new();
        // Stages come after those that they use.
        for (stage, instructions) in self.stages() {
            let is_known =
                |source: &Source| !matches!(source, Source::Stage(index) if !known_stages.contains(index));
            let mut before = is_known(&stage.base);
            for resolved in instructions {
                before &= resolved.sources.iter().all(is_known)
                    && resolved.context.iter().all(|source| known(&source.path));
                if before
                    && !resolved.is_trigger
                    && matches!(resolved.instruction.kind, InstructionKind::Run(_))
                {
                    decided.insert((stage.index, *resolved.instruction.lines.start()));
                }
            }
            if before {
                known_stages.insert(stage.index);
            }
        }
        decided
    }

    fn stages(&self) -> impl Iterator<Item = (&'a ResolvedStage, &'a [ResolvedInstruction])> {
        self.resolution.stages.iter().filter_map(|stage| {
            let count = *self.counts.get(&stage.index)?;
            Some((stage, &stage.instructions[..count]))
        })
    }
}

/// Returns the base of a stage, and the sources of its included instructions.
fn sources<'a>(
    stage: &'a ResolvedStage,
    instructions: &'a [ResolvedInstruction],
) -> impl Iterator<Item = &'a Source> {
    let sources = instructions.iter().flat_map(|resolved| &resolved.sources);
    std::iter::once(&stage.base).chain(sources)
}
