//! One instruction: its kind and its parts, before any variable is expanded.
//!
//! Unknown flags are kept as well, because the instruction's text is part of every cache key.

use std::ops::RangeInclusive;

use super::canonical::canonical;
use super::error::SyntaxError;
use super::heredoc::{self, Heredoc};
use super::kinds;
use super::line::{self, SourceLine};
use super::mount::Mount;
use super::words::Flag;

/// An instruction with its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// The keyword in upper case.
    pub(crate) keyword: String,
    /// The parsed arguments and flags.
    pub kind: InstructionKind,
    /// The source as written, including here-documents; lines end in `\n` only, except inside here-documents, where a
    /// `\r` is content.
    pub text: String,
    /// The fields that determine the effect of the instruction, see `canonical.rs`.
    pub(crate) canonical: Vec<String>,
    /// The source lines, counted from 1.
    pub lines: RangeInclusive<usize>,
}

/// The kinds of instruction that larder distinguishes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InstructionKind {
    /// `FROM [--platform=p] base [AS name]`
    From(FromInstruction),
    /// `ARG name[=default] …`
    Arg(Vec<(String, Option<String>)>),
    /// `ENV name=value …`
    Env(Vec<(String, String)>),
    /// `RUN`
    Run(RunInstruction),
    /// `COPY`
    Copy(CopyInstruction),
    /// `ADD`
    Add(CopyInstruction),
    /// `ONBUILD`
    Onbuild(OnbuildInstruction),
    /// `WORKDIR path`
    Workdir(String),
    /// `USER name`
    User(String),
    /// `SHELL ["program", "argument"]`
    Shell(Vec<String>),
    /// Any other known instruction, with its arguments as written.
    Other(String),
}

/// The parts of a `FROM` instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromInstruction {
    /// The base as written.
    pub(crate) base: String,
    /// The stage's name in lower case.
    pub(crate) name: Option<String>,
    /// The value of `--platform`, as written.
    pub(crate) platform: Option<String>,
}

/// The parts of a `RUN` instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInstruction {
    /// The `--mount` flags in order.
    pub(crate) mounts: Vec<Mount>,
    /// The value of `--network`: `default`, `none` or `host`.
    pub(crate) network: Option<String>,
    /// The value of `--security`: `sandbox` or `insecure`.
    pub(crate) security: Option<String>,
    /// The command without flags.
    pub(crate) command: RunCommand,
    pub(crate) heredocs: Vec<Heredoc>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunCommand {
    /// A command for the shell: the joined line without flags.
    Shell(String),
    /// A program and its arguments (JSON form).
    Exec(Vec<String>),
}

/// The parts of a `COPY` or `ADD` instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyInstruction {
    /// All flags in order, including unknown ones.
    pub(crate) flags: Vec<Flag>,
    /// The sources that are paths or addresses, as written.
    pub(crate) sources: Vec<String>,
    /// The sources that are here-documents.
    pub(crate) heredocs: Vec<Heredoc>,
    /// The destination as written.
    pub(crate) destination: String,
}

/// The parts of an `ONBUILD` instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnbuildInstruction {
    /// The deferred instruction. If it cannot be parsed, it is [`InstructionKind::Other`], because the engine accepts
    /// it until an image is based on this one.
    pub(crate) instruction: Box<Instruction>,
    /// The instruction as it is stored in the config of the image.
    pub(crate) expression: String,
}

impl RunInstruction {
    /// Returns the script for the shell: the command with its here-documents, or only the here-document if the command
    /// consists of it. Returns `None` for the JSON form.
    pub fn script(&self) -> Option<String> {
        let RunCommand::Shell(command) = &self.command else { return None };
        match self.heredocs.first() {
            Some(only) if Heredoc::of_word(command).ok().flatten().is_some() => Some(only.content.clone()),
            _ => Some(heredoc::with_content(command, &self.heredocs)),
        }
    }
}

impl CopyInstruction {
    pub(crate) fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().rev().find(|flag| flag.name == name).and_then(|flag| flag.value.as_deref())
    }
}

impl Instruction {
    pub(super) fn of_line(line: SourceLine, escape: char) -> Result<Self, SyntaxError> {
        let SourceLine { first, last, source, command, heredocs } = line;
        let canonical = canonical(&command, &heredocs, escape);
        let kind = kinds::parse_kind(&command, heredocs, escape)
            .map_err(|mistake| mistake.into_error(first, &source))?;
        Ok(Self { keyword: command.keyword, kind, text: source, canonical, lines: first..=last })
    }

    /// Parses an ONBUILD trigger from an image's configuration, for the FROM at these lines.
    pub(super) fn of_trigger(expression: &str, from: &RangeInclusive<usize>) -> Result<Self, SyntaxError> {
        let mut lines = line::lines(expression, '\\')?;
        if lines.len() != 1 {
            let message = "an ONBUILD trigger must be a single instruction";
            return Err(SyntaxError::at_line(1, expression, message));
        }
        Ok(Self { lines: from.clone(), ..Self::of_line(lines.remove(0), '\\')? })
    }

    pub(crate) fn is_step(&self) -> bool {
        matches!(self.kind, InstructionKind::Run(_) | InstructionKind::Copy(_) | InstructionKind::Add(_))
    }
}
