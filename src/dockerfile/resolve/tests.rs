//! Tests of the resolution of targets.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::dockerfile::{ContextPaths, ContextSelector, Dockerfile};

fn strings<'a>(items: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    items.into_iter().map(str::to_owned).collect()
}

/// Returns options in which the usual base images have no triggers.
fn known_bases() -> Options {
    let names = ["a", "b", "c", "python:3.11", "python:3.12", "golang", "alpine"];
    let triggers = names.map(|name| (name.to_owned(), Vec::new()));
    Options { triggers: triggers.into(), ..Options::default() }
}

fn with_args<const N: usize>(args: [(&str, &str); N]) -> Options {
    let build_args = args.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Options { build_args: build_args.into(), ..known_bases() }
}

fn resolved(text: &str, options: &Options) -> Resolution {
    Dockerfile::parse(text).unwrap().resolve(options).unwrap()
}

fn stages(resolution: &Resolution) -> Vec<usize> {
    resolution.stages.iter().map(|stage| stage.index).collect()
}

fn bases(resolution: &Resolution) -> Vec<String> {
    resolution.bases.iter().map(|base| format!("{} {}", base.reference, base.platform)).collect()
}

#[test]
fn a_target_reaches_its_bases_copies_and_mounts() {
    let text = "FROM a AS base\nFROM base AS test\nRUN t\nFROM b AS deps\nFROM c AS tools\n\
                FROM base AS app\nCOPY --from=deps /x /x\nRUN --mount=from=tools,target=/t,source=/t make\n\
                FROM base AS last\nCOPY --from=0 /y /y\n";
    let table = [
        (Some("app"), vec![0, 2, 3, 4]),
        (Some("APP"), vec![0, 2, 3, 4]),
        (Some("test"), vec![0, 1]),
        (None, vec![0, 5]),
        (Some(""), vec![0, 5]),
    ];
    for (target, reached) in table {
        let options = Options { target: target.map(str::to_owned), ..known_bases() };
        assert_eq!(stages(&resolved(text, &options)), reached, "{target:?}");
    }
}

#[test]
fn an_unknown_target_lists_the_existing_stages() {
    let dockerfile = Dockerfile::parse("FROM a AS builder\nFROM b\nFROM c AS runtime").unwrap();
    let options = Options { target: Some("biulder".to_owned()), ..known_bases() };
    let error = dockerfile.resolve(&options).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no stage `biulder`; the named stages are `builder`, `runtime`; did you mean `builder`?"
    );
}

#[test]
fn images_are_listed_once_with_variables_and_platform_expanded() {
    let text = "ARG PY=3.11\nARG BASE=python:${PY}\nFROM ${BASE} AS x\nFROM --platform=$BUILDPLATFORM golang AS y\n\
                FROM scratch\nCOPY --from=x /a /a\nCOPY --from=y /b /b\nCOPY --from=alpine /c /c\n\
                RUN --mount=from=alpine,target=/m true\nRUN --mount=type=bind,from=y,target=/n true";
    let options = Options { platform: Some("linux/arm64".to_owned()), ..known_bases() };
    let found = resolved(text, &options);
    assert_eq!(bases(&found), ["python:3.11 linux/arm64", "golang linux/amd64", "alpine linux/arm64"]);
    assert_eq!(found.bases[0].written, "${BASE}");
    let sources = |number: usize| found.stages[2].instructions[number].sources.as_slice();
    assert_eq!((sources(3), sources(4)), (&[Source::Image(2)][..], &[Source::Image(2)][..]));
    let newer = Options { platform: options.platform, ..with_args([("PY", "3.12")]) };
    assert_eq!(bases(&resolved(text, &newer))[0], "python:3.12 linux/arm64");
}

#[test]
fn global_arguments_expand_in_order_and_build_arguments_override_them() {
    let base = |text: &str, options: &Options| resolved(text, options).bases[0].reference.clone();
    assert_eq!(base("ARG A=1\nARG A=${A}2\nFROM a:$A", &known_bases()), "a:12");
    assert_eq!(base("ARG A=1 B=$A\nFROM a:$B", &with_args([("A", "9")])), "a:9");
    assert_eq!(base("ARG V\nFROM a:${V:-latest}", &known_bases()), "a:latest");
    assert_eq!(base("ARG V\nFROM a:${V:-latest}", &with_args([("V", "")])), "a:latest");
    assert_eq!(base("FROM a-$TARGETARCH", &known_bases()), "a-amd64");
    assert_eq!(base("FROM a-$TARGETARCH", &with_args([("TARGETARCH", "riscv64")])), "a-riscv64");
    assert_eq!(base("FROM a-$TARGETSTAGE AS x", &known_bases()), "a-x");
    // A build argument that is not declared is not visible.
    assert_eq!(base("FROM a:${V:-latest}", &with_args([("V", "1")])), "a:latest");
}

#[test]
fn a_stage_can_be_selected_by_an_argument() {
    let text = "ARG VARIANT=slim\nFROM a AS slim\nFROM b AS full\nFROM $VARIANT\nRUN x";
    assert_eq!(stages(&resolved(text, &known_bases())), [0, 2]);
    assert_eq!(stages(&resolved(text, &with_args([("VARIANT", "full")]))), [1, 2]);
}

/// Renders selectors as text: the path, `pattern` if it is one, and the included and excluded patterns.
fn selectors(paths: &ContextPaths) -> Vec<String> {
    if paths.is_everything() {
        return vec!["everything".to_owned()];
    }
    let text = |selector: &ContextSelector| {
        let mut words = vec![selector.path.clone()];
        words.extend(selector.is_pattern.then(|| "pattern".to_owned()));
        words.extend(selector.include.iter().map(|include| format!("+{include}")));
        words.extend(selector.exclude.iter().map(|exclude| format!("-{exclude}")));
        words.join(" ")
    };
    paths.selectors().map(text).collect()
}

#[test]
fn only_sources_in_the_context_are_selected() {
    let table: &[(&str, &[&str])] = &[
        ("RUN x", &[]),
        ("COPY f /", &["f"]),
        ("COPY dir/ ./g /", &["dir", "g"]),
        ("WORKDIR /w\nCOPY . .", &["everything"]),
        ("ADD f g /d/", &["f", "g"]),
        ("COPY <<E /x\ny\nE", &[]),
        ("COPY --from=alpine f /", &[]),
        ("ADD https://x/y.tgz /", &[]),
        ("ADD git@github.com:a/b.git /", &["git@github.com:a/b.git"]),
        ("RUN --mount=target=/src x", &["everything"]),
        ("RUN --mount=type=bind,source=f,target=f x", &["f"]),
        ("RUN --mount=type=bind,source=f*,target=f x", &["f*"]),
        ("RUN --mount=type=cache,target=/c x", &[]),
        ("RUN --mount=type=tmpfs,target=/c x", &[]),
        ("RUN --mount=type=secret,id=s x", &[]),
        ("ARG D=dir\nCOPY $D/x /", &["dir/x"]),
        ("ENV D=dir\nCOPY ${D} /", &["dir"]),
        // The base image may set the variable, so that any path may be read.
        ("COPY $D /", &["everything"]),
        ("COPY *.txt d?r/x /", &["*.txt pattern", "d?r/x pattern"]),
        ("COPY --exclude=*.md --exclude=$V . /", &[" -*.md -$V"]),
        ("COPY --parents a/b.txt ./c/./d*/e /", &[" +a/b.txt", "c +d*/e"]),
        ("COPY --parents=false a/./b /", &["a/b"]),
    ];
    for (body, expected) in table {
        let found = resolved(&format!("FROM a\n{body}"), &known_bases());
        assert_eq!(found.context.is_empty(), expected.is_empty(), "{body}");
        assert_eq!(selectors(&found.context), *expected, "{body}");
    }
    let unreached = resolved("FROM a AS x\nCOPY . .\nFROM b", &known_bases());
    assert!(unreached.context.is_empty());
}

#[test]
fn only_sources_in_a_named_context_are_selected() {
    let table: &[(&str, &[&str])] = &[
        ("FROM a\nCOPY --from=data f d/* /", &["d/* pattern", "f"]),
        ("FROM a\nRUN --mount=from=data,source=f,target=/f x", &["f"]),
        ("FROM a\nRUN --mount=from=data,target=/f x", &["everything"]),
        ("FROM a\nRUN --mount=type=cache,from=data,source=f,target=/f x", &["everything"]),
        ("FROM a\nCOPY --from=data $UNKNOWN /", &["everything"]),
        ("FROM data\nRUN x", &["everything"]),
        ("FROM data AS x\nFROM a\nCOPY --from=x f /", &["everything"]),
        // The context replaces the stage.
        ("FROM b AS data\nRUN x\nFROM a\nCOPY --from=data f /", &["f"]),
        ("FROM b AS data\nFROM a\nCOPY --from=0 f /", &["f"]),
        ("FROM b AS data\nFROM data\nRUN x", &["everything"]),
        ("FROM b AS data", &["everything"]),
        ("FROM a\nCOPY f /", &[]),
    ];
    for (text, expected) in table {
        let mut options = Options { named_contexts: strings(["data"]), ..known_bases() };
        options.triggers.insert("data".to_owned(), Vec::new());
        let found = resolved(text, &options);
        let paths = found.named_paths.get("data").map(selectors).unwrap_or_default();
        assert_eq!(paths, *expected, "{text}");
    }
}

#[test]
fn remote_sources_are_reported() {
    let remote = |body: &str| resolved(&format!("FROM a\n{body}"), &known_bases()).has_remote_source;
    assert!(remote("ADD https://x/y /"));
    assert!(remote("ARG U=http://x\nADD $U /"));
    assert!(remote("ADD git@github.com:a/b.git /"));
    assert!(remote("ADD $UNKNOWN /"));
    assert!(!remote("ADD f /"));
    assert!(!remote("COPY $UNKNOWN /"));
}

#[test]
fn unknown_triggers_select_everything_and_known_triggers_are_resolved() {
    let text = "FROM mine/onbuild\nRUN x";
    let unknown = resolved(text, &known_bases());
    assert_eq!(unknown.unknown_triggers, strings(["mine/onbuild"]));
    assert!(unknown.context.is_everything() && unknown.sees_undeclared_arg("ANY"));
    assert!(!unknown.sees_undeclared_arg("HTTP_PROXY"));

    let mut options = known_bases();
    let triggers = ["ARG NODE_ENV", "COPY package.json /app/", "RUN npm ci"].map(str::to_owned);
    options.triggers.insert("mine/onbuild".to_owned(), triggers.into());
    let found = resolved(text, &options);
    assert!(!found.sees_undeclared_arg("ANY"));
    assert_eq!(selectors(&found.context), ["package.json"]);
    assert_eq!(found.step_count(), 3);
    let triggered: Vec<_> = found.stages[0].instructions.iter().map(|resolved| resolved.is_trigger).collect();
    assert_eq!(triggered, [false, true, true, true, false]);
}

#[test]
fn triggers_of_a_stage_run_in_the_stages_based_on_it() {
    let text = "FROM a AS base\nONBUILD COPY --from=tools /t /t\nONBUILD COPY f /f\nFROM b AS tools\nFROM base\nRUN x";
    let found = resolved(text, &known_bases());
    assert_eq!(stages(&found), [0, 1, 2]);
    assert_eq!(selectors(&found.context), ["f"]);
    assert_eq!(found.step_count(), 3);
    let alone = resolved(text, &Options { target: Some("base".to_owned()), ..known_bases() });
    assert!(alone.context.is_empty());
    assert_eq!((stages(&alone), alone.step_count()), (vec![0], 0));
}

#[test]
fn named_contexts_replace_stages_and_images() {
    let text = "FROM alpine AS base\nRUN expensive\nFROM base\nCOPY --from=docker.io/library/golang:latest /x /x\nCOPY --from=data /y /y";
    let given = |names: &[&str]| Options { named_contexts: strings(names.iter().copied()), ..known_bases() };
    let none = resolved(text, &given(&[]));
    assert_eq!(none.bases.len(), 3);
    let some = resolved(text, &given(&["golang", "data", "unused"]));
    assert_eq!(bases(&some), ["alpine linux/amd64"]);
    assert_eq!(some.named_contexts, strings(["golang", "data"]));
    let stage = resolved(text, &given(&["base", "golang", "data"]));
    assert!(stage.bases.is_empty());
    assert_eq!(stage.step_count(), 2, "the replaced stage's steps do not run");
    let image = resolved("FROM alpine:latest", &given(&["docker.io/library/alpine"]));
    assert_eq!(image.stages[0].base, Source::Context("docker.io/library/alpine".to_owned()));
    let platform = resolved("FROM alpine", &given(&["alpine::linux/amd64", "alpine::linux/arm64"]));
    assert_eq!(platform.named_contexts, strings(["alpine::linux/amd64"]));
}

#[test]
fn some_arguments_affect_the_build_without_a_declaration() {
    let found = resolved("ARG G\nFROM a AS x\nARG ONLY_X\nFROM b\nARG S\nRUN y", &known_bases());
    for seen in ["BUILDKIT_INLINE_CACHE", "SOURCE_DATE_EPOCH", "TARGETARCH"] {
        assert!(found.sees_undeclared_arg(seen), "{seen}");
    }
    for unseen in ["ONLY_X", "G", "S", "OTHER", "HTTP_PROXY", "no_proxy", "s"] {
        assert!(!found.sees_undeclared_arg(unseen), "{unseen}");
    }
}

#[test]
fn stage_arguments_come_from_the_build_the_default_or_the_global_scope() {
    let text = "ARG G=global\nARG D=global\nFROM a AS base\nARG G\nARG D=stage\nARG E=$G-$D\nARG N\nENV G2=$G N=env\nFROM base\nARG N\nRUN x";
    let last = |options: &Options, name: &str| {
        let found = resolved(text, options);
        found.stages.last().unwrap().instructions.last().unwrap().scope.get(name).map(str::to_owned)
    };
    let plain = known_bases();
    for (name, value) in
        [("G", "global"), ("D", "stage"), ("E", "global-stage"), ("G2", "global"), ("N", "env")]
    {
        assert_eq!(last(&plain, name).as_deref(), Some(value), "{name}");
    }
    let given = with_args([("D", "cli"), ("N", "cli")]);
    assert_eq!(last(&given, "E").as_deref(), Some("global-cli"));
    assert_eq!(last(&given, "N").as_deref(), Some("cli"));
}

#[test]
fn secrets_and_ssh_agents_are_listed_by_id() {
    let text = "FROM a\nARG ID=four\nRUN --mount=type=secret,id=one --mount=type=secret,target=/run/two \
                --mount=type=secret,source=three,target=/x --mount=type=secret,id=$ID --mount=type=ssh \
                --mount=type=ssh,id=deploy x";
    let found = resolved(text, &known_bases());
    assert_eq!(found.secrets, strings(["one", "two", "three", "four"]));
    assert_eq!(found.ssh, strings(["default", "deploy"]));
    assert!(!found.may_use_any_secret);
    assert!(resolved("FROM a\nRUN --mount=type=secret,id=$FROM_BASE x", &known_bases()).may_use_any_secret);
    assert!(
        !resolved("FROM scratch\nRUN --mount=type=secret,id=x$FROM_BASE x", &known_bases())
            .may_use_any_secret
    );
}

#[test]
fn options_of_cache_mounts_are_expanded() {
    let text = "FROM a AS x\nARG U=1000\nRUN --mount=type=cache,id=pip-$TARGETARCH,target=/root/.cache/pip,uid=$U \
                --mount=type=cache,dst=/c,from=b,source=/seed,ro pip install x\nARG TARGETARCH\n\
                RUN --mount=type=cache,id=pip-$TARGETARCH,target=/d y";
    let found = resolved(text, &known_bases());
    let [pip, seeded, late] = &found.cache_mounts[..] else { panic!("three mounts") };
    assert_eq!((&*pip.options["id"], pip.is_certain), ("pip-", false), "TARGETARCH is not declared yet");
    assert_eq!(pip.options["uid"], "1000");
    assert_eq!((seeded.options["target"].as_str(), seeded.options["readonly"].as_str()), ("/c", "true"));
    assert_eq!(seeded.from, Some(Source::Image(1)));
    assert_eq!((&*late.options["id"], late.line, late.is_certain), ("pip-amd64", 5, true));
}

#[test]
fn the_user_is_expanded_with_the_escape_character_of_the_dockerfile() {
    for (directive, written, user) in [
        ("", "app:$G", "app:staff"),
        ("", r"a\pp", "app"),
        ("# escape=`\n", r"domain\app", r"domain\app"),
        ("# escape=`\n", "`$G:x", "$G:x"),
    ] {
        let found =
            resolved(&format!("{directive}FROM scratch\nENV G=staff\nUSER {written}\nRUN x"), &known_bases());
        let stage = &found.stages[0];
        assert_eq!(found.user_and_group_at(stage, 3).as_deref(), Some(user), "{written}");
        assert_eq!(found.user_at(stage, 3).as_deref(), user.split(':').next(), "{written}");
    }
}

#[test]
fn steps_are_counted_over_the_reached_stages() {
    let text =
        "FROM a AS x\nRUN a\nCOPY b /\nENV C=d\nFROM b AS y\nRUN e\nFROM x\nADD f /\nWORKDIR /w\nCMD g";
    assert_eq!(resolved(text, &known_bases()).step_count(), 3);
}

#[test]
fn dockerfiles_that_the_frontend_rejects_are_rejected() {
    for text in [
        "ARG A\nFROM $A",
        "FROM ${A",
        "FROM --platform=$NONE a",
        "FROM --platform=a/b/c/d a",
        "FROM --platform=potato a",
        "FROM a\nCOPY --from=7 x y",
        "FROM a\nCOPY --from=-1 x y",
        "FROM a AS x\nCOPY --from=7 x y\nFROM b",
        "ARG S\nFROM a\nCOPY --from=$S x y",
        "FROM a\nENV A=${B:?}",
    ] {
        assert!(Dockerfile::parse(text).unwrap().resolve(&known_bases()).is_err(), "{text}");
    }
}

#[test]
fn resolution_terminates_for_stages_that_copy_from_each_other() {
    let found = resolved("FROM a AS x\nCOPY --from=y / /\nFROM b AS y\nCOPY --from=x / /", &known_bases());
    assert_eq!(stages(&found), [0, 1]);
}

#[test]
fn a_timestamp_from_a_stage_or_context_includes_everything() {
    let found = resolved("FROM a\nRUN x", &with_args([("SOURCE_DATE_EPOCH", "context")]));
    assert!(found.context.is_everything() && found.has_remote_source);
    let plain = resolved("FROM a\nRUN x", &with_args([("SOURCE_DATE_EPOCH", "0")]));
    assert!(plain.context.is_empty() && !plain.has_remote_source);
}

#[test]
fn debug_output_contains_no_build_argument_value() {
    let options = with_args([("TOKEN", "hunter2")]);
    let text = "ARG TOKEN\nFROM a\nARG TOKEN\nENV T=$TOKEN\nADD https://$TOKEN@x/y /\nRUN --mount=type=cache,target=/$TOKEN x";
    let dockerfile = Dockerfile::parse(text).unwrap();
    assert!(!format!("{options:?} {:?}", dockerfile.resolve(&options).unwrap()).contains("hunter2"));
    let unknown = Options { triggers: BTreeMap::new(), ..options };
    assert!(!format!("{:?}", dockerfile.resolve(&unknown).unwrap()).contains("hunter2"));
}
