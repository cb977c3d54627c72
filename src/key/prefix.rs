//! Computes the keys of prefixes of an image: of everything in the target stage up to a cut.
//!
//! ```text
//!  FROM python:3.12                       ┐
//!  COPY requirements.txt .                │ after the last instruction that installs dependencies, and after the
//!  RUN pip install -r requirements.txt    ┘ last one that a graft cannot make: here both are the same
//!  COPY . .
//!  CMD ["python", "app.py"]
//! ```
//!
//! A prefix is the image of a Dockerfile whose target stage ends at the cut. Its key is computed from the resolution of
//! exactly that Dockerfile, with the rules of the image key. It does not include:
//!
//! - Anything that is declared, copied or mounted only after the cut.
//! - Options that affect only the final image.
//! - ONBUILD instructions of the target stage, because a prefix is built without them.
//!
//! A directory that is a named context is included with all files that the whole build can see.
//!
//! A graft also publishes prefixes after each of its larger layers, so that these are not created again. They have keys
//! of the same kind.
//!
//! There is no prefix if its base, its frontend or its instructions are not known exactly.

use std::collections::BTreeSet;

use super::encoding::{DuplicateInput, KeyBuilder};
use super::image_inputs::{ContextFile, ImageInputs, NamedContext};
use super::input::{Input, InputKind};
use super::installer::Installations;
use super::reached::shown_text;
use super::{CacheKey, ContextAccess, ParsedDockerfile};
use crate::dockerfile::{
    ContextSelector, Cut, Dockerfile, InstructionKind, Resolution, ResolvedInstruction, ResolvedStage,
    Source, is_remote, truncate_to_prefix,
};

/// The size of copied files in bytes from which on a graft's layer is large: uploading it takes longer than publishing
/// a prefix.
const LARGE_LAYER_SIZE: u64 = 2 << 20;
/// The maximum number of prefixes of a graft, because each of them is looked up.
const MAX_GRAFTED: usize = 4;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PrefixKey {
    pub(crate) cut: Cut,
    /// The first line of the last instruction of the prefix.
    pub(crate) line: usize,
    /// The text of that instruction for display: shortened, and without credentials.
    pub(crate) instruction: String,
    pub(crate) key: CacheKey,
    /// The inputs of the key, sorted by kind and name. As for the image key, the digests of confidential ones must stay
    /// in the process.
    pub(crate) inputs: Vec<Input>,
}

impl PrefixKey {
    /// Returns the position of the end of the prefix, for display.
    pub(crate) fn describe_end(&self) -> String {
        const MOST: usize = 60;
        let is_long = self.instruction.chars().count() > MOST;
        let shown: String = self.instruction.chars().take(MOST).chain(is_long.then_some('…')).collect();
        format!("line {} ({shown})", self.line)
    }

    /// Returns `true` if the prefix also depends on this input of the image's keys. It depends on a dependency file if
    /// it contains the file.
    pub(crate) fn depends_on(&self, input: &Input) -> bool {
        let kind = if input.kind == InputKind::Requirement { InputKind::File } else { input.kind };
        let wanted = (kind.name(), input.name.as_str());
        let found = self.inputs.binary_search_by(|own| (own.kind.name(), own.name.as_str()).cmp(&wanted));
        found.is_ok_and(|place| kind != input.kind || self.inputs[place] == *input)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPrefixReason {
    #[error("the image is built for several platforms")]
    SeveralPlatforms,
    #[error("the instructions of the Dockerfile are unknown")]
    UnknownInstructions,
    #[error("the Dockerfile uses the unknown frontend {0}")]
    UnknownFrontend(String),
    #[error("the frontend {0} has no known digest")]
    UnpinnedFrontend(String),
    #[error("the base image {0} has no known digest")]
    UnpinnedBase(String),
    #[error("the named context {0} has no known digest")]
    UnpinnedContext(String),
    #[error("the target stage has no RUN and copies from no other stage")]
    NoBuilderStep,
}

/// The prefixes of an image, the deepest first, or the reason why there are none. Never empty; at most two.
pub(crate) type PrefixKeys = Result<Vec<PrefixKey>, NoPrefixReason>;

pub(super) struct UnfinishedPrefix {
    cut: Cut,
    line: usize,
    instruction: String,
    pub(super) inputs: KeyBuilder,
}

impl UnfinishedPrefix {
    pub(super) fn with_key(self, key: CacheKey) -> PrefixKey {
        let Self { cut, line, instruction, inputs } = self;
        PrefixKey { cut, line, instruction, key, inputs: inputs.into_inputs() }
    }
}

pub(super) struct UnfinishedPrefixes {
    /// The deepest first.
    pub(super) prefixes: Result<Vec<UnfinishedPrefix>, NoPrefixReason>,
    /// The prefixes of a graft, the deepest first.
    pub(super) grafted: Vec<UnfinishedPrefix>,
}

impl UnfinishedPrefixes {
    pub(super) fn none(reason: NoPrefixReason) -> Self {
        Self { prefixes: Err(reason), grafted: Vec::new() }
    }
}

pub(super) fn prefixes(
    inputs: &ImageInputs<'_>,
    parsed: &ParsedDockerfile<'_>,
    installations: &Installations,
    context: &ContextAccess<'_>,
) -> Result<UnfinishedPrefixes, DuplicateInput> {
    if let Some(frontend) = unpinned_frontend(inputs, parsed) {
        return Ok(UnfinishedPrefixes::none(NoPrefixReason::UnpinnedFrontend(frontend)));
    }
    let mut found = Vec::new();
    let mut fault = NoPrefixReason::NoBuilderStep;
    let (graft, cuts) = cuts(parsed.resolution, installations, inputs.files);
    for cut in cuts {
        match prefix(cut, inputs, parsed, context)? {
            Ok(prefix) => found.push(prefix),
            Err(reason) => fault = reason,
        }
    }
    let mut grafted = Vec::new();
    if let Some(graft) = graft.filter(|graft| found.iter().any(|prefix| prefix.cut == *graft)) {
        for cut in large_layers(parsed.resolution, graft, context) {
            grafted.extend(prefix(cut, inputs, parsed, context)?.ok());
        }
    }
    Ok(UnfinishedPrefixes { prefixes: if found.is_empty() { Err(fault) } else { Ok(found) }, grafted })
}

fn prefix(
    cut: Cut,
    inputs: &ImageInputs<'_>,
    parsed: &ParsedDockerfile<'_>,
    context: &ContextAccess<'_>,
) -> Result<Result<UnfinishedPrefix, NoPrefixReason>, DuplicateInput> {
    // The whole Dockerfile can be parsed and resolved, so this should succeed for a part of it.
    let Ok(dockerfile) = Dockerfile::parse(&truncate_to_prefix(inputs.text, parsed.dockerfile, cut)) else {
        return Ok(Err(NoPrefixReason::UnknownInstructions));
    };
    let Ok(resolution) = dockerfile.resolve(parsed.options) else {
        return Ok(Err(NoPrefixReason::UnknownInstructions));
    };
    if let Some(unpinned) = unpinned(inputs, &resolution) {
        return Ok(Err(unpinned));
    }
    let selected;
    let files = if resolution.context == parsed.resolution.context {
        inputs.files
    } else {
        selected = (context.select)(&resolution.context);
        &selected
    };
    let mut key = KeyBuilder::default();
    ImageInputs { files, ..inputs.clone() }.add_reached(&mut key, &dockerfile, &resolution)?;
    let last = &parsed.dockerfile.stages[cut.stage].instructions[cut.instructions - 1];
    let (line, instruction) = (*last.lines.start(), shown_text(&last.text));
    Ok(Ok(UnfinishedPrefix { cut, line, instruction, inputs: key }))
}

/// Returns the cuts after the COPY and ADD instructions behind `graft` that copy large files, the deepest first.
fn large_layers(resolution: &Resolution, graft: Cut, context: &ContextAccess<'_>) -> Vec<Cut> {
    let Some(target) = stage(resolution, graft.stage) else { return Vec::new() };
    let own = target.instructions.iter().filter(|at| !at.is_trigger).zip(1..).skip(graft.instructions);
    let is_large = |at: &ResolvedInstruction| {
        let sources = at.context.iter();
        let selectors = sources.map(|source| ContextSelector::of_copy(&source.path, false, Vec::new()));
        let files = (context.select)(&selectors.collect());
        files.iter().map(|file| file.size).sum::<u64>() >= LARGE_LAYER_SIZE
    };
    let mut cuts: Vec<Cut> = own
        .filter(|(at, _)| !at.context.is_empty() && is_large(at))
        .map(|(_, instructions)| Cut { stage: graft.stage, instructions })
        .collect();
    cuts.reverse();
    cuts.truncate(MAX_GRAFTED);
    cuts
}

/// Returns the frontend of the Dockerfile if it is an image without a known digest.
fn unpinned_frontend(inputs: &ImageInputs<'_>, parsed: &ParsedDockerfile<'_>) -> Option<String> {
    if let Some(frontend) = inputs.build_args.get("BUILDKIT_SYNTAX") {
        // The digest of this frontend is not looked up.
        return (!frontend.contains("@sha256:")).then(|| "given with BUILDKIT_SYNTAX".to_owned());
    }
    let syntax = parsed.dockerfile.directives.syntax.as_ref()?;
    let is_pinned = inputs.bases.iter().any(|pin| pin.reference == *syntax && pin.digest.is_some());
    (!is_pinned).then(|| syntax.clone())
}

/// Returns the reason why the content of an image or context that a prefix uses is not known exactly, if there is one.
fn unpinned(inputs: &ImageInputs<'_>, resolution: &Resolution) -> Option<NoPrefixReason> {
    let is_pinned = |reference: &str, platform: &str| {
        let mut pins = inputs.bases.iter();
        pins.any(|pin| pin.reference == reference && pin.platform == platform && pin.digest.is_some())
    };
    let base = resolution.bases.iter().find(|base| !is_pinned(&base.reference, &base.platform.to_string()));
    if let Some(base) = base {
        return Some(NoPrefixReason::UnpinnedBase(base.written.clone()));
    }
    let mut used = inputs.named_contexts.iter().filter(|(name, _)| resolution.named_contexts.contains(*name));
    let unpinned = used.find(|(_, context)| matches!(context, NamedContext::Address { digest: None, .. }));
    unpinned.map(|(name, _)| NoPrefixReason::UnpinnedContext(name.clone()))
}

/// Returns the cuts of the prefixes, the deepest first: after the last instruction of the target stage that a graft
/// cannot execute, and after the last one that installs dependencies. Also returns the first of these two separately.
fn cuts(
    resolution: &Resolution,
    installations: &Installations,
    files: &[ContextFile],
) -> (Option<Cut>, Vec<Cut>) {
    let Some(target) = stage(resolution, resolution.target) else { return (None, Vec::new()) };
    let needs_builder =
        |stage: &ResolvedStage, number: usize| is_made_by_builder(&stage.instructions[number], files);
    let graft = last_cut(resolution, target, &needs_builder);
    let installs =
        |stage: &ResolvedStage, number: usize| installations.provides_dependencies(resolution, stage, number);
    let mut cuts = [graft, last_cut(resolution, target, &installs)].into_iter().flatten().collect::<Vec<_>>();
    cuts.sort_unstable_by(|one, other| other.cmp(one));
    cuts.dedup();
    (graft, cuts)
}

/// Returns the cut after the last instruction of the target stage for which `is_wanted` returns `true`. If there is one
/// only in a stage that it is based on, the cut is after the FROM.
fn last_cut(
    resolution: &Resolution,
    target: &ResolvedStage,
    is_wanted: &dyn Fn(&ResolvedStage, usize) -> bool,
) -> Option<Cut> {
    let has = |stage: &ResolvedStage| (1..stage.instructions.len()).rfind(|number| is_wanted(stage, *number));
    let instructions = if let Some(number) = has(target) {
        target.instructions[..=number].iter().filter(|resolved| !resolved.is_trigger).count()
    } else {
        let mut base = parent(resolution, target);
        while base.is_some_and(|stage| has(stage).is_none()) {
            base = base.and_then(|stage| parent(resolution, stage));
        }
        base.map(|_| 1)?
    };
    Some(Cut { stage: target.index, instructions })
}

fn stage(resolution: &Resolution, index: usize) -> Option<&ResolvedStage> {
    resolution.stages.iter().find(|stage| stage.index == index)
}

fn parent<'a>(resolution: &'a Resolution, of: &ResolvedStage) -> Option<&'a ResolvedStage> {
    if let Source::Stage(base) = of.base { stage(resolution, base) } else { None }
}

/// Returns `true` if only BuildKit can create the layer of an instruction: a RUN, a copy from something other than the
/// context, or an ADD of something that may be an archive.
fn is_made_by_builder(resolved: &ResolvedInstruction, files: &[ContextFile]) -> bool {
    match &resolved.instruction.kind {
        InstructionKind::Run(_) => true,
        InstructionKind::Copy(_) => !resolved.sources.is_empty(),
        InstructionKind::Add(transfer) => {
            let paths: BTreeSet<&str> = resolved.context.iter().map(|source| source.path.as_str()).collect();
            !resolved.sources.is_empty()
                || transfer.sources.iter().any(|source| is_remote(source))
                || paths.into_iter().any(|path| may_be_unpacked(path, files))
        }
        _ => false,
    }
}

/// The extensions of text files, which are never archives.
const TEXT_EXTENSIONS: &str = "c cc cfg conf cpp css csv env go h html ini java js json jsx key lock md mjs pem \
    properties py rb rs rst sh sql toml ts tsx txt xml yaml yml";

/// Returns `true` if an ADD of `path` may unpack an archive: it is not a directory, and its name does not rule it out.
fn may_be_unpacked(path: &str, files: &[ContextFile]) -> bool {
    let is_below = |file: &ContextFile| {
        file.path
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with('/') || rest.is_empty() && file.kind == "dir")
    };
    if path.is_empty() || files.iter().any(is_below) {
        return false;
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    !extension.is_some_and(|extension| TEXT_EXTENSIONS.split(' ').any(|text| text == extension))
}
