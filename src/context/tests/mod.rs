//! Tests of the build context, mostly through its public interface.

mod hash;
mod patterns;
mod select;
mod stat_index;
mod walk;

use std::fs;
use std::path::Path;

/// Writes `files` (path and content) below `root`, and creates their parents.
fn write_files(root: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
