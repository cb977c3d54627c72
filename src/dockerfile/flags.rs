//! Validates the flags of each instruction.
//!
//! An unknown flag that is not similar to a known one is accepted: a newer frontend may support it, and an older one
//! reports it itself.
//!
//! Behaviour after `BuildKit`'s `frontend/dockerfile/instructions/bflag.go`.

use super::suggest;
use super::words::{Flag, InstructionWords};

#[derive(Clone, Copy, PartialEq, Eq)]
enum FlagKind {
    /// `--flag`, `--flag=true`, `--flag=false`; once.
    Switch,
    /// `--flag=text`; once.
    Text,
    /// `--flag=text`; any number of times.
    RepeatedText,
}

use FlagKind::{RepeatedText, Switch, Text};

/// Returns the flags of an instruction, or `None` if the engine does not parse its flags.
fn known_flags(keyword: &str) -> Option<&'static [(&'static str, FlagKind)]> {
    Some(match keyword {
        "ADD" => &[
            ("chown", Text),
            ("chmod", Text),
            ("link", Switch),
            ("keep-git-dir", Switch),
            ("checksum", Text),
            ("unpack", Switch),
            ("exclude", RepeatedText),
        ],
        "COPY" => &[
            ("from", Text),
            ("chown", Text),
            ("chmod", Text),
            ("link", Switch),
            ("parents", Switch),
            ("exclude", RepeatedText),
        ],
        "FROM" => &[("platform", Text)],
        "HEALTHCHECK" => &[
            ("interval", Text),
            ("timeout", Text),
            ("start-period", Text),
            ("start-interval", Text),
            ("retries", Text),
        ],
        "RUN" => &[("mount", RepeatedText), ("network", Text), ("security", Text), ("device", RepeatedText)],
        "ARG" | "STOPSIGNAL" => return None,
        _ => &[],
    })
}

pub(super) struct FlagMistake {
    pub(super) message: String,
    /// The flag as written, up to the end of its name.
    pub(super) flag: String,
    /// `true` if the flag must not be repeated, but is.
    pub(super) is_repetition: bool,
}

/// Returns the first mistake in a command's flags.
pub(super) fn first_mistake(command: &InstructionWords) -> Option<FlagMistake> {
    let known = known_flags(&command.keyword)?;
    let flags = &command.flags;
    flags.iter().enumerate().find_map(|(index, flag)| {
        let kind = known.iter().find(|(name, _)| *name == flag.name).map(|(_, kind)| *kind);
        let earlier = || flags[..index].iter().any(|earlier| earlier.name == flag.name);
        let again = kind.is_some_and(|kind| kind != RepeatedText) && earlier();
        let message = match kind {
            None => unknown_flag_message(&command.keyword, known, &flag.name),
            Some(_) if again => Some(format!("duplicate flag `--{}`", flag.name)),
            Some(kind) => value_message(kind, flag),
        };
        message.map(|message| FlagMistake { message, flag: format!("--{}", flag.name), is_repetition: again })
    })
}

fn unknown_flag_message(keyword: &str, known: &[(&str, FlagKind)], name: &str) -> Option<String> {
    if known.is_empty() {
        return Some(format!("{keyword} does not accept flags"));
    }
    let nearest = suggest::nearest_name(name, known.iter().map(|(name, _)| *name));
    match nearest {
        Some(nearest) => Some(format!("unknown flag `--{name}`; did you mean `--{nearest}`?")),
        None => name.is_empty().then(|| "a flag has no name".to_owned()),
    }
}

fn value_message(kind: FlagKind, flag: &Flag) -> Option<String> {
    let name = &flag.name;
    match (kind, flag.value.as_deref()) {
        (Text | RepeatedText, None) | (Switch, Some("")) => Some(format!("`--{name}` needs a value")),
        (Switch, Some(value)) if !["true", "false"].iter().any(|word| value.eq_ignore_ascii_case(word)) => {
            Some(format!("`--{name}` must be true or false, not `{value}`"))
        }
        _ => None,
    }
}
