//! `--auto-mounts` leaves the image what it is: each case is built with and without it, and the file systems are compared.
//!
//! The base image has no package managers; `tools/` stand in for them and treat their caches as those do.

mod cases;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cases::{CASES, Case, Gets};

use crate::engines::{Engine, any_engine};
use crate::support::{BUSYBOX, TestContext};

/// What a tree has at a path: kind, mode, owner, and content or target.
type Tree = BTreeMap<String, (String, Vec<u8>)>;

#[test]
fn an_image_with_added_cache_mounts_has_the_files_of_one_without_but_for_the_caches() {
    let engine = any_engine();
    let mark = TestContext::new(&engine).tag("auto");
    let (next, faults) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(case) = CASES.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = faults_of(&engine, case, &mark);
                    faults.lock().unwrap().extend(found.map(|fault| format!("{}: {fault}", case.what)));
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

/// What is wrong with a case, if anything is.
fn faults_of(engine: &Engine, case: &Case, mark: &str) -> Option<String> {
    let context = TestContext::new(engine);
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/auto_mounts/tools");
    for tool in std::fs::read_dir(tools).unwrap().map(Result::unwrap) {
        // No other run's, so that no step is cached.
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
        let output = format!("type=tar,dest={}", path.display());
        let run =
            context.larder(&[&["build", "--mount-scope", mark, "-o", &output, "."], arguments].concat());
        let said: Vec<&str> = run.stderr.lines().filter(|line| !line.starts_with('#')).collect();
        if run.code == 0 { Ok((tree(&path), said.join("\n"))) } else { Err(said.join("\n")) }
    };
    let (plain, _) = match build("plain.tar", &[]) {
        Ok(plain) => plain,
        Err(error) => return Some(format!("the case is void: {error}")),
    };
    let (mounted, said) = match build("mounted.tar", &["--auto-mounts"]) {
        Ok(mounted) => mounted,
        Err(error) => return Some(format!("fails with --auto-mounts: {error}")),
    };
    let caches = if let Gets::Mounts(caches) = case.gets { caches } else { &[] };
    let is_below = |path: &str, cache: &str| path == cache || path.starts_with(&format!("{cache}/"));
    let (one, other) = (&plain, &mounted);
    let differs = |path: &&String| {
        let is_cache = caches.iter().any(|cache| is_below(path, cache));
        // Made for the cache alone, and taken away with the mount.
        let leads = caches.iter().any(|cache| is_below(cache, path))
            && (!one.contains_key(*path) || !other.contains_key(*path));
        !is_cache && !leads && one.get(*path) != other.get(*path)
    };
    if let Some(path) = one.keys().chain(other.keys()).find(differs) {
        let shown = |tree: &Tree| {
            tree.get(path).map(|(rest, content)| format!("{rest} {}", String::from_utf8_lossy(content)))
        };
        return Some(format!("{path} is {:?} without mounts, and {:?} with", shown(one), shown(other)));
    }
    for cache in caches {
        let filled = |tree: &Tree| {
            tree.iter().any(|(path, (kind, _))| is_below(path, cache) && kind.starts_with("Regular"))
        };
        if !filled(&plain) {
            return Some(format!("the case is void: nothing is in {cache}"));
        }
        if filled(&mounted) {
            return Some(format!("no mount at {cache}: {said}"));
        }
    }
    match case.gets {
        Gets::Mounts(_) if said.contains("no cache mount") || !said.contains("cache mounts are added") => {
            return Some(format!("said: {said}"));
        }
        Gets::NoneAs(reason) if !said.contains(reason) || said.contains("are added") => {
            return Some(format!("`{reason}` is not said: {said}"));
        }
        Gets::None if said.contains("cache mount") => return Some(format!("said: {said}")),
        _ => {}
    }
    None
}

/// The file system in a tar archive; a hard link is a file of its own.
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
