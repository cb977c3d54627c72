//! Checks the rules of `ARCHITECTURE.md`: which top-level module of `src` may use which, and what domain modules must
//! not do.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Each domain module and the modules that it may use. `settings`, `output`, `commands` and the crate root, which are
/// above the domain, are not listed.
const DOMAIN: [(&str, &[&str]); 29] = [
    ("amounts", &[]),
    ("error_chain", &[]),
    ("http_retry", &[]),
    ("published_schema", &[]),
    ("regular_file", &[]),
    ("screen_text", &[]),
    ("tls", &[]),
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
    ("plan", &["buildkit", "endpoint", "key", "ledger", "notes", "registry", "store", "tiers"]),
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

/// Small utility modules that every module may use.
const UTILITIES: [&str; 7] =
    ["amounts", "error_chain", "http_retry", "published_schema", "regular_file", "screen_text", "tls"];

/// The modules above the domain, and the modules that they must not use. Commands leave work on files and images to the
/// pipeline.
const UPPER: [(&str, &[&str]); 3] = [
    ("settings", &["commands", "output", "pipeline"]),
    ("output", &["cli", "commands", "settings"]),
    ("commands", &["archive", "context", "courier", "dockerfile", "images", "requirements"]),
];

/// The maximum number of fields of a struct in the modules that run a build. A larger struct probably holds the state
/// of several stages and should be split.
const MAX_FIELDS: usize = 12;

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

/// Returns the source files of each top-level module, without comments and without the `tests` module at the end.
fn modules() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules: BTreeMap<String, Vec<(PathBuf, String)>> = BTreeMap::new();
    for path in sources(&root) {
        let below = path.strip_prefix(&root).unwrap().to_owned();
        // The courier is a separate program, and tests may use any module.
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
        modules.entry(name).or_default().push((below, code.join("\n")));
    }
    modules
}

/// Returns the names that follow `crate::`, or as many `super::` as lead to the crate root, in the code of a file.
fn used_names(file: &Path, code: &str) -> BTreeSet<String> {
    let name =
        |rest: &str| -> String { rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect() };
    let mut names: BTreeSet<String> = code.split("crate::").skip(1).map(name).collect();
    let is_module = file.file_stem().is_some_and(|stem| stem == "mod");
    let depth = file.components().count() - usize::from(is_module);
    let out = "super::".repeat(depth);
    names.extend(code.split(&out).skip(1).map(name));
    names
}

/// Returns the name and the number of fields of each struct in some code.
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
fn domain_modules_use_only_the_modules_below_them() {
    let modules = modules();
    for (module, allowed) in DOMAIN {
        for (file, code) in &modules[module] {
            let others = used_names(file, code)
                .into_iter()
                .filter(|name| name != module && modules.contains_key(name));
            let violations: Vec<String> = others
                .filter(|name| !allowed.contains(&name.as_str()) && !UTILITIES.contains(&name.as_str()))
                .collect();
            assert!(violations.is_empty(), "{} may not use {violations:?}", file.display());
        }
    }
}

#[test]
fn settings_output_and_commands_do_not_use_forbidden_modules() {
    let modules = modules();
    for (module, forbidden) in UPPER {
        for (file, code) in &modules[module] {
            let violations: Vec<String> = used_names(file, code)
                .into_iter()
                .filter(|name| forbidden.contains(&name.as_str()))
                .collect();
            assert!(violations.is_empty(), "{} may not use {violations:?}", file.display());
        }
    }
}

#[test]
fn paths_to_other_modules_are_detected_in_every_notation() {
    for (file, code, expected) in [
        ("tiers/engine.rs", "use super::super::settings::Settings;", "settings"),
        ("tiers/archive/mod.rs", "super::super::output::count(1)", "output"),
        ("tiers/mod.rs", "use super::settings::Settings;", "settings"),
        ("tiers/archive/policy.rs", "use crate::{cli, settings};", ""),
    ] {
        assert!(used_names(Path::new(file), code).contains(expected), "{file}: {code}");
    }
}

#[test]
fn structs_of_the_build_modules_have_few_fields() {
    for (module, files) in modules() {
        for (file, code) in
            files.iter().filter(|_| ["commands", "pipeline", "tiers"].contains(&module.as_str()))
        {
            for (name, fields) in structs(code) {
                assert!(fields <= MAX_FIELDS, "{}: {name} has {fields} fields", file.display());
            }
        }
    }
    let code =
        "struct Small {\n    one: u8,\n    /// Two.\n    pub(super) two: Vec<u8>,\n}\npub struct Unit;\n";
    assert_eq!(structs(code), [("Small".to_owned(), 2)]);
}

#[test]
fn every_module_is_in_the_architecture_document() {
    let known: BTreeSet<&str> = DOMAIN
        .iter()
        .map(|(module, _)| *module)
        .chain(["commands", "lib", "main", "output", "settings"])
        .collect();
    let map = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).unwrap();
    for module in modules().keys() {
        assert!(known.contains(module.as_str()), "{module} is not in a list of this test");
        assert!(map.contains(&format!("`{module}/`")) || map.contains(&format!("`{module}.rs`")), "{module}");
    }
}

#[test]
fn domain_modules_neither_print_nor_read_the_environment() {
    const FORBIDDEN: [&str; 7] =
        ["println!", "eprintln!", "print!(", "std::env::var", "env::vars", "io::stdout", "io::stderr"];
    for (module, files) in modules() {
        if ["settings", "commands", "output", "main"].contains(&module.as_str()) {
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
fn the_environment_is_read_once_and_only_settings_names_its_variables() {
    for (module, files) in modules() {
        for (file, code) in files {
            let reads = ["env::var(", "env::var_os(", "env::vars("].iter().any(|call| code.contains(call));
            assert!(!reads, "{} reads a single environment variable: use `settings`", file.display());
            if module != "settings" {
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
fn only_the_ecr_module_uses_the_aws_sdk() {
    for (_, files) in modules() {
        for (file, code) in files {
            let uses = ["aws_sdk", "aws_config", "aws_smithy"].iter().any(|name| code.contains(name));
            assert!(!uses || file.starts_with("registry/ecr"), "{}", file.display());
        }
    }
}

#[test]
fn only_the_engine_module_uses_bollard() {
    for (module, files) in modules() {
        for (file, code) in files {
            let uses = code.contains("bollard::") && module != "engine";
            assert!(!uses, "{} uses bollard", file.display());
        }
    }
}

#[test]
fn only_the_remote_backend_uses_opendal() {
    for files in modules().into_values() {
        for (file, code) in files {
            let uses = code.contains("opendal") && !file.starts_with("store/backend/remote");
            assert!(!uses, "{} uses opendal", file.display());
        }
    }
}
