//! Fuzzes dependency files.
//!
//! The input is a shell command, followed by files, each after a line `=== path`.
#![no_main]

use std::collections::BTreeMap;

use larder::requirements::{
    DependencyClosure, DependencyFile, DependencyFormat, ProjectFile, ProjectView, dependency_changes,
    listing, script_dependencies,
};
use libfuzzer_sys::fuzz_target;

/// A project that contains each file at the path by which it is named.
struct Project(BTreeMap<String, Vec<u8>>);

impl ProjectView for Project {
    fn find(&self, path: &str, _: Option<&str>, _: DependencyFormat) -> Vec<ProjectFile> {
        let content = self.0.get(path).cloned();
        let found =
            content.map(|content| ProjectFile { path: path.to_owned(), seen_path: path.to_owned(), content });
        found.into_iter().collect()
    }
}

fn closed(uses: &[DependencyFile], project: &Project) -> DependencyClosure {
    let mut closure = DependencyClosure::default();
    closure.add(uses, project);
    closure
}

fuzz_target!(|text: &str| {
    let mut parts = text.split("\n=== ");
    let command = parts.next().unwrap_or_default();
    let files: BTreeMap<String, Vec<u8>> = parts
        .filter_map(|part| part.split_once('\n'))
        .map(|(path, content)| (path.to_owned(), content.as_bytes().to_vec()))
        .collect();
    let named = script_dependencies(command, "");
    assert_eq!(named, script_dependencies(command, ""));
    let mut uses = named.uses;
    uses.extend(files.keys().take(1).map(DependencyFile::requirements));

    let project = Project(files);
    let first = closed(&uses, &project);
    for (path, content) in &first.files {
        let original = project.0.get(path).unwrap_or_else(|| panic!("{path} is not a file of the project"));
        // A listing has no dependency_changes compared with itself, and any two listings can be compared.
        let (written, kept) = (listing(path, original), listing(path, content));
        assert!(dependency_changes(&kept, &kept).is_empty());
        let _ = dependency_changes(&written, &kept);
    }
    // The closure of canonical contents is the same: they include the same files, and are canonical already.
    let second = closed(&uses, &Project(first.files.clone()));
    assert_eq!(first, second);
});
