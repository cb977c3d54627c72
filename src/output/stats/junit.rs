//! `larder stats` as `JUnit` XML: a test case for each threshold and each build.

use std::fmt::Write as _;

use super::{Stats, label};
use crate::ledger::BuildOutcome;
use crate::output::summary::headline;

pub(super) fn render(stats: &Stats<'_>) -> String {
    let (mut cases, mut failures, mut skipped) = (String::new(), 0, 0);
    for threshold in &stats.thresholds {
        let (name, text) = (threshold.name, escape(&threshold.text));
        let _ = write!(cases, "    <testcase classname=\"larder.thresholds\" name=\"{name}\" time=\"0\"");
        match threshold.is_met {
            Some(true) => {
                let _ = writeln!(cases, ">\n      <system-out>{text}</system-out>\n    </testcase>");
            }
            Some(false) => {
                failures += 1;
                let _ = writeln!(
                    cases,
                    ">\n      <failure message=\"{text}\" type=\"threshold\"/>\n    </testcase>"
                );
            }
            None => {
                skipped += 1;
                let _ = writeln!(cases, ">\n      <skipped message=\"{text}\"/>\n    </testcase>");
            }
        }
    }
    let mut millis = 0;
    for build in stats.builds {
        millis += build.millis;
        let name = escape(&format!("{} {}", label(build), build.names.join(", ")));
        let _ = write!(
            cases,
            "    <testcase classname=\"larder.builds\" name=\"{}\" time=\"{}\">\n      ",
            name.trim_end(),
            seconds(build.millis)
        );
        match build.outcome {
            BuildOutcome::Failed => {
                failures += 1;
                let error = escape(build.error.as_deref().unwrap_or("the build failed"));
                let _ = write!(cases, "<failure message=\"{error}\" type=\"build\"/>");
            }
            BuildOutcome::Interrupted => {
                skipped += 1;
                cases.push_str("<skipped message=\"the build was interrupted\"/>");
            }
            BuildOutcome::Built | BuildOutcome::ImageHit => {
                let _ = write!(cases, "<system-out>{}</system-out>", escape(&headline(build)));
            }
        }
        cases.push_str("\n    </testcase>\n");
    }
    let tests = stats.thresholds.len() + stats.builds.len();
    let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"0\"");
    let time = seconds(millis);
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites name=\"larder\" {counts} time=\"{time}\">\n  \
         <testsuite name=\"larder\" {counts} skipped=\"{skipped}\" time=\"{time}\">\n{cases}  </testsuite>\n\
         </testsuites>\n"
    )
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// Escapes text for an element or an attribute. XML has no way to write most control characters.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}
