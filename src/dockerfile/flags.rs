//! Validates the flags of each instruction.
//!
//! An unknown flag that is not similar to a known one is accepted: a newer frontend may support it, and an older one
//! reports it itself.
//!
//! Behaviour after `BuildKit`'s `frontend/dockerfile/instructions/bflag.go`.

use super::suggest;
use super::words::{Command, Flag};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `--flag`, `--flag=true`, `--flag=false`; once.
    Switch,
    /// `--flag=text`; once.
    Text,
    /// `--flag=text`; any number of times.
    Texts,
}

use Kind::{Switch, Text, Texts};

/// Returns the flags of an instruction, or `None` if the engine does not parse its flags.
fn known(keyword: &str) -> Option<&'static [(&'static str, Kind)]> {
    Some(match keyword {
        "ADD" => &[
            ("chown", Text),
            ("chmod", Text),
            ("link", Switch),
            ("keep-git-dir", Switch),
            ("checksum", Text),
            ("unpack", Switch),
            ("exclude", Texts),
        ],
        "COPY" => &[
            ("from", Text),
            ("chown", Text),
            ("chmod", Text),
            ("link", Switch),
            ("parents", Switch),
            ("exclude", Texts),
        ],
        "FROM" => &[("platform", Text)],
        "HEALTHCHECK" => &[
            ("interval", Text),
            ("timeout", Text),
            ("start-period", Text),
            ("start-interval", Text),
            ("retries", Text),
        ],
        "RUN" => &[("mount", Texts), ("network", Text), ("security", Text), ("device", Texts)],
        "ARG" | "STOPSIGNAL" => return None,
        _ => &[],
    })
}

pub(super) struct Mistake {
    pub(super) message: String,
    /// The flag as written, up to the end of its name.
    pub(super) flag: String,
    /// `true` if the flag must not be repeated, but is.
    pub(super) again: bool,
}

/// Returns the first mistake in a command's flags.
pub(super) fn mistake(command: &Command) -> Option<Mistake> {
    let known = known(&command.keyword)?;
    let flags = &command.flags;
    flags.iter().enumerate().find_map(|(index, flag)| {
        let kind = known.iter().find(|(name, _)| *name == flag.name).map(|(_, kind)| *kind);
        let earlier = || flags[..index].iter().any(|earlier| earlier.name == flag.name);
        let again = kind.is_some_and(|kind| kind != Texts) && earlier();
        let message = match kind {
            None => unknown(&command.keyword, known, &flag.name),
            Some(_) if again => Some(format!("duplicate flag `--{}`", flag.name)),
            Some(kind) => wrong(kind, flag),
        };
        message.map(|message| Mistake { message, flag: format!("--{}", flag.name), again })
    })
}

fn unknown(keyword: &str, known: &[(&str, Kind)], name: &str) -> Option<String> {
    if known.is_empty() {
        return Some(format!("{keyword} does not accept flags"));
    }
    let nearest = suggest::nearest(name, known.iter().map(|(name, _)| *name));
    match nearest {
        Some(nearest) => Some(format!("unknown flag `--{name}`; did you mean `--{nearest}`?")),
        None => name.is_empty().then(|| "a flag has no name".to_owned()),
    }
}

fn wrong(kind: Kind, flag: &Flag) -> Option<String> {
    let name = &flag.name;
    match (kind, flag.value.as_deref()) {
        (Text | Texts, None) | (Switch, Some("")) => Some(format!("`--{name}` needs a value")),
        (Switch, Some(value)) if !["true", "false"].iter().any(|word| value.eq_ignore_ascii_case(word)) => {
            Some(format!("`--{name}` must be true or false, not `{value}`"))
        }
        _ => None,
    }
}
