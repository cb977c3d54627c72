//! Reads the packages and versions of lock files.
//!
//! Lock files are generated. Therefore those in TOML, YAML and the formats of yarn, bundler and go are scanned by line,
//! for the lines that all versions of their tools write in the same way. All other lines are ignored.

use serde_json::Value;

use super::catalogue::is_pylock;
use super::listing::{DependencyLine, MAX_LINES};

pub(super) type LockFileReader = fn(&str) -> Vec<DependencyLine>;

pub(super) fn lock_file_reader(name: &str) -> Option<LockFileReader> {
    Some(match name {
        "poetry.lock" | "uv.lock" | "pdm.lock" => |text| toml(text, DependencyLine::of_python_package),
        "Cargo.lock" => |text| toml(text, DependencyLine::of_package),
        "Pipfile.lock" => pipfile,
        "package-lock.json" | "npm-shrinkwrap.json" => npm,
        "yarn.lock" => yarn,
        "pnpm-lock.yaml" => pnpm,
        "go.sum" | "go.work.sum" => go,
        "Gemfile.lock" | "gems.locked" => bundler,
        "composer.lock" => composer,
        name if is_pylock(name) => |text| toml(text, DependencyLine::of_python_package),
        _ => return None,
    })
}

/// Limits the lines to one more than the maximum of a listing, so that the caller detects the truncation.
fn bounded(lines: impl Iterator<Item = DependencyLine>) -> Vec<DependencyLine> {
    lines.take(MAX_LINES + 1).collect()
}

/// Reads `[[package]]` tables (`[[packages]]` in PEP 751) with `name` and `version`.
fn toml(text: &str, line: fn(&str, &str) -> DependencyLine) -> Vec<DependencyLine> {
    #[derive(Default)]
    struct Package<'a> {
        name: &'a str,
        version: &'a str,
        commit: &'a str,
    }
    let mut packages: Vec<Package<'_>> = Vec::new();
    // `own` is `true` in the table of a package, `source` in the table of its source.
    let (mut own, mut source) = (false, false);
    for text in text.lines() {
        if text.starts_with('[') {
            own = matches!(text.trim_end(), "[[package]]" | "[[packages]]");
            source = matches!(text.trim_end(), "[package.source]" | "[packages.vcs]");
            if own {
                packages.push(Package::default());
            }
        }
        let (Some(package), Some((key, value))) = (packages.last_mut(), text.split_once(" = ")) else {
            continue;
        };
        let string =
            value.strip_prefix('"').and_then(|value| value.split_once('"')).map_or("", |(text, _)| text);
        match key {
            "name" if own => package.name = string,
            "version" if own => package.version = string,
            "source" | "vcs" if own && value.contains("git") => package.commit = commit(value),
            "resolved_reference" | "commit-id" if source => package.commit = string,
            _ => {}
        }
    }
    bounded(packages.iter().filter(|package| !package.name.is_empty()).map(|package| {
        let Package { name, version, commit } = *package;
        if commit.is_empty() { line(name, version) } else { line(name, &at_commit(version, commit)) }
    }))
}

/// Returns the commit in the fragment of an address, or in the `commit-id` of an inline table.
fn commit(value: &str) -> &str {
    let behind = value.rsplit_once('#').or_else(|| value.split_once("commit-id = \""));
    let rest = behind.map_or("", |(_, rest)| rest);
    let end = rest.find(|char: char| !char.is_ascii_hexdigit()).unwrap_or(rest.len());
    &rest[..end]
}

fn at_commit(version: &str, commit: &str) -> String {
    let short = commit.get(..12).unwrap_or(commit);
    if version.is_empty() { format!("({short})") } else { format!("{version} ({short})") }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn string<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn pipfile(text: &str) -> Vec<DependencyLine> {
    let lock = json(text);
    let packages = ["default", "develop"].into_iter().flat_map(|group| entries(&lock[group]));
    bounded(packages.map(|(name, package)| {
        let version = string(package, "version").trim_start_matches("==");
        let commit = string(package, "ref");
        if commit.is_empty() {
            DependencyLine::of_python_package(name, version)
        } else {
            DependencyLine::of_python_package(name, &at_commit(version, commit))
        }
    }))
}

/// Reads `packages` by path (npm 7 and later), or nested `dependencies` (before).
fn npm(text: &str) -> Vec<DependencyLine> {
    fn nested(dependencies: &Value, lines: &mut Vec<DependencyLine>) {
        for (name, package) in entries(dependencies).take(MAX_LINES) {
            lines.push(DependencyLine::of_package(name, string(package, "version")));
            nested(&package["dependencies"], lines);
        }
    }
    let lock = json(text);
    if lock["packages"].is_object() {
        let installed = entries(&lock["packages"]).filter_map(|(path, package)| {
            let (_, name) = path.rsplit_once("node_modules/")?;
            Some(DependencyLine::of_package(name, package["version"].as_str()?))
        });
        return bounded(installed);
    }
    let mut lines = Vec::new();
    nested(&lock["dependencies"], &mut lines);
    lines
}

/// Reads blocks under `"name@range", name@range:` with a `version` (classic: `version "1"`; since 2: `version: 1`).
fn yarn(text: &str) -> Vec<DependencyLine> {
    let mut name = "";
    let lines = text.lines().filter_map(move |line| {
        if !line.starts_with([' ', '#', '\t']) {
            let first = line.split(',').next().unwrap_or_default().trim_matches(['"', ':']);
            // A scope starts with the same character as the range.
            let at = first.get(1..).and_then(|rest| rest.find('@')).map_or(first.len(), |at| at + 1);
            name = &first[..at];
            return None;
        }
        let version = line.strip_prefix("  version")?.trim_start_matches([':', ' ']).trim().trim_matches('"');
        let package = std::mem::take(&mut name);
        (!package.is_empty() && package != "__metadata").then(|| DependencyLine::of_package(package, version))
    });
    bounded(lines)
}

/// Reads the keys of `packages:`: `name@1`, `/name@1`, and `/name/1` before version 6. Ignores the part after `(`.
fn pnpm(text: &str) -> Vec<DependencyLine> {
    let mut inside = false;
    let lines = text.lines().filter_map(|line| {
        if !line.starts_with(' ') {
            inside = if line.is_empty() { inside } else { line.trim_end() == "packages:" };
            return None;
        }
        let key = line.strip_prefix("  ").filter(|key| inside && !key.starts_with(' '))?;
        let key =
            key.trim_end().trim_end_matches("{}").trim_end().strip_suffix(':')?.trim_matches(['\'', '"']);
        let key = key.trim_start_matches('/').split(['(', '_']).next()?;
        let at = key.get(1..)?.rfind(['@', '/'])? + 1;
        Some(DependencyLine::of_package(&key[..at], &key[at + 1..]))
    });
    bounded(lines)
}

/// Reads `module version hash`; a module with only the hash of its `go.mod` is not built.
fn go(text: &str) -> Vec<DependencyLine> {
    let lines = text.lines().filter_map(|line| {
        let (module, rest) = line.split_once(' ')?;
        let version = rest.split_whitespace().next().filter(|version| !version.ends_with("/go.mod"))?;
        Some(DependencyLine::of_package(module, version))
    });
    bounded(lines)
}

/// Reads `name (version)` under `specs:`, indented by four blanks.
fn bundler(text: &str) -> Vec<DependencyLine> {
    let mut inside = false;
    let lines = text.lines().filter_map(|line| {
        if !line.starts_with("    ") {
            inside = line.trim() == "specs:";
            return None;
        }
        let spec = line.strip_prefix("    ").filter(|spec| inside && !spec.starts_with(' '))?;
        let (name, version) = spec.split_once(" (")?;
        Some(DependencyLine::of_package(name, version.trim_end_matches(')')))
    });
    bounded(lines)
}

fn composer(text: &str) -> Vec<DependencyLine> {
    let lock = json(text);
    let groups = ["packages", "packages-dev"].into_iter();
    let packages = groups.flat_map(|group| lock[group].as_array().into_iter().flatten());
    bounded(
        packages
            .map(|package| DependencyLine::of_package(string(package, "name"), string(package, "version"))),
    )
}

#[cfg(test)]
mod tests {
    use crate::requirements::listing;

    #[test]
    fn the_listing_of_a_lock_file_contains_its_packages() {
        let table: &[(&str, &str, &[&str])] = &[
            (
                "poetry.lock",
                "[[package]]\nname = \"Flask_Login\"\nversion = \"0.6.3\"\ndescription = \"x\"\nfiles = [\n    {file = \"a.whl\", hash = \"sha256:a\"},\n]\n\n\
                 [package.dependencies]\nname = \"9\"\n\n[[package]]\nname = \"mine\"\nversion = \"0.1\"\n\n[package.source]\ntype = \"git\"\nresolved_reference = \"0a1b2c3d4e5f6a7b\"\n\n[metadata]\nlock-version = \"2.0\"\n",
                &["Flask_Login 0.6.3", "mine 0.1 (0a1b2c3d4e5f)"],
            ),
            (
                "svc/uv.lock",
                "version = 1\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\nsource = { virtual = \".\" }\ndependencies = [\n    { name = \"six\" },\n]\n\n\
                 [package.metadata]\nrequires-dist = [{ name = \"six\" }]\n\n[[package]]\nname = \"six\"\nversion = \"1.16.0\"\nsource = { git = \"https://u:p@h/six?rev=x#aabbccddeeff0011\" }\n",
                &["app 0.1.0", "six 1.16.0 (aabbccddeeff)"],
            ),
            (
                "pdm.lock",
                "[metadata]\nstrategy = [\"x\"]\n\n[[package]]\nname = \"six\"\nversion = \"1.16.0\"\n",
                &["six 1.16.0"],
            ),
            (
                "pylock.dev.toml",
                "lock-version = \"1.0\"\n\n[[packages]]\nname = \"attrs\"\nversion = \"25.1.0\"\n\n[[packages.wheels]]\nname = \"attrs.whl\"\n\n[[packages]]\nname = \"x\"\nvcs = { type = \"git\", url = \"https://h/x\", commit-id = \"abcdef0123456789\" }\n",
                &["attrs 25.1.0", "x (abcdef012345)"],
            ),
            (
                "Cargo.lock",
                "version = 4\n\n[[package]]\nname = \"syn\"\nversion = \"1.0.1\"\nsource = \"registry+https://h\"\nchecksum = \"x\"\ndependencies = [\n \"unicode-ident\",\n]\n\n[[package]]\nname = \"syn\"\nversion = \"2.0.2\"\n",
                &["syn 1.0.1", "syn 2.0.2"],
            ),
            (
                "Pipfile.lock",
                r#"{"_meta":{"hash":{}},"default":{"Flask":{"hashes":["sha256:a"],"version":"==3.0.0"},"mine":{"git":"https://u:p@h","ref":"0123456789abcdef"}},"develop":{"pytest":{"version":"==8.0"}}}"#,
                &["Flask 3.0.0", "mine (0123456789ab)", "pytest 8.0"],
            ),
            (
                "package-lock.json",
                r#"{"lockfileVersion":3,"packages":{"":{"version":"1.0"},"node_modules/@babel/core":{"version":"7.1.0"},"node_modules/a/node_modules/b":{"version":"2.0.0"},"libs/c":{"version":"0"},"node_modules/c":{"link":true}}}"#,
                &["@babel/core 7.1.0", "b 2.0.0"],
            ),
            (
                "package-lock.json",
                r#"{"lockfileVersion":1,"dependencies":{"a":{"version":"1.0.0","dependencies":{"b":{"version":"2.0.0"}}}}}"#,
                &["a 1.0.0", "b 2.0.0"],
            ),
            (
                "yarn.lock",
                "# yarn lockfile v1\n\n\n\"@babel/core@^7.0.0\", \"@babel/core@^7.1.0\":\n  version \"7.2.0\"\n  resolved \"https://h\"\n  dependencies:\n    version \"1\"\n\nlodash@^4:\n  version \"4.17.21\"\n",
                &["@babel/core 7.2.0", "lodash 4.17.21"],
            ),
            (
                "yarn.lock",
                "__metadata:\n  version: 8\n\n\"lodash@npm:^4.0.0, lodash@npm:^4.17\":\n  version: 4.17.21\n  resolution: \"lodash@npm:4.17.21\"\n",
                &["lodash 4.17.21"],
            ),
            (
                "pnpm-lock.yaml",
                "lockfileVersion: '9.0'\n\nimporters:\n\n  .:\n    dependencies:\n      a:\n        specifier: ^1\n\npackages:\n\n  '@babel/core@7.2.0':\n    resolution: {integrity: x}\n\n  react-dom@18.2.0(react@18.2.0):\n    engines: {node: '1'}\n\nsnapshots:\n\n  'b@1': {}\n",
                &["@babel/core 7.2.0", "react-dom 18.2.0"],
            ),
            (
                "pnpm-lock.yaml",
                "packages:\n\n  /@babel/core/7.2.0:\n    dev: true\n  /six@1.0.0:\n    dev: true\n",
                &["@babel/core 7.2.0", "six 1.0.0"],
            ),
            (
                "go.sum",
                "github.com/a/b v1.2.3 h1:xx=\ngithub.com/a/b v1.2.3/go.mod h1:yy=\ngithub.com/c v0.1.0/go.mod h1:zz=\n",
                &["github.com/a/b v1.2.3"],
            ),
            (
                "Gemfile.lock",
                "GEM\n  remote: https://rubygems.org/\n  specs:\n    rails (7.1.0)\n      actionpack (= 7.1.0)\n    rake (13.0.6)\n\nPLATFORMS\n  ruby\n\nDEPENDENCIES\n    rails (~> 7)\n",
                &["rails 7.1.0", "rake 13.0.6"],
            ),
            (
                "composer.lock",
                r#"{"packages":[{"name":"a/b","version":"v1.0"}],"packages-dev":[{"name":"c/d","version":"2"}]}"#,
                &["a/b v1.0", "c/d 2"],
            ),
        ];
        for (path, text, packages) in table {
            let lines = listing(path, text.as_bytes());
            let shown: Vec<_> = lines.iter().map(crate::requirements::DependencyLine::display_text).collect();
            assert_eq!(&shown, packages, "{path}");
        }
        assert_eq!(
            listing("poetry.lock", b"[[package]]\nname = \"Flask_Login\"\nversion = \"1\"\n")[0].name,
            "flask-login"
        );
    }

    proptest::proptest! {
        #[test]
        fn no_lock_file_makes_the_reader_panic(
            name in "poetry.lock|Cargo.lock|Pipfile.lock|package-lock.json|yarn.lock|pnpm-lock.yaml|go.sum|Gemfile.lock|pylock.toml|requirements.txt|composer.lock",
            text in "([ -~é\n]|packages:\n  |specs:\n    |\\[\\[package\\]\\]\n|name = |version = |  version|://|@|#){0,40}",
        ) {
            let lines = listing(&name, text.as_bytes());
            proptest::prop_assert!(lines.len() <= text.len() + 1);
        }
    }
}
