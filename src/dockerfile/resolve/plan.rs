//! Resolves the base of each stage, the target, and the stages that it reaches.

use std::collections::{BTreeMap, BTreeSet};

use super::globals::GlobalScope;
use super::options::{Options, ResolveError};
use crate::dockerfile::expand::expand;
use crate::dockerfile::reference::familiar_name;
use crate::dockerfile::{Dockerfile, Instruction, InstructionKind, suggest};
use crate::platform::Platform;

/// The source that a name refers to. Images have no index yet, see [`super::Source`].
#[derive(Clone)]
pub(super) enum NamedSource {
    Stage(usize),
    Image { written: String, reference: String, platform: Platform },
    Context(String),
    Scratch,
}

pub(super) struct StagePlan {
    pub(super) base: NamedSource,
    pub(super) requested_platform: Option<Platform>,
    /// The named context that replaces the whole stage.
    pub(super) replacement: Option<String>,
    pub(super) triggers: Vec<Instruction>,
    pub(super) unknown_triggers: Option<String>,
}

pub(super) struct ResolvePlan {
    pub(super) stages: Vec<StagePlan>,
    pub(super) target: usize,
    pub(super) reached: BTreeSet<usize>,
    /// `true` if the timestamps of the image come from a stage or a context (`SOURCE_DATE_EPOCH`).
    pub(super) has_external_epoch: bool,
    names: BTreeMap<String, usize>,
    platform: Platform,
    contexts: BTreeSet<String>,
}

impl ResolvePlan {
    pub(super) fn of(
        dockerfile: &Dockerfile,
        options: &Options,
        globals: &GlobalScope,
    ) -> Result<Self, ResolveError> {
        let epoch = options.build_args.get("SOURCE_DATE_EPOCH").map(String::as_str);
        let epoch = epoch.or_else(|| globals.scope.get("SOURCE_DATE_EPOCH")).unwrap_or_default();
        let mut plan = Self {
            stages: Vec::new(),
            target: 0,
            reached: BTreeSet::new(),
            has_external_epoch: !epoch.is_empty() && epoch.parse::<i64>().is_err(),
            names: BTreeMap::new(),
            platform: globals.platform.clone(),
            contexts: options.named_contexts.clone(),
        };
        for (index, stage) in dockerfile.stages.iter().enumerate() {
            let planned = plan.plan_stage(dockerfile, index, options, globals)?;
            plan.stages.push(planned);
            if let Some(name) = &stage.name {
                plan.names.insert(name.clone(), index);
            }
        }
        plan.target = plan.find_target(dockerfile, options)?;
        // An invalid `--from` is an error even in a stage that is not reached.
        for instruction in dockerfile.stages.iter().flat_map(|stage| &stage.instructions) {
            plan.sources(instruction, dockerfile.directives.escape)?;
        }
        plan.reached = plan.find_reached(dockerfile)?;
        Ok(plan)
    }

    fn plan_stage(
        &self,
        dockerfile: &Dockerfile,
        index: usize,
        options: &Options,
        globals: &GlobalScope,
    ) -> Result<StagePlan, ResolveError> {
        let stage = &dockerfile.stages[index];
        let line = *stage.lines.start();
        let expand = |word: &str| {
            let expanded = globals.scope.expand(word, dockerfile.directives.escape);
            let text = expanded.map_err(|source| ResolveError::expand(line, word, source))?.text;
            if text.is_empty() {
                return Err(ResolveError::EmptyExpansion { line, written: word.to_owned() });
            }
            Ok(text)
        };
        let reference = expand(&stage.base)?;
        let platform = match &stage.platform {
            Some(written) => Platform::parse(&expand(written)?, Some(&globals.build_platform))
                .map_err(|source| ResolveError::FromPlatform { line, written: written.clone(), source })?,
            None => self.platform.clone(),
        };
        let requested_platform = stage.platform.is_some().then(|| platform.clone());
        let replacement = stage.name.as_deref().and_then(|name| self.find_context(name, &platform));
        let base = match self.names.get(&reference) {
            Some(base) => NamedSource::Stage(*base),
            None => self.resolve_external(stage.base.clone(), reference, platform),
        };
        let known_triggers = match &base {
            NamedSource::Scratch => Some(Vec::new()),
            NamedSource::Stage(base) if self.stages[*base].replacement.is_some() => None,
            NamedSource::Stage(base) => {
                let onbuild = dockerfile.stages[*base].instructions.iter();
                let onbuild = onbuild.filter_map(|instruction| match &instruction.kind {
                    InstructionKind::Onbuild(onbuild) => Some(onbuild.expression.clone()),
                    _ => None,
                });
                Some(onbuild.collect())
            }
            NamedSource::Image { reference: name, .. } | NamedSource::Context(name) => {
                options.triggers.get(name).cloned()
            }
        };
        let name = if let NamedSource::Context(name) = &base { name } else { &stage.base };
        let unknown_triggers = known_triggers.is_none().then(|| name.clone());
        let triggers = known_triggers.unwrap_or_default().into_iter().map(|trigger| {
            Instruction::of_trigger(&trigger, &stage.instructions[0].lines)
                .map_err(|source| ResolveError::Trigger { base: name.clone(), source })
        });
        let triggers = triggers.collect::<Result<_, _>>()?;
        Ok(StagePlan { base, requested_platform, replacement, triggers, unknown_triggers })
    }

    fn resolve_external(&self, written: String, reference: String, platform: Platform) -> NamedSource {
        if reference == "scratch" {
            return NamedSource::Scratch;
        }
        match self.find_context(&reference, &platform) {
            Some(context) => NamedSource::Context(context),
            None => NamedSource::Image { written, reference, platform },
        }
    }

    /// Returns the named context that replaces `name`, as named in the options.
    fn find_context(&self, name: &str, platform: &Platform) -> Option<String> {
        if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
            return None;
        }
        let found = |wanted: &str| {
            self.contexts.iter().find(|context| {
                let (name, platform) = context.split_once("::").unwrap_or((context, ""));
                let name = familiar_name(name);
                let spelled =
                    if platform.is_empty() { name.to_owned() } else { format!("{name}::{platform}") };
                spelled == wanted
            })
        };
        let name = familiar_name(name);
        found(&format!("{name}::{platform}")).or_else(|| found(name)).cloned()
    }

    fn find_target(&self, dockerfile: &Dockerfile, options: &Options) -> Result<usize, ResolveError> {
        let last = dockerfile.stages.len() - 1;
        let Some(target) = options.target.as_deref().filter(|target| !target.is_empty()) else {
            return Ok(last);
        };
        if let Some(index) = self.names.get(&target.to_lowercase()) {
            return Ok(*index);
        }
        Err(ResolveError::UnknownTarget {
            target: target.to_owned(),
            stages: dockerfile.stages.iter().filter_map(|stage| stage.name.clone()).collect(),
            suggestion: suggest::nearest_name(target, self.names.keys().map(String::as_str))
                .map(str::to_owned),
        })
    }

    fn find_reached(&self, dockerfile: &Dockerfile) -> Result<BTreeSet<usize>, ResolveError> {
        let mut reached = BTreeSet::new();
        let mut open = vec![self.target];
        if self.has_external_epoch {
            open.extend(0..self.stages.len());
        }
        while let Some(index) = open.pop() {
            if !reached.insert(index) || self.stages[index].replacement.is_some() {
                continue;
            }
            if let NamedSource::Stage(base) = self.stages[index].base {
                open.push(base);
            }
            for instruction in
                self.stages[index].triggers.iter().chain(&dockerfile.stages[index].instructions)
            {
                for source in self.sources(instruction, dockerfile.directives.escape)? {
                    if let NamedSource::Stage(stage) = source {
                        open.push(stage);
                    }
                }
            }
        }
        Ok(reached)
    }

    /// Returns the sources of an instruction other than the main context.
    pub(super) fn sources(
        &self,
        instruction: &Instruction,
        escape: char,
    ) -> Result<Vec<NamedSource>, ResolveError> {
        let line = *instruction.lines.start();
        match &instruction.kind {
            InstructionKind::Copy(transfer) | InstructionKind::Add(transfer) => {
                let Some(from) = transfer.flag("from").filter(|from| !from.is_empty()) else {
                    return Ok(Vec::new());
                };
                let expanded = expand(from, escape, &|_| None);
                let expanded = expanded.map_err(|source| ResolveError::expand(line, from, source))?;
                let written = from.to_owned();
                if expanded.text != from {
                    return Err(ResolveError::VariableInFrom { line, written });
                }
                match from.parse::<i64>().map(usize::try_from) {
                    Ok(Ok(index)) if index < self.stages.len() => Ok(vec![NamedSource::Stage(index)]),
                    Ok(_) => Err(ResolveError::NoSuchStage { line, written }),
                    Err(_) => Ok(vec![self.resolve_name(from)]),
                }
            }
            InstructionKind::Run(run) => {
                let from = run.mounts.iter().filter_map(|mount| mount.get("from"));
                Ok(from.filter(|from| !from.is_empty()).map(|from| self.resolve_name(from)).collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Returns the named context that `origin` is or is replaced by.
    pub(super) fn context_of<'a>(&'a self, origin: &'a NamedSource) -> Option<&'a str> {
        match origin {
            NamedSource::Context(name) => Some(name),
            NamedSource::Stage(index) => self.stages[*index].replacement.as_deref(),
            NamedSource::Image { .. } | NamedSource::Scratch => None,
        }
    }

    /// Resolves a name to a stage anywhere in the file, or to an image or context.
    pub(super) fn resolve_name(&self, name: &str) -> NamedSource {
        match self.names.get(&name.to_lowercase()) {
            Some(stage) => NamedSource::Stage(*stage),
            None => self.resolve_external(name.to_owned(), name.to_owned(), self.platform.clone()),
        }
    }
}
