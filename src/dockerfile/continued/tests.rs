//! Tests of the rules for continued stages. The corpus contains more cases, which `tests/it/prefix_equality.rs` builds.

use super::*;
use crate::dockerfile::instruction::OnbuildInstruction;
use crate::dockerfile::{BaseSettings, Options};

#[path = "../../../tests/corpus/prefixes/mod.rs"]
mod corpus;

use corpus::{BUSYBOX, Case};

const REFERENCE: &str = "r/app@sha256:1";

/// The image that a case refers to as BASE.
const BASE: &str = "base:1";

fn case(text: &str) -> Case {
    Case { text: text.replace("BUSYBOX", BUSYBOX), ..Case::default() }
}

fn options(case: &Case) -> Options {
    let start = BaseSettings { environment: vec!["PATH=/bin".to_owned()], ..BaseSettings::default() };
    let mut options = Options {
        target: case.target.clone(),
        build_args: case.arguments.iter().cloned().collect(),
        named_contexts: case.contexts.iter().map(|(name, _)| name.clone()).collect(),
        ..Options::default()
    };
    for name in [BUSYBOX, "larder-test/absent:1", REFERENCE] {
        options.triggers.insert(name.to_owned(), Vec::new());
        options.base_settings.insert(name.to_owned(), start.clone());
    }
    for (name, _) in &case.contexts {
        options.triggers.insert(name.clone(), Vec::new());
    }
    if let Some(base) = &case.base {
        let base = Dockerfile::parse(base).unwrap();
        let triggers = base.stages[0].instructions.iter().filter_map(|at| match &at.kind {
            InstructionKind::Onbuild(OnbuildInstruction { expression, .. }) => Some(expression.clone()),
            _ => None,
        });
        options.triggers.insert(BASE.to_owned(), triggers.collect());
        let end = base.resolve(&options).unwrap().stages[0].instructions.pop().unwrap();
        let variables = end.scope.variables().map(|(name, value)| format!("{name}={value}"));
        options.base_settings.insert(
            BASE.to_owned(),
            BaseSettings {
                environment: variables.collect(),
                workdir: end.workdir,
                ..BaseSettings::default()
            },
        );
    }
    options
}

/// Rewrites a case at the cut on `line`, and checks the properties that hold for every case.
fn rewrite(case: &Case, line: usize, command: &[&str]) -> Result<String, ContinueError> {
    let text = case.text.replace("BASE", BASE);
    let mut options = options(case);
    let dockerfile = Dockerfile::parse(&text).unwrap();
    let resolution = dockerfile.resolve(&options).unwrap();
    let stage = resolution.target;
    let own = &dockerfile.stages[stage].instructions;
    let cut = Cut { stage, instructions: own.iter().filter(|at| *at.lines.end() < line).count() };
    let environment = environment(&dockerfile, &resolution, &options, cut);
    let variables = environment.iter().filter_map(|variable| variable.split('=').next());
    let variables: Vec<String> = variables.map(str::to_owned).collect();
    let command: Vec<_> = command.iter().map(|word| (*word).to_owned()).collect();
    let prefix = PrefixImage { reference: REFERENCE, variables: &variables, command: &command };
    let continued = continue_from_prefix(&text, &dockerfile, &resolution, cut, prefix)?;

    let label = format!("{}:\n{continued}", case.name);
    assert_eq!(continued.split('\n').count(), text.split('\n').count(), "{label}");
    let last = *own[cut.instructions - 1].lines.end();
    assert!(continued.lines().skip(last).eq(text.lines().skip(last)), "lines after the cut: {label}");
    let rewritten = Dockerfile::parse(&continued).unwrap();
    assert_eq!(rewritten.directives, dockerfile.directives, "{label}");
    assert_eq!(rewritten.global_args, dockerfile.global_args, "{label}");
    assert_eq!(rewritten.stages[stage].name, dockerfile.stages[stage].name, "{label}");
    for other in dockerfile.stages.iter().filter(|other| other.index != stage) {
        assert_eq!(rewritten.stages[other.index], *other, "{label}");
    }
    let before = InheritedInstructions::of(&resolution, cut).unwrap();
    let workdir = before.before.last().unwrap().workdir.clone();
    options
        .base_settings
        .insert(REFERENCE.to_owned(), BaseSettings { environment, workdir, ..BaseSettings::default() });
    let again = rewritten.resolve(&options).unwrap();
    let count = before.after.len();
    let tail = |resolution: &Resolution| {
        let stage = resolution.stages.iter().find(|at| at.index == stage).unwrap();
        let tail = stage.instructions[stage.instructions.len() - count..].iter().cloned();
        let tail = tail.map(|at| {
            let variables = at.scope.variables().map(|(name, value)| format!("{name}={value}"));
            let variables: Vec<_> = variables.collect();
            (at.instruction, at.context, variables, at.workdir, at.sources.len())
        });
        tail.collect::<Vec<_>>()
    };
    assert_eq!(tail(&again), tail(&resolution), "instructions, variables, directories: {label}");
    Ok(continued)
}

/// Returns the environment in the config of the prefix: the variables of the base and those that ENV sets.
fn environment(dockerfile: &Dockerfile, resolution: &Resolution, options: &Options, cut: Cut) -> Vec<String> {
    let Some(inherited) = InheritedInstructions::of(resolution, cut) else { return Vec::new() };
    let mut environment = match &inherited.stages[0].base {
        Source::Image(index) => {
            options.base_settings[&resolution.bases[*index].reference].environment.clone()
        }
        _ => Vec::new(),
    };
    let scope = &inherited.before.last().unwrap().scope;
    for at in &inherited.before {
        let InstructionKind::Env(pairs) = &at.instruction.kind else { continue };
        for (name, _) in pairs {
            let name = scope.expand_certain(name, dockerfile.directives.escape).unwrap();
            environment.retain(|set| set.split('=').next() != Some(&name));
            environment.push(format!("{name}={}", scope.get(&name).unwrap_or_default()));
        }
    }
    environment
}

/// Rewrites a case at its only cut.
fn rewritten(case: &Case, command: &[&str]) -> Result<String, ContinueError> {
    rewrite(case, case.cuts().next().unwrap(), command)
}

#[test]
fn every_corpus_case_continues_or_reports_the_expected_reason() {
    let cases = corpus::cases();
    assert!(cases.len() > 150, "only {} cases were read", cases.len());
    for case in cases {
        assert!(case.cuts().next().is_some(), "{} in {} has no cut", case.name, case.topic);
        for line in case.cuts() {
            match (rewrite(&case, line, &["one"]), &case.refused) {
                (Ok(_), None) => {}
                (Err(reason), Some(expected)) => {
                    let reason = reason.to_string();
                    assert!(reason.contains(expected), "{}: `{expected}` is not in `{reason}`", case.name);
                }
                (outcome, expected) => panic!("{}: {outcome:?}, not {expected:?}", case.name),
            }
        }
    }
}

#[test]
fn the_stage_starts_from_the_prefix_and_other_lines_are_unchanged() {
    let text = "# syntax=docker/dockerfile:1\nARG G=1\nFROM BUSYBOX AS b\nRUN b\nFROM \\\n  BUSYBOX AS Final\n\
                # why\nWORKDIR /w\nRUN <<E\nx\nE\n# cut\nCOPY --from=0 x y\nWORKDIR z\nCOPY c d\n";
    assert_eq!(
        rewritten(&case(text), &[]).unwrap(),
        format!(
            "# syntax=docker/dockerfile:1\nARG G=1\nFROM {BUSYBOX} AS b\nRUN b\nFROM r/app@sha256:1 AS final\n\n\
             \n\n\n\n\n# cut\nCOPY --from=0 x y\nWORKDIR z\nCOPY c d\n"
        )
    );
}

#[test]
fn arguments_are_repeated_as_written_on_their_lines() {
    let text = "ARG v=1\nFROM BUSYBOX\nARG v\nENV x=y\nARG w=\"a b\" \\\n  q='$v'\nRUN r\n# cut\nRUN s";
    assert_eq!(
        rewritten(&case(text), &[]).unwrap(),
        "ARG v=1\nFROM r/app@sha256:1\nARG v\n\nARG w=\"a b\" \\\n  q='$v'\n\n# cut\nRUN s"
    );
}

#[test]
fn arguments_of_parent_stages_and_triggers_move_into_the_stage_and_shift_its_own_arguments() {
    let text = "FROM BASE AS b\nARG two=2\nFROM b\nARG three=$two\nCOPY a \\\n  b\n# cut\nRUN s";
    let base = Some("FROM BUSYBOX\nONBUILD ARG one\n".replace("BUSYBOX", BUSYBOX));
    assert_eq!(
        rewritten(&Case { base, ..case(text) }, &[]).unwrap(),
        "FROM base:1 AS b\nARG two=2\nFROM r/app@sha256:1\nARG one\nARG two=2\nARG three=$two\n# cut\nRUN s"
    );
}

#[test]
fn the_platform_is_that_of_the_first_parent_stage() {
    let text = "FROM --platform=$BUILDPLATFORM BUSYBOX AS b\nFROM --platform=linux/s390x b AS c\nRUN r\n# cut\nRUN s";
    let continued = rewritten(&case(text), &[]).unwrap();
    assert_eq!(continued.lines().nth(1), Some("FROM --platform=$BUILDPLATFORM r/app@sha256:1 AS c"));
}

#[test]
fn a_command_is_repeated_only_where_an_entrypoint_would_reset_it() {
    let json = Some("CMD [\"a \\\"b\\\"\",\"$c\"]");
    for (before, after, expected) in [
        ("CMD x", "ENTRYPOINT [\"y\"]", json),
        ("CMD x", "RUN z\nENTRYPOINT y", json),
        ("CMD w\nCMD x", "ENTRYPOINT [\"y\"]", json),
        ("CMD x", "CMD z\nENTRYPOINT [\"y\"]", None),
        ("CMD x", "RUN z", None),
        ("ENTRYPOINT x", "ENTRYPOINT y", None),
        ("RUN x", "ENTRYPOINT y", None),
    ] {
        let text = format!("FROM BUSYBOX\n{before}\nRUN r\n# cut\n{after}\n");
        let continued = rewritten(&case(&text), &["a \"b\"", "$c"]).unwrap();
        let lines = continued.lines().skip(1).take_while(|line| *line != "# cut");
        let repeated: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        assert_eq!(repeated, expected.into_iter().collect::<Vec<_>>(), "{text}");
    }
}

#[test]
fn triggers_of_the_stage_are_repeated_and_triggers_of_other_stages_are_not() {
    let text = "FROM BASE AS b\nONBUILD RUN b\nFROM b\nONBUILD RUN \\\n  c\nRUN d\n# cut\nONBUILD RUN e\n";
    let base = Some("FROM BUSYBOX\nONBUILD RUN a\n".replace("BUSYBOX", BUSYBOX));
    assert_eq!(
        rewritten(&Case { base, ..case(text) }, &[]).unwrap(),
        "FROM base:1 AS b\nONBUILD RUN b\nFROM r/app@sha256:1\nONBUILD RUN \\\n  c\n\n# cut\nONBUILD RUN e\n"
    );
}

#[test]
fn a_base_with_unknown_triggers_is_rejected() {
    let text = format!("FROM {BUSYBOX}\nRUN a\nRUN b\n");
    let dockerfile = Dockerfile::parse(&text).unwrap();
    let outcome = |options: &Options| {
        let resolution = dockerfile.resolve(options).unwrap();
        let prefix = PrefixImage { reference: REFERENCE, variables: &[], command: &[] };
        continue_from_prefix(&text, &dockerfile, &resolution, Cut { stage: 0, instructions: 2 }, prefix)
    };
    let known = options(&case(""));
    assert!(outcome(&known).is_ok());
    let unknown = PrefixObstacle::UnknownTriggers(BUSYBOX.to_owned());
    assert_eq!(outcome(&Options::default()), Err(unknown.into()));
}

#[test]
fn a_command_longer_than_a_line_is_rejected() {
    let text = case("FROM BUSYBOX\nCMD x\n# cut\nENTRYPOINT y\n");
    let word = "x".repeat(65_000);
    assert!(rewritten(&text, &[&word]).is_ok());
    assert_eq!(rewritten(&text, &[&word, &word]), Err(ContinueError::LineTooLong));
}

#[test]
fn checks_that_can_fail_a_build_are_recognised() {
    for (checks, expected) in [
        ("error=true", true),
        ("skip=A,B;error=true", true),
        (" skip=all ; error = 1", true),
        ("skip=all", false),
        ("skip=error", false),
        ("", false),
    ] {
        assert_eq!(enforces_checks(checks), expected, "{checks}");
    }
}
