//! Maps BuildKit's name of a step to its source lines.
//!
//! A name is `[STAGE I/N] INSTRUCTION`: step I of the N steps of the stage STAGE, which are its base (unless that is a
//! stage or `scratch`) and its RUN, COPY, ADD and WORKDIR instructions (moby/buildkit, `dockerfile2llb/convert.go`,
//! `prefixCommand`). A stage without a name is `stage-K`; older frontends omit the name of the only stage of a file.

use std::ops::RangeInclusive;

use super::{Dockerfile, Instruction, InstructionKind, Stage};

impl Dockerfile {
    /// Returns the source lines (from 1) of the step that BuildKit calls `name`, or `None` if they are not certain.
    pub fn step_lines(&self, name: &str) -> Option<RangeInclusive<usize>> {
        self.step(name).map(|(_, step)| step.lines.clone())
    }

    /// Returns the step that BuildKit calls `name`, and its stage, or `None` if they are not certain.
    pub(crate) fn step(&self, name: &str) -> Option<(&Stage, &Instruction)> {
        let (prefix, shown) = name.strip_prefix('[')?.split_once(']')?;
        let mut words = prefix.split_whitespace().rev();
        let (index, total) = words.next()?.split_once('/')?;
        let (index, total): (usize, usize) = (index.parse().ok()?, total.parse().ok()?);
        // There may be padding between the stage and the number, and a platform before the stage.
        let stage = words.next().filter(|word| !word.contains('/'));
        let mut candidates = self.stages.iter().filter(|candidate| match stage {
            Some(stage) => {
                candidate.name.as_deref() == Some(stage) || format!("stage-{}", candidate.index) == stage
            }
            None => self.stages.len() == 1,
        });
        let candidate = candidates.next()?;
        let steps = self.steps_of(candidate);
        // The engine also counts triggers of a base image, which are not in this file.
        let step = steps.get(index.checked_sub(1)?).filter(|_| steps.len() == total)?;
        let keyword = shown.split_whitespace().next()?;
        step.keyword.eq_ignore_ascii_case(keyword).then_some((candidate, *step))
    }

    fn steps_of<'a>(&self, stage: &'a Stage) -> Vec<&'a Instruction> {
        let counts = |instruction: &&Instruction| match &instruction.kind {
            InstructionKind::From(from) => {
                let is_stage = self.stages[..stage.index]
                    .iter()
                    .any(|earlier| earlier.name.as_deref() == Some(from.base.as_str()));
                !is_stage && from.base != "scratch"
            }
            InstructionKind::Workdir(_) => true,
            _ => instruction.is_step(),
        };
        stage.instructions.iter().filter(counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steps_name_is_mapped_to_its_lines() {
        let text = "FROM alpine AS build\nENV A=1\nWORKDIR /w\nRUN one && \\\n    two\n\
                    FROM build\nCOPY a /\nRUN three\nFROM scratch\nCOPY --from=build /w /\n";
        let dockerfile = Dockerfile::parse(text).unwrap();
        for (name, lines) in [
            ("[build 1/3] FROM docker.io/library/alpine", Some(1..=1)),
            ("[build 3/3] RUN one &&     two", Some(4..=5)),
            ("[stage-1 2/2] RUN three", Some(8..=8)),
            ("[linux/amd64 stage-2 1/1] COPY --from=build /w /", Some(10..=10)),
            ("[build 3/4] RUN with a trigger before it", None),
            ("[build 2/3] RUN what is a WORKDIR there", None),
            ("[other 1/1] RUN x", None),
            ("[internal] load build context", None),
            ("exporting to image", None),
        ] {
            assert_eq!(dockerfile.step_lines(name), lines, "{name}");
        }
        let alone = Dockerfile::parse("FROM a\nRUN x\n").unwrap();
        assert_eq!(alone.step_lines("[2/2] RUN x"), Some(2..=2));
        assert_eq!(alone.step_lines("[stage-0 2/2] RUN x"), Some(2..=2));
    }
}
