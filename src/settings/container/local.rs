//! Makes container options independent of this machine's files and working directory, so that an entry can store them.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::{CONTAINER_OPTIONS, ContainerOptions};
use crate::error_chain::chain;
use crate::settings::SettingsError;

/// Replaces files by their contents and relative paths by absolute ones below `directory`.
pub(super) fn self_contained(
    options: &ContainerOptions,
    directory: &Path,
) -> Result<ContainerOptions, SettingsError> {
    let mut contained = ContainerOptions::default();
    for option in CONTAINER_OPTIONS {
        for value in options.get(option.name) {
            let failed = |reason: String| SettingsError::flag(option.name, reason);
            match option.name {
                "env-file" | "label-file" => {
                    let other = if option.name == "env-file" { "env" } else { "label" };
                    let lines = read_lines(value, directory).map_err(failed)?;
                    for line in lines {
                        contained.add(other, line);
                    }
                }
                name => contained.add(name, with_absolute_paths(name, value, directory).map_err(failed)?),
            }
        }
    }
    Ok(contained)
}

fn with_absolute_paths(name: &str, value: &str, directory: &Path) -> Result<String, String> {
    match name {
        "volume" => match value.split_once(':') {
            Some((source, rest)) if is_relative(source) => {
                Ok(format!("{}:{rest}", absolute_path(source, directory)?))
            }
            _ => Ok(value.to_owned()),
        },
        "mount" => mount_with_absolute_source(value, directory),
        "security-opt" => match value.split_once('=') {
            Some(("seccomp", profile)) if !matches!(profile, "unconfined" | "builtin") => {
                Ok(format!("seccomp={}", read_seccomp_profile(profile, directory)?))
            }
            _ => Ok(value.to_owned()),
        },
        _ => Ok(value.to_owned()),
    }
}

/// Returns `true` for relative paths; anything else is absolute or the name of a volume.
fn is_relative(source: &str) -> bool {
    matches!(source, "." | "..") || source.starts_with("./") || source.starts_with("../")
}

fn absolute_path(path: &str, directory: &Path) -> Result<String, String> {
    let path = std::path::absolute(directory.join(path)).ok();
    let path: Option<PathBuf> = path.map(|path| path.components().collect());
    path.and_then(|path| path.to_str().map(str::to_owned))
        .ok_or_else(|| "the working directory's path is not UTF-8".to_owned())
}

fn mount_with_absolute_source(value: &str, directory: &Path) -> Result<String, String> {
    let located = |field: &str| match field.split_once('=') {
        Some((name @ ("source" | "src"), source)) if is_relative(source) => {
            Ok(format!("{name}={}", absolute_path(source, directory)?))
        }
        _ => Ok(field.to_owned()),
    };
    Ok(value.split(',').map(located).collect::<Result<Vec<_>, String>>()?.join(","))
}

/// Returns a seccomp profile on one line; `profile` is a file or the JSON itself.
fn read_seccomp_profile(profile: &str, directory: &Path) -> Result<String, String> {
    let text = if profile.starts_with('{') { profile.to_owned() } else { read_file(profile, directory)? };
    let json: Value = serde_json::from_str(&text)
        .map_err(|error| format!("the seccomp profile {profile} is not JSON: {error}"))?;
    Ok(json.to_string())
}

/// Returns the lines of a file that are neither empty nor comments.
fn read_lines(file: &str, directory: &Path) -> Result<Vec<String>, String> {
    let text = read_file(file, directory)?;
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned);
    let lines: Vec<String> = lines.collect();
    let has_blank = |line: &&String| {
        line.split('=').next().is_none_or(|name| name.is_empty() || name.contains(char::is_whitespace))
    };
    match lines.iter().find(has_blank) {
        Some(line) => {
            let name = line.split('=').next().unwrap_or_default();
            Err(format!("{file}: `{name}` is not a valid name"))
        }
        None => Ok(lines),
    }
}

fn read_file(file: &str, directory: &Path) -> Result<String, String> {
    let path = directory.join(file);
    std::fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {}: {}", path.display(), chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn self_contained_options_do_not_depend_on_files() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        std::fs::write(directory.join("vars"), "\u{feff}# comment\n\n A=1 2\nB\nC=\n").unwrap();
        std::fs::write(directory.join("labels"), "x=1\n").unwrap();
        std::fs::write(directory.join("profile.json"), "{\n  \"defaultAction\": \"SCMP_ACT_ALLOW\"\n}\n")
            .unwrap();
        let mut given = ContainerOptions::default();
        for (name, value) in [
            ("env-file", "vars"),
            ("env", "A=typed"),
            ("label-file", "labels"),
            ("volume", "./data:/data:ro"),
            ("volume", "..:/up"),
            ("volume", "cache:/cache"),
            ("volume", "/scratch"),
            ("mount", "type=bind,src=.,dst=/x"),
            ("security-opt", "seccomp=profile.json"),
            ("security-opt", "seccomp=unconfined"),
        ] {
            given.add(name, value.to_owned());
        }
        let contained = self_contained(&given, directory).unwrap();
        assert_eq!(contained.get("env"), ["A=1 2", "B", "C=", "A=typed"]);
        assert_eq!(contained.get("label"), ["x=1"]);
        assert_eq!((contained.get("env-file").len(), contained.get("label-file").len()), (0, 0));
        let here = directory.to_str().unwrap();
        assert_eq!(
            contained.get("volume"),
            [&*format!("{here}/data:/data:ro"), &format!("{here}/..:/up"), "cache:/cache", "/scratch"]
        );
        assert_eq!(contained.get("mount"), [format!("type=bind,src={here},dst=/x")]);
        assert_eq!(
            contained.get("security-opt"),
            ["seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}", "seccomp=unconfined"]
        );
        assert_eq!(
            self_contained(&contained, Path::new("/")).unwrap(),
            contained,
            "self-contained options are not changed again"
        );
    }

    #[test]
    fn the_error_for_a_file_that_cannot_be_used_names_the_option_or_the_reason() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("vars"), "A B=1\n").unwrap();
        std::fs::write(directory.path().join("text"), "no json").unwrap();
        for (name, value, reason) in [
            ("env-file", "absent", "--env-file: cannot read"),
            ("env-file", "vars", "`A B` is not a valid name"),
            ("label-file", "absent", "No such file"),
            ("security-opt", "seccomp=absent", "--security-opt: cannot read"),
            ("security-opt", "seccomp=text", "is not JSON"),
        ] {
            let mut given = ContainerOptions::default();
            given.add(name, value.to_owned());
            let error = self_contained(&given, directory.path()).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
