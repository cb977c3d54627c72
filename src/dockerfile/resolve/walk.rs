//! Walks the reached instructions in order, with the variables that they see.

use std::collections::{BTreeMap, BTreeSet};

use super::globals::GlobalScope;
use super::options::{Options, ResolveError};
use super::plan::{NamedSource, ResolvePlan};
use super::resolution::{
    BaseImage, BaseUse, CacheMount, ContextSource, Resolution, ResolvedInstruction, ResolvedStage, Source,
};
use crate::dockerfile::context_paths::{ContextSelector, clean_path};
use crate::dockerfile::reference::{is_remote, is_scp_like};
use crate::dockerfile::scope::{ExpandedWord, Scope, WordError};
use crate::dockerfile::{
    ContextPaths, CopyInstruction, Dockerfile, Instruction, InstructionKind, Mount, MountKind, RunInstruction,
};

pub(super) fn resolve_stages(
    dockerfile: &Dockerfile,
    options: &Options,
    globals: &GlobalScope,
    plan: &ResolvePlan,
) -> Result<Resolution, ResolveError> {
    let mut walk = Resolver {
        escape: dockerfile.directives.escape,
        options,
        globals,
        plan,
        resolution: Resolution {
            target: plan.target,
            platform: globals.platform.clone(),
            platform_is_explicit: options.platform.is_some(),
            stages: Vec::new(),
            bases: Vec::new(),
            context: ContextPaths::default(),
            named_contexts: BTreeSet::new(),
            named_paths: BTreeMap::new(),
            unknown_triggers: BTreeSet::new(),
            secrets: BTreeSet::new(),
            ssh: BTreeSet::new(),
            may_use_any_secret: false,
            has_remote_source: false,
            cache_mounts: Vec::new(),
            has_variable_arg_name: globals.declared.iter().any(|name| name.contains('$')),
        },
    };
    let mut ends = BTreeMap::new();
    for index in &plan.reached {
        let end = walk.stage(dockerfile, *index, &ends)?;
        ends.insert(*index, end);
    }
    if plan.has_external_epoch {
        walk.resolution.named_contexts.extend(options.named_contexts.iter().cloned());
        walk.resolution.has_remote_source = true;
    }
    if let Some(context) = &plan.stages[plan.target].replacement {
        walk.paths_of(Some(context)).add_everything();
    }
    if plan.has_external_epoch || !walk.resolution.unknown_triggers.is_empty() {
        walk.resolution.context.add_everything();
        for name in &options.named_contexts {
            walk.paths_of(Some(name)).add_everything();
        }
    }
    Ok(walk.resolution)
}

/// The variables and the working directory at one point of a stage.
#[derive(Clone)]
struct StageState {
    scope: Scope,
    workdir: String,
}

struct Resolver<'a> {
    escape: char,
    options: &'a Options,
    globals: &'a GlobalScope,
    plan: &'a ResolvePlan,
    resolution: Resolution,
}

impl Resolver<'_> {
    fn stage(
        &mut self,
        dockerfile: &Dockerfile,
        index: usize,
        ends: &BTreeMap<usize, StageState>,
    ) -> Result<StageState, ResolveError> {
        let stage = &dockerfile.stages[index];
        let plan = &self.plan.stages[index];
        let name = stage.name.clone();
        if let Some(context) = &plan.replacement {
            self.resolution.named_contexts.insert(context.clone());
            let base = Source::Context(context.clone());
            let platform = plan.requested_platform.clone();
            self.resolution.stages.push(ResolvedStage {
                index,
                name,
                base,
                platform,
                instructions: Vec::new(),
            });
            return Ok(StageState { scope: Scope::of_unknown_image(), workdir: String::new() });
        }
        if let Some(context) = self.plan.context_of(&plan.base) {
            self.paths_of(Some(context)).add_everything();
        }
        let base = self.record_source(plan.base.clone(), BaseUse::From);
        self.resolution.unknown_triggers.extend(plan.unknown_triggers.clone());
        let scope = if base == Source::Scratch { Scope::default() } else { Scope::of_unknown_image() };
        let mut place = StageState { scope, workdir: String::new() };
        if let NamedSource::Image { reference, .. } = &plan.base
            && let Some(start) = self.options.base_settings.get(reference)
        {
            place = StageState {
                scope: Scope::of_known_image(&start.environment),
                workdir: clean_path(&start.workdir).trim_start_matches('/').to_owned(),
            };
        }
        if let Source::Stage(base) = base {
            // A stage can only be based on an earlier stage, which was already resolved.
            place = ends.get(&base).cloned().unwrap_or(place);
        }
        let mut instructions = Vec::new();
        let own = stage.instructions.iter().map(|instruction| (instruction, false));
        let triggers = plan.triggers.iter().map(|instruction| (instruction, true));
        for (instruction, triggered) in own.clone().take(1).chain(triggers).chain(own.skip(1)) {
            let line = *instruction.lines.start();
            let (sources, context) =
                self.instruction(index, instruction, &mut place).map_err(|error| match error {
                    WalkError::Expand(fault) => ResolveError::expand(line, fault),
                    WalkError::Other(other) => other,
                })?;
            instructions.push(ResolvedInstruction {
                instruction: instruction.clone(),
                is_trigger: triggered,
                sources,
                context,
                scope: place.scope.clone(),
                workdir: place.workdir.clone(),
            });
        }
        let platform = plan.requested_platform.clone();
        self.resolution.stages.push(ResolvedStage { index, name, base, platform, instructions });
        Ok(place)
    }

    fn instruction(
        &mut self,
        stage: usize,
        instruction: &Instruction,
        place: &mut StageState,
    ) -> Result<(Vec<Source>, Vec<ContextSource>), WalkError> {
        let mut sources = Vec::new();
        let mut context = Vec::new();
        match &instruction.kind {
            InstructionKind::Arg(args) => self.declare_args(args, place)?,
            InstructionKind::Env(pairs) => {
                // All pairs of one ENV see the variables before it.
                let before = place.scope.clone();
                for (name, value) in pairs {
                    let name = before.expand(name, self.escape)?.text;
                    place.scope.set(&name, &before.expand(value, self.escape)?.text);
                }
            }
            InstructionKind::Workdir(path) => {
                let path = place.scope.expand(path, self.escape)?.text;
                place.workdir = join(&place.workdir, &path);
            }
            InstructionKind::Copy(transfer) | InstructionKind::Add(transfer) => {
                let from = self.plan.sources(instruction, self.escape)?;
                if from.is_empty() {
                    let adds = matches!(instruction.kind, InstructionKind::Add(_));
                    context = self.transfer(transfer, adds, place)?;
                }
                for origin in from {
                    if let Some(name) = self.plan.context_of(&origin) {
                        self.copy(transfer, place, name)?;
                    }
                    sources.push(self.record_source(origin, BaseUse::Copy));
                }
            }
            InstructionKind::Run(run) => {
                for origin in self.plan.sources(instruction, self.escape)? {
                    sources.push(self.record_source(origin, BaseUse::Mount));
                }
                context = self.mounts(stage, *instruction.lines.start(), run, place)?;
            }
            _ => {}
        }
        Ok((sources, context))
    }

    fn declare_args(
        &mut self,
        args: &[(String, Option<String>)],
        place: &mut StageState,
    ) -> Result<(), WalkError> {
        for (name, default) in args {
            let value = match (self.options.build_args.get(name), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(default)) => Some(place.scope.expand(default, self.escape)?.text),
                (None, None) => self.globals.scope.get(name).map(str::to_owned),
            };
            if let Some(value) = value.filter(|_| !name.starts_with("BUILDKIT_SBOM_SCAN_")) {
                place.scope.set(name, &value);
            }
            self.resolution.has_variable_arg_name |= name.contains('$');
        }
        Ok(())
    }

    fn transfer(
        &mut self,
        transfer: &CopyInstruction,
        adds: bool,
        place: &StageState,
    ) -> Result<Vec<ContextSource>, WalkError> {
        let destination = place.scope.expand(&transfer.destination, self.escape)?.text;
        let destination = join(&place.workdir, &destination);
        let mut context = Vec::new();
        for source in &transfer.sources {
            let ExpandedWord { text, is_certain: certain } = place.scope.expand(source, self.escape)?;
            if adds && (is_remote(&text) || !certain) {
                self.resolution.has_remote_source = true;
                if certain && !is_scp_like(&text) {
                    continue;
                }
            }
            self.record_selector(None, certain.then(|| copy_selector(transfer, &text)));
            context.push(ContextSource { path: clean_path(&text), destination: destination.clone() });
        }
        Ok(context)
    }

    /// Records the sources that a COPY reads from a named context.
    fn copy(
        &mut self,
        transfer: &CopyInstruction,
        place: &StageState,
        context: &str,
    ) -> Result<(), WalkError> {
        for source in &transfer.sources {
            let ExpandedWord { text, is_certain: certain } = place.scope.expand(source, self.escape)?;
            self.record_selector(Some(context), certain.then(|| copy_selector(transfer, &text)));
        }
        Ok(())
    }

    /// Records a selector for a named context, or for the main context. `None` selects everything, because the source
    /// is not certain.
    fn record_selector(&mut self, context: Option<&str>, selector: Option<ContextSelector>) {
        let paths = self.paths_of(context);
        match selector {
            Some(selector) => paths.add(selector),
            None => paths.add_everything(),
        }
    }

    fn paths_of(&mut self, context: Option<&str>) -> &mut ContextPaths {
        match context {
            Some(name) => self.resolution.named_paths.entry(name.to_owned()).or_default(),
            None => &mut self.resolution.context,
        }
    }

    fn mounts(
        &mut self,
        stage: usize,
        line: usize,
        run: &RunInstruction,
        place: &StageState,
    ) -> Result<Vec<ContextSource>, WalkError> {
        let mut context = Vec::new();
        for mount in &run.mounts {
            context.extend(self.mount(stage, line, mount, place)?);
        }
        Ok(context)
    }

    fn mount(
        &mut self,
        stage: usize,
        line: usize,
        mount: &Mount,
        place: &StageState,
    ) -> Result<Option<ContextSource>, WalkError> {
        let mut certain = true;
        let expanded = mount.expand(|value| {
            let word = place.scope.expand(value, self.escape)?;
            certain &= word.is_certain;
            Ok::<_, WordError>(word.text)
        })?;
        let from = expanded.get("from").map(|name| self.plan.resolve_name(name));
        let path = expanded.get("source").unwrap_or_default();
        if let Some(context) = from.as_ref().and_then(|origin| self.plan.context_of(origin)) {
            let known = certain && expanded.kind() == MountKind::Bind;
            self.record_selector(Some(context), known.then(|| ContextSelector::of_mount(path)));
        }
        if mount.kind().is_none() && !certain {
            self.resolution.may_use_any_secret = true;
            self.resolution.context.add_everything();
        }
        match expanded.kind() {
            MountKind::Secret => {
                self.resolution.may_use_any_secret |= !certain;
                self.resolution.secrets.extend(expanded.secret_id().map(str::to_owned));
            }
            MountKind::Ssh => {
                self.resolution.may_use_any_secret |= !certain;
                self.resolution.ssh.insert(expanded.ssh_id().to_owned());
            }
            MountKind::Cache => {
                let from = from.map(|origin| self.record_source(origin, BaseUse::Mount));
                self.resolution.cache_mounts.push(CacheMount {
                    stage,
                    line,
                    id: expanded.get("id").map(str::to_owned),
                    target: expanded.get("target").unwrap_or_default().to_owned(),
                    options: expanded.options,
                    written: mount.options_as_written(),
                    from,
                    is_certain: certain,
                });
            }
            MountKind::Bind if from.is_none() => {
                self.record_selector(None, certain.then(|| ContextSelector::of_mount(path)));
                let destination = join(&place.workdir, expanded.get("target").unwrap_or_default());
                return Ok(Some(ContextSource { path: clean_path(path), destination }));
            }
            MountKind::Bind | MountKind::Tmpfs => {}
        }
        Ok(None)
    }

    /// Returns the source for `origin`. Records named contexts and images, with their use.
    fn record_source(&mut self, origin: NamedSource, used_as: BaseUse) -> Source {
        match origin {
            NamedSource::Stage(index) => Source::Stage(index),
            NamedSource::Scratch => Source::Scratch,
            NamedSource::Context(name) => {
                self.resolution.named_contexts.insert(name.clone());
                Source::Context(name)
            }
            NamedSource::Image { written, reference, platform } => {
                let same = |base: &BaseImage| base.reference == reference && base.platform == platform;
                let index = self.resolution.bases.iter().position(same).unwrap_or_else(|| {
                    self.resolution.bases.push(BaseImage {
                        written,
                        reference,
                        platform,
                        uses: BTreeSet::new(),
                    });
                    self.resolution.bases.len() - 1
                });
                self.resolution.bases[index].uses.insert(used_as);
                Source::Image(index)
            }
        }
    }
}

/// Creates the selector of a source of COPY or ADD from the flags. Old frontends reject both flags, and no frontend
/// expands variables in them.
fn copy_selector(transfer: &CopyInstruction, source: &str) -> ContextSelector {
    let given = |name: &'static str| transfer.flags.iter().filter(move |flag| flag.name == name);
    let parents = given("parents").next_back().is_some_and(|flag| flag.value.as_deref() != Some("false"));
    let exclude = given("exclude").filter_map(|flag| flag.value.clone());
    ContextSelector::of_copy(source, parents, exclude.collect())
}

/// Resolves `path` relative to `directory`, cleaned.
pub(crate) fn join(directory: &str, path: &str) -> String {
    if path.starts_with('/') { clean_path(path) } else { clean_path(&format!("{directory}/{path}")) }
}

enum WalkError {
    Expand(WordError),
    Other(ResolveError),
}

impl From<WordError> for WalkError {
    fn from(fault: WordError) -> Self {
        Self::Expand(fault)
    }
}

impl From<ResolveError> for WalkError {
    fn from(error: ResolveError) -> Self {
        Self::Other(error)
    }
}
