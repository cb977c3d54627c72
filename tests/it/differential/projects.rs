//! The projects of the differential tests.

use std::collections::BTreeMap;

use crate::support::{BUSYBOX, TestContext};

pub(super) struct Project {
    pub(super) name: &'static str,
    /// The Dockerfile. `@BASE@` is replaced by the base image, and `@UNIQUE@` by a value that prevents cache hits from
    /// earlier tests.
    dockerfile: &'static str,
    ignore: &'static str,
    /// Possible edits of the Dockerfile, as pairs of old and new text.
    pub(super) rewrites: &'static [(&'static str, &'static str)],
}

#[derive(Debug, Clone, Default)]
pub(super) struct Flags {
    pub(super) build_args: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) target: Option<String>,
}

impl Flags {
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        for (flag, values) in [("--build-arg", &self.build_args), ("--label", &self.labels)] {
            for (name, value) in values {
                arguments.extend([flag.to_owned(), format!("{name}={value}")]);
            }
        }
        if let Some(target) = &self.target {
            arguments.extend(["--target".to_owned(), target.clone()]);
        }
        arguments
    }
}

/// The files of every project.
const FILES: [(&str, &str); 14] = [
    ("requirements.txt", "# runtime\nflask==3.0.0\npandas==2.1.4\n"),
    ("requirements-dev.txt", "pytest\n"),
    ("setup.cfg", "[metadata]\nname = app\n"),
    ("src/app/__init__.py", ""),
    ("src/app/main.py", "print('main')\n"),
    ("src/app/util.py", "print('util')\n"),
    ("src/app/cache.pyc", "bytecode"),
    ("src/data/one.csv", "1,2\n"),
    ("conf/prod.ini", "[a]\nb = 1\n"),
    ("conf/dev.ini", "[a]\nb = 2\n"),
    ("conf/notes.txt", "notes\n"),
    ("tests/test_app.py", "assert True\n"),
    ("docs/index.md", "# docs\n"),
    ("README.md", "# app\n"),
];

/// A project with several stages, in which every COPY names the files that it needs.
pub(super) const SELECTIVE: Project = Project {
    name: "selective",
    dockerfile: "\
ARG REGISTRY=none
ARG UNUSED_GLOBAL=1
FROM @BASE@ AS root
RUN echo @UNIQUE@ > /unique
FROM root AS wheels
ARG INDEX=pypi
WORKDIR /wheels
COPY requirements*.txt ./
# the index is a build argument
RUN cat requirements.txt > list \\
    # the index is private
    && echo $INDEX >> list
FROM root AS docs
COPY docs /docs
RUN ls /docs > /listing
FROM root AS app
LABEL of=app
ENV MODE=prod
COPY --from=wheels /wheels/list /list
COPY conf/*.ini setup.cfg /conf/
COPY src/app /srv/app
RUN --mount=type=bind,source=src/data,target=/data ls -R /data > /sum
ADD docs/../README.md /srv/
ARG VERSION=dev
RUN echo version > /version
CMD [\"sh\", \"/srv/app/main.py\"]
",
    ignore: "# not for images\n**/*.pyc\n!src/app/keep.pyc\ntests\n",
    rewrites: &[
        ("echo version", "echo  version"),
        ("echo  version", "echo version"),
        ("ENV MODE=prod", "ENV   MODE=prod"),
        ("ENV   MODE=prod", "ENV MODE=test"),
        ("ENV MODE=test", "ENV MODE=prod"),
        ("COPY src/app /srv/app", "copy  src/app   /srv/app"),
        ("copy  src/app   /srv/app", "COPY src/app /srv/app"),
        ("COPY docs /docs", "COPY docs /documents"),
        ("COPY docs /documents", "COPY docs /docs"),
        ("AS wheels", "AS builder"),
        ("AS builder", "AS wheels"),
        ("--from=wheels", "--from=1"),
        ("--from=1", "--from=wheels"),
        ("# the index is private", "# the index is public"),
        ("# the index is public", "# the index is private"),
        ("ARG UNUSED_GLOBAL=1", "ARG UNUSED_GLOBAL=2"),
        ("ARG UNUSED_GLOBAL=2", "ARG UNUSED_GLOBAL=1"),
        ("ARG INDEX=pypi", "ARG INDEX=mirror"),
        ("ARG INDEX=mirror", "ARG INDEX=pypi"),
        ("ARG VERSION=dev", "ARG VERSION=next"),
        ("ARG VERSION=next", "ARG VERSION=dev"),
        ("conf/*.ini setup.cfg", "conf/[dp]*.ini setup.cfg"),
        ("conf/[dp]*.ini setup.cfg", "conf/*.ini setup.cfg"),
        ("CMD [\"sh\", \"/srv/app/main.py\"]", "CMD [ \"sh\",\"/srv/app/main.py\" ]"),
        ("CMD [ \"sh\",\"/srv/app/main.py\" ]", "CMD [\"sh\", \"/srv/app/util.py\"]"),
        ("CMD [\"sh\", \"/srv/app/util.py\"]", "CMD [\"sh\", \"/srv/app/main.py\"]"),
    ],
};

/// A project that copies its whole context, including the Dockerfile.
pub(super) const EVERYTHING: Project = Project {
    name: "everything",
    dockerfile: "\
FROM @BASE@ AS base
RUN echo @UNIQUE@ > /unique
ARG VERSION=dev
ENV VERSION=$VERSION
FROM base
LABEL of=app
COPY requirements.txt /tmp/
RUN cat /tmp/requirements.txt > /installed
COPY . /srv
RUN ls -R /srv > /listing
USER app
",
    ignore: "tests\n*.md\n!README.md\n**/__pycache__\nsrc/**/*.pyc\n",
    rewrites: &[
        ("USER app", "USER 1000"),
        ("USER 1000", "USER app"),
        ("ENV VERSION=$VERSION", "ENV VERSION=$VERSION EXTRA=1"),
        ("ENV VERSION=$VERSION EXTRA=1", "ENV VERSION=$VERSION"),
    ],
};

impl Project {
    /// Writes the project. Returns the flags of the first build.
    pub(super) fn write(&self, context: &TestContext) -> Flags {
        let dockerfile = self.dockerfile.replace("@BASE@", BUSYBOX).replace("@UNIQUE@", &context.tag("walk"));
        context.write("Dockerfile", dockerfile).write(".dockerignore", self.ignore);
        for (path, content) in FILES {
            context.write(path, content);
        }
        Flags::default()
    }
}
