//! Finds commands that depend on the cache directory of a program in a stage. With a mount, they could change the image
//! or fail.

use super::cache::{CacheDirectory, Relation, absolute};
use super::commands::{assignment, expand, run_commands};
use super::programs::Program;
use crate::dockerfile::{InstructionKind, ResolvedInstruction, RunInstruction};
use crate::requirements::program_name as name;
use crate::requirements::{ShellCommand, commands};

/// The position of an instruction relative to the RUN that would have the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InstructionPosition {
    Before,
    Same,
    After,
}

/// Commands that do not read directories recursively, so that they may name a parent of a cache.
const SHALLOW_COMMANDS: [&str; 38] = [
    "cd", "pushd", "mkdir", "echo", "printf", "export", "ln", "touch", "install", "unzip", "useradd",
    "adduser", "usermod", "groupadd", "addgroup", "git", "curl", "wget", "test", "[", "[[", "set", "make",
    "cmake", "pip", "pip3", "npm", "yarn", "uv", "poetry", "pdm", "apt-get", "apt", "apk", "dpkg", "env",
    "source", ".",
];

/// Returns the first command of an instruction that uses a cache directory, shortened for a message.
pub(super) fn command_that_uses(
    cache: &CacheDirectory,
    program: &Program,
    at: &ResolvedInstruction,
    home: &str,
    when: InstructionPosition,
) -> Option<String> {
    let commands = match &at.instruction.kind {
        InstructionKind::Run(run) => run_commands(run),
        InstructionKind::Other(text)
            if matches!(at.instruction.keyword.as_str(), "CMD" | "ENTRYPOINT" | "HEALTHCHECK") =>
        {
            commands(&text.replace(['[', ']', ','], " "))
        }
        _ => return None,
    };
    let value = |name: &str| match name {
        "HOME" => Some(home.to_owned()),
        "PWD" => Some(format!("/{}", at.workdir)),
        name => at.scope.get(name).map(str::to_owned),
    };
    let mut directories = vec![format!("/{}", at.workdir)];
    for command in &commands {
        if let [first, arguments @ ..] = &*command.words
            && matches!(first.as_str(), "cd" | "pushd")
        {
            let target = arguments.iter().find(|word| !word.starts_with('-')).map_or("~", String::as_str);
            let Some(target) = expand(target, &value) else { continue };
            let below = directories.last().map_or("/", String::as_str);
            directories.push(if target.starts_with('/') { target } else { format!("{below}/{target}") });
        }
    }
    let touches = |(word, is_deep): &(String, bool)| {
        let Some(path) = expand(word, &value) else {
            return word.to_lowercase().contains("cache") || cache.is_mentioned(word);
        };
        // A bare word may not be a path.
        let is_deep = *is_deep
            && when != InstructionPosition::Before
            && (path.contains(['/', '*']) || path.starts_with('.'));
        let root = [String::new()];
        let directories = if path.starts_with('/') { &root[..] } else { &directories };
        directories.iter().any(|directory| match cache.relation(&absolute(&format!("{directory}/{path}"))) {
            Relation::Within => true,
            Relation::Above => is_deep,
            Relation::Unrelated => false,
        })
    };
    let used = commands.iter().find(|command| path_words(program, command, when).iter().any(touches))?;
    let outputs = used.outputs.iter().map(|file| format!("> {file}"));
    Some(shortened(&used.words.iter().cloned().chain(outputs).collect::<Vec<_>>().join(" ")))
}

pub(super) fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Returns the words of a command that may be paths on which it depends. The boolean is `true` if it also reads the
/// directories below the path.
fn path_words(program: &Program, command: &ShellCommand, when: InstructionPosition) -> Vec<(String, bool)> {
    let mut named: Vec<(String, bool)> = command.outputs.iter().map(|file| (file.clone(), false)).collect();
    let Some(start) = command.words.iter().position(|word| assignment(word).is_none()) else { return named };
    let words = &command.words[start..];
    let own = name(&words[0]);
    let has = |letter: char| {
        words[1..]
            .iter()
            .any(|word| word.starts_with('-') && !word.starts_with("--") && word.contains(letter))
    };
    let is_harmless = match own {
        // `rm -f` accepts missing files, but it cannot remove the mount in the same RUN.
        "rm" => when != InstructionPosition::Same && has('f'),
        "mkdir" => words[1..].iter().all(|word| word == "-p" || !word.starts_with('-')) && has('p'),
        "export" => true,
        _ => false,
    };
    if is_harmless {
        return named;
    }
    let is_deep = match own {
        "chmod" | "chown" | "chgrp" => has('R'),
        "cp" => has('r') || has('R') || has('a'),
        "tar" => {
            let first = words.get(1).map_or("", String::as_str);
            !(first.contains('x') || words.iter().any(|word| word == "--extract"))
        }
        own => !SHALLOW_COMMANDS.contains(&own),
    };
    let mut is_value = false;
    for (index, word) in words.iter().enumerate() {
        let option = word.split_once('=').map_or(word.as_str(), |(option, _)| option);
        let is_place = program.location_options.contains(&option);
        // The name of a program without a directory is resolved by `PATH`.
        let is_program = index == 0 && !word.contains('/');
        let places = |name: &str| {
            matches!(name, "HOME" | "XDG_CACHE_HOME")
                || program.location_variables.iter().any(|known| program.is_variable(known, name))
        };
        let is_place = is_place || assignment(word).is_some_and(|(name, _)| places(name));
        if std::mem::replace(&mut is_value, is_place && option == word) || is_place || is_program {
            continue;
        }
        let is_destination = matches!(own, "cp" | "mv" | "rsync") && index > 1 && index + 1 == words.len();
        let is_deep = is_deep && index > 0 && !is_destination;
        let is_script = word.contains(char::is_whitespace);
        let separates = |char: char| char.is_whitespace() || "=:,;'\"()<>|&".contains(char);
        for part in word.split(separates).filter(|part| !part.is_empty()) {
            named.push((part.to_owned(), is_deep && !(is_script && part == "/")));
        }
    }
    let lists = matches!(own, "ls" | "du" | "find" | "tree");
    if lists && words[1..].iter().all(|word| word.starts_with('-')) {
        named.push((".".to_owned(), true));
    }
    named
}

/// Returns the option or variable that restricts a program to the files in its cache, if there is one.
pub(super) fn offline_setting(program: &Program, at: &ResolvedInstruction) -> Option<String> {
    let commands = match &at.instruction.kind {
        InstructionKind::Run(run) => run_commands(run),
        InstructionKind::Other(text) => commands(&text.replace(['[', ']', ','], " ")),
        _ => return None,
    };
    let calls = |command: &&ShellCommand| command.words.iter().any(|word| program.is_named(word));
    let calls: Vec<&ShellCommand> = commands.iter().filter(calls).collect();
    let option = |word: &&String| program.offline_options.contains(&word.as_str());
    if let Some(word) = calls.iter().flat_map(|command| &command.words).find(option) {
        return Some(word.clone());
    }
    let is_set = |known: &str, name: &str, value: &str| {
        program.is_variable(known, name) && !matches!(value, "" | "0" | "false" | "no")
    };
    let found = |name: &str, value: &str| {
        program.offline_variables.iter().any(|known| is_set(known, name, value)).then(|| name.to_owned())
    };
    if !calls.is_empty()
        && let Some(name) = at.scope.variables().find_map(|(name, value)| found(name, value))
    {
        return Some(name);
    }
    commands
        .iter()
        .flat_map(|command| &command.words)
        .filter_map(|word| assignment(word))
        .find_map(|(name, value)| found(name, value))
}

/// Returns `true` if a RUN has no network, so that its programs depend on the files in their caches.
pub(super) fn has_no_network(run: &RunInstruction) -> bool {
    run.network.as_deref() == Some("none")
}
