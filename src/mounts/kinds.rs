//! Determines which program uses a mount as its cache, by the target or else by the commands of the RUN. Does no I/O.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CacheKind {
    Pip,
    Uv,
    Poetry,
    Pdm,
    Conda,
    Apt,
    Npm,
    Yarn,
    Pnpm,
    GoBuild,
    GoModules,
    Cargo,
    Ccache,
    Sccache,
    Maven,
    Gradle,
    Bundler,
    Other,
}

type CacheKindRow = (CacheKind, &'static str, &'static [&'static str], &'static [&'static str]);

/// The kinds with their names, the suffixes of their default cache directories and the commands that use them. If
/// commands of several kinds match, the first kind of this list is used.
const KINDS: [CacheKindRow; 18] = [
    (CacheKind::Uv, "uv", &["/.cache/uv"], &["uv"]),
    (
        CacheKind::Poetry,
        "poetry",
        &["/.cache/pypoetry", "/.cache/pypoetry/cache", "/.cache/pypoetry/artifacts"],
        &["poetry"],
    ),
    (CacheKind::Pdm, "pdm", &["/.cache/pdm"], &["pdm"]),
    (CacheKind::Pip, "pip", &["/.cache/pip", "/pip-cache", "/.pip-cache"], &["pip", "pip3"]),
    (
        CacheKind::Conda,
        "conda",
        &["/conda/pkgs", "/mamba/pkgs", "/micromamba/pkgs", "/miniconda3/pkgs"],
        &["conda", "mamba", "micromamba"],
    ),
    (CacheKind::Pnpm, "pnpm", &["/pnpm/store", "/.pnpm-store"], &["pnpm"]),
    (
        CacheKind::Yarn,
        "yarn",
        &["/.cache/yarn", "/.yarn/cache", "/.yarn/berry/cache", "/.cache/yarn/v6"],
        &["yarn"],
    ),
    (CacheKind::Npm, "npm", &["/.npm", "/.npm/_cacache"], &["npm"]),
    (
        CacheKind::Apt,
        "apt",
        &["/var/cache/apt", "/var/cache/apt/archives", "/var/lib/apt", "/var/lib/apt/lists"],
        &["apt-get", "apt"],
    ),
    (CacheKind::Sccache, "sccache", &["/.cache/sccache"], &["sccache"]),
    (CacheKind::Ccache, "ccache", &["/.ccache", "/.cache/ccache"], &["ccache"]),
    (CacheKind::GoBuild, "go-build", &["/.cache/go-build"], &["go"]),
    (
        CacheKind::Cargo,
        "cargo",
        &["/cargo/registry", "/.cargo/registry", "/cargo/git", "/.cargo/git"],
        &["cargo"],
    ),
    (CacheKind::Maven, "maven", &["/.m2", "/.m2/repository"], &["mvn", "mvnw", "./mvnw"]),
    (CacheKind::Gradle, "gradle", &["/.gradle", "/.gradle/caches"], &["gradle", "gradlew", "./gradlew"]),
    (CacheKind::Bundler, "bundler", &["/bundle"], &["bundle", "bundler", "gem"]),
    (CacheKind::GoModules, "go-modules", &["/go/pkg/mod"], &[]),
    (CacheKind::Pip, "pip", &[], &["pip-sync"]),
];

impl CacheKind {
    pub(crate) fn of(target: &str, script: &str) -> Self {
        let target = target.trim_end_matches('/');
        let by_place = KINDS.iter().find(|(_, _, ends, _)| ends.iter().any(|end| target.ends_with(end)));
        by_place.map(|(kind, ..)| *kind).or_else(|| Self::of_command(script)).unwrap_or(Self::Other)
    }

    fn of_command(script: &str) -> Option<Self> {
        let separators = |char: char| char.is_whitespace() || matches!(char, ';' | '&' | '|' | '(' | ')');
        let words: Vec<&str> = script.split(separators).collect();
        let is_used = |commands: &[&str]| commands.iter().any(|command| words.contains(command));
        KINDS.iter().find(|(.., commands)| is_used(commands)).map(|(kind, ..)| *kind)
    }

    pub(crate) fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("plain", |(_, name, ..)| *name)
    }
}

impl fmt::Display for CacheKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_from_the_target_or_else_from_the_command() {
        for (target, script, kind) in [
            ("/root/.cache/pip", "pip install -r requirements.txt", CacheKind::Pip),
            ("/root/.cache/pip/", "", CacheKind::Pip),
            ("/home/app/.cache/uv", "pip install uv && uv sync", CacheKind::Uv),
            ("/cache", "python -m pip install .", CacheKind::Pip),
            ("/cache", "pip install uv && uv sync", CacheKind::Uv),
            ("/var/lib/apt", "apt-get update && apt-get install -y git", CacheKind::Apt),
            ("/usr/local/cargo/registry", "cargo build", CacheKind::Cargo),
            ("/go/pkg/mod", "go build ./...", CacheKind::GoModules),
            ("/cache", "(cd app;go build)", CacheKind::GoBuild),
            ("/usr/local/bundle", "bundle install", CacheKind::Bundler),
            ("/work/data", "make data", CacheKind::Other),
            ("/work/data", "cat pipeline.txt", CacheKind::Other),
        ] {
            assert_eq!(CacheKind::of(target, script), kind, "{target} {script}");
        }
    }
}
