//! `larder run`: images are built or taken from a cache, then run, on one engine or on several.

mod container;
mod remembered;
mod row;

use std::time::Instant;

use futures_util::future::join_all;

use self::container::End;
use self::remembered::remember;
use self::row::Row;
use super::build::{self, Built, known_images};
use super::cache::Cache;
use super::error::CommandError;
use super::nodes::{Handed, Names, Nodes};
use crate::cli::{BuildArgs, PlaceArg, RunArgs};
use crate::ledger::millis;
use crate::output::Printer;
use crate::output::entries::EntryInfo;
use crate::output::summary;
use crate::settings::{BuildSettings, Environment, RunSettings, Settings};

/// The context where none is named.
const HERE: &str = ".";

pub(super) async fn run(
    args: &RunArgs,
    settings: &Settings,
    environment: &Environment,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    match &args.from_cache {
        Some(named) => run_kept(named, args, settings, environment, *printer).await,
        None => Box::pin(run_built(args, settings, environment, printer)).await,
    }
}

/// Runs an image that is kept; nothing is read but the store.
async fn run_kept(
    wanted: &str,
    args: &RunArgs,
    settings: &Settings,
    environment: &Environment,
    printer: Printer,
) -> Result<(), CommandError> {
    let build = BuildSettings::resolve(&args.build(HERE), settings, environment)?;
    let cache = Cache::open(PlaceArg::Local, settings, printer)?;
    let listed = cache.image(wanted)?;
    let (entry, subject) = (&listed.entry, &listed.entry.manifest.subject);
    printer.note(&format!("running from the cache\n{}", EntryInfo::new(&listed).brief()));
    let kept = subject.run.clone().unwrap_or_default();
    let variables = &build.source.variables;
    let run = RunSettings::of_entry(&args.container, &args.command, &kept, variables, environment)?;
    let missing = run.missing_variables();
    if !missing.is_empty() {
        printer.warn(&format!(
            "not set here, but in the run before: {} (give them with -e NAME=VALUE)",
            missing.join(", ")
        ));
    }
    let mut nodes = Nodes::connect(settings, printer).await?;
    let names = Names::IfFree(&subject.title);
    let handed = nodes.hand(entry, names, &cache.store, build.tiers.archive_timeout, settings, 0).await?;
    let told = |handed: &Handed| (handed.image.clone(), Row::of_entry(entry, handed.tier, handed.elapsed));
    let images = handed.iter().map(told).collect();
    let mut outcome = Outcome::default();
    run_everywhere(&mut nodes, images, &run, args, environment, &mut outcome).await?;
    outcome.end(&nodes, printer)
}

/// Builds images, unless a cache has them, and runs one after the other.
async fn run_built(
    args: &RunArgs,
    settings: &Settings,
    environment: &Environment,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let (names, mut args_of_build) = subjects(args, settings)?;
    let mut runs = Vec::new();
    for name in &names {
        let build = BuildArgs { context: name.clone(), ..args_of_build.clone() };
        let build = BuildSettings::resolve(&build, settings, environment)?;
        let (given, variables) = ((settings, environment), &build.source.variables);
        let run = RunSettings::of_image(&args.container, &args.command, name, variables, given)?;
        runs.push((run, build));
    }
    let mut nodes = Nodes::connect(settings, *printer).await?;
    if nodes.are_several() {
        if let Some((_, build)) = runs.iter().find(|(_, build)| !build.tiers.archive) {
            return Err(CommandError::config_line(
                "several engines get the image from the cache, and the archive tier is off",
            )
            .hint(format!("leave out what says that {}", build.tiers.switch)));
        }
        // What is handed on is kept, whether or not that was of use before.
        args_of_build.tiers.enable_cache = Some(true);
    }
    let first = settings.on(&nodes.up[0].endpoint);
    let images = match &names[..] {
        [name] => {
            let args = BuildArgs { context: name.clone(), ..args_of_build };
            vec![build::image(&args, &first, environment, printer).await?]
        }
        names => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            build::images(&names, &args_of_build, &first, environment, *printer).await?
        }
    };
    let mut outcome = Outcome::default();
    for ((name, (run, build)), image) in names.iter().zip(&runs).zip(images) {
        if names.len() > 1 {
            printer.note(&format!("running {name}\n"));
        }
        let images = handed_on(&image, run, build, &mut nodes, settings, *printer).await?;
        run_everywhere(&mut nodes, images, run, args, environment, &mut outcome).await?;
        if outcome.is_interrupted {
            break;
        }
    }
    outcome.end(&nodes, *printer)
}

/// What is built, and with which flags: the context, or the images of `larder.yaml` that the tags select.
fn subjects(args: &RunArgs, settings: &Settings) -> Result<(Vec<String>, BuildArgs), CommandError> {
    let build = args.build(HERE);
    if let Some(context) = &args.context {
        return Ok((vec![context.clone()], build));
    }
    let tags = &args.source.tags;
    if tags.is_empty() || settings.image_names().next().is_none() {
        return Ok((vec![HERE.to_owned()], build));
    }
    let found: Vec<String> = settings.images_tagged(tags).into_iter().map(str::to_owned).collect();
    if found.is_empty() {
        let tags = tags.join(", ");
        return Err(CommandError::config_line(format!("no image of larder.yaml has the tag {tags}"))
            .hint(known_images(settings)));
    }
    // They select, and are no part of a key by that.
    let mut build = build;
    build.source.tags.clear();
    Ok((found, build))
}

/// The image in each engine, handed on by the one that built it, and what is known of that.
async fn handed_on(
    image: &Built,
    run: &RunSettings,
    build: &BuildSettings,
    nodes: &mut Nodes,
    settings: &Settings,
    printer: Printer,
) -> Result<Vec<(String, Row)>, CommandError> {
    let record = &image.record;
    let id = record.image_id.clone().ok_or_else(|| CommandError::build("the build made no image"))?;
    let entry = remember(image, run, build, nodes, settings, printer).await?;
    let mut images = vec![(id, Row::of(record))];
    if nodes.up.len() > 1 {
        let entry = entry.ok_or_else(|| {
            let why = record.tiers.iter().rev().map(|tier| tier.reason.as_str()).next();
            CommandError::build("the image is not kept, so that other engines cannot get it")
                .hint(why.unwrap_or("larder cache list shows what is").to_owned())
        })?;
        let store = super::store::open(settings)?;
        let names = Names::These(&build.tags);
        let handed = nodes.hand(&entry, names, &store, build.tiers.archive_timeout, settings, 1).await?;
        for Handed { image, tier, elapsed } in handed {
            images.push((image, Row::of(record).handed(tier, elapsed)));
        }
    }
    Ok(images)
}

/// What runs came to, all together.
#[derive(Default)]
struct Outcome {
    /// The first exit status that is none of success.
    status: i64,
    is_interrupted: bool,
}

impl Outcome {
    fn end(self, nodes: &Nodes, printer: Printer) -> Result<(), CommandError> {
        let failures = nodes.failures();
        if self.is_interrupted {
            return Err(CommandError::interrupted("interrupted; the container was stopped"));
        }
        if self.status == 0 {
            return failures;
        }
        failures.err().into_iter().for_each(|error| error.tell(printer));
        Err(CommandError::exit(u8::try_from(self.status).unwrap_or(u8::MAX)))
    }
}

/// Runs an image on every engine, of which each has it under an id.
async fn run_everywhere(
    nodes: &mut Nodes,
    images: Vec<(String, Row)>,
    run: &RunSettings,
    args: &RunArgs,
    environment: &Environment,
    outcome: &mut Outcome,
) -> Result<(), CommandError> {
    let running = nodes.up.iter().zip(images).map(|(node, (image, row))| async move {
        let spec = run.of(&image);
        let clock = Instant::now();
        let end = container::run(&node.engine, &spec, args.container.keep_alive, node.printer).await;
        (row, end, clock.elapsed())
    });
    let done = join_all(running).await;
    let mut failed = Vec::new();
    for (place, (mut row, end, elapsed)) in done.into_iter().enumerate() {
        let node = &nodes.up[place];
        let End { status, is_interrupted } = match end {
            Ok(end) => end,
            Err(error) if !nodes.are_several() => return Err(error),
            Err(error) => {
                failed.push((node.endpoint.clone(), error, node.printer));
                continue;
            }
        };
        if let Some(path) = &args.container.output {
            row.ended(elapsed, status, &node.endpoint, args.context.as_deref(), environment);
            row.append(path)?;
        }
        let elapsed = summary::duration(millis(elapsed));
        node.printer.note(&format!("ran in {elapsed}, exit status {status}\n"));
        outcome.is_interrupted |= is_interrupted;
        if outcome.status == 0 {
            outcome.status = status;
        }
    }
    for (endpoint, error, printer) in failed {
        nodes.fails(&endpoint, &error, printer);
    }
    Ok(())
}
