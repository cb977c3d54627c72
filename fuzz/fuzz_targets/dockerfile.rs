//! Fuzzes the parser and the resolution of Dockerfiles.
//!
//! Checks that results are deterministic, and that positions of instructions and errors are inside the text.
#![no_main]

use larder::dockerfile::{Dockerfile, InstructionKind, Options, SyntaxError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = Dockerfile::parse(text);
    assert_eq!(read, Dockerfile::parse(text), "parsing the same text twice gives different results");
    let lines = text.lines().count().max(1);
    let dockerfile = match read {
        Ok(dockerfile) => dockerfile,
        Err(error) => return check_place(&error, text, lines),
    };
    let stages = dockerfile.stages.iter().flat_map(|stage| &stage.instructions);
    for instruction in dockerfile.global_args.iter().chain(stages) {
        let (first, last) = (*instruction.lines.start(), *instruction.lines.end());
        assert!(1 <= first && first <= last && last <= lines, "{first}-{last} of {lines}");
        assert_eq!(instruction.text.split('\n').count(), last - first + 1, "{:?}", instruction.text);
        if let InstructionKind::Run(run) = &instruction.kind {
            drop(run.script());
        }
    }
    for stage in &dockerfile.stages {
        let name = stage.name.clone().unwrap_or_else(|| format!("stage-{}", stage.index));
        for step in 0..4 {
            drop(dockerfile.step_lines(&format!("[{name} {step}/3] RUN x")));
        }
    }
    let targets = dockerfile.stages.iter().map(|stage| stage.name.clone()).chain([None]);
    for (number, target) in targets.enumerate() {
        let mut options = Options { target, ..Options::default() };
        if number % 2 == 1 {
            options.platform = Some("linux/arm64".to_owned());
            let declared = dockerfile.global_args.iter().filter_map(|instruction| match &instruction.kind {
                InstructionKind::Arg(args) => {
                    Some(args.iter().map(|(name, _)| (name.clone(), "a/b.c-1".to_owned())))
                }
                _ => None,
            });
            options.build_args = declared.flatten().collect();
        }
        match dockerfile.resolve(&options) {
            Err(error) => {
                if let Some(error) = error.locate(text) {
                    check_place(&error, text, lines);
                }
            }
            Ok(resolution) => {
                assert_eq!(dockerfile.resolve(&options).unwrap(), resolution);
                assert!(resolution.stages.iter().any(|stage| stage.index == resolution.target));
                assert!(!format!("{resolution:?}").is_empty());
                // With known triggers, fewer parts of the Dockerfile are uncertain.
                options.triggers =
                    resolution.bases.iter().map(|base| (base.reference.clone(), Vec::new())).collect();
                assert!(dockerfile.resolve(&options).is_ok());
            }
        }
    }
});

fn check_place(error: &SyntaxError, text: &str, lines: usize) {
    assert!(1 <= error.line && error.line <= lines, "{error:?} of {lines}");
    let source = text.lines().nth(error.line - 1).unwrap_or_default();
    assert!(1 <= error.column && error.column <= source.chars().count() + 1, "{error:?}");
    assert!(error.caret("Dockerfile", text).len() < 4096 + error.message.len());
}
