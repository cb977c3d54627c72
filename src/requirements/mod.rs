//! Dependency files: which ones a command line names, and their contents.
//!
//! Pure: files are read through a function from the caller.
//!
//! ```text
//!  RUN text ─▶ shell    simple commands, quotes removed
//!           ─▶ command  pip, uv, poetry, npm, …       ─▶ DependencyFile: path, format
//!  files    ─▶ closure  follows -r, -c and local projects ─▶ canonical contents
//!  content  ─▶ listing  pinned versions ─▶ change: the differences between two listings
//! ```
//!
//! Invariants: when in doubt, a file is included. A path with a shell variable is returned as written
//! (`$REQS/base.txt`), because the caller may know the variable. This module does not determine whether a package
//! changes, only which bytes determine that.

mod address;
mod catalogue;
mod change;
mod closure;
mod command;
mod includes;
mod launcher;
mod listing;
mod locks;
mod pip;
mod script;
mod shell;
mod text;

#[cfg(test)]
mod properties;

pub(crate) use catalogue::{FILE_VARIABLES, is_requirements_name};
pub(crate) use change::DependencyChange;
pub use change::dependency_changes;
pub use closure::{DependencyClosure, ProjectFile, ProjectView};
pub use command::script_dependencies;
pub(crate) use command::{CommandDependencies, argv_dependencies};
pub(crate) use launcher::{PREFIX_WORDS, RUNNER_TOOLS, is_versioned, program_name, wrapper};
pub(crate) use listing::DependencyLine;
pub use listing::listing;
pub(crate) use script::{Script, ScriptLanguage};
pub(crate) use shell::{ShellCommand, commands};

/// The format of a dependency file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DependencyFormat {
    /// A pip requirements or constraints file: comments are ignored, `-r` and `-c` are followed.
    PipRequirements,
    /// Any other file: every byte matters.
    Verbatim,
}

/// A dependency file that a command reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DependencyFile {
    /// The path, relative to the working directory unless it starts with `/`.
    pub(crate) path: String,
    /// The format in which it is read.
    pub(crate) format: DependencyFormat,
    /// The directory in which the command runs, relative like the path. Local projects in a requirement file are
    /// relative to it.
    pub(crate) directory: String,
}

impl DependencyFile {
    /// Creates a pip requirements or constraints file that is used in the initial directory.
    pub fn requirements(path: impl Into<String>) -> Self {
        Self { path: path.into(), format: DependencyFormat::PipRequirements, directory: String::new() }
    }

    pub(crate) fn verbatim(path: impl Into<String>) -> Self {
        Self { path: path.into(), format: DependencyFormat::Verbatim, directory: String::new() }
    }
}

/// Removes the credentials and queries of the addresses in a text.
pub(crate) fn without_secrets(text: &str) -> String {
    address::without_secrets(text, false)
}

/// Joins two paths; an absolute `path` is returned as it is.
fn join(directory: &str, path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    match directory {
        _ if path.starts_with('/') => path.to_owned(),
        "" | "." => path.to_owned(),
        directory => format!("{}/{path}", directory.trim_end_matches('/')),
    }
}
