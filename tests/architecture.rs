//! The map of `ARCHITECTURE.md`, held: which room uses which, and what no domain room does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each room and the rooms that it may use; `settings`, `commands` and the crate's root stand above all.
const DOMAIN: [(&str, &[&str]); 25] = [
    ("amounts", &[]),
    ("error_chain", &[]),
    ("screen_text", &[]),
    ("digest", &[]),
    ("platform", &[]),
    ("endpoint", &["digest"]),
    ("registry", &["digest", "platform"]),
    ("context", &["digest", "dockerfile"]),
    ("dockerfile", &["platform"]),
    ("graft", &["context", "dockerfile"]),
    ("requirements", &[]),
    ("key", &["digest", "dockerfile", "requirements"]),
    ("store", &["digest"]),
    ("archive", &["context", "digest", "store"]),
    ("images", &["digest", "registry", "store"]),
    ("notes", &["context", "digest", "key", "store"]),
    ("ledger", &["digest", "key"]),
    ("engine", &["endpoint", "registry"]),
    ("buildkit", &["context", "digest", "endpoint", "platform", "registry"]),
    ("courier", &[]),
    (
        "mounts",
        &[
            "archive",
            "buildkit",
            "context",
            "courier",
            "digest",
            "dockerfile",
            "platform",
            "requirements",
            "store",
        ],
    ),
    (
        "tiers",
        &[
            "buildkit", "digest", "engine", "images", "key", "ledger", "notes", "platform", "registry",
            "store",
        ],
    ),
    ("plan", &["buildkit", "endpoint", "key", "notes", "registry", "store", "tiers"]),
    (
        "pipeline",
        &[
            "archive",
            "buildkit",
            "context",
            "courier",
            "digest",
            "dockerfile",
            "endpoint",
            "engine",
            "graft",
            "images",
            "key",
            "ledger",
            "mounts",
            "notes",
            "plan",
            "platform",
            "registry",
            "requirements",
            "store",
            "tiers",
        ],
    ),
    ("cli", &[]),
];

/// Modules of a few functions that all rooms may use.
const GROUND: [&str; 3] = ["amounts", "error_chain", "screen_text"];

/// The rooms above those, and what they do not use. Commands leave what is done with files and images to the pipeline.
const ABOVE: [(&str, &[&str]); 3] = [
    ("settings", &["commands", "output", "pipeline"]),
    ("output", &["cli", "commands", "settings"]),
    ("commands", &["archive", "context", "courier", "dockerfile", "images", "requirements"]),
];

/// The most fields that a struct has in rooms that run a build: more would be the working memory of several stages.
const MOST_FIELDS: usize = 12;

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The code of each room by file, without comments, and without the tests at the end of files.
fn rooms() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut rooms: BTreeMap<String, Vec<(PathBuf, String)>> = BTreeMap::new();
    for path in sources(&root) {
        let below = path.strip_prefix(&root).unwrap().to_owned();
        // The courier's program runs elsewhere; tests may use what they like.
        let is_test = below.ends_with("tests.rs") || below.iter().any(|part| part == "tests");
        if below == Path::new("courier/main.rs") || is_test {
            continue;
        }
        let first = below.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
        let name = first.trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let code: Vec<&str> = text
            .split("#[cfg(test)]\nmod tests {")
            .next()
            .unwrap()
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        rooms.entry(name).or_default().push((below, code.join("\n")));
    }
    rooms
}

/// Returns the rooms that the code of a file names, by `crate::` or by as many `super::` as lead out of its own.
fn used(file: &Path, code: &str) -> BTreeSet<String> {
    let name =
        |rest: &str| -> String { rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect() };
    let mut names: BTreeSet<String> = code.split("crate::").skip(1).map(name).collect();
    let is_module = file.file_stem().is_some_and(|stem| stem == "mod");
    let depth = file.components().count() - usize::from(is_module);
    let out = "super::".repeat(depth);
    names.extend(code.split(&out).skip(1).map(name));
    names
}

/// Returns the structs of some code with the numbers of their fields.
fn structs(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (head, rest) in code
        .match_indices("struct ")
        .map(|(at, word)| code[at + word.len()..].split_at(0))
        .map(|(_, rest)| {
            let end = rest.find(['{', ';', '(']).unwrap_or(rest.len());
            rest.split_at(end)
        })
    {
        if let Some(body) = rest.strip_prefix('{') {
            let body = body.split("\n}").next().unwrap_or_default();
            let is_field = |line: &&str| {
                let line =
                    line.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
                let line = line.trim_start_matches("pub(in crate::commands) ").trim_start_matches("pub ");
                line.split_once(": ").is_some_and(|(name, _)| {
                    !name.is_empty()
                        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
                })
            };
            let is_outermost = |line: &&str| line.starts_with("    ") && !line.starts_with("     ");
            let count = body.lines().filter(is_outermost).filter(is_field).count();
            found.push((head.trim().to_owned(), count));
        }
    }
    found
}

#[test]
fn rooms_use_only_what_stands_below_them() {
    let rooms = rooms();
    for (room, allowed) in DOMAIN {
        for (file, code) in &rooms[room] {
            let others = used(file, code).into_iter().filter(|name| name != room && rooms.contains_key(name));
            let strangers: Vec<String> = others
                .filter(|name| !allowed.contains(&name.as_str()) && !GROUND.contains(&name.as_str()))
                .collect();
            assert!(strangers.is_empty(), "{} may not use {strangers:?}", file.display());
        }
    }
}

#[test]
fn settings_output_and_commands_do_not_use_what_is_not_theirs() {
    let rooms = rooms();
    for (room, forbidden) in ABOVE {
        for (file, code) in &rooms[room] {
            let strangers: Vec<String> =
                used(file, code).into_iter().filter(|name| forbidden.contains(&name.as_str())).collect();
            assert!(strangers.is_empty(), "{} may not use {strangers:?}", file.display());
        }
    }
}

#[test]
fn paths_out_of_a_room_are_seen_however_they_are_written() {
    for (file, code, expected) in [
        ("tiers/engine.rs", "use super::super::settings::Settings;", "settings"),
        ("tiers/archive/mod.rs", "super::super::output::count(1)", "output"),
        ("tiers/mod.rs", "use super::settings::Settings;", "settings"),
        ("tiers/archive/policy.rs", "use crate::{cli, settings};", ""),
    ] {
        assert!(used(Path::new(file), code).contains(expected), "{file}: {code}");
    }
}

#[test]
fn no_struct_is_the_working_memory_of_several_stages() {
    for (room, files) in rooms() {
        for (file, code) in
            files.iter().filter(|_| ["commands", "pipeline", "tiers"].contains(&room.as_str()))
        {
            for (name, fields) in structs(code) {
                assert!(fields <= MOST_FIELDS, "{}: {name} has {fields} fields", file.display());
            }
        }
    }
    let code =
        "struct Small {\n    one: u8,\n    /// Two.\n    pub(super) two: Vec<u8>,\n}\npub struct Unit;\n";
    assert_eq!(structs(code), [("Small".to_owned(), 2)]);
}

#[test]
fn no_room_is_missing_from_the_map() {
    let known: BTreeSet<&str> = DOMAIN
        .iter()
        .map(|(room, _)| *room)
        .chain(["commands", "lib", "main", "output", "settings"])
        .collect();
    let map = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    for room in rooms().keys() {
        assert!(known.contains(room.as_str()), "{room} is in no list of this test");
        assert!(map.contains(&format!("`{room}/`")) || map.contains(&format!("`{room}.rs`")), "{room}");
    }
}

#[test]
fn domain_rooms_neither_print_nor_read_the_environment() {
    const FORBIDDEN: [&str; 7] =
        ["println!", "eprintln!", "print!(", "std::env::var", "env::vars", "io::stdout", "io::stderr"];
    for (room, files) in rooms() {
        if ["settings", "commands", "output", "main"].contains(&room.as_str()) {
            continue;
        }
        for (file, code) in files {
            for word in FORBIDDEN {
                assert!(!code.contains(word), "{} uses {word}", file.display());
            }
        }
    }
}

#[test]
fn the_environment_is_read_in_one_place_and_its_variables_are_named_in_one() {
    for (room, files) in rooms() {
        for (file, code) in files {
            let reads = ["env::var(", "env::var_os(", "env::vars("].iter().any(|call| code.contains(call));
            assert!(!reads, "{} reads a variable past settings", file.display());
            if room != "settings" {
                assert!(
                    !code.contains("\"DOCKER_HOST\"") && !code.contains("\"LARDER_"),
                    "{}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn the_sdk_of_aws_stays_in_its_room() {
    for (_, files) in rooms() {
        for (file, code) in files {
            let uses = ["aws_sdk", "aws_config", "aws_smithy"].iter().any(|name| code.contains(name));
            assert!(!uses || file.starts_with("registry/ecr"), "{}", file.display());
        }
    }
}

#[test]
fn bollard_stays_in_the_engine_room() {
    for (room, files) in rooms() {
        for (file, code) in files {
            let uses = code.contains("bollard::") && room != "engine";
            assert!(!uses, "{} uses bollard", file.display());
        }
    }
}

#[test]
fn opendal_stays_in_the_remote_backend() {
    for files in rooms().into_values() {
        for (file, code) in files {
            let uses = code.contains("opendal") && !file.starts_with("store/backend/remote");
            assert!(!uses, "{} uses opendal", file.display());
        }
    }
}
