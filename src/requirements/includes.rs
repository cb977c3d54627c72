//! Finds the files that a dependency file refers to: other requirement files, local projects, and the requirement lists
//! of a project's metadata.
//!
//! When in doubt, a file is included: a file that does not exist only extends the list of missing files.

use super::catalogue::is_requirements_name;
use super::pip::{self, BaseDirectories, Positional};
use super::{DependencyFile, join, text};

/// Returns the files that a requirement file's logical lines name. Paths are relative to `places`.
pub(super) fn lines_includes(lines: &[String], places: BaseDirectories<'_>) -> Vec<DependencyFile> {
    lines.iter().flat_map(|line| line_includes(line, places)).collect()
}

fn line_includes(line: &str, places: BaseDirectories<'_>) -> Vec<DependencyFile> {
    let (requirement, options) = text::parts(line);
    if requirement.is_empty() {
        return pip::argument_files(&options, places, Positional::Packages);
    }
    // After a requirement, pip ignores options that name a file.
    let mut uses = Vec::new();
    pip::add_package(&requirement, places.projects, &mut uses);
    uses
}

/// Returns the files that a file other than a requirement file names. The name of the file determines its format.
pub(super) fn file_includes(directory: &str, name: &str, bytes: &[u8]) -> Vec<DependencyFile> {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    let read: fn(&str, &str) -> Vec<DependencyFile> = match (name, extension) {
        ("pyproject.toml", _) => project_includes,
        ("setup.cfg" | "setup.py", _) => requirement_lists,
        (_, "yml" | "yaml") => environment_includes,
        _ => return Vec::new(),
    };
    std::str::from_utf8(bytes).map(|text| read(text, directory)).unwrap_or_default()
}

/// Returns the files that a `pyproject.toml` names: lists that setuptools reads, and local projects
/// (`path = "../lib"`).
fn project_includes(text: &str, directory: &str) -> Vec<DependencyFile> {
    let mut uses = requirement_lists(text, directory);
    for (before, value) in quoted_strings(text) {
        let key = before.trim_end().strip_suffix('=').unwrap_or_default().trim_end();
        let is_path = key.ends_with("path")
            && !key
                .trim_end_matches("path")
                .ends_with(|char: char| char.is_alphanumeric() || "-_".contains(char));
        if is_path && !pip::is_address(value) {
            pip::add_local_project(value, directory, &mut uses);
        }
    }
    uses
}

/// Returns the requirement files that provide a project's metadata, recognised by name.
fn requirement_lists(text: &str, directory: &str) -> Vec<DependencyFile> {
    let quoted = quoted_strings(text).into_iter().map(|(_, value)| value);
    // `setup.cfg` has no quotes: `install_requires = file: requirements.txt, more.txt`.
    let named =
        text.lines().filter_map(|line| line.split_once("file:")).flat_map(|(_, list)| list.split(','));
    let paths = quoted.chain(named.map(str::trim));
    let lists = paths.filter(|path| is_requirements_name(path.rsplit('/').next().unwrap_or(path)));
    lists.map(|path| DependencyFile::requirements(join(directory, path))).collect()
}

/// Returns the files that a conda environment names: the items of its `pip:` list are lines of a requirement file, and
/// pip runs in the directory of the environment file.
fn environment_includes(text: &str, directory: &str) -> Vec<DependencyFile> {
    let items = text.lines().filter_map(|line| line.trim().strip_prefix("- "));
    let items = items.map(|item| item.trim().trim_matches(['"', '\'']).to_owned());
    // Other lists in the file are not lists of packages: keep only items that look like options or paths.
    let items = items.filter(|item| item.starts_with('-') || item.contains("file:") || item.starts_with('.'));
    lines_includes(&items.collect::<Vec<_>>(), BaseDirectories::at(directory))
}

/// Returns the quoted strings of a text, each within one line, with the text before it on that line.
fn quoted_strings(text: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut from = 0;
        while let Some(open) = line[from..].find(['"', '\'']).map(|index| from + index) {
            let quote = &line[open..=open];
            let Some(length) = line[open + 1..].find(quote) else { break };
            found.push((&line[from..open], &line[open + 1..open + 1 + length]));
            from = open + 2 + length;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requirements::DependencyFormat;

    fn shown(uses: Vec<DependencyFile>) -> Vec<String> {
        let shown = |found: DependencyFile| match found.format {
            DependencyFormat::PipRequirements => format!("-r {}", found.path),
            DependencyFormat::Verbatim => found.path,
        };
        // Show only one of the files of a project.
        uses.into_iter().map(shown).filter(|path| !path.contains("setup.")).collect()
    }

    #[test]
    fn a_requirement_line_names_the_files_that_pip_would_open() {
        let table: &[(&str, &[&str])] = &[
            ("-r base.txt", &["-r d/base.txt"]),
            ("--requirem=base.txt", &["-r d/base.txt"]),
            ("-c ../c.txt", &["-r d/../c.txt"]),
            ("-r 'my file.txt'", &["-r d/my file.txt"]),
            ("-r ${DIR}/x.txt", &["-r d/${DIR}/x.txt"]),
            ("-r file:///srv/x.txt", &["-r /srv/x.txt"]),
            ("-r https://host/x.txt", &[]),
            ("-e ./lib[dev]", &["w/lib/pyproject.toml"]),
            ("-e git+https://host/x#egg=x", &[]),
            ("./lib ; python_version > '3'", &["w/lib/pyproject.toml"]),
            ("lib @ file:///srv/lib", &["/srv/lib/pyproject.toml"]),
            ("lib[a,b]@./lib-1.0-py3-none-any.whl --hash=sha256:a", &["w/lib-1.0-py3-none-any.whl"]),
            ("wheels/x-1.0.whl", &["w/wheels/x-1.0.whl"]),
            ("flask==3.0 --hash=sha256:a", &[]),
            ("flask -r other.txt", &[]),
            ("--index-url https://host/simple", &[]),
            ("--find-links ./wheels", &[]),
            ("-r pylock.toml", &["d/pylock.toml"]),
        ];
        for (line, files) in table {
            assert_eq!(
                &shown(line_includes(line, BaseDirectories { files: "d", projects: "w" })),
                files,
                "{line}"
            );
        }
    }

    #[test]
    fn project_metadata_names_requirement_lists_and_local_projects() {
        let table: &[(&str, &str, &[&str])] = &[
            (
                "a/pyproject.toml",
                "[tool.setuptools.dynamic]\ndependencies = { file = [\"requirements.in\", 'reqs/dev-requirements.txt'] }\n",
                &["-r a/requirements.in", "-r a/reqs/dev-requirements.txt"],
            ),
            (
                "pyproject.toml",
                "[tool.uv.sources]\nx = { path = \"../x\", editable = true }\n",
                &["../x/pyproject.toml"],
            ),
            ("pyproject.toml", "[tool.coverage]\nsource_path = \"src\"\nname = \"x\"\n", &[]),
            (
                "setup.cfg",
                "[options]\ninstall_requires = file: requirements.txt, extra-reqs.txt\n",
                &["-r requirements.txt", "-r extra-reqs.txt"],
            ),
            (
                "s/setup.py",
                "setup(install_requires=open('requirements.txt').read())",
                &["-r s/requirements.txt"],
            ),
            (
                "env/environment.yml",
                "dependencies:\n  - python=3.11\n  - pip:\n    - -r base.txt\n    - \"-e ../lib\"\n    - flask==3\n",
                &["-r env/base.txt", "env/../lib/pyproject.toml"],
            ),
            ("uv.lock", "path = \"x\"", &[]),
        ];
        for (path, text, files) in table {
            let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
            assert_eq!(&shown(file_includes(directory, name, text.as_bytes())), files, "{path}");
        }
    }
}
