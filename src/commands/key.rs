//! `larder key`: prints the keys of a build and their inputs.

use std::fmt::Write as _;

use serde::Serialize;

use super::error::CommandError;
use super::print_result;
use crate::cli::KeyArgs;
use crate::commands::CommandContext;
use crate::key::{CacheKey, Input, InputKind, PrefixKey, PrefixKeys};
use crate::output::Printer;
use crate::pipeline::keyed_build::KeyedBuild;
use crate::pipeline::keys::BuildKeys;
use crate::screen_text::screen_text;
use crate::settings::BuildSettings;

#[derive(Serialize)]
struct KeyOutput {
    schema: &'static str,
    image_key: CacheKey,
    dependency_key: CacheKey,
    /// Deepest first.
    prefixes: Vec<PrefixOutput>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_prefixes: Option<String>,
    unpinned: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<Vec<Input>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependency_inputs: Option<Vec<Input>>,
}

/// A prefix in the output of `larder key` and `larder why`.
#[derive(Serialize)]
pub(super) struct PrefixLine {
    key: CacheKey,
    /// The line of the last instruction.
    line: usize,
    instruction: String,
    #[serde(skip)]
    pub(super) place: String,
}

impl From<&PrefixKey> for PrefixLine {
    fn from(prefix: &PrefixKey) -> Self {
        let (line, instruction) = (prefix.line, prefix.instruction.clone());
        Self { key: prefix.key, line, instruction, place: prefix.describe_end() }
    }
}

#[derive(Serialize)]
struct PrefixOutput {
    #[serde(flatten)]
    shown: PrefixLine,
    #[serde(skip_serializing_if = "Option::is_none")]
    inputs: Option<Vec<Input>>,
}

pub(super) async fn run(
    args: &KeyArgs,
    command: &CommandContext<'_>,
    mut printer: Printer,
) -> Result<(), CommandError> {
    let settings = command.settings;
    let build = BuildSettings::resolve(&args.build, settings, command.environment)?;
    printer.set_progress(build.progress);
    let keyed = KeyedBuild::compute(&build, command.session, &printer).await?;
    let BuildKeys { keys, unpinned, .. } = keyed.keys;
    let published = |inputs: &[Input]| -> Option<Vec<Input>> {
        args.explain.then(|| {
            sort_numbered_inputs(inputs.iter().map(|input| settings.job.seal.publish(input)).collect())
        })
    };
    let prefix =
        |prefix: &PrefixKey| PrefixOutput { shown: prefix.into(), inputs: published(&prefix.inputs) };
    let prefixes: &PrefixKeys = &keys.prefixes;
    let output = KeyOutput {
        schema: "larder.key.v1",
        image_key: keys.image,
        dependency_key: keys.dependency,
        prefixes: prefixes.iter().flatten().map(prefix).collect(),
        no_prefixes: prefixes.as_ref().err().map(ToString::to_string),
        unpinned,
        inputs: published(&keys.inputs),
        dependency_inputs: published(&keys.dependency_inputs),
    };
    print_result(printer, args.format, &output, || text(&output))
}

fn text(output: &KeyOutput) -> String {
    let mut text = String::new();
    let keys = [
        ("image key".to_owned(), output.image_key, &output.inputs),
        ("dependency key".to_owned(), output.dependency_key, &output.dependency_inputs),
    ];
    let prefixes = output.prefixes.iter().map(|PrefixOutput { shown, inputs }| {
        (format!("prefix key, up to {}", screen_text(&shown.place)), shown.key, inputs)
    });
    for (name, key, inputs) in keys.into_iter().chain(prefixes) {
        let _ = writeln!(text, "{name}: {key}");
        for Input { kind, name, digest, about, .. } in inputs.iter().flatten() {
            // The text of an instruction begins with the keyword at the end of its name.
            let shown = match (kind, name.split_once(' ')) {
                (InputKind::Instruction, Some((place, name))) if !about.is_empty() => {
                    let platform = name.split_once(" on ").map(|(_, name)| format!(" (on {name})"));
                    format!("{place} {about}{}", platform.unwrap_or_default())
                }
                (InputKind::Stage, _) if !about.is_empty() => format!("{name} {about}"),
                _ => name.clone(),
            };
            let _ = writeln!(text, "  {:<18} {digest}  {}", kind.name(), screen_text(&shown));
        }
    }
    if let Some(reason) = &output.no_prefixes {
        let _ = writeln!(text, "no prefix key: {}", screen_text(reason));
    }
    text
}

/// Sorts numbered inputs of each kind by number; the others remain sorted by name.
fn sort_numbered_inputs(mut inputs: Vec<Input>) -> Vec<Input> {
    let is_numbered = |kind| matches!(kind, InputKind::Stage | InputKind::Instruction | InputKind::StageArg);
    for run in inputs.chunk_by_mut(|one, other| one.kind == other.kind) {
        if run.first().is_some_and(|input| is_numbered(input.kind)) {
            run.sort_by_key(Input::stage_and_number);
        }
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_inputs_are_listed_by_number() {
        let table: &[(InputKind, &[&str], &[&str])] = &[
            (
                InputKind::Instruction,
                &["0/10 RUN", "0/2 RUN", "10/1 ENV", "2/1 ENV"],
                &["0/2 RUN", "0/10 RUN", "2/1 ENV", "10/1 ENV"],
            ),
            (InputKind::Stage, &["0", "10", "2"], &["0", "2", "10"]),
            (InputKind::StageArg, &["10/A", "2/A", "2/B"], &["2/A", "2/B", "10/A"]),
            (InputKind::File, &["10", "2"], &["10", "2"]),
        ];
        for (kind, given, expected) in table {
            let inputs = given.iter().map(|name| Input::of_values(*kind, *name, &[])).collect();
            let names: Vec<String> =
                sort_numbered_inputs(inputs).into_iter().map(|input| input.name).collect();
            assert_eq!(names, *expected);
        }
    }
}
