//! Determines which program uses a mount as its cache, by the target or else by the commands of the RUN. Does no I/O.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CacheKind {
    Pip,
    Uv,
    Poetry,
    Pdm,
    /// conda, mamba or micromamba.
    Conda,
    /// The packages or package lists of apt.
    Apt,
    Npm,
    Yarn,
    Pnpm,
    /// The build cache of the Go compiler.
    GoBuild,
    /// The module cache of Go.
    GoModules,
    /// The registry or git checkouts of Cargo.
    Cargo,
    Ccache,
    Sccache,
    Maven,
    Gradle,
    Bundler,
    /// Any other program.
    Other,
}

/// The suffixes of the default cache directories of programs.
const CACHE_TARGETS: [(&str, CacheKind); 37] = [
    ("/.cache/pip", CacheKind::Pip),
    ("/pip-cache", CacheKind::Pip),
    ("/.pip-cache", CacheKind::Pip),
    ("/.cache/uv", CacheKind::Uv),
    ("/.cache/pypoetry", CacheKind::Poetry),
    ("/.cache/pypoetry/cache", CacheKind::Poetry),
    ("/.cache/pypoetry/artifacts", CacheKind::Poetry),
    ("/.cache/pdm", CacheKind::Pdm),
    ("/conda/pkgs", CacheKind::Conda),
    ("/mamba/pkgs", CacheKind::Conda),
    ("/micromamba/pkgs", CacheKind::Conda),
    ("/miniconda3/pkgs", CacheKind::Conda),
    ("/var/cache/apt", CacheKind::Apt),
    ("/var/cache/apt/archives", CacheKind::Apt),
    ("/var/lib/apt", CacheKind::Apt),
    ("/var/lib/apt/lists", CacheKind::Apt),
    ("/.npm", CacheKind::Npm),
    ("/.npm/_cacache", CacheKind::Npm),
    ("/.cache/yarn", CacheKind::Yarn),
    ("/.yarn/cache", CacheKind::Yarn),
    ("/.yarn/berry/cache", CacheKind::Yarn),
    ("/.cache/yarn/v6", CacheKind::Yarn),
    ("/pnpm/store", CacheKind::Pnpm),
    ("/.pnpm-store", CacheKind::Pnpm),
    ("/.cache/go-build", CacheKind::GoBuild),
    ("/go/pkg/mod", CacheKind::GoModules),
    ("/cargo/registry", CacheKind::Cargo),
    ("/.cargo/registry", CacheKind::Cargo),
    ("/cargo/git", CacheKind::Cargo),
    ("/.cargo/git", CacheKind::Cargo),
    ("/.ccache", CacheKind::Ccache),
    ("/.cache/ccache", CacheKind::Ccache),
    ("/.cache/sccache", CacheKind::Sccache),
    ("/.m2", CacheKind::Maven),
    ("/.m2/repository", CacheKind::Maven),
    ("/.gradle", CacheKind::Gradle),
    ("/.gradle/caches", CacheKind::Gradle),
];

/// The commands that use a cache. If several match, the first one of this list is used.
const COMMANDS: [(&str, CacheKind); 27] = [
    ("uv", CacheKind::Uv),
    ("poetry", CacheKind::Poetry),
    ("pdm", CacheKind::Pdm),
    ("pip", CacheKind::Pip),
    ("pip3", CacheKind::Pip),
    ("conda", CacheKind::Conda),
    ("mamba", CacheKind::Conda),
    ("micromamba", CacheKind::Conda),
    ("pnpm", CacheKind::Pnpm),
    ("yarn", CacheKind::Yarn),
    ("npm", CacheKind::Npm),
    ("apt-get", CacheKind::Apt),
    ("apt", CacheKind::Apt),
    ("sccache", CacheKind::Sccache),
    ("ccache", CacheKind::Ccache),
    ("go", CacheKind::GoBuild),
    ("cargo", CacheKind::Cargo),
    ("mvn", CacheKind::Maven),
    ("mvnw", CacheKind::Maven),
    ("./mvnw", CacheKind::Maven),
    ("gradle", CacheKind::Gradle),
    ("gradlew", CacheKind::Gradle),
    ("./gradlew", CacheKind::Gradle),
    ("bundle", CacheKind::Bundler),
    ("bundler", CacheKind::Bundler),
    ("gem", CacheKind::Bundler),
    ("pip-sync", CacheKind::Pip),
];

impl CacheKind {
    /// Returns the kind of a mount at `target` in a RUN with `script`.
    pub(crate) fn of(target: &str, script: &str) -> Self {
        let target = target.trim_end_matches('/');
        let by_place = CACHE_TARGETS.iter().find(|(end, _)| target.ends_with(end)).map(|(_, kind)| *kind);
        let by_place = by_place.or_else(|| target.ends_with("/bundle").then_some(Self::Bundler));
        by_place.or_else(|| Self::of_command(script)).unwrap_or(Self::Other)
    }

    fn of_command(script: &str) -> Option<Self> {
        let separators = |char: char| char.is_whitespace() || matches!(char, ';' | '&' | '|' | '(' | ')');
        let words: Vec<&str> = script.split(separators).collect();
        COMMANDS.iter().find(|(command, _)| words.contains(command)).map(|(_, kind)| *kind)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pip => "pip",
            Self::Uv => "uv",
            Self::Poetry => "poetry",
            Self::Pdm => "pdm",
            Self::Conda => "conda",
            Self::Apt => "apt",
            Self::Npm => "npm",
            Self::Yarn => "yarn",
            Self::Pnpm => "pnpm",
            Self::GoBuild => "go-build",
            Self::GoModules => "go-modules",
            Self::Cargo => "cargo",
            Self::Ccache => "ccache",
            Self::Sccache => "sccache",
            Self::Maven => "maven",
            Self::Gradle => "gradle",
            Self::Bundler => "bundler",
            Self::Other => "plain",
        }
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
