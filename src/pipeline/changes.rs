//! Describes the differences between two keys as text.
//!
//! File names are untrusted: their control characters must never reach a terminal.

use std::fmt::Write as _;

use crate::key::{Input, InputChange, InputKind};
use crate::screen_text::screen_text;

const MAX_SHOWN: usize = 40;
const MAX_PINS: usize = 20;
/// The number of changes that the record of a build names.
const MAX_LINES: usize = 5;

pub(crate) fn render(changes: &[InputChange]) -> String {
    let shown: Vec<(String, String)> = changes
        .iter()
        .take(MAX_SHOWN)
        .map(|change| (screen_text(&subject(change)), screen_text(&outcome(change))))
        .collect();
    let width = shown.iter().map(|(subject, _)| subject.chars().count()).max().unwrap_or_default().min(40);
    let mut text = String::new();
    for ((subject, outcome), change) in shown.iter().zip(changes) {
        let _ = writeln!(text, "  {subject:<width$}  {outcome}");
        for pin in change.pins.iter().take(MAX_PINS) {
            let _ = writeln!(text, "      {}", screen_text(&pin.to_string()));
        }
        if change.pins.len() > MAX_PINS {
            let _ = writeln!(text, "      … and {} more", change.pins.len() - MAX_PINS);
        }
    }
    if changes.len() > MAX_SHOWN {
        let _ = writeln!(text, "  … and {} more (--format json has all)", changes.len() - MAX_SHOWN);
    }
    text
}

pub(crate) fn summary(changes: &[InputChange]) -> Option<String> {
    let first = changes.first()?;
    let more = match changes.len() {
        1 => String::new(),
        count => format!(", and {} more", count - 1),
    };
    let outcome = first.pins.first().map_or_else(|| outcome(first), ToString::to_string);
    let outcome = if outcome.chars().count() <= 60 { outcome } else { "changed".to_owned() };
    Some(screen_text(&format!("{} {outcome}{more}", subject(first))))
}

/// Describes the first changes, one line each: for a file of requirements, the requirements that changed.
pub(crate) fn lines(changes: &[InputChange]) -> Vec<String> {
    let line = |change: &InputChange| {
        let name = subject(change);
        let text = match change.pins.as_slice() {
            [] => format!("{name} {}", outcome(change)),
            pins => format!("{name}: {}", abridged(pins, 3, pins.len() as u64, " and")),
        };
        screen_text(&text)
    };
    changes.iter().take(MAX_LINES).map(line).collect()
}

pub(crate) fn first_names(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().map(|name| screen_text(name)).collect();
    abridged(&shown, 3, names.len() as u64, " and")
}

/// Returns up to `max` of the names and, after `and`, how many of `total` are left.
pub(crate) fn abridged(names: &[impl ToString], max: usize, total: u64, and: &str) -> String {
    let shown: Vec<String> = names.iter().take(max).map(ToString::to_string).collect();
    match total.saturating_sub(shown.len() as u64) {
        0 => shown.join(", "),
        more => format!("{}{and} {more} more", shown.join(", ")),
    }
}

fn subject(change: &InputChange) -> String {
    let name = change.name();
    let line = change.after.as_ref().or(change.before.as_ref()).and_then(|input| input.line);
    match change.kind {
        InputKind::Dockerfile => "Dockerfile".to_owned(),
        InputKind::Directive => format!("directive {name}"),
        InputKind::Stage => match line {
            Some(line) => format!("Dockerfile line {line}"),
            None => format!("base of stage {name}"),
        },
        InputKind::Instruction => match line {
            Some(line) => format!("Dockerfile line {line}"),
            // An entry of the store contains neither lines nor texts.
            None if change.before.as_ref().is_some_and(|was| was.about.is_empty()) => {
                format!("instruction {name}")
            }
            None => format!("trigger of the base image, {name}"),
        },
        InputKind::BaseImage => format!("base image {name}"),
        InputKind::BaseName => format!("name of the base image {name}"),
        InputKind::File | InputKind::Requirement => name.to_owned(),
        InputKind::BuildArg => format!("build argument {name}"),
        InputKind::StageArg => match name.split_once('/') {
            Some((stage, name)) => format!("argument {name} of stage {stage}"),
            None => format!("argument {name}"),
        },
        InputKind::Target => "target".to_owned(),
        InputKind::Platform => "platform".to_owned(),
        InputKind::PlatformInputs => format!("inputs for {name}"),
        InputKind::SecretId => format!("secret {name}"),
        InputKind::SshId => format!("ssh agent {name}"),
        InputKind::NamedContext => format!("context {name}"),
        InputKind::Label => format!("label {name}"),
        InputKind::Network => "network".to_owned(),
        InputKind::Option => format!("option {name}"),
        InputKind::Extra => format!("key extra {name}"),
        InputKind::Tag => format!("tag {name}"),
        InputKind::AdditionalContext => "additional context".to_owned(),
        InputKind::MissingRequirement => format!("{name}, which is not in the context,"),
        InputKind::Sealed => "sealed values".to_owned(),
    }
}

fn outcome(change: &InputChange) -> String {
    match (&change.before, &change.after) {
        (None, Some(is)) => with_text("added", is),
        (Some(was), None) => with_text("removed", was),
        (Some(was), Some(_)) if change.is_move() => format!("moved from {}", was.name),
        (Some(was), Some(is)) => difference(change.kind, was, is),
        (None, None) => String::new(),
    }
}

/// Returns `what`, and the text of the input if its name alone does not identify it.
fn with_text(what: &str, input: &Input) -> String {
    if input.kind == InputKind::File || input.about.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {}", input.about)
    }
}

fn difference(kind: InputKind, was: &Input, is: &Input) -> String {
    let is_file = kind == InputKind::File;
    let (was, is) = (&was.about, &is.about);
    // An entry of the store contains only the digest. The text of a file input is its kind and mode, not its content.
    if was == is || (is_file && was.is_empty()) {
        "changed".to_owned()
    } else if was.is_empty() {
        format!("changed to {is}")
    } else if is_file {
        format!("changed: {was} → {is}")
    } else {
        format!("{was} → {is}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::difference;

    #[test]
    fn control_characters_in_names_are_not_printed() {
        let file = |name: &str| Input::of_values(InputKind::File, name, &[name.as_bytes()]);
        let changes = difference(&[], &[file("a\n  other  added"), file("b\x1b[31mred")]);
        assert_eq!(render(&changes), "  a   other  added  added\n  bred              added\n");
        assert_eq!(summary(&changes).unwrap(), "a   other  added added, and 1 more");
    }

    #[test]
    fn the_first_names_are_shown_and_the_others_counted() {
        for (count, expected) in [(1, "f1"), (3, "f1, f2, f3"), (12, "f1, f2, f3 and 9 more")] {
            let names: Vec<String> = (1..=count).map(|number| format!("f{number}")).collect();
            assert_eq!(first_names(&names), expected);
        }
        assert_eq!(first_names(&["a\nb".to_owned()]), "a b");
    }
}
