//! Builds each case with and without `--auto-mounts`, and checks that the file systems differ only in the caches.
//!
//! The base image has no package managers. The scripts in `tools/` imitate them and use their caches in the same way.

mod cases;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cases::{CASES, Case, Expected};

use crate::engines::{Engine, any_engine};
use crate::support::{BUSYBOX, TestContext};

/// The files of an image by path. The string contains the kind, mode and owner, the bytes are the content or the link
/// target.
type Tree = BTreeMap<String, (String, Vec<u8>)>;

#[test]
fn auto_mounts_change_nothing_in_the_image_except_the_caches() {
    let engine = any_engine();
    let mark = TestContext::new(&engine).tag("auto");
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(case) = CASES.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = check(&engine, case, &mark);
                    faults.lock().unwrap().extend(found.map(|fault| format!("{}: {fault}", case.name)));
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap();
    assert!(
        faults.is_empty(),
        "{} of {} cases on {}\n{}",
        faults.len(),
        CASES.len(),
        engine.name,
        faults.join("\n")
    );
}

/// Builds a case. Returns what is wrong, if anything.
fn check(engine: &Engine, case: &Case, mark: &str) -> Option<String> {
    let context = TestContext::new(engine);
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/auto_mounts/tools");
    for tool in std::fs::read_dir(tools).unwrap().map(Result::unwrap) {
        // The mark is unique to this run, so that no step is cached.
        let name = format!("tools/{}", tool.file_name().to_string_lossy());
        context.write(&name, format!("{}# {mark}\n", std::fs::read_to_string(tool.path()).unwrap()));
        std::fs::set_permissions(context.project().join(name), tool.metadata().unwrap().permissions())
            .unwrap();
    }
    context.write("etc/apt/apt.conf.d/docker-clean", "DPkg::Post-Invoke { \"rm -f *.deb\"; };\n");
    for (path, content) in case.files {
        context.write(path, content);
    }
    let from = format!("FROM {BUSYBOX}\nCOPY tools/ /bin/\nCOPY etc/ /etc/\n");
    let text = case.dockerfile.replace("FROM base AS", &format!("FROM {BUSYBOX} AS"));
    let text = if text.starts_with("FROM") { text } else { from + &text };
    context.write("Dockerfile", text.replace("TOOLS", "COPY tools/ /bin/"));
    let build = |name: &str, arguments: &[&str]| {
        let path = context.path(name);
        let destination = format!("type=tar,dest={}", path.display());
        let run =
            context.larder(&[&["build", "--mount-scope", mark, "-o", &destination, "."], arguments].concat());
        let output: Vec<&str> = run.stderr.lines().filter(|line| !line.starts_with('#')).collect();
        if run.code == 0 { Ok((tree(&path), output.join("\n"))) } else { Err(output.join("\n")) }
    };
    let (plain, _) = match build("plain.tar", &[]) {
        Ok(plain) => plain,
        Err(error) => return Some(format!("the case does not build without --auto-mounts: {error}")),
    };
    let (mounted, output) = match build("mounted.tar", &["--auto-mounts"]) {
        Ok(mounted) => mounted,
        Err(error) => return Some(format!("fails with --auto-mounts: {error}")),
    };
    let caches = if let Expected::Mounts(caches) = case.expected { caches } else { &[] };
    let is_below = |path: &str, cache: &str| path == cache || path.starts_with(&format!("{cache}/"));
    let (without, with) = (&plain, &mounted);
    let differs = |path: &&String| {
        let is_cache = caches.iter().any(|cache| is_below(path, cache));
        // The engine creates parent directories for a mount and removes them afterwards.
        let is_parent = caches.iter().any(|cache| is_below(cache, path))
            && (!without.contains_key(*path) || !with.contains_key(*path));
        !is_cache && !is_parent && without.get(*path) != with.get(*path)
    };
    if let Some(path) = without.keys().chain(with.keys()).find(differs) {
        let shown = |tree: &Tree| {
            tree.get(path).map(|(rest, content)| format!("{rest} {}", String::from_utf8_lossy(content)))
        };
        return Some(format!("{path} is {:?} without mounts, and {:?} with", shown(without), shown(with)));
    }
    for cache in caches {
        let filled = |tree: &Tree| {
            tree.iter().any(|(path, (kind, _))| is_below(path, cache) && kind.starts_with("Regular"))
        };
        if !filled(&plain) {
            return Some(format!("invalid case: {cache} is empty without mounts"));
        }
        if filled(&mounted) {
            return Some(format!("no mount at {cache}: {output}"));
        }
    }
    match case.expected {
        Expected::Mounts(_)
            if output.contains("cannot add a cache mount") || !output.contains("cache mounts are added") =>
        {
            return Some(format!("unexpected output: {output}"));
        }
        Expected::Skipped(reason) if !output.contains(reason) || output.contains("are added") => {
            return Some(format!("`{reason}` is not in the output: {output}"));
        }
        Expected::Nothing if output.contains("cache mount") => {
            return Some(format!("unexpected output: {output}"));
        }
        _ => {}
    }
    None
}

/// Returns the files of a tar archive. A hard link is treated as a separate file.
fn tree(path: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut archive = tar::Archive::new(std::fs::File::open(path).unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let absolute = |path: &[u8]| format!("/{}", String::from_utf8_lossy(path).trim_matches('/'));
        let (path, header) = (absolute(&entry.path_bytes()), entry.header().clone());
        let target = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
        let kind = header.entry_type();
        if let (true, Some(target)) = (kind.is_hard_link(), &target) {
            let same = tree[&absolute(target)].clone();
            tree.insert(path, same);
            continue;
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        content.extend(target.unwrap_or_default());
        let (mode, uid, gid) = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        tree.insert(path, (format!("{kind:?} {mode:o} {uid}:{gid}"), content));
    }
    tree
}
