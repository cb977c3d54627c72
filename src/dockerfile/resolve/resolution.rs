//! What a target reaches, as plain values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::dockerfile::{ContextPaths, Instruction, InstructionKind, Scope};
use crate::platform::Platform;

/// What a build of one target reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The target's index among the Dockerfile's stages.
    pub target: usize,
    /// The platform to build for.
    pub platform: Platform,
    /// Whether the platform was asked for, or is just the builder's own.
    pub(crate) platform_is_explicit: bool,
    /// The reached stages in file order.
    pub stages: Vec<ResolvedStage>,
    /// The images from elsewhere that the reached stages stand on, copy from
    /// or mount, each once, in the order of their first use. A base that a
    /// named context replaces is none, nor is `scratch`.
    pub bases: Vec<BaseImage>,
    /// What the reached stages can see of the main context.
    pub context: ContextPaths,
    /// The named contexts in use, as [`super::Options`] names them.
    pub named_contexts: BTreeSet<String>,
    /// What the reached stages can see of each named context.
    pub(crate) named_paths: BTreeMap<String, ContextPaths>,
    /// The bases whose ONBUILD triggers are unknown. If there are any, all
    /// build arguments count as visible and all of the context as read.
    pub untold_triggers: BTreeSet<String>,
    /// The ids of the secrets that RUNs mount.
    pub secrets: BTreeSet<String>,
    /// The ids of the SSH agents that RUNs mount.
    pub ssh: BTreeSet<String>,
    /// Whether a mount's type or id depends on a variable that a base image
    /// may set: then any secret and any SSH agent may be in use.
    pub any_secret: bool,
    /// Whether anything is fetched from elsewhere by ADD, so that it can age
    /// while every input stays the same.
    pub remote: bool,
    /// The cache mounts of the reached RUNs, in order.
    pub cache_mounts: Vec<CacheMount>,
    /// Whether an ARG's name holds a variable, as old frontends allow.
    pub(super) any_arg: bool,
}

/// One reached stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedStage {
    /// Its index among the Dockerfile's stages.
    pub index: usize,
    /// Its name in lower case.
    pub(crate) name: Option<String>,
    /// What it stands on. A [`Source::Context`] with no instructions below is
    /// a stage that a named context replaces.
    pub base: Source,
    /// The platform that its FROM asks for, variables expanded.
    pub platform: Option<Platform>,
    /// What runs in it: first its FROM, then the triggers of its base, then
    /// its own instructions. Empty for a stage that a named context replaces.
    pub instructions: Vec<ResolvedInstruction>,
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A stage, by its index in the Dockerfile.
    Stage(usize),
    /// An image from elsewhere, by its index in [`Resolution::bases`].
    Image(usize),
    /// A named context, as [`super::Options`] names it.
    Context(String),
    /// Nothing.
    Scratch,
}

/// An instruction with what its variables expand to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedInstruction {
    /// The instruction.
    pub instruction: Instruction,
    /// Whether it is a trigger of the stage's base.
    pub triggered: bool,
    /// What it takes files from, besides the main context.
    pub sources: Vec<Source>,
    /// What it takes from the main context.
    pub context: Vec<ContextSource>,
    /// The variables behind it.
    pub(crate) scope: Scope,
    /// The working directory at it, cleaned and without a leading slash. The
    /// working directory of a base image is taken for the root.
    pub(crate) workdir: String,
}

/// A source in the main context and where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextSource {
    /// The source, cleaned; empty for the whole context.
    pub path: String,
    /// The destination in the stage, cleaned and without a leading slash.
    pub destination: String,
}

/// What a base image is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BaseUse {
    /// A stage stands on it.
    From,
    /// COPY --from.
    Copy,
    /// A mount's `from`.
    Mount,
}

/// An image from elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// The reference as the Dockerfile writes it.
    pub written: String,
    /// The reference with its variables expanded.
    pub reference: String,
    /// The platform that is wanted of it.
    pub platform: Platform,
    /// What it is used for.
    pub uses: BTreeSet<BaseUse>,
}

impl fmt::Debug for BaseImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the expanded reference: it may hold a build argument's value.
        let mut shown = f.debug_struct("BaseImage");
        shown.field("written", &self.written).field("uses", &self.uses).finish_non_exhaustive()
    }
}

/// A cache mount of a reached RUN.
#[derive(Clone, PartialEq, Eq)]
pub struct CacheMount {
    /// The stage's index in the Dockerfile.
    pub stage: usize,
    /// The RUN's first source line; for a trigger its FROM's.
    pub line: usize,
    /// `id`, expanded.
    pub id: Option<String>,
    /// `target`, expanded.
    pub target: String,
    /// All options, expanded, under their first names.
    pub options: BTreeMap<String, String>,
    /// The same as written; so frontends before Dockerfile 1.3 take them.
    pub written: BTreeMap<String, String>,
    /// What its content starts from.
    pub from: Option<Source>,
    /// Whether a base image's variables could make it another mount.
    pub certain: bool,
}

impl fmt::Debug for CacheMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the expanded options: they may hold a build argument's value.
        f.debug_struct("CacheMount")
            .field("stage", &self.stage)
            .field("line", &self.line)
            .field("options", &self.options.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Names under which proxies are passed; any case.
const PROXY_ARGS: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

impl Resolution {
    /// Whether a build argument of that name can change what is built in other
    /// ways than through an ARG of a reached stage or a FROM's variables.
    ///
    /// A proxy cannot. `BUILDKIT_*`, `SOURCE_DATE_EPOCH` and the platform
    /// arguments always can.
    pub(crate) fn sees_undeclared_arg(&self, name: &str) -> bool {
        !Self::is_proxy_arg(name)
            && (self.any_arg
                || !self.untold_triggers.is_empty()
                || name.starts_with("BUILDKIT_")
                || name == "SOURCE_DATE_EPOCH"
                || super::globals::PLATFORM_ARGS.contains(&name))
    }

    /// Whether `name` is one under which a proxy is passed.
    pub(crate) fn is_proxy_arg(name: &str) -> bool {
        PROXY_ARGS.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
    }

    /// The reached stage of this index and the place in it of the instruction of its own that begins at `line`.
    pub(crate) fn own_instruction(&self, stage: usize, line: usize) -> Option<(&ResolvedStage, usize)> {
        let stage = self.stages.iter().find(|reached| reached.index == stage)?;
        let begins = |at: &ResolvedInstruction| !at.triggered && *at.instruction.lines.start() == line;
        Some((stage, stage.instructions.iter().position(begins)?))
    }

    /// The user of the instruction at `place` of a reached stage, without its group; `None` where no USER before it
    /// says who that is.
    pub(crate) fn user_at(&self, stage: &ResolvedStage, place: usize) -> Option<String> {
        let user = self.user_and_group_at(stage, place)?;
        Some(user.split(':').next().unwrap_or(&user).to_owned())
    }

    /// As [`Self::user_at`], with the group if there is one.
    pub(crate) fn user_and_group_at(&self, stage: &ResolvedStage, place: usize) -> Option<String> {
        let (mut stage, mut before) = (stage, &stage.instructions[..place]);
        loop {
            let user = before.iter().rev().find_map(|at| match &at.instruction.kind {
                InstructionKind::User(user) => Some((user, &at.scope)),
                _ => None,
            });
            if let Some((user, scope)) = user {
                return Some(scope.known(user.trim(), '\\').unwrap_or_else(|| user.trim().to_owned()));
            }
            let Source::Stage(parent) = stage.base else { return None };
            stage = self.stages.iter().find(|stage| stage.index == parent)?;
            before = &stage.instructions;
        }
    }

    /// How many RUN, COPY and ADD steps the reached stages have.
    pub fn steps(&self) -> usize {
        let instructions = self.stages.iter().flat_map(|stage| &stage.instructions);
        instructions.filter(|resolved| resolved.instruction.is_step()).count()
    }
}
