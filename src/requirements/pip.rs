//! What a pip command line reads: `-r`, `-c`, `-e` and local projects.
//!
//! The same rules serve `uv pip`, `pip-sync` and `pip-compile`.

use super::{FileUse, join};

/// The files that decide what installing a local project installs.
pub(super) const PROJECT_FILES: [&str; 3] = ["pyproject.toml", "setup.py", "setup.cfg"];

/// Options that take a value which is no dependency file.
const VALUED: [&str; 42] = [
    "--index-url",
    "--extra-index-url",
    "--default-index",
    "--index",
    "--find-links",
    "--target",
    "--prefix",
    "--root",
    "--python",
    "--platform",
    "--python-platform",
    "--python-version",
    "--implementation",
    "--abi",
    "--src",
    "--build",
    "--cache-dir",
    "--proxy",
    "--timeout",
    "--retries",
    "--trusted-host",
    "--allow-insecure-host",
    "--cert",
    "--client-cert",
    "--log",
    "--no-binary",
    "--only-binary",
    "--progress-bar",
    "--upgrade-strategy",
    "--upgrade-package",
    "--global-option",
    "--config-settings",
    "--config-setting",
    "--report",
    "--exists-action",
    "--use-feature",
    "--index-strategy",
    "--keyring-provider",
    "--extra",
    "--dest",
    "--wheel-dir",
    "--output-file",
];

/// Names the files of one command line, its program and verb taken off.
/// `positional` says what a bare argument is.
pub(super) fn named(arguments: &[String], directory: &str, positional: Positional) -> Vec<FileUse> {
    let mut uses = Vec::new();
    let mut arguments = arguments.iter().map(String::as_str);
    while let Some(argument) = arguments.next() {
        if let Some(long) = argument.strip_prefix("--") {
            let (name, value) =
                long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let mut value = || value.or_else(|| arguments.next()).unwrap_or_default();
            match name {
                "requirement" | "requirements" | "constraint" | "constraints" | "override" | "overrides"
                | "build-constraint" | "build-constraints" | "exclude" | "excludes" => {
                    requirement(value(), directory, &mut uses);
                }
                "editable" => local(value(), directory, &mut uses),
                "group" => {
                    value();
                    local(".", directory, &mut uses);
                }
                _ if VALUED.contains(&format!("--{name}").as_str()) => {
                    value();
                }
                _ => {}
            }
        } else if let Some(short) = argument.strip_prefix('-').filter(|short| !short.is_empty()) {
            // Short options can be run together: `-qr reqs.txt`, `-rreqs.txt`.
            for (index, option) in short.char_indices() {
                let rest = &short[index + option.len_utf8()..];
                let rest = rest.strip_prefix('=').unwrap_or(rest);
                let mut value = || if rest.is_empty() { arguments.next().unwrap_or_default() } else { rest };
                match option {
                    'r' | 'c' | 'b' => requirement(value(), directory, &mut uses),
                    'e' => local(value(), directory, &mut uses),
                    'i' | 'f' | 't' | 'd' | 'w' | 'C' | 'p' | 'o' | 'P' => {
                        value();
                    }
                    _ => continue,
                }
                break;
            }
        } else {
            match positional {
                Positional::Requirements => requirement(argument, directory, &mut uses),
                Positional::Packages => package(argument, directory, &mut uses),
            }
        }
    }
    uses
}

/// What a bare argument of a command is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Positional {
    /// Packages, local projects and archives (`pip install`).
    Packages,
    /// Requirement files (`pip-sync`, `uv pip sync`).
    Requirements,
}

fn requirement(path: &str, directory: &str, uses: &mut Vec<FileUse>) {
    if is_address(path) || path.is_empty() || path == "-" {
        return;
    }
    let path = join(directory, path);
    // `uv pip` and pip-compile take project files where others take requirements.
    let name = path.rsplit('/').next().unwrap_or(&path);
    uses.push(if PROJECT_FILES.contains(&name) {
        FileUse::verbatim(path)
    } else {
        FileUse::requirements(path)
    });
}

fn package(argument: &str, directory: &str, uses: &mut Vec<FileUse>) {
    let path = argument.split_once(" @ ").map_or(argument, |(_, address)| address);
    let path = path.strip_prefix("file://").unwrap_or(path);
    if is_address(path) {
        return;
    }
    let archive = [".whl", ".tar.gz", ".zip", ".tar.bz2"].iter().any(|suffix| path.ends_with(suffix));
    if archive {
        uses.push(FileUse::verbatim(join(directory, path)));
    } else if path.starts_with('.') || path.contains('/') {
        local(path, directory, uses);
    }
}

/// A local project, perhaps with extras: `.`, `./lib[dev]`.
pub(super) fn local(path: &str, directory: &str, uses: &mut Vec<FileUse>) {
    if is_address(path) {
        return;
    }
    let path = path.strip_prefix("file:").unwrap_or(path);
    let path = path.split_once('[').map_or(path, |(path, _)| path).trim_end_matches('/');
    let project = join(directory, if path.is_empty() { "." } else { path });
    uses.extend(PROJECT_FILES.iter().map(|file| {
        let project = project.strip_suffix("/.").unwrap_or(&project);
        FileUse::verbatim(join(if project == "." { "" } else { project }, file))
    }));
}

/// Whether a path is an address: nothing of the context.
pub(super) fn is_address(path: &str) -> bool {
    path.contains("://") && !path.starts_with("file://")
}
