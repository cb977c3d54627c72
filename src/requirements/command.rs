//! What a command line installs, and from which files.

use super::catalogue::{INSTALLERS, TOOLS, is_manifest_name, is_requirements_name};
use super::pip::{self, Positional};
use super::{FileUse, join, shell};

/// The dependency files that a shell command line names.
///
/// Each once, in the order in which they are named. Files that a tool reads
/// only if they are there are named too.
pub fn named_by(command: &str) -> Vec<FileUse> {
    Reading::of_script(command).uses
}

/// As [`named_by`], for a program and its arguments.
pub fn named_by_argv(argv: &[String]) -> Vec<FileUse> {
    Reading::of_argv(argv).uses
}

/// Whether a shell command line installs dependencies, from files or by name.
pub fn installs(command: &str) -> bool {
    Reading::of_script(command).installs
}

/// As [`installs`], for a program and its arguments.
pub fn installs_argv(argv: &[String]) -> bool {
    Reading::of_argv(argv).installs
}

#[derive(Default)]
struct Reading {
    uses: Vec<FileUse>,
    installs: bool,
    /// The working directory, relative to that of the whole command.
    directory: String,
}

/// Words that may stand before a command.
const PREFIXES: [&str; 16] = [
    "if", "then", "else", "elif", "while", "until", "do", "!", "{", "time", "exec", "command", "builtin",
    "nohup", "noglob", "doas",
];

impl Reading {
    fn of_script(script: &str) -> Self {
        let mut reading = Self::default();
        reading.script(script);
        reading.finish()
    }

    fn of_argv(argv: &[String]) -> Self {
        let mut reading = Self::default();
        reading.command(argv);
        reading.mentions(argv);
        reading.finish()
    }

    fn finish(mut self) -> Self {
        self.installs |= !self.uses.is_empty();
        let mut seen = std::collections::BTreeSet::new();
        self.uses.retain(|found| seen.insert(found.path.clone()));
        self
    }

    fn script(&mut self, script: &str) {
        let commands = shell::commands(script);
        for words in &commands {
            self.command(words);
        }
        // Whatever else is done with a dependency file (`cat reqs.txt | xargs
        // pip install`, `sed -i … requirements.txt`) decides what is installed.
        for words in &commands {
            self.mentions(words);
        }
    }

    fn mentions(&mut self, words: &[String]) {
        for word in words.iter().skip(1) {
            let path = word.rsplit_once('=').map_or(word.as_str(), |(_, path)| path);
            let path = path.strip_prefix('@').unwrap_or(path);
            let name = path.rsplit('/').next().unwrap_or(path);
            if pip::is_address(path) || self.uses.iter().any(|found| found.path.ends_with(path)) {
                continue;
            }
            if is_requirements_name(name) {
                self.uses.push(FileUse::requirements(path));
            } else if is_manifest_name(name) {
                self.uses.push(FileUse::verbatim(path));
            }
        }
    }

    fn command(&mut self, words: &[String]) {
        let mut words = words;
        loop {
            let Some(first) = words.first() else { return };
            let program = program(first);
            let skip = match program {
                _ if PREFIXES.contains(&program) => 1,
                "sudo" | "env" | "nice" | "ionice" | "timeout" | "xargs" | "chroot" | "su-exec" | "gosu" => {
                    1 + options(&words[1..], program)
                }
                _ => match first.split_once('=') {
                    Some((name, value)) if is_name(name) => {
                        if matches!(name, "PIP_CONSTRAINT" | "PIP_REQUIREMENT" | "UV_CONSTRAINT") {
                            self.uses.push(FileUse::requirements(join(&self.directory, value)));
                        }
                        1
                    }
                    _ => break,
                },
            };
            words = &words[skip.min(words.len())..];
        }
        let (program, arguments) = (program(&words[0]), &words[1..]);
        match program {
            "cd" | "pushd" => {
                let target = arguments.iter().find(|argument| !argument.starts_with('-'));
                self.directory = join(&self.directory, target.map_or("", String::as_str));
            }
            "eval" => self.script(&arguments.join(" ")),
            "sh" | "bash" | "dash" | "ash" | "zsh" | "ksh" => {
                let command = arguments.iter().position(|argument| {
                    argument.starts_with('-') && !argument.starts_with("--") && argument.ends_with('c')
                });
                if let Some(script) = command.and_then(|index| arguments.get(index + 1)) {
                    self.script(script);
                }
            }
            _ if is_versioned(program, "python") || is_versioned(program, "pypy") => self.python(arguments),
            _ if is_versioned(program, "pip") => self.pip(arguments),
            "pip-sync" | "pip-compile" => self.pip_tools(program, arguments),
            _ => self.tool(program, arguments),
        }
    }

    fn python(&mut self, arguments: &[String]) {
        if let Some(module) = arguments.iter().position(|argument| argument == "-m") {
            if let Some(name) = arguments.get(module + 1) {
                let name = if name == "piptools" { "pip-tools" } else { name };
                match name {
                    "pip" => self.pip(&arguments[module + 2..]),
                    "pip-tools" => {
                        self.pip_tools("pip-sync", arguments.get(module + 3..).unwrap_or_default());
                    }
                    "build" => pip::local(".", &self.directory, &mut self.uses),
                    name => self.tool(name, &arguments[module + 2..]),
                }
            }
            return;
        }
        if let Some(script) = arguments.iter().find(|argument| !argument.starts_with('-'))
            && let Some(project) = script.strip_suffix("setup.py")
        {
            pip::local(if project.is_empty() { "." } else { project }, &self.directory, &mut self.uses);
        }
    }

    fn pip(&mut self, arguments: &[String]) {
        const VERBS: [&str; 6] = ["install", "download", "wheel", "sync", "compile", "lock"];
        let Some(verb) = arguments.iter().position(|argument| VERBS.contains(&argument.as_str())) else {
            return;
        };
        let positional = match arguments[verb].as_str() {
            "sync" | "compile" => Positional::Requirements,
            _ => Positional::Packages,
        };
        self.installs = true;
        self.uses.extend(pip::named(&arguments[verb + 1..], &self.directory, positional));
    }

    fn pip_tools(&mut self, program: &str, arguments: &[String]) {
        self.installs = true;
        let named = pip::named(arguments, &self.directory, Positional::Requirements);
        if named.is_empty() {
            let default = if program == "pip-sync" { "requirements.txt" } else { "requirements.in" };
            self.uses.push(FileUse::requirements(join(&self.directory, default)));
            pip::local(".", &self.directory, &mut self.uses);
        }
        self.uses.extend(named);
    }

    fn tool(&mut self, program: &str, arguments: &[String]) {
        if program == "uv"
            && let Some(index) = arguments.iter().position(|argument| argument == "pip")
        {
            return self.pip(&arguments[index + 1..]);
        }
        let asks = |verbs: &[&str]| {
            verbs.is_empty() || arguments.iter().any(|argument| verbs.contains(&argument.as_str()))
        };
        if let Some((_, verbs)) = INSTALLERS.iter().find(|(name, _)| *name == program) {
            self.installs |= asks(verbs);
        }
        let Some(tool) = TOOLS.iter().find(|tool| tool.programs.contains(&program)) else { return };
        if !asks(tool.verbs) {
            return;
        }
        self.installs = true;
        let directory = valued(arguments, tool.directory).pop().unwrap_or_default();
        let directory = join(&self.directory, &directory);
        for file in valued(arguments, tool.file) {
            let path = join(&self.directory, &file);
            let name = path.rsplit('/').next().unwrap_or(&path);
            self.uses.push(if is_requirements_name(name) {
                FileUse::requirements(path)
            } else {
                FileUse::verbatim(path)
            });
        }
        self.uses.extend(tool.files.iter().map(|file| FileUse::verbatim(join(&directory, file))));
    }
}

/// The values of `names` among `arguments`: `--name value`, `--name=value`, `-nvalue`.
fn valued(arguments: &[String], names: &[&str]) -> Vec<String> {
    let mut values = Vec::new();
    for (index, argument) in arguments.iter().enumerate() {
        for name in names {
            let Some(rest) = argument.strip_prefix(name) else { continue };
            let value = match rest.strip_prefix('=') {
                Some(value) => Some(value.to_owned()),
                None if rest.is_empty() => arguments.get(index + 1).cloned(),
                None if !name.starts_with("--") && name.len() == 2 => Some(rest.to_owned()),
                None => None,
            };
            values.extend(value);
        }
    }
    values
}

/// How many words behind a prefix such as `sudo` or `xargs` belong to it.
fn options(words: &[String], program: &str) -> usize {
    let valued: &[&str] = match program {
        "sudo" => &["-u", "-g", "-h", "-p", "-C", "-D", "-R", "-T"],
        "env" => &["-u", "-C", "-S"],
        "xargs" => &["-n", "-I", "-P", "-L", "-s", "-a", "-d", "-E"],
        "nice" | "ionice" => &["-n", "-c"],
        "timeout" => &["-k", "-s"],
        _ => &[],
    };
    let mut taken = 0;
    while let Some(word) = words.get(taken).filter(|word| word.starts_with('-')) {
        taken += if valued.contains(&word.as_str()) { 2 } else { 1 };
    }
    // A duration, a directory, a user.
    taken + usize::from(matches!(program, "timeout" | "chroot" | "su-exec" | "gosu"))
}

/// The name of a program without its directory.
fn program(word: &str) -> &str {
    let name = word.rsplit('/').next().unwrap_or(word);
    name.strip_suffix(".exe").unwrap_or(name)
}

/// `pip`, `pip3`, `pip3.11`.
fn is_versioned(program: &str, name: &str) -> bool {
    program
        .strip_prefix(name)
        .is_some_and(|version| version.chars().all(|char| char.is_ascii_digit() || char == '.'))
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || char == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The named paths; pip requirements are marked with `-r`.
    fn named(command: &str) -> Vec<String> {
        let shown = |found: FileUse| match found.format {
            crate::requirements::Format::PipRequirements => format!("-r {}", found.path),
            crate::requirements::Format::Verbatim => found.path,
        };
        named_by(command).into_iter().map(shown).collect()
    }

    const PROJECT: [&str; 3] = ["pyproject.toml", "setup.py", "setup.cfg"];

    #[test]
    fn pip_command_lines_name_their_requirement_files() {
        let table: &[(&str, &[&str])] = &[
            ("pip install -r requirements.txt", &["-r requirements.txt"]),
            ("pip3 install --no-cache-dir -r requirements.txt", &["-r requirements.txt"]),
            ("pip3.11 install --requirement=reqs/base.txt", &["-r reqs/base.txt"]),
            ("python -m pip install --requirement a.txt -c c.txt", &["-r a.txt", "-r c.txt"]),
            ("python3.11 -m pip install -Ur a.txt -cb.txt", &["-r a.txt", "-r b.txt"]),
            ("/opt/venv/bin/pip install -qr 'my reqs.txt'", &["-r my reqs.txt"]),
            ("sudo -H -u app pip install -r a.txt", &["-r a.txt"]),
            ("PIP_NO_CACHE_DIR=1 PIP_CONSTRAINT=c.txt pip install flask", &["-r c.txt"]),
            ("env A=b pip install -r a.txt", &["-r a.txt"]),
            ("pip install -i https://x/simple -r a.txt numpy", &["-r a.txt"]),
            ("pip install -r https://x/reqs.txt numpy==1", &[]),
            ("pip install -r /app/requirements.txt", &["-r /app/requirements.txt"]),
            ("pip install -r $REQS", &["-r $REQS"]),
            ("pip download -d /wheels -r a.txt", &["-r a.txt"]),
            ("uv pip install --system -r a.txt", &["-r a.txt"]),
            ("uv pip sync a.txt b.txt", &["-r a.txt", "-r b.txt"]),
            ("pip-sync dev.txt", &["-r dev.txt"]),
            ("cd /srv/app && pip install -r a.txt", &["-r /srv/app/a.txt"]),
            ("cd sub; pip install -r ../a.txt", &["-r sub/../a.txt"]),
            ("set -ex && apt-get update && pip install \\\n  -r a.txt \\\n  && rm -rf /x", &["-r a.txt"]),
            ("bash -euc 'pip install -r a.txt'", &["-r a.txt"]),
            ("if [ -f a.txt ]; then pip install -r a.txt; fi", &["-r a.txt"]),
            ("cat requirements.txt | xargs -n 1 pip install", &["-r requirements.txt"]),
            ("xargs pip install < requirements.txt", &["-r requirements.txt"]),
            ("pip install $(grep -v torch reqs.txt)", &["-r reqs.txt"]),
            ("pip install dist/app-1.0-py3-none-any.whl", &["dist/app-1.0-py3-none-any.whl"]),
            ("pip install git+https://github.com/a/b.git", &[]),
            ("echo pip", &[]),
        ];
        for (command, paths) in table {
            assert_eq!(&named(command), paths, "{command}");
        }
    }

    #[test]
    fn local_projects_name_their_project_files() {
        for command in [
            "pip install .",
            "pip install -e .",
            "pip install --editable=.",
            "pip install '.[dev]'",
            "python setup.py install",
            "python -m build",
            "pip install ./",
        ] {
            assert_eq!(named(command), PROJECT, "{command}");
        }
        assert_eq!(named("pip install -e ./libs/a[x]")[0], "libs/a/pyproject.toml");
        assert_eq!(named("cd /app && pip install .")[0], "/app/pyproject.toml");
    }

    #[test]
    fn other_tools_name_their_manifests_and_locks() {
        let table: &[(&str, &[&str])] = &[
            ("poetry install --no-root", &["pyproject.toml", "poetry.lock"]),
            ("poetry -C /app install", &["/app/pyproject.toml", "/app/poetry.lock"]),
            ("uv sync --frozen --no-dev", &["pyproject.toml", "uv.lock"]),
            ("uv export --project svc > r.txt", &["svc/pyproject.toml", "svc/uv.lock"]),
            ("python -m pdm sync", &["pyproject.toml", "pdm.lock"]),
            ("pipenv install --deploy --system", &["Pipfile", "Pipfile.lock"]),
            ("conda env create -f env/gpu.yml", &["env/gpu.yml"]),
            ("micromamba install -y --file=lock.yml", &["lock.yml"]),
            ("conda install --file requirements.txt", &["requirements.txt"]),
            ("npm ci", &["package.json", "package-lock.json"]),
            ("npm --prefix web install", &["web/package.json", "web/package-lock.json"]),
            ("yarn", &["package.json", "yarn.lock"]),
            ("yarn install --frozen-lockfile", &["package.json", "yarn.lock"]),
            ("pnpm i --frozen-lockfile", &["package.json", "pnpm-lock.yaml"]),
            ("go mod download", &["go.mod", "go.sum"]),
            ("CGO_ENABLED=0 go build ./...", &["go.mod", "go.sum"]),
            ("cargo build --release", &["Cargo.toml", "Cargo.lock"]),
            ("bundle install", &["Gemfile", "Gemfile.lock"]),
            ("corepack enable && yarn", &["package.json", "yarn.lock"]),
        ];
        for (command, paths) in table {
            let named: Vec<_> = named_by(command).into_iter().map(|found| found.path).collect();
            for path in *paths {
                assert!(named.iter().any(|named| named == path), "{command}: {named:?} lacks {path}");
            }
        }
    }

    #[test]
    fn installing_by_name_is_installing() {
        for command in [
            "apt-get update && apt-get install -y curl",
            "apk add --no-cache git",
            "pip install flask==3.0",
            "npm ci",
            "sudo dnf install -y gcc",
        ] {
            assert!(installs(command), "{command}");
        }
        for command in ["apt-get update", "pip --version", "make", "echo hello", "npm run build", "rm -rf /x"]
        {
            assert!(!installs(command), "{command}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_command_line_makes_the_reading_panic(
            words in proptest::collection::vec("[ -~é\n]{0,8}|pip|install|-r|-m|sudo|xargs|sh|-c|uv", 0..12),
        ) {
            let command = words.join(" ");
            proptest::prop_assert!(named_by(&command).is_empty() || installs(&command));
            drop(named_by_argv(&words));
        }
    }

    #[test]
    fn the_exec_form_is_read_without_a_shell() {
        let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let pip = argv(&["pip", "install", "-r", "a b.txt"]);
        assert_eq!(named_by_argv(&pip), [FileUse::requirements("a b.txt")]);
        let shell = argv(&["/bin/sh", "-c", "pip install -r a.txt"]);
        assert_eq!(named_by_argv(&shell), [FileUse::requirements("a.txt")]);
        assert!(installs_argv(&argv(&["apt-get", "install", "curl"])));
    }
}
