//! Dependency files: first a shell command, then files, each behind a line `=== path`.
#![no_main]

use std::collections::BTreeMap;

use larder::requirements::{FileUse, closure, installs, named_by};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut parts = text.split("\n=== ");
    let command = parts.next().unwrap_or_default();
    let files: BTreeMap<String, Vec<u8>> = parts
        .filter_map(|part| part.split_once('\n'))
        .map(|(path, content)| (path.to_owned(), content.as_bytes().to_vec()))
        .collect();
    let mut roots = named_by(command);
    assert_eq!(roots, named_by(command));
    assert_eq!(installs(command), installs(command));
    roots.extend(files.keys().take(1).map(FileUse::requirements));

    let first = closure(&roots, &|path| files.get(path).cloned());
    for path in first.files.keys() {
        assert!(files.contains_key(path), "{path} comes from nowhere");
    }
    // Canonical contents are canonical: they include the same files and read the same.
    let second = closure(&roots, &|path| first.files.get(path).cloned());
    assert_eq!(first, second);
});
