//! Finds the dependency files and scripts that a command line names, and detects whether it installs dependencies.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{FILE_VARIABLES, PACKAGE_INSTALLERS, TOOLS, is_manifest_name, is_requirements_name};
use super::launcher::{PREFIX_WORDS, RUNNER_TOOLS, is_versioned, program_name, wrapper};
use super::pip::{self, BaseDirectories, Positional};
use super::script::{Script, ScriptLanguage};
use super::{DependencyFile, join, shell};

/// The files and programs that a command line names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandDependencies {
    /// The dependency files, each once, in the order in which they are named; includes files that a tool reads only if
    /// they exist.
    pub uses: Vec<DependencyFile>,
    /// Scripts that the command line runs and the project may contain, in order of execution.
    pub(crate) scripts: Vec<Script>,
    /// The words of all commands that may be paths, relative like those of `uses`.
    pub(crate) words: BTreeSet<String>,
    variables: BTreeMap<String, Vec<String>>,
    /// `true` if the command line installs dependencies, from files or by name.
    pub(crate) installs: bool,
}

const MAX_EXPANSIONS: usize = 64;

impl CommandDependencies {
    /// Returns the path as written, and its expansions by the variables that the command line assigns.
    pub(crate) fn expansions(&self, path: &str) -> Vec<String> {
        let mut spellings = vec![path.to_owned()];
        for (name, values) in &self.variables {
            for reference in [format!("${{{name}}}"), format!("${name}")] {
                let with = spellings.iter().filter(|path| path.contains(&reference));
                let new = with.flat_map(|path| values.iter().map(|value| path.replace(&reference, value)));
                let new: Vec<String> = new.take(MAX_EXPANSIONS.saturating_sub(spellings.len())).collect();
                spellings.extend(new);
            }
        }
        spellings
    }
}

/// Returns what a shell script that runs in `directory` depends on.
pub fn script_dependencies(script: &str, directory: &str) -> CommandDependencies {
    let mut reader = CommandReader { directory: directory.to_owned(), ..CommandReader::default() };
    reader.script(script);
    reader.finish()
}

/// Like [`script_dependencies`], for a program and its arguments.
pub(crate) fn argv_dependencies(argv: &[String]) -> CommandDependencies {
    let mut reader = CommandReader::default();
    reader.command(argv);
    reader.add_mentioned_files(argv);
    reader.finish()
}

#[derive(Default)]
struct CommandReader {
    dependencies: CommandDependencies,
    directory: String,
    /// The previous directories, to which `popd` and `cd -` return.
    previous_directories: Vec<String>,
}

impl CommandReader {
    fn finish(self) -> CommandDependencies {
        let mut dependencies = self.dependencies;
        dependencies.installs |= !dependencies.uses.is_empty();
        let mut seen = BTreeSet::new();
        dependencies.uses.retain(|found| seen.insert((found.path.clone(), found.format)));
        dependencies
    }

    fn add_requirements(&mut self, path: String) {
        self.dependencies.uses.push(DependencyFile::requirements(path));
    }

    fn add_verbatim(&mut self, path: String) {
        self.dependencies.uses.push(DependencyFile::verbatim(path));
    }

    fn add_by_name(&mut self, path: String) {
        let is_requirements = is_requirements_name(path.rsplit('/').next().unwrap_or(&path));
        if is_requirements { self.add_requirements(path) } else { self.add_verbatim(path) }
    }

    fn add_project(&mut self, path: &str) {
        pip::add_local_project(path, &self.directory, &mut self.dependencies.uses);
    }

    fn script(&mut self, script: &str) {
        let commands = shell::commands(script);
        // The directories outside the open parentheses, to which a `cd` inside them does not apply.
        let mut outer: Vec<String> = Vec::new();
        let mut fed = false;
        for command in &commands {
            while outer.len() > command.depth {
                self.directory = outer.pop().unwrap_or_default();
            }
            outer.resize(command.depth, self.directory.clone());
            if self.command(&command.words) {
                fed |= command.takes;
                command.inputs.iter().for_each(|file| self.add_list(file));
            }
        }
        if let Some(directory) = outer.into_iter().next() {
            self.directory = directory;
        }
        let lists = commands.iter().filter(|command| fed && command.feeds);
        for file in lists.flat_map(|command| &command.words[1..]).filter(|word| is_path(word)) {
            self.add_list(file);
        }
        // Any other command on a dependency file (`sed -i … requirements.txt`) affects what is installed.
        for command in &commands {
            self.add_mentioned_files(&command.words);
        }
    }

    /// Adds a file whose words become arguments of an installer, in both formats: its exact bytes matter, and it may
    /// include files.
    fn add_list(&mut self, file: &str) {
        if pip::is_address(file) || file.starts_with("/dev/") {
            return;
        }
        let path = join(&self.directory, file);
        for file in [DependencyFile::requirements(&path), DependencyFile::verbatim(&path)] {
            self.dependencies.uses.push(DependencyFile { directory: self.directory.clone(), ..file });
        }
    }

    fn add_mentioned_files(&mut self, words: &[String]) {
        for word in words.iter().skip(1) {
            let path = word.rsplit_once('=').map_or(word.as_str(), |(_, path)| path);
            let path = path.strip_prefix('@').unwrap_or(path);
            let name = path.rsplit('/').next().unwrap_or(path);
            let is_known = || self.dependencies.uses.iter().any(|found| found.path.ends_with(path));
            let is_dependency_file = is_requirements_name(name) || is_manifest_name(name);
            if is_dependency_file && !pip::is_address(path) && !is_known() {
                self.add_by_name(path.to_owned());
            }
        }
    }

    /// Reads one command. Returns `true` if it installs dependencies.
    fn command(&mut self, words: &[String]) -> bool {
        let before = std::mem::take(&mut self.dependencies.installs);
        let known = self.dependencies.uses.len();
        let lists = self.read_prefixed(words);
        let installs = self.dependencies.installs || self.dependencies.uses.len() > known;
        for found in &mut self.dependencies.uses[known..] {
            if found.directory.is_empty() {
                found.directory.clone_from(&self.directory);
            }
        }
        if installs {
            for file in &lists {
                self.add_list(file);
            }
        }
        self.dependencies.installs |= before;
        installs
    }

    /// Removes the prefixes of a command, such as `sudo`, and reads the command. Returns the files that `xargs` reads.
    fn read_prefixed(&mut self, words: &[String]) -> Vec<String> {
        let mut words = words;
        let mut lists = Vec::new();
        loop {
            let Some(first) = words.first() else { return lists };
            let program = program_name(first);
            let skip = match program {
                _ if PREFIX_WORDS.contains(&program) => 1,
                // `su -c SCRIPT` is handled like a shell.
                "su" | "runuser" => break,
                _ if self.record_assignment(first) => 1,
                _ => {
                    let Some(wrapper) = wrapper(program) else { break };
                    let own = wrapper.prefix_length(words);
                    if program == "xargs" {
                        lists.extend(option_values(&words[..own], &["-a", "--arg-file"]));
                    }
                    own
                }
            };
            words = &words[skip..];
        }
        for word in words.iter().skip(1) {
            let path = word.rsplit_once('=').map_or(word.as_str(), |(_, path)| path);
            if !path.is_empty() && !path.starts_with('-') {
                self.dependencies.words.insert(join(&self.directory, path.trim_start_matches('@')));
            }
        }
        self.dependencies.scripts.push(Script::program(&words[0], &self.directory));
        self.read_bare(program_name(&words[0]), &words[1..]);
        lists
    }

    /// Records `NAME=value`. Returns `true` if the word is an assignment.
    fn record_assignment(&mut self, word: &str) -> bool {
        let Some((name, value)) = word.split_once('=').filter(|(name, _)| is_name(name)) else {
            return false;
        };
        if let Some((_, format)) = FILE_VARIABLES.iter().find(|(variable, _)| *variable == name) {
            let path = join(&self.directory, value);
            let (format, directory) = (*format, self.directory.clone());
            self.dependencies.uses.push(DependencyFile { path, format, directory });
        }
        self.record_value(name, value);
        true
    }

    fn record_value(&mut self, name: &str, value: &str) {
        let values = self.dependencies.variables.entry(name.to_owned()).or_default();
        if values.len() < MAX_EXPANSIONS && !values.iter().any(|known| known == value) {
            values.push(value.to_owned());
        }
    }

    /// Reads a command without prefixes.
    fn read_bare(&mut self, program: &str, arguments: &[String]) {
        match program {
            "cd" | "pushd" => {
                let target = arguments.iter().find(|argument| !argument.starts_with('-'));
                let back = arguments.iter().any(|argument| argument == "-");
                let here = self.directory.clone();
                self.directory = match target {
                    None if back => self.previous_directories.pop().unwrap_or_default(),
                    target => join(&here, target.map_or("", String::as_str)),
                };
                self.previous_directories.push(here);
            }
            "popd" => self.directory = self.previous_directories.pop().unwrap_or_default(),
            "eval" => self.script(&arguments.join(" ")),
            "export" | "declare" | "typeset" | "local" | "readonly" => {
                for argument in arguments {
                    self.record_assignment(argument);
                }
            }
            "for" => {
                if let [name, _, values @ ..] = arguments {
                    for value in values {
                        self.record_value(name, value);
                    }
                }
            }
            "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" | "su" | "runuser" => {
                let command = arguments.iter().position(|argument| {
                    argument.starts_with('-') && !argument.starts_with("--") && argument.ends_with('c')
                });
                if let Some(script) = command.and_then(|index| arguments.get(index + 1)) {
                    let outer = self.directory.clone();
                    self.script(script);
                    self.directory = outer;
                } else if let Some(path) = arguments.iter().find(|argument| !argument.starts_with(['-', '+']))
                {
                    self.dependencies.scripts.push(Script::shell(path, &self.directory));
                }
            }
            "." | "source" => {
                let script = arguments.first().map(|path| Script::shell(path, &self.directory));
                self.dependencies.scripts.extend(script);
            }
            _ if is_versioned(program, "python") || is_versioned(program, "pypy") => self.python(arguments),
            _ if is_versioned(program, "pip") => self.pip(arguments),
            "pip-sync" | "pip-compile" => self.pip_tools(program, arguments),
            _ => self.tool(program, arguments),
        }
    }

    fn python(&mut self, arguments: &[String]) {
        if let Some(module) = arguments.iter().position(|argument| argument == "-m") {
            if let Some(name) = arguments.get(module + 1) {
                let name = if name == "piptools" { "pip-tools" } else { name };
                match name {
                    "pip" => self.pip(&arguments[module + 2..]),
                    "pip-tools" => {
                        self.pip_tools("pip-sync", arguments.get(module + 3..).unwrap_or_default());
                    }
                    "build" => self.add_project("."),
                    name => self.read_bare(name, &arguments[module + 2..]),
                }
            }
            return;
        }
        let script = arguments.iter().find(|argument| !argument.starts_with('-'));
        let Some(script) = script else { return };
        let file = Script { language: ScriptLanguage::File, ..Script::shell(script, &self.directory) };
        self.dependencies.scripts.push(file);
        if let Some(project) = script.strip_suffix("setup.py") {
            self.add_project(if project.is_empty() { "." } else { project });
        }
    }

    fn pip(&mut self, arguments: &[String]) {
        const VERBS: [&str; 6] = ["install", "download", "wheel", "sync", "compile", "lock"];
        let Some(verb) = arguments.iter().position(|argument| VERBS.contains(&argument.as_str())) else {
            return;
        };
        let positional = match arguments[verb].as_str() {
            "sync" | "compile" => Positional::Requirements,
            _ => Positional::Packages,
        };
        self.dependencies.installs = true;
        let directories = BaseDirectories::at(&self.directory);
        self.dependencies.uses.extend(pip::argument_files(&arguments[verb + 1..], directories, positional));
    }

    fn pip_tools(&mut self, program: &str, arguments: &[String]) {
        self.dependencies.installs = true;
        let directories = BaseDirectories::at(&self.directory);
        let named = pip::argument_files(arguments, directories, Positional::Requirements);
        if named.is_empty() {
            let default = if program == "pip-sync" { "requirements.txt" } else { "requirements.in" };
            self.add_requirements(join(&self.directory, default));
            self.add_project(".");
        }
        self.dependencies.uses.extend(named);
    }

    fn tool(&mut self, program: &str, arguments: &[String]) {
        self.dependencies.scripts.extend(Script::of_task_runner(program, arguments, &self.directory));
        if RUNNER_TOOLS.contains(&program)
            && let Some(run) = arguments.iter().position(|argument| argument == "run")
        {
            // The number of option words differs between tools: search for a known program.
            let rest = &arguments[run + 1..];
            let known = |word: &String| {
                let name = program_name(word);
                ["pip", "python", "pypy"].iter().any(|known| is_versioned(name, known))
                    || ["pip-sync", "pip-compile", "sh", "bash"].contains(&name)
            };
            if let Some(index) = rest.iter().position(known) {
                self.read_bare(program_name(&rest[index]), &rest[index + 1..]);
            }
        }
        if program == "uv"
            && matches!(arguments, [first, second, ..] if matches!(first.as_str(), "tool" | "python") && second == "install")
        {
            self.dependencies.installs = true;
            return;
        }
        if program == "uv"
            && let Some(index) = arguments.iter().position(|argument| argument == "pip")
        {
            return self.pip(&arguments[index + 1..]);
        }
        let has_verb = |verbs: &[&str]| {
            verbs.is_empty() || arguments.iter().any(|argument| verbs.contains(&argument.as_str()))
        };
        if let Some((_, verbs)) = PACKAGE_INSTALLERS.iter().find(|(name, _)| *name == program) {
            self.dependencies.installs |= has_verb(verbs);
        }
        let Some(tool) = TOOLS.iter().find(|tool| tool.programs.contains(&program)) else { return };
        if !has_verb(tool.subcommands) {
            return;
        }
        self.dependencies.installs = true;
        let directory = option_values(arguments, tool.directory_options).pop().unwrap_or_default();
        let directory = join(&self.directory, &directory);
        for file in option_values(arguments, tool.file_options) {
            self.add_by_name(join(&self.directory, &file));
        }
        for file in tool.files {
            self.add_verbatim(join(&directory, file));
        }
    }
}

/// Returns the values of the options `names` in `arguments`: `--name value`, `--name=value`, `-nvalue`.
fn option_values(arguments: &[String], names: &[&str]) -> Vec<String> {
    let mut values = Vec::new();
    for (index, argument) in arguments.iter().enumerate() {
        for name in names {
            let Some(rest) = argument.strip_prefix(name) else { continue };
            let value = match rest.strip_prefix('=') {
                Some(value) => Some(value.to_owned()),
                None if rest.is_empty() => arguments.get(index + 1).cloned(),
                None if !name.starts_with("--") && name.len() == 2 => Some(rest.to_owned()),
                None => None,
            };
            values.extend(value);
        }
    }
    values
}

fn is_path(word: &str) -> bool {
    word.contains(['.', '/', '$'])
        && word != "$"
        && !word.starts_with('-')
        && !word.contains(['*', '^', '\\', '|', ' '])
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}

#[cfg(test)]
mod tests;
