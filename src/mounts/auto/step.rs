//! Determines the directories that one RUN can have as cache mounts without changing the image.

use super::cache::{CacheDirectory, Relation, absolute, contains_path};
use super::commands::{Invocation, SHELLS, invocations};
use super::configuration::{self, configuration_reason};
use super::dependence::{InstructionPosition, command_that_uses, has_no_network, offline_setting};
use super::programs::{CacheLocation, PROGRAMS, Program, starts_with_action};
use super::{AutoMountInputs, disabling_setting};
use crate::dockerfile::{
    BaseSettings, InstructionKind, Mount, Resolution, ResolvedInstruction, ResolvedStage, RunInstruction,
    Source,
};
use crate::mounts::kinds::CacheKind;
use crate::requirements::program_name as name;

pub(super) struct Step<'a> {
    pub(super) resolution: &'a Resolution,
    pub(super) surroundings: &'a AutoMountInputs<'a>,
    pub(super) stage: &'a ResolvedStage,
    pub(super) index: usize,
    pub(super) at: &'a ResolvedInstruction,
    pub(super) run: &'a RunInstruction,
}

impl Step<'_> {
    /// Returns the calls of the program in a RUN that use its cache, including unsafe actions.
    pub(super) fn cache_calls(
        run: &RunInstruction,
        at: &ResolvedInstruction,
        program: &Program,
    ) -> Vec<Invocation> {
        let mut calls = invocations(run, &at.scope);
        calls.retain(|call| {
            let mut actions = program
                .actions
                .iter()
                .copied()
                .chain(program.unsafe_actions.iter().map(|(action, _)| *action));
            program.is_named(&call.program)
                && (name(&call.program) == "uvx"
                    || actions.any(|action| starts_with_action(&call.arguments, action)))
        });
        calls
    }

    /// Returns the directories to mount for a program, in addition to those `mounted` for other programs. There are none
    /// if the RUN does not use the cache of the program, or already has a mount for it. Fails with the reason if the
    /// image may change.
    pub(super) fn directories(&self, program: &Program, mounted: &[String]) -> Result<Vec<String>, String> {
        let calls = Self::cache_calls(self.run, self.at, program);
        if calls.is_empty()
            || disabling_setting(program, self.at).is_some()
            || self.has_mount_of(program.kind)
        {
            return Ok(Vec::new());
        }
        if program.kind == CacheKind::Apt && !self.keeps_packages() {
            return Ok(Vec::new());
        }
        let start = self.start()?;
        self.check_plain(program, &calls, start)?;
        let mut directories: Vec<String> = Vec::new();
        for call in &calls {
            for path in self.locations(program, call)? {
                let cache = CacheDirectory::new(&path, &self.present(start))?;
                if self.run.mounts.iter().any(|mount| self.may_overlap(mount, &cache.path)) {
                    return Ok(Vec::new());
                }
                if mounted
                    .iter()
                    .any(|other| contains_path(other, &cache.path) || contains_path(&cache.path, other))
                {
                    return Err(format!("a different program of the RUN has its cache in {}", cache.path));
                }
                self.check_independent(program, &cache, &self.home(call))?;
                if !directories.contains(&cache.path) {
                    directories.push(cache.path);
                }
            }
        }
        Ok(directories)
    }

    pub(super) fn flag(&self, program: &Program, directory: &str) -> String {
        let base = match &self.chain()[0].base {
            Source::Image(index) => self.resolution.bases[*index].written.as_str(),
            _ => "scratch",
        };
        let base = base.replace(|char: char| !(char.is_ascii_alphanumeric() || "._-/:@".contains(char)), "");
        let id = if program.has_builds { format!("id={directory}@{base},") } else { String::new() };
        let sharing = if program.kind == CacheKind::Apt { ",sharing=locked" } else { "" };
        format!("--mount=type=cache,{id}target={directory}{sharing}")
    }

    /// Returns this stage and the stages that it is built on, lowest first.
    fn chain(&self) -> Vec<&ResolvedStage> {
        chain(self.resolution, self.stage)
    }

    /// Returns the instructions before the RUN in its stage and in lower stages.
    fn instructions_before(&self) -> impl DoubleEndedIterator<Item = &ResolvedInstruction> {
        let chain = self.chain();
        let own = self.stage.index;
        let count = self.index;
        chain.into_iter().flat_map(move |stage| {
            let all = &stage.instructions;
            all[..if stage.index == own { count } else { all.len() }].iter()
        })
    }

    fn derived_stages(&self) -> Vec<&ResolvedStage> {
        let is_on_it = |stage: &&ResolvedStage| {
            stage.index != self.stage.index
                && chain(self.resolution, stage).iter().any(|below| below.index == self.stage.index)
        };
        self.resolution.stages.iter().filter(is_on_it).collect()
    }

    fn start(&self) -> Result<&BaseSettings, String> {
        static SCRATCH: BaseSettings = BaseSettings {
            environment: Vec::new(),
            user: String::new(),
            workdir: String::new(),
            shell: Vec::new(),
        };
        match &self.chain()[0].base {
            Source::Scratch => Ok(&SCRATCH),
            Source::Image(index) => {
                let base = &self.resolution.bases[*index];
                let start = self.surroundings.starts.get(&base.reference);
                start
                    .ok_or_else(|| format!("the settings of its base image `{}` are not known", base.written))
            }
            Source::Context(name) => Err(format!("the content of the named context `{name}` is not known")),
            Source::Stage(_) => Err("the base of its stage is not known".to_owned()),
        }
    }

    /// Checks that the behaviour of the program depends only on its arguments, variables and known files.
    fn check_plain(
        &self,
        program: &Program,
        calls: &[Invocation],
        start: &BaseSettings,
    ) -> Result<(), String> {
        let user =
            self.resolution.user_and_group_at(self.stage, self.index).unwrap_or_else(|| start.user.clone());
        if !matches!(user.as_str(), "" | "root" | "0" | "root:root" | "0:0" | "root:0" | "0:root") {
            return Err(format!("it runs as `{user}`"));
        }
        let mut shells = self.instructions_before().filter_map(|at| match &at.instruction.kind {
            InstructionKind::Shell(words) => Some(words),
            _ => None,
        });
        let shell = shells.next_back().unwrap_or(&start.shell).first();
        if let Some(shell) = shell.filter(|shell| !SHELLS.contains(&name(shell))) {
            return Err(format!("its shell `{shell}` is not supported"));
        }
        let unsafe_action = program.unsafe_actions.iter().find(|(action, _)| {
            calls
                .iter()
                .any(|call| starts_with_action(&call.arguments, action) || name(&call.program) == "uvx")
        });
        if let Some((_, reason)) = unsafe_action {
            return Err((*reason).to_owned());
        }
        if let Some(foreign) = calls.iter().find_map(|call| call.foreign.as_ref()) {
            return Err(format!("`{foreign}` runs it as a different user or in a different environment"));
        }
        if has_no_network(self.run) {
            return Err(
                "without network it needs the files that earlier steps have stored in its cache".to_owned()
            );
        }
        if let Some(word) = offline_setting(program, self.at) {
            return Err(format!("with `{word}` it needs the files in its cache"));
        }
        if invocations(self.run, &self.at.scope).iter().any(|call| name(&call.program) == "umask") {
            return Err("`umask` affects the modes of the directories that it creates".to_owned());
        }
        configuration::link_reason(program, calls, &self.at.scope).map_or(Ok(()), Err)
    }

    fn locations(&self, program: &Program, call: &Invocation) -> Result<Vec<String>, String> {
        let place = match self.configured_location(program, call)? {
            Some(place) => place,
            None => self.default_location(program, call)?,
        };
        let below = |part: &&str| if part.is_empty() { place.clone() } else { format!("{place}/{part}") };
        Ok(program.subdirectories.iter().map(below).collect())
    }

    fn configured_location(&self, program: &Program, call: &Invocation) -> Result<Option<String>, String> {
        for option in program.location_options {
            let index = call.arguments.iter().rposition(|word| {
                word.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
            });
            let Some(index) = index else { continue };
            let value = call.arguments[index].split_once('=').map(|(_, value)| value.to_owned());
            let value = value.or_else(|| call.arguments.get(index + 1).cloned()).unwrap_or_default();
            let lookup =
                |name: &str| if name == "HOME" { Some(self.home(call)) } else { self.variable(call, name) };
            return match super::commands::expand(&value, &lookup).filter(|place| !place.is_empty()) {
                Some(place) => Ok(Some(place)),
                None => Err(format!("the value of `{option} {value}` is not known")),
            };
        }
        for known in program.location_variables {
            let own = call.variables.iter().find(|(name, _)| program.is_variable(known, name));
            if let Some((name, None)) = own {
                return Err(format!("the value of `{name}` is not known"));
            }
            let scoped = || self.at.scope.variables().find(|(name, _)| program.is_variable(known, name));
            let value = own.and_then(|(_, value)| value.clone());
            let value = value.or_else(|| scoped().map(|(_, value)| value.to_owned()));
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    fn default_location(&self, program: &Program, call: &Invocation) -> Result<String, String> {
        let unknown =
            ["HOME", "XDG_CACHE_HOME"].into_iter().find(|name| call.variables.get(*name) == Some(&None));
        if let Some(name) = unknown.filter(|_| !matches!(program.location, CacheLocation::Fixed(_))) {
            return Err(format!("the value of `{name}` is not known"));
        }
        let (home, shared) =
            (self.home(call), self.variable(call, "XDG_CACHE_HOME").filter(|value| !value.is_empty()));
        Ok(match (program.location, shared) {
            (CacheLocation::Cache(_, name) | CacheLocation::CacheOr(name, _), Some(shared)) => {
                format!("{shared}/{name}")
            }
            (CacheLocation::Cache(directory, name), None) => format!("{home}/{directory}/{name}"),
            (CacheLocation::Home(directory), _) => format!("{home}/{directory}"),
            (CacheLocation::CacheOr(_, path), None) | (CacheLocation::Fixed(path), _) => path.to_owned(),
        })
    }

    fn variable(&self, call: &Invocation, name: &str) -> Option<String> {
        let scoped = || self.at.scope.get(name).map(str::to_owned);
        call.variables.get(name).cloned().unwrap_or_else(scoped)
    }

    fn home(&self, call: &Invocation) -> String {
        self.variable(call, "HOME").filter(|home| !home.is_empty()).unwrap_or_else(|| "/root".to_owned())
    }

    /// Returns the directories that exist in the image before the RUN.
    fn present(&self, start: &BaseSettings) -> Vec<String> {
        let mut present = vec![absolute(&start.workdir)];
        present.extend(self.instructions_before().chain([self.at]).flat_map(created_directories));
        present
    }

    /// Returns `true` if the RUN or an instruction before it disables the deletion of packages in Debian's images.
    fn keeps_packages(&self) -> bool {
        self.instructions_before().chain([self.at]).any(|at| at.instruction.text.contains("docker-clean"))
    }

    fn has_mount_of(&self, kind: CacheKind) -> bool {
        let of_kind = |mount: &Mount| CacheKind::of(mount.get("target").unwrap_or_default(), "") == kind;
        self.run.mounts.iter().any(of_kind)
    }

    /// Returns `true` if a mount of the Dockerfile is, or may be, at, above or below a directory.
    fn may_overlap(&self, mount: &Mount, directory: &str) -> bool {
        let Some(target) = mount.get("target") else { return false };
        let Some(target) = absolute_at(self.at, target) else { return true };
        contains_path(&target, directory) || contains_path(directory, &target)
    }

    /// Checks that no other instruction or program reads or writes the cache.
    fn check_independent(&self, program: &Program, cache: &CacheDirectory, home: &str) -> Result<(), String> {
        let path = &cache.path;
        let line = |at: &ResolvedInstruction| *at.instruction.lines.start();
        let holds = |value: &str| {
            value.split(':').any(|part| contains_path(path, &absolute(part)) && part.starts_with('/'))
        };
        let elsewhere = |name: &str| {
            name != "HOME"
                && name != "XDG_CACHE_HOME"
                && !program.location_variables.iter().any(|known| program.is_variable(known, name))
        };
        if let Some((name, _)) =
            self.at.scope.variables().find(|(name, value)| elsewhere(name) && holds(value))
        {
            return Err(format!("the path in `{name}` is also in {path}"));
        }
        configuration_reason(program, self.surroundings, self.instructions_before(), self.at)
            .map_or(Ok(()), Err)?;
        if program.kind == CacheKind::Yarn {
            configuration::newer_yarn_reason(self.surroundings, self.instructions_before().chain([self.at]))
                .map_or(Ok(()), Err)?;
        }
        let user = |at: &ResolvedInstruction, when: InstructionPosition, cache: &CacheDirectory| {
            let used = command_that_uses(cache, program, at, home, when)
                .or_else(|| configuration::cache_command(program, at))
                .or_else(|| configuration::file_that_mentions(cache, program, self.surroundings, at));
            used.map_or(Ok(()), |used| Err(format!("`{used}` in line {} uses {path}", line(at))))
        };
        for at in self.instructions_before() {
            user(at, InstructionPosition::Before, cache)?;
            self.check_adds_no_files(at, cache)?;
        }
        user(self.at, InstructionPosition::Same, cache)?;
        let own = [(self.stage, self.index + 1)];
        for (stage, from) in own.into_iter().chain(self.derived_stages().into_iter().map(|stage| (stage, 0)))
        {
            let mut cache = cache.clone();
            for at in &stage.instructions[from..] {
                for directory in created_directories(at) {
                    cache.add_existing(&directory);
                }
                user(at, InstructionPosition::After, &cache)?;
                check_not_needed(program, at, &cache)?;
            }
        }
        self.check_not_copied(cache)
    }

    /// Checks that an instruction before the RUN does not add files to the cache, which a mount would hide.
    fn check_adds_no_files(&self, at: &ResolvedInstruction, cache: &CacheDirectory) -> Result<(), String> {
        let (InstructionKind::Copy(transfer) | InstructionKind::Add(transfer)) = &at.instruction.kind else {
            return Ok(());
        };
        let Some(destination) = absolute_at(at, &transfer.destination) else { return Ok(()) };
        // A destination is never a pattern, even if it contains special characters.
        let adds_files = match cache.path.strip_prefix(destination.trim_end_matches('/')) {
            Some(below) if below.starts_with('/') && at.context.is_empty() => !at.sources.is_empty(),
            Some(below) if below.starts_with('/') => {
                let below = below.trim_start_matches('/');
                let first = below.split('/').next();
                let files = self.surroundings.files.unwrap_or_default();
                at.context.iter().any(|source| {
                    let inside = |file: &String| match file.strip_prefix(&source.path) {
                        Some(rest) => rest.trim_start_matches('/').split('/').next() == first,
                        // The source is a pattern or a different path.
                        None => {
                            source.path.contains(['*', '?', '['])
                                && file.split('/').any(|part| Some(part) == first)
                        }
                    };
                    files.iter().any(inside)
                })
            }
            _ => contains_path(&cache.path, &destination),
        };
        if adds_files {
            return Err(format!("line {} adds files to {}", at.instruction.lines.start(), cache.path));
        }
        Ok(())
    }

    /// Checks that no other stage copies or mounts the cache or a parent of it.
    fn check_not_copied(&self, cache: &CacheDirectory) -> Result<(), String> {
        let mut stages: Vec<usize> = self.derived_stages().iter().map(|stage| stage.index).collect();
        stages.push(self.stage.index);
        for at in self.resolution.stages.iter().flat_map(|stage| &stage.instructions) {
            let is_ours = |source: &Source| matches!(source, Source::Stage(index) if stages.contains(index));
            let taken: Vec<Option<String>> = match &at.instruction.kind {
                InstructionKind::Copy(transfer) | InstructionKind::Add(transfer)
                    if at.sources.iter().any(is_ours) =>
                {
                    transfer.sources.iter().map(|source| at.scope.expand_certain(source, '\\')).collect()
                }
                InstructionKind::Run(run) => {
                    let from = run
                        .mounts
                        .iter()
                        .filter(|mount| mount.get("from").is_some_and(|from| !from.is_empty()));
                    let ours = from.zip(&at.sources).filter(|(_, source)| is_ours(source));
                    ours.map(|(mount, _)| at.scope.expand_certain(mount.get("source").unwrap_or("/"), '\\'))
                        .collect()
                }
                _ => continue,
            };
            let holds = |path: &Option<String>| {
                path.as_ref().is_none_or(|path| cache.relation(&absolute(path)) != Relation::Unrelated)
            };
            if taken.iter().any(holds) {
                return Err(format!(
                    "line {} reads {} from the stage",
                    at.instruction.lines.start(),
                    cache.path
                ));
            }
        }
        Ok(())
    }
}

/// Checks that an instruction after the RUN does not depend on the cache.
fn check_not_needed(
    program: &Program,
    at: &ResolvedInstruction,
    cache: &CacheDirectory,
) -> Result<(), String> {
    let line = at.instruction.lines.start();
    match &at.instruction.kind {
        InstructionKind::User(user)
            if !contains_path("/root", &cache.path) && program.kind != CacheKind::Apt =>
        {
            let user = user.trim();
            if !matches!(user, "root" | "0") {
                return Err(format!("`USER {user}` in line {line} may need {}", cache.path));
            }
        }
        InstructionKind::Run(run)
            if has_no_network(run) && !Step::cache_calls(run, at, program).is_empty() =>
        {
            return Err(format!("line {line} has no network and needs the files in {}", cache.path));
        }
        _ => {}
    }
    match offline_setting(program, at) {
        Some(word) => Err(format!("with `{word}` line {line} needs the files in {}", cache.path)),
        None => Ok(()),
    }
}

/// Returns a stage and the stages that it is built on, lowest first.
fn chain<'a>(resolution: &'a Resolution, stage: &'a ResolvedStage) -> Vec<&'a ResolvedStage> {
    let mut chain = vec![stage];
    while let Source::Stage(below) = chain[0].base {
        match resolution.stages.iter().find(|stage| stage.index == below) {
            Some(below) => chain.insert(0, below),
            None => break,
        }
    }
    chain
}

/// Expands a path and makes it absolute, below the working directory. Returns `None` if a variable is not known.
fn absolute_at(at: &ResolvedInstruction, path: &str) -> Option<String> {
    let path = at.scope.expand_certain(path, '\\')?;
    Some(absolute(&if path.starts_with('/') { path } else { format!("/{}/{path}", at.workdir) }))
}

fn created_directories(at: &ResolvedInstruction) -> Vec<String> {
    match &at.instruction.kind {
        InstructionKind::Workdir(_) => vec![absolute(&at.workdir)],
        InstructionKind::Copy(transfer) | InstructionKind::Add(transfer) => {
            absolute_at(at, &transfer.destination).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

pub(super) fn is_program(word: &str) -> bool {
    PROGRAMS.iter().any(|program| program.is_named(word))
}
