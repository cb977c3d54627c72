//! Random edits like those that people and tools make.

#![allow(clippy::unnecessary_wraps, reason = "all edits have the same signature")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use filetime::FileTime;
use walkdir::WalkDir;

use super::Random;
use super::projects::{Flags, Project};
use crate::support::TestContext;

/// The description of an edit, for the report of a failure.
#[derive(Debug)]
pub(super) struct Edit(#[allow(dead_code, reason = "shown by Debug")] String);

type Action = fn(&mut Random, &Tree<'_>, &Project, &mut Flags) -> Option<String>;

/// A project's directory.
struct Tree<'a> {
    context: &'a TestContext,
    root: PathBuf,
}

const ACTIONS: [Action; 24] = [
    rewrite_file,
    rewrite_file,
    touch,
    same_content,
    change_mode,
    change_owner,
    add_file,
    add_file,
    remove,
    rename,
    swap,
    add_directory,
    directory_mode,
    link,
    replace_by_directory,
    hard_link,
    attribute,
    edit_dockerfile,
    edit_dockerfile,
    comment,
    build_arg,
    label,
    target,
    ignore,
];

/// Makes a random edit. Actions that are not possible in the current state are skipped.
pub(super) fn random(
    random: &mut Random,
    context: &TestContext,
    project: &Project,
    flags: &mut Flags,
) -> Edit {
    let tree = Tree { context, root: context.project() };
    loop {
        let action = *random.pick(&ACTIONS);
        if let Some(description) = action(random, &tree, project, flags) {
            return Edit(description);
        }
    }
}

impl Tree<'_> {
    /// Returns the sorted paths below the root, without `Dockerfile` and `.dockerignore`.
    fn paths(&self, wanted: impl Fn(&Path) -> bool) -> Vec<String> {
        let entries =
            WalkDir::new(&self.root).min_depth(1).sort_by_file_name().into_iter().map(|e| e.expect("a tree"));
        let paths = entries.filter(|entry| wanted(entry.path())).map(|entry| {
            entry.path().strip_prefix(&self.root).expect("below the root").to_str().expect("UTF-8").to_owned()
        });
        paths.filter(|path| !["Dockerfile", ".dockerignore"].contains(&path.as_str())).collect()
    }

    fn files(&self) -> Vec<String> {
        self.paths(|path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()))
    }

    fn directories(&self) -> Vec<String> {
        self.paths(|path| path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()))
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).expect("a file")
    }
}

/// The files that an instruction names. Without them the build fails.
const NEEDED: [&str; 9] = [
    "requirements.txt",
    "setup.cfg",
    "src",
    "src/app",
    "src/data",
    "docs",
    "conf",
    "README.md",
    "conf/prod.ini",
];

fn is_needed(path: &str) -> bool {
    NEEDED.contains(&path)
        || path == "conf/dev.ini"
        || path.starts_with("src/data/one")
        || path.starts_with("docs/index")
}

fn some_file(random: &mut Random, tree: &Tree<'_>) -> String {
    random.pick(&tree.files()).clone()
}

fn rewrite_file(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let path = some_file(random, tree);
    let content = ["x = 1\n", "x = 2\n", "# comment\n", ""][random.below(4)];
    tree.context.write(&path, content);
    Some(format!("write {content:?} to {path}"))
}

fn touch(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let path = some_file(random, tree);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let seconds = i64::try_from(now.as_secs()).expect("not so far away")
        - i64::try_from(random.below(1_000_000)).expect("small");
    let nanos = u32::try_from(1 + random.below(900_000_000)).expect("small");
    filetime::set_file_mtime(tree.at(&path), FileTime::from_unix_time(seconds, nanos)).expect("a file");
    Some(format!("touch {path}"))
}

fn same_content(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let path = some_file(random, tree);
    let content = tree.read(&path);
    let mode = fs::metadata(tree.at(&path)).expect("a file").permissions();
    fs::remove_file(tree.at(&path)).expect("a file");
    tree.context.write(&path, content);
    fs::set_permissions(tree.at(&path), mode).expect("a file");
    Some(format!("write {path} again"))
}

fn change_mode(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let path = some_file(random, tree);
    let mode = *random.pick(&[0o644, 0o755, 0o600, 0o664, 0o4755]);
    fs::set_permissions(tree.at(&path), Permissions::from_mode(mode)).expect("a file");
    Some(format!("chmod {mode:o} {path}"))
}

fn change_owner(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let path = some_file(random, tree);
    let owner = *random.pick(&[0, 1000, 1234]);
    let mode = fs::metadata(tree.at(&path)).expect("a file").permissions();
    chown(tree.at(&path), Some(owner), Some(owner)).expect("root runs the tests");
    // The kernel removes the setuid bit when the owner changes.
    fs::set_permissions(tree.at(&path), mode).expect("a file");
    Some(format!("chown {owner} {path}"))
}

fn add_file(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let directory = match random.below(4) {
        0 => String::new(),
        _ => format!("{}/", random.pick(&tree.directories())),
    };
    let name = *random.pick(&[
        "new.py",
        "new.pyc",
        "keep.pyc",
        "extra.ini",
        "d.ini",
        "requirements-new.txt",
        "NOTES.md",
        "new.txt",
    ]);
    let path = format!("{directory}{name}");
    (!tree.at(&path).exists()).then(|| {
        tree.context.write(&path, "new\n");
        format!("add {path}")
    })
}

fn remove(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let path = random.pick(&tree.paths(|_| true)).clone();
    if is_needed(&path) {
        return None;
    }
    let target = tree.at(&path);
    if target.symlink_metadata().expect("listed").is_dir() {
        fs::remove_dir_all(target)
    } else {
        fs::remove_file(target)
    }
    .expect("removable");
    Some(format!("remove {path}"))
}

fn rename(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let path = some_file(random, tree);
    let to = format!("{path}.{}", random.pick(&["old", "py", "ini", "pyc"]));
    (!is_needed(&path) && !tree.at(&to).exists() && path.len() < 60).then(|| {
        fs::rename(tree.at(&path), tree.at(&to)).expect("renamable");
        format!("rename {path} to {to}")
    })
}

fn swap(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let (one, other) = (some_file(random, tree), some_file(random, tree));
    let (first, second) = (tree.read(&one), tree.read(&other));
    tree.context.write(&one, second).write(&other, first);
    Some(format!("swap the content of {one} and {other}"))
}

fn add_directory(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let path =
        format!("{}/{}", random.pick(&tree.directories()), random.pick(&["empty", "__pycache__", "sub"]));
    (!tree.at(&path).exists()).then(|| {
        fs::create_dir(tree.at(&path)).expect("a new directory");
        format!("mkdir {path}")
    })
}

fn directory_mode(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let path = random.pick(&tree.directories()).clone();
    let mode = *random.pick(&[0o755, 0o775, 0o700]);
    fs::set_permissions(tree.at(&path), Permissions::from_mode(mode)).expect("a directory");
    Some(format!("chmod {mode:o} {path}/"))
}

fn link(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let path = format!("{}/link", random.pick(&tree.directories()));
    let to = *random.pick(&["main.py", "../../README.md", "/etc/hostname", "nowhere"]);
    let link = tree.at(&path);
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link).ok()?;
    }
    symlink(to, link).expect("a new link");
    Some(format!("link {path} to {to}"))
}

fn replace_by_directory(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let path = some_file(random, tree);
    if is_needed(&path) {
        return None;
    }
    fs::remove_file(tree.at(&path)).expect("a file");
    tree.context.write(&format!("{path}/inside"), "in\n");
    Some(format!("replace {path} by a directory"))
}

fn hard_link(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let path = some_file(random, tree);
    let twin = format!("{path}.twin");
    (!tree.at(&twin).exists() && path.len() < 60).then(|| {
        fs::hard_link(tree.at(&path), tree.at(&twin)).expect("a new name");
        format!("link {twin} to {path}, hard")
    })
}

fn attribute(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let path = random.pick(&tree.paths(|path| !path.is_symlink())).clone();
    let value = *random.pick(&["1", "2"]);
    // If the file system does not support attributes, a different edit is made.
    xattr::set(tree.at(&path), "user.larder", value.as_bytes()).ok()?;
    Some(format!("set user.larder of {path} to {value}"))
}

fn edit_dockerfile(
    random: &mut Random,
    tree: &Tree<'_>,
    project: &Project,
    flags: &mut Flags,
) -> Option<String> {
    let text = tree.read("Dockerfile");
    let fitting: Vec<_> = project.rewrites.iter().filter(|(from, _)| text.contains(from)).collect();
    let (from, to) = **random.pick(&fitting);
    let mut edited = text.replace(from, to);
    // References to a renamed stage are renamed, too.
    for (name, renamed) in [("wheels", "builder"), ("builder", "wheels")] {
        if from == format!("AS {name}") {
            edited = edited.replace(&format!("--from={name}"), &format!("--from={renamed}"));
        }
    }
    if edited.contains("AS builder") {
        edited = edited.replace("--from=wheels", "--from=builder");
    }
    tree.context.write("Dockerfile", edited);
    flags.target = None;
    Some(format!("Dockerfile: {from} → {to}"))
}

fn comment(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let text = tree.read("Dockerfile");
    let mut lines: Vec<&str> = text.lines().collect();
    let place = 1 + random.below(lines.len());
    let line = *random.pick(&["# a comment", "", "   # indented"]);
    lines.insert(place, line);
    if lines.len() > 60 {
        return None;
    }
    tree.context.write("Dockerfile", lines.join("\n") + "\n");
    Some(format!("Dockerfile: {line:?} above line {}", place + 1))
}

fn build_arg(random: &mut Random, _: &Tree<'_>, _: &Project, flags: &mut Flags) -> Option<String> {
    let name = *random.pick(&["INDEX", "VERSION", "UNUSED_GLOBAL", "REGISTRY", "NOWHERE", "HTTP_PROXY"]);
    let value = *random.pick(&["1", "2", ""]);
    flags.build_args.insert(name.to_owned(), value.to_owned());
    Some(format!("--build-arg {name}={value}"))
}

fn label(random: &mut Random, _: &Tree<'_>, _: &Project, flags: &mut Flags) -> Option<String> {
    let value = *random.pick(&["a", "b"]);
    flags.labels.insert("edited".to_owned(), value.to_owned());
    Some(format!("--label edited={value}"))
}

fn target(random: &mut Random, tree: &Tree<'_>, _: &Project, flags: &mut Flags) -> Option<String> {
    let names: Vec<String> = tree
        .read("Dockerfile")
        .lines()
        .filter_map(|line| Some(line.split_once(" AS ")?.1.to_owned()))
        .collect();
    // Set a target only sometimes, so that most edits affect the build.
    flags.target = if random.below(3) == 0 { Some(random.pick(&names).clone()) } else { None };
    Some(format!("--target {:?}", flags.target))
}

fn ignore(random: &mut Random, tree: &Tree<'_>, _: &Project, _: &mut Flags) -> Option<String> {
    let mut text = tree.read(".dockerignore");
    let line = *random.pick(&[
        "# comment",
        "",
        "docs/drafts",
        "src/app/new*",
        "**/*.txt.old",
        "!conf/extra.ini",
        "*/sub",
    ]);
    if text.lines().count() > 30 {
        return None;
    }
    text.push_str(line);
    text.push('\n');
    tree.context.write(".dockerignore", text);
    Some(format!(".dockerignore: {line:?}"))
}
