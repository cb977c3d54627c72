//! Determines the directories that one RUN can have as cache mounts without changing the image.

use super::cache::{CacheDirectory, Relation, absolute, relation_of};
use super::commands::{Invocation, SHELLS, invocations};
use super::configuration::{self, set_by_files};
use super::dependence::{When, in_commands, is_cut_off, offline};
use super::programs::{PROGRAMS, Place, Program, acts};
use super::{Surroundings, switched_off};
use crate::dockerfile::{
    BaseStart, InstructionKind, Mount, Resolution, ResolvedInstruction, ResolvedStage, Run, Source,
};
use crate::mounts::kinds::Kind;
use crate::requirements::program as name;

/// A RUN with its position in the build.
pub(super) struct Step<'a> {
    pub(super) resolution: &'a Resolution,
    pub(super) surroundings: &'a Surroundings<'a>,
    pub(super) stage: &'a ResolvedStage,
    pub(super) place: usize,
    pub(super) at: &'a ResolvedInstruction,
    pub(super) run: &'a Run,
}

/// The reason why no mount for a program is added to a RUN.
pub(super) enum Left {
    /// The RUN does not use the cache of the program, or already has a mount for it. This is not reported.
    Silently,
    /// The image may change, for this reason.
    Because(String),
}

fn because<T>(reason: impl Into<String>) -> Result<T, Left> {
    Err(Left::Because(reason.into()))
}

impl Step<'_> {
    /// Returns the calls of the program in a RUN that use its cache, including unsafe actions.
    pub(super) fn called(run: &Run, at: &ResolvedInstruction, program: &Program) -> Vec<Invocation> {
        let mut calls = invocations(run, &at.scope);
        calls.retain(|call| {
            let mut actions = program
                .actions
                .iter()
                .copied()
                .chain(program.unsafe_actions.iter().map(|(action, _)| *action));
            program.is_named(&call.program)
                && (name(&call.program) == "uvx" || actions.any(|action| acts(&call.arguments, action)))
        });
        calls
    }

    /// Returns the directories to mount for a program, in addition to those `mounted` for other programs.
    pub(super) fn directories(&self, program: &Program, mounted: &[String]) -> Result<Vec<String>, Left> {
        let calls = Self::called(self.run, self.at, program);
        if calls.is_empty() || switched_off(program, self.at).is_some() || self.has_mount_of(program.kind) {
            return Err(Left::Silently);
        }
        if program.kind == Kind::Apt && !self.keeps_packages() {
            return Err(Left::Silently);
        }
        let start = self.start()?;
        self.is_plain(program, &calls, start)?;
        let mut directories: Vec<String> = Vec::new();
        for call in &calls {
            for path in self.places(program, call)? {
                let cache = CacheDirectory::new(&path, &self.present(start)).map_err(Left::Because)?;
                if self.run.mounts.iter().any(|mount| self.covers(mount, &cache.path)) {
                    return Err(Left::Silently);
                }
                if mounted
                    .iter()
                    .any(|other| relation_of(other, &cache.path) || relation_of(&cache.path, other))
                {
                    return because(format!(
                        "a different program of the RUN has its cache in {}",
                        cache.path
                    ));
                }
                self.is_independent(program, &cache, &self.home(call))?;
                if !directories.contains(&cache.path) {
                    directories.push(cache.path);
                }
            }
        }
        Ok(directories)
    }

    /// Returns the `--mount` flag for a directory.
    pub(super) fn flag(&self, program: &Program, directory: &str) -> String {
        let base = match &self.chain()[0].base {
            Source::Image(index) => self.resolution.bases[*index].written.as_str(),
            _ => "scratch",
        };
        let base = base.replace(|char: char| !(char.is_ascii_alphanumeric() || "._-/:@".contains(char)), "");
        let id = if program.builds { format!("id={directory}@{base},") } else { String::new() };
        let sharing = if program.kind == Kind::Apt { ",sharing=locked" } else { "" };
        format!("--mount=type=cache,{id}target={directory}{sharing}")
    }

    /// Returns this stage and the stages that it is built on, lowest first.
    fn chain(&self) -> Vec<&ResolvedStage> {
        chain(self.resolution, self.stage)
    }

    /// Returns the instructions before the RUN in its stage and in lower stages.
    fn before(&self) -> impl DoubleEndedIterator<Item = &ResolvedInstruction> {
        let chain = self.chain();
        let own = self.stage.index;
        let count = self.place;
        chain.into_iter().flat_map(move |stage| {
            let all = &stage.instructions;
            all[..if stage.index == own { count } else { all.len() }].iter()
        })
    }

    /// Returns the stages that are built on this one.
    fn above(&self) -> Vec<&ResolvedStage> {
        let is_on_it = |stage: &&ResolvedStage| {
            stage.index != self.stage.index
                && chain(self.resolution, stage).iter().any(|below| below.index == self.stage.index)
        };
        self.resolution.stages.iter().filter(is_on_it).collect()
    }

    /// Returns the settings of the base image.
    fn start(&self) -> Result<&BaseStart, Left> {
        static SCRATCH: BaseStart = BaseStart {
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
                start.map_or_else(
                    || because(format!("the settings of its base image `{}` are not known", base.written)),
                    Ok,
                )
            }
            Source::Context(name) => {
                because(format!("the content of the named context `{name}` is not known"))
            }
            Source::Stage(_) => because("the base of its stage is not known"),
        }
    }

    /// Checks that the behaviour of the program depends only on its arguments, variables and known files.
    fn is_plain(&self, program: &Program, calls: &[Invocation], start: &BaseStart) -> Result<(), Left> {
        let user =
            self.resolution.user_and_group_at(self.stage, self.place).unwrap_or_else(|| start.user.clone());
        if !matches!(user.as_str(), "" | "root" | "0" | "root:root" | "0:0" | "root:0" | "0:root") {
            return because(format!("it runs as `{user}`"));
        }
        let mut shells = self.before().filter_map(|at| match &at.instruction.kind {
            InstructionKind::Shell(words) => Some(words),
            _ => None,
        });
        let shell = shells.next_back().unwrap_or(&start.shell).first();
        if let Some(shell) = shell.filter(|shell| !SHELLS.contains(&name(shell))) {
            return because(format!("its shell `{shell}` is not supported"));
        }
        let unsafe_action = program.unsafe_actions.iter().find(|(action, _)| {
            calls.iter().any(|call| acts(&call.arguments, action) || name(&call.program) == "uvx")
        });
        if let Some((_, reason)) = unsafe_action {
            return because(*reason);
        }
        if let Some(foreign) = calls.iter().find_map(|call| call.foreign.as_ref()) {
            return because(format!("`{foreign}` runs it as a different user or in a different environment"));
        }
        if is_cut_off(self.run) {
            return because("without network it needs the files that earlier steps have stored in its cache");
        }
        if let Some(word) = offline(program, self.at) {
            return because(format!("with `{word}` it needs the files in its cache"));
        }
        if invocations(self.run, &self.at.scope).iter().any(|call| name(&call.program) == "umask") {
            return because("`umask` affects the modes of the directories that it creates");
        }
        configuration::links(program, calls, &self.at.scope).map_or(Ok(()), because)
    }

    /// Returns the cache directories of a call.
    fn places(&self, program: &Program, call: &Invocation) -> Result<Vec<String>, Left> {
        let place = match self.given_place(program, call)? {
            Some(place) => place,
            None => self.usual_place(program, call)?,
        };
        let below = |part: &&str| if part.is_empty() { place.clone() } else { format!("{place}/{part}") };
        Ok(program.parts.iter().map(below).collect())
    }

    fn given_place(&self, program: &Program, call: &Invocation) -> Result<Option<String>, Left> {
        for option in program.place_options {
            let index = call.arguments.iter().rposition(|word| {
                word.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
            });
            let Some(index) = index else { continue };
            let value = call.arguments[index].split_once('=').map(|(_, value)| value.to_owned());
            let value = value.or_else(|| call.arguments.get(index + 1).cloned()).unwrap_or_default();
            let lookup =
                |name: &str| if name == "HOME" { Some(self.home(call)) } else { self.variable(call, name) };
            return match super::commands::expanded(&value, &lookup).filter(|place| !place.is_empty()) {
                Some(place) => Ok(Some(place)),
                None => because(format!("the value of `{option} {value}` is not known")),
            };
        }
        for known in program.place_variables {
            let own = call.variables.iter().find(|(name, _)| program.is_variable(known, name));
            if let Some((name, None)) = own {
                return because(format!("the value of `{name}` is not known"));
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

    fn usual_place(&self, program: &Program, call: &Invocation) -> Result<String, Left> {
        let unknown =
            ["HOME", "XDG_CACHE_HOME"].into_iter().find(|name| call.variables.get(*name) == Some(&None));
        if let Some(name) = unknown.filter(|_| !matches!(program.place, Place::Fixed(_))) {
            return because(format!("the value of `{name}` is not known"));
        }
        let (home, shared) =
            (self.home(call), self.variable(call, "XDG_CACHE_HOME").filter(|value| !value.is_empty()));
        Ok(match (program.place, shared) {
            (Place::Cache(_, name) | Place::CacheOr(name, _), Some(shared)) => format!("{shared}/{name}"),
            (Place::Cache(directory, name), None) => format!("{home}/{directory}/{name}"),
            (Place::Home(directory), _) => format!("{home}/{directory}"),
            (Place::CacheOr(_, path), None) | (Place::Fixed(path), _) => path.to_owned(),
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
    fn present(&self, start: &BaseStart) -> Vec<String> {
        let mut present = vec![absolute(&start.workdir)];
        present.extend(self.before().chain([self.at]).flat_map(made));
        present
    }

    /// Returns `true` if the RUN or an instruction before it disables the deletion of packages in Debian's images.
    fn keeps_packages(&self) -> bool {
        self.before().chain([self.at]).any(|at| at.instruction.text.contains("docker-clean"))
    }

    fn has_mount_of(&self, kind: Kind) -> bool {
        let of_kind = |mount: &Mount| Kind::of(mount.get("target").unwrap_or_default(), "") == kind;
        self.run.mounts.iter().any(of_kind)
    }

    /// Returns `true` if a mount of the Dockerfile is, or may be, at, above or below a directory.
    fn covers(&self, mount: &Mount, directory: &str) -> bool {
        let Some(target) = mount.get("target") else { return false };
        let Some(target) = self.at.scope.known(target, '\\') else { return true };
        let target = if target.starts_with('/') { target } else { format!("/{}/{target}", self.at.workdir) };
        let target = absolute(&target);
        relation_of(&target, directory) || relation_of(directory, &target)
    }

    /// Checks that no other instruction or program reads or writes the cache.
    fn is_independent(&self, program: &Program, cache: &CacheDirectory, home: &str) -> Result<(), Left> {
        let path = &cache.path;
        let line = |at: &ResolvedInstruction| *at.instruction.lines.start();
        let holds = |value: &str| {
            value.split(':').any(|part| relation_of(path, &absolute(part)) && part.starts_with('/'))
        };
        let elsewhere = |name: &str| {
            name != "HOME"
                && name != "XDG_CACHE_HOME"
                && !program.place_variables.iter().any(|known| program.is_variable(known, name))
        };
        if let Some((name, _)) =
            self.at.scope.variables().find(|(name, value)| elsewhere(name) && holds(value))
        {
            return because(format!("the path in `{name}` is also in {path}"));
        }
        set_by_files(program, self.surroundings, self.before(), self.at).map_or(Ok(()), because)?;
        if program.kind == Kind::Yarn {
            configuration::yarn(self.surroundings, self.before().chain([self.at])).map_or(Ok(()), because)?;
        }
        let user = |at: &ResolvedInstruction, when: When, cache: &CacheDirectory| {
            let used = in_commands(cache, program, at, home, when)
                .or_else(|| configuration::of_cache(program, at))
                .or_else(|| configuration::in_named_files(cache, program, self.surroundings, at));
            used.map_or(Ok(()), |used| because(format!("`{used}` in line {} uses {path}", line(at))))
        };
        for at in self.before() {
            user(at, When::Before, cache)?;
            self.puts(at, cache)?;
        }
        user(self.at, When::Same, cache)?;
        let own = [(self.stage, self.place + 1)];
        for (stage, from) in own.into_iter().chain(self.above().into_iter().map(|stage| (stage, 0))) {
            let mut cache = cache.clone();
            for at in &stage.instructions[from..] {
                for directory in made(at) {
                    cache.note_present(&directory);
                }
                user(at, When::After, &cache)?;
                needs_it(program, at, &cache)?;
            }
        }
        self.is_not_copied(cache)
    }

    /// Checks that an instruction before the RUN does not add files to the cache, which a mount would hide.
    fn puts(&self, at: &ResolvedInstruction, cache: &CacheDirectory) -> Result<(), Left> {
        let (InstructionKind::Copy(transfer) | InstructionKind::Add(transfer)) = &at.instruction.kind else {
            return Ok(());
        };
        let Some(destination) = at.scope.known(&transfer.destination, '\\') else { return Ok(()) };
        let destination =
            if destination.starts_with('/') { destination } else { format!("/{}/{destination}", at.workdir) };
        let destination = absolute(&destination);
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
            _ => relation_of(&cache.path, &destination),
        };
        if adds_files {
            return because(format!("line {} adds files to {}", at.instruction.lines.start(), cache.path));
        }
        Ok(())
    }

    /// Checks that no other stage copies or mounts the cache or a parent of it.
    fn is_not_copied(&self, cache: &CacheDirectory) -> Result<(), Left> {
        let mut stages: Vec<usize> = self.above().iter().map(|stage| stage.index).collect();
        stages.push(self.stage.index);
        for at in self.resolution.stages.iter().flat_map(|stage| &stage.instructions) {
            let is_ours = |source: &Source| matches!(source, Source::Stage(index) if stages.contains(index));
            let taken: Vec<Option<String>> = match &at.instruction.kind {
                InstructionKind::Copy(transfer) | InstructionKind::Add(transfer)
                    if at.sources.iter().any(is_ours) =>
                {
                    transfer.sources.iter().map(|source| at.scope.known(source, '\\')).collect()
                }
                InstructionKind::Run(run) => {
                    let from = run
                        .mounts
                        .iter()
                        .filter(|mount| mount.get("from").is_some_and(|from| !from.is_empty()));
                    let ours = from.zip(&at.sources).filter(|(_, source)| is_ours(source));
                    ours.map(|(mount, _)| at.scope.known(mount.get("source").unwrap_or("/"), '\\')).collect()
                }
                _ => continue,
            };
            let holds = |path: &Option<String>| {
                path.as_ref().is_none_or(|path| cache.relation(&absolute(path)) != Relation::Unrelated)
            };
            if taken.iter().any(holds) {
                return because(format!(
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
fn needs_it(program: &Program, at: &ResolvedInstruction, cache: &CacheDirectory) -> Result<(), Left> {
    let line = at.instruction.lines.start();
    match &at.instruction.kind {
        InstructionKind::User(user) if !relation_of("/root", &cache.path) && program.kind != Kind::Apt => {
            let user = user.trim();
            if !matches!(user, "root" | "0") {
                return because(format!("`USER {user}` in line {line} may need {}", cache.path));
            }
        }
        InstructionKind::Run(run) if is_cut_off(run) && !Step::called(run, at, program).is_empty() => {
            return because(format!("line {line} has no network and needs the files in {}", cache.path));
        }
        _ => {}
    }
    match offline(program, at) {
        Some(word) => because(format!("with `{word}` line {line} needs the files in {}", cache.path)),
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

/// Returns the directories that an instruction creates.
fn made(at: &ResolvedInstruction) -> Vec<String> {
    match &at.instruction.kind {
        InstructionKind::Workdir(_) => vec![absolute(&at.workdir)],
        InstructionKind::Copy(transfer) | InstructionKind::Add(transfer) => {
            let destination = at.scope.known(&transfer.destination, '\\');
            let below =
                |path: String| if path.starts_with('/') { path } else { format!("{}/{path}", at.workdir) };
            destination.map(|path| absolute(&below(path))).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// Returns `true` if a word is the name of a program with a cache.
pub(super) fn is_program(word: &str) -> bool {
    PROGRAMS.iter().any(|program| program.is_named(word))
}
