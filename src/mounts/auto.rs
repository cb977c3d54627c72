//! Which RUNs could use a cache mount that they do not have: pure.
//!
//! A RUN that turns its program's cache off, or throws it away, does so on
//! purpose and is left alone; so is one that another user runs than root, whose
//! home and owner only the image knows. apt counts where the Dockerfile itself
//! sees to it that packages are kept, for Debian's images delete them.

use std::collections::BTreeMap;

use super::kinds::Kind;
use crate::dockerfile::{InstructionKind, Resolution, ResolvedInstruction, Run, RunCommand};
use crate::requirements::simple_commands;

/// A program that could use a cache.
struct Program {
    kind: Kind,
    names: &'static [&'static str],
    /// What it is to do; the first argument that is no option.
    actions: &'static [&'static str],
    /// Where it keeps its cache as root.
    places: &'static [&'static str],
    /// The variable that says otherwise.
    place_variable: Option<&'static str>,
    /// Options and variables that turn the cache off.
    off: &'static [&'static str],
    off_variables: &'static [&'static str],
}

const PROGRAMS: [Program; 8] = [
    Program {
        kind: Kind::Pip,
        names: &["pip", "pip3"],
        actions: &["install", "download", "wheel"],
        places: &["/root/.cache/pip"],
        place_variable: Some("PIP_CACHE_DIR"),
        off: &["--no-cache-dir", "--no-cache"],
        off_variables: &["PIP_NO_CACHE_DIR"],
    },
    Program {
        kind: Kind::Uv,
        names: &["uv"],
        actions: &["pip", "sync", "run", "add", "tool"],
        places: &["/root/.cache/uv"],
        place_variable: Some("UV_CACHE_DIR"),
        off: &["--no-cache", "--no-cache-dir", "-n"],
        off_variables: &["UV_NO_CACHE"],
    },
    Program {
        kind: Kind::Poetry,
        names: &["poetry"],
        actions: &["install", "sync", "update", "add"],
        places: &["/root/.cache/pypoetry"],
        place_variable: Some("POETRY_CACHE_DIR"),
        off: &["--no-cache"],
        off_variables: &[],
    },
    Program {
        kind: Kind::Pdm,
        names: &["pdm"],
        actions: &["install", "sync", "update", "add"],
        places: &["/root/.cache/pdm"],
        place_variable: None,
        off: &[],
        off_variables: &[],
    },
    Program {
        kind: Kind::Npm,
        names: &["npm"],
        actions: &["ci", "install", "i"],
        places: &["/root/.npm"],
        place_variable: Some("npm_config_cache"),
        off: &[],
        off_variables: &[],
    },
    Program {
        kind: Kind::Yarn,
        names: &["yarn"],
        actions: &["install", ""],
        places: &["/usr/local/share/.cache/yarn"],
        place_variable: Some("YARN_CACHE_FOLDER"),
        off: &[],
        off_variables: &[],
    },
    Program {
        kind: Kind::Pnpm,
        names: &["pnpm"],
        actions: &["install", "i", "fetch"],
        places: &["/root/.local/share/pnpm/store"],
        place_variable: None,
        off: &[],
        off_variables: &[],
    },
    Program {
        kind: Kind::Apt,
        names: &["apt-get", "apt"],
        actions: &["install", "update", "upgrade", "dist-upgrade"],
        places: &["/var/cache/apt", "/var/lib/apt"],
        place_variable: None,
        off: &[],
        off_variables: &[],
    },
];

/// The `--mount` flags that RUNs could have in addition, by the line at which the RUN begins.
pub fn missing(resolution: &Resolution) -> BTreeMap<usize, Vec<String>> {
    let keeps_packages = resolution.stages.iter().flat_map(|stage| &stage.instructions).any(|at| {
        let text = &at.instruction.text;
        text.contains("docker-clean") || text.contains("Keep-Downloaded-Packages")
    });
    let mut missing = BTreeMap::new();
    for stage in &resolution.stages {
        for (place, at) in stage.instructions.iter().enumerate() {
            let InstructionKind::Run(run) = &at.instruction.kind else { continue };
            let is_root =
                resolution.user_at(stage, place).is_none_or(|user| matches!(user.as_str(), "root" | "0"));
            if at.triggered || !is_root {
                continue;
            }
            let flags: Vec<String> = (PROGRAMS.iter())
                .filter(|program| program.kind != Kind::Apt || keeps_packages)
                .filter(|program| uses(program, run, at))
                .flat_map(|program| flags(program, run, at))
                .collect();
            if !flags.is_empty() {
                missing.insert(*at.instruction.lines.start(), flags);
            }
        }
    }
    missing
}

/// Whether a RUN lets the program fill its cache.
fn uses(program: &Program, run: &Run, at: &ResolvedInstruction) -> bool {
    let commands = commands(run);
    let acts = |words: &Vec<String>| {
        let Some(name) = words.iter().position(|word| is_named(program, word)) else { return false };
        let action = words[name + 1..].iter().find(|word| !word.starts_with('-')).map_or("", String::as_str);
        program.actions.contains(&action)
    };
    commands.iter().any(acts) && off_word(program, &commands, at).is_none()
}

/// What in a RUN turns off the cache of a mount's program, as written; the mount is of no use to it then.
pub(super) fn turned_off(kind: Kind, at: &ResolvedInstruction) -> Option<String> {
    let InstructionKind::Run(run) = &at.instruction.kind else { return None };
    let program = PROGRAMS.iter().find(|program| program.kind == kind)?;
    off_word(program, &commands(run), at)
}

fn commands(run: &Run) -> Vec<Vec<String>> {
    match &run.command {
        RunCommand::Exec(words) => vec![words.clone()],
        RunCommand::Shell(_) => simple_commands(&run.script().unwrap_or_default()),
    }
}

/// The variable, the option or the command that turns the cache off or throws it away.
fn off_word(program: &Program, commands: &[Vec<String>], at: &ResolvedInstruction) -> Option<String> {
    let is_set = |variable: &&&str| at.scope.get(variable).is_some_and(|value| !value.is_empty());
    if let Some(variable) = program.off_variables.iter().find(is_set) {
        return Some((**variable).to_owned());
    }
    commands.iter().find_map(|words| {
        let sets = |word: &&String| {
            program.off_variables.iter().any(|variable| {
                word.strip_prefix(variable).is_some_and(|rest| rest.starts_with('=') && rest.len() > 1)
            })
        };
        let is_cache = |word: &String| ["cache", "/.npm", "/apt"].iter().any(|part| word.contains(part));
        let clears = words
            .iter()
            .find(|word| matches!(word.as_str(), "rm" | "purge" | "clean" | "clear" | "prune"))
            .filter(|_| {
                words.iter().any(is_cache) && !words.iter().any(|word| word.contains("docker-clean"))
            });
        let behind = words.iter().position(|word| is_named(program, word)).map(|name| &words[name + 1..]);
        let option = behind.into_iter().flatten().find(|word| program.off.contains(&word.as_str()));
        let cleared = clears.map(|_| words.join(" "));
        words.iter().find(sets).or(option).cloned().or(cleared)
    })
}

/// Whether a word of a command is the program: `pip`, `/opt/venv/bin/pip3.12`.
fn is_named(program: &Program, word: &str) -> bool {
    let name = word.rsplit('/').next().unwrap_or(word);
    let is_version = |rest: &str| rest.chars().all(|char| char.is_ascii_digit() || char == '.');
    program.names.iter().any(|known| {
        name == *known || (program.kind == Kind::Pip && name.strip_prefix(known).is_some_and(is_version))
    })
}

/// The flags that the RUN lacks for the program.
fn flags(program: &Program, run: &Run, at: &ResolvedInstruction) -> Vec<String> {
    let given = program.place_variable.and_then(|variable| at.scope.get(variable));
    if given.is_some_and(|place| !place.starts_with('/') || place.contains([',', '"', ' ', '$'])) {
        return Vec::new();
    }
    let places = given.map_or_else(|| program.places.to_vec(), |place| vec![place]);
    let is_mounted = |place: &str| {
        run.mounts.iter().any(|mount| {
            let target = mount.get("target").unwrap_or_default().trim_end_matches('/');
            let is_above =
                place.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            let is_below = target.strip_prefix(place).is_some_and(|rest| rest.starts_with('/'));
            is_above || is_below || Kind::of(target, "") == program.kind
        })
    };
    if places.iter().any(|place| is_mounted(place)) {
        return Vec::new();
    }
    let sharing = if program.kind == Kind::Apt { ",sharing=locked" } else { "" };
    places.iter().map(|place| format!("--mount=type=cache,target={place}{sharing}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dockerfile::{Dockerfile, Options};

    fn added(text: &str) -> Vec<(usize, String)> {
        let options = Options { build_platform: "linux/amd64".to_owned(), ..Options::default() };
        let resolution = Dockerfile::parse(text).unwrap().resolve(&options).unwrap();
        missing(&resolution).into_iter().map(|(line, flags)| (line, flags.join(" "))).collect()
    }

    /// What is added to one RUN of an image.
    fn of(run: &str) -> String {
        added(&format!("FROM python:3\n{run}\n")).pop().map(|(_, flags)| flags).unwrap_or_default()
    }

    #[test]
    fn installers_get_the_cache_that_they_use() {
        let mount = |place: &str| format!("--mount=type=cache,target={place}");
        for (run, place) in [
            ("RUN pip install -r requirements.txt", "/root/.cache/pip"),
            ("RUN python3 -m pip install --upgrade pip && echo done", "/root/.cache/pip"),
            ("RUN [\"/opt/venv/bin/pip3.12\", \"install\", \"flask\"]", "/root/.cache/pip"),
            ("RUN <<E\nset -e\npip install flask\nE", "/root/.cache/pip"),
            ("ENV PIP_CACHE_DIR=/pip\nRUN pip install flask", "/pip"),
            ("RUN uv sync --frozen", "/root/.cache/uv"),
            ("RUN poetry install --only main", "/root/.cache/pypoetry"),
            ("RUN npm ci", "/root/.npm"),
            ("RUN --mount=type=bind,source=.,target=/src pip install /src", "/root/.cache/pip"),
        ] {
            assert_eq!(of(run), mount(place), "{run}");
        }
        assert_eq!(
            of("RUN pip install uv && uv pip install -r r.txt"),
            format!("{} {}", mount("/root/.cache/pip"), mount("/root/.cache/uv"))
        );
    }

    #[test]
    fn a_run_that_wants_no_cache_or_has_one_is_left_alone() {
        for run in [
            "RUN pip install --no-cache-dir flask",
            "RUN PIP_NO_CACHE_DIR=1 pip install flask",
            "ENV PIP_NO_CACHE_DIR=off\nRUN pip install flask",
            "RUN pip install flask && rm -rf /root/.cache",
            "RUN pip install flask && pip cache purge",
            "RUN uv sync --no-cache",
            "ENV UV_NO_CACHE=1\nRUN uv sync",
            "RUN npm ci && npm cache clean --force",
            "RUN --mount=type=cache,target=/root/.cache/pip pip install flask",
            "RUN --mount=type=cache,target=/root/.cache pip install flask",
            "RUN --mount=type=cache,target=/home/x/.cache/pip pip install flask",
            "USER app\nRUN pip install flask",
            "USER 1000:0\nRUN pip install flask",
            "ENV PIP_CACHE_DIR=relative\nRUN pip install flask",
            "RUN pip list",
            "RUN echo pip && cat install",
            "RUN apt-get update && apt-get install -y git",
        ] {
            assert_eq!(of(run), "", "{run}");
        }
        assert_eq!(of("USER app\nUSER root\nRUN pip install flask"), of("RUN pip install flask"));
    }

    #[test]
    fn apt_gets_its_mounts_where_the_dockerfile_keeps_packages() {
        let text = "FROM debian AS base\nUSER 0\nRUN rm -f /etc/apt/apt.conf.d/docker-clean\n\
                    FROM base\nRUN apt-get update && \\\n apt-get install -y git\n";
        let flags = "--mount=type=cache,target=/var/cache/apt,sharing=locked \
                     --mount=type=cache,target=/var/lib/apt,sharing=locked";
        assert_eq!(added(text), [(5, flags.to_owned())]);
    }
}
