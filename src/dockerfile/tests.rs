//! Tests of the parser with typical Dockerfiles.

mod corpus;
mod mistakes;

use super::*;

/// Renders one line per instruction: its source lines, keyword, and parsed parts.
fn render_file(text: &str) -> String {
    let dockerfile = Dockerfile::parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let stages = dockerfile.stages.iter().flat_map(|stage| &stage.instructions);
    let lines: Vec<String> = dockerfile.global_args.iter().chain(stages).map(render_instruction).collect();
    lines.join("\n")
}

fn render_instruction(instruction: &Instruction) -> String {
    let (first, last) = (instruction.lines.start(), instruction.lines.end());
    let lines = if first == last { first.to_string() } else { format!("{first}-{last}") };
    format!("{lines} {} {}", instruction.keyword, render_kind(&instruction.kind)).trim_end().to_owned()
}

fn render_kind(kind: &InstructionKind) -> String {
    match kind {
        InstructionKind::From(from) => {
            let platform = from.platform.iter().map(|platform| format!(" on {platform}"));
            let name = from.name.iter().map(|name| format!(" as {name}"));
            format!("{}{}", from.base, platform.chain(name).collect::<String>())
        }
        InstructionKind::Arg(args) => {
            let shown = args.iter().map(|(name, value)| match value {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            });
            shown.collect::<Vec<_>>().join(" | ")
        }
        InstructionKind::Env(pairs) => {
            let shown = pairs.iter().map(|(name, value)| format!("{name}:{value}"));
            shown.collect::<Vec<_>>().join(" | ")
        }
        InstructionKind::Run(run) => {
            let mounts = run.mounts.iter().map(|mount| format!("{mount:?} "));
            let mounts = mounts.collect::<String>().replace("Mount { options: ", "").replace(" }", "");
            let flags = run.network.iter().map(|network| format!("network={network} "));
            let flags = flags.chain(run.security.iter().map(|mode| format!("security={mode} ")));
            let command = match &run.command {
                RunCommand::Shell(command) => command.clone(),
                RunCommand::Exec(argv) => format!("{argv:?}"),
            };
            format!("{mounts}{}{command}{}", flags.collect::<String>(), render_heredocs(&run.heredocs))
        }
        InstructionKind::Copy(transfer) | InstructionKind::Add(transfer) => {
            let flags = transfer.flags.iter().map(|flag| match &flag.value {
                Some(value) => format!("{}={value} ", flag.name),
                None => format!("{} ", flag.name),
            });
            let heredocs = render_heredocs(&transfer.heredocs);
            format!(
                "{}{:?} -> {}{heredocs}",
                flags.collect::<String>(),
                transfer.sources,
                transfer.destination
            )
        }
        InstructionKind::Onbuild(onbuild) => {
            format!("({} {})", onbuild.instruction.keyword, render_kind(&onbuild.instruction.kind))
        }
        InstructionKind::Workdir(text) | InstructionKind::User(text) | InstructionKind::Other(text) => {
            text.clone()
        }
        InstructionKind::Shell(argv) => format!("{argv:?}"),
    }
}

fn render_heredocs(heredocs: &[Heredoc]) -> String {
    let shown = heredocs.iter().map(|heredoc| format!(" <<{} {:?}", heredoc.name, heredoc.content));
    shown.collect()
}

/// Dockerfiles that every parser reads in the same way.
const PLAIN: &[(&str, &str)] = &[
    ("FROM scratch", "1 FROM scratch"),
    (
        "# a comment\n\nFROM python:3.11-slim\n\nWORKDIR /app\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\nCOPY . .\nEXPOSE 8000\nCMD [\"gunicorn\", \"app:app\"]\n",
        "3 FROM python:3.11-slim\n5 WORKDIR /app\n6 COPY [\"requirements.txt\"] -> .\n7 RUN pip install -r requirements.txt\n8 COPY [\".\"] -> .\n9 EXPOSE 8000\n10 CMD [\"gunicorn\", \"app:app\"]",
    ),
    (
        "ARG PY=3.11\nARG BASE=python:${PY} OTHER\nFROM ${BASE} AS Builder\nARG PY\n",
        "1 ARG PY:3.11\n2 ARG BASE:python:${PY} | OTHER\n3 FROM ${BASE} as builder\n4 ARG PY",
    ),
    (
        "FROM golang:1.22 as build\nCOPY go.mod go.sum ./\nRUN go mod download\nFROM gcr.io/distroless/static\nCOPY --from=build --chown=65532:65532 /out/app /app\nENTRYPOINT [\"/app\"]",
        "1 FROM golang:1.22 as build\n2 COPY [\"go.mod\", \"go.sum\"] -> ./\n3 RUN go mod download\n4 FROM gcr.io/distroless/static\n5 COPY from=build chown=65532:65532 [\"/out/app\"] -> /app\n6 ENTRYPOINT [\"/app\"]",
    ),
    (
        "FROM debian\nRUN apt-get update \\\n # a comment inside\n && apt-get install -y \\\n\n    curl \\\n  && rm -rf /var/lib/apt/lists/*\nUSER app",
        "1 FROM debian\n2-7 RUN apt-get update  && apt-get install -y     curl   && rm -rf /var/lib/apt/lists/*\n8 USER app",
    ),
    (
        "# syntax=docker/dockerfile:1\n# escape=`\nFROM mcr.microsoft.com/windows/servercore\nSHELL [\"powershell\", \"-Command\"]\nRUN dir C:\\ `\n && echo ok\n",
        "3 FROM mcr.microsoft.com/windows/servercore\n4 SHELL [\"powershell\", \"-Command\"]\n5-6 RUN dir C:\\  && echo ok",
    ),
    (
        "FROM --platform=$BUILDPLATFORM node:20 AS web\nRUN --mount=type=cache,target=/root/.npm,sharing=locked npm ci\n",
        "1 FROM node:20 on $BUILDPLATFORM as web\n2 RUN [(\"type\", Some(\"cache\")), (\"target\", Some(\"/root/.npm\")), (\"sharing\", Some(\"locked\"))] npm ci",
    ),
    (
        "FROM a\nRUN --network=none --security=insecure make test\n",
        "1 FROM a\n2 RUN network=none security=insecure make test",
    ),
    (
        "FROM a\nRUN [\"/bin/sh\", \"-c\", \"echo \\\"x\\\"\"]\nVOLUME [\"/a\", \"/b\"]\n",
        "1 FROM a\n2 RUN [\"/bin/sh\", \"-c\", \"echo \\\"x\\\"\"]\n3 VOLUME [\"/a\", \"/b\"]",
    ),
    ("FROM a\nCOPY [\"a file\", \"dest dir/\"]\n", "1 FROM a\n2 COPY [\"a file\"] -> dest dir/"),
    (
        "FROM a\nONBUILD COPY . /src\nONBUILD RUN make -C /src\n",
        "1 FROM a\n2 ONBUILD (COPY [\".\"] -> /src)\n3 ONBUILD (RUN make -C /src)",
    ),
    ("FROM a\r\nRUN echo \\\r\n  two\r\nENV A=b\r\n", "1 FROM a\n2-3 RUN echo   two\n4 ENV A:b"),
    (
        "FROM a\nRUN <<EOF\nset -e\n# not a comment here\nFROM nothing\nEOF\nRUN true",
        "1 FROM a\n2-6 RUN <<EOF <<EOF \"set -e\\n# not a comment here\\nFROM nothing\\n\"\n7 RUN true",
    ),
    (
        "\u{feff}FROM a\nLABEL a=b \"c d\"=e\nSTOPSIGNAL SIGKILL\nHEALTHCHECK --interval=5s CMD true\nMAINTAINER me",
        "1 FROM a\n2 LABEL a=b \"c d\"=e\n3 STOPSIGNAL SIGKILL\n4 HEALTHCHECK CMD true\n5 MAINTAINER me",
    ),
    ("from a as b\nrun x\ncopy y z", "1 FROM a as b\n2 RUN x\n3 COPY [\"y\"] -> z"),
    ("FROM a\nRUN echo hi \\", "1 FROM a\n2 RUN echo hi"),
    ("FROM\ta  AS\tb\nCOPY\tx\t\ty", "1 FROM a as b\n2 COPY [\"x\"] -> y"),
];

/// Dockerfiles that only a parser with the rules of the engine reads correctly.
const ENGINE_SPECIFIC: &[(&str, &str)] = &[
    // Several here-documents, anywhere in the line, and with `<<-`.
    (
        "FROM a\nRUN cat <<A >/a && cat <<-'B' >/b\none\nA\n\ttwo\n\tB\nRUN x",
        "1 FROM a\n2-6 RUN cat <<A >/a && cat <<-'B' >/b <<A \"one\\n\" <<B \"\\ttwo\\n\"\n7 RUN x",
    ),
    (
        "FROM a\nCOPY --chmod=755 <<run.sh <<conf.ini /etc/app/\n#!/bin/sh\nrun.sh\nk=v\nconf.ini\n",
        "1 FROM a\n2-6 COPY chmod=755 [] -> /etc/app/ <<run.sh \"#!/bin/sh\\n\" <<conf.ini \"k=v\\n\"",
    ),
    ("FROM a\nONBUILD RUN cat <<E\nx\nE\nRUN y", "1 FROM a\n2-4 ONBUILD (RUN cat <<E <<E \"x\\n\")\n5 RUN y"),
    // The line ends of a here-document are content.
    ("FROM a\nCOPY <<E /x\r\nline\r\nE\r\n", "1 FROM a\n2-4 COPY [] -> /x <<E \"line\\r\\n\""),
    // A line with an unclosed quote opens no here-document.
    ("FROM a\nRUN echo don't <<EOF\n", "1 FROM a\n2 RUN echo don't <<EOF"),
    // A doubled escape at the end is not a continuation.
    ("FROM a\nENV A=b\\\\\nENV C=d", "1 FROM a\n2 ENV A:b\\\\\n3 ENV C:d"),
    // Quotes in flags.
    (
        "FROM a\nRUN --mount=type=cache,target=\"/a b\" --mount=\"type=secret,id=x\" -- y",
        "1 FROM a\n2 RUN [(\"type\", Some(\"cache\")), (\"target\", Some(\"/a b\"))] [(\"type\", Some(\"secret\")), (\"id\", Some(\"x\"))] y",
    ),
    // The old form of ENV, quotes, and escaped blanks.
    (
        "FROM a\nENV A some  text\nENV B=\"x y\" C=d\\ e F='g'\nENV G=$B${C:-1}",
        "1 FROM a\n2 ENV A:some  text\n3 ENV B:\"x y\" | C:d\\ e | F:'g'\n4 ENV G:$B${C:-1}",
    ),
    // Invalid JSON is the shell form.
    ("FROM a\nRUN [ -f x ] && y\nCMD ['a']", "1 FROM a\n2 RUN [ -f x ] && y\n3 CMD ['a']"),
    // Two stages with one name.
    ("FROM a AS x\nFROM b AS x", "1 FROM a as x\n2 FROM b as x"),
    // A trigger is validated only when an image is based on this one.
    ("FROM a\nONBUILD RNU x\nONBUILD COPY x", "1 FROM a\n2 ONBUILD (RNU x)\n3 ONBUILD (COPY x)"),
    // An empty RUN; flags of an instruction whose flags the engine does not parse.
    ("FROM a\nRUN\nARG --x A\nHEALTHCHECK --x NONE", "1 FROM a\n2 RUN\n3 ARG A\n4 HEALTHCHECK NONE"),
    // Flags are parsed byte by byte.
    ("FROM a\nCOPY --chown=ü --new=à b c", "1 FROM a\n2 COPY chown=Ã¼ new=Ã [\"b\"] -> c"),
    // A flag of a future frontend.
    (
        "FROM a\nCOPY --parents --new-thing=1 a b c",
        "1 FROM a\n2 COPY parents new-thing=1 [\"a\", \"b\"] -> c",
    ),
];

#[test]
fn dockerfiles_are_parsed_as_in_the_frontend() {
    for (text, expected) in PLAIN.iter().chain(ENGINE_SPECIFIC) {
        assert_eq!(&render_file(text), expected, "\n{text}");
    }
}

#[test]
fn a_second_parser_finds_the_same_instructions() {
    use parse_dockerfile::Instruction as Other;
    for (text, _) in PLAIN {
        let other = parse_dockerfile::parse(text).unwrap();
        let keywords = other.instructions.iter().map(|instruction| match instruction {
            Other::Add(_) => "ADD",
            Other::Arg(_) => "ARG",
            Other::Cmd(_) => "CMD",
            Other::Copy(_) => "COPY",
            Other::Entrypoint(_) => "ENTRYPOINT",
            Other::Env(_) => "ENV",
            Other::Expose(_) => "EXPOSE",
            Other::From(_) => "FROM",
            Other::Healthcheck(_) => "HEALTHCHECK",
            Other::Label(_) => "LABEL",
            Other::Maintainer(_) => "MAINTAINER",
            Other::Onbuild(_) => "ONBUILD",
            Other::Run(_) => "RUN",
            Other::Shell(_) => "SHELL",
            Other::Stopsignal(_) => "STOPSIGNAL",
            Other::User(_) => "USER",
            Other::Volume(_) => "VOLUME",
            Other::Workdir(_) => "WORKDIR",
            _ => "?",
        });
        let ours = Dockerfile::parse(text).unwrap();
        let all = ours.global_args.iter().chain(ours.stages.iter().flat_map(|stage| &stage.instructions));
        assert_eq!(
            keywords.collect::<Vec<_>>(),
            all.map(|instruction| instruction.keyword.as_str()).collect::<Vec<_>>(),
            "\n{text}"
        );
    }
}

#[test]
fn an_instruction_keeps_its_source() {
    let text = "FROM a\r\nRUN x \\\r\n  # why\r\n  y <<E\r\nbody\r\nE\r\n# outside\r\nRUN z\r\n";
    let stage = &Dockerfile::parse(text).unwrap().stages[0];
    let sources: Vec<_> = stage.instructions.iter().map(|instruction| instruction.text.as_str()).collect();
    assert_eq!(sources, ["FROM a", "RUN x \\\n  # why\n  y <<E\nbody\r\nE\r", "RUN z"]);
    assert_eq!(stage.lines, 1..=8);
}

#[test]
fn directives_are_recognised_only_at_the_top() {
    let read = |text: &str| Dockerfile::parse(text).unwrap().directives;
    let all = read("# Syntax = docker/dockerfile:1.7\n#escape=`\n# check=skip=all\nFROM a");
    assert_eq!(all.syntax.as_deref(), Some("docker/dockerfile:1.7"));
    assert_eq!((all.escape, all.check.as_deref()), ('`', Some("skip=all")));
    for text in ["# a comment\n# syntax=x\nFROM a", "\n# syntax=x\nFROM a", "FROM a\n# syntax=x"] {
        assert_eq!(read(text).syntax, None, "{text}");
    }
    // Only `escape` may follow a blank.
    let indented = read(" # escape=`\n# syntax=x\nFROM a");
    assert_eq!((indented.escape, indented.syntax), ('`', None));
    let shebang = read("#!/usr/bin/env docker\n# syntax=x/y\n# escape=`\nFROM a");
    assert_eq!((shebang.syntax.as_deref(), shebang.escape), (Some("x/y"), '\\'));
    let twice = read("#!/x\n# syntax=x\n# syntax=y\nFROM a");
    assert_eq!(twice.syntax.as_deref(), Some("x"));
}

#[test]
fn only_the_frontend_of_docker_is_known() {
    for known in ["docker/dockerfile:1", "docker.io/docker/dockerfile-upstream:master@sha256:00"] {
        assert!(Directives::is_known_frontend(known), "{known}");
    }
    for other in ["dockerfile-x/dockerfile-x", "ghcr.io/docker/dockerfile:1", ""] {
        assert!(!Directives::is_known_frontend(other), "{other}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "[ -~\n\t\r`\\\\<]{0,200}") {
        drop(Dockerfile::parse(&text));
        let text = format!("FROM a\nRUN {text}\nCOPY {text} x");
        if let Err(error) = Dockerfile::parse(&text) {
            proptest::prop_assert!(!error.caret("Dockerfile", &text).is_empty());
        }
    }
}
