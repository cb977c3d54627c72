//! Tests of which entries count for the sources of a build, and under which names.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::{SelectedEntries, Shape, select};
use crate::dockerfile::{ContextPaths, ContextSelector};

/// The entries of a context. Directories end in a slash, and links contain an arrow.
const TREE: &[&str] = &[
    "Dockerfile",
    "a.txt",
    "b.txt",
    "b-dir/",
    "b-dir/x",
    "dir/",
    "dir/empty/",
    "dir/link -> ../a.txt",
    "dir/sub/",
    "dir/sub/x",
    "dir/sub/y.md",
    "dir/x",
    "dirlink -> dir",
    "outward -> ../../../dir/sub",
    "dangling -> nowhere",
    "filelink -> a.txt",
    "links/",
    "links/one -> /dir/sub",
    "links/two.txt -> ../b.txt",
    "other/",
    "other/only",
];

fn entry(line: &str) -> (&str, Shape<'_>) {
    match (line.split_once(" -> "), line.strip_suffix('/')) {
        (Some((path, target)), _) => (path, Shape::Link(target)),
        (None, Some(directory)) => (directory, Shape::Directory),
        (None, None) => (line, Shape::Other),
    }
}

/// Parses the words of a source, including `--parents` and `--exclude=…`.
fn paths(source: &str) -> ContextPaths {
    let (flags, sources): (Vec<&str>, Vec<&str>) = source.split(' ').partition(|word| word.starts_with("--"));
    let exclude = flags.iter().filter_map(|flag| flag.strip_prefix("--exclude=")).map(str::to_owned);
    let exclude: Vec<String> = exclude.collect();
    let parents = flags.contains(&"--parents");
    let text = format!(
        "FROM scratch\nCOPY {}{} {} /\n",
        if parents { "--parents " } else { "" },
        exclude.iter().map(|pattern| format!("--exclude={pattern}")).collect::<Vec<_>>().join(" "),
        sources.join(" ")
    );
    let dockerfile = crate::dockerfile::Dockerfile::parse(&text).unwrap();
    dockerfile.resolve(&crate::dockerfile::Options::default()).unwrap().context
}

/// Returns the entries of `tree` that count, as `name` or, if the path is different, as `name=path`.
fn counted(selected: &SelectedEntries, tree: &[&str]) -> Vec<String> {
    let paths = tree.iter().map(|line| entry(line).0);
    let mut counted: Vec<String> = paths
        .flat_map(|path| {
            let show =
                move |name: &str| if name == path { name.to_owned() } else { format!("{name}={path}") };
            selected.names(path).map(show).collect::<Vec<_>>()
        })
        .collect();
    counted.sort();
    counted
}

#[test]
fn only_the_entries_of_a_source_count() {
    let table: &[(&str, &[&str])] = &[
        ("a.txt", &["a.txt"]),
        ("./dir/../a.txt", &["a.txt"]),
        ("absent", &[]),
        ("a.txt/x", &[]),
        ("dir/sub/", &["dir/sub", "dir/sub/x", "dir/sub/y.md"]),
        ("dir/empty", &["dir/empty"]),
        ("dir", &["dir", "dir/empty", "dir/link", "dir/sub", "dir/sub/x", "dir/sub/y.md", "dir/x"]),
        // Wildcards do not match a slash.
        ("*.txt", &["a.txt", "b.txt"]),
        ("?.txt", &["a.txt", "b.txt"]),
        (
            "[b-z]*",
            &[
                "b-dir",
                "b-dir/x",
                "b.txt",
                "dir",
                "dir/empty",
                "dir/link",
                "dir/sub",
                "dir/sub/x",
                "dir/sub/y.md",
                "dir/x",
                "dirlink/empty=dir/empty",
                "dirlink/link=dir/link",
                "dirlink/sub/x=dir/sub/x",
                "dirlink/sub/y.md=dir/sub/y.md",
                "dirlink/sub=dir/sub",
                "dirlink/x=dir/x",
                "dirlink=dir",
                "filelink=a.txt",
                "links",
                "links/one",
                "links/two.txt",
                "other",
                "other/only",
                "outward/x=dir/sub/x",
                "outward/y.md=dir/sub/y.md",
                "outward=dir/sub",
            ],
        ),
        ("*/x", &["b-dir/x", "dir/x"]),
        ("dir/s*/x", &["dir/s*/x=dir/sub/x"]),
        ("*/only", &["*/only=other/only"]),
        (
            "*/o*",
            &["links/one/x=dir/sub/x", "links/one/y.md=dir/sub/y.md", "links/one=dir/sub", "other/only"],
        ),
        ("*/sub", &["dir/sub", "dir/sub/x", "dir/sub/y.md"]),
        ("*/empty", &["*/empty=dir/empty"]),
        ("*.none", &[]),
        ("*/*/x", &["*/*/x=dir/sub/x"]),
        // Links on the way and at the end are followed; those inside a directory are not.
        ("filelink", &["filelink=a.txt"]),
        ("dirlink/sub/x", &["dirlink/sub/x=dir/sub/x"]),
        ("outward", &["outward/x=dir/sub/x", "outward/y.md=dir/sub/y.md", "outward=dir/sub"]),
        ("dangling", &[]),
        ("dirlink/*.txt", &[]),
        ("dirlink/s*", &["dirlink/sub/x=dir/sub/x", "dirlink/sub/y.md=dir/sub/y.md", "dirlink/sub=dir/sub"]),
        (
            "links/*",
            &[
                "links/one/x=dir/sub/x",
                "links/one/y.md=dir/sub/y.md",
                "links/one=dir/sub",
                "links/two.txt=b.txt",
            ],
        ),
        (
            "dir/link dir",
            &[
                "dir",
                "dir/empty",
                "dir/link",
                "dir/link/.=a.txt",
                "dir/sub",
                "dir/sub/x",
                "dir/sub/y.md",
                "dir/x",
            ],
        ),
        // Excluded patterns are relative to the source.
        ("--exclude=*.md dir/sub", &["dir/sub", "dir/sub/x"]),
        ("--exclude=x dir", &["dir", "dir/empty", "dir/link", "dir/sub", "dir/sub/x", "dir/sub/y.md"]),
        ("--exclude=**/x dir", &["dir", "dir/empty", "dir/link", "dir/sub", "dir/sub/y.md"]),
        (
            "--exclude=sub --exclude=!sub/x dir",
            &["dir", "dir/empty", "dir/link", "dir/sub", "dir/sub/x", "dir/x"],
        ),
        ("--exclude=a.txt a.txt", &["a.txt"]),
        ("--exclude=y.md outward", &["outward/x=dir/sub/x", "outward=dir/sub"]),
        ("--exclude=x */sub", &["dir/sub", "dir/sub/y.md"]),
        ("--exclude=d* --exclude=[blo]* --exclude=filelink .", &["Dockerfile", "a.txt"]),
        // Parents count from the pivot on.
        ("--parents dir/sub/x", &["dir", "dir/sub", "dir/sub/x"]),
        ("--parents ./dir/./sub/x", &["dir", "dir/sub", "dir/sub/x"]),
        ("--parents dir/sub/./x", &["dir/sub", "dir/sub/x"]),
        ("--parents **/*.md", &["dir", "dir/sub", "dir/sub/y.md"]),
        // The directory before the pivot is copied, whatever it contains.
        ("--parents b*/./x", &["b-dir", "b-dir/x", "b.txt"]),
        ("--parents dirlink/./x", &["dirlink/x=dir/x", "dirlink=dir"]),
        ("--parents --exclude=**/x dir/sub", &["dir", "dir/sub", "dir/sub/y.md"]),
    ];
    for (source, expected) in table {
        let selected = select(TREE.iter().map(|line| entry(line)), &paths(source));
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(counted(&selected, TREE), expected, "{source}");
    }
}

#[test]
fn everything_counts_if_the_selection_is_unknown() {
    let all: Vec<String> = {
        let mut paths: Vec<String> = TREE.iter().map(|line| entry(line).0.to_owned()).collect();
        paths.sort();
        paths
    };
    for source in [".", "[a", "--exclude=[ dir", "a.txt /"] {
        let selected = select(TREE.iter().map(|line| entry(line)), &paths(source));
        assert_eq!(counted(&selected, TREE), all, "{source}");
        assert!(selected.contains("anything"));
    }
    let odd = ["file", "file/below", "x"];
    let selected = select(odd.iter().map(|line| entry(line)), &paths("x"));
    assert_eq!(counted(&selected, &odd), ["file", "file/below", "x"]);
}

#[test]
fn directories_missing_from_an_archive_are_implied() {
    let archived = ["dir/sub/x", "other"];
    let selected = select(archived.iter().map(|line| entry(line)), &paths("dir"));
    assert!(selected.contains("dir/sub/x") && !selected.contains("other"));
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "ab", "a-b"])
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(name(), 1..4).prop_map(|names| names.join("/"))
}

/// Generates the lines of a tree: files and links with their parents.
fn tree() -> impl Strategy<Value = Vec<String>> {
    let target = prop_oneof![path(), path().prop_map(|path| format!("../{path}")), Just(".".to_owned())];
    let line = (path(), prop::option::weighted(0.3, target));
    prop::collection::vec(line, 0..12).prop_map(|lines| {
        let mut leaves: BTreeMap<String, Option<String>> = BTreeMap::new();
        let mut directories = BTreeSet::new();
        for (path, target) in lines {
            let parents: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
            if !directories.contains(&path) && !parents.iter().any(|parent| leaves.contains_key(*parent)) {
                directories.extend(parents.into_iter().map(str::to_owned));
                leaves.insert(path, target);
            }
        }
        let leaves = leaves.into_iter().map(|(path, target)| match target {
            Some(target) => format!("{path} -> {target}"),
            None => path,
        });
        leaves.chain(directories.iter().map(|directory| format!("{directory}/"))).collect()
    })
}

fn selectors() -> impl Strategy<Value = ContextPaths> {
    let part = prop::sample::select(vec!["a", "b", "ab", "*", "a*", "?", "[ab]"]);
    let path = prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"));
    let filters = (prop::option::weighted(0.2, name()), prop::option::weighted(0.3, name()));
    let selector = (path, filters).prop_map(|(path, (include, exclude))| ContextSelector {
        is_pattern: path.contains(['*', '?', '[']),
        path,
        include: include.map(str::to_owned),
        exclude: exclude.map(str::to_owned).into_iter().collect(),
    });
    prop::collection::vec(selector, 1..4).prop_map(ContextPaths::from_iter)
}

fn of(tree: &[String], paths: &ContextPaths) -> Vec<String> {
    let lines: Vec<&str> = tree.iter().map(String::as_str).collect();
    counted(&select(lines.iter().map(|line| entry(line)), paths), &lines)
}

proptest! {
    #[test]
    fn an_entry_that_no_source_names_never_changes_what_counts(
        tree in tree(), paths in selectors(), added in prop::sample::select(vec!["aa", "c", "c-"]),
    ) {
        let mut more = tree.clone();
        more.push(added.to_owned());
        let after = of(&more, &paths);
        if !after.iter().any(|name| name == added || name.ends_with(&format!("={added}"))) {
            prop_assert_eq!(after, of(&tree, &paths));
        }
    }

    #[test]
    fn removing_entries_that_do_not_count_changes_nothing(tree in tree(), paths in selectors()) {
        let lines: Vec<&str> = tree.iter().map(String::as_str).collect();
        let selected = select(lines.iter().map(|line| entry(line)), &paths);
        // Links on the way do not count, but lead to entries that count.
        let kept = |line: &&String| line.contains(" -> ") || selected.contains(entry(line).0);
        let kept: Vec<String> = tree.iter().filter(kept).cloned().collect();
        prop_assert_eq!(of(&kept, &paths), counted(&selected, &lines));
    }

    #[test]
    fn the_order_of_entries_never_changes_what_counts(
        tree in tree(), paths in selectors(), turn in any::<prop::sample::Index>(),
    ) {
        let mut turned = tree.clone();
        if !turned.is_empty() {
            let middle = turn.index(turned.len());
            turned.rotate_left(middle);
            turned[..middle].reverse();
        }
        prop_assert_eq!(of(&turned, &paths), of(&tree, &paths));
    }
}
