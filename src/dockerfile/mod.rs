//! Dockerfiles: text → instructions → the parts that a build of one target reaches.
//!
//! Pure: nothing here reads files, the environment or the clock.
//!
//! ```text
//!  text ─▶ Directives   # syntax, # escape
//!       ─▶ line         joined lines, here-documents        ┐
//!       ─▶ words        keyword, flags, arguments, JSON     ├ Dockerfile::parse
//!       ─▶ Instruction  kinds, flags, mounts, sources       ┘
//!       ─▶ resolve      + Options: expanded bases, reached stages, context  ─▶ Resolution
//! ```
//!
//! Invariants: everything that the frontend accepts is accepted, including flags of newer versions. If only the engine
//! can determine whether an input is used, because a base image may set a variable or have ONBUILD triggers,
//! `Resolution` assumes that it is *used*: a key with too many inputs costs a miss, a key with too few inputs
//! produces a stale image.

mod canonical;
mod context_paths;
mod continued;
mod directives;
mod error;
mod expand;
mod flags;
mod healthcheck;
mod heredoc;
mod insert;
mod instruction;
mod kinds;
mod line;
mod metadata;
mod mount;
mod mount_rules;
mod prefix;
mod reference;
mod resolve;
mod scope;
mod steps;
mod suggest;
mod words;

#[cfg(test)]
mod tests;

pub(crate) use context_paths::{ContextPaths, ContextSelector, clean_path, has_wildcards};
pub(crate) use continued::{PrefixImage, PrefixObstacle, SKIP_CHECKS, continue_from_prefix, enforces_checks};
pub(crate) use directives::Directives;
pub use error::SyntaxError;
pub(crate) use expand::ExpandError;
pub(crate) use heredoc::Heredoc;
pub(crate) use insert::insert_flags;
pub use instruction::InstructionKind;
pub(crate) use instruction::{CopyInstruction, Instruction, RunCommand, RunInstruction};
pub(crate) use metadata::ConfigInstruction;
pub(crate) use mount::{Mount, MountKind};
pub(crate) use prefix::{Cut, truncate_to_prefix};
pub(crate) use reference::is_remote;
pub use resolve::Options;
pub(crate) use resolve::{
    BaseImage, BaseSettings, CacheMount, ContextSource, PLATFORM_ARGS, Resolution, ResolveError,
    ResolvedInstruction, ResolvedStage, Source, resolve_path,
};
pub(crate) use scope::Scope;
pub(crate) use suggest::nearest_name;

/// A parsed Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    pub(crate) directives: Directives,
    /// The ARGs before the first FROM.
    pub global_args: Vec<Instruction>,
    /// The stages in file order; never empty.
    pub stages: Vec<Stage>,
}

/// One stage: a FROM and the instructions after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// The position among the stages, from 0.
    pub index: usize,
    /// The name in lower case.
    pub name: Option<String>,
    /// The base as written.
    pub(crate) base: String,
    /// The `--platform` of the FROM, as written.
    pub(crate) platform: Option<String>,
    /// The instructions, starting with the FROM.
    pub instructions: Vec<Instruction>,
    /// The source lines from the FROM to the end of the last instruction, counted from 1.
    pub(crate) lines: std::ops::RangeInclusive<usize>,
}

impl Dockerfile {
    /// Parses a Dockerfile.
    ///
    /// # Errors
    ///
    /// Fails where the frontend's parser would, at the first mistake.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let directives = Directives::parse(text)?;
        let mut global_args = Vec::new();
        let mut stages: Vec<Stage> = Vec::new();
        for line in line::lines(text, directives.escape)? {
            let instruction = Instruction::of_line(line, directives.escape)?;
            match (&instruction.kind, stages.last_mut()) {
                (InstructionKind::From(from), _) => stages.push(Stage {
                    index: stages.len(),
                    name: from.name.clone(),
                    base: from.base.clone(),
                    platform: from.platform.clone(),
                    lines: instruction.lines.clone(),
                    instructions: vec![instruction],
                }),
                (InstructionKind::Arg(_), None) => global_args.push(instruction),
                (_, None) => {
                    let line = *instruction.lines.start();
                    let message = format!("{} before the first FROM", instruction.keyword);
                    return Err(SyntaxError::at_line(line, &instruction.text, message));
                }
                (_, Some(stage)) => {
                    stage.lines = *stage.lines.start()..=*instruction.lines.end();
                    stage.instructions.push(instruction);
                }
            }
        }
        if stages.is_empty() {
            let line = text.lines().count().max(1);
            return Err(SyntaxError::at_line(line, "", "no FROM instruction: there is no stage to build"));
        }
        Ok(Self { directives, global_args, stages })
    }

    /// Returns `true` if an ARG in any place has this name.
    pub(crate) fn declares_arg(&self, name: &str) -> bool {
        let stages = self.stages.iter().flat_map(|stage| &stage.instructions);
        self.global_args.iter().chain(stages).any(|at| match &at.kind {
            InstructionKind::Arg(args) => args.iter().any(|(declared, _)| declared == name),
            _ => false,
        })
    }
}
