//! Finds the place in the Dockerfile where a build failed.
//!
//! Newer engines report the place with the failure. Docker 20.10 reports only the line of a syntax error, in the
//! message, and the name of a step: `[builder 2/3] RUN make`.

use crate::buildkit::BuildFailure;
use crate::dockerfile::Dockerfile;
use crate::pipeline::inputs::DockerfileText;
use crate::pipeline::reporter::SourceExcerpt;

/// Returns the place of a failure, as reported by the engine or found in `dockerfile` (its name and text). `built` is the
/// Dockerfile that was built. It has the same lines, but may continue from a prefix, and then has fewer steps.
pub(super) fn find_failure<'a>(
    failure: &'a BuildFailure,
    vertex: Option<&str>,
    dockerfile: Option<(&'a str, &'a DockerfileText)>,
    built: Option<&Dockerfile>,
) -> Option<SourceExcerpt<'a>> {
    if let Some(location) = &failure.location {
        // Show the user's text. The text that was built has the same lines, but additions in some of them.
        let written = dockerfile.filter(|(name, text)| {
            *name == location.file && text.as_str().lines().count() == location.text.lines().count()
        });
        let text = written.map_or(location.text.as_str(), |(_, text)| text.as_str());
        return Some(SourceExcerpt { file: &location.file, text, lines: location.lines });
    }
    let (file, text) = dockerfile?;
    let syntax_error = parse_error_line(&failure.message).map(|line| (line, line));
    let lines = syntax_error.or_else(|| step_lines(built?, vertex?))?;
    Some(SourceExcerpt { file, text: text.as_str(), lines })
}

/// Returns the line in `dockerfile parse error line 2: …` or `… on line 2: …`.
fn parse_error_line(message: &str) -> Option<u32> {
    let (_, rest) = message.split_once("parse error ")?;
    let rest = rest.strip_prefix("on ").unwrap_or(rest).strip_prefix("line ")?;
    rest.split(|char: char| !char.is_ascii_digit()).next()?.parse().ok()
}

fn step_lines(dockerfile: &Dockerfile, vertex: &str) -> Option<(u32, u32)> {
    let lines = dockerfile.step_lines(vertex)?;
    Some((u32::try_from(*lines.start()).ok()?, u32::try_from(*lines.end()).ok()?))
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
}
