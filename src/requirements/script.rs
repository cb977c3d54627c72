//! The scripts and recipes that a command runs: their possible paths, and their commands.

use std::collections::{BTreeMap, BTreeSet};

use super::join;

/// A script that a command runs and the project may contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// The possible paths, relative like those of a [`super::DependencyFile`]. For a program, only its name.
    pub(crate) paths: Vec<String>,
    pub(crate) language: ScriptLanguage,
    pub(crate) directory: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ScriptLanguage {
    /// A program in `PATH`, interpreted by its shebang line.
    Program,
    /// An executable file, interpreted by its shebang line.
    File,
    /// A shell script, regardless of its shebang line.
    Shell,
    /// The targets of a Makefile or justfile.
    Recipes(Vec<String>),
    Tasks,
    /// The scripts in a `package.json` with these names.
    PackageScripts(Vec<String>),
}

/// Maximum number of targets of one file that are followed.
const MAX_TARGETS: usize = 1024;

impl Script {
    pub(super) fn program(word: &str, directory: &str) -> Self {
        let (language, path) = if word.contains('/') {
            (ScriptLanguage::File, join(directory, word))
        } else {
            (ScriptLanguage::Program, word.to_owned())
        };
        Self { paths: vec![path], language, directory: directory.to_owned() }
    }

    pub(super) fn shell(path: &str, directory: &str) -> Self {
        Self {
            paths: vec![join(directory, path)],
            language: ScriptLanguage::Shell,
            directory: directory.to_owned(),
        }
    }

    /// Returns the script of a task runner such as make, or `None` if `program` is not a task runner or runs no task.
    pub(super) fn of_task_runner(program: &str, arguments: &[String], directory: &str) -> Option<Self> {
        let valued: &[&str] = match program {
            // Not `-j`: the number of jobs may be omitted.
            "make" | "gmake" => &["-f", "--file", "--makefile", "-C", "--directory", "-o", "-W", "-I"],
            "just" => &["-f", "--justfile", "-d", "--working-directory", "--set"],
            "task" | "go-task" => &["-t", "--taskfile", "-d", "--dir"],
            "npm" | "pnpm" | "yarn" | "bun" => &["--prefix", "-C", "--dir", "--cwd", "-w", "--workspace"],
            _ => return None,
        };
        let (mut words, mut files, mut inside) = (Vec::new(), Vec::new(), directory.to_owned());
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == "--" && !matches!(program, "make" | "gmake") {
                break;
            }
            if !argument.starts_with('-') {
                words.push(argument.as_str());
                continue;
            }
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None if valued.contains(&argument.as_str()) => {
                    (argument.as_str(), arguments.next().map(String::as_str))
                }
                None => (argument.as_str(), None),
            };
            let Some(value) = value else { continue };
            match name {
                "-f" | "--file" | "--makefile" | "--justfile" | "-t" | "--taskfile" => files.push(value),
                "-C" | "--directory" | "-d" | "--working-directory" | "--dir" | "--prefix" | "--cwd" => {
                    inside = join(&inside, value);
                }
                _ => {}
            }
        }
        // Skip the variables and the number of jobs of make.
        let mut targets: Vec<String> = (words.iter())
            .filter(|word| !word.contains('=') && !word.bytes().all(|byte| byte.is_ascii_digit()))
            .map(|word| (*word).to_owned())
            .collect();
        let (language, names): (_, &[&str]) = match program {
            "make" | "gmake" => (ScriptLanguage::Recipes(targets), &["GNUmakefile", "makefile", "Makefile"]),
            "just" => (ScriptLanguage::Recipes(targets), &["justfile", "Justfile", ".justfile"]),
            "task" | "go-task" => (ScriptLanguage::Tasks, &["Taskfile.yml", "Taskfile.yaml", "taskfile.yml"]),
            _ => {
                let first = targets.first()?.as_str();
                match first {
                    "run" | "run-script" => drop(targets.remove(0)),
                    "start" | "test" | "stop" | "restart" => {}
                    _ => return None,
                }
                targets.truncate(1);
                (ScriptLanguage::PackageScripts(targets), &["package.json"])
            }
        };
        let names = if files.is_empty() { names.to_vec() } else { files };
        let paths = names.into_iter().map(|name| join(&inside, name)).collect();
        Some(Self { paths, language, directory: inside })
    }

    /// Returns the commands as a shell script, or `None` if they cannot be determined.
    pub(crate) fn commands(&self, text: &str) -> Option<String> {
        match &self.language {
            ScriptLanguage::Shell => Some(text.to_owned()),
            ScriptLanguage::File | ScriptLanguage::Program => {
                let first = text.lines().next().unwrap_or_default();
                let interpreter = first.strip_prefix("#!").unwrap_or("sh").trim();
                let is_shell = interpreter
                    .split(['/', ' '])
                    .any(|word| matches!(word, "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh"));
                is_shell.then(|| text.to_owned())
            }
            ScriptLanguage::Recipes(targets) => recipes(text, targets),
            ScriptLanguage::Tasks => Some(tasks(text)),
            ScriptLanguage::PackageScripts(names) => package(text, names),
        }
    }
}

/// Returns the commands of `targets` and their prerequisites, or of the first target of the file if `targets` is empty.
/// Returns `None` if a requested target is missing or a command cannot be expanded.
fn recipes(text: &str, targets: &[String]) -> Option<String> {
    let text = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut variables: BTreeMap<&str, String> = BTreeMap::new();
    let mut rules: BTreeMap<String, (Vec<String>, Vec<&str>)> = BTreeMap::new();
    let (mut current, mut first): (Vec<String>, Option<String>) = (Vec::new(), None);
    for line in text.lines() {
        if line.starts_with(['\t', ' ']) {
            for name in &current {
                if let Some((_, commands)) = rules.get_mut(name) {
                    commands.push(line.trim());
                }
            }
            continue;
        }
        let line = line.split(" #").next().unwrap_or_default();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((name, operator, value)) = assignment(line) {
            match operator {
                "+" => {
                    let known = variables.entry(name).or_default();
                    known.push(' ');
                    known.push_str(value);
                }
                "?" => _ = variables.entry(name).or_insert_with(|| value.to_owned()),
                _ => _ = variables.insert(name, value.to_owned()),
            }
            continue;
        }
        let Some((names, needs)) = line.split_once(':') else {
            current.clear();
            continue;
        };
        let (needs, inline) = needs.split_once(';').unwrap_or((needs, ""));
        let names: Vec<String> = expanded(names, &variables)
            .split_whitespace()
            .map(|name| name.trim_start_matches('@').to_owned())
            .collect();
        let needs = expanded(needs.trim_start_matches(':'), &variables);
        for name in &names {
            let rule = rules.entry(name.clone()).or_default();
            rule.0.extend(
                needs.split_whitespace().filter(|need| !matches!(*need, "|" | "&&")).map(str::to_owned),
            );
            rule.1.extend((!inline.trim().is_empty()).then(|| inline.trim()));
        }
        if first.is_none() {
            first = names.first().filter(|name| !name.starts_with('.')).cloned();
        }
        current = names;
    }
    let mut open: Vec<String> = if targets.is_empty() { vec![first?] } else { targets.to_vec() };
    let mut script = String::new();
    let mut seen = BTreeSet::new();
    let requested: BTreeSet<String> = open.iter().cloned().collect();
    while let Some(target) = open.pop() {
        if !seen.insert(target.clone()) || seen.len() > MAX_TARGETS {
            continue;
        }
        let Some((needs, commands)) = rules.get(&target) else {
            // A prerequisite may be a file, but a requested target must exist.
            if requested.contains(&target) {
                return None;
            }
            continue;
        };
        open.extend(needs.iter().cloned());
        for command in commands {
            let command = expanded(command.trim_start_matches(['@', '-', '+']), &variables);
            if command.contains("$(") || command.contains("{{") {
                return None;
            }
            script.push_str(&command.replace("$$", "$"));
            script.push('\n');
        }
    }
    Some(script)
}

/// Splits `NAME = value` into name, operator without the `=`, and value.
fn assignment(line: &str) -> Option<(&str, &str, &str)> {
    let line = line.strip_prefix("export ").unwrap_or(line);
    let (left, value) = line.split_once('=')?;
    let name = left.trim_end_matches([':', '?', '+', '!']);
    let operator = &left[name.len()..];
    let name = name.trim();
    let is_name = !name.is_empty() && !name.contains([' ', ':', '$', '(']);
    is_name.then(|| (name, operator, value.trim().trim_matches(['"', '\''])))
}

/// Replaces the variables of a Makefile; `$(MAKE)` becomes `make`.
fn expanded(text: &str, variables: &BTreeMap<&str, String>) -> String {
    let mut text = text.replace("$(MAKE)", "make").replace("${MAKE}", "make").replace("$@", "");
    for _ in 0..4 {
        let before = text.clone();
        for (name, value) in variables {
            for reference in [format!("$({name})"), format!("${{{name}}}"), format!("{{{{{name}}}}}")] {
                if text.contains(&reference) && text.len() < 1 << 16 {
                    text = text.replace(&reference, value);
                }
            }
        }
        if text == before {
            break;
        }
    }
    text
}

/// Returns the commands of all tasks in a Taskfile.
fn tasks(text: &str) -> String {
    let command = |line: &str| {
        let item = line.trim().strip_prefix("- ");
        let text = item.unwrap_or(line.trim());
        let (key, value) = text.split_once(':').unwrap_or(("", text));
        let is_key =
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        match key {
            "cmd" | "sh" => Some(value.trim().to_owned()),
            _ if is_key || text.starts_with('#') => None,
            _ => Some(text.to_owned()),
        }
    };
    text.lines().filter_map(command).collect::<Vec<_>>().join("\n")
}

/// Returns the scripts of a `package.json` with these names, and their pre and post scripts.
fn package(text: &str, names: &[String]) -> Option<String> {
    let package: serde_json::Value = serde_json::from_str(text).ok()?;
    let scripts = package.get("scripts")?.as_object()?;
    let mut found = Vec::new();
    for name in names {
        found.push(scripts.get(name)?.as_str()?);
        let around =
            ["pre", "post"].into_iter().filter_map(|when| scripts.get(&format!("{when}{name}"))?.as_str());
        found.extend(around);
    }
    Some(found.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_a_script_are_those_of_the_requested_targets() {
        let make = "PIP ?= pip\nREQS = -r a.txt \\\n  -r b.txt\n.PHONY: deps build\n\nall: build\n\n\
                    deps: venv\n\t@$(PIP) install $(REQS)\n\t-$(MAKE) tools\n\nvenv: ; python -m venv v\n\
                    build: main.c\n\tcc -o $$OUT main.c\ninclude more.mk\nodd:\n\t$(shell date)\n";
        let just = "pip := 'pip3'\n\ndefault: deps\n\ndeps level='1': tools\n    {{pip}} install -r a.txt\n\n@tools:\n    uv sync\n";
        let task =
            "version: '3'\ntasks:\n  deps:\n    cmds:\n      - pip install -r a.txt\n      - cmd: uv sync\n";
        let package = r#"{"scripts": {"build": "webpack", "prebuild": "npm ci", "lint": "eslint"}}"#;
        let recipes = |targets: &[&str]| {
            ScriptLanguage::Recipes(targets.iter().map(|target| (*target).to_owned()).collect())
        };
        let scripts = |names: &[&str]| {
            ScriptLanguage::PackageScripts(names.iter().map(|name| (*name).to_owned()).collect())
        };
        for (language, text, expected) in [
            (ScriptLanguage::File, "#!/bin/sh\npip install x", Some("#!/bin/sh\npip install x")),
            (ScriptLanguage::File, "#!/usr/bin/env bash\nx", Some("#!/usr/bin/env bash\nx")),
            (ScriptLanguage::File, "pip install x", Some("pip install x")),
            (ScriptLanguage::Program, "#!/usr/bin/env python3\nimport pip", None),
            (ScriptLanguage::Shell, "#!/usr/bin/python\nx", Some("#!/usr/bin/python\nx")),
            (
                recipes(&["deps"]),
                make,
                Some("pip install -r a.txt    -r b.txt\nmake tools\npython -m venv v\n"),
            ),
            (recipes(&["build"]), make, Some("cc -o $OUT main.c\n")),
            (recipes(&[]), make, Some("cc -o $OUT main.c\n")),
            (recipes(&["of-more"]), make, None),
            (
                recipes(&[]),
                "A = -r a.txt\nA += -r b.txt\nPIP = uv pip\nPIP ?= pip\nx:\n\t$(PIP) install $(A)\n",
                Some("uv pip install -r a.txt -r b.txt\n"),
            ),
            (recipes(&[]), "x:\n    pip install {{unknown}}\n", None),
            (recipes(&["odd"]), make, None),
            (recipes(&[]), "", None),
            (recipes(&["deps"]), just, Some("pip3 install -r a.txt\nuv sync\n")),
            (recipes(&[]), just, Some("pip3 install -r a.txt\nuv sync\n")),
            (ScriptLanguage::Tasks, task, Some("pip install -r a.txt\nuv sync")),
            (scripts(&["build"]), package, Some("webpack\nnpm ci")),
            (scripts(&["lint"]), package, Some("eslint")),
            (scripts(&["none"]), package, None),
        ] {
            let script = Script { paths: Vec::new(), language, directory: String::new() };
            assert_eq!(script.commands(text).as_deref(), expected, "{:?} {text}", script.language);
        }
    }

    #[test]
    fn a_command_line_names_its_recipes() {
        for (line, expected) in [
            ("make", "GNUmakefile makefile Makefile"),
            ("make -C sub deps", "sub/GNUmakefile sub/makefile sub/Makefile: deps"),
            ("make -j 4 PREFIX=/x deps tools", "GNUmakefile makefile Makefile: deps tools"),
            ("make --file=a.mk deps", "a.mk: deps"),
            ("just deps", "justfile Justfile .justfile: deps"),
            ("task deps", "Taskfile.yml Taskfile.yaml taskfile.yml"),
            ("npm run deps -- --flag", "package.json: deps"),
            ("npm --prefix web run deps", "web/package.json: deps"),
            ("npm test", "package.json: test"),
            ("npm ci", "-"),
            ("ls", "-"),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let shown = Script::of_task_runner(&words[0], &words[1..], "").map_or("-".to_owned(), |script| {
                let targets = match script.language {
                    ScriptLanguage::Recipes(targets) | ScriptLanguage::PackageScripts(targets) => targets,
                    _ => Vec::new(),
                };
                let colon = if targets.is_empty() { "" } else { ": " };
                format!("{}{colon}{}", script.paths.join(" "), targets.join(" "))
            });
            assert_eq!(shown, expected, "{line}");
        }
    }
}
