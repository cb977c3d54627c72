//! Reads pip command lines: `-r`, `-c`, `-e` and local projects.
//!
//! The same rules apply to `uv pip`, `pip-sync` and `pip-compile`.

use super::catalogue::is_pylock;
use super::{DependencyFile, join};

/// The files that determine the dependencies of a local project.
pub(super) const PROJECT_FILES: [&str; 3] = ["pyproject.toml", "setup.py", "setup.cfg"];

/// Options whose value is not a dependency file.
#[rustfmt::skip]
const VALUE_OPTIONS: [&str; 42] = [
    "index-url", "extra-index-url", "default-index", "index", "find-links", "target", "prefix", "root",
    "python", "platform", "python-platform", "python-version", "implementation", "abi", "src", "build",
    "cache-dir", "proxy", "timeout", "retries", "trusted-host", "allow-insecure-host", "cert",
    "client-cert", "log", "no-binary", "only-binary", "progress-bar", "upgrade-strategy", "upgrade-package",
    "global-option", "config-settings", "config-setting", "report", "exists-action", "use-feature",
    "index-strategy", "keyring-provider", "extra", "dest", "wheel-dir", "output-file",
];

/// The directories to which paths are relative.
#[derive(Clone, Copy)]
pub(super) struct BaseDirectories<'a> {
    /// For requirement files: the working directory, or the directory of the including file.
    pub(super) files: &'a str,
    /// For local projects and archives: the working directory.
    pub(super) projects: &'a str,
}

impl<'a> BaseDirectories<'a> {
    /// As on a command line, where all paths are relative to one directory.
    pub(super) fn at(directory: &'a str) -> Self {
        Self { files: directory, projects: directory }
    }
}

/// Returns the files that the arguments after the subcommand name.
pub(super) fn argument_files(
    arguments: &[String],
    places: BaseDirectories<'_>,
    positional: Positional,
) -> Vec<DependencyFile> {
    let mut uses = Vec::new();
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        if let Some(long) = argument.strip_prefix("--") {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let mut value = || value.or_else(|| arguments.next()).unwrap_or_default();
            match full_option_name(name) {
                "requirement" | "requirements" | "constraint" | "constraints" | "override" | "overrides"
                | "build-constraint" | "build-constraints" | "exclude" | "excludes" => {
                    add_requirement_file(value(), places.files, &mut uses);
                }
                "editable" => add_local_project(value(), places.projects, &mut uses),
                "requirements-from-script" => {
                    uses.push(DependencyFile::verbatim(join(places.files, value())));
                }
                "group" => add_dependency_group(value(), places.projects, &mut uses),
                _ if VALUE_OPTIONS.contains(&name) => _ = value(),
                _ => {}
            }
        } else if let Some(short) = argument.strip_prefix('-').filter(|short| !short.is_empty()) {
            // Short options can be combined: `-qr reqs.txt`, `-rreqs.txt`.
            for (index, option) in short.char_indices() {
                let rest = &short[index + option.len_utf8()..];
                let rest = rest.strip_prefix('=').unwrap_or(rest);
                let mut value = || if rest.is_empty() { arguments.next().unwrap_or_default() } else { rest };
                match option {
                    'r' | 'c' | 'b' => add_requirement_file(value(), places.files, &mut uses),
                    'e' => add_local_project(value(), places.projects, &mut uses),
                    'i' | 'f' | 't' | 'd' | 'w' | 'C' | 'p' | 'o' | 'P' => _ = value(),
                    _ => continue,
                }
                break;
            }
        } else {
            match positional {
                Positional::Requirements => add_requirement_file(argument, places.files, &mut uses),
                Positional::Packages => add_package(argument, places.projects, &mut uses),
            }
        }
    }
    uses
}

/// Returns the full name of an option whose value is a file: pip accepts unique prefixes.
fn full_option_name(name: &str) -> &str {
    let shortest = [("requirement", "requirem"), ("constraint", "const"), ("editable", "ed")];
    let full = shortest.iter().find(|(full, least)| full.starts_with(name) && name.len() >= least.len());
    full.map_or(name, |(full, _)| full)
}

/// Adds the file of a dependency group of a project (PEP 735): `NAME` or `PATH:NAME`.
fn add_dependency_group(value: &str, directory: &str, uses: &mut Vec<DependencyFile>) {
    let path = value.rsplit_once(':').map_or("", |(path, _)| path);
    let path = if path.is_empty() { PROJECT_FILES[0] } else { path };
    uses.push(DependencyFile::verbatim(join(directory, path)));
}

/// The meaning of positional arguments.
#[derive(Clone, Copy)]
pub(super) enum Positional {
    Packages,
    Requirements,
}

fn add_requirement_file(path: &str, directory: &str, uses: &mut Vec<DependencyFile>) {
    let path = local_path(path);
    if is_address(path) || matches!(path, "" | "-") || path.starts_with("/dev/") {
        return;
    }
    // The argument may select extras of a lock file: `pylock.toml[dev]`.
    let bare = path.split_once('[').map_or(path, |(bare, _)| bare);
    let name = bare.rsplit('/').next().unwrap_or(bare);
    // `uv pip` and pip-compile accept project files as requirements.
    uses.push(if PROJECT_FILES.contains(&name) || is_pylock(name) {
        DependencyFile::verbatim(join(directory, bare))
    } else {
        DependencyFile::requirements(join(directory, path))
    });
}

/// Returns the path of a `file:` address; any other text unchanged.
fn local_path(path: &str) -> &str {
    let path = path.strip_prefix("file:").unwrap_or(path);
    path.strip_prefix("//localhost").or_else(|| path.strip_prefix("//")).unwrap_or(path)
}

/// Adds the local files of a positional argument or of the requirement on a line.
pub(super) fn add_package(argument: &str, directory: &str, uses: &mut Vec<DependencyFile>) {
    let path = argument.split_once('@').map_or(argument, |(name, address)| {
        let is_name = name.chars().all(|char| char.is_ascii_alphanumeric() || "-_.[], ".contains(char));
        if is_name { address } else { argument }
    });
    let path = path.split_once(';').map_or(path, |(path, _)| path).trim();
    if is_address(path) {
        return;
    }
    let path = local_path(path);
    let path = path.split_once('#').map_or(path, |(path, _)| path);
    let bare = path.split_once('[').map_or(path, |(bare, _)| bare);
    let archive = [".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz"];
    if archive.iter().any(|suffix| bare.ends_with(suffix)) {
        uses.push(DependencyFile::verbatim(join(directory, bare)));
    } else if path.starts_with('.') || path.contains('/') {
        add_local_project(path, directory, uses);
    }
}

/// Adds the files of a local project, possibly with extras: `.`, `./lib[dev]`.
pub(super) fn add_local_project(path: &str, directory: &str, uses: &mut Vec<DependencyFile>) {
    if is_address(path) {
        return;
    }
    let path = local_path(path);
    let path = path.split_once('#').map_or(path, |(path, _)| path);
    let path = path.split_once('[').map_or(path, |(path, _)| path).trim_end_matches('/');
    let project = join(directory, if path.is_empty() { "." } else { path });
    let project = if project == "." { "" } else { project.strip_suffix("/.").unwrap_or(&project) };
    uses.extend(PROJECT_FILES.iter().map(|file| DependencyFile::verbatim(join(project, file))));
}

pub(super) fn is_address(path: &str) -> bool {
    path.contains("://") && !path.starts_with("file://")
        || path.starts_with("git+")
        || path.starts_with("git@")
}
