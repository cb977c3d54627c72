//! A set of dependency files with everything they include.

use std::collections::{BTreeMap, BTreeSet};

use super::{FileUse, Format, pip};

/// The files that decide what is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closure {
    /// The canonical content of each file that is there, by path.
    ///
    /// Of a pip requirements file: its logical lines in order, without
    /// comments, blank lines and trailing blanks. Of any other: its bytes.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The paths that are named and not there.
    pub missing: BTreeSet<String>,
}

/// Reads `roots` and, through pip requirements, what they include.
///
/// `read` yields a file's bytes, or `None` if it is not there. Paths are
/// cleaned; an include is relative to the file that names it. A cycle ends
/// where it closes.
pub fn closure(roots: &[FileUse], read: &dyn Fn(&str) -> Option<Vec<u8>>) -> Closure {
    let mut closure = Closure::default();
    let mut open: Vec<FileUse> = roots.iter().rev().cloned().collect();
    let mut seen = BTreeSet::new();
    while let Some(FileUse { path, format }) = open.pop() {
        let path = clean(&path);
        if !seen.insert((path.clone(), format)) {
            continue;
        }
        let Some(bytes) = read(&path) else {
            closure.missing.insert(path);
            continue;
        };
        let text = std::str::from_utf8(&bytes).ok().filter(|_| format == Format::PipRequirements);
        let content = match text {
            Some(text) => {
                let lines = logical_lines(text);
                let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
                open.extend(lines.iter().flat_map(|line| included(line, directory)));
                canonical(&lines).into_bytes()
            }
            None => bytes,
        };
        // Read both ways, the file counts with every byte.
        if format == Format::Verbatim || !closure.files.contains_key(&path) {
            closure.files.insert(path, content);
        }
    }
    closure
}

/// The lines as pip joins them, comments and blank lines removed.
///
/// After pip's `req_file.py`: a comment line ends a continuation.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut joined = String::new();
    for line in physical_lines(text.trim_start_matches('\u{feff}')) {
        let comment = line.trim_start().starts_with('#');
        if let Some(continued) = line.strip_suffix('\\').filter(|_| !comment) {
            joined.push_str(continued.trim_matches('\\'));
            continue;
        }
        if comment {
            joined.push(' ');
        }
        joined.push_str(line);
        lines.push(std::mem::take(&mut joined));
    }
    lines.push(joined);
    let kept = lines.iter().map(|line| without_comment(line).trim_end().to_owned());
    kept.filter(|line| !line.trim().is_empty()).collect()
}

/// The lines as Python's `str.splitlines` cuts them, as pip does.
fn physical_lines(text: &str) -> Vec<&str> {
    let ends =
        |char: char| matches!(char, '\n'..='\r' | '\x1c'..='\x1e' | '\u{85}' | '\u{2028}' | '\u{2029}');
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some((line, behind)) = rest.split_once(ends) {
        let carriage = rest[line.len()..].starts_with("\r\n");
        lines.push(line);
        rest = if carriage { &behind[1..] } else { behind };
    }
    if !rest.is_empty() {
        lines.push(rest);
    }
    lines
}

/// Lines that read as what they are when they are read again.
fn canonical(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        // At the very start it would pass for the file's mark.
        if text.is_empty() && line.starts_with('\u{feff}') {
            text.push(' ');
        }
        text.push_str(line);
        // At the very end it would continue the line.
        if line.ends_with('\\') {
            text.push(' ');
        }
        text.push('\n');
    }
    text
}

/// A `#` starts a comment at the start of a line and behind a blank.
fn without_comment(line: &str) -> &str {
    let starts = |index: usize| index == 0 || line[..index].ends_with(char::is_whitespace);
    let comment = line.match_indices('#').map(|(index, _)| index).find(|index| starts(*index));
    comment.map_or(line, |index| &line[..index])
}

/// The files that one logical line includes.
fn included(line: &str, directory: &str) -> Vec<FileUse> {
    let line = line.trim();
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let is_option = line.starts_with('-');
    let is_path = line.starts_with('.') || line.starts_with('/') || line.contains("file:");
    let arguments: &[String] = match words.as_slice() {
        _ if is_option => &words,
        [path, ..] if is_path && !path.contains("://") => std::slice::from_ref(path),
        _ => return Vec::new(),
    };
    let mut uses = pip::named(arguments, directory, pip::Positional::Packages);
    let projects = pip::named(arguments, "", pip::Positional::Packages);
    // pip takes a local project's path from where it runs, not from the file.
    uses.extend(projects.into_iter().filter(|found| found.format == Format::Verbatim));
    uses
}

/// A cleaned path; unlike a cleaned source it can lead outside.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(roots: &[FileUse], files: &[(&str, &str)]) -> Closure {
        closure(roots, &|path| {
            files.iter().find(|(name, _)| *name == path).map(|(_, text)| text.as_bytes().to_vec())
        })
    }

    fn content<'a>(closure: &'a Closure, path: &str) -> &'a str {
        std::str::from_utf8(&closure.files[path]).unwrap()
    }

    #[test]
    fn comments_blank_lines_and_continuations_do_not_count() {
        let text = "# top\n\nflask==3.0  # web\n  # indented\npandas==2.2 \\\n    --hash=sha256:a \\\n    --hash=sha256:b\n\
                    a @ https://x/a.zip#sha256=c\nb \\\n# ends it\nc\t\r\n";
        let read = closed(&[FileUse::requirements("r.txt")], &[("r.txt", text)]);
        assert_eq!(
            content(&read, "r.txt"),
            "flask==3.0\npandas==2.2     --hash=sha256:a     --hash=sha256:b\na @ https://x/a.zip#sha256=c\nb\nc\n"
        );
    }

    #[test]
    fn what_is_read_again_reads_the_same() {
        for (text, canonical) in [
            ("a\\ \n=1\n", "a\\ \n=1\n"),
            ("# top\n\u{feff}a\n", " \u{feff}a\n"),
            ("a\r-r b.txt\x0cc\u{2028}\r\nd", "a\n-r b.txt\nc\nd\n"),
        ] {
            let read = |text: &str| closed(&[FileUse::requirements("r.txt")], &[("r.txt", text)]);
            assert_eq!(content(&read(text), "r.txt"), canonical);
            assert_eq!(content(&read(canonical), "r.txt"), canonical);
        }
    }

    #[test]
    fn the_order_of_lines_counts() {
        let read = |text| closed(&[FileUse::requirements("r.txt")], &[("r.txt", text)]);
        assert_ne!(read("a\nb\n"), read("b\na\n"));
        assert_eq!(read("a\nb\n"), read("a # x\n\nb"));
    }

    #[test]
    fn other_files_count_byte_for_byte() {
        let read = closed(&[FileUse::verbatim("uv.lock")], &[("uv.lock", "# a\nb \n")]);
        assert_eq!(content(&read, "uv.lock"), "# a\nb \n");
    }

    #[test]
    fn includes_are_followed_from_the_file_that_names_them_and_cycles_end() {
        let files = [
            ("reqs/dev.txt", "-r base.txt\n--constraint=../c.txt\npytest\n-e ./lib\n"),
            ("reqs/base.txt", "--requirement dev.txt\n-rmore.txt\n-c https://x/c.txt\nflask"),
            ("c.txt", "flask<4"),
            ("lib/pyproject.toml", "[project]"),
        ];
        let read = closed(&[FileUse::requirements("./reqs/dev.txt")], &files);
        let paths: Vec<_> = read.files.keys().map(String::as_str).collect();
        assert_eq!(paths, ["c.txt", "lib/pyproject.toml", "reqs/base.txt", "reqs/dev.txt"]);
        assert!(read.missing.contains("reqs/more.txt"));
        assert!(read.missing.contains("reqs/lib/setup.py"));
        assert!(!read.missing.iter().any(|path| path.contains("http")));
    }

    #[test]
    fn a_file_that_is_not_there_is_missing() {
        let read = closed(&[FileUse::requirements("../up.txt"), FileUse::verbatim("/abs/x")], &[]);
        assert!(read.files.is_empty());
        assert_eq!(read.missing, BTreeSet::from(["../up.txt".to_owned(), "/abs/x".to_owned()]));
    }
}
