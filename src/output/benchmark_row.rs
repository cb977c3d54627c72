//! A row about a run in a CSV file for benchmarks.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::ledger::{BuildOutcome, BuildRecord, millis};
use crate::store::Entry;

const HEADER: &str = "image,key,hit,tier,build_s,load_s,run_s,exit,git_revision,host";

#[derive(Debug, Default)]
pub(crate) struct BenchmarkRow {
    image: String,
    key: String,
    is_hit: bool,
    tier: String,
    build_millis: u64,
    load_millis: u64,
    run_millis: u64,
    exit: i64,
    revision: String,
    host: String,
}

impl BenchmarkRow {
    pub(crate) fn from_record(record: &BuildRecord) -> Self {
        let is_hit = record.outcome == BuildOutcome::ImageHit;
        let name = record.names.first().or(record.image_id.as_ref()).cloned().unwrap_or_default();
        Self {
            image: name,
            key: record.image_key.map(|key| key.to_string()).unwrap_or_default(),
            is_hit,
            tier: record.hit_tier.clone().unwrap_or_default(),
            build_millis: if is_hit { 0 } else { record.millis },
            load_millis: if is_hit { record.millis } else { 0 },
            ..Self::default()
        }
    }

    /// Returns the fields for an entry whose image `tier` loaded into the engine.
    pub(crate) fn from_entry(entry: &Entry, tier: &str, loading: Duration) -> Self {
        Self {
            image: entry.manifest.subject.title.clone(),
            key: entry.manifest.address.key.hex(),
            is_hit: true,
            tier: tier.to_owned(),
            load_millis: millis(loading),
            ..Self::default()
        }
    }

    /// Returns the row for a different engine, into which `tier` loaded the image.
    pub(crate) fn for_other_engine(self, tier: &str, loading: Duration) -> Self {
        Self { is_hit: true, tier: tier.to_owned(), build_millis: 0, load_millis: millis(loading), ..self }
    }

    pub(crate) fn with_run_result(
        self,
        elapsed: Duration,
        exit: i64,
        host: &Endpoint,
        revision: String,
    ) -> Self {
        Self { run_millis: millis(elapsed), exit, host: host.to_string(), revision, ..self }
    }

    /// Creates the file if necessary, and fails if rows cannot be appended to it.
    pub(crate) fn check_writable(path: &Path) -> io::Result<()> {
        open(path).map(drop)
    }

    pub(crate) fn append(&self, path: &Path) -> io::Result<()> {
        let mut file = open(path)?;
        let head = if file.metadata()?.len() == 0 { format!("{HEADER}\n") } else { String::new() };
        file.write_all(format!("{head}{}\n", self.text()).as_bytes())
    }

    fn text(&self) -> String {
        let seconds = |millis: u64| format!("{}.{:03}", millis / 1000, millis % 1000);
        [
            quote_csv(&self.image),
            self.key.clone(),
            if self.is_hit { "hit" } else { "miss" }.to_owned(),
            self.tier.clone(),
            seconds(self.build_millis),
            seconds(self.load_millis),
            seconds(self.run_millis),
            self.exit.to_string(),
            quote_csv(&self.revision),
            quote_csv(&self.host),
        ]
        .join(",")
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Quotes a field as in RFC 4180.
fn quote_csv(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_field_for_each_column_of_the_header() {
        let row = BenchmarkRow { image: "a,\"b\"".to_owned(), build_millis: 1234, ..BenchmarkRow::default() };
        assert_eq!(row.text(), "\"a,\"\"b\"\"\",,miss,,1.234,0.000,0.000,0,,");
        let plain = BenchmarkRow { image: "app:1".to_owned(), ..BenchmarkRow::default() };
        assert_eq!(plain.text().split(',').count(), HEADER.split(',').count());
    }
}
