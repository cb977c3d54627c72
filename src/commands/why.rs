//! `larder why`: what has changed since the nearest earlier build, so that its image is no hit.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::build::{Explanation, Identity};
use super::error::{CommandError, chain};
use super::key::keyed;
use super::{print_json, print_text};
use crate::cli::{Format, WhyArgs};
use crate::key::{CacheKey, Change};
use crate::notes::{NotesError, RecordHead};
use crate::output::{Printer, changes};
use crate::registry::ImageRef;
use crate::settings::{Environment, Settings};

#[derive(Serialize)]
struct Output {
    schema: &'static str,
    image_key: CacheKey,
    /// When an image was built for this very key, if one was.
    known_since: Option<Timestamp>,
    compared_with: Option<Compared>,
    changes: Vec<Change>,
}

#[derive(Serialize)]
struct Compared {
    image_key: CacheKey,
    names: Vec<String>,
    lane: Option<String>,
    created: Timestamp,
}

pub(super) async fn run(
    args: &WhyArgs,
    settings: &Settings,
    environment: &Environment,
    printer: Printer,
) -> Result<(), CommandError> {
    let (build, keys) = keyed(&args.build, settings, environment, printer).await?;
    let notes = settings.notes();
    let fault = |error: NotesError| printer.warn(&format!("{}; going on without it", chain(&error)));
    let known = notes.image(keys.keys.image).map_err(fault).ok().flatten();
    let identity = Identity { names: &build.tags, lane: settings.lanes.lanes.own(), seal: &settings.seal };
    let explanation = identity.explain(&notes, &keys.keys).map_err(fault).ok().flatten();
    let (before, changes) = match explanation {
        Some(Explanation { before, changes }) => (Some(before), changes),
        None => (None, Vec::new()),
    };
    let output = Output {
        schema: "larder.why.v1",
        image_key: keys.keys.image,
        known_since: known.and_then(|entry| entry.images.iter().map(|image| image.created).min()),
        compared_with: before.map(|RecordHead { image_key, names, lane, created, .. }| Compared {
            image_key,
            names,
            lane: lane.map(String::from),
            created,
        }),
        changes,
    };
    match args.format {
        Format::Text => print_text(printer, &text(&output, &build.tags))?,
        Format::Json => print_json(printer, &output)?,
    }
    Ok(())
}

fn text(output: &Output, names: &[ImageRef]) -> String {
    let known = match output.known_since {
        Some(since) => format!("an image was built for it on {}", day(since)),
        None => "no image was built for it here".to_owned(),
    };
    let mut text = format!("image key {}: {known}\n", output.image_key);
    let Some(before) = &output.compared_with else {
        let what = if names.is_empty() {
            "without a name".to_owned()
        } else {
            format!("of {}", names.iter().map(ImageRef::familiar).collect::<Vec<_>>().join(", "))
        };
        return text + &format!("no other build {what} is known here to compare it with\n");
    };
    let lane = before.lane.as_ref().map(|lane| format!(", lane {lane}")).unwrap_or_default();
    let built = day(before.created);
    let _ = writeln!(text, "compared with {}, built on {built}{lane}:", before.image_key);
    text + &changes::render(&output.changes)
}

/// A moment to the second.
fn day(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
