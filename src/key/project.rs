//! Maps paths inside a stage to files of the context, as a RUN sees them.
//!
//! A file is found through the COPY, ADD or bind mount that provides it. If a command or a different stage moved it, or
//! if it is named by a pattern, it is found by its file name; then all matching files are included. Only files that the
//! build can see are found.
//!
//! A path with variables is searched in its expanded form, but is never shown in that form, because it may contain the
//! value of a build argument.

use std::collections::BTreeSet;

use super::image_inputs::ContextFile;
use crate::dockerfile::{
    ContextSource, InstructionKind, Resolution, ResolvedInstruction, ResolvedStage, Source, clean_path,
    resolve_path,
};
use crate::requirements::{CommandDependencies, DependencyFormat, ProjectFile, ProjectView};

pub(super) struct ContextLookup<'a> {
    resolution: &'a Resolution,
    read: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    files: BTreeSet<&'a str>,
    /// The entries that may be links, through which other paths may exist.
    links: Vec<&'a str>,
}

impl<'a> ContextLookup<'a> {
    pub(super) fn of(
        resolution: &'a Resolution,
        files: &'a [ContextFile],
        read: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    ) -> Self {
        let is_link = |file: &&ContextFile| !matches!(file.kind.as_str(), "file" | "dir");
        Self {
            resolution,
            read,
            files: files.iter().map(|file| file.path.as_str()).collect(),
            links: files.iter().filter(is_link).map(|file| file.path.as_str()).collect(),
        }
    }

    /// Returns the context as the RUN at `number` of `stage` sees it.
    pub(super) fn seen_by(
        &'a self,
        stage: &'a ResolvedStage,
        number: usize,
        named: &'a CommandDependencies,
    ) -> RunView<'a> {
        RunView {
            project: self,
            at: &stage.instructions[number],
            visible_sources: self.visible(stage, number),
            named,
        }
    }

    pub(super) fn read(&self, path: &str) -> Option<Vec<u8>> {
        (self.read)(path)
    }

    fn content(&self, path: &str) -> Option<Vec<u8>> {
        let through = |link: &str| path.strip_prefix(link).is_some_and(|rest| rest.starts_with('/'));
        let seen = self.files.contains(path) || self.links.iter().any(|link| through(link));
        if seen { (self.read)(path) } else { None }
    }

    /// Returns the context's paths at and below `path`; all of them if it is empty.
    pub(super) fn below(&self, path: &str) -> impl Iterator<Item = &'a str> {
        let is_below = move |file: &&str| {
            path.is_empty()
                || file.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.files.iter().copied().filter(is_below).collect::<Vec<_>>().into_iter()
    }

    /// Returns the parts of the context that a RUN can see in its own file system.
    pub(super) fn visible(&self, stage: &'a ResolvedStage, number: usize) -> Vec<&'a ContextSource> {
        let mut visible: Vec<&ContextSource> = Vec::new();
        let earlier = stage.instructions[..number].iter();
        let stays =
            |resolved: &&ResolvedInstruction| !matches!(resolved.instruction.kind, InstructionKind::Run(_));
        visible.extend(stage.instructions[number].context.iter());
        visible.extend(earlier.filter(stays).flat_map(|resolved| &resolved.context));
        if let Source::Stage(base) = stage.base
            && let Some(base) = self.resolution.stages.iter().find(|stage| stage.index == base)
            && let Some(last) = base.instructions.len().checked_sub(1)
        {
            visible.extend(self.visible(base, last));
        }
        visible
    }
}

pub(super) struct RunView<'a> {
    project: &'a ContextLookup<'a>,
    at: &'a ResolvedInstruction,
    visible_sources: Vec<&'a ContextSource>,
    named: &'a CommandDependencies,
}

impl ProjectView for RunView<'_> {
    fn find(&self, path: &str, beside: Option<&str>, format: DependencyFormat) -> Vec<ProjectFile> {
        let inside: Vec<String> =
            self.spellings(path).iter().map(|path| resolve_path(&self.at.workdir, path)).collect();
        let beside: Vec<String> =
            beside.iter().flat_map(|path| self.spellings(path)).map(|path| clean_path(&path)).collect();
        let placed = inside.iter().flat_map(|inside| self.provided_paths(inside));
        let found = self.read(placed.collect());
        if !found.is_empty() {
            return found;
        }
        let found = self.read(beside.iter().map(|path| (path.clone(), path.clone())).collect());
        if !found.is_empty() {
            return found;
        }
        let found = self.read(inside.iter().flat_map(|inside| self.by_name(inside)).collect());
        if !found.is_empty() || format == DependencyFormat::Verbatim {
            return found;
        }
        self.read(inside.iter().flat_map(|inside| self.by_matching_name(inside)).collect())
    }
}

impl RunView<'_> {
    /// Returns the context's files that a COPY, ADD or bind mount provides at `path`.
    pub(super) fn placed_files(&self, path: &str) -> Vec<ProjectFile> {
        let inside = self.spellings(path).into_iter().map(|path| resolve_path(&self.at.workdir, &path));
        self.read(inside.flat_map(|inside| self.provided_paths(&inside)).collect())
    }

    /// Returns the path with its variables expanded, once for each possible value.
    fn spellings(&self, path: &str) -> Vec<String> {
        if !path.contains('$') {
            return vec![path.to_owned()];
        }
        let spellings = self.named.expansions(path).into_iter();
        let expanded = spellings.flat_map(|path| {
            match self.at.scope.expand_certain(&path, '\\').filter(|_| path.contains('$')) {
                // A variable that names files may name several.
                Some(known) if path.starts_with("${") && path.ends_with('}') => {
                    known.split_whitespace().map(str::to_owned).collect()
                }
                Some(known) => vec![known],
                None => vec![path],
            }
        });
        expanded.collect()
    }

    /// Returns pairs of a context path and the path inside the stage at which it is visible.
    fn provided_paths(&self, inside: &str) -> Vec<(String, String)> {
        let paths = self.visible_sources.iter().flat_map(|source| provided_paths(inside, source));
        paths.map(|path| (path, inside.to_owned())).collect()
    }

    /// Finds files that a command or a different stage moved, at all possible paths with the same name.
    fn by_name(&self, inside: &str) -> Vec<(String, String)> {
        let (_, name) = split(inside);
        let stages = self.project.resolution.stages.iter();
        let all = stages.flat_map(|stage| &stage.instructions).flat_map(|resolved| &resolved.context);
        let mut paths = vec![inside.to_owned(), name.to_owned()];
        for source in all {
            let (directory, last) = split(&source.path);
            if last == name {
                paths.push(source.path.clone());
            }
            paths.extend([below(&source.path, name), below(directory, name)]);
        }
        paths.into_iter().map(|path| (path, inside.to_owned())).collect()
    }

    /// Finds files that are named by a shell pattern, or were moved out of a subdirectory: all files with a matching
    /// name.
    fn by_matching_name(&self, inside: &str) -> Vec<(String, String)> {
        let pattern = split(inside).1;
        let named = self.project.files.iter().filter(|path| matches(pattern, split(path).1));
        named.map(|path| ((*path).to_owned(), inside.to_owned())).collect()
    }

    fn read(&self, candidates: BTreeSet<(String, String)>) -> Vec<ProjectFile> {
        let found = candidates.into_iter().filter_map(|(path, seen)| {
            let content = self.project.content(&path)?;
            Some(ProjectFile { path, seen_path: format!("/{seen}"), content })
        });
        found.collect()
    }
}

/// Returns the context paths that `source` may provide at the path `inside` the stage.
fn provided_paths(inside: &str, source: &ContextSource) -> Vec<String> {
    let ContextSource { path, destination } = source;
    if inside == destination {
        return vec![path.clone()];
    }
    let rest = match destination.as_str() {
        "" => inside,
        destination => match inside.strip_prefix(destination).and_then(|rest| rest.strip_prefix('/')) {
            Some(rest) => rest,
            None => return Vec::new(),
        },
    };
    let (directory, last) = split(path);
    let mut paths = vec![below(path, rest)];
    if last == rest {
        paths.push(path.clone());
    }
    if path.contains(['*', '?', '[', '\\']) {
        paths.push(below(directory, rest));
    }
    paths
}

/// Returns `true` if a shell pattern may match a name; brackets match any character. Takes at most quadratic time.
fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut done) = (0, 0);
    // The position of the last `*`, and the length of the name before its current match.
    let mut star = None;
    while done < name.len() {
        let (fits, next) = match pattern.get(at) {
            Some('*') => {
                star = Some((at, done));
                at += 1;
                continue;
            }
            Some('?') => (true, at + 1),
            Some('[') => match pattern[at..].iter().position(|char| *char == ']') {
                Some(length) => (true, at + length + 1),
                None => (name[done] == '[', at + 1),
            },
            char => (char == Some(&name[done]), at + 1),
        };
        if fits {
            (at, done) = (next, done + 1);
        } else if let Some((place, taken)) = star {
            star = Some((place, taken + 1));
            (at, done) = (place + 1, taken + 1);
        } else {
            return false;
        }
    }
    pattern[at.min(pattern.len())..].iter().all(|char| *char == '*')
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn below(directory: &str, path: &str) -> String {
    if directory.is_empty() { path.to_owned() } else { format!("{directory}/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_patterns_match_names() {
        for (pattern, name, expected) in [
            ("*.txt", "base.txt", true),
            ("*.txt", "base.in", false),
            ("*-req*.txt", "dev-requirements.txt", true),
            ("req?.txt", "req1.txt", true),
            ("req[0-9].txt", "req1.txt", true),
            ("req[.txt", "req[.txt", true),
            ("base.txt", "base.txt", true),
            ("base.txt", "base.txt2", false),
            ("**", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(500), &"a".repeat(499)));
    }
}
