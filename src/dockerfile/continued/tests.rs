//! The rules of a continued stage, one by one. `tests/it/prefix_equality.rs` compares images.

use super::*;
use crate::dockerfile::Options;

const REFERENCE: &str = "r/app@sha256:1";

/// A Dockerfile with a line `# cut` after the last instruction before the cut, and what its prefix image holds.
struct Case<'a> {
    text: &'a str,
    options: Options,
    environment: Vec<String>,
    command: Vec<String>,
    triggers: Vec<String>,
}

impl<'a> Case<'a> {
    fn new(text: &'a str) -> Self {
        let options = Options {
            triggers: [("a".to_owned(), Vec::new())].into(),
            starts: [("a".to_owned(), crate::dockerfile::BaseStart::default())].into(),
            ..Options::default()
        };
        let environment = vec!["PATH=/bin".to_owned()];
        Self { text, options, environment, command: Vec::new(), triggers: Vec::new() }
    }

    fn triggers(mut self, triggers: &[&str]) -> Self {
        let triggers = triggers.iter().map(|trigger| (*trigger).to_owned()).collect();
        self.options.triggers.insert("a".to_owned(), triggers);
        self
    }

    fn environment(mut self, variable: &str) -> Self {
        self.environment.push(variable.to_owned());
        self
    }

    fn command(mut self, words: &[&str]) -> Self {
        self.command = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    fn continued(&self) -> Result<String, NotContinued> {
        let dockerfile = Dockerfile::parse(self.text).unwrap();
        let resolution = dockerfile.resolve(&self.options).unwrap();
        let marker = 1 + self.text.lines().position(|line| line == "# cut").unwrap();
        let instructions = &dockerfile.stages[resolution.target].instructions;
        let before = instructions.iter().take_while(|at| *at.lines.end() < marker).count();
        let cut = Cut { stage: resolution.target, instructions: before };
        let prefix = PrefixImage {
            reference: REFERENCE,
            environment: &self.environment,
            command: &self.command,
            triggers: &self.triggers,
        };
        let continued = continued(self.text, &dockerfile, &resolution, cut, prefix)?;
        self.check(&dockerfile, &resolution, cut, &continued);
        Ok(continued)
    }

    /// Checks what holds for every continued Dockerfile.
    fn check(&self, dockerfile: &Dockerfile, resolution: &Resolution, cut: Cut, continued: &str) {
        let lines = |text: &str| text.split('\n').count();
        assert_eq!(lines(continued), lines(self.text), "no line moves:\n{continued}");
        let rewritten = Dockerfile::parse(continued).unwrap();
        assert_eq!(rewritten.directives, dockerfile.directives);
        assert_eq!(rewritten.global_args, dockerfile.global_args);
        for (before, after) in dockerfile.stages.iter().zip(&rewritten.stages) {
            if before.index != cut.stage {
                assert_eq!(before, after, "another stage changed:\n{continued}");
            }
        }
        let rest = |resolution: &Resolution, dockerfile: &Dockerfile| {
            let stage = resolution.stages.iter().find(|stage| stage.index == cut.stage).unwrap();
            let count = self.own_after(dockerfile, cut);
            let rest = stage.instructions[stage.instructions.len() - count..].to_vec();
            rest.into_iter().map(|at| (at.instruction, at.context, at.sources.len())).collect::<Vec<_>>()
        };
        let mut options = self.options.clone();
        options.triggers.insert(REFERENCE.to_owned(), Vec::new());
        let start = crate::dockerfile::BaseStart {
            environment: self.environment.clone(),
            workdir: resolution.stages.last().unwrap().instructions[cut.instructions - 1].workdir.clone(),
            ..crate::dockerfile::BaseStart::default()
        };
        options.starts.insert(REFERENCE.to_owned(), start);
        let again = rewritten.resolve(&options).unwrap();
        assert_eq!(again.target, resolution.target);
        assert_eq!(rest(&again, dockerfile), rest(resolution, dockerfile), "{continued}");
    }

    fn own_after(&self, dockerfile: &Dockerfile, cut: Cut) -> usize {
        dockerfile.stages[cut.stage].instructions.len() - cut.instructions
    }
}

fn continued_text(text: &str) -> String {
    Case::new(text).continued().unwrap()
}

#[test]
fn the_stage_starts_from_the_prefix_and_other_lines_stay() {
    assert_eq!(
        continued_text(
            "# syntax=docker/dockerfile:1\nARG G=1\nFROM a AS b\nRUN b\nFROM \\\n  a AS Final\n\
             # why\nWORKDIR /w\nRUN <<E\nx\nE\n# cut\nCOPY --from=0 x y\nWORKDIR z\nCOPY c d\n"
        ),
        "# syntax=docker/dockerfile:1\nARG G=1\nFROM a AS b\nRUN b\nFROM r/app@sha256:1 AS final\n\n\
         \n\n\n\n\n# cut\nCOPY --from=0 x y\nWORKDIR z\nCOPY c d\n"
    );
}

#[test]
fn arguments_are_repeated_as_written() {
    let text = "ARG v=1\nFROM a\nARG v\nENV x=y\nARG w=\"a b\" \\\n  q='$v'\nRUN r\n# cut\nRUN s";
    assert_eq!(
        Case::new(text).environment("x=y").continued().unwrap(),
        "ARG v=1\nFROM r/app@sha256:1\nARG v\n\nARG w=\"a b\" \\\n  q='$v'\n\n# cut\nRUN s"
    );
}
