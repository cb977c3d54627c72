//! `larder why`: prints the changes since the last build or hit of an image that prevent a hit.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::error::CommandError;
use super::key::PrefixLine;
use super::print_result;
use crate::cli::ReportArgs;
use crate::commands::CommandContext;
use crate::error_chain::chain;
use crate::key::{CacheKey, InputChange, PrefixKey};
use crate::notes::NotesError;
use crate::output::Printer;
use crate::output::entries::format_time;
use crate::pipeline::blocking::blocking;
use crate::pipeline::changes;
use crate::pipeline::explain::{EarlierBuild, Explanation, ImageIdentity, PrefixState, compare_with_store};
use crate::pipeline::keyed_build::KeyedBuild;
use crate::pipeline::stages::{CachePrediction, PredictedHit, predict};
use crate::registry::ImageRef;
use crate::screen_text::screen_text;
use crate::settings::BuildSettings;

#[derive(Serialize)]
struct WhyOutput {
    schema: &'static str,
    image_key: CacheKey,
    /// When an image with this key was first built.
    known_since: Option<Timestamp>,
    /// The cache that contains the image for a build.
    hit: Option<PredictedHit>,
    /// A cache that contains the image, but is not used by a build with these flags.
    elsewhere: Option<PredictedHit>,
    compared_with: Option<EarlierBuild>,
    changes: Vec<InputChange>,
    /// Deepest first.
    prefixes: Vec<PrefixComparison>,
    no_prefixes: Option<String>,
    /// The last image that was built under one of the names in their registries.
    last_in_registry: Option<LastImage>,
}

#[derive(Serialize)]
struct PrefixComparison {
    #[serde(flatten)]
    shown: PrefixLine,
    /// `None` if there is nothing to compare it with.
    unchanged: Option<bool>,
    changes: Vec<InputChange>,
}

#[derive(Serialize)]
struct LastImage {
    name: String,
    created: Timestamp,
}

pub(super) async fn run(
    args: &ReportArgs,
    command: &CommandContext<'_>,
    mut printer: Printer,
) -> Result<(), CommandError> {
    let settings = command.settings;
    let build = BuildSettings::resolve(&args.build, settings, command.environment)?;
    printer.set_progress(build.progress);
    let KeyedBuild { inputs, connection, keys } =
        KeyedBuild::compute(&build, command.session, &printer).await?;
    let notes = settings.job.notes();
    let fault = |error: NotesError| printer.warn(&format!("{}; going on without it", chain(&error)));
    let known = notes.image(keys.keys.image).map_err(fault).ok().flatten();
    let CachePrediction { hit, elsewhere, last } =
        predict(&build, command.session, &inputs, &connection, &keys, &printer).await?;
    let identity =
        ImageIdentity { names: &build.tags, lane: settings.job.lanes.lanes.own(), seal: &settings.job.seal };
    let local = identity.explain(&notes, &keys.keys).map_err(fault).ok().flatten();
    let since = local.as_ref().map(|local| local.before.last_used);
    let stored = match compare_with_store(&build, command.session, &keys, since)? {
        Some(compare) => blocking(compare).await,
        None => None,
    };
    let is_own = |found: &Explanation| found.before.lane.as_ref() == Some(settings.job.lanes.lanes.own());
    let explanation = match (local, stored) {
        (local, Some(stored)) if local.is_none() || is_own(&stored) => Some(stored),
        (local, _) => local,
    };
    let (before, changes, states) = match explanation {
        Some(Explanation { before, changes, prefixes }) => (Some(before), changes, prefixes),
        None => (None, Vec::new(), Vec::new()),
    };
    let mut states = states.into_iter();
    let prefix = |prefix: &PrefixKey| {
        let (unchanged, changes) = match states.next() {
            Some(PrefixState::Unchanged) => (Some(true), Vec::new()),
            Some(PrefixState::Changed(changes)) => (Some(false), changes),
            None => (None, Vec::new()),
        };
        PrefixComparison { shown: prefix.into(), unchanged, changes }
    };
    let output = WhyOutput {
        schema: "larder.why.v1",
        image_key: keys.keys.image,
        known_since: known.and_then(|entry| entry.images.iter().map(|image| image.created).min()),
        hit,
        elsewhere,
        compared_with: before,
        changes,
        prefixes: keys.keys.prefixes.iter().flatten().map(prefix).collect(),
        no_prefixes: keys.keys.prefixes.as_ref().err().map(ToString::to_string),
        last_in_registry: last.map(|(name, created)| LastImage { name: name.familiar(), created }),
    };
    print_result(printer, args.format, &output, || text(&output, &build.tags))
}

fn text(output: &WhyOutput, names: &[ImageRef]) -> String {
    let built = |hit: &PredictedHit| match hit.built {
        Some(built) => format!("an image was built for it on {}", format_time(built)),
        None => "an image exists for it".to_owned(),
    };
    let known = match (&output.hit, &output.elsewhere, output.known_since) {
        (Some(hit), _, _) => format!("{}: a build uses it from the {} tier", built(hit), hit.tier),
        (None, Some(hit), _) => {
            format!("{}, in a registry that a build searches only with --push or --cache-repo", built(hit))
        }
        (None, None, Some(since)) => {
            format!("an image was built for it on {}, but no cache contains it now", format_time(since))
        }
        (None, None, None) => "no cache contains an image for it".to_owned(),
    };
    let mut text = format!("image key {}: {known}\n", output.image_key);
    let Some(before) = &output.compared_with else {
        let what = if names.is_empty() {
            "without a name".to_owned()
        } else {
            format!("of {}", names.iter().map(ImageRef::familiar).collect::<Vec<_>>().join(", "))
        };
        let _ = writeln!(text, "no earlier build {what} is known to compare with");
        if let Some(LastImage { name, created }) = &output.last_in_registry {
            let _ = writeln!(
                text,
                "the last image in the registry is {name}, built on {}; its inputs are unknown",
                format_time(*created)
            );
        }
        return text;
    };
    let lane = before.lane.as_ref().map(|lane| format!(", lane {lane}")).unwrap_or_default();
    let hit = if before.last_used > before.created {
        format!(", used last on {}", format_time(before.last_used))
    } else {
        String::new()
    };
    let _ = writeln!(
        text,
        "compared with {}, built on {}{hit}{lane}:",
        before.image_key,
        format_time(before.created)
    );
    text += &changes::render(&output.changes);
    if output.changes.iter().any(InputChange::is_target_change) {
        text += "  instructions and files of different targets are not compared\n";
    }
    for prefix in &output.prefixes {
        text += &prefix_text(prefix);
    }
    if let Some(reason) = &output.no_prefixes {
        let _ = writeln!(text, "no prefix: {}", screen_text(reason));
    }
    text
}

fn prefix_text(prefix: &PrefixComparison) -> String {
    let PrefixComparison { shown: PrefixLine { place, .. }, unchanged, changes } = prefix;
    let state = match (unchanged, changes::summary(changes)) {
        (Some(true), _) => "unchanged".to_owned(),
        (Some(false), Some(first)) => format!("changed: {first}"),
        (Some(false), None) => "changed".to_owned(),
        (None, _) => "not compared".to_owned(),
    };
    format!("prefix up to {}: {state}\n", screen_text(place))
}
