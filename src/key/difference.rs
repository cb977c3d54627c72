//! Compares two keys by their inputs.
//!
//! Inputs are compared by digest. Instructions are aligned stage by stage, so that an inserted line is one addition
//! instead of a change of all lines after it. A file that was removed under one name and added under a different one
//! was moved.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::input::{Input, InputKind};
use crate::requirements;

/// One difference between two keys. At least one side is present.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct InputChange {
    pub(crate) kind: InputKind,
    /// `None` for an addition.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Input>,
    /// `None` for a removal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Input>,
    /// The changed pins of a dependency file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) pins: Vec<requirements::DependencyChange>,
}

impl InputChange {
    fn between(before: Option<&Input>, after: Option<&Input>) -> Option<Self> {
        let kind = before.or(after)?.kind;
        let pins = |input: Option<&Input>| input.map(|input| input.pins.clone()).unwrap_or_default();
        let changed = requirements::dependency_changes(&pins(before), &pins(after));
        // The full lists would repeat the unchanged pins.
        let side = |input: Option<&Input>| input.map(|input| Input { pins: Vec::new(), ..input.clone() });
        Some(Self { kind, before: side(before), after: side(after), pins: changed })
    }

    /// Returns the name of the input after the change, or before it if the input was removed.
    pub(crate) fn name(&self) -> &str {
        self.after.as_ref().or(self.before.as_ref()).map_or("", |input| &input.name)
    }

    /// Returns `true` if a different stage is built. A stage without a name is identified by its number, which depends
    /// on the stages before it, so a different number is not a different stage.
    pub(crate) fn is_target_change(&self) -> bool {
        let (InputKind::Target, Some(was), Some(is)) = (self.kind, &self.before, &self.after) else {
            return false;
        };
        let is_number = |input: &Input| input.about.parse::<usize>().is_ok();
        let is_known = !was.about.is_empty() && !is.about.is_empty();
        is_known && was.about != is.about && !(is_number(was) && is_number(is))
    }

    /// Returns `true` if a file was renamed without a change of its content.
    pub(crate) fn is_move(&self) -> bool {
        let sides = self.before.as_ref().zip(self.after.as_ref());
        self.kind == InputKind::File && sides.is_some_and(|(before, after)| before.name != after.name)
    }
}

/// Returns the differences from `before` to `after`, likely causes first.
pub(crate) fn difference(before: &[Input], after: &[Input]) -> Vec<InputChange> {
    let mut changes = compare_by_name(before, after);
    changes.extend(compare_instructions(before, after));
    let mut changes = detect_moves(changes);
    // A changed requirement file is reported by its content, so it is not reported as a changed file, too.
    let reported: Vec<String> = changes
        .iter()
        .filter(|change| change.kind == InputKind::Requirement)
        .map(|change| change.name().to_owned())
        .collect();
    changes.retain(|change| match change.kind {
        InputKind::File => !reported.iter().any(|name| name == change.name()),
        // These inputs follow from the others.
        InputKind::PlatformInputs => false,
        _ => true,
    });
    if let Some(target) = other_target(before, after) {
        // If the stages differ, everything in them does.
        changes.retain(|change| !depends_on_target(change.kind));
        changes.push(target);
    }
    changes.sort_by_key(|change| (rank(change.kind), sort_position(change)));
    changes
}

fn other_target(before: &[Input], after: &[Input]) -> Option<InputChange> {
    let target = |inputs| <[Input]>::iter(inputs).find(|input| input.kind == InputKind::Target);
    let (was, is) = (target(before)?, target(after)?);
    InputChange::between(Some(was), Some(is)).filter(InputChange::is_target_change)
}

fn depends_on_target(kind: InputKind) -> bool {
    matches!(
        kind,
        InputKind::Target
            | InputKind::BaseImage
            | InputKind::BaseName
            | InputKind::Stage
            | InputKind::Instruction
            | InputKind::BuildArg
            | InputKind::StageArg
            | InputKind::File
            | InputKind::Requirement
            | InputKind::MissingRequirement
            | InputKind::SecretId
            | InputKind::SshId
            | InputKind::NamedContext
    )
}

/// Compares everything except instructions, matched by kind and name.
fn compare_by_name(before: &[Input], after: &[Input]) -> Vec<InputChange> {
    let index = |inputs| -> BTreeMap<(&'static str, &str), &Input> {
        let counted = <[Input]>::iter(inputs).filter(|input| input.kind != InputKind::Instruction);
        counted.map(|input| ((input.kind.name(), input.name.as_str()), input)).collect()
    };
    let (before, after): (BTreeMap<_, _>, BTreeMap<_, _>) = (index(before), index(after));
    let removed_or_changed = before.iter().filter_map(|(name, was)| {
        let is = after.get(name);
        (is != Some(was)).then(|| InputChange::between(Some(was), is.copied())).flatten()
    });
    let new = after
        .iter()
        .filter(|(name, _)| !before.contains_key(*name))
        .filter_map(|(_, is)| InputChange::between(None, Some(is)));
    removed_or_changed.chain(new).collect()
}

fn compare_instructions(before: &[Input], after: &[Input]) -> Vec<InputChange> {
    let by_stage = |inputs| -> BTreeMap<usize, Vec<&Input>> {
        let mut stages: BTreeMap<usize, Vec<&Input>> = BTreeMap::new();
        for input in <[Input]>::iter(inputs).filter(|input| input.kind == InputKind::Instruction) {
            stages.entry(input.stage_and_number().0).or_default().push(input);
        }
        for stage in stages.values_mut() {
            stage.sort_by_key(|input| input.stage_and_number().1);
        }
        stages
    };
    let (before, after): (BTreeMap<_, _>, BTreeMap<_, _>) = (by_stage(before), by_stage(after));
    let stages: BTreeSet<usize> = before.keys().chain(after.keys()).copied().collect();
    let of = |stage, inputs: &BTreeMap<usize, Vec<_>>| inputs.get(&stage).cloned().unwrap_or_default();
    stages.into_iter().flat_map(|stage| align(&of(stage, &before), &of(stage, &after))).collect()
}

/// Aligns instructions along a longest common subsequence. Between two common instructions, a removed and an added
/// instruction with the same keyword are one change.
fn align(before: &[&Input], after: &[&Input]) -> Vec<InputChange> {
    let same = |one: &Input, other: &Input| one.digest == other.digest;
    let mut lengths = vec![vec![0_usize; after.len() + 1]; before.len() + 1];
    for (row, was) in before.iter().enumerate().rev() {
        for (column, is) in after.iter().enumerate().rev() {
            lengths[row][column] = if same(was, is) {
                lengths[row + 1][column + 1] + 1
            } else {
                lengths[row + 1][column].max(lengths[row][column + 1])
            };
        }
    }
    let mut changes = Vec::new();
    let (mut row, mut column) = (0, 0);
    let (mut gone, mut new) = (Vec::new(), Vec::new());
    while row < before.len() || column < after.len() {
        if row < before.len() && column < after.len() && same(before[row], after[column]) {
            pair_by_keyword(&mut gone, &mut new, &mut changes);
            (row, column) = (row + 1, column + 1);
        } else if column == after.len()
            || (row < before.len() && lengths[row + 1][column] >= lengths[row][column + 1])
        {
            gone.push(before[row]);
            row += 1;
        } else {
            new.push(after[column]);
            column += 1;
        }
    }
    pair_by_keyword(&mut gone, &mut new, &mut changes);
    changes
}

fn pair_by_keyword(gone: &mut Vec<&Input>, new: &mut Vec<&Input>, changes: &mut Vec<InputChange>) {
    let keyword = |input: &Input| input.name.split(' ').nth(1).map(str::to_owned);
    for was in gone.drain(..) {
        let partner = new.iter().position(|is| keyword(is) == keyword(was));
        changes.extend(InputChange::between(Some(was), partner.map(|place| new.remove(place))));
    }
    changes.extend(new.drain(..).filter_map(|is| InputChange::between(None, Some(is))));
}

fn detect_moves(changes: Vec<InputChange>) -> Vec<InputChange> {
    let (mut gone, rest): (Vec<_>, Vec<_>) =
        changes.into_iter().partition(|change| change.kind == InputKind::File && change.after.is_none());
    let mut changes: Vec<InputChange> = rest
        .into_iter()
        .map(|change| match (change.kind, &change.before, &change.after) {
            (InputKind::File, None, Some(is)) => {
                let same = |was: &InputChange| was.before.as_ref().is_some_and(|was| was.digest == is.digest);
                match gone.iter().position(same) {
                    Some(place) => InputChange { before: gone.remove(place).before, ..change },
                    None => change,
                }
            }
            _ => change,
        })
        .collect();
    changes.append(&mut gone);
    changes
}

/// Ranks likely causes before likely consequences.
fn rank(kind: InputKind) -> usize {
    const ORDER: [InputKind; 12] = [
        InputKind::Dockerfile,
        InputKind::Directive,
        InputKind::Target,
        InputKind::Platform,
        InputKind::BaseImage,
        InputKind::BaseName,
        InputKind::Stage,
        InputKind::Instruction,
        InputKind::BuildArg,
        InputKind::StageArg,
        InputKind::Requirement,
        InputKind::MissingRequirement,
    ];
    // Files come last because there are many.
    let last = if kind == InputKind::File { ORDER.len() + 1 } else { ORDER.len() };
    ORDER.iter().position(|known| *known == kind).unwrap_or(last)
}

fn sort_position(change: &InputChange) -> (usize, usize, String) {
    let input = change.after.as_ref().or(change.before.as_ref());
    let (stage, number) =
        input.filter(|input| input.kind == InputKind::Instruction).map_or((0, 0), Input::stage_and_number);
    (stage, number, change.name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(kind: InputKind, name: &str, value: &str) -> Input {
        Input::of_values(kind, name, &[value.as_bytes()])
    }

    fn stage(bodies: &[&str]) -> Vec<Input> {
        let inputs = bodies.iter().enumerate().map(|(number, body)| {
            let keyword = body.split(' ').next().unwrap();
            input(InputKind::Instruction, &format!("0/{} {keyword}", number + 1), body)
        });
        inputs.collect()
    }

    /// Formats changes as `+name`, `-name`, `~name`, or `old>new`.
    fn shown(before: &[Input], after: &[Input]) -> Vec<String> {
        let changes = difference(before, after);
        let shown = changes.iter().map(|change| match (&change.before, &change.after) {
            (None, Some(is)) => format!("+{}", is.name),
            (Some(was), None) => format!("-{}", was.name),
            (Some(was), Some(is)) if was.name == is.name => format!("~{}", is.name),
            (Some(was), Some(is)) => format!("{}>{}", was.name, is.name),
            (None, None) => unreachable!("a change has a side"),
        });
        shown.collect()
    }

    #[test]
    fn instructions_are_aligned_so_that_one_edit_is_one_change() {
        let before = stage(&["COPY a", "RUN b", "ENV c", "RUN d"]);
        let table: &[(&[&str], &[&str])] = &[
            (&["COPY a", "RUN b", "ENV c", "RUN d"], &[]),
            (&["LABEL x", "COPY a", "RUN b", "ENV c", "RUN d"], &["+0/1 LABEL"]),
            (&["COPY a", "ENV c", "RUN d"], &["-0/2 RUN"]),
            (&["COPY a", "RUN B", "ENV c", "RUN d"], &["~0/2 RUN"]),
            (&["COPY a", "USER u", "RUN B", "ENV c", "RUN d"], &["+0/2 USER", "0/2 RUN>0/3 RUN"]),
            (
                &["RUN d", "ENV c", "RUN b", "COPY a"],
                &["-0/1 COPY", "+0/2 ENV", "-0/2 RUN", "-0/3 ENV", "+0/3 RUN", "+0/4 COPY"],
            ),
            (&[], &["-0/1 COPY", "-0/2 RUN", "-0/3 ENV", "-0/4 RUN"]),
        ];
        for (after, expected) in table {
            assert_eq!(shown(&before, &stage(after)), *expected, "{after:?}");
        }
    }

    #[test]
    fn moved_files_are_detected_and_requirements_replace_their_file() {
        let file = |name: &str, value: &str| input(InputKind::File, name, value);
        let requirement = |value: &str| input(InputKind::Requirement, "r.txt", value);
        let before = [file("a", "1"), file("b", "2"), file("c", "3"), file("r.txt", "4"), requirement("x")];
        assert_eq!(shown(&before, &before), Vec::<String>::new());
        let after =
            [file("moved", "1"), file("b", "2!"), file("r.txt", "5"), file("z", "9"), requirement("y")];
        assert_eq!(shown(&before, &after), ["~r.txt", "~b", "-c", "a>moved", "+z"]);
        let comment =
            [file("a", "1"), file("b", "2"), file("c", "3"), file("r.txt", "4 # why"), requirement("x")];
        assert_eq!(shown(&before, &comment), ["~r.txt"]);
    }

    #[test]
    fn a_changed_target_is_one_change_but_a_changed_number_of_an_unnamed_stage_is_not() {
        let target = |place: &str, name: &str| input(InputKind::Target, "stage", place).about(name);
        let with = |target: Input, more: &[Input]| [&[target], more].concat();
        let (file, label) = (input(InputKind::File, "a", "1"), input(InputKind::Label, "l", "1"));
        let before = with(target("1", "app"), &[file]);
        assert_eq!(shown(&before, &with(target("0", "deps"), &[])), ["~stage"]);
        assert_eq!(
            shown(&before, &with(target("1", "test"), &[label])),
            ["~stage", "+l"],
            "in the same place"
        );
        assert_eq!(shown(&before, &with(target("1", "app"), &[])), ["-a"]);
        let number = with(target("1", "1"), &[]);
        assert_eq!(shown(&number, &with(target("2", "2"), &stage(&["RUN a"]))), ["~stage", "+0/1 RUN"]);
        let unknown = with(target("0", ""), &[]);
        assert_eq!(shown(&unknown, &with(target("1", "app"), &stage(&["RUN a"]))), ["~stage", "+0/1 RUN"]);
    }

    #[test]
    fn causes_come_before_consequences() {
        let before = [input(InputKind::File, "a", "1")];
        let after = [
            input(InputKind::Label, "l", "1"),
            input(InputKind::StageArg, "0/A", "1"),
            input(InputKind::BaseImage, "b", "1"),
        ];
        assert_eq!(shown(&before, &after), ["+b", "+0/A", "+l", "-a"]);
    }
}
