//! `.dockerignore` files: larder lists the same entries of a context as an image that the engine's own client builds.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use larder::context::{self, ContextEntryKind, Filter, ignorefile};

use super::edit::{create_entries, set_mode};
use crate::engines::{Engine, builders};
use crate::support::{TestContext, run_to_end};

const TREE: &str = "
    .git/config
    .hidden
    README.md
    a.txt
    b.txt
    docs/guide.md
    docs/img/
    docs/img/logo.png
    empty/
    src/.git/HEAD
    src/app.py
    src/app.pyc
    src/deep/er/x.py
    src/deep/er/y.pyc
    src/link -> app.py
    srclink -> src
    dangling -> nowhere
";

/// Name, additional entries, and content of the ignore file.
const CASES: &[(&str, &str, &[u8])] = &[
    ("an empty file", "", b""),
    ("comments and blank lines", "", b"# a.txt\n\n   \n\t\n #b.txt\nb.txt\n"),
    ("names and directories", "", b"a.txt\nsrc/deep\ndocs/img/\n"),
    ("white space around", "", b"  a.txt  \n\tsrc/app.py\t \n"),
    ("leading slashes", "", b"/a.txt\n//src//app.py\n/docs/\n"),
    ("dots", "", b"./a.txt\nsrc/../b.txt\nsrc/./app.py\n"),
    ("the root itself", "", b".\n"),
    ("the root itself, absolute", "", b"/\n"),
    ("paths outside the context", "", b"../a.txt\n../../src\n"),
    ("Windows line ends", "", b"a.txt\r\nsrc/deep\r\n!src/deep/er/x.py\r\n"),
    ("Windows separators", "back\\slash\nsrc/x", b"src\\app.py\nback\\\\slash\n"),
    ("a byte order mark", "", b"\xEF\xBB\xBFa.txt\nb.txt\n"),
    ("a byte order mark before a comment", "", b"\xEF\xBB\xBF# x\nb.txt\n"),
    ("no line end at the end", "", b"a.txt\nb.txt"),
    ("one star", "", b"*\n"),
    ("a star within a name", "", b"*.txt\nsrc/*.py\n"),
    ("a star for a directory", "", b"*/*.md\n*/app.*\n"),
    ("two stars", "", b"**\n"),
    ("two stars at the front", "", b"**/*.pyc\n**/.git\n"),
    ("two stars within", "", b"src/**/x.py\n"),
    ("two stars at the end", "", b"src/deep/**\ndocs/**\n"),
    ("two stars in a name", "", b"**.pyc\nd**\n"),
    ("three stars", "", b"***/x.py\n"),
    ("question marks", "ab.txt", b"?.txt\nsrc/app.py?\n"),
    ("classes", "c.txt\n-.txt\n^.txt", b"[a-b].txt\n[^a-z].txt\n"),
    ("classes of odd characters", "].txt\n!.txt", b"[\\]].txt\n[!].txt\n"),
    ("escapes", "star*\nstarry\n#hash\n!bang", b"star\\*\n\\#hash\n\\!bang\n"),
    (
        "special characters of regular expressions",
        "a+b\na(b)\na.b\naxb\n{a,b}.txt\na$",
        b"a+b\na(b)\na.b\n{a,b}.txt\na$\n",
    ),
    ("dots in wildcards", "axtxt\nb.text", b"?.t*t\n"),
    ("all but some", "", b"*\n!src\n!a.txt\n"),
    ("all but a file deep down", "", b"*\n!src/deep/er/x.py\n"),
    ("all but one file type", "", b"**\n!**/*.py\n"),
    ("an exception inside an excluded directory", "", b"src\n!src/deep/er\n"),
    ("an exception that comes too early", "", b"!src/app.py\nsrc\n"),
    ("an exception of an exception", "", b"*\n!src\nsrc/deep\n!src/deep/er/x.py\nsrc/*.pyc\n"),
    ("exceptions with white space", "", b"*\n! a.txt\n!  src/app.py \n"),
    ("exceptions with slashes and dots", "", b"*\n!/a.txt\n!./src/../b.txt\n"),
    ("an exception for a whole directory", "", b"docs/*\n!docs/img\n"),
    ("a directory that is excluded again", "", b"src\n!src/deep\nsrc\n"),
    ("a child excluded before the exception of its parent", "", b"src/deep\n!src\nz\n"),
    ("a pattern without effect on the directory", "", b"src/app.py\n!src\nsrc/app.pyc\n"),
    ("links", "", b"srclink\nsrc/link\n"),
    ("behind a link", "", b"srclink/app.py\ndangling/x\n"),
    ("empty directories", "empty/more/", b"empty\ndocs/img/*\n"),
    ("inside an empty directory", "", b"empty/*\n!empty/x\n"),
    ("the Dockerfile and the ignore file", "", b"Dockerfile\n.dockerignore\n"),
    ("hidden files", "", b".*\n!.git\n"),
    ("names beyond ASCII", "größe/日本\nnaïve.txt", "größe/日?\nna?ve.*\n".as_bytes()),
    ("a very deep exception", "p/q/r/s/t/u\np/q/r/s/v", b"p\n!p/q/r/s/t\np/q/r/s/t/x\n"),
    ("trailing slashes and stars", "", b"src/*/\ndocs/**/\n"),
];

/// Cases that the client of 20.10 reads differently, because it has an older matcher. It does not escape special
/// characters of regular expressions, treats two stars in a name as one, ignores exceptions with two stars inside an
/// excluded directory, and applies patterns of parent directories differently. larder sends that engine the files that
/// newer clients send.
const OLD_CLIENT_DIFFERENCES: [&str; 7] = [
    "two stars in a name",
    "special characters of regular expressions",
    "all but one file type",
    "an exception that comes too early",
    "a directory that is excluded again",
    "a child excluded before the exception of its parent",
    "a pattern without effect on the directory",
];

/// One line for each entry: path, kind, mode, and target of a link.
type Listing = BTreeSet<String>;

fn line(path: &str, kind: &str, mode: u32, target: &str) -> String {
    // The mode of a link has no meaning.
    let mode = if kind == "link" { 0 } else { mode & 0o7777 };
    format!("{path} {kind} {mode:o} {target}")
}

fn listing_by_larder(project: &Path, ignore: &[u8]) -> Listing {
    let filter = Filter { exclude: ignorefile::parse(ignore), ..Filter::default() };
    let entries = context::walk(project, &filter).unwrap().map(Result::unwrap);
    let lines = entries.map(|entry| {
        let (kind, target) = match &entry.kind {
            ContextEntryKind::Directory => ("directory", ""),
            ContextEntryKind::Symlink(target) => ("link", target.as_str()),
            _ => ("file", ""),
        };
        line(&entry.path, kind, entry.metadata.mode(), target)
    });
    lines.collect()
}

/// Returns the entries of an image that copies the whole context. `arguments` are put before the context.
fn listing_by_engine(engine: &Engine, context: &TestContext, what: &str, arguments: &[&str]) -> Listing {
    let output = context.path("image.tar");
    let into = format!("type=tar,dest={}", output.display());
    if engine.major() == 20 && OLD_CLIENT_DIFFERENCES.contains(&what) {
        context.larder(&["build", "-q", "--output", &into, "."]).success();
    } else {
        let mut build = engine.docker();
        let run = run_to_end(
            build.args(["build", "-q", "--output", &into]).args(arguments).arg(context.project()),
            None,
        );
        assert_eq!(run.code, 0, "{what} on {}: {}", engine.name, run.stderr);
    }
    let mut archive = tar::Archive::new(std::fs::File::open(&output).unwrap());
    let mut lines = Listing::new();
    for entry in archive.entries().unwrap().map(Result::unwrap) {
        let path = entry.path().unwrap().to_string_lossy().trim_matches('/').to_owned();
        let target = entry.link_name().unwrap().map(|target| target.to_string_lossy().into_owned());
        let kind = match entry.header().entry_type() {
            tar::EntryType::Directory => "directory",
            tar::EntryType::Symlink => "link",
            _ => "file",
        };
        if !path.is_empty() && path != "." {
            lines.insert(line(&path, kind, entry.header().mode().unwrap(), &target.unwrap_or_default()));
        }
    }
    lines
}

fn tree_project(engine: &Engine, more: &str) -> TestContext {
    let context = TestContext::new(engine);
    create_entries(&context.project(), TREE);
    create_entries(&context.project(), more);
    set_mode(&context.project().join("src/app.py"), 0o750);
    set_mode(&context.project().join("src/deep"), 0o711);
    context.write("Dockerfile", "FROM scratch\nCOPY . /\n");
    context
}

#[test]
fn larder_and_the_engine_list_the_same_entries_of_every_tree() {
    for engine in &builders() {
        let mut differences = Vec::new();
        for (what, more, ignore) in CASES {
            let context = tree_project(engine, more);
            context.write(".dockerignore", ignore);
            let (ours, theirs) = (
                listing_by_larder(&context.project(), ignore),
                listing_by_engine(engine, &context, what, &[]),
            );
            if ours != theirs {
                let only = |these: &Listing, those: &Listing| -> Vec<String> {
                    these.difference(those).cloned().collect()
                };
                differences.push((*what, only(&ours, &theirs), only(&theirs, &ours)));
            }
        }
        assert!(differences.is_empty(), "{} (only larder, only the engine): {differences:#?}", engine.name);
    }
}

#[test]
fn a_dockerfile_can_have_its_own_ignore_file() {
    for engine in &builders() {
        let context = tree_project(engine, "docker/");
        context.write(".dockerignore", "src\n").write("Dockerfile.dockerignore", "docs\n");
        context.write("docker/App", "FROM scratch\nCOPY . /\n");
        let ours = listing_by_larder(&context.project(), b"docs\n");
        assert_eq!(
            ours,
            listing_by_engine(engine, &context, "its own file instead of .dockerignore", &[]),
            "{}",
            engine.name
        );
        let key = |arguments: &[&str]| {
            let arguments = [&["key", "--format", "json"], arguments, &["."]].concat();
            context.larder(&arguments).success().stdout
        };
        let before = key(&[]);
        context.write("docs/guide.md", "edited");
        assert_eq!(key(&[]), before, "{}: its own ignore file applies", engine.name);
        context.write("src/app.py", "edited");
        assert_ne!(key(&[]), before, "{}: .dockerignore does not apply", engine.name);

        let app = context.project().join("docker/App").display().to_string();
        let ours = listing_by_larder(&context.project(), b"src\n");
        assert_eq!(
            ours,
            listing_by_engine(engine, &context, "no ignore file of its own", &["-f", &app]),
            "{}",
            engine.name
        );
        let before = key(&["-f", "docker/App"]);
        context.write("src/app.py", "edited again");
        assert_eq!(key(&["-f", "docker/App"]), before, "{}", engine.name);
        // An empty ignore file applies, too.
        context.write("docker/App.dockerignore", "");
        let ours = listing_by_larder(&context.project(), b"");
        assert_eq!(
            ours,
            listing_by_engine(engine, &context, "an empty ignore file of its own", &["-f", &app]),
            "{}",
            engine.name
        );
        assert_ne!(key(&["-f", "docker/App"]), before, "{}", engine.name);
    }
}

#[test]
fn a_malformed_ignore_file_is_rejected_by_larder_and_the_engine() {
    for engine in &builders() {
        for ignore in ["[a-\n", "a\\\n", "!\n"] {
            let context = tree_project(engine, "");
            context.write(".dockerignore", ignore);
            let mut build = engine.docker();
            let run = run_to_end(build.args(["build", "-q"]).arg(context.project()), None);
            assert_ne!(run.code, 0, "{ignore:?} on {}", engine.name);
            assert!(
                context::walk(
                    &context.project(),
                    &Filter { exclude: ignorefile::parse(ignore.as_bytes()), ..Filter::default() }
                )
                .is_err()
            );
        }
    }
}
