//! Validates the flags of each instruction.
//!
//! An unknown flag that is not similar to a known one is accepted: a newer frontend may support it, and an older one
//! reports it itself.
//!
//! Behaviour after `BuildKit`'s `frontend/dockerfile/instructions/bflag.go`.

use super::error::InstructionMistake;
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

type KnownFlags = [(FlagKind, &'static [&'static str]); 3];

/// Returns the flags of an instruction, or `None` if the engine does not parse its flags.
fn known_flags(keyword: &str) -> Option<KnownFlags> {
    let (text, switches, repeated): (&[&str], &[&str], &[&str]) = match keyword {
        "ADD" => (&["chown", "chmod", "checksum"], &["link", "keep-git-dir", "unpack"], &["exclude"]),
        "COPY" => (&["from", "chown", "chmod"], &["link", "parents"], &["exclude"]),
        "FROM" => (&["platform"], &[], &[]),
        "HEALTHCHECK" => (&["interval", "timeout", "start-period", "start-interval", "retries"], &[], &[]),
        "RUN" => (&["network", "security"], &[], &["mount", "device"]),
        "ARG" | "STOPSIGNAL" => return None,
        _ => (&[], &[], &[]),
    };
    Some([(Text, text), (Switch, switches), (RepeatedText, repeated)])
}

pub(super) fn first_mistake(command: &InstructionWords) -> Option<InstructionMistake> {
    let known = known_flags(&command.keyword)?;
    let flags = &command.flags;
    flags.iter().enumerate().find_map(|(index, flag)| {
        let kind = known.iter().find(|(_, names)| names.contains(&&*flag.name)).map(|(kind, _)| *kind);
        let earlier = || flags[..index].iter().any(|earlier| earlier.name == flag.name);
        let is_repetition = kind.is_some_and(|kind| kind != RepeatedText) && earlier();
        let message = match kind {
            None => unknown_flag_message(&command.keyword, &known, &flag.name),
            Some(_) if is_repetition => Some(format!("duplicate flag `--{}`", flag.name)),
            Some(kind) => value_message(kind, flag),
        }?;
        Some(InstructionMistake { message, parts: vec![format!("--{}", flag.name)], is_repetition })
    })
}

fn unknown_flag_message(keyword: &str, known: &KnownFlags, name: &str) -> Option<String> {
    let mut known = known.iter().flat_map(|(_, names)| *names).copied().peekable();
    if known.peek().is_none() {
        return Some(format!("{keyword} does not accept flags"));
    }
    match suggest::nearest_name(name, known) {
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
