//! Converts the reached stages to key inputs: stages, instructions, arguments, images.
//!
//! Stages are numbered among the reached ones and instructions within their stage, never by line, name or position in
//! the file, so that comments, stage names and unreached stages do not matter.

use std::collections::{BTreeMap, BTreeSet};

use super::encoding::{DuplicateInput, KeyBuilder};
use super::image_inputs::{BasePin, pinned, shown_digest};
use super::input::{Input, InputKind};
use crate::dockerfile::{InstructionKind, Resolution, ResolvedStage, Source};
use crate::error_chain::one_line;
use crate::requirements::without_secrets;

/// A resolution, with the names that its stages and base images have in a key.
pub(super) struct ReachedStages<'a> {
    resolution: &'a Resolution,
    /// Index in the Dockerfile → position among the reached stages.
    places: BTreeMap<usize, usize>,
    bases: Vec<String>,
}

impl<'a> ReachedStages<'a> {
    pub(super) fn of(resolution: &'a Resolution) -> Self {
        let places = resolution.stages.iter().zip(0..).map(|(stage, place)| (stage.index, place));
        let mut times = BTreeMap::new();
        let bases = resolution.bases.iter().map(|base| {
            let seen: &mut usize = times.entry(&base.written).or_default();
            *seen += 1;
            // The same reference can mean two images, for two platforms.
            if *seen == 1 { base.written.clone() } else { format!("{} #{seen}", base.written) }
        });
        let bases = bases.collect();
        Self { resolution, places: places.collect(), bases }
    }

    /// Returns the position of a stage among the reached ones.
    pub(super) fn position(&self, index: usize) -> usize {
        // Stages that a reached stage refers to are reached, too.
        self.places.get(&index).copied().unwrap_or(usize::MAX)
    }

    fn describe_source(&self, source: &Source) -> [String; 2] {
        match source {
            Source::Stage(index) => ["stage".to_owned(), self.position(*index).to_string()],
            Source::Image(index) => ["image".to_owned(), self.bases[*index].clone()],
            Source::Context(name) => ["context".to_owned(), name.clone()],
            Source::Scratch => ["scratch".to_owned(), String::new()],
        }
    }

    /// Adds a stage: its base, and the first `count` of its instructions with the values of the arguments that they
    /// declare.
    pub(super) fn add_stage(
        &self,
        key: &mut KeyBuilder,
        stage: &ResolvedStage,
        count: usize,
    ) -> Result<(), DuplicateInput> {
        let label = self.position(stage.index).to_string();
        let [kind, name] = self.describe_source(&stage.base);
        let replaced: &[u8] = if stage.instructions.is_empty() { b"replaced" } else { b"" };
        let mut values = vec![kind.as_bytes(), name.as_bytes(), replaced];
        // The platform of a base image is part of the image's own input. For any other base, it ends up in the image's
        // config.
        let platform = stage.platform.as_ref().filter(|_| !matches!(stage.base, Source::Image(_)));
        let platform = platform.map(ToString::to_string);
        values.extend(platform.iter().map(String::as_bytes));
        let (from, line) = match stage.instructions.first() {
            Some(from) => (shown_text(&from.instruction.text), *from.instruction.lines.start()),
            None => (format!("{kind} {name}"), 0),
        };
        key.add(Input::of_values(InputKind::Stage, &label, &values).about(from).on_line(line))?;
        let mut declared: BTreeMap<&str, Vec<Option<&str>>> = BTreeMap::new();
        // The first instruction is the FROM, which was added as the base of the stage.
        for (number, resolved) in stage.instructions.iter().take(count).enumerate().skip(1) {
            let instruction = &resolved.instruction;
            let sources: Vec<[String; 2]> =
                resolved.sources.iter().map(|source| self.describe_source(source)).collect();
            let count = (instruction.canonical.len() as u64).to_le_bytes();
            let mut values = vec![count.as_slice()];
            values.extend(instruction.canonical.iter().map(String::as_bytes));
            values.extend(sources.iter().flatten().map(String::as_bytes));
            let name = format!("{label}/{number} {}", instruction.keyword);
            let about = shown_text(&instruction.text);
            let input = Input::of_values(InputKind::Instruction, name, &values).about(about);
            // A trigger is not a line of this file.
            key.add(if resolved.is_trigger { input } else { input.on_line(*instruction.lines.start()) })?;
            if let InstructionKind::Arg(args) = &instruction.kind {
                for (name, _) in args {
                    declared.entry(name).or_default().push(resolved.scope.get(name));
                }
            }
        }
        for (name, values) in declared {
            let fields = values.iter().flat_map(|value| match value {
                Some(value) => [b"set".as_slice(), value.as_bytes()],
                None => [b"unset".as_slice(), b""],
            });
            let fields: Vec<&[u8]> = fields.collect();
            key.add_values(InputKind::StageArg, format!("{label}/{name}"), &fields)?;
        }
        Ok(())
    }

    pub(super) fn add_bases(
        &self,
        key: &mut KeyBuilder,
        wanted: &BTreeSet<usize>,
        pins: &[BasePin],
    ) -> Result<(), DuplicateInput> {
        for index in wanted {
            let base = &self.resolution.bases[*index];
            let platform = base.platform.to_string();
            let pin = pins.iter().find(|pin| pin.reference == base.reference && pin.platform == platform);
            let [state, digest] = pinned(pin.and_then(|pin| pin.digest.as_deref()));
            let values = [platform.as_bytes(), state, digest];
            key.add_described(
                InputKind::BaseImage,
                &self.bases[*index],
                &values,
                pin.map_or("unpinned", shown_digest),
            )?;
            if digest.is_empty() {
                key.add_values(InputKind::BaseName, &self.bases[*index], &[base.reference.as_bytes()])?;
            }
        }
        Ok(())
    }
}

/// Returns an instruction's source for display: shortened, and without comments, continuations and credentials.
pub(crate) fn shown_text(source: &str) -> String {
    const MOST: usize = 2000;
    let lines = source.lines().filter(|line| !line.trim_start().starts_with('#'));
    let mut joined = String::new();
    for line in lines {
        // Lines are joined as the parser does it, because an address may continue on the next line.
        match line.trim_end().strip_suffix(['\\', '`']) {
            Some(continued) => joined.push_str(continued),
            None => joined.extend([line, " "]),
        }
    }
    let joined = without_secrets(&one_line(&joined));
    if joined.chars().count() <= MOST { joined } else { joined.chars().take(MOST).chain(['…']).collect() }
}
