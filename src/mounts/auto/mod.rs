//! Cache mounts for RUNs that could use one: pure.
//!
//! ```text
//!  RUN ─▶ commands    which programs it starts, with which variables
//!      ─▶ programs    where each keeps its cache, and what says otherwise
//!      ─▶ step        is the image the same with a mount there?  ◀─ dependence: who else uses that directory
//! ```
//!
//! The image with a mount has the same files as the one without, but for what is
//! in the cache directory itself and for directories that exist only to hold
//! it. Where the Dockerfile, the files of the context and the settings of the
//! base image do not show that, the RUN is left as it is, with the reason.

mod cache;
mod commands;
mod configuration;
mod dependence;
mod programs;
mod step;

use std::collections::BTreeMap;

use super::kinds::Kind;
use crate::dockerfile::{BaseStart, InstructionKind, Resolution, ResolvedInstruction};
use commands::{assignment, of_run};
use programs::{PROGRAMS, Program};
use step::{Left, Step};

/// What is known beside the Dockerfile.
pub(crate) struct Surroundings<'a> {
    /// What RUNs on top of base images start with, by the expanded reference.
    pub(crate) starts: &'a BTreeMap<String, BaseStart>,
    /// The files of the main context that the build sees; `None` if they are not known.
    pub(crate) files: Option<&'a [String]>,
    /// Reads one of them.
    pub(crate) read: &'a dyn Fn(&str) -> Option<String>,
}

/// What can be added to the RUNs of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AutoMounts {
    /// The `--mount` flags, by the line at which the RUN begins.
    pub(crate) flags: BTreeMap<usize, Vec<String>>,
    /// The RUNs that are left as they are although a program of theirs keeps a cache, and why, a line each.
    pub(crate) left: Vec<String>,
}

/// Returns `true` if a RUN starts a program that could use a cache mount.
pub(crate) fn has_candidates(resolution: &Resolution) -> bool {
    let instructions = resolution.stages.iter().flat_map(|stage| &stage.instructions);
    instructions.filter(|at| !at.triggered).any(|at| match &at.instruction.kind {
        InstructionKind::Run(run) => {
            PROGRAMS.iter().any(|program| !Step::called(run, at, program).is_empty())
        }
        _ => false,
    })
}

/// The cache mounts that RUNs lack, and could have without a difference.
pub(crate) fn auto_mounts(resolution: &Resolution, surroundings: &Surroundings<'_>) -> AutoMounts {
    let mut found = AutoMounts::default();
    for stage in &resolution.stages {
        for (place, at) in stage.instructions.iter().enumerate() {
            let InstructionKind::Run(run) = &at.instruction.kind else { continue };
            if at.triggered {
                continue;
            }
            let line = *at.instruction.lines.start();
            let step = Step { resolution, surroundings, stage, place, at, run };
            let mut mounted: Vec<String> = Vec::new();
            for program in &PROGRAMS {
                match step.directories(program, &mounted) {
                    Ok(directories) => {
                        let flags = directories.iter().map(|directory| step.flag(program, directory));
                        found.flags.entry(line).or_default().extend(flags);
                        mounted.extend(directories);
                    }
                    Err(Left::Silently) => {}
                    Err(Left::Because(reason)) => {
                        found
                            .left
                            .push(format!("line {line}: no cache mount for {}: {reason}", program.kind));
                    }
                }
            }
        }
    }
    found
}

/// What in a RUN turns off the cache of a mount's program, as written; the mount is of no use to it then.
pub(super) fn turned_off(kind: Kind, at: &ResolvedInstruction) -> Option<String> {
    let InstructionKind::Run(run) = &at.instruction.kind else { return None };
    let program = Program::of(kind)?;
    let commands = of_run(run);
    switched_off(program, at).or_else(|| {
        commands.iter().map(|command| &command.words).find_map(|words| {
            let is_cache = |word: &String| ["cache", "/.npm", "/apt"].iter().any(|part| word.contains(part));
            let clears =
                |word: &String| matches!(word.as_str(), "rm" | "purge" | "clean" | "clear" | "prune");
            let is_cleared = words.iter().any(clears) && words.iter().any(is_cache);
            (is_cleared && !words.iter().any(|word| word.contains("docker-clean"))).then(|| words.join(" "))
        })
    })
}

/// The variable or the option that turns the program's cache off.
fn switched_off(program: &Program, at: &ResolvedInstruction) -> Option<String> {
    let InstructionKind::Run(run) = &at.instruction.kind else { return None };
    let is_set = |variable: &&&str| at.scope.get(variable).is_some_and(|value| !value.is_empty());
    if let Some(variable) = program.off_variables.iter().find(is_set) {
        return Some((**variable).to_owned());
    }
    of_run(run).iter().map(|command| &command.words).find_map(|words| {
        let sets = |word: &&String| {
            assignment(word)
                .is_some_and(|(name, value)| program.off_variables.contains(&name) && !value.is_empty())
        };
        let behind = words.iter().position(|word| program.is_named(word)).map(|index| &words[index + 1..]);
        let option = behind.into_iter().flatten().find(|word| program.off.contains(&word.as_str()));
        words.iter().find(sets).or(option).cloned()
    })
}

#[cfg(test)]
mod tests;
