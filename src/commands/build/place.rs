//! Where in the Dockerfile a failed build went wrong.
//!
//! Newer engines say it with the failure. Docker 20.10 tells the line of a
//! syntax error in words, and of a step only its name: `[builder 2/3] RUN make`.

use crate::buildkit::BuildFailure;
use crate::dockerfile::{Dockerfile, Stage};
use crate::output::progress::failure::Source;

/// The place of a failure, told by the engine or found in `dockerfile` (its name and text).
pub(super) fn find<'a>(
    failure: &'a BuildFailure,
    vertex: Option<&str>,
    dockerfile: Option<(&'a str, &'a str)>,
) -> Option<Source<'a>> {
    if let Some(location) = &failure.location {
        return Some(Source { file: &location.file, text: &location.text, lines: location.lines });
    }
    let (file, text) = dockerfile?;
    let syntax_error = parse_error_line(&failure.message).map(|line| (line, line));
    let lines = syntax_error.or_else(|| step_lines(&Dockerfile::parse(text).ok()?, vertex?))?;
    Some(Source { file, text, lines })
}

/// The line in `dockerfile parse error line 2: …` or `… on line 2: …`.
fn parse_error_line(message: &str) -> Option<u32> {
    let (_, rest) = message.split_once("parse error ")?;
    let rest = rest.strip_prefix("on ").unwrap_or(rest).strip_prefix("line ")?;
    rest.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
}

/// The lines of the one instruction that a vertex is named after; none when several could be.
fn step_lines(dockerfile: &Dockerfile, vertex: &str) -> Option<(u32, u32)> {
    let (bracket, instruction) = vertex.strip_prefix('[')?.split_once("] ")?;
    let wanted = words(instruction, dockerfile.directives.escape);
    let in_stage = |stage: &&Stage| match stage.name.as_deref() {
        Some(name) => bracket.split_whitespace().any(|word| word == name),
        None => true,
    };
    let mut found = dockerfile.stages.iter().filter(in_stage).flat_map(|stage| &stage.instructions);
    let mut found =
        found.by_ref().filter(|candidate| words(&candidate.text, dockerfile.directives.escape) == wanted);
    let lines = found.next()?.lines.clone();
    if found.next().is_some() {
        return None;
    }
    Some((u32::try_from(*lines.start()).ok()?, u32::try_from(*lines.end()).ok()?))
}

/// The words of an instruction, without comments and continued lines.
fn words(instruction: &str, escape: char) -> Vec<&str> {
    let code = instruction.lines().filter(|line| !line.trim_start().starts_with('#'));
    code.flat_map(|line| line.trim_end().trim_end_matches(escape).split_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_parse_error_is_found_in_either_wording() {
        for (message, line) in [
            ("dockerfile parse error line 12: Unknown flag: mont", Some(12)),
            ("failed to solve: dockerfile parse error on line 2: unknown flag: --mont", Some(2)),
            ("the Dockerfile cannot be empty", None),
        ] {
            assert_eq!(parse_error_line(message), line, "{message}");
        }
    }

    #[test]
    fn a_step_is_found_by_its_name_and_never_guessed() {
        let text = "FROM a AS one\nRUN make \\\n  # why\n  all\nRUN same\nFROM b AS two\nRUN same\nCOPY x /y\nCOPY x /y\n";
        let dockerfile = Dockerfile::parse(text).unwrap();
        for (vertex, lines) in [
            ("[one 2/3] RUN make   all", Some((2, 4))),
            ("[one 3/3] RUN same", Some((5, 5))),
            ("[linux/arm64 two 2/4] RUN same", Some((7, 7))),
            ("[two 3/4] COPY x /y", None),
            ("[internal] load build context", None),
            ("exporting to image", None),
        ] {
            assert_eq!(step_lines(&dockerfile, vertex), lines, "{vertex}");
        }
    }
}
