//! The report of `larder stats --html`: a page, its style sheet, and its charts as SVG files.
//!
//! CI systems show published pages with a strict content security policy; Jenkins sends `default-src 'none'; img-src
//! 'self'; style-src 'self'` and a sandbox. So the report contains no script, no inline style and nothing from elsewhere,
//! and all text from builds is escaped.

mod axis;
mod builds;
mod causes;
mod contents;
mod drawing;
mod escape;
mod figure;
mod headline;
mod history;
mod last_build;
mod page;
mod palette;
mod text_fit;
mod tier_balance;
mod timeline;

use std::io;
use std::path::{Path, PathBuf};

use askama::Template as _;
use jiff::Timestamp;

use super::stats::Stats;
use crate::regular_file::{self, PUBLIC};

pub(crate) use contents::CacheContents;

/// The page of a report.
pub(crate) const PAGE: &str = "index.html";
/// The names of all charts that a report can have.
const CHARTS: [&str; 5] = ["timeline", "tiers", "build-time", "step-hit-rate", "cache-size"];
const STYLE: &str = include_str!("templates/style.css");

/// A file of a report: its name and its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReportFile {
    pub(crate) name: String,
    pub(crate) content: String,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot write the report to {}", .path.display())]
pub(crate) struct ReportError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Renders the report of some statistics. The page is the last file, so that it never refers to files that are not
/// written yet.
pub(crate) fn render(stats: &Stats<'_>, contents: &CacheContents, now: Timestamp) -> Vec<ReportFile> {
    let page = page::Page::new(stats, contents, now);
    let render = |name: String, content: Result<String, askama::Error>| ReportFile {
        name,
        content: content.expect("the templates only write to memory"),
    };
    let mut files = vec![ReportFile { name: "style.css".to_owned(), content: STYLE.to_owned() }];
    let drawings = page.figures().flat_map(figure::Figure::files);
    files.extend(drawings.map(|(name, drawing)| render(name, drawing.render())));
    files.push(render(PAGE.to_owned(), page.render()));
    files
}

/// Writes the files of a report to a directory, which is created if it does not exist, and removes the charts of an earlier
/// report that this one does not have. Other files are unchanged.
pub(crate) fn write(directory: &Path, written: &[ReportFile]) -> Result<(), ReportError> {
    let write = || {
        std::fs::create_dir_all(directory)?;
        written.iter().try_for_each(|file| {
            regular_file::write(&directory.join(&file.name), file.content.as_bytes(), PUBLIC)
        })?;
        remove_old_charts(directory, written)
    };
    write().map_err(|source| ReportError { path: directory.to_owned(), source })
}

fn remove_old_charts(directory: &Path, written: &[ReportFile]) -> io::Result<()> {
    let charts = CHARTS.iter().flat_map(|chart| figure::file_names(chart));
    charts.filter(|name| written.iter().all(|file| file.name != *name)).try_for_each(|name| {
        match std::fs::remove_file(directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests;
