//! Tests of the planned mounts.

use super::*;
use crate::dockerfile::{Dockerfile, Options};

/// Plans mounts for a Dockerfile with these files in its context. A base `env/NAME--VALUE` sets a variable; the user of
/// the base `of-app` is `app`, and the settings of the base `unknown` are not known.
fn planned(text: &str, files: &[(&str, &str)]) -> AutoMounts {
    let start = |reference: &str| {
        let environment = reference.strip_prefix("env/").map(|variable| variable.replace("--", "="));
        let user = if reference == "of-app" { "app" } else { "" };
        BaseSettings {
            environment: environment.into_iter().collect(),
            user: user.to_owned(),
            ..BaseSettings::default()
        }
    };
    let dockerfile = Dockerfile::parse(text).unwrap();
    let mut options = Options::default();
    let bases = dockerfile.resolve(&options).unwrap().bases;
    for base in bases.iter().filter(|base| base.reference != "unknown") {
        options.base_settings.insert(base.reference.clone(), start(&base.reference));
        options.triggers.insert(base.reference.clone(), Vec::new());
    }
    let resolution = dockerfile.resolve(&options).unwrap();
    let paths: Vec<String> = files.iter().map(|(path, _)| (*path).to_owned()).collect();
    let read =
        |path: &str| files.iter().find(|(known, _)| *known == path).map(|(_, text)| (*text).to_owned());
    auto_mounts(
        &resolution,
        &AutoMountInputs { starts: &options.base_settings, files: Some(&paths), read: &read },
    )
}

/// Returns the mounted directories by line.
fn added(text: &str, files: &[(&str, &str)]) -> Vec<(usize, Vec<String>)> {
    let target = |flag: String| {
        let (_, target) = flag.split_once("target=").unwrap();
        target.split(',').next().unwrap().to_owned()
    };
    let planned = planned(text, files).flags.into_iter();
    planned.map(|(line, flags)| (line, flags.into_iter().map(target).collect())).collect()
}

/// Returns the mounted directories of the last RUN with mounts, separated by spaces.
fn of(run: &str) -> String {
    let from = if run.starts_with("FROM") { "" } else { "FROM python:3\n" };
    let files = [("package.json", "{}"), ("requirements.txt", "flask\n")];
    added(&format!("{from}{run}\n"), &files).pop().map(|(_, places)| places.join(" ")).unwrap_or_default()
}

#[test]
fn the_mount_is_at_the_cache_directory_of_the_program() {
    let pip = "/root/.cache/pip";
    for (run, place) in [
        ("RUN pip install -r requirements.txt", pip),
        ("RUN python3 -m pip install --upgrade pip && echo done", pip),
        ("RUN [\"/opt/venv/bin/pip3.12\", \"install\", \"flask\"]", pip),
        ("RUN <<E\nset -e\npip install flask\nE", pip),
        ("RUN bash -exc 'pip install flask'", pip),
        ("RUN conda run -n web pip install flask", pip),
        ("RUN if true; then pip install flask; fi", pip),
        ("RUN --mount=type=bind,source=.,target=/src pip install /src", pip),
        ("USER app\nUSER root\nRUN pip install flask", pip),
        ("RUN uv sync --frozen", "/root/.cache/uv"),
        ("RUN uv --directory /app sync", "/root/.cache/uv"),
        ("RUN pip install uv && uv pip install -r r.txt", "/root/.cache/pip /root/.cache/uv"),
        ("RUN pdm install", "/root/.cache/pdm"),
        ("RUN poetry install --only main", "/root/.cache/pypoetry/cache /root/.cache/pypoetry/artifacts"),
        ("RUN npm ci", "/root/.npm/_cacache"),
        ("RUN npm --prefix /app ci", "/root/.npm/_cacache"),
        ("COPY package.json /\nRUN yarn --frozen-lockfile", "/usr/local/share/.cache/yarn"),
        // A destination is not a pattern, and a RUN may be empty.
        ("COPY a.conf /{{cookiecutter.project_slug}}/\nRUN pip install flask", pip),
        ("COPY a.conf /r*\nRUN pip install flask", pip),
        ("RUN []\nRUN pip install flask", pip),
        // Variables of the Dockerfile, of the base image, and of the RUN itself.
        ("ENV PIP_CACHE_DIR=/pip\nRUN pip install flask", "/pip"),
        ("ENV HOME=/app\nRUN pip install flask", "/app/.cache/pip"),
        ("ENV XDG_CACHE_HOME=/var/cache\nRUN pip install flask", "/var/cache/pip"),
        ("ENV XDG_CACHE_HOME=/x HOME=/app\nRUN uv sync", "/x/uv"),
        ("ENV NPM_CONFIG_CACHE=/npm\nRUN npm ci", "/npm/_cacache"),
        ("ENV POETRY_CACHE_DIR=/p\nRUN poetry install", "/p/cache /p/artifacts"),
        ("ENV UV_CACHE_DIR=/u\nRUN uv sync", "/u"),
        ("ENV PDM_CACHE_DIR=/p\nRUN pdm sync", "/p"),
        ("ENV YARN_CACHE_FOLDER=/y\nRUN yarn install", "/y"),
        ("ARG PIP_CACHE_DIR=/pip\nRUN pip install flask", "/pip"),
        ("FROM env/HOME--/srv/app\nRUN pip install flask", "/srv/app/.cache/pip"),
        ("FROM env/HOME--/srv/app\nENV PIP_CACHE_DIR=$HOME/c\nRUN pip install flask", "/srv/app/c"),
        ("FROM python AS one\nENV HOME=/app\nFROM one\nRUN pip install flask", "/app/.cache/pip"),
        ("RUN export HOME=/app && pip install flask", "/app/.cache/pip"),
        ("RUN HOME=/app pip install flask", "/app/.cache/pip"),
        ("RUN env XDG_CACHE_HOME=/x pip install flask", "/x/pip"),
        ("RUN export D=/d; export PIP_CACHE_DIR=$D/pip; pip install flask", "/d/pip"),
        ("RUN PIP_CACHE_DIR=/no; pip install flask", pip),
        ("RUN pip install --cache-dir /var/cache/wheels flask", "/var/cache/wheels"),
        ("RUN pip install --cache-dir=~/c flask", "/root/c"),
        ("RUN npm ci --cache /n", "/n/_cacache"),
        ("RUN uv sync --cache-dir /u", "/u"),
        ("RUN yarn install --cache-folder /y", "/y"),
        // Commands that do not affect the cache.
        ("RUN pip install flask && rm -rf /var/lib/apt/lists/* /tmp/x", pip),
        ("RUN pip install flask\nRUN rm -rf /root/.cache", pip),
        ("RUN pip install flask && find /usr/local -name '*.pyc' -delete", pip),
        ("RUN mkdir -p /root/.cache\nRUN pip install flask", pip),
        ("RUN pip install flask\nRUN mkdir -p /root/.cache/huggingface", pip),
        ("WORKDIR /root\nCOPY requirements.txt .\nRUN pip install -r requirements.txt", pip),
        ("WORKDIR /app\nENV HOME=/app\nRUN pip install flask\nRUN touch /app/x", "/app/.cache/pip"),
        ("RUN pip config set global.index-url https://a && pip install flask", pip),
        ("RUN pip install flask\nUSER app\nRUN ls /home/app", pip),
        ("FROM python AS b\nRUN pip install flask\nFROM python\nCOPY --from=b /usr/local /usr/local", pip),
    ] {
        assert_eq!(of(run), place, "{run}\n{:?}", planned(&format!("FROM a\n{run}\n"), &[]).skipped);
    }
}

#[test]
fn a_run_that_disables_its_cache_or_has_a_mount_is_left_unchanged_silently() {
    for run in [
        "RUN pip install --no-cache-dir flask",
        "RUN PIP_NO_CACHE_DIR=1 pip install flask",
        "ENV PIP_NO_CACHE_DIR=off\nRUN pip install flask",
        "RUN uv sync --no-cache",
        "ENV UV_NO_CACHE=1\nRUN uv sync",
        "RUN --mount=type=cache,target=/root/.cache/pip pip install flask",
        "RUN --mount=type=cache,target=/root/.cache pip install flask",
        "RUN --mount=type=cache,target=/home/x/.cache/pip pip install flask",
        "RUN --mount=type=tmpfs,target=/root pip install flask",
        "RUN --mount=type=cache,target=/c/x pip install --cache-dir=/c flask",
        "RUN pip list",
        "RUN echo pip install && cat install",
        "RUN apk add npm yarn",
        "RUN cat <<E > /setup.sh\npip install flask\nE",
        "RUN <<E\n#!/usr/bin/env python3\npip install flask\nE",
        "RUN apt-get update && apt-get install -y git",
        "RUN npm run install",
        "RUN yarn --version",
    ] {
        assert_eq!(planned(&format!("FROM python:3\n{run}\n"), &[]).skipped, [""; 0], "{run}");
        assert_eq!(of(run), "", "{run}");
    }
}

#[test]
fn a_run_whose_image_could_differ_is_left_unchanged_with_a_reason() {
    for (text, reason) in [
        ("FROM unknown\nRUN pip install a", "the settings of its base image `unknown` are not known"),
        ("FROM of-app\nRUN pip install a", "it runs as `app`"),
        ("USER 1000:0\nRUN pip install a", "it runs as `1000:0`"),
        ("USER 0:1000\nRUN pip install a", "it runs as `0:1000`"),
        ("RUN sudo -H pip install a", "`sudo` runs it as a different user"),
        ("RUN gosu app pip install a", "`gosu` runs it"),
        ("RUN env -i pip install a", "`env` runs it"),
        ("SHELL [\"python\", \"-c\"]\nRUN pip install a", "its shell `python`"),
        ("RUN --network=none pip install a", "without network"),
        ("RUN pip install --no-index a", "with `--no-index` it needs"),
        ("ENV PIP_NO_INDEX=1\nRUN pip install a", "with `PIP_NO_INDEX`"),
        ("RUN npm ci --prefer-offline", "with `--prefer-offline`"),
        ("RUN umask 077 && pip install a", "`umask` affects"),
        ("ENV PIP_CACHE_DIR=relative\nRUN pip install a", "`relative` is not an absolute path"),
        ("RUN pip install --cache-dir=$(mktemp -d) a", "is not known"),
        ("RUN export HOME=$(mktemp -d) && pip install a", "the value of `HOME` is not known"),
        ("RUN pip install --cache-dir /tmp a", "/tmp contains more than its cache"),
        ("WORKDIR /src/app\nRUN pip install --cache-dir /src a", "/src contains more than its cache"),
        ("ENV UV_LINK_MODE=symlink\nRUN uv sync", "with `UV_LINK_MODE`"),
        ("FROM env/UV_LINK_MODE--symlink\nRUN uv sync", "with `UV_LINK_MODE`"),
        ("RUN UV_LINK_MODE=symlink uv sync", "with `UV_LINK_MODE`"),
        ("RUN uv pip install --link-mode=symlink a", "with `--link-mode`"),
        ("RUN uv run app.py", "it stores environments in its cache"),
        ("RUN uvx ruff", "it stores environments in its cache"),
        ("RUN pnpm install", "links to its store"),
        ("ENV PDM_INSTALL_CACHE=1\nRUN pdm install", "the configuration that `PDM_INSTALL_CACHE` sets"),
        (
            "ENV PIP_CONFIG_FILE=/etc/x\nRUN pip install a",
            "the configuration that `PIP_CONFIG_FILE` sets is not known",
        ),
        ("RUN pip config set global.cache-dir /x\nRUN pip install a", "may change its cache directory"),
        ("RUN npm config set cache /x && npm ci", "may change its cache directory"),
        ("RUN printf '[global]\\ncache-dir=/x' > /etc/pip.conf\nRUN pip install a", "`cache` and pip.conf"),
        ("COPY moved.conf /etc/pip.conf\nRUN pip install a", "the file that line 2 adds mentions `cache`"),
        (
            "COPY --from=conf /etc/pip.conf /etc/\nRUN pip install a",
            "the configuration file that line 2 adds is not known",
        ),
        // Other commands that use the directory.
        ("RUN pip install a && rm -rf /root/.cache", "`rm -rf /root/.cache` in line 2 uses /root/.cache/pip"),
        ("RUN pip install a && rm -rf ~/.cache/pip", "uses /root/.cache/pip"),
        ("RUN pip install a && rm -rf /root/.c*", "uses /root/.cache/pip"),
        ("RUN cd /root && pip install a && rm -r .cache", "`rm -r .cache`"),
        ("RUN pip install a && pip cache purge", "`pip cache purge` in line 2"),
        ("RUN npm ci && npm cache clean --force", "`npm cache clean --force`"),
        ("RUN pip install a\nRUN du -s $HOME/.cache > /size", "`du -s $HOME/.cache > /size` in line 3"),
        ("RUN pip install a\nRUN find / -type f", "`find / -type f`"),
        ("RUN pip install a\nRUN chown -R 1000 /root", "`chown -R 1000 /root`"),
        ("RUN pip install a\nRUN echo x > /root/.cache/x", "> /root/.cache/x"),
        ("RUN pip install a\nRUN pip install --no-index b", "with `--no-index` line 3 needs"),
        ("RUN pip install a\nRUN --network=none pip install b", "line 3 has no network"),
        ("RUN npm ci\nRUN npm ci --offline", "with `--offline` line 3"),
        ("RUN npm ci\nCMD [\"npm\", \"ci\", \"--offline\"]", "with `--offline` line 3"),
        ("RUN mkdir -m 700 /root/.cache\nRUN pip install a", "`mkdir -m 700 /root/.cache`"),
        ("RUN ln -s /data /root/.cache\nRUN pip install a", "`ln -s /data /root/.cache`"),
        ("COPY x /root/.cache/pip/\nRUN pip install a", "contains more than its cache"),
        ("COPY x /root/.cache\nRUN pip install a", "line 2 adds files to"),
        ("ENV HOME=/home/app\nRUN pip install a\nUSER app", "`USER app` in line 4 may need"),
        ("ENV HOME=/app\nRUN pip install a\nRUN touch /app/x", "`touch /app/x`"),
        ("ENV PIP_CACHE_DIR=/c DATA=/c/data\nRUN pip install a", "the path in `DATA` is also in /c"),
        ("COPY run.sh /\nRUN pip install a\nRUN sh /run.sh", "`run.sh` in line 4 uses"),
        (
            "FROM a AS b\nRUN pip install a\nFROM a\nCOPY --from=b /root/.cache /c",
            "line 4 reads /root/.cache/pip",
        ),
        ("FROM a AS b\nRUN pip install a\nFROM a\nCOPY --from=b / /", "line 4 reads"),
        ("FROM a AS b\nRUN pip install a\nFROM a\nRUN --mount=from=b,target=/b ls /b", "line 4 reads"),
        ("FROM a AS b\nRUN pip install a\nFROM b\nRUN ls /root/.cache", "`ls /root/.cache` in line 4"),
        (
            "RUN corepack enable\nCOPY package.json /\nRUN yarn",
            "line 2 may select a different version of Yarn",
        ),
        (
            "RUN rm /etc/apt/apt.conf.d/docker-clean\nRUN apt-get install -y a\nRUN dpkg -i /var/cache/apt/archives/a.deb",
            "`dpkg -i /var/cache/apt/archives/a.deb`",
        ),
        ("RUN rm /etc/apt/apt.conf.d/docker-clean && apt-get install -yd -d a", "with `-d`"),
    ] {
        let text = if text.starts_with("FROM") { text.to_owned() } else { format!("FROM python:3\n{text}") };
        let files = [
            ("run.sh", "ls ~/.cache/pip"),
            ("x/pip/wheel", ""),
            ("moved.conf", "[global]\ncache-dir = /x\n"),
            ("package.json", "{\"packageManager\": \"yarn@1.22.0\"}"),
        ];
        let AutoMounts { flags, skipped: left } = planned(&text, &files);
        assert!(left.iter().any(|line| line.contains(reason)), "{text}\n{left:?} {flags:?}");
        let line = left[0].split([' ', ':']).nth(1).unwrap().parse().unwrap();
        assert_eq!(flags.get(&line), None, "{text}");
    }
}

#[test]
fn configuration_files_count_if_they_mention_the_cache() {
    for (text, file, content, gets) in [
        ("RUN npm ci", ".npmrc", "cache=/x\n", false),
        ("RUN npm ci", "app/.npmrc", "registry=https://npm.example\n", true),
        ("RUN pip install a", "conf/pip.conf", "[global]\ncache-dir=/x\n", false),
        ("RUN pip install a", "conf/pip.conf", "[global]\nindex-url=https://a\n", true),
        ("RUN uv sync", "pyproject.toml", "[tool.uv]\nlink-mode = \"symlink\"\n", false),
        ("RUN uv sync", "pyproject.toml", "[tool.uv]\ncache-keys = []\n", true),
        ("RUN poetry install", "poetry.toml", "[virtualenvs]\nin-project = true\n", true),
        ("RUN poetry install", "poetry.toml", "cache-dir = \"/x\"\n", false),
        ("RUN yarn install", "package.json", "{\"packageManager\": \"yarn@4.1.0\"}", false),
        ("RUN yarn install", "package.json", "{\"packageManager\": \"yarn@1.22.0\"}", true),
        ("RUN yarn install", "other.json", "{}", false),
    ] {
        let text = format!("FROM a\nCOPY . /app\n{text}\n");
        let AutoMounts { flags, skipped: left } = planned(&text, &[(file, content)]);
        assert_eq!((!flags.is_empty(), left.is_empty()), (gets, gets), "{text} {content} {left:?}");
    }
}

#[test]
fn images_with_different_bases_do_not_share_a_cache_that_contains_builds() {
    let text = "FROM python:3 AS one\nRUN pip install a\nFROM python:3-alpine\nRUN pip install a\nRUN npm ci\nCOPY --from=one /x /x\n";
    let flags: Vec<String> = planned(text, &[]).flags.into_values().flatten().collect();
    assert_eq!(
        flags,
        [
            "--mount=type=cache,id=/root/.cache/pip@python:3,target=/root/.cache/pip",
            "--mount=type=cache,id=/root/.cache/pip@python:3-alpine,target=/root/.cache/pip",
            "--mount=type=cache,target=/root/.npm/_cacache",
        ]
    );
}

#[test]
fn a_mount_is_added_for_the_packages_of_apt_but_not_for_its_lists() {
    let text = "FROM debian AS base\nUSER 0\nRUN rm -f /etc/apt/apt.conf.d/docker-clean\n\
                FROM base\nRUN apt-get update && \\\n apt-get install -y git\nRUN apt-get update\n";
    let flags = planned(text, &[]).flags;
    let flag = "--mount=type=cache,target=/var/cache/apt/archives,sharing=locked";
    assert_eq!(flags.into_iter().collect::<Vec<_>>(), [(5, vec![flag.to_owned()])]);
}
