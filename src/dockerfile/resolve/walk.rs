//! Walks the reached instructions in order, with the variables that they see.

use std::collections::{BTreeMap, BTreeSet};

use super::globals::Globals;
use super::options::{Options, ResolveError};
use super::plan::{Origin, Plan};
use super::resolution::{
    BaseImage, BaseUse, CacheMount, ContextSource, Resolution, ResolvedInstruction, ResolvedStage, Source,
};
use crate::dockerfile::context_paths::{ContextSelector, clean};
use crate::dockerfile::reference::{is_remote, is_scp_like};
use crate::dockerfile::scope::{Scope, Unexpandable, Word};
use crate::dockerfile::{
    ContextPaths, Dockerfile, Instruction, InstructionKind, Mount, MountKind, Run, Transfer,
};

pub(super) fn walk(
    dockerfile: &Dockerfile,
    options: &Options,
    globals: &Globals,
    plan: &Plan,
) -> Result<Resolution, ResolveError> {
    let mut walk = Walk {
        escape: dockerfile.directives.escape,
        options,
        globals,
        plan,
        found: Resolution {
            target: plan.target,
            platform: globals.platform.clone(),
            platform_is_explicit: options.platform.is_some(),
            stages: Vec::new(),
            bases: Vec::new(),
            context: ContextPaths::default(),
            named_contexts: BTreeSet::new(),
            named_paths: BTreeMap::new(),
            untold_triggers: BTreeSet::new(),
            secrets: BTreeSet::new(),
            ssh: BTreeSet::new(),
            any_secret: false,
            remote: false,
            cache_mounts: Vec::new(),
            any_arg: globals.declared.iter().any(|name| name.contains('$')),
        },
    };
    let mut ends = BTreeMap::new();
    for index in &plan.reached {
        let end = walk.stage(dockerfile, *index, &ends)?;
        ends.insert(*index, end);
    }
    if plan.epoch_from_elsewhere {
        walk.found.named_contexts.extend(options.named_contexts.iter().cloned());
        walk.found.remote = true;
    }
    if let Some(context) = &plan.stages[plan.target].replaced {
        walk.paths(Some(context)).add_everything();
    }
    if plan.epoch_from_elsewhere || !walk.found.untold_triggers.is_empty() {
        walk.found.context.add_everything();
        for name in &options.named_contexts {
            walk.paths(Some(name)).add_everything();
        }
    }
    Ok(walk.found)
}

/// The variables and the working directory at one point of a stage.
#[derive(Clone)]
struct Place {
    scope: Scope,
    workdir: String,
}

struct Walk<'a> {
    escape: char,
    options: &'a Options,
    globals: &'a Globals,
    plan: &'a Plan,
    found: Resolution,
}

impl Walk<'_> {
    fn stage(
        &mut self,
        dockerfile: &Dockerfile,
        index: usize,
        ends: &BTreeMap<usize, Place>,
    ) -> Result<Place, ResolveError> {
        let stage = &dockerfile.stages[index];
        let plan = &self.plan.stages[index];
        let name = stage.name.clone();
        if let Some(context) = &plan.replaced {
            self.found.named_contexts.insert(context.clone());
            let base = Source::Context(context.clone());
            let platform = plan.asked.clone();
            self.found.stages.push(ResolvedStage { index, name, base, platform, instructions: Vec::new() });
            return Ok(Place { scope: Scope::on_image(), workdir: String::new() });
        }
        if let Some(context) = self.plan.context_of(&plan.base) {
            self.paths(Some(context)).add_everything();
        }
        let base = self.source(plan.base.clone(), BaseUse::From);
        self.found.untold_triggers.extend(plan.untold.clone());
        let scope = if base == Source::Scratch { Scope::default() } else { Scope::on_image() };
        let mut place = Place { scope, workdir: String::new() };
        if let Origin::Image { reference, .. } = &plan.base
            && let Some(start) = self.options.starts.get(reference)
        {
            place = Place {
                scope: Scope::on_known_image(&start.environment),
                workdir: clean(&start.workdir).trim_start_matches('/').to_owned(),
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
                    Fault::Expand(fault) => ResolveError::expand(line, fault),
                    Fault::Other(other) => other,
                })?;
            instructions.push(ResolvedInstruction {
                instruction: instruction.clone(),
                triggered,
                sources,
                context,
                scope: place.scope.clone(),
                workdir: place.workdir.clone(),
            });
        }
        let platform = plan.asked.clone();
        self.found.stages.push(ResolvedStage { index, name, base, platform, instructions });
        Ok(place)
    }

    fn instruction(
        &mut self,
        stage: usize,
        instruction: &Instruction,
        place: &mut Place,
    ) -> Result<(Vec<Source>, Vec<ContextSource>), Fault> {
        let mut sources = Vec::new();
        let mut context = Vec::new();
        match &instruction.kind {
            InstructionKind::Arg(args) => self.declare(args, place)?,
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
                    sources.push(self.source(origin, BaseUse::Copy));
                }
            }
            InstructionKind::Run(run) => {
                for origin in self.plan.sources(instruction, self.escape)? {
                    sources.push(self.source(origin, BaseUse::Mount));
                }
                context = self.mounts(stage, *instruction.lines.start(), run, place)?;
            }
            _ => {}
        }
        Ok((sources, context))
    }

    fn declare(&mut self, args: &[(String, Option<String>)], place: &mut Place) -> Result<(), Fault> {
        for (name, default) in args {
            let value = match (self.options.build_args.get(name), default) {
                (Some(value), _) => Some(value.clone()),
                (None, Some(default)) => Some(place.scope.expand(default, self.escape)?.text),
                (None, None) => self.globals.scope.get(name).map(str::to_owned),
            };
            if let Some(value) = value.filter(|_| !name.starts_with("BUILDKIT_SBOM_SCAN_")) {
                place.scope.set(name, &value);
            }
            self.found.any_arg |= name.contains('$');
        }
        Ok(())
    }

    fn transfer(
        &mut self,
        transfer: &Transfer,
        adds: bool,
        place: &Place,
    ) -> Result<Vec<ContextSource>, Fault> {
        let destination = place.scope.expand(&transfer.destination, self.escape)?.text;
        let destination = join(&place.workdir, &destination);
        let mut context = Vec::new();
        for source in &transfer.sources {
            let Word { text, certain } = place.scope.expand(source, self.escape)?;
            if adds && (is_remote(&text) || !certain) {
                self.found.remote = true;
                if certain && !is_scp_like(&text) {
                    continue;
                }
            }
            self.select(None, certain.then(|| copied(transfer, &text)));
            context.push(ContextSource { path: clean(&text), destination: destination.clone() });
        }
        Ok(context)
    }

    /// Records the sources that a COPY reads from a named context.
    fn copy(&mut self, transfer: &Transfer, place: &Place, context: &str) -> Result<(), Fault> {
        for source in &transfer.sources {
            let Word { text, certain } = place.scope.expand(source, self.escape)?;
            self.select(Some(context), certain.then(|| copied(transfer, &text)));
        }
        Ok(())
    }

    /// Records a selector for a named context, or for the main context. `None` selects everything, because the source
    /// is not certain.
    fn select(&mut self, context: Option<&str>, selector: Option<ContextSelector>) {
        let paths = self.paths(context);
        match selector {
            Some(selector) => paths.add(selector),
            None => paths.add_everything(),
        }
    }

    fn paths(&mut self, context: Option<&str>) -> &mut ContextPaths {
        match context {
            Some(name) => self.found.named_paths.entry(name.to_owned()).or_default(),
            None => &mut self.found.context,
        }
    }

    fn mounts(
        &mut self,
        stage: usize,
        line: usize,
        run: &Run,
        place: &Place,
    ) -> Result<Vec<ContextSource>, Fault> {
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
        place: &Place,
    ) -> Result<Option<ContextSource>, Fault> {
        let mut certain = true;
        let expanded = mount.expand(|value| {
            let word = place.scope.expand(value, self.escape)?;
            certain &= word.certain;
            Ok::<_, Unexpandable>(word.text)
        })?;
        let from = expanded.get("from").map(|name| self.plan.named(name));
        let path = expanded.get("source").unwrap_or_default();
        if let Some(context) = from.as_ref().and_then(|origin| self.plan.context_of(origin)) {
            let known = certain && expanded.kind() == MountKind::Bind;
            self.select(Some(context), known.then(|| ContextSelector::mounted(path)));
        }
        if mount.kind().is_none() && !certain {
            self.found.any_secret = true;
            self.found.context.add_everything();
        }
        match expanded.kind() {
            MountKind::Secret => {
                self.found.any_secret |= !certain;
                self.found.secrets.extend(expanded.secret_id().map(str::to_owned));
            }
            MountKind::Ssh => {
                self.found.any_secret |= !certain;
                self.found.ssh.insert(expanded.ssh_id().to_owned());
            }
            MountKind::Cache => {
                let from = from.map(|origin| self.source(origin, BaseUse::Mount));
                self.found.cache_mounts.push(CacheMount {
                    stage,
                    line,
                    id: expanded.get("id").map(str::to_owned),
                    target: expanded.get("target").unwrap_or_default().to_owned(),
                    options: expanded.options,
                    written: mount.written(),
                    from,
                    certain,
                });
            }
            MountKind::Bind if from.is_none() => {
                self.select(None, certain.then(|| ContextSelector::mounted(path)));
                let destination = join(&place.workdir, expanded.get("target").unwrap_or_default());
                return Ok(Some(ContextSource { path: clean(path), destination }));
            }
            MountKind::Bind | MountKind::Tmpfs => {}
        }
        Ok(None)
    }

    /// Returns the source for `origin`. Records named contexts and images, with their use.
    fn source(&mut self, origin: Origin, used_as: BaseUse) -> Source {
        match origin {
            Origin::Stage(index) => Source::Stage(index),
            Origin::Scratch => Source::Scratch,
            Origin::Context(name) => {
                self.found.named_contexts.insert(name.clone());
                Source::Context(name)
            }
            Origin::Image { written, reference, platform } => {
                let same = |base: &BaseImage| base.reference == reference && base.platform == platform;
                let index = self.found.bases.iter().position(same).unwrap_or_else(|| {
                    self.found.bases.push(BaseImage { written, reference, platform, uses: BTreeSet::new() });
                    self.found.bases.len() - 1
                });
                self.found.bases[index].uses.insert(used_as);
                Source::Image(index)
            }
        }
    }
}

/// Creates the selector of a source of COPY or ADD from the flags. Old frontends reject both flags, and no frontend
/// expands variables in them.
fn copied(transfer: &Transfer, source: &str) -> ContextSelector {
    let given = |name: &'static str| transfer.flags.iter().filter(move |flag| flag.name == name);
    let parents = given("parents").next_back().is_some_and(|flag| flag.value.as_deref() != Some("false"));
    let exclude = given("exclude").filter_map(|flag| flag.value.clone());
    ContextSelector::copied(source, parents, exclude.collect())
}

/// Resolves `path` relative to `directory`, cleaned.
fn join(directory: &str, path: &str) -> String {
    if path.starts_with('/') { clean(path) } else { clean(&format!("{directory}/{path}")) }
}

enum Fault {
    Expand(Unexpandable),
    Other(ResolveError),
}

impl From<Unexpandable> for Fault {
    fn from(fault: Unexpandable) -> Self {
        Self::Expand(fault)
    }
}

impl From<ResolveError> for Fault {
    fn from(error: ResolveError) -> Self {
        Self::Other(error)
    }
}
