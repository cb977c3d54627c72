//! Dockerfile instructions.

use super::{Bench, NEWER_FRONTEND, Project, assert_all_same, on_engines};

const STAGES: &str = "
FROM larder-test/busybox:1 AS first
WORKDIR /work
COPY src src
RUN cat src/a src/b > all
FROM larder-test/busybox:1 AS broken
RUN exit 3
FROM larder-test/busybox:1 AS second
COPY --from=first /work/all /opt/all
ENV STAGE=second
FROM second
COPY --from=0 /work/src/deep /deep
COPY --from=larder-test/busybox:1 /etc/passwd /copied
CMD [\"cat\", \"/opt/all\"]
";

#[test]
fn stages_give_the_same_image_as_with_docker() {
    let project = |what, arguments| Project::new(what, STAGES).with(arguments);
    assert_all_same(
        &[
            project("the last stage", &[]),
            project("a stage by its name", &["--target", "second"]),
            project("a stage by its name in different case", &["--target", "First"]),
        ],
        0,
    );
}

const ARGUMENTS: &str = "
ARG NAME=larder-test/busybox:1
ARG EDITION=plain
FROM ${NAME:-scratch}
COPY run.sh /
ARG EDITION
ARG WHO=world
ARG UNSET
ARG TARGETARCH
ENV GREETING=\"hello ${WHO}\" EDITION=$EDITION ARCH=$TARGETARCH
ENV FALLBACK=${UNSET:-none} INSTEAD=${WHO:+someone} LITERAL=\\$WHO QUOTED='$WHO' A=1
ENV A=2 B=$A
LABEL for=$WHO
WORKDIR /work/$WHO
COPY src/${UNSET:-a}* src/b /opt/$EDITION/
RUN env | grep -v HOSTNAME | sort > /env
";

#[test]
fn arguments_and_variables_are_expanded_as_with_docker() {
    let project = |what, arguments| Project::new(what, ARGUMENTS).with(arguments);
    assert_all_same(
        &[
            project("defaults", &[]),
            project("values", &["--build-arg", "WHO=deep", "--build-arg", "EDITION=full, a=b"]),
            project("an empty value", &["--build-arg", "WHO=", "--build-arg", "UNSET="]),
            project("an undeclared argument", &["--build-arg", "UNSET=b", "--build-arg", "UNDECLARED=x"]),
            project("a predefined argument", &["--build-arg", "HTTP_PROXY=http://127.0.0.1:1"]),
        ],
        0,
    );
}

#[test]
fn an_argument_without_a_value_comes_from_the_environment() {
    let dockerfile =
        "FROM larder-test/busybox:1\nARG WHO=world\nARG OTHER=\", kept\"\nENV A=\"$WHO$OTHER\"\n";
    on_engines(0, |engine| {
        let mut bench = Bench::with_files(engine, dockerfile);
        bench.variables.push(("WHO", "the environment".to_owned()));
        let arguments = ["--build-arg", "WHO", "--build-arg", "OTHER", &bench.directory];
        let peer = bench.assert_cached("ARG of the environment", &arguments, None);
        let variables = peer.config["config"]["Env"].to_string();
        assert!(variables.contains("A=the environment, kept"), "{variables}");
    });
}

const CONFIG: &str = "
FROM larder-test/busybox:1
COPY run.sh /
MAINTAINER someone@example.org
LABEL one=1 two=\"t w o\"
EXPOSE 80 443/tcp 53/udp
VOLUME /data /more
VOLUME [\"/with space\"]
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --timeout=3s --retries=2 CMD true
SHELL [\"/bin/sh\", \"-ec\"]
USER app:app
WORKDIR /home/app
WORKDIR more
ENTRYPOINT [\"/bin/sh\", \"-c\"]
CMD echo hello
";

#[test]
fn the_image_config_is_the_same_as_with_docker() {
    let this_platform: &[&str] = if cfg!(target_arch = "aarch64") {
        &["--platform", "linux/arm64"]
    } else {
        &["--platform", "linux/amd64"]
    };
    assert_all_same(
        &[
            Project::new("every instruction about the config", CONFIG).with(&[
                "--label",
                "two=2",
                "--label",
                "three",
                "--label",
                "org.example.a=b=c",
            ]),
            Project::new(
                "triggers, and instructions that reset a value",
                "FROM larder-test/busybox:1\nONBUILD COPY src /src\nONBUILD RUN echo $WHO\n\
                 HEALTHCHECK NONE\nCMD []\nENTRYPOINT exec top\n",
            ),
            Project::new("an image without layers", "FROM scratch\nLABEL a=b\nCMD [\"/none\"]\n"),
            Project::new(
                "a different platform",
                "FROM scratch\nCOPY run.sh /\nARG TARGETPLATFORM\nENV P=$TARGETPLATFORM\n",
            )
            .with(&["--platform", "linux/arm/v7"]),
            Project::new(
                "this platform by its name",
                "FROM --platform=$BUILDPLATFORM larder-test/busybox:1\nARG TARGETOS\nENV P=$TARGETOS\n",
            )
            .with(this_platform),
        ],
        0,
    );
}

#[test]
fn copies_give_the_same_image_as_with_docker() {
    assert_all_same(
        &[
            Project::new(
                "files, directories, wildcards",
                "FROM scratch\nCOPY . /all/\nCOPY src/? /some/\nCOPY r*.sh /run\n",
            ),
            Project::new(
                "owner by number",
                "FROM larder-test/busybox:1\nCOPY --chown=1000:7 src /src\nADD --chown=5 run.sh /r\n",
            ),
            Project::new(
                "owner by name",
                "FROM larder-test/busybox:1\nCOPY --chown=app:root src /home/app/src\n",
            ),
            Project::new(
                "mode",
                "FROM larder-test/busybox:1\nCOPY --chmod=0640 src /src\nCOPY --chmod=755 run* /bin/\n",
            ),
            Project::new(
                "owner in a copy between stages",
                "FROM larder-test/busybox:1 AS one\nCOPY src /src\nFROM larder-test/busybox:1\n\
                 COPY --from=one --chown=app /src/deep /deep\n",
            ),
            Project::new(
                "a file that replaces a different one",
                "FROM larder-test/busybox:1\nCOPY src /work\nCOPY run.sh /work/deep/er/c\n",
            ),
        ],
        0,
    );
    assert_all_same(
        &[
            Project::new(
                "links",
                "FROM larder-test/busybox:1\nCOPY --link src /src\nCOPY --link --chown=1000:7 run.sh /bin/\n",
            ),
            Project::new(
                "mode and owner at once",
                "FROM larder-test/busybox:1\nCOPY --chmod=0711 --chown=app run.sh /r\n",
            ),
            Project::new(
                "heredocs",
                "FROM larder-test/busybox:1\nCOPY run.sh /\nRUN <<EOF\n  echo one > /f\n  echo $HOME >> /f\nEOF\n\
                 COPY <<one.txt <<-'two.txt' /opt/\nfirst $PATH\none.txt\n\tsecond $PATH\ntwo.txt\n",
            ),
        ],
        NEWER_FRONTEND,
    );
}

#[test]
fn added_archives_are_unpacked_as_with_docker() {
    on_engines(0, |engine| {
        let bench = Bench::with_files(
            engine,
            "FROM larder-test/busybox:1\nADD plain.tar /plain\nADD packed.tgz /packed\nCOPY plain.tar /\n",
        );
        let content = bench.context.tag("unique");
        let mut builder = tar::Builder::new(Vec::new());
        for (path, mode, seconds) in [("tool/bin/run", 0o755, 1_000), ("tool/README", 0o644, 2_000)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(mode);
            header.set_mtime(seconds);
            header.set_uid(1000);
            header.set_gid(7);
            builder.append_data(&mut header, path, content.as_bytes()).unwrap();
        }
        let tar = builder.into_inner().unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, &tar).unwrap();
        bench.context.write("plain.tar", &tar).write("packed.tgz", gzip.finish().unwrap());
        let image = bench.assert_same("ADD of archives", &[&bench.directory], None);
        for path in ["/plain/tool/bin/run", "/packed/tool/README"] {
            let entry = &engine.entries(&image, path)[0].attributes;
            assert!(entry.contains(" 1000:"), "{path}: {entry}");
        }
    });
}

#[test]
fn mounts_of_run_steps_work_as_with_docker() {
    assert_all_same(
        &[
            Project::new(
                "a directory of the context",
                "FROM larder-test/busybox:1\nRUN --mount=type=bind,source=src,target=/mnt cat /mnt/a > /f\n",
            ),
            Project::new(
                "a directory of a stage",
                "FROM larder-test/busybox:1 AS one\nCOPY src /src\nFROM larder-test/busybox:1\n\
                 RUN --mount=from=one,source=/src,target=/mnt cat /mnt/a > /f\n",
            ),
            Project::new(
                "a cache and a temporary file system",
                "FROM larder-test/busybox:1\nCOPY run.sh /\nRUN --mount=type=cache,target=/cache,uid=5,mode=0700 \
                 --mount=type=tmpfs,target=/tmp stat -c %u:%g:%a /cache > /cache/f && cp /cache/f /tmp && cp /tmp/f /f\n",
            ),
        ],
        0,
    );
    assert_all_same(
        &[Project::new(
            "a mount whose options contain arguments",
            "FROM larder-test/busybox:1\nCOPY run.sh /\nARG C=/cache\n\
             RUN --mount=type=cache,id=$C-x,target=$C,gid=5 stat -c %u:%g:%a /cache > /f\n",
        )],
        NEWER_FRONTEND,
    );
}

#[test]
fn onbuild_triggers_of_a_base_are_run_as_with_docker() {
    on_engines(0, |engine| {
        let bench = Bench::with_files(engine, "");
        let parent = bench.context.tag("parent");
        bench.context.write(
            "Parent",
            "FROM larder-test/busybox:1\nONBUILD ARG WHO=nobody\nONBUILD COPY src/a /a\n\
             ONBUILD RUN echo $WHO > /who\nONBUILD LABEL who=$WHO\n",
        );
        bench.docker(&["-t", &parent, "-f", "Parent", "."], None).success();
        bench.context.write("Dockerfile", format!("FROM {parent}\nCOPY src/b /b\n"));
        let image = bench.assert_same("ONBUILD", &["--build-arg", "WHO=somebody", &bench.directory], None);
        assert_eq!(engine.read(&image, "/who"), b"somebody\n");
        assert!(engine.read(&image, "/a").starts_with(b"alpha\n"));
        // The key includes the file that only the trigger names.
        bench.context.write("src/a", "changed\n");
        bench.larder(&["--build-arg", "WHO=somebody", "-t", &image, "."], None).success();
        assert_eq!(engine.read(&image, "/a"), b"changed\n");
    });
}
