//! The git checkout of the working directory: its branch, and the remote's default branch.
//!
//! The files are read directly: agents may lack git, and git refuses directories with different owners.

use std::fs;
use std::path::{Path, PathBuf};

pub(super) const USUAL_DEFAULT_BRANCHES: [&str; 2] = ["main", "master"];
const REMOTE_REFERENCES: &str = "refs/remotes/origin/";

/// The branches of a checkout; empty without a checkout.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Checkout {
    /// The branch of `HEAD`, unless it is detached.
    pub(super) head: Option<String>,
    /// The branch of `refs/remotes/origin/HEAD`, which `git clone` writes and `git fetch` does not.
    pub(super) origin_head: Option<String>,
    /// The usual default branches that exist on the remote as of the last fetch.
    pub(super) usual_default_branches: Vec<&'static str>,
}

impl Checkout {
    pub(super) fn containing(directory: &Path) -> Self {
        directory.ancestors().find_map(git_directory).map(|git| Self::read(&git)).unwrap_or_default()
    }

    fn read(git: &Path) -> Self {
        // A linked worktree has its own HEAD and shares the references.
        let common = fs::read_to_string(git.join("commondir")).map(|path| git.join(path.trim()));
        let common = common.unwrap_or_else(|_| git.to_owned());
        let packed = fs::read_to_string(common.join("packed-refs")).unwrap_or_default();
        let has = |name: &str| {
            let reference = format!("{REMOTE_REFERENCES}{name}");
            let is_packed =
                || packed.lines().any(|line| line.split_once(' ').is_some_and(|(_, name)| name == reference));
            common.join(&reference).is_file() || is_packed()
        };
        Self {
            head: symbolic_branch(&git.join("HEAD"), "refs/heads/"),
            origin_head: symbolic_branch(&common.join(REMOTE_REFERENCES).join("HEAD"), REMOTE_REFERENCES),
            usual_default_branches: USUAL_DEFAULT_BRANCHES.into_iter().filter(|name| has(name)).collect(),
        }
    }
}

/// Returns the git directory of a worktree, whose `.git` is this directory or a file with its path.
fn git_directory(worktree: &Path) -> Option<PathBuf> {
    let git = worktree.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = fs::read_to_string(git).ok()?;
    Some(worktree.join(text.strip_prefix("gitdir:")?.trim()))
}

/// Returns the branch that a symbolic reference names, without the prefix `before`.
fn symbolic_branch(path: &Path, before: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let name = text.strip_prefix("ref:")?.trim().strip_prefix(before)?;
    // The placeholder of a repository that stores references in the reftable format.
    (name != ".invalid").then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_branch_and_the_default_branch_of_the_remote_are_read() {
        let base = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = base.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(Checkout::containing(&base.path().join("none")), Checkout::default());
        write("clone/.git/HEAD", "ref: refs/heads/topic/a\n");
        write("clone/.git/refs/remotes/origin/HEAD", "ref: refs/remotes/origin/develop\n");
        write("clone/.git/refs/remotes/origin/main", "0\n");
        write(
            "clone/.git/packed-refs",
            "# pack-refs\n0123 refs/remotes/origin/master\n0123 refs/heads/main\n",
        );
        write("clone/src/a", "");
        let clone = Checkout::containing(&base.path().join("clone/src"));
        assert_eq!(clone.head.as_deref(), Some("topic/a"));
        assert_eq!(clone.origin_head.as_deref(), Some("develop"));
        assert_eq!(clone.usual_default_branches, ["main", "master"]);
        write("clone/.git/worktrees/other/HEAD", "0123456789\n");
        write("clone/.git/worktrees/other/commondir", "../..\n");
        write("other/.git", "gitdir: ../clone/.git/worktrees/other\n");
        let other = Checkout::containing(&base.path().join("other"));
        assert_eq!(other, Checkout { head: None, ..clone });
        write("fetched/.git/HEAD", "0123456789\n");
        write("fetched/.git/packed-refs", "0123 refs/remotes/origin/master\n");
        let fetched = Checkout::containing(&base.path().join("fetched"));
        assert_eq!(fetched, Checkout { usual_default_branches: vec!["master"], ..Checkout::default() });
    }
}
