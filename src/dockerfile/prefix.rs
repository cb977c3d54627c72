//! Truncates a stage of a Dockerfile in memory; all lines keep their numbers. Pure.

use std::collections::BTreeSet;

use super::{Dockerfile, InstructionKind};

/// A position in a stage: after one of its own instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cut {
    pub(crate) stage: usize,
    /// The number of the stage's own instructions before the cut, including the FROM; at least 1. The ONBUILD triggers
    /// of the base run directly after the FROM. They are always before the cut, and are not counted.
    pub(crate) instructions: usize,
}

/// Returns `text` with the stage ending at `cut`: a build of that stage creates the prefix image.
///
/// The lines of these instructions become empty:
/// - The stage's instructions after the cut.
/// - Its ONBUILD instructions before the cut: a build based on the prefix would run them as triggers.
///   [`super::continued`] repeats them.
///
/// All other stages are kept, including those after the target: a `--from` can refer to them, and an engine treats a
/// name that is not a stage as an image. They are not built, because the target does not reach them.
///
/// The caller is responsible for build options that change the config, such as `--label`.
pub(crate) fn truncate_to_prefix(text: &str, dockerfile: &Dockerfile, cut: Cut) -> String {
    let (kept, removed) = dockerfile.stages[cut.stage].instructions.split_at(cut.instructions);
    let triggers = kept.iter().filter(|at| matches!(at.kind, InstructionKind::Onbuild(_)));
    let emptied: BTreeSet<usize> = triggers.chain(removed).flat_map(|at| at.lines.clone()).collect();
    let lines = text.split_inclusive('\n').zip(1..).map(|(line, number)| {
        let empty = line.strip_suffix('\n').map_or("", |_| "\n");
        if emptied.contains(&number) { empty } else { line }
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_after_the_cut_and_triggers_become_empty_lines() {
        let text = "# syntax=docker/dockerfile:1\r\nFROM a AS one\nRUN <<E\n  x\nE\nFROM one AS two\r\n\
                    ONBUILD RUN \\\n  y\r\n# why\nRUN z\nCOPY --from=three a \\\n  # b\n  c\n\nRUN <<E\nq\nE\n\
                    FROM b AS three\nRUN w";
        let dockerfile = Dockerfile::parse(text).unwrap();
        assert_eq!(
            truncate_to_prefix(text, &dockerfile, Cut { stage: 1, instructions: 3 }),
            "# syntax=docker/dockerfile:1\r\nFROM a AS one\nRUN <<E\n  x\nE\nFROM one AS two\r\n\
             \n\n# why\nRUN z\n\n\n\n\n\n\n\nFROM b AS three\nRUN w"
        );
        let last = Cut { stage: 2, instructions: 1 };
        assert!(truncate_to_prefix(text, &dockerfile, last).ends_with("\nFROM b AS three\n"));
    }
}
