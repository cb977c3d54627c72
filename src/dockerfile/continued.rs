//! Rewrites a Dockerfile in memory so that a stage continues from a prefix image. Pure.
//!
//! ```text
//!  FROM python:3 AS app        FROM registry/app@sha256:… AS app
//!  ARG MODE=fast               ARG MODE=fast
//!  ENV HOME=/app
//!  RUN pip install flask
//!  ── cut ──
//!  COPY . /app                 COPY . /app
//! ```
//!
//! A stage inherits the config of its base image, which contains the effects of ENV, LABEL, USER, WORKDIR, SHELL,
//! VOLUME, EXPOSE, STOPSIGNAL, HEALTHCHECK and MAINTAINER. The config does not contain the effects of the following
//! instructions. They are repeated on the lines of the removed instructions, so that all other lines keep their
//! numbers:
//!
//! - **ARG** of the stage, of the stages that it is based on (whose arguments it inherits), and of their ONBUILD
//!   triggers. They are repeated as written and in order. Therefore build arguments, global arguments and platform
//!   arguments give them the same values, and the rewritten Dockerfile contains no values of build arguments.
//! - **ONBUILD** of the stage. The prefix omits it, because the triggers of a base image would run.
//! - **CMD** of the stage, if an ENTRYPOINT follows: ENTRYPOINT resets a CMD that is inherited from the base image, but
//!   not a CMD of the same stage.
//!
//! The image has the same files and the same runtime config as an image that is built without a prefix. It differs in:
//!
//! - its history, which has one more entry without a layer for each repeated ARG and CMD. There, a RUN after the cut
//!   also names the arguments of the parent stages (frontends of Docker 20.10 name only those of its own stage);
//! - the order of the variables in the environment of a RUN: those of the config come first;
//! - the build checks, see [`SKIP_CHECKS`].
//!
//! Behaviour after `BuildKit`'s `frontend/dockerfile/dockerfile2llb/convert.go`, 0.8 to 0.32.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::expand::expand;
use super::resolve::{Resolution, ResolvedInstruction, ResolvedStage, Source};
use super::{Cut, Dockerfile, InstructionKind};

/// The build argument that disables build checks, and its value. It is used to build a rewritten Dockerfile: because of
/// the removed instructions, the checks would report mistakes that the original Dockerfile does not contain.
///
/// A directive would need an additional line. Frontends without checks (before Dockerfile 1.8) ignore the argument.
pub(crate) const SKIP_CHECKS: (&str, &str) = ("BUILDKIT_DOCKERFILE_CHECK", "skip=all");

#[derive(Debug, Clone, Copy)]
pub(crate) struct PrefixImage<'a> {
    /// The image by digest: `REPOSITORY@sha256:…`.
    pub(crate) reference: &'a str,
    pub(crate) variables: &'a [String],
    pub(crate) command: &'a [String],
}

/// The reason why the config of a prefix image does not determine the rest of a build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PrefixObstacle {
    #[error("the ONBUILD triggers of `{0}` are unknown")]
    UnknownTriggers(String),
    #[error("`# check=` makes build checks fail the build, and only a full build runs them")]
    EnforcedChecks,
    #[error(
        "stage {0} shares the labels, volumes and ports of a stage that the target is based on, and changes them"
    )]
    SharedConfig(usize),
}

impl PrefixObstacle {
    /// Checks that the instructions of the stage `target` after any cut can be applied to an image of those before it.
    pub(crate) fn check(dockerfile: &Dockerfile, resolution: &Resolution, target: usize) -> Result<(), Self> {
        if let Some(base) = resolution.unknown_triggers.first() {
            return Err(Self::UnknownTriggers(base.clone()));
        }
        if dockerfile.directives.check.as_deref().is_some_and(enforces_checks) {
            return Err(Self::EnforcedChecks);
        }
        resolution.stage_sharing_config(target).map_or(Ok(()), |stage| Err(Self::SharedConfig(stage)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ContinueError {
    #[error("a named context replaces the stage")]
    StageReplaced,
    #[error("the name of an ARG contains a variable")]
    VariableInArg,
    #[error(transparent)]
    Impossible(#[from] PrefixObstacle),
    #[error("an ARG is named {}, which controls the build checks", SKIP_CHECKS.0)]
    ChecksArgDeclared,
    #[error("the stage is built for {stage}, but the image is built for {image}")]
    ForeignPlatform { stage: String, image: String },
    #[error("`{0}` is both an ARG and a variable of the image")]
    ArgAndEnv(String),
    #[error("the default of ARG `{arg}` uses `{variable}`, which a later ENV sets")]
    VariableChanged { arg: String, variable: String },
    #[error("an ONBUILD trigger declares an ARG, and the Dockerfile sets its own escape character")]
    EscapeInTrigger,
    #[error("the instructions to repeat do not fit on the lines before the cut")]
    NotEnoughLines,
    #[error("an instruction to repeat is too long")]
    LineTooLong,
}

/// Returns `text` with the target stage based on `prefix`, the image of all instructions before `cut`.
///
/// The caller ensures that the frontend is Docker's, that `resolution` is that of the target `cut.stage`, and that
/// build arguments do not make build checks fail the build (see [`enforces_checks`]).
pub(crate) fn continue_from_prefix(
    text: &str,
    dockerfile: &Dockerfile,
    resolution: &Resolution,
    cut: Cut,
    prefix: PrefixImage<'_>,
) -> Result<String, ContinueError> {
    let inherited = InheritedInstructions::of(resolution, cut).ok_or(ContinueError::StageReplaced)?;
    PrefixObstacle::check(dockerfile, resolution, cut.stage)?;
    if resolution.has_variable_arg_name {
        return Err(ContinueError::VariableInArg);
    }
    if dockerfile.declares_arg(SKIP_CHECKS.0) {
        return Err(ContinueError::ChecksArgDeclared);
    }
    check_platform(resolution, &inherited)?;
    check_args(dockerfile, &inherited, prefix)?;

    let root = inherited.stages.first().map_or(cut.stage, |root| root.index);
    let platform = dockerfile.stages[root].platform.as_ref();
    let stage = &dockerfile.stages[cut.stage];
    let platform = platform.map(|platform| format!("--platform={platform} ")).unwrap_or_default();
    let name = stage.name.as_ref().map(|name| format!(" AS {name}")).unwrap_or_default();
    let from = format!("FROM {platform}{}{name}", prefix.reference);

    let first = *stage.instructions[0].lines.start();
    let last = *stage.instructions[cut.instructions - 1].lines.end();
    let lines = place_lines(from, &inherited.repeated_instructions(prefix), first, last)?;
    let mut changed = String::with_capacity(text.len() + 256);
    for (line, number) in text.split_inclusive('\n').zip(1..) {
        if (first..=last).contains(&number) {
            changed.push_str(&lines[number - first]);
            changed.push_str(line.strip_suffix('\n').map_or("", |_| "\n"));
        } else {
            changed.push_str(line);
        }
    }
    // The engine limits the length of a line.
    Dockerfile::parse(&changed).map_err(|_| ContinueError::LineTooLong)?;
    Ok(changed)
}

/// Returns `true` if these build checks, in the form of the `# check=` directive, can fail a build.
pub(crate) fn enforces_checks(checks: &str) -> bool {
    checks.split(';').any(|option| option.split('=').next().is_some_and(|name| name.trim() == "error"))
}

/// An instruction to repeat, with its original line if the stage itself contains it.
type RepeatedInstruction = (Option<usize>, String);

/// The instructions that determine the state of a stage at the cut.
struct InheritedInstructions<'a> {
    /// The parent stages and the stage itself, starting with the one that is based on an image.
    stages: Vec<&'a ResolvedStage>,
    /// The instructions up to the cut, starting with those of the parent stages.
    before: Vec<&'a ResolvedInstruction>,
    /// The position in `before` of the stage's own first instruction.
    own_start: usize,
    after: &'a [ResolvedInstruction],
}

impl<'a> InheritedInstructions<'a> {
    /// Returns `None` if a named context replaces the stage.
    fn of(resolution: &'a Resolution, cut: Cut) -> Option<Self> {
        let find = |index| resolution.stages.iter().find(|stage| stage.index == index);
        let mut stage = find(cut.stage)?;
        let triggers = stage.instructions.iter().filter(|at| at.is_trigger).count();
        let (up_to_cut, after) = stage.instructions.split_at_checked(cut.instructions + triggers)?;
        let mut stages = vec![stage];
        while let Source::Stage(base) = stage.base {
            stage = find(base)?;
            stages.push(stage);
        }
        stages.reverse();
        let parents = stages[..stages.len() - 1].iter().flat_map(|stage| &stage.instructions);
        let mut before: Vec<_> = parents.collect();
        let own_start = before.len();
        before.extend(up_to_cut);
        Some(Self { stages, before, own_start, after })
    }

    fn repeated_instructions(&self, prefix: PrefixImage<'_>) -> Vec<RepeatedInstruction> {
        let cmd = self.command_to_repeat();
        let mut repeated = Vec::new();
        for (position, at) in self.before.iter().enumerate() {
            let own = position >= self.own_start && !at.is_trigger;
            let text = match &at.instruction.kind {
                _ if cmd == Some(position) => {
                    // Repeat the config's command: a SHELL after the CMD would change the meaning of its shell form.
                    let words = serde_json::to_string(prefix.command).expect("strings make JSON");
                    format!("CMD {words}")
                }
                InstructionKind::Arg(_) => at.instruction.text.clone(),
                InstructionKind::Onbuild(_) if own => at.instruction.text.clone(),
                _ => continue,
            };
            repeated.push((own.then(|| *at.instruction.lines.start()), text));
        }
        repeated
    }

    /// Returns the position in `before` of the CMD that an ENTRYPOINT after the cut would otherwise reset.
    fn command_to_repeat(&self) -> Option<usize> {
        let next = self.after.iter().find(|at| matches!(&*at.instruction.keyword, "CMD" | "ENTRYPOINT"))?;
        let own = self.before.iter().enumerate().skip(self.own_start);
        let cmd = own.rev().find(|(_, at)| at.instruction.keyword == "CMD")?.0;
        (next.instruction.keyword == "ENTRYPOINT").then_some(cmd)
    }
}

/// Rejects a stage for a different platform: the config of its prefix would contain the platform of the build, not that
/// of its files.
fn check_platform(
    resolution: &Resolution,
    inherited: &InheritedInstructions<'_>,
) -> Result<(), ContinueError> {
    match inherited.stages.first().and_then(|root| root.platform.as_ref()) {
        Some(platform) if *platform != resolution.platform => Err(ContinueError::ForeignPlatform {
            stage: platform.to_string(),
            image: resolution.platform.to_string(),
        }),
        _ => Ok(()),
    }
}

/// Rejects arguments that would have a different value if they were repeated.
fn check_args(
    dockerfile: &Dockerfile,
    inherited: &InheritedInstructions<'_>,
    prefix: PrefixImage<'_>,
) -> Result<(), ContinueError> {
    let escape = dockerfile.directives.escape;
    for (position, at) in inherited.before.iter().enumerate() {
        let InstructionKind::Arg(args) = &at.instruction.kind else { continue };
        if at.is_trigger && escape != '\\' {
            // A trigger is split into words with a backslash as escape character.
            return Err(ContinueError::EscapeInTrigger);
        }
        for (name, default) in args {
            // The last ARG or ENV takes precedence, and a repeated ARG would be the last one.
            if prefix.variables.contains(name) {
                return Err(ContinueError::ArgAndEnv(name.clone()));
            }
            let used = default.as_ref().map(|default| used_variables(default, escape)).unwrap_or_default();
            let later = inherited.before[position..].iter().flat_map(|at| match &at.instruction.kind {
                InstructionKind::Env(pairs) => pairs.as_slice(),
                _ => &[],
            });
            let changed = |name: &String| {
                // The name can be in quotes or contain a variable.
                later.clone().any(|(set, _)| set == name || set.contains(['$', '"', '\'', escape]))
            };
            if let Some(variable) = used.into_iter().find(changed) {
                return Err(ContinueError::VariableChanged { arg: name.clone(), variable });
            }
        }
    }
    Ok(())
}

/// Returns the variables that a word uses; empty for a word that cannot be expanded.
fn used_variables(word: &str, escape: char) -> BTreeSet<String> {
    let used = RefCell::new(BTreeSet::new());
    let lookup = |name: &str| {
        used.borrow_mut().insert(name.to_owned());
        Some("set".to_owned())
    };
    expand(word, escape, &lookup).map(|_| used.take()).unwrap_or_default()
}

/// Places `from` on the line `first`, and the instructions on the lines after it, up to `last`: on their original lines
/// if possible, and always in order.
fn place_lines(
    from: String,
    repeated: &[RepeatedInstruction],
    first: usize,
    last: usize,
) -> Result<Vec<String>, ContinueError> {
    let mut lines = vec![String::new(); last - first + 1];
    lines[0] = from;
    let mut free = 1;
    for (own, text) in repeated {
        let start = own.map_or(free, |own| free.max(own - first));
        free = start + text.split('\n').count();
        let target = lines.get_mut(start..free).ok_or(ContinueError::NotEnoughLines)?;
        target.iter_mut().zip(text.split('\n')).for_each(|(line, text)| text.clone_into(line));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests;
