//! The test cases: Dockerfiles with their context files, and what `--auto-mounts` must do with them.

/// A Dockerfile that is built with and without `--auto-mounts`.
///
/// Unless it contains a `FROM`, it starts from an image with the fake package managers. In it, `base` stands for the
/// base image, and `TOOLS` for an instruction that copies the fake package managers.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) dockerfile: &'static str,
    pub(super) files: &'static [(&'static str, &'static str)],
    pub(super) expected: Expected,
}

/// The expected effect of `--auto-mounts`.
pub(super) enum Expected {
    /// Mounts with these targets are added, and no cache is skipped.
    Mounts(&'static [&'static str]),
    /// No mount is added, and the output contains this reason.
    Skipped(&'static str),
    /// No mount is added, and no message is printed.
    Nothing,
}

use Expected::{Mounts, Skipped};

const fn case(name: &'static str, dockerfile: &'static str, expected: Expected) -> Case {
    case_with_files(name, &[], dockerfile, expected)
}

const fn case_with_files(
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
    dockerfile: &'static str,
    expected: Expected,
) -> Case {
    Case { name, dockerfile, files, expected }
}

const PIP: Expected = Mounts(&["/root/.cache/pip"]);
const POETRY: Expected = Mounts(&["/root/.cache/pypoetry/artifacts", "/root/.cache/pypoetry/cache"]);
const NPM: Expected = Mounts(&["/root/.npm/_cacache"]);
const MANIFEST: (&str, &str) = ("package.json", "{\"name\": \"app\"}\n");

pub(super) const CASES: &[Case] = &[
    // The location of the cache.
    case("pip", "RUN pip install six", PIP),
    case("pip in two steps", "RUN pip install six\nRUN pip install six idna", PIP),
    case("HOME", "ENV HOME=/app\nRUN pip install six", Mounts(&["/app/.cache/pip"])),
    case("XDG_CACHE_HOME", "ENV XDG_CACHE_HOME=/var/cache\nRUN pip install six", Mounts(&["/var/cache/pip"])),
    case("PIP_CACHE_DIR", "ENV PIP_CACHE_DIR=/wheels\nRUN pip install six", Mounts(&["/wheels"])),
    case("--cache-dir", "RUN pip install --cache-dir /var/cache/wheels six", Mounts(&["/var/cache/wheels"])),
    case("an exported HOME", "RUN export HOME=/srv/app && pip install six", Mounts(&["/srv/app/.cache/pip"])),
    case("HOME before the command", "RUN HOME=/srv/app pip install six", Mounts(&["/srv/app/.cache/pip"])),
    case(
        "HOME of the base stage",
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
    // Other files next to the cache.
    case("virtual environments of Poetry", "WORKDIR /app\nRUN poetry install", POETRY),
    case(
        "virtual environments of Poetry in the project",
        "ENV POETRY_VIRTUALENVS_IN_PROJECT=true\nWORKDIR /app\nRUN poetry install",
        POETRY,
    ),
    case(
        "Poetry without a virtual environment",
        "ENV POETRY_VIRTUALENVS_CREATE=false\nWORKDIR /app\nRUN poetry install",
        POETRY,
    ),
    case(
        "a virtual environment next to the cache",
        "RUN mkdir -p /root/.cache/venv && pip install six && echo x > /root/.cache/venv/x",
        Skipped("`echo x > /root/.cache/venv/x`"),
    ),
    case("packages of npx", "WORKDIR /app\nRUN npm ci", NPM),
    case(
        "files of a different program",
        "RUN mkdir -p /root/.cache/hub && echo model > /root/.cache/hub/model\nRUN pip install six",
        Skipped("> /root/.cache/hub/model"),
    ),
    // Links into the cache.
    case("copies of uv", "WORKDIR /app\nRUN uv sync --link-mode copy", Mounts(&["/root/.cache/uv"])),
    case("hard links of uv", "WORKDIR /app\nRUN uv sync", Mounts(&["/root/.cache/uv"])),
    case(
        "symbolic links of uv",
        "ENV UV_LINK_MODE=symlink\nWORKDIR /app\nRUN uv sync",
        Skipped("with `UV_LINK_MODE`, installed files are links into its cache"),
    ),
    case(
        "symbolic links of uv by option",
        "WORKDIR /app\nRUN uv sync --link-mode symlink",
        Skipped("with `--link-mode`"),
    ),
    case_with_files(
        "symbolic links of uv by uv.toml",
        &[("uv.toml", "link-mode=symlink\n")],
        "WORKDIR /app\nCOPY uv.toml .\nRUN uv sync",
        Skipped("uv.toml mentions `link-mode`"),
    ),
    case("environments of uv run", "RUN uv run app.py", Skipped("it stores environments in its cache")),
    case(
        "a store with links to it",
        "RUN pnpm fetch\nWORKDIR /app\nRUN pnpm install --offline",
        Skipped("installed files are links to its store"),
    ),
    case_with_files(
        "Yarn 4",
        &[("package.json", "{\"packageManager\": \"yarn@4.1.0\"}\n")],
        "WORKDIR /app\nCOPY package.json .\nRUN yarn install",
        Skipped("requires a version of Yarn that may link installed files to its cache"),
    ),
    case_with_files(
        "Yarn",
        &[MANIFEST],
        "WORKDIR /app\nCOPY package.json .\nRUN yarn install",
        Mounts(&["/usr/local/share/.cache/yarn"]),
    ),
    // Package lists.
    case("apt with docker-clean", "RUN apt-get update && apt-get install -y git", Expected::Nothing),
    case(
        "apt",
        "RUN rm /etc/apt/apt.conf.d/docker-clean\nRUN apt-get update && apt-get install -y git",
        Mounts(&["/var/cache/apt/archives"]),
    ),
    case(
        "package lists of an earlier step",
        "RUN rm /etc/apt/apt.conf.d/docker-clean\nRUN apt-get update\nRUN apt-get install -y git",
        Mounts(&["/var/cache/apt/archives"]),
    ),
    case(
        "package lists that are removed",
        "RUN rm /etc/apt/apt.conf.d/docker-clean\nRUN apt-get update\nRUN apt-get install -y git && rm -rf /var/lib/apt/lists/*",
        Mounts(&["/var/cache/apt/archives"]),
    ),
    case(
        "packages that are read later",
        "RUN rm /etc/apt/apt.conf.d/docker-clean\nRUN apt-get update && apt-get install -y git\nRUN cat /var/cache/apt/archives/git.deb > /git",
        Skipped("`cat /var/cache/apt/archives/git.deb > /git`"),
    ),
    // Configuration.
    case_with_files(
        "pip.conf",
        &[("pip.conf", "cache-dir=/moved\n")],
        "COPY pip.conf /etc/\nRUN pip install six",
        Skipped("pip.conf mentions `cache`"),
    ),
    case_with_files(
        "pip.conf that sets only an index",
        &[("pip.conf", "index-url=https://a\n")],
        "COPY pip.conf /etc/\nRUN pip install six",
        PIP,
    ),
    case_with_files(
        "pip.conf copied from a different name",
        &[("moved", "cache-dir=/moved\n")],
        "COPY moved /etc/pip.conf\nRUN pip install six",
        Skipped("mentions `cache`"),
    ),
    case(
        "pip config",
        "RUN pip config set global.cache-dir /moved\nRUN pip install six",
        Skipped("`pip config set global.cache-dir /moved`"),
    ),
    case(
        "pip.conf that a step writes",
        "RUN echo cache-dir=/moved > /etc/pip.conf\nRUN pip install six",
        Skipped("mentions `cache` and pip.conf"),
    ),
    case_with_files(
        ".npmrc",
        &[(".npmrc", "cache=/moved\n")],
        "WORKDIR /app\nCOPY .npmrc .\nRUN npm ci",
        Skipped(".npmrc mentions `cache`"),
    ),
    case_with_files(
        "a script",
        &[("setup.sh", "mkdir -p /data && ln -s /data /root/.cache\n")],
        "COPY setup.sh /\nRUN sh /setup.sh\nRUN pip install six",
        Skipped("`setup.sh`"),
    ),
    // The step itself uses the cache.
    case(
        "a cache that is removed",
        "RUN pip install six && rm -rf /root/.cache",
        Skipped("`rm -rf /root/.cache` in line 4 uses /root/.cache/pip"),
    ),
    case(
        "a cache that is removed through HOME",
        "RUN pip install six && rm -rf ~/.cache",
        Skipped("`rm -rf ~/.cache`"),
    ),
    case(
        "hidden files that are removed",
        "RUN pip install six && cd /root && rm -rf .c*",
        Skipped("`rm -rf .c*`"),
    ),
    case("a cache that is removed later", "RUN pip install six\nRUN rm -rf /root/.cache", Mounts(&[])),
    case("a cache that is emptied", "RUN pip install six && pip cache purge", Skipped("`pip cache purge`")),
    case(
        "a cache that is emptied later",
        "RUN pip install six\nRUN pip cache purge",
        Skipped("`pip cache purge`"),
    ),
    case(
        "an npm cache that is emptied",
        "WORKDIR /app\nRUN npm ci && npm cache clean --force",
        Skipped("`npm cache clean --force`"),
    ),
    case(
        "a directory that is made with a mode",
        "RUN mkdir -m 700 /root/.cache && pip install six",
        Skipped("`mkdir -m 700 /root/.cache`"),
    ),
    case("umask", "RUN umask 077 && pip install six", Skipped("`umask` affects")),
    case(
        "a cache that is measured",
        "RUN pip install six && du -a /root/.cache > /size",
        Skipped("`du -a /root/.cache > /size`"),
    ),
    // Other steps use the cache.
    case(
        "a cache that is searched later",
        "RUN pip install six\nRUN find / -name six > /found",
        Skipped("`find / -name six > /found`"),
    ),
    case(
        "a test for a file in the cache",
        "RUN pip install six\nRUN test -e ~/.cache/pip/http/six",
        Skipped("`test -e ~/.cache/pip/http/six`"),
    ),
    case(
        "a file next to the cache",
        "RUN pip install six\nRUN echo x > /root/.cache/x",
        Skipped("`echo x > /root/.cache/x`"),
    ),
    case(
        "pip without an index",
        "RUN pip install six\nRUN pip install --no-index six",
        Skipped("with `--no-index` line 5 needs"),
    ),
    case("npm offline", "WORKDIR /app\nRUN npm ci\nRUN npm ci --offline", Skipped("with `--offline`")),
    case("a change of owner", "RUN pip install six && chown -R 1000 /root", Skipped("`chown -R 1000 /root`")),
    case(
        "the home of a later user",
        "ENV HOME=/home/app\nRUN pip install six\nUSER app\nRUN mkdir -p ~/x",
        Skipped("`USER app` in line 6 may need /home/app/.cache/pip"),
    ),
    case("a different user", "USER app\nRUN HOME=/tmp pip install six || true", Skipped("it runs as `app`")),
    case_with_files(
        "files that are copied to the cache",
        &[("six", "a wheel\n")],
        "COPY six /root/.cache/pip/http/six\nRUN pip install --no-index six",
        Skipped("with `--no-index`"),
    ),
    case_with_files(
        "a copied directory that contains the cache",
        &[("home/.cache/pip/http/six", "a wheel\n")],
        "COPY home /root\nRUN pip install six",
        Skipped("adds files to /root/.cache/pip"),
    ),
    case(
        "a stage that copies the cache",
        "FROM base AS a\nTOOLS\nRUN pip install six\nFROM base AS b\nCOPY --from=a /root/.cache /wheels",
        Skipped("reads /root/.cache/pip from the stage"),
    ),
    case(
        "a stage that copies everything",
        "FROM base AS a\nTOOLS\nRUN pip install six\nFROM scratch\nCOPY --from=a / /all",
        Skipped("reads /root/.cache/pip from the stage"),
    ),
    case(
        "a step that mounts the cache",
        "FROM base AS a\nTOOLS\nRUN pip install six\nFROM base AS b\nRUN --mount=from=a,target=/a cp -r /a/root/.cache /c",
        Skipped("reads /root/.cache/pip from the stage"),
    ),
    case(
        "a stage that copies the installed files",
        "FROM base AS a\nTOOLS\nRUN pip install six\nFROM base AS b\nCOPY --from=a /usr/lib/python /usr/lib/python",
        Mounts(&[]),
    ),
    case(
        "a stage that is based on it",
        "FROM base AS a\nTOOLS\nRUN pip install six\nFROM a\nRUN cp -r /root/.cache /c",
        Skipped("`cp -r /root/.cache /c`"),
    ),
    // Caching is disabled, or a mount exists.
    case("a disabled cache", "RUN pip install --no-cache-dir six", Expected::Nothing),
    case(
        "an existing mount",
        "RUN --mount=type=cache,target=/root/.cache pip install six",
        Expected::Nothing,
    ),
    case(
        "a directory that contains more than a cache",
        "RUN pip install --cache-dir /tmp six && echo x > /tmp/x",
        Skipped("/tmp contains more than its cache"),
    ),
];
