//! Finds configuration files, commands that write them, and scripts that affect the cache of a program. Its arguments
//! and variables are checked elsewhere.

use super::AutoMountInputs;
use super::cache::CacheDirectory;
use super::commands::{Invocation, invocations, run_commands};
use super::dependence::shortened;
use super::programs::Program;
use super::step::is_program;
use crate::dockerfile::{CopyInstruction, InstructionKind, ResolvedInstruction, Scope};
use crate::requirements::program_name as name;

/// Returns the reason why installed files may be links into the cache, if there is one.
pub(super) fn link_reason(program: &Program, calls: &[Invocation], scope: &Scope) -> Option<String> {
    let is_symlink = |value: &str| value.eq_ignore_ascii_case("symlink");
    calls.iter().find_map(|call| {
        program.link_settings.iter().find_map(|setting| {
            let given = match setting.strip_prefix("--") {
                Some(_) => {
                    let index =
                        call.arguments.iter().position(|word| word.split('=').next() == Some(*setting))?;
                    let value = call.arguments[index].split_once('=').map(|(_, value)| value);
                    value.or_else(|| call.arguments.get(index + 1).map(String::as_str))?.to_owned()
                }
                None => match call.variables.get(*setting) {
                    Some(value) => value.clone().unwrap_or_else(|| "symlink".to_owned()),
                    None => scope.get(setting)?.to_owned(),
                },
            };
            is_symlink(&given).then(|| format!("with `{setting}`, installed files are links into its cache"))
        })
    })
}

/// Returns a reason if a configuration file, a variable or a command sets, or may set, the cache directory of the
/// program.
pub(super) fn configuration_reason<'a>(
    program: &Program,
    surroundings: &AutoMountInputs<'_>,
    before: impl Iterator<Item = &'a ResolvedInstruction>,
    own: &'a ResolvedInstruction,
) -> Option<String> {
    let mentioned = |text: &str| {
        let text = text.to_lowercase();
        program.config_words.iter().copied().find(|word| text.contains(&word.to_lowercase()))
    };
    let named = |path: &str| {
        let found =
            |known: &&str| name(path) == *known || (!known.starts_with("pyproject") && path.contains(*known));
        program.config_files.iter().find(|known| found(known)).copied()
    };
    if program.config_files.is_empty() {
        return None;
    }
    let variable = own.scope.variables().find(|(name, value)| {
        program.config_variables.iter().any(|known| program.is_variable(known, name))
            && !value.is_empty()
            && !matches!(*value, "/dev/null" | "0" | "false")
            && !value.starts_with("/run/secrets/")
    });
    if let Some((name, _)) = variable {
        return Some(format!("the configuration that `{name}` sets is not known"));
    }
    let Some(files) = surroundings.files else {
        return Some("the content of the build context is not known".to_owned());
    };
    for file in files.iter().filter(|file| named(file).is_some()) {
        match (surroundings.read)(file) {
            Some(text) => {
                if let Some(word) = mentioned(&text) {
                    return Some(format!("{file} mentions `{word}`"));
                }
            }
            None => return Some(format!("{file} cannot be read")),
        }
    }
    for at in before.chain([own]) {
        let line = at.instruction.lines.start();
        match &at.instruction.kind {
            InstructionKind::Copy(transfer) | InstructionKind::Add(transfer) => {
                let CopyInstruction { sources, heredocs, destination, .. } = transfer;
                if sources.iter().chain([destination]).all(|path| named(path).is_none())
                    && heredocs.iter().all(|heredoc| named(&heredoc.name).is_none())
                {
                    continue;
                }
                let contents = heredocs.iter().map(|heredoc| Some(heredoc.content.clone()));
                let copied = at.context.iter().filter(|source| files.contains(&source.path));
                let copied = copied.map(|source| (surroundings.read)(&source.path));
                let foreign = (!at.sources.is_empty()).then_some(None);
                for content in contents.chain(copied).chain(foreign) {
                    match content.as_deref().map(mentioned) {
                        Some(None) => {}
                        Some(Some(word)) => {
                            return Some(format!("the file that line {line} adds mentions `{word}`"));
                        }
                        None => {
                            return Some(format!(
                                "the configuration file that line {line} adds is not known"
                            ));
                        }
                    }
                }
            }
            InstructionKind::Run(run) => {
                let text = at.instruction.text.as_str();
                let writes = program.config_files.iter().find(|file| text.contains(**file));
                if let (Some(file), Some(word)) = (writes, mentioned(text)) {
                    return Some(format!("line {line} mentions `{word}` and {file}"));
                }
                let configures = invocations(run, &at.scope).into_iter().find(|call| {
                    let is_set = |words: &[String]| {
                        words
                            .iter()
                            .find(|word| !word.starts_with('-'))
                            .is_some_and(|word| matches!(word.as_str(), "config" | "set"))
                    };
                    program.is_named(&call.program)
                        && is_set(&call.arguments)
                        && (mentioned(&call.arguments.join(" ")).is_some()
                            || call.arguments.iter().any(|word| word == "edit"))
                });
                if let Some(call) = configures {
                    let text = format!("{} {}", call.program, call.arguments.join(" "));
                    return Some(format!(
                        "`{}` in line {line} may change its cache directory",
                        shortened(&text)
                    ));
                }
                if program.config_words.contains(&"dir::cache") && text.to_lowercase().contains("dir::cache")
                {
                    return Some(format!("line {line} mentions `Dir::Cache`"));
                }
            }
            _ => {}
        }
    }
    None
}

/// Returns the command of a RUN that queries or clears the cache of a program.
pub(super) fn cache_command(program: &Program, at: &ResolvedInstruction) -> Option<String> {
    let InstructionKind::Run(run) = &at.instruction.kind else { return None };
    invocations(run, &at.scope).into_iter().find_map(|call| {
        let action = call.arguments.iter().find(|word| !word.starts_with('-'))?;
        let is_of_cache = matches!(action.as_str(), "cache" | "store" | "clean" | "autoclean");
        let text = || shortened(&format!("{} {}", name(&call.program), call.arguments.join(" ")));
        (program.is_named(&call.program) && is_of_cache).then(text)
    })
}

/// Returns a file of the context that is named in a RUN and that mentions the cache.
pub(super) fn file_that_mentions(
    cache: &CacheDirectory,
    program: &Program,
    surroundings: &AutoMountInputs<'_>,
    at: &ResolvedInstruction,
) -> Option<String> {
    let InstructionKind::Run(run) = &at.instruction.kind else { return None };
    let files = surroundings.files.unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    for command in run_commands(run) {
        if command.words.first().is_some_and(|word| matches!(name(word), "make" | "just")) {
            names.extend(["Makefile", "makefile", "GNUmakefile", "justfile"].map(str::to_owned));
        }
        names.extend(command.words.iter().filter(|word| !is_program(word)).map(|word| name(word).to_owned()));
    }
    files
        .iter()
        .filter(|file| names.iter().any(|name| self::name(file) == name))
        .find(|file| {
            (surroundings.read)(file).is_some_and(|text| {
                let settings = program
                    .location_variables
                    .iter()
                    .chain(program.location_options)
                    .chain(program.offline_options);
                cache.is_mentioned(&text)
                    || text.contains("XDG_CACHE_HOME")
                    || settings.filter(|word| word.len() > 3).any(|word| text.contains(*word))
            })
        })
        .cloned()
}

/// Returns the reason why a stage may use Yarn 2 or later, which may link installed files to its cache.
pub(super) fn newer_yarn_reason<'a>(
    surroundings: &AutoMountInputs<'_>,
    instructions: impl Iterator<Item = &'a ResolvedInstruction>,
) -> Option<String> {
    let files = surroundings.files?;
    if let Some(file) = files.iter().find(|file| name(file) == ".yarnrc.yml") {
        return Some(format!(
            "{file} belongs to Yarn 2 or later, which may link installed files to its cache"
        ));
    }
    let mut manifests = files.iter().filter(|file| name(file) == "package.json").peekable();
    if manifests.peek().is_none() {
        return Some(
            "the version of Yarn is not known, because the build context contains no package.json".to_owned(),
        );
    }
    for file in manifests {
        let text: String = (surroundings.read)(file).unwrap_or_default().split_whitespace().collect();
        let version = text.split_once("\"packageManager\":\"yarn@").map(|(_, version)| version);
        if text.contains("\"pnp\"") || version.is_some_and(|version| !version.starts_with('1')) {
            return Some(format!(
                "{file} requires a version of Yarn that may link installed files to its cache"
            ));
        }
    }
    instructions.into_iter().find_map(|at| {
        let InstructionKind::Run(run) = &at.instruction.kind else { return None };
        let newer = |word: &String| {
            word.starts_with("yarn@") && !word.starts_with("yarn@1") || name(word) == "corepack"
        };
        let words = || run_commands(run).into_iter().map(|command| command.words);
        let sets = |words: &Vec<String>| {
            words.first().is_some_and(|word| name(word) == "yarn")
                && words.get(1).is_some_and(|word| word == "set")
        };
        let is_newer = words().any(|words| words.iter().any(newer) || sets(&words));
        is_newer
            .then(|| format!("line {} may select a different version of Yarn", at.instruction.lines.start()))
    })
}
