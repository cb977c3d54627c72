//! A row about a run, for a CSV file that benchmarks are read from.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::commands::error::CommandError;
use crate::endpoint::Endpoint;
use crate::error_chain::chain;
use crate::ledger::{BuildRecord, Outcome, millis};
use crate::settings::{Environment, env_vars};
use crate::store::Entry;

const HEAD: &str = "image,key,hit,tier,build_s,load_s,run_s,exit,git_revision,host";

/// What is told of a run.
#[derive(Debug, Default)]
pub(super) struct Row {
    image: String,
    key: String,
    hit: bool,
    tier: String,
    build_millis: u64,
    load_millis: u64,
    run_millis: u64,
    exit: i64,
    revision: String,
    host: String,
}

impl Row {
    /// What a build tells of it.
    pub(super) fn of(record: &BuildRecord) -> Self {
        let hit = record.outcome == Outcome::ImageHit;
        let name = record.names.first().or(record.image_id.as_ref()).cloned().unwrap_or_default();
        Self {
            image: name,
            key: record.image_key.map(|key| key.to_string()).unwrap_or_default(),
            hit,
            tier: record.hit_tier.clone().unwrap_or_default(),
            build_millis: if hit { 0 } else { record.millis },
            load_millis: if hit { record.millis } else { 0 },
            ..Self::default()
        }
    }

    /// What an entry tells of it, whose image a tier had after so long.
    pub(super) fn of_entry(entry: &Entry, tier: &str, loading: Duration) -> Self {
        Self {
            image: entry.manifest.subject.title.clone(),
            key: entry.manifest.address.key.hex(),
            hit: true,
            tier: tier.to_owned(),
            load_millis: millis(loading),
            ..Self::default()
        }
    }

    /// The same on an engine that a tier handed the image to.
    pub(super) fn handed(self, tier: &str, loading: Duration) -> Self {
        Self { hit: true, tier: tier.to_owned(), build_millis: 0, load_millis: millis(loading), ..self }
    }

    /// Completes it.
    pub(super) fn ended(
        &mut self,
        elapsed: Duration,
        exit: i64,
        host: &Endpoint,
        context: Option<&str>,
        environment: &Environment,
    ) {
        self.run_millis = millis(elapsed);
        self.exit = exit;
        self.revision =
            revision(context.filter(|context| Path::new(context).is_dir()).unwrap_or("."), environment);
        self.host = host.to_string();
    }

    /// Makes sure that rows can be appended to a file.
    pub(super) fn check(path: &Path) -> Result<(), CommandError> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map(drop)
            .map_err(|error| unwritable(path, &error))
    }

    /// Appends it to a file, behind a head if the file is new.
    pub(super) fn append(&self, path: &Path) -> Result<(), CommandError> {
        let append = || {
            let mut file = OpenOptions::new().create(true).append(true).open(path)?;
            let head = if file.metadata()?.len() == 0 { format!("{HEAD}\n") } else { String::new() };
            file.write_all(format!("{head}{}\n", self.text()).as_bytes())
        };
        append().map_err(|error: io::Error| unwritable(path, &error))
    }

    fn text(&self) -> String {
        let seconds = |millis: u64| format!("{}.{:03}", millis / 1000, millis % 1000);
        [
            quoted(&self.image),
            self.key.clone(),
            if self.hit { "hit" } else { "miss" }.to_owned(),
            self.tier.clone(),
            seconds(self.build_millis),
            seconds(self.load_millis),
            seconds(self.run_millis),
            self.exit.to_string(),
            quoted(&self.revision),
            quoted(&self.host),
        ]
        .join(",")
    }
}

fn unwritable(path: &Path, error: &io::Error) -> CommandError {
    CommandError::config_line(format!("cannot write to {}: {}", path.display(), chain(error)))
        .hint("--output names the file")
}

/// A field as RFC 4180 has it.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The revision that the CI system or git tells of a directory; empty where neither does.
fn revision(directory: &str, environment: &Environment) -> String {
    let told = [env_vars::GIT_COMMIT, env_vars::CI_COMMIT_SHA, env_vars::GITHUB_SHA];
    if let Some(told) = told.iter().find_map(|variable| environment.get(variable)) {
        return told.to_owned();
    }
    let asked = Command::new("git")
        .args(["-C", directory, "rev-parse", "HEAD"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let told = asked.ok().filter(|asked| asked.status.success()).map(|asked| asked.stdout);
    told.map(|text| String::from_utf8_lossy(&text).trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_field_for_each_name_in_the_head() {
        let row = Row { image: "a,\"b\"".to_owned(), build_millis: 1234, ..Row::default() };
        assert_eq!(row.text(), "\"a,\"\"b\"\"\",,miss,,1.234,0.000,0.000,0,,");
        let plain = Row { image: "app:1".to_owned(), ..Row::default() };
        assert_eq!(plain.text().split(',').count(), HEAD.split(',').count());
    }
}
