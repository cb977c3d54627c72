//! Adds cache mounts to RUN instructions that can use them. Does no I/O.
//!
//! ```text
//!  RUN ─▶ commands    which programs it starts, with which variables
//!      ─▶ programs    where the cache of each program is, and which settings change that
//!      ─▶ step        is the image the same with a mount there?  ◀─ dependence: what else uses that directory
//! ```
//!
//! The image with a mount has the same files as the image without it, except for the cache directory itself and for
//! directories that only exist to hold it. If the Dockerfile, the files of the context and the settings of the base
//! image do not prove that, the RUN is left unchanged, with a reason.

mod cache;
mod commands;
mod configuration;
mod dependence;
mod programs;
mod step;

use std::collections::BTreeMap;

use super::kinds::CacheKind;
use crate::dockerfile::{BaseSettings, InstructionKind, Resolution, ResolvedInstruction};
use commands::{assignment, run_commands};
use programs::{PROGRAMS, Program};
use step::Step;

/// The information besides the Dockerfile from which mounts are planned.
pub(crate) struct AutoMountInputs<'a> {
    /// The settings of base images, by the expanded reference.
    pub(crate) starts: &'a BTreeMap<String, BaseSettings>,
    /// The files of the main context without those that `.dockerignore` excludes; `None` if they are not known.
    pub(crate) files: Option<&'a [String]>,
    pub(crate) read: &'a dyn Fn(&str) -> Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AutoMounts {
    /// The `--mount` flags, by the first line of the RUN.
    pub(crate) flags: BTreeMap<usize, Vec<String>>,
    /// The reasons why RUNs are left unchanged although they start a program with a cache, one line each.
    pub(crate) skipped: Vec<String>,
}

/// Returns `true` if any RUN starts a program that could use a cache mount.
pub(crate) fn has_candidates(resolution: &Resolution) -> bool {
    let instructions = resolution.stages.iter().flat_map(|stage| &stage.instructions);
    instructions.filter(|at| !at.is_trigger).any(|at| match &at.instruction.kind {
        InstructionKind::Run(run) => {
            PROGRAMS.iter().any(|program| !Step::cache_calls(run, at, program).is_empty())
        }
        _ => false,
    })
}

pub(crate) fn auto_mounts(resolution: &Resolution, surroundings: &AutoMountInputs<'_>) -> AutoMounts {
    let mut found = AutoMounts::default();
    for stage in &resolution.stages {
        for (place, at) in stage.instructions.iter().enumerate() {
            let InstructionKind::Run(run) = &at.instruction.kind else { continue };
            if at.is_trigger {
                continue;
            }
            let line = *at.instruction.lines.start();
            let step = Step { resolution, surroundings, stage, index: place, at, run };
            let mut mounted: Vec<String> = Vec::new();
            for program in &PROGRAMS {
                match step.directories(program, &mounted) {
                    Ok(directories) if directories.is_empty() => {}
                    Ok(directories) => {
                        let flags = directories.iter().map(|directory| step.flag(program, directory));
                        found.flags.entry(line).or_default().extend(flags);
                        mounted.extend(directories);
                    }
                    Err(reason) => {
                        found.skipped.push(format!(
                            "line {line}: cannot add a cache mount for {}: {reason}",
                            program.kind
                        ));
                    }
                }
            }
        }
    }
    found
}

/// Returns the option or command, as written, that disables the cache of a mount's program in a RUN.
pub(super) fn disabling_word(kind: CacheKind, at: &ResolvedInstruction) -> Option<String> {
    let InstructionKind::Run(run) = &at.instruction.kind else { return None };
    let program = Program::of(kind)?;
    let commands = run_commands(run);
    disabling_setting(program, at).or_else(|| {
        commands.iter().map(|command| &command.words).find_map(|words| {
            let is_cache = |word: &String| ["cache", "/.npm", "/apt"].iter().any(|part| word.contains(part));
            let clears =
                |word: &String| matches!(word.as_str(), "rm" | "purge" | "clean" | "clear" | "prune");
            let is_cleared = words.iter().any(clears) && words.iter().any(is_cache);
            (is_cleared && !words.iter().any(|word| word.contains("docker-clean"))).then(|| words.join(" "))
        })
    })
}

fn disabling_setting(program: &Program, at: &ResolvedInstruction) -> Option<String> {
    let InstructionKind::Run(run) = &at.instruction.kind else { return None };
    let is_set = |variable: &&&str| at.scope.get(variable).is_some_and(|value| !value.is_empty());
    if let Some(variable) = program.disabling_variables.iter().find(is_set) {
        return Some((**variable).to_owned());
    }
    run_commands(run).iter().map(|command| &command.words).find_map(|words| {
        let sets = |word: &&String| {
            assignment(word)
                .is_some_and(|(name, value)| program.disabling_variables.contains(&name) && !value.is_empty())
        };
        let behind = words.iter().position(|word| program.is_named(word)).map(|index| &words[index + 1..]);
        let option =
            behind.into_iter().flatten().find(|word| program.disabling_options.contains(&word.as_str()));
        words.iter().find(sets).or(option).cloned()
    })
}

#[cfg(test)]
mod tests;
