//! Checks that the links in the Markdown documents of the root directory and of `docs` lead to existing files and
//! headings.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Returns the project's Markdown documents.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_document = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    [root.to_owned(), root.join("docs")]
        .iter()
        .flat_map(|directory| std::fs::read_dir(directory).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(is_document)
        .collect()
}

/// Returns the lines of a document that are not in code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Returns the anchors of a document's headings, as GitHub and GitLab derive them.
fn anchors(text: &str) -> BTreeSet<String> {
    let anchor = |heading: &str| {
        let lower = heading.to_lowercase();
        let allowed = lower.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        allowed.collect::<String>().replace(' ', "-")
    };
    prose(text)
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect()
}

/// Returns the targets of a document's links.
fn links(text: &str) -> Vec<String> {
    let target = |rest: &str| Some(rest.split_once(')')?.0.to_owned());
    prose(text).flat_map(|line| line.split("](").skip(1)).filter_map(target).collect()
}

#[test]
fn links_lead_to_existing_files_and_headings() {
    let mut checked = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in links(&text).iter().filter(|link| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link} does not exist", document.display());
            if !anchor.is_empty() {
                let headings = anchors(&std::fs::read_to_string(&target).unwrap());
                assert!(headings.contains(anchor), "{}: no heading {link}", document.display());
            }
            checked += 1;
        }
    }
    assert!(checked > 15, "only {checked} links were found");
}
