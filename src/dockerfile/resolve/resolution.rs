//! The result of a resolution, as plain values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::dockerfile::{ContextPaths, Instruction, InstructionKind, Scope};
use crate::platform::Platform;

/// The parts of a Dockerfile that a build of one target reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The index of the target among the stages of the Dockerfile.
    pub target: usize,
    /// The platform to build for.
    pub(crate) platform: Platform,
    pub(crate) escape: char,
    /// `true` if the platform was requested, `false` if it is the builder's default.
    pub(crate) platform_is_explicit: bool,
    /// The reached stages in file order.
    pub stages: Vec<ResolvedStage>,
    /// The images that the reached stages are based on, copy from or mount, each once, in the order of first use. Bases
    /// that a named context replaces and `scratch` are not included.
    pub bases: Vec<BaseImage>,
    /// The parts of the main context that the reached stages can see.
    pub(crate) context: ContextPaths,
    /// The named contexts in use, as [`super::Options`] names them.
    pub(crate) named_contexts: BTreeSet<String>,
    /// The parts of each named context that the reached stages can see.
    pub(crate) named_paths: BTreeMap<String, ContextPaths>,
    /// The bases whose ONBUILD triggers are unknown. If there are any, all build arguments are assumed to be visible,
    /// and the whole context to be read.
    pub(crate) unknown_triggers: BTreeSet<String>,
    /// The ids of the secrets that RUN instructions mount.
    pub(crate) secrets: BTreeSet<String>,
    /// The ids of the SSH agents that RUN instructions mount.
    pub(crate) ssh: BTreeSet<String>,
    /// `true` if the type or id of a mount depends on a variable that a base image may set, so that any secret and any
    /// SSH agent may be used.
    pub(crate) may_use_any_secret: bool,
    /// `true` if an ADD fetches a remote source, which can change while all inputs stay the same.
    pub(crate) has_remote_source: bool,
    /// The cache mounts of the reached RUNs, in order.
    pub(crate) cache_mounts: Vec<CacheMount>,
    /// `true` if the name of an ARG contains a variable, which old frontends allow.
    pub(crate) has_variable_arg_name: bool,
}

/// A reached stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedStage {
    /// The index among the stages of the Dockerfile.
    pub index: usize,
    pub(crate) name: Option<String>,
    /// The base. If it is a [`Source::Context`] and there are no instructions, a named context replaces the stage.
    pub(crate) base: Source,
    /// The platform that the FROM of the stage requests, expanded.
    pub(crate) platform: Option<Platform>,
    /// The FROM, the triggers of the base, and the other instructions of the stage, in this order. Empty if a named
    /// context replaces the stage.
    pub(crate) instructions: Vec<ResolvedInstruction>,
}

/// A source of files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// A stage, by its index in the Dockerfile.
    Stage(usize),
    /// An image, by its index in [`Resolution::bases`].
    Image(usize),
    /// A named context, as [`super::Options`] names it.
    Context(String),
    /// The empty image.
    Scratch,
}

/// An instruction with the expanded values of its variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResolvedInstruction {
    /// The instruction as written.
    pub(crate) instruction: Instruction,
    /// `true` if it is a trigger of the stage's base.
    pub(crate) is_trigger: bool,
    /// The sources other than the main context.
    pub(crate) sources: Vec<Source>,
    /// The sources in the main context.
    pub(crate) context: Vec<ContextSource>,
    /// The variables after the instruction.
    pub(crate) scope: Scope,
    /// The working directory after the instruction, cleaned and without a leading slash. If that of the base image is
    /// unknown, it is assumed to be the root.
    pub(crate) workdir: String,
}

/// A source in the main context and its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContextSource {
    /// The source, cleaned; empty for the whole context.
    pub(crate) path: String,
    /// The destination in the stage, cleaned and without a leading slash.
    pub(crate) destination: String,
}

/// An image that is not built by the Dockerfile.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseImage {
    pub(crate) written: String,
    /// The expanded reference.
    pub reference: String,
    /// The requested platform.
    pub(crate) platform: Platform,
}

impl fmt::Debug for BaseImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The expanded reference may contain a build argument's value.
        f.debug_struct("BaseImage").field("written", &self.written).finish_non_exhaustive()
    }
}

/// A cache mount of a reached RUN.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CacheMount {
    /// The stage's index in the Dockerfile.
    pub(crate) stage: usize,
    /// The first source line of the RUN; for a trigger, of the FROM.
    pub(crate) line: usize,
    /// All options, expanded, by normalised key.
    pub(crate) options: BTreeMap<String, String>,
    /// All options as written. Frontends before Dockerfile 1.3 do not expand them.
    pub(crate) written: BTreeMap<String, String>,
    /// The source of the initial content.
    pub(crate) from: Option<Source>,
    /// `true` if no variable of a base image can change the options.
    pub(crate) is_certain: bool,
}

impl fmt::Debug for CacheMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The expanded options may contain a build argument's value.
        f.debug_struct("CacheMount")
            .field("stage", &self.stage)
            .field("line", &self.line)
            .field("options", &self.options.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The build arguments that set a proxy, in upper or lower case.
const PROXY_ARGS: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

impl Resolution {
    /// Returns `true` if a build argument can affect the build without an ARG of a reached stage or a variable in a
    /// FROM.
    ///
    /// Proxy arguments cannot. `BUILDKIT_*`, `SOURCE_DATE_EPOCH` and the platform arguments always can.
    pub(crate) fn sees_undeclared_arg(&self, name: &str) -> bool {
        !Self::is_proxy_arg(name)
            && (self.has_variable_arg_name
                || !self.unknown_triggers.is_empty()
                || name.starts_with("BUILDKIT_")
                || name == "SOURCE_DATE_EPOCH"
                || super::globals::PLATFORM_ARGS.contains(&name))
    }

    pub(crate) fn is_proxy_arg(name: &str) -> bool {
        PROXY_ARGS.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
    }

    /// Returns the reached stage with this index, and the position in it of its own instruction that starts at `line`.
    pub(crate) fn own_instruction(&self, stage: usize, line: usize) -> Option<(&ResolvedStage, usize)> {
        let stage = self.stages.iter().find(|reached| reached.index == stage)?;
        let begins = |at: &ResolvedInstruction| !at.is_trigger && *at.instruction.lines.start() == line;
        Some((stage, stage.instructions.iter().position(begins)?))
    }

    /// Returns the user of the instruction at `position` of a reached stage, without its group, or `None` if no USER
    /// before it defines one.
    pub(crate) fn user_at(&self, stage: &ResolvedStage, position: usize) -> Option<String> {
        let user = self.user_and_group_at(stage, position)?;
        Some(user.split(':').next().unwrap_or(&user).to_owned())
    }

    /// Like [`Self::user_at`], but includes the group if there is one.
    pub(crate) fn user_and_group_at(&self, stage: &ResolvedStage, position: usize) -> Option<String> {
        let (mut stage, mut before) = (stage, &stage.instructions[..position]);
        loop {
            let user = before.iter().rev().find_map(|at| match &at.instruction.kind {
                InstructionKind::User(user) => Some((user, &at.scope)),
                _ => None,
            });
            if let Some((user, scope)) = user {
                let user = user.trim();
                return Some(scope.expand_certain(user, self.escape).unwrap_or_else(|| user.to_owned()));
            }
            let Source::Stage(parent) = stage.base else { return None };
            stage = self.stages.iter().find(|stage| stage.index == parent)?;
            before = &stage.instructions;
        }
    }

    /// Returns a stage other than the target and its parent stages that is based on one of them and sets labels,
    /// volumes or ports.
    ///
    /// `BuildKit` before 0.27 does not copy these maps with the config of a stage, so that they also change the config
    /// of the target (`clone` in `image.go`).
    pub(crate) fn stage_sharing_config(&self, target: usize) -> Option<usize> {
        let parent = |index| self.stages.iter().find(|stage| stage.index == index);
        let mut own = BTreeSet::new();
        let mut next = parent(target);
        while let Some(stage) = next {
            own.insert(stage.index);
            next = if let Source::Stage(base) = stage.base { parent(base) } else { None };
        }
        let mut sharing = own.clone();
        for stage in &self.stages {
            let Source::Stage(base) = stage.base else { continue };
            if own.contains(&stage.index) || !sharing.contains(&base) {
                continue;
            }
            sharing.insert(stage.index);
            let keywords = ["LABEL", "VOLUME", "EXPOSE"];
            if stage.instructions.iter().any(|at| keywords.contains(&&*at.instruction.keyword)) {
                return Some(stage.index);
            }
        }
        None
    }

    /// Returns the number of RUN, COPY and ADD instructions of the reached stages.
    pub(crate) fn step_count(&self) -> usize {
        let instructions = self.stages.iter().flat_map(|stage| &stage.instructions);
        instructions.filter(|resolved| resolved.instruction.is_step()).count()
    }
}
