//! Tests of the files that command lines name.

use super::*;

fn command_dependencies(command: &str) -> CommandDependencies {
    script_dependencies(command, "")
}

/// Returns the named paths. `-r` marks pip requirements files.
fn named(command: &str) -> Vec<String> {
    let shown = |found: DependencyFile| match found.format {
        crate::requirements::DependencyFormat::PipRequirements => format!("-r {}", found.path),
        crate::requirements::DependencyFormat::Verbatim => found.path,
    };
    command_dependencies(command).uses.into_iter().map(shown).collect()
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
        // A file whose words become arguments is named in both formats.
        ("cat requirements.txt | xargs -n 1 pip install", &["-r requirements.txt", "requirements.txt"]),
        ("xargs pip install < deps.lst", &["-r deps.lst", "deps.lst"]),
        ("xargs -a deps.lst pip install", &["-r deps.lst", "deps.lst"]),
        ("xargs -a deps.lst rm", &[]),
        ("pip install $(grep -v '^torch' deps.lst)", &["-r deps.lst", "deps.lst"]),
        ("pip install `cat a.lst` && cat b.lst | wc -l", &["-r a.lst", "a.lst", "-r b.lst", "b.lst"]),
        (
            "pip install -r <(sed s/a/b/ deps.lst)",
            &["-r $", "-r s/a/b/", "s/a/b/", "-r deps.lst", "deps.lst"],
        ),
        ("curl -sS https://x/get.sh | sh", &[]),
        ("pip install -r - < deps.lst", &["-r deps.lst", "deps.lst"]),
        ("for f in a b; do pip install -r $f.txt; done", &["-r $f.txt"]),
        ("(cd web && pip install -r a.txt) && pip install -r b.txt", &["-r web/a.txt", "-r b.txt"]),
        ("pushd web; pip install -r a.txt; popd; pip install -r b.txt", &["-r web/a.txt", "-r b.txt"]),
        ("sh -c 'cd web; pip install -r a.txt'; pip install -r b.txt", &["-r web/a.txt", "-r b.txt"]),
        ("su app -c 'pip install -r a.txt'", &["-r a.txt"]),
        ("export PIP_CONSTRAINT=c.txt; pip install x", &["-r c.txt"]),
        ("pip install --requirem a.txt --const=c.txt", &["-r a.txt", "-r c.txt"]),
        ("pip install --group dev", &["pyproject.toml"]),
        ("pip install --group svc/pyproject.toml:dev", &["svc/pyproject.toml"]),
        ("pip install -r pylock.toml", &["pylock.toml"]),
        ("uv pip sync lock/pylock.dev.toml", &["lock/pylock.dev.toml"]),
        ("pip install --requirements-from-script tool.py", &["tool.py"]),
        (
            "uv pip compile requirements.in -o requirements.txt",
            &["-r requirements.in", "-r requirements.txt"],
        ),
        ("python -m uv pip install -r a.txt", &["-r a.txt"]),
        ("uv tool install ruff", &[]),
        ("pip install file:///srv/app-1.tar.gz", &["/srv/app-1.tar.gz"]),
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
        ("conda run -n web pip install -r web.txt", &["web.txt"]),
        ("poetry run python -m pip install -r web.txt", &["web.txt", "poetry.lock"]),
        ("uv sync --script tool.py", &["tool.py"]),
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
        let named: Vec<_> = command_dependencies(command).uses.into_iter().map(|found| found.path).collect();
        for path in *paths {
            assert!(named.iter().any(|named| named == path), "{command}: {named:?} lacks {path}");
        }
    }
}

#[test]
fn a_path_is_expanded_with_the_variables_of_the_command_line() {
    let named =
        command_dependencies("DIR=reqs; for f in a b; do pip install -r ${DIR}/$f.txt; done; X=1 true");
    assert_eq!(named.uses[0].path, "${DIR}/$f.txt");
    let spellings = named.expansions("${DIR}/$f.txt");
    assert!(
        ["${DIR}/$f.txt", "reqs/a.txt", "reqs/b.txt"]
            .iter()
            .all(|path| spellings.contains(&(*path).to_owned())),
        "{spellings:?}"
    );
    assert_eq!(named.expansions("plain.txt"), ["plain.txt"]);
    let many = (0..100).map(|n| format!("A={n} B={n} true; ")).collect::<Vec<_>>().concat();
    assert!(command_dependencies(&many).expansions("$A$B").len() <= MAX_EXPANSIONS);
}

#[test]
fn a_file_use_contains_the_directory_of_its_command() {
    let uses = command_dependencies("pip install -r a.txt && cd svc && pip install -r ../b.txt").uses;
    let shown: Vec<_> = uses.iter().map(|found| (found.path.as_str(), found.directory.as_str())).collect();
    assert_eq!(shown, [("a.txt", ""), ("svc/../b.txt", "svc")]);
}

#[test]
fn commands_that_install_packages_by_name_are_detected() {
    for command in [
        "apt-get update && apt-get install -y curl",
        "apk add --no-cache git",
        "pip install flask==3.0",
        "npm ci",
        "sudo dnf install -y gcc",
        "uv tool install ruff",
        "conda run -n x pip install y",
    ] {
        assert!(command_dependencies(command).installs, "{command}");
    }
    for command in ["apt-get update", "pip --version", "make", "echo hello", "npm run build", "rm -rf /x"] {
        assert!(!command_dependencies(command).installs, "{command}");
    }
}

proptest::proptest! {
    #[test]
    fn no_command_line_makes_the_reader_panic(
        words in proptest::collection::vec("[ -~é\n]{0,8}|pip|install|-r|-m|sudo|xargs|sh|-c|uv", 0..12),
    ) {
        let command = words.join(" ");
        let dependencies = command_dependencies(&command);
        proptest::prop_assert!(dependencies.uses.is_empty() || dependencies.installs);
        drop(argv_dependencies(&words));
    }
}

#[test]
fn the_exec_form_is_read_without_a_shell() {
    let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let pip = argv(&["pip", "install", "-r", "a b.txt"]);
    assert_eq!(argv_dependencies(&pip).uses, [DependencyFile::requirements("a b.txt")]);
    let shell = argv(&["/bin/sh", "-c", "pip install -r a.txt"]);
    assert_eq!(argv_dependencies(&shell).uses, [DependencyFile::requirements("a.txt")]);
    assert!(argv_dependencies(&argv(&["apt-get", "install", "curl"])).installs);
}
