//! `larder stats` and the end of a build as Markdown.

use std::fmt::Write as _;

use super::{Stats, cached_steps, origin, signed_duration};
use crate::amounts::size;
use crate::ledger::BuildRecord;
use crate::output::summary::{format_duration, headline, outcome_text, rows};

const MAX_LISTED_BUILDS: usize = 10;

pub(super) fn render(stats: &Stats<'_>) -> String {
    let Stats { cache, builds, thresholds, trends, .. } = stats;
    let mut text = String::from("### larder: the last builds\n\n");
    if builds.is_empty() {
        text.push_str("No build has been recorded yet.\n");
        return text;
    }
    text.push_str("| figure | value |\n|---|---|\n");
    let _ = writeln!(text, "| Builds | {} |", builds.len());
    let _ = writeln!(text, "| Cache | {} |", size(cache.bytes_stored));
    for (label, value) in stats.figures() {
        let _ = writeln!(text, "| {label} | {} |", value.as_deref().unwrap_or("unknown"));
    }
    text.push('\n');
    for threshold in thresholds {
        let mark = match threshold.is_met {
            Some(true) => "met",
            Some(false) => "**not met**",
            None => "not checked",
        };
        let _ = writeln!(text, "- {mark}: {}", escape(&threshold.text));
    }
    for trend in trends {
        let _ = writeln!(text, "- {}", escape(&trend.text));
    }
    if thresholds.len() + trends.len() > 0 {
        text.push('\n');
    }
    text.push_str("| started | build | outcome | steps cached | time | saved | image |\n|---|---|---|--:|--:|--:|---|\n");
    for build in &builds[builds.len().saturating_sub(MAX_LISTED_BUILDS)..] {
        let saved = build.saved_millis().map_or_else(|| "unknown".to_owned(), signed_duration);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {saved} | {} |",
            started(build),
            escape(&origin(build)),
            escape(&outcome_text(build)),
            cached_steps(build),
            format_duration(build.millis),
            escape(&build.names.join(", ")),
        );
    }
    text
}

/// Returns when a build started, with a link to its page if that is known.
fn started(build: &BuildRecord) -> String {
    let time = build.started.strftime("%Y-%m-%d %H:%M:%SZ");
    match build.job.as_ref().and_then(|job| job.url.as_deref()) {
        Some(url) if is_plain_address(url) => format!("[{time}]({url})"),
        _ => time.to_string(),
    }
}

/// Renders the end of a build.
pub(crate) fn summary(record: &BuildRecord) -> String {
    let name = record.names.first().map(|name| format!(" {}", escape(name))).unwrap_or_default();
    let mut text = format!("### larder{name}\n\n{}\n\n", escape(&headline(record)));
    if let Some(error) = &record.error {
        let _ = writeln!(text, "- {}", escape(error));
    }
    for change in &record.changes {
        let _ = writeln!(text, "- because {}", escape(change));
    }
    if record.error.is_some() || !record.changes.is_empty() {
        text.push('\n');
    }
    text.push_str("| | |\n|---|---|\n");
    for (label, row) in rows(record) {
        let _ = writeln!(text, "| {label} | {} |", escape(&row));
    }
    text.push('\n');
    text
}

/// Returns `true` for an address of a page that needs no escapes in a link.
fn is_plain_address(url: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_graphic() && !"()<>|[]\"`\\".contains(letter);
    (url.starts_with("https://") || url.starts_with("http://")) && url.chars().all(is_plain)
}

/// Escapes what Markdown or HTML would interpret. The text is one line.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '@' => escaped.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => escaped.extend(['\\', letter]),
            '\n' | '\r' => escaped.push(' '),
            _ => escaped.push(letter),
        }
    }
    escaped
}
