//! Dependency files: which ones a command line names, and what they say.
//!
//! Pure: files are read through a function that the caller gives.
//!
//! ```text
//!  RUN text ─▶ shell    simple commands, quotes removed
//!           ─▶ command  pip, uv, poetry, npm, …       ─▶ FileUse: path, format
//!  FileUse  ─▶ closure  follows -r, -c and local projects ─▶ canonical contents
//!  content  ─▶ listing  what it pins ─▶ changes: what differs between two
//! ```
//!
//! Invariants: detection errs on the side of naming a file. A path with a
//! shell variable in it is named as it stands (`$REQS/base.txt`): the caller
//! may know the variable. Nothing here tells whether a package changes; it
//! only says which bytes decide that.

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
pub use change::{Change, changes};
pub use closure::{Closure, Found, View};
pub use command::{Named, installs, named_by};
pub(crate) use command::{installs_argv, named_by_argv, read_script};
pub(crate) use launcher::{PREFIXES, RUNNERS, is_versioned, program, wrapper};
pub use listing::{Line, listing};
pub(crate) use script::{Language, Script};
pub(crate) use shell::{Command, commands};

/// How a dependency file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// A pip requirements or constraints file: comments do not count, `-r`
    /// and `-c` are followed.
    PipRequirements,
    /// Anything else: every byte counts.
    Verbatim,
}

/// A dependency file that a command reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileUse {
    /// The path, relative to the working directory unless it starts with `/`.
    pub path: String,
    /// How it is read.
    pub format: Format,
    /// Where the command runs, relative as the path is: local projects that a
    /// requirement file names are found from there.
    pub directory: String,
}

impl FileUse {
    /// A pip requirements or constraints file.
    pub fn requirements(path: impl Into<String>) -> Self {
        Self { path: path.into(), format: Format::PipRequirements, directory: String::new() }
    }

    /// A file whose every byte counts.
    pub(crate) fn verbatim(path: impl Into<String>) -> Self {
        Self { path: path.into(), format: Format::Verbatim, directory: String::new() }
    }
}

/// A text with the credentials and queries of the addresses in it removed.
pub(crate) fn without_secrets(text: &str) -> String {
    address::without_secrets(text, false)
}

/// Joins two paths; an absolute `path` stands alone.
fn join(directory: &str, path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    match directory {
        _ if path.starts_with('/') => path.to_owned(),
        "" | "." => path.to_owned(),
        directory => format!("{}/{path}", directory.trim_end_matches('/')),
    }
}
