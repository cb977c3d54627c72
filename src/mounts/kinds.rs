//! Determines which program uses a mount as its cache, by the target or else by the commands of the RUN. Does no I/O.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
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
    Plain,
}

/// The suffixes of the default cache directories of programs.
const PLACES: [(&str, Kind); 37] = [
    ("/.cache/pip", Kind::Pip),
    ("/pip-cache", Kind::Pip),
    ("/.pip-cache", Kind::Pip),
    ("/.cache/uv", Kind::Uv),
    ("/.cache/pypoetry", Kind::Poetry),
    ("/.cache/pypoetry/cache", Kind::Poetry),
    ("/.cache/pypoetry/artifacts", Kind::Poetry),
    ("/.cache/pdm", Kind::Pdm),
    ("/conda/pkgs", Kind::Conda),
    ("/mamba/pkgs", Kind::Conda),
    ("/micromamba/pkgs", Kind::Conda),
    ("/miniconda3/pkgs", Kind::Conda),
    ("/var/cache/apt", Kind::Apt),
    ("/var/cache/apt/archives", Kind::Apt),
    ("/var/lib/apt", Kind::Apt),
    ("/var/lib/apt/lists", Kind::Apt),
    ("/.npm", Kind::Npm),
    ("/.npm/_cacache", Kind::Npm),
    ("/.cache/yarn", Kind::Yarn),
    ("/.yarn/cache", Kind::Yarn),
    ("/.yarn/berry/cache", Kind::Yarn),
    ("/.cache/yarn/v6", Kind::Yarn),
    ("/pnpm/store", Kind::Pnpm),
    ("/.pnpm-store", Kind::Pnpm),
    ("/.cache/go-build", Kind::GoBuild),
    ("/go/pkg/mod", Kind::GoModules),
    ("/cargo/registry", Kind::Cargo),
    ("/.cargo/registry", Kind::Cargo),
    ("/cargo/git", Kind::Cargo),
    ("/.cargo/git", Kind::Cargo),
    ("/.ccache", Kind::Ccache),
    ("/.cache/ccache", Kind::Ccache),
    ("/.cache/sccache", Kind::Sccache),
    ("/.m2", Kind::Maven),
    ("/.m2/repository", Kind::Maven),
    ("/.gradle", Kind::Gradle),
    ("/.gradle/caches", Kind::Gradle),
];

/// The commands that use a cache. If several match, the first one of this list is used.
const COMMANDS: [(&str, Kind); 27] = [
    ("uv", Kind::Uv),
    ("poetry", Kind::Poetry),
    ("pdm", Kind::Pdm),
    ("pip", Kind::Pip),
    ("pip3", Kind::Pip),
    ("conda", Kind::Conda),
    ("mamba", Kind::Conda),
    ("micromamba", Kind::Conda),
    ("pnpm", Kind::Pnpm),
    ("yarn", Kind::Yarn),
    ("npm", Kind::Npm),
    ("apt-get", Kind::Apt),
    ("apt", Kind::Apt),
    ("sccache", Kind::Sccache),
    ("ccache", Kind::Ccache),
    ("go", Kind::GoBuild),
    ("cargo", Kind::Cargo),
    ("mvn", Kind::Maven),
    ("mvnw", Kind::Maven),
    ("./mvnw", Kind::Maven),
    ("gradle", Kind::Gradle),
    ("gradlew", Kind::Gradle),
    ("./gradlew", Kind::Gradle),
    ("bundle", Kind::Bundler),
    ("bundler", Kind::Bundler),
    ("gem", Kind::Bundler),
    ("pip-sync", Kind::Pip),
];

impl Kind {
    /// Returns the kind of a mount at `target` in a RUN with `script`.
    pub(crate) fn of(target: &str, script: &str) -> Self {
        let target = target.trim_end_matches('/');
        let by_place = PLACES.iter().find(|(end, _)| target.ends_with(end)).map(|(_, kind)| *kind);
        let by_place = by_place.or_else(|| target.ends_with("/bundle").then_some(Self::Bundler));
        by_place.or_else(|| Self::of_command(script)).unwrap_or(Self::Plain)
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
            Self::Plain => "plain",
        }
    }
}

impl fmt::Display for Kind {
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
            ("/root/.cache/pip", "pip install -r requirements.txt", Kind::Pip),
            ("/root/.cache/pip/", "", Kind::Pip),
            ("/home/app/.cache/uv", "pip install uv && uv sync", Kind::Uv),
            ("/cache", "python -m pip install .", Kind::Pip),
            ("/cache", "pip install uv && uv sync", Kind::Uv),
            ("/var/lib/apt", "apt-get update && apt-get install -y git", Kind::Apt),
            ("/usr/local/cargo/registry", "cargo build", Kind::Cargo),
            ("/go/pkg/mod", "go build ./...", Kind::GoModules),
            ("/cache", "(cd app;go build)", Kind::GoBuild),
            ("/usr/local/bundle", "bundle install", Kind::Bundler),
            ("/work/data", "make data", Kind::Plain),
            ("/work/data", "cat pipeline.txt", Kind::Plain),
        ] {
            assert_eq!(Kind::of(target, script), kind, "{target} {script}");
        }
    }
}
