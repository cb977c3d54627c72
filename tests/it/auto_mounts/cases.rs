//! The cases: a Dockerfile, the files beside it, and what `--auto-mounts` does with it.

/// A Dockerfile that is built with and without `--auto-mounts`.
///
/// It begins with an image that has the stand-ins, unless it has a `FROM` of its own; `base` is the base image, `TOOLS`
/// copies the stand-ins.
pub(super) struct Case {
    pub(super) what: &'static str,
    pub(super) dockerfile: &'static str,
    pub(super) files: &'static [(&'static str, &'static str)],
    pub(super) gets: Gets,
}

/// What a Dockerfile gets.
pub(super) enum Gets {
    /// Mounts at these places, and nothing is left alone.
    Mounts(&'static [&'static str]),
    /// None, and this is said.
    NoneAs(&'static str),
    /// None, without a word.
    None,
}

use Gets::{Mounts, NoneAs};

const fn case(what: &'static str, dockerfile: &'static str, gets: Gets) -> Case {
    with(what, &[], dockerfile, gets)
}

const fn with(
    what: &'static str,
    files: &'static [(&'static str, &'static str)],
    dockerfile: &'static str,
    gets: Gets,
) -> Case {
    Case { what, dockerfile, files, gets }
}

const PIP: Gets = Mounts(&["/root/.cache/pip"]);
const POETRY: Gets = Mounts(&["/root/.cache/pypoetry/artifacts", "/root/.cache/pypoetry/cache"]);
const NPM: Gets = Mounts(&["/root/.npm/_cacache"]);
const MANIFEST: (&str, &str) = ("package.json", "{\"name\": \"app\"}\n");

pub(super) const CASES: &[Case] = &[
    // Where the cache is.
    case("pip", "RUN pip install six", PIP),
    case("pip in two steps", "RUN pip install six\nRUN pip install six idna", PIP),
    case("HOME", "ENV HOME=/app\nRUN pip install six", Mounts(&["/app/.cache/pip"])),
    case("XDG_CACHE_HOME", "ENV XDG_CACHE_HOME=/var/cache\nRUN pip install six", Mounts(&["/var/cache/pip"])),
    case("PIP_CACHE_DIR", "ENV PIP_CACHE_DIR=/wheels\nRUN pip install six", Mounts(&["/wheels"])),
    case("--cache-dir", "RUN pip install --cache-dir /var/cache/wheels six", Mounts(&["/var/cache/wheels"])),
    case("an exported HOME", "RUN export HOME=/srv/app && pip install six", Mounts(&["/srv/app/.cache/pip"])),
    case("HOME before the command", "RUN HOME=/srv/app pip install six", Mounts(&["/srv/app/.cache/pip"])),
    case(
        "HOME of the stage below",
        "FROM base AS a\nTOOLS\nENV HOME=/app\nFROM a\nRUN pip install six",
        Mounts(&["/app/.cache/pip"]),
    ),
    case(
        "POETRY_CACHE_DIR",
        "ENV POETRY_CACHE_DIR=/p\nRUN poetry install",
        Mounts(&["/p/artifacts", "/p/cache"]),
    ),
    case("UV_CACHE_DIR", "ENV UV_CACHE_DIR=/u\nWORKDIR /app\nRUN uv sync", Mounts(&["/u"])),
    case("npm_config_cache", "ENV npm_config_cache=/n\nWORKDIR /app\nRUN npm ci", Mounts(&["/n/_cacache"])),
    case("a here-document in a shell", "RUN sh -c 'pip install six'", PIP),
    // What is beside the cache.
    case("virtual environments of Poetry", "WORKDIR /app\nRUN poetry install", POETRY),
    case(
        "those of Poetry in the project",
        "ENV POETRY_VIRTUALENVS_IN_PROJECT=true\nWORKDIR /app\nRUN poetry install",
        POETRY,
    ),
    case(
        "Poetry without one",
        "ENV POETRY_VIRTUALENVS_CREATE=false\nWORKDIR /app\nRUN poetry install",
        POETRY,
    ),
    case(
        "an environment below the cache",
        "RUN mkdir -p /root/.cache/venv && pip install six && echo x > /root/.cache/venv/x",
        NoneAs("`echo x > /root/.cache/venv/x`"),
    ),
    case("packages of npx", "WORKDIR /app\nRUN npm ci", NPM),
    case(
        "files of another program",
        "RUN mkdir -p /root/.cache/hub && echo model > /root/.cache/hub/model\nRUN pip install six",
        NoneAs("> /root/.cache/hub/model"),
    ),
    // Links to the cache.
    case("copies of uv", "WORKDIR /app\nRUN uv sync --link-mode copy", Mounts(&["/root/.cache/uv"])),
    case("hard links of uv", "WORKDIR /app\nRUN uv sync", Mounts(&["/root/.cache/uv"])),
    case(
        "symbolic links of uv",
        "ENV UV_LINK_MODE=symlink\nWORKDIR /app\nRUN uv sync",
        NoneAs("`UV_LINK_MODE` makes what it installs point into its cache"),
    ),
    case(
        "those that an option asks for",
        "WORKDIR /app\nRUN uv sync --link-mode symlink",
        NoneAs("`--link-mode` makes"),
    ),
    with(
        "those of uv.toml",
        &[("uv.toml", "link-mode=symlink\n")],
        "WORKDIR /app\nCOPY uv.toml .\nRUN uv sync",
        NoneAs("uv.toml says something of `link-mode`"),
    ),
    case("environments of uv run", "RUN uv run app.py", NoneAs("it keeps environments in its cache")),
    case(
        "a store that is linked to",
        "RUN pnpm fetch\nWORKDIR /app\nRUN pnpm install --offline",
        NoneAs("what it installs is linked to its store"),
    ),
    with(
        "Yarn 4",
        &[("package.json", "{\"packageManager\": \"yarn@4.1.0\"}\n")],
        "WORKDIR /app\nCOPY package.json .\nRUN yarn install",
        NoneAs("asks for a Yarn that may link to its cache"),
    ),
    with(
        "Yarn",
        &[MANIFEST],
        "WORKDIR /app\nCOPY package.json .\nRUN yarn install",
        Mounts(&["/usr/local/share/.cache/yarn"]),
    ),
    // Package lists.
    case("apt with what Debian deletes", "RUN apt-get update && apt-get install -y git", Gets::None),
    case(
        "apt",
        "RUN rm /etc/apt/apt.conf.d/docker-clean\nRUN apt-get update && apt-get install -y git",
        Mounts(&["/var/cache/apt/archives"]),
    ),
    case(
        "lists of an earlier step",
        "RUN rm /etc/apt/apt.conf.d/docker-clean\nRUN apt-get update\nRUN apt-get install -y git",
        Mounts(&["/var/cache/apt/archives"]),
    ),
    case(
        "lists that are removed",
        "RUN rm /etc/apt/apt.conf.d/docker-clean\nRUN apt-get update\nRUN apt-get install -y git && rm -rf /var/lib/apt/lists/*",
        Mounts(&["/var/cache/apt/archives"]),
    ),
    case(
        "packages that are read",
        "RUN rm /etc/apt/apt.conf.d/docker-clean\nRUN apt-get update && apt-get install -y git\nRUN cat /var/cache/apt/archives/git.deb > /git",
        NoneAs("`cat /var/cache/apt/archives/git.deb > /git`"),
    ),
    // Configuration.
    with(
        "pip.conf",
        &[("pip.conf", "cache-dir=/moved\n")],
        "COPY pip.conf /etc/\nRUN pip install six",
        NoneAs("pip.conf says something of `cache`"),
    ),
    with(
        "pip.conf of an index",
        &[("pip.conf", "index-url=https://a\n")],
        "COPY pip.conf /etc/\nRUN pip install six",
        PIP,
    ),
    with(
        "pip.conf of another name",
        &[("moved", "cache-dir=/moved\n")],
        "COPY moved /etc/pip.conf\nRUN pip install six",
        NoneAs("says something of `cache`"),
    ),
    case(
        "pip config",
        "RUN pip config set global.cache-dir /moved\nRUN pip install six",
        NoneAs("`pip config set global.cache-dir /moved`"),
    ),
    case(
        "pip.conf that a step writes",
        "RUN echo cache-dir=/moved > /etc/pip.conf\nRUN pip install six",
        NoneAs("says something of `cache` and pip.conf"),
    ),
    with(
        ".npmrc",
        &[(".npmrc", "cache=/moved\n")],
        "WORKDIR /app\nCOPY .npmrc .\nRUN npm ci",
        NoneAs(".npmrc says something of `cache`"),
    ),
    with(
        "a script",
        &[("setup.sh", "mkdir -p /data && ln -s /data /root/.cache\n")],
        "COPY setup.sh /\nRUN sh /setup.sh\nRUN pip install six",
        NoneAs("`setup.sh`"),
    ),
    // The cache in the step itself.
    case(
        "a cache that is removed",
        "RUN pip install six && rm -rf /root/.cache",
        NoneAs("`rm -rf /root/.cache` in line 4 uses /root/.cache/pip"),
    ),
    case(
        "a cache that is removed through HOME",
        "RUN pip install six && rm -rf ~/.cache",
        NoneAs("`rm -rf ~/.cache`"),
    ),
    case(
        "everything that is hidden, removed",
        "RUN pip install six && cd /root && rm -rf .c*",
        NoneAs("`rm -rf .c*`"),
    ),
    case("a cache that is removed later", "RUN pip install six\nRUN rm -rf /root/.cache", Mounts(&[])),
    case("a cache that is emptied", "RUN pip install six && pip cache purge", NoneAs("`pip cache purge`")),
    case(
        "a cache that is emptied later",
        "RUN pip install six\nRUN pip cache purge",
        NoneAs("`pip cache purge`"),
    ),
    case(
        "npm's, emptied",
        "WORKDIR /app\nRUN npm ci && npm cache clean --force",
        NoneAs("`npm cache clean --force`"),
    ),
    case(
        "a directory that is made with a mode",
        "RUN mkdir -m 700 /root/.cache && pip install six",
        NoneAs("`mkdir -m 700 /root/.cache`"),
    ),
    case("umask", "RUN umask 077 && pip install six", NoneAs("`umask` decides")),
    case(
        "what is measured",
        "RUN pip install six && du -a /root/.cache > /size",
        NoneAs("`du -a /root/.cache > /size`"),
    ),
    // The cache in other steps.
    case(
        "what is measured later",
        "RUN pip install six\nRUN find / -name six > /found",
        NoneAs("`find / -name six > /found`"),
    ),
    case(
        "a test",
        "RUN pip install six\nRUN test -e ~/.cache/pip/http/six",
        NoneAs("`test -e ~/.cache/pip/http/six`"),
    ),
    case(
        "a file beside it",
        "RUN pip install six\nRUN echo x > /root/.cache/x",
        NoneAs("`echo x > /root/.cache/x`"),
    ),
    case(
        "without an index",
        "RUN pip install six\nRUN pip install --no-index six",
        NoneAs("with `--no-index` line 5 needs"),
    ),
    case("npm offline", "WORKDIR /app\nRUN npm ci\nRUN npm ci --offline", NoneAs("with `--offline`")),
    case("another owner", "RUN pip install six && chown -R 1000 /root", NoneAs("`chown -R 1000 /root`")),
    case(
        "the home of a later user",
        "ENV HOME=/home/app\nRUN pip install six\nUSER app\nRUN mkdir -p ~/x",
        NoneAs("`USER app` in line 6 may need /home/app/.cache/pip"),
    ),
    case("another user", "USER app\nRUN HOME=/tmp pip install six || true", NoneAs("it runs as `app`")),
    with(
        "files that are copied to it",
        &[("six", "a wheel\n")],
        "COPY six /root/.cache/pip/http/six\nRUN pip install --no-index six",
        NoneAs("with `--no-index`"),
    ),
    with(
        "a directory that holds it",
        &[("home/.cache/pip/http/six", "a wheel\n")],
        "COPY home /root\nRUN pip install six",
        NoneAs("puts files into /root/.cache/pip"),
    ),
    case(
        "a stage that takes it",
        "FROM base AS a\nTOOLS\nRUN pip install six\nFROM base AS b\nCOPY --from=a /root/.cache /wheels",
        NoneAs("takes /root/.cache/pip from the stage"),
    ),
    case(
        "a stage that takes everything",
        "FROM base AS a\nTOOLS\nRUN pip install six\nFROM scratch\nCOPY --from=a / /all",
        NoneAs("takes /root/.cache/pip from the stage"),
    ),
    case(
        "a step that mounts it",
        "FROM base AS a\nTOOLS\nRUN pip install six\nFROM base AS b\nRUN --mount=from=a,target=/a cp -r /a/root/.cache /c",
        NoneAs("takes /root/.cache/pip from the stage"),
    ),
    case(
        "a stage that takes what was installed",
        "FROM base AS a\nTOOLS\nRUN pip install six\nFROM base AS b\nCOPY --from=a /usr/lib/python /usr/lib/python",
        Mounts(&[]),
    ),
    case(
        "a stage that is built on it",
        "FROM base AS a\nTOOLS\nRUN pip install six\nFROM a\nRUN cp -r /root/.cache /c",
        NoneAs("`cp -r /root/.cache /c`"),
    ),
    // No cache wanted, or one there.
    case("a cache that is off", "RUN pip install --no-cache-dir six", Gets::None),
    case("a mount of the user's", "RUN --mount=type=cache,target=/root/.cache pip install six", Gets::None),
    case(
        "a directory that is more than a cache",
        "RUN pip install --cache-dir /tmp six && echo x > /tmp/x",
        NoneAs("/tmp holds more than its cache"),
    ),
];
