//! Converts the words of a line to a typed instruction.
//!
//! Behaviour after `BuildKit`'s `frontend/dockerfile/instructions/parse.go`.

use super::canonical::canonical;
use super::error::InstructionMistake;
use super::flags;
use super::healthcheck;
use super::heredoc::{self, Heredoc};
use super::instruction::{
    CopyInstruction, FromInstruction, Instruction, InstructionKind, OnbuildInstruction, RunCommand,
    RunInstruction,
};
use super::mount::Mount;
use super::suggest::{nearest_name, suggestion_text};
use super::words::{self, Flag, InstructionWords};

#[rustfmt::skip]
const KEYWORDS: [&str; 18] = [
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
    "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
];

/// The keywords whose arguments can be a JSON array.
const JSON_KEYWORDS: [&str; 7] = ["ADD", "CMD", "COPY", "ENTRYPOINT", "RUN", "SHELL", "VOLUME"];

fn fault<T>(message: impl Into<String>) -> Result<T, InstructionMistake> {
    Err(message.into().into())
}

pub(super) fn parse_kind(
    command: &InstructionWords,
    heredocs: Vec<Heredoc>,
    escape: char,
) -> Result<InstructionKind, InstructionMistake> {
    let InstructionWords { keyword, written, arguments, .. } = command;
    let no_check = keyword == "HEALTHCHECK" && arguments.eq_ignore_ascii_case("none");
    if let Some(mistake) = flags::first_mistake(command).filter(|_| !no_check) {
        return Err(mistake);
    }
    let json = || json_array(arguments);
    let exactly_one = || match arguments.as_str() {
        "" => fault(format!("{keyword} requires exactly one argument")),
        argument => Ok(argument.to_owned()),
    };
    let pairs = || words::parse_pairs(arguments, escape, keyword);
    Ok(match keyword.as_str() {
        "FROM" => InstructionKind::From(parse_from(command)?),
        "ARG" => InstructionKind::Arg(parse_args(arguments, escape)?),
        "ENV" => InstructionKind::Env(pairs()?),
        "RUN" => InstructionKind::Run(parse_run(command, heredocs)?),
        "COPY" => InstructionKind::Copy(parse_copy(command, &heredocs)?),
        "ADD" => InstructionKind::Add(parse_copy(command, &heredocs)?),
        "ONBUILD" => InstructionKind::Onbuild(parse_onbuild(command, heredocs, escape)?),
        "WORKDIR" => InstructionKind::Workdir(exactly_one()?),
        "USER" => InstructionKind::User(exactly_one()?),
        "STOPSIGNAL" | "MAINTAINER" => InstructionKind::Other(exactly_one()?),
        "SHELL" => match json()? {
            Some(shell) if !shell.is_empty() => InstructionKind::Shell(shell),
            _ => return fault("SHELL requires its arguments as a JSON array"),
        },
        "LABEL" => {
            pairs()?;
            InstructionKind::Other(arguments.clone())
        }
        "EXPOSE" | "VOLUME" if arguments.is_empty() => {
            return fault(format!("{keyword} requires at least one argument"));
        }
        "VOLUME" => match json()? {
            Some(paths) if paths.is_empty() => return fault("VOLUME requires at least one argument"),
            Some(paths) if paths.iter().any(|path| path.trim().is_empty()) => {
                return fault("the path of a VOLUME cannot be empty");
            }
            _ => InstructionKind::Other(arguments.clone()),
        },
        "CMD" | "ENTRYPOINT" => {
            json()?;
            InstructionKind::Other(arguments.clone())
        }
        "HEALTHCHECK" => match healthcheck::first_mistake(command) {
            Some(mistake) => return Err(mistake),
            None => InstructionKind::Other(arguments.clone()),
        },
        "EXPOSE" => InstructionKind::Other(arguments.clone()),
        _ => {
            let similar = suggestion_text(nearest_name(written, KEYWORDS));
            return fault(format!("unknown instruction `{written}`{similar}"));
        }
    })
}

fn json_array(arguments: &str) -> Result<Option<Vec<String>>, InstructionMistake> {
    words::parse_json_array(arguments)
        .transpose()
        .map_err(|message| InstructionMistake::at_part(arguments, message))
}

fn parse_from(command: &InstructionWords) -> Result<FromInstruction, InstructionMistake> {
    let words = words::split_at_blanks(&command.arguments);
    let name = match words.as_slice() {
        [_] => None,
        [_, word, name] if word.eq_ignore_ascii_case("as") => {
            let lower = name.to_lowercase();
            let valid = lower.starts_with(|first: char| first.is_ascii_lowercase())
                && lower.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char));
            if !valid {
                let message = format!(
                    "invalid stage name `{name}`: start with a letter, then use letters, digits, `-`, `_` or `.`"
                );
                return Err(InstructionMistake::at_part(name, message));
            }
            Some(lower)
        }
        _ => return fault("FROM requires either one or three arguments: FROM base [AS name]"),
    };
    let platform = command.flags.iter().rev().find(|flag| flag.name == "platform");
    let platform = platform.and_then(|flag| flag.value.clone()).filter(|platform| !platform.is_empty());
    Ok(FromInstruction { base: words[0].clone(), name, platform })
}

fn parse_args(arguments: &str, escape: char) -> Result<Vec<(String, Option<String>)>, InstructionMistake> {
    let words = words::split_quoted(arguments, escape);
    if words.is_empty() {
        return fault("ARG requires at least one argument");
    }
    words
        .into_iter()
        .map(|word| match word.split_once('=') {
            Some(("", _)) => fault("ARG names cannot be blank"),
            Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
            None => Ok((word, None)),
        })
        .collect()
}

fn parse_run(
    command: &InstructionWords,
    heredocs: Vec<Heredoc>,
) -> Result<RunInstruction, InstructionMistake> {
    let mut mounts = Vec::new();
    let (mut network, mut security) = (None, None);
    for Flag { name, value } in &command.flags {
        let value = value.as_deref().unwrap_or_default();
        let one_of = |values: &[&str]| {
            if values.contains(&value) {
                return Ok(Some(value.to_owned()));
            }
            let message = format!("`--{name}` must be one of {}, not `{value}`", values.join(", "));
            Err(InstructionMistake::at_part(format!("--{name}"), message))
        };
        match name.as_str() {
            "mount" => mounts.push(Mount::parse(value).map_err(|mut mistake| {
                mistake.parts.extend([value.to_owned(), format!("--{name}")]);
                mistake
            })?),
            "network" => network = one_of(&["default", "none", "host"])?,
            "security" => security = one_of(&["sandbox", "insecure"])?,
            _ => {}
        }
    }
    let arguments = &command.arguments;
    let command = match json_array(arguments)? {
        Some(arguments) => RunCommand::Exec(arguments),
        None => RunCommand::Shell(arguments.clone()),
    };
    Ok(RunInstruction { mounts, network, security, command, heredocs })
}

fn parse_copy(
    command: &InstructionWords,
    heredocs: &[Heredoc],
) -> Result<CopyInstruction, InstructionMistake> {
    let keyword = &command.keyword;
    let json = json_array(&command.arguments)?;
    let mut words = json.unwrap_or_else(|| words::split_at_blanks(&command.arguments));
    let destination = words.pop().unwrap_or_default();
    if words.is_empty() {
        return fault(format!("{keyword} requires at least two arguments, a source and the destination"));
    }
    let heredoc_of = |word: &str| Heredoc::of_word(word).ok().flatten();
    if heredoc_of(&destination).is_some() {
        let message = format!("the destination of {keyword} cannot be a here-document");
        return Err(InstructionMistake::at_part(destination, message));
    }
    let (mut sources, mut documents) = (Vec::new(), Vec::new());
    for word in words {
        match heredoc_of(&word) {
            None => sources.push(word),
            Some(opened) => {
                let read = heredocs.iter().rev().find(|heredoc| heredoc.name == opened.name);
                documents.push(read.cloned().unwrap_or(opened));
            }
        }
    }
    Ok(CopyInstruction { flags: command.flags.clone(), sources, heredocs: documents, destination })
}

fn parse_onbuild(
    command: &InstructionWords,
    heredocs: Vec<Heredoc>,
    escape: char,
) -> Result<OnbuildInstruction, InstructionMistake> {
    if command.arguments.is_empty() {
        return fault("ONBUILD requires at least one argument");
    }
    let inner = InstructionWords::of_line(&command.arguments, escape);
    if matches!(inner.keyword.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
        let message = format!("{} is not allowed as an ONBUILD trigger", inner.keyword);
        return Err(InstructionMistake::at_part(&command.arguments, message));
    }
    if matches!(inner.keyword.as_str(), "ENV" | "LABEL") {
        words::parse_pairs(&inner.arguments, escape, &inner.keyword)?;
    } else if JSON_KEYWORDS.contains(&inner.keyword.as_str()) {
        json_array(&inner.arguments)?;
    }
    let expression = heredoc::with_content(&command.arguments, &heredocs);
    let canonical = canonical(&inner, &heredocs, escape);
    // The engine validates it only when an image is based on this one.
    let kind = parse_kind(&inner, heredocs, escape).unwrap_or(InstructionKind::Other(inner.arguments));
    let text = expression.clone();
    let instruction = Instruction { keyword: inner.keyword, kind, text, canonical, lines: 0..=0 };
    Ok(OnbuildInstruction { instruction: Box::new(instruction), expression })
}
