//! The programs that a RUN starts, with the variables that it sets for them.

use std::collections::BTreeMap;

use crate::dockerfile::{Heredoc, RunCommand, RunInstruction, Scope};
use crate::requirements::{
    PREFIX_WORDS, RUNNER_TOOLS, ShellCommand, commands, is_versioned, program_name, wrapper,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Invocation {
    /// The path of the program as written.
    pub(super) program: String,
    pub(super) arguments: Vec<String>,
    /// The variables that the RUN sets for it; `None` for a value that is known only to the shell.
    pub(super) variables: BTreeMap<String, Option<String>>,
    /// The command that starts it as a different user or in a different environment.
    pub(super) foreign: Option<String>,
}

/// Returns the commands of a RUN in order, including those of a here-document that a shell reads.
pub(super) fn run_commands(run: &RunInstruction) -> Vec<ShellCommand> {
    match &run.command {
        RunCommand::Exec(words) => vec![ShellCommand::of_words(words)],
        RunCommand::Shell(_) => commands(&run.script().unwrap_or_default()),
    }
}

pub(super) fn invocations(run: &RunInstruction, scope: &Scope) -> Vec<Invocation> {
    let mut reading = ScriptAnalysis::new(scope);
    match &run.command {
        RunCommand::Exec(words) => reading.command(words, None),
        RunCommand::Shell(command) => {
            let is_shell = |script: &str| {
                script.lines().next().is_none_or(|first| {
                    !first.starts_with("#!") || SHELLS.iter().any(|shell| first.trim_end().ends_with(shell))
                })
            };
            let script = run.script().unwrap_or_default();
            // A here-document that is written to a file, or read by a program other than a shell, is not a script.
            let is_whole = run.heredocs.first().is_some_and(|heredoc| heredoc.content == script);
            if run.heredocs.is_empty() || is_whole {
                if is_shell(&script) {
                    reading.script(&script);
                }
            } else {
                reading.script(command);
                let reads = |command: &ShellCommand| {
                    command.words.first().is_some_and(|word| SHELLS.contains(&program_name(word)))
                };
                if commands(command).iter().any(reads) {
                    run.heredocs.iter().for_each(|Heredoc { content, .. }| reading.script(content));
                }
            }
        }
    }
    reading.found
}

/// Shells whose syntax [`commands`] supports.
pub(super) const SHELLS: [&str; 7] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"];

struct ScriptAnalysis<'a> {
    scope: &'a Scope,
    /// The variables that the script has exported so far, and those that it has only set.
    exported: BTreeMap<String, Option<String>>,
    set: BTreeMap<String, Option<String>>,
    /// `true` after `set -a`.
    exports_all: bool,
    found: Vec<Invocation>,
}

impl<'a> ScriptAnalysis<'a> {
    fn new(scope: &'a Scope) -> Self {
        let (exported, set) = (BTreeMap::new(), BTreeMap::new());
        Self { scope, exported, set, exports_all: false, found: Vec::new() }
    }

    fn script(&mut self, script: &str) {
        for command in commands(script) {
            self.command(&command.words, None);
        }
    }

    fn command(&mut self, words: &[String], foreign: Option<String>) {
        let (mut words, mut foreign) = (words, foreign);
        let mut own = BTreeMap::new();
        while let Some(first) = words.first() {
            if let Some((name, value)) = assignment(first) {
                own.insert(name.to_owned(), self.value(value, &own));
                words = &words[1..];
            } else if PREFIX_WORDS.contains(&first.as_str()) {
                words = &words[1..];
            } else if let Some(wrapper) = wrapper(program_name(first)) {
                let own = wrapper.prefix_length(words);
                let empties = program_name(first) == "env"
                    && words.iter().any(|word| matches!(word.as_str(), "-i" | "-"));
                if wrapper.is_foreign || empties {
                    foreign.get_or_insert_with(|| first.clone());
                }
                words = &words[own..];
            } else {
                break;
            }
        }
        let Some((first, arguments)) = words.split_first() else {
            // A command that consists of assignments affects the rest of the script.
            for (name, value) in own {
                let is_exported = self.exports_all
                    || self.exported.contains_key(&name)
                    || self.scope.get(&name).is_some()
                    || name == "HOME";
                if is_exported {
                    self.exported.insert(name, value)
                } else {
                    self.set.insert(name, value)
                };
            }
            return;
        };
        let mut variables = self.exported.clone();
        variables.extend(own);
        match program_name(first) {
            "export" | "declare" | "typeset" => self.export(arguments),
            "unset" => self.exported.extend(arguments.iter().map(|name| (name.clone(), Some(String::new())))),
            "set" => {
                self.exports_all |= arguments
                    .iter()
                    .any(|word| word == "allexport" || (word.starts_with('-') && word[1..].contains('a')));
            }
            "eval" => self.script(&arguments.join(" ")),
            shell if SHELLS.contains(&shell) => self.shell(arguments, &variables, foreign.as_ref()),
            python if is_python(python) => {
                if let Some(module) = arguments.iter().position(|word| word == "-m")
                    && let [program, arguments @ ..] = &arguments[module + 1..]
                {
                    self.found(program, arguments, variables, foreign);
                }
            }
            runner => {
                if RUNNER_TOOLS.contains(&runner)
                    && let Some(run) = arguments.iter().position(|word| word == "run")
                {
                    let known = |word: &String| {
                        super::PROGRAMS.iter().any(|program| program.is_named(word))
                            || is_python(program_name(word))
                    };
                    if let Some(index) = arguments[run + 1..].iter().position(known) {
                        let inner = variables.clone();
                        let outer = std::mem::replace(&mut self.exported, inner);
                        self.command(&arguments[run + 1 + index..], foreign.clone());
                        self.exported = outer;
                    }
                }
                self.found(first, arguments, variables, foreign);
            }
        }
    }

    fn found(
        &mut self,
        program: &str,
        arguments: &[String],
        variables: BTreeMap<String, Option<String>>,
        foreign: Option<String>,
    ) {
        let (program, arguments) = (program.to_owned(), arguments.to_vec());
        self.found.push(Invocation { program, arguments, variables, foreign });
    }

    fn export(&mut self, arguments: &[String]) {
        for word in arguments.iter().filter(|word| !word.starts_with('-')) {
            let (name, value) = match assignment(word) {
                Some((name, value)) => (name.to_owned(), self.value(value, &BTreeMap::new())),
                None => match self.set.remove(word) {
                    Some(value) => (word.clone(), value),
                    None => continue,
                },
            };
            self.exported.insert(name, value);
        }
    }

    /// Analyzes `sh -c SCRIPT`. The exports of SCRIPT do not affect the outer script.
    fn shell(
        &mut self,
        arguments: &[String],
        variables: &BTreeMap<String, Option<String>>,
        foreign: Option<&String>,
    ) {
        let is_option =
            |word: &String| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
        let Some(script) = arguments.iter().position(is_option).and_then(|index| arguments.get(index + 1))
        else {
            return;
        };
        let outer = std::mem::replace(&mut self.exported, variables.clone());
        for command in commands(script) {
            self.command(&command.words, foreign.cloned());
        }
        self.exported = outer;
    }

    fn value(&self, value: &str, own: &BTreeMap<String, Option<String>>) -> Option<String> {
        expand(value, &|name| {
            let given = own.get(name).or_else(|| self.set.get(name)).or_else(|| self.exported.get(name));
            // Mounts are only added to steps that run as root.
            let home = || (name == "HOME").then(|| "/root".to_owned());
            given.cloned().unwrap_or_else(|| self.scope.get(name).map(str::to_owned).or_else(home))
        })
    }
}

fn is_python(program: &str) -> bool {
    ["python", "pypy"].iter().any(|known| is_versioned(program, known))
}

pub(super) fn assignment(word: &str) -> Option<(&str, &str)> {
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_');
    word.split_once('=').filter(|(name, _)| is_name(name))
}

/// Expands `$NAME`, `${NAME}` and a leading tilde; returns `None` if a value is unknown.
pub(super) fn expand(word: &str, value: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut expanded = String::new();
    let mut rest = word;
    if let Some(below) = word.strip_prefix('~') {
        if !(below.is_empty() || below.starts_with('/')) {
            return None;
        }
        expanded.push_str(&value("HOME")?);
        rest = below;
    }
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.push_str(before);
        let is_part = |char: char| char.is_ascii_alphanumeric() || char == '_';
        let (name, after) = match behind.strip_prefix('{') {
            Some(braced) => braced.split_once('}')?,
            None => behind.split_at(behind.find(|char| !is_part(char)).unwrap_or(behind.len())),
        };
        // `${NAME:-default}`, as the shell expands it.
        let (name, default) = match name.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (name, None),
        };
        let found = value(name).filter(|found| default.is_none() || !found.is_empty());
        expanded.push_str(&found.or_else(|| default.map(str::to_owned))?);
        rest = after;
    }
    expanded.push_str(rest);
    Some(expanded).filter(|text| !text.contains('`'))
}
