//! Walks the reached instructions in order, with the variables that they see.

use std::collections::{BTreeMap, BTreeSet};

use super::globals::GlobalScope;
use super::options::{Options, ResolveError};
use super::plan::{NamedSource, ResolvePlan};
use super::resolution::{
    BaseImage, CacheMount, ContextSource, Resolution, ResolvedInstruction, ResolvedStage, Source,
};
use crate::dockerfile::context_paths::{ContextSelector, clean_path};
use crate::dockerfile::reference::{is_remote, is_scp_like};
use crate::dockerfile::scope::{ExpandedWord, Scope};
use crate::dockerfile::{
    ContextPaths, CopyInstruction, Dockerfile, Instruction, InstructionKind, Mount, MountKind,
};

pub(super) fn resolve_stages(
    dockerfile: &Dockerfile,
    options: &Options,
    globals: &GlobalScope,
    plan: &ResolvePlan,
) -> Result<Resolution, ResolveError> {
    let mut walk = Resolver {
        line: 0,
        options,
        globals,
        plan,
        resolution: Resolution {
            escape: dockerfile.directives.escape,
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

#[derive(Clone)]
struct StageState {
    scope: Scope,
    workdir: String,
}

struct Resolver<'a> {
    /// The first line of the current instruction.
    line: usize,
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
        let (name, platform) = (stage.name.clone(), plan.requested_platform.clone());
        let mut instructions = Vec::new();
        if let Some(context) = &plan.replacement {
            self.resolution.named_contexts.insert(context.clone());
            let base = Source::Context(context.clone());
            self.resolution.stages.push(ResolvedStage { index, name, base, platform, instructions });
            return Ok(StageState { scope: Scope::of_unknown_image(), workdir: String::new() });
        }
        if let Some(context) = self.plan.context_of(&plan.base) {
            self.paths_of(Some(context)).add_everything();
        }
        let base = self.record_source(plan.base.clone());
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
        let own = stage.instructions.iter().map(|instruction| (instruction, false));
        let triggers = plan.triggers.iter().map(|instruction| (instruction, true));
        for (instruction, is_trigger) in own.clone().take(1).chain(triggers).chain(own.skip(1)) {
            self.line = *instruction.lines.start();
            let (sources, context) = self.instruction(index, instruction, &mut place)?;
            instructions.push(ResolvedInstruction {
                instruction: instruction.clone(),
                is_trigger,
                sources,
                context,
                scope: place.scope.clone(),
                workdir: place.workdir.clone(),
            });
        }
        self.resolution.stages.push(ResolvedStage { index, name, base, platform, instructions });
        Ok(place)
    }

    fn expand(&self, scope: &Scope, word: &str) -> Result<ExpandedWord, ResolveError> {
        scope
            .expand(word, self.resolution.escape)
            .map_err(|source| ResolveError::expand(self.line, word, source))
    }

    fn instruction(
        &mut self,
        stage: usize,
        instruction: &Instruction,
        place: &mut StageState,
    ) -> Result<(Vec<Source>, Vec<ContextSource>), ResolveError> {
        let mut sources = Vec::new();
        let mut context = Vec::new();
        match &instruction.kind {
            InstructionKind::Arg(args) => self.declare_args(args, place)?,
            InstructionKind::Env(pairs) => {
                // All pairs of one ENV see the variables before it.
                let before = place.scope.clone();
                for (name, value) in pairs {
                    let name = self.expand(&before, name)?.text;
                    place.scope.set(&name, &self.expand(&before, value)?.text);
                }
            }
            InstructionKind::Workdir(path) => {
                let path = self.expand(&place.scope, path)?.text;
                place.workdir = join(&place.workdir, &path);
            }
            InstructionKind::Copy(transfer) | InstructionKind::Add(transfer) => {
                let from = self.plan.sources(instruction, self.resolution.escape)?;
                if from.is_empty() {
                    let adds = matches!(instruction.kind, InstructionKind::Add(_));
                    context = self.transfer(transfer, adds, place)?;
                }
                for origin in from {
                    if let Some(name) = self.plan.context_of(&origin) {
                        for source in &transfer.sources {
                            let word = self.expand(&place.scope, source)?;
                            let selector = word.is_certain.then(|| copy_selector(transfer, &word.text));
                            self.record_selector(Some(name), selector);
                        }
                    }
                    sources.push(self.record_source(origin));
                }
            }
            InstructionKind::Run(run) => {
                for origin in self.plan.sources(instruction, self.resolution.escape)? {
                    sources.push(self.record_source(origin));
                }
                for mount in &run.mounts {
                    context.extend(self.mount(stage, mount, place)?);
                }
            }
            _ => {}
        }
        Ok((sources, context))
    }

    fn declare_args(
        &mut self,
        args: &[(String, Option<String>)],
        place: &mut StageState,
    ) -> Result<(), ResolveError> {
        for (name, default) in args {
            let value = match (self.options.build_args.get(name), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(default)) => Some(self.expand(&place.scope, default)?.text),
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
    ) -> Result<Vec<ContextSource>, ResolveError> {
        let destination = self.expand(&place.scope, &transfer.destination)?.text;
        let destination = join(&place.workdir, &destination);
        let mut context = Vec::new();
        for source in &transfer.sources {
            let ExpandedWord { text, is_certain } = self.expand(&place.scope, source)?;
            if adds && (is_remote(&text) || !is_certain) {
                self.resolution.has_remote_source = true;
                if is_certain && !is_scp_like(&text) {
                    continue;
                }
            }
            self.record_selector(None, is_certain.then(|| copy_selector(transfer, &text)));
            context.push(ContextSource { path: clean_path(&text), destination: destination.clone() });
        }
        Ok(context)
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

    fn mount(
        &mut self,
        stage: usize,
        mount: &Mount,
        place: &StageState,
    ) -> Result<Option<ContextSource>, ResolveError> {
        let mut is_certain = true;
        let expanded = mount.expand(|value| {
            let word = self.expand(&place.scope, value)?;
            is_certain &= word.is_certain;
            Ok::<_, ResolveError>(word.text)
        })?;
        let from = expanded.get("from").map(|name| self.plan.resolve_name(name));
        let path = expanded.get("source").unwrap_or_default();
        if let Some(context) = from.as_ref().and_then(|origin| self.plan.context_of(origin)) {
            let known = is_certain && expanded.kind() == MountKind::Bind;
            self.record_selector(Some(context), known.then(|| ContextSelector::of_mount(path)));
        }
        if mount.kind().is_none() && !is_certain {
            self.resolution.may_use_any_secret = true;
            self.resolution.context.add_everything();
        }
        match expanded.kind() {
            MountKind::Secret => {
                self.resolution.may_use_any_secret |= !is_certain;
                self.resolution.secrets.extend(expanded.secret_id().map(str::to_owned));
            }
            MountKind::Ssh => {
                self.resolution.may_use_any_secret |= !is_certain;
                self.resolution.ssh.insert(expanded.ssh_id().to_owned());
            }
            MountKind::Cache => {
                let from = from.map(|origin| self.record_source(origin));
                self.resolution.cache_mounts.push(CacheMount {
                    stage,
                    line: self.line,
                    options: expanded.options,
                    written: mount.options_as_written(),
                    from,
                    is_certain,
                });
            }
            MountKind::Bind if from.is_none() => {
                self.record_selector(None, is_certain.then(|| ContextSelector::of_mount(path)));
                let destination = join(&place.workdir, expanded.get("target").unwrap_or_default());
                return Ok(Some(ContextSource { path: clean_path(path), destination }));
            }
            MountKind::Bind | MountKind::Tmpfs => {}
        }
        Ok(None)
    }

    fn record_source(&mut self, origin: NamedSource) -> Source {
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
                    self.resolution.bases.push(BaseImage { written, reference, platform });
                    self.resolution.bases.len() - 1
                });
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
