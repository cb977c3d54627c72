//! Finds RUNs that install dependencies, directly or through a script or recipe of the project, and the files that they
//! read to do so.
//!
//! ```text
//!  RUN ─▶ commands ─▶ a known installer: it installs
//!              └────▶ script, Makefile, package.json ─▶ in the context? ─▶ its commands, and so on
//! ```
//!
//! Sometimes this cannot be decided, because a RUN runs a script that cannot be read here, or has a cache mount. Then
//! the RUN counts as installing unless the whole context was copied before, because after that it is probably the build
//! itself.

use std::collections::{BTreeMap, BTreeSet};

use super::project::ContextLookup;
use crate::dockerfile::{
    InstructionKind, MountKind, Resolution, ResolvedInstruction, ResolvedStage, RunCommand, RunInstruction,
    Source,
};
use crate::requirements::{
    self, CommandDependencies, DependencyFile, FILE_VARIABLES, ProjectFile, Script, ScriptLanguage,
};

/// The maximum number of scripts that are read for one RUN.
const MAX_SCRIPTS: usize = 64;
/// Directories that are searched for programs besides `PATH`.
const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The analysis of each instruction of the reached stages, by the stage's index and the instruction's number.
pub(super) struct Installations(BTreeMap<(usize, usize), Installation>);

impl Installations {
    pub(super) fn of(project: &ContextLookup<'_>, resolution: &Resolution) -> Self {
        let stages = resolution.stages.iter();
        let places =
            stages.flat_map(|stage| (0..stage.instructions.len()).map(move |number| (stage, number)));
        let of = |(stage, number): (&ResolvedStage, usize)| {
            ((stage.index, number), Installation::of(project, stage, number))
        };
        Self(places.map(of).collect())
    }

    pub(super) fn at(&self, stage: usize, number: usize) -> &Installation {
        &self.0[&(stage, number)]
    }

    /// Returns `true` if an instruction installs dependencies, or copies from a stage that does.
    pub(super) fn provides_dependencies(
        &self,
        resolution: &Resolution,
        stage: &ResolvedStage,
        number: usize,
    ) -> bool {
        let sources = &stage.instructions[number].sources;
        self.at(stage.index, number).installs
            || sources.iter().any(|source| self.has_installed(resolution, source))
    }

    /// Returns `true` if a stage installs dependencies, or one that it is based on or copies from.
    fn has_installed(&self, resolution: &Resolution, source: &Source) -> bool {
        let Source::Stage(index) = source else { return false };
        let Some(stage) = resolution.stages.iter().find(|stage| stage.index == *index) else { return false };
        self.has_installed(resolution, &stage.base)
            || (0..stage.instructions.len())
                .any(|number| self.provides_dependencies(resolution, stage, number))
    }
}

#[derive(Debug, Default)]
pub(super) struct Installation {
    pub(super) installs: bool,
    /// The files that the RUN and its scripts name.
    pub(super) named: Vec<CommandDependencies>,
    /// Context files that belong to the RUN: the scripts that it runs, and the content of its mounts.
    pub(super) files: BTreeSet<String>,
}

impl Installation {
    /// Analyses the RUN at `number` of a stage. The result is empty for any other instruction.
    fn of(project: &ContextLookup<'_>, stage: &ResolvedStage, number: usize) -> Self {
        let at = &stage.instructions[number];
        let InstructionKind::Run(run) = &at.instruction.kind else { return Self::default() };
        let named = named_by(at, run);
        let is_installer = named.installs;
        let mut found = Self { installs: is_installer, named: vec![named], ..Self::default() };
        let is_certain = found.read_scripts(project, stage, number);
        let has_cache = run.mounts.iter().any(|mount| mount.kind() == Some(MountKind::Cache));
        if !found.installs && (!is_certain || has_cache) {
            let mut visible = project.visible(stage, number).into_iter();
            found.installs = !visible.any(|source| source.path.is_empty());
        }
        if found.installs && !(is_installer && found.files.is_empty()) {
            for source in &at.context {
                found.files.extend(project.below(&source.path).map(str::to_owned));
            }
            for named in &mut found.named {
                let sight = project.seen_by(stage, number, named);
                let is_file = |word: &&String| !sight.placed_files(word).is_empty();
                let words = named.words.iter().filter(is_file);
                let both =
                    |word: &String| [DependencyFile::requirements(word), DependencyFile::verbatim(word)];
                let uses: Vec<DependencyFile> = words.flat_map(both).collect();
                named.uses.extend(uses);
            }
        }
        found
    }

    /// Reads the scripts that the RUN runs. Returns `true` if all of them could be read.
    fn read_scripts(&mut self, project: &ContextLookup<'_>, stage: &ResolvedStage, number: usize) -> bool {
        let at = &stage.instructions[number];
        let (mut is_certain, mut seen, mut next, mut read) = (true, Vec::new(), 0, 0);
        while next < self.named.len() {
            for script in self.named[next].scripts.clone() {
                if seen.contains(&script) {
                    continue;
                }
                let sight = project.seen_by(stage, number, &self.named[next]);
                let found: Vec<ProjectFile> =
                    paths(at, &script).iter().flat_map(|path| sight.placed_files(path)).collect();
                is_certain &= !found.is_empty() || script.language == ScriptLanguage::Program;
                read += usize::from(!found.is_empty());
                if read > MAX_SCRIPTS {
                    return false;
                }
                for ProjectFile { path, content, .. } in found {
                    self.files.insert(path);
                    let text = String::from_utf8(content).ok();
                    let Some(commands) = text.and_then(|text| script.commands(&text)) else {
                        is_certain = false;
                        continue;
                    };
                    let named = requirements::script_dependencies(&commands, &script.directory);
                    self.installs |= named.installs;
                    self.named.push(named);
                }
                seen.push(script);
            }
            next += 1;
        }
        is_certain
    }
}

fn paths(at: &ResolvedInstruction, script: &Script) -> Vec<String> {
    if script.language != ScriptLanguage::Program {
        return script.paths.clone();
    }
    let own = at.scope.get("PATH").unwrap_or_default();
    let directories = own.split(':').filter(|directory| directory.starts_with('/')).chain(PATH);
    directories
        .flat_map(|directory| script.paths.iter().map(move |name| format!("{directory}/{name}")))
        .collect()
}

/// Returns the files that a RUN names on its command line or in its environment.
fn named_by(at: &ResolvedInstruction, run: &RunInstruction) -> CommandDependencies {
    let mut named = match &run.command {
        RunCommand::Exec(argv) => requirements::argv_dependencies(argv),
        RunCommand::Shell(_) => requirements::script_dependencies(&run.script().unwrap_or_default(), ""),
    };
    if named.installs {
        for (variable, format) in FILE_VARIABLES {
            let paths = at.scope.get(variable).is_some().then(|| format!("${{{variable}}}"));
            named.uses.extend(paths.map(|path| DependencyFile { path, format, directory: String::new() }));
        }
    }
    named
}
