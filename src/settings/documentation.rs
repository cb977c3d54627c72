//! Checks README and `docs/` against the program: commands parse, and flags and variables exist.

use std::collections::BTreeSet;
use std::path::Path;

use clap::{Command, CommandFactory, Parser};

use super::{Environment, env_vars};
use crate::cli::Cli;

/// Flags of Dockerfile instructions and of other programs: docker, cargo, pip, aws, and the script that
/// `docs/run-cache.md` replaces.
const FOREIGN_FLAGS: &[&str] = &[
    "build",
    "chmod",
    "chown",
    "exclude",
    "filter",
    "from",
    "help",
    "image-ids",
    "image-tag-mutability",
    "image-tag-mutability-exclusion-filters",
    "info",
    "list",
    "no-cache-dir",
    "open",
    "parents",
    "password-stdin",
    "path",
    "region",
    "repository-name",
    "username",
    "value",
    "version",
];

/// Returns the names and texts of the pages.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let paths = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let paths = paths.chain([root.join("README.md")]);
    paths.map(|path| (path.display().to_string(), std::fs::read_to_string(&path).unwrap())).collect()
}

/// Returns the commands of larder in the code blocks of a page that have a language, as words.
fn commands(page: &str) -> Vec<Vec<String>> {
    let blocks = page.split("```").skip(1).step_by(2).filter(|block| !block.starts_with('\n'));
    let joined: Vec<String> = blocks.map(|block| block.replace("\\\n", " ")).collect();
    let lines = joined.iter().flat_map(|block| block.lines());
    lines
        .filter_map(|line| Some(words(&line[line.find("larder ")?..])))
        .filter(|words| words.len() > 1)
        .collect()
}

/// Splits a command as a shell does, up to a comment, a pipe or the next command.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut is_open) = (Vec::new(), String::new(), None, false);
    for char in line.chars() {
        match (char, quote) {
            (char, Some(open)) if char == open => quote = None,
            ('\'' | '"', None) => (quote, is_open) = (Some(char), true),
            ('#' | '|' | ';' | '&' | '>' | ')', None) if word.is_empty() => break,
            (' ', None) => {
                if is_open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                is_open = false;
            }
            (char, _) => word.push(char),
        }
    }
    if is_open || !word.is_empty() {
        words.push(word);
    }
    words
}

fn long_flags(command: &Command, flags: &mut BTreeSet<String>) {
    for arg in command.get_arguments() {
        flags.extend(arg.get_long_and_visible_aliases().unwrap_or_default().into_iter().map(str::to_owned));
    }
    for subcommand in command.get_subcommands() {
        long_flags(subcommand, flags);
    }
}

/// Returns the words of a text that begin with `start` and continue with these characters.
fn mentions<'a>(text: &'a str, start: &str, is_part: fn(char) -> bool) -> BTreeSet<&'a str> {
    let is_separate =
        |at: usize| !text[..at].ends_with(|char: char| char.is_alphanumeric() || "-_".contains(char));
    let found = text.match_indices(start).filter(|(at, _)| is_separate(*at));
    let found = found.map(|(at, _)| {
        let rest = &text[at + start.len()..];
        &rest[..rest.find(|char| !is_part(char)).unwrap_or(rest.len())]
    });
    found.map(|name| name.trim_end_matches(['-', '_'])).filter(|name| !name.is_empty()).collect()
}

#[test]
fn commands_in_the_documentation_are_valid() {
    let mut count = 0;
    for (name, page) in pages() {
        for words in commands(&page) {
            if words.iter().any(|word| word.contains(['…', '[', '<'])) {
                continue;
            }
            count += 1;
            if let Err(error) = Cli::try_parse_from(&words) {
                assert!(!error.use_stderr(), "{name}: {words:?}: {error}");
            }
        }
    }
    assert!(count > 60, "only {count} commands were found");
}

#[test]
fn flags_in_the_documentation_exist() {
    let mut flags: BTreeSet<String> = FOREIGN_FLAGS.iter().map(|flag| (*flag).to_owned()).collect();
    long_flags(&Cli::command(), &mut flags);
    let is_part = |char: char| char.is_ascii_lowercase() || char == '-' || char.is_ascii_digit();
    let mut unknown = Vec::new();
    for (name, page) in pages() {
        let mentioned = mentions(&page, "--", is_part).into_iter().filter(|flag| !flags.contains(*flag));
        unknown.extend(mentioned.map(|flag| format!("{name}: --{flag}")));
    }
    assert_eq!(unknown, [""; 0]);
}

#[test]
fn variables_in_the_documentation_exist() {
    for (name, page) in pages() {
        for variable in mentions(&page, "LARDER_", |char| char.is_ascii_uppercase() || char == '_') {
            let variable = format!("LARDER_{variable}");
            let environment: Environment = [(variable.clone(), "1".to_owned())].into_iter().collect();
            assert_eq!(env_vars::unknown_variables(&environment), [""; 0], "{name}: {variable}");
        }
    }
}
