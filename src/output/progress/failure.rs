//! Reports a failed step in the format of Docker.
//!
//! ```text
//! ------
//!  > [2/3] RUN make:
//! 0.123 make: *** No targets.  Stop.
//! ------
//! Dockerfile:7
//! --------------------
//!    5 |     WORKDIR /srv
//!    6 |     COPY . .
//!    7 | >>> RUN make
//!    8 |
//!    9 |     CMD ["./app"]
//! --------------------
//! ```

use crate::buildkit::trace::VertexTrace;
use crate::pipeline::reporter::SourceExcerpt;
use crate::screen_text::{join_lines, screen_text};

const CONTEXT_LINES: usize = 2;

/// Renders the report, which ends with a newline.
///
/// An excerpt outside the text is omitted, because the text may differ from a Dockerfile that the frontend rewrote.
pub(crate) fn report(vertex: &VertexTrace, source: Option<&SourceExcerpt<'_>>) -> String {
    let mut report = format!("------\n > {}:\n", join_lines(vertex.name()));
    for line in vertex.last_lines() {
        push_line(&mut report, &screen_text(&line.to_string()));
    }
    report.push_str("------\n");
    report.push_str(&source.and_then(excerpt).unwrap_or_default());
    report
}

/// Renders the excerpt with its lines marked, or `None` if it is outside the text.
pub(crate) fn excerpt(source: &SourceExcerpt<'_>) -> Option<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let first = usize::try_from(source.lines.0).ok().filter(|first| (1..=lines.len()).contains(first))?;
    let last = usize::try_from(source.lines.1).ok()?.clamp(first, lines.len());
    let from = first.saturating_sub(CONTEXT_LINES).max(1);
    let to = (last + CONTEXT_LINES).min(lines.len());
    let rule = "-".repeat(20);
    let mut excerpt = format!("{}:{first}\n{rule}\n", source.file);
    for (number, line) in (from..=to).zip(&lines[from - 1..to]) {
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        push_line(&mut excerpt, &format!(" {number:3} | {mark} {}", screen_text(line)));
    }
    push_line(&mut excerpt, &rule);
    Some(excerpt)
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buildkit::trace::Trace;
    use crate::buildkit::trace::testing::TraceScript;

    const DOCKERFILE: &str =
        "FROM alpine\n\nWORKDIR /srv\nCOPY . .\nRUN one \\\n    && two\n\nUSER app\nCMD x\n";

    fn report_on(lines: (u32, u32)) -> String {
        let mut trace = Trace::default();
        let error = "exit code: 1";
        let step = TraceScript::new().failed("a", "[4/5] RUN one \\\n    && two", 0, 900, error);
        trace.apply(step.log("a", 123, "one\u{1b}[31m!\u{1b}[0m\n\nno\tend").update());
        let source = SourceExcerpt { file: "app/Dockerfile", text: DOCKERFILE, lines };
        let vertex = trace.failures().next().unwrap();
        report(vertex, Some(&source))
    }

    #[test]
    fn the_report_shows_the_last_output_and_the_excerpt() {
        insta::assert_snapshot!(report_on((5, 6)), @r#"
        ------
         > [4/5] RUN one \     && two:
        0.123 one!
        0.123
        0.123 no        end
        ------
        app/Dockerfile:5
        --------------------
           3 |     WORKDIR /srv
           4 |     COPY . .
           5 | >>> RUN one \
           6 | >>>     && two
           7 |
           8 |     USER app
        --------------------
        "#);
    }

    #[test]
    fn the_context_ends_with_the_file() {
        for (lines, shown) in [((1, 1), 1..=3), ((9, 9), 7..=9), ((8, 99), 6..=9), ((5, 0), 3..=7)] {
            let report = report_on(lines);
            let numbers: Vec<usize> =
                (report.lines()).filter_map(|line| line.split_once(" |")?.0.trim().parse().ok()).collect();
            assert_eq!(numbers, shown.collect::<Vec<_>>(), "{report}");
        }
    }

    #[test]
    fn an_excerpt_outside_the_file_is_omitted() {
        for lines in [(0, 0), (10, 12)] {
            assert!(!report_on(lines).contains("Dockerfile"), "{lines:?}");
        }
    }

    #[test]
    fn a_step_without_output_and_excerpt_is_named() {
        let mut trace = Trace::default();
        trace.apply(TraceScript::new().failed("a", "[2/3] RUN false", 0, 9, "exit code: 1").update());
        let vertex = trace.failures().next().unwrap();
        assert_eq!(report(vertex, None), "------\n > [2/3] RUN false:\n------\n");
    }
}
