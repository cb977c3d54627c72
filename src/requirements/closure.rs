//! The dependency files of commands, with everything that they include.

use std::collections::{BTreeMap, BTreeSet};

use super::pip::BaseDirectories;
use super::{DependencyFile, DependencyFormat, includes, join, text};

/// Provides the files of the project that one command can read.
pub trait ProjectView {
    /// Returns the project's files that `path` may refer to.
    ///
    /// `path` is the path as written in the command or in a file: relative to the working directory unless it starts
    /// with `/`, with variables not expanded. For an included file, `beside` is the path relative to the location of
    /// the including file in the project: a guess, in case files were moved before the command ran.
    ///
    /// `format` is the format of the file: a command names requirements files explicitly, but many other files
    /// implicitly by running a tool.
    fn find(&self, path: &str, beside: Option<&str>, format: DependencyFormat) -> Vec<ProjectFile>;
}

/// A file of the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectFile {
    /// The path in the project.
    pub path: String,
    /// The path that the command uses, with variables expanded.
    pub seen_path: String,
    /// The unchanged bytes of the file.
    pub content: Vec<u8>,
}

/// The files that determine what is installed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DependencyClosure {
    /// The canonical content of each existing file, by its path in the project.
    ///
    /// For a pip requirements file, these are its logical lines in order, without comments, blank lines and outer
    /// blanks. For any other file, they are its bytes.
    pub files: BTreeMap<String, Vec<u8>>,
    /// The named paths that do not exist, as written. The path of an included file is prefixed with the directory of
    /// the including file.
    pub(crate) missing: BTreeSet<String>,
}

struct QueuedFile {
    /// The path as the command would name it.
    path: String,
    /// The path relative to the including file's location in the project.
    beside: Option<String>,
    format: DependencyFormat,
    directory: String,
}

impl DependencyClosure {
    /// Adds the files that a command reads, and everything that they include.
    ///
    /// An include is relative to the including file, a local project to the working directory. Cycles are detected.
    pub fn add(&mut self, uses: &[DependencyFile], view: &dyn ProjectView) {
        let mut open: Vec<QueuedFile> = uses.iter().rev().map(QueuedFile::of).collect();
        let mut seen = BTreeSet::new();
        while let Some(wanted) = open.pop() {
            let found = view.find(&wanted.path, wanted.beside.as_deref(), wanted.format);
            if found.is_empty() {
                self.missing.insert(clean(wanted.beside.as_deref().unwrap_or(&wanted.path)));
            }
            for file in found {
                if seen.insert((file.path.clone(), wanted.format)) {
                    open.extend(wanted.included(&file));
                    self.insert(file, wanted.format);
                }
            }
        }
    }

    fn insert(&mut self, file: ProjectFile, format: DependencyFormat) {
        let ProjectFile { path, content, .. } = file;
        match format {
            // If a file is read in both formats, its exact bytes are used.
            DependencyFormat::Verbatim => _ = self.files.insert(path, content),
            DependencyFormat::PipRequirements => {
                let content = text::decode(&content)
                    .map_or(content, |text| text::canonical(&text::logical_lines(&text)).into_bytes());
                self.files.entry(path).or_insert(content);
            }
        }
    }
}

impl QueuedFile {
    fn of(found: &DependencyFile) -> Self {
        let DependencyFile { path, format, directory } = found.clone();
        Self { path, beside: None, format, directory }
    }

    fn included(&self, file: &ProjectFile) -> Vec<Self> {
        // Includes are resolved relative to the path that the command uses, and to the location in the project. Only
        // the prefixes of the paths differ.
        let (seen, name) = split(&file.seen_path);
        let (kept, _) = split(&file.path);
        let from = |directory: &str| match self.format {
            DependencyFormat::PipRequirements => {
                let text = text::decode(&file.content).unwrap_or_else(|| text::latin1(&file.content));
                let places = BaseDirectories { files: directory, projects: &self.directory };
                includes::lines_includes(&text::logical_lines(&text), places)
            }
            DependencyFormat::Verbatim => includes::file_includes(directory, name, &file.content),
        };
        let open = from(seen).into_iter().zip(from(kept)).map(|(seen, kept)| Self {
            path: seen.path,
            beside: Some(kept.path),
            format: seen.format,
            directory: self.directory.clone(),
        });
        open.collect()
    }
}

fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some(parts) => parts,
        None => ("", path),
    }
}

/// Returns `path` without `.` and empty parts. Unlike a cleaned source of COPY, it may start with `..`.
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
    join(root, &parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A project whose command runs at its root.
    struct Project<'a>(&'a [(&'a str, &'a str)]);

    impl ProjectView for Project<'_> {
        fn find(&self, path: &str, _: Option<&str>, _: DependencyFormat) -> Vec<ProjectFile> {
            let path = clean(path);
            let found = self.0.iter().filter(|(name, _)| *name == path);
            found
                .map(|(_, text)| ProjectFile {
                    path: path.clone(),
                    seen_path: path.clone(),
                    content: text.as_bytes().to_vec(),
                })
                .collect()
        }
    }

    fn closed(roots: &[DependencyFile], files: &[(&str, &str)]) -> DependencyClosure {
        let mut closure = DependencyClosure::default();
        closure.add(roots, &Project(files));
        closure
    }

    fn content<'a>(closure: &'a DependencyClosure, path: &str) -> &'a str {
        std::str::from_utf8(&closure.files[path]).unwrap()
    }

    #[test]
    fn comments_blank_lines_and_continuations_do_not_change_the_content() {
        let text = "# top\n\nflask==3.0  # web\n  # indented\npandas==2.2 \\\n    --hash=sha256:a \\\n    --hash=sha256:b\n\
                    a @ https://x/a.zip#sha256=c\nb \\\n# ends it\n  c\t\r\n";
        let read = closed(&[DependencyFile::requirements("r.txt")], &[("r.txt", text)]);
        assert_eq!(
            content(&read, "r.txt"),
            "flask==3.0\npandas==2.2     --hash=sha256:a     --hash=sha256:b\na @ https://x/a.zip#sha256=c\nb\nc\n"
        );
    }

    #[test]
    fn the_order_of_lines_matters() {
        let read = |text| closed(&[DependencyFile::requirements("r.txt")], &[("r.txt", text)]);
        assert_ne!(read("a\nb\n"), read("b\na\n"));
        assert_eq!(read("a\nb\n"), read("a # x\n\nb"));
    }

    #[test]
    fn every_byte_of_other_files_matters() {
        let read = closed(&[DependencyFile::verbatim("uv.lock")], &[("uv.lock", "# a\nb \n")]);
        assert_eq!(content(&read, "uv.lock"), "# a\nb \n");
        let both = [DependencyFile::requirements("r.txt"), DependencyFile::verbatim("r.txt")];
        assert_eq!(content(&closed(&both, &[("r.txt", "a # b\n")]), "r.txt"), "a # b\n");
    }

    #[test]
    fn includes_are_relative_to_the_including_file_and_cycles_terminate() {
        let files = [
            ("reqs/dev.txt", "-r base.txt\n--constraint=../c.txt\npytest\n-e ./lib\n"),
            ("reqs/base.txt", "--requirement dev.txt\n-rmore.txt\n-c https://x/c.txt\nflask"),
            ("c.txt", "flask<4"),
            ("lib/pyproject.toml", "[tool.uv.sources]\nmine = { path = \"../mine\" }\n"),
            ("mine/setup.py", "open('requirements.txt')"),
            ("mine/requirements.txt", "numpy # fast"),
        ];
        let read = closed(&[DependencyFile::requirements("./reqs/dev.txt")], &files);
        let paths: Vec<_> = read.files.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            [
                "c.txt",
                "lib/pyproject.toml",
                "mine/requirements.txt",
                "mine/setup.py",
                "reqs/base.txt",
                "reqs/dev.txt"
            ]
        );
        assert_eq!(content(&read, "mine/requirements.txt"), "numpy\n");
        assert!(read.missing.contains("reqs/more.txt"));
        assert!(read.missing.contains("lib/setup.py"));
        assert!(!read.missing.iter().any(|path| path.contains("http")));
    }

    #[test]
    fn a_nonexistent_file_is_reported_as_missing() {
        let read =
            closed(&[DependencyFile::requirements("../up.txt"), DependencyFile::verbatim("/abs/x")], &[]);
        assert!(read.files.is_empty());
        assert_eq!(read.missing, BTreeSet::from(["../up.txt".to_owned(), "/abs/x".to_owned()]));
    }
}
