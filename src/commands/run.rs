//! `larder run`: builds images or loads them from a cache, then runs them, on one engine or on several.

use std::io;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;

use super::cache::Cache;
use super::concurrent_builds::{NamedBuild, build_images, known_images_hint};
use super::error::{CommandError, ErrorKind};
use super::target_engines::TargetEngines;
use crate::cli::{BuildArgs, ContainerArgs, PlaceArg, RENAMED_BUILD_OPTIONS, RunArgs};
use crate::commands::CommandContext;
use crate::error_chain::chain;
use crate::ledger::millis;
use crate::output::Printer;
use crate::output::benchmark_row::BenchmarkRow;
use crate::output::entries::EntryInfo;
use crate::output::summary;
use crate::pipeline::container::{self, ContainerEnd};
use crate::pipeline::image_loading::{LoadNames, LoadedImage};
use crate::pipeline::stages::{BuildPurpose, BuildResult};
use crate::settings::{BuildSettings, Environment, RunSettings, Settings, SettingsError, env_vars};

const DEFAULT_CONTEXT: &str = ".";

pub(super) async fn run(
    args: &RunArgs,
    command: &CommandContext<'_>,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    RunSettings::check_supported(&args.container)?;
    let (notes, warned) = (command.settings.job.notes(), *printer);
    let note_row = |path: &Path| {
        if let Err(fault) = notes.note_result(path) {
            warned.warn(&chain(&fault));
        }
    };
    if let Some(path) = &args.container.output {
        BenchmarkRow::check_writable(path).map_err(|error| write_error(path, &error))?;
        // Noted before the build, which must not include the file in its context.
        if path.metadata().is_ok_and(|file| file.len() == 0) {
            note_row(path);
        }
    }
    let result = match &args.from_cache {
        Some(named) => run_from_cache(named, args, command, printer).await,
        None => Box::pin(build_and_run(args, command, printer)).await,
    };
    if let Some(path) = &args.container.output {
        note_row(path);
    }
    result
}

async fn run_from_cache(
    wanted: &str,
    args: &RunArgs,
    command: &CommandContext<'_>,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let (settings, environment) = (command.settings, command.environment);
    let build = resolve(&args.build(DEFAULT_CONTEXT), settings, environment)?;
    printer.set_progress(build.progress);
    let printer = *printer;
    let cache = Cache::open(PlaceArg::Local, command, printer)?;
    let listed = cache.image(wanted)?;
    let (entry, subject) = (&listed.entry, &listed.entry.manifest.subject);
    printer.note(&format!("running from the cache\n{}", EntryInfo::new(&listed).brief_text()));
    let mut kept = subject.run.clone().unwrap_or_default();
    let lane = &entry.manifest.address.lane;
    let is_own = cache.store.reads_lane(lane);
    if !is_own && !kept.flags.is_empty() {
        printer.warn(&format!(
            "ignored the stored flags, because they are from a different lane, {lane}: pass the flags that you trust"
        ));
        kept.flags.clear();
    }
    if ContainerArgs::parse_flags(&kept.flags).is_none() {
        printer.warn(
            "ignored the stored flags, because this version of larder does not know them: pass them again",
        );
    }
    let variables = &build.source.variables;
    let run = RunSettings::for_entry(&args.container, &args.command, &kept, variables, environment)
        .map_err(CommandError::from_run_settings)?;
    let missing = run.missing_variables();
    if !missing.is_empty() {
        printer.warn(&format!(
            "variables of the earlier run are not set here: {} (pass them with -e NAME=VALUE)",
            missing.join(", ")
        ));
    }
    let mut nodes = TargetEngines::connect(command.session, printer).await?;
    let names = LoadNames::IfFree(&subject.title);
    let handed =
        nodes.load_image(entry, names, &cache.store, build.tiers.archive_timeout, command.session, 0).await?;
    let row =
        |handed: LoadedImage| (handed.image, BenchmarkRow::from_entry(entry, handed.tier, handed.elapsed));
    let images = handed.into_iter().map(row).collect();
    let mut outcome = RunOutcome::default();
    run_everywhere(&mut nodes, images, &run, args, command, &mut outcome).await?;
    outcome.end(&nodes, printer)
}

/// Resolves the build of an image, with errors that contain the flags of `larder run`.
fn resolve(
    args: &BuildArgs,
    settings: &Settings,
    environment: &Environment,
) -> Result<BuildSettings, CommandError> {
    BuildSettings::resolve(args, settings, environment).map_err(|mut error| {
        if let SettingsError::Flag { flag, .. } = &mut error
            && let Some((_, here)) = RENAMED_BUILD_OPTIONS.iter().find(|(name, _)| name == flag)
        {
            *flag = here;
        }
        CommandError::from_run_settings(error)
    })
}

/// Builds images, unless they are cached, and runs them one after the other.
async fn build_and_run(
    args: &RunArgs,
    command: &CommandContext<'_>,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let (settings, environment) = (command.settings, command.environment);
    let (names, args_of_build) = images_to_run(args, settings)?;
    let nodes = NonZeroU32::new(u32::try_from(settings.job.endpoints.len()).unwrap_or(u32::MAX));
    let nodes = nodes.filter(|nodes| nodes.get() > 1);
    let (mut builds, mut runs) = (Vec::new(), Vec::new());
    for name in names {
        let args_of_build = BuildArgs { context: name.clone(), ..args_of_build.clone() };
        let build = resolve(&args_of_build, settings, environment)?;
        let (given, variables) = ((settings, environment), &build.source.variables);
        let run = RunSettings::for_image(&args.container, &args.command, &name, variables, given)
            .map_err(CommandError::from_run_settings)?;
        if nodes.is_some() {
            check_transfer(&build, settings)?;
        }
        printer.set_progress(build.progress);
        let purpose = BuildPurpose { run: Some(run.stored.clone()), nodes, ..BuildPurpose::default() };
        builds.push(NamedBuild { name, build, purpose });
        runs.push(run);
    }
    let mut nodes = TargetEngines::connect(command.session, *printer).await?;
    let first = settings.job.for_engine(&nodes.connected[0].endpoint);
    let built = build_images(&builds, &command.session.with_settings(&first), *printer).await?;
    let mut outcome = RunOutcome::default();
    for ((NamedBuild { name, build, .. }, run), image) in builds.iter().zip(&runs).zip(built) {
        if builds.len() > 1 {
            printer.note(&format!("running {name}\n"));
        }
        let ran = async {
            let images = load_into_engines(&image, build, &mut nodes, command).await?;
            run_everywhere(&mut nodes, images, run, args, command, &mut outcome).await
        };
        match ran.await {
            Err(error) if builds.len() == 1 || error.kind == ErrorKind::Interrupted => return Err(error),
            Err(error) => {
                error.print(*printer);
                outcome.failed.push(name.clone());
            }
            Ok(()) if outcome.is_interrupted => break,
            Ok(()) => {}
        }
    }
    outcome.end(&nodes, *printer)
}

fn check_transfer(build: &BuildSettings, settings: &Settings) -> Result<(), CommandError> {
    let cause = "several engines receive the image through the cache";
    if !build.tiers.archive {
        let why = build.tiers.switch;
        return Err(CommandError::config_line(format!("{cause}, but the archive tier is off: {why}"))
            .hint("enable the archive tier, or use a single engine"));
    }
    if settings.job.store.terms.read_only {
        return Err(CommandError::config_line(format!("{cause}, which is read-only")).hint(
            "remove --read-only (LARDER_READ_ONLY, read_only in larder.yaml), or use a single engine",
        ));
    }
    Ok(())
}

/// Returns the names and flags of what is built: the context, or the images of `larder.yaml` that the tags select.
fn images_to_run(args: &RunArgs, settings: &Settings) -> Result<(Vec<String>, BuildArgs), CommandError> {
    let mut build = args.build(DEFAULT_CONTEXT);
    if let Some(context) = &args.context {
        return Ok((vec![context.clone()], build));
    }
    let tags = &args.source.tags;
    if tags.is_empty() || settings.image_names().next().is_none() {
        return Ok((vec![DEFAULT_CONTEXT.to_owned()], build));
    }
    let found: Vec<String> = settings.images_tagged(tags).into_iter().map(str::to_owned).collect();
    if found.is_empty() {
        let tags = tags.join(", ");
        return Err(CommandError::config_line(format!("no image in larder.yaml has the tag {tags}"))
            .hint(known_images_hint(settings)));
    }
    // Tags that select images are not part of their keys.
    build.source.tags.clear();
    Ok((found, build))
}

/// Transfers an image from the engine that built it to the others, and returns its id in each.
async fn load_into_engines(
    image: &BuildResult,
    build: &BuildSettings,
    nodes: &mut TargetEngines,
    command: &CommandContext<'_>,
) -> Result<Vec<(String, BenchmarkRow)>, CommandError> {
    let record = &image.record;
    let id = record.image_id.clone().ok_or_else(|| CommandError::build("the build produced no image"))?;
    let mut images = vec![(id, BenchmarkRow::from_record(record))];
    if nodes.connected.len() == 1 {
        return Ok(images);
    }
    let Some(entry) = &image.entry else {
        nodes.keep_first(&CommandError::build("the image was not archived, so this engine cannot load it").hint(
            "the warnings of the build contain the reason: the cache is not writable, files changed during the build, or inputs are unknown",
        ));
        return Ok(images);
    };
    let (store, names) = (command.session.store()?, LoadNames::Given(&build.tags));
    let handed =
        nodes.load_image(entry, names, &store, build.tiers.archive_timeout, command.session, 1).await?;
    let row = |handed: LoadedImage| {
        (handed.image, BenchmarkRow::from_record(record).for_other_engine(handed.tier, handed.elapsed))
    };
    images.extend(handed.into_iter().map(row));
    Ok(images)
}

#[derive(Default)]
struct RunOutcome {
    /// The first nonzero exit status.
    status: i64,
    is_interrupted: bool,
    failed: Vec<String>,
}

impl RunOutcome {
    fn end(self, nodes: &TargetEngines, printer: Printer) -> Result<(), CommandError> {
        if self.is_interrupted {
            let cause = "interrupted; the container was stopped";
            return Err(CommandError::new(ErrorKind::Interrupted, cause));
        }
        let mut failure = nodes.check_failures().err();
        if !self.failed.is_empty() {
            let cause = format!("images that were not run: {}", self.failed.join(", "));
            failure = failure.or(Some(CommandError::build(cause)));
        }
        if self.status == 0 {
            return failure.map_or(Ok(()), Err);
        }
        if let Some(error) = failure {
            error.print(printer);
        }
        Err(CommandError::new(ErrorKind::Exit(u8::try_from(self.status).unwrap_or(u8::MAX)), ""))
    }
}

/// Runs an image on every engine; `images` contains its id in each.
async fn run_everywhere(
    nodes: &mut TargetEngines,
    images: Vec<(String, BenchmarkRow)>,
    run: &RunSettings,
    args: &RunArgs,
    command: &CommandContext<'_>,
    outcome: &mut RunOutcome,
) -> Result<(), CommandError> {
    if command.session.interrupts().is_pending() {
        return Err(CommandError::new(ErrorKind::Interrupted, "interrupted"));
    }
    let running = nodes.connected.iter().zip(images).map(|(node, (image, row))| async move {
        let spec = run.container_for(&image);
        let clock = Instant::now();
        let (keep, interrupts) = (args.container.keep_alive, command.session.interrupts());
        let end = container::run_container(&node.engine, &spec, keep, interrupts, &node.printer).await;
        (row, end, clock.elapsed())
    });
    let done = join_all(running).await;
    let mut failed = Vec::new();
    for (place, (row, end, elapsed)) in done.into_iter().enumerate() {
        let node = &nodes.connected[place];
        let ContainerEnd { status, is_interrupted } = match end {
            Ok(end) => end,
            Err(error) if !nodes.has_several() => return Err(error.into()),
            Err(error) => {
                failed.push((node.endpoint.clone(), error.into(), node.printer));
                continue;
            }
        };
        if let Some(path) = &args.container.output {
            let context = args.context.as_deref().filter(|context| Path::new(context).is_dir());
            let revision = revision(context.unwrap_or(DEFAULT_CONTEXT), command.environment);
            let row = row.with_run_result(elapsed, status, &node.endpoint, revision);
            row.append(path).map_err(|error| write_error(path, &error))?;
        }
        let (host, millis) = (node.endpoint.to_string(), millis(elapsed));
        node.printer.event("ran", &json!({ "host": host, "exit": status, "millis": millis }));
        let elapsed = summary::format_duration(millis);
        node.printer.note(&format!("ran in {elapsed}, exit status {status}\n"));
        outcome.is_interrupted |= is_interrupted;
        if outcome.status == 0 {
            outcome.status = status;
        }
    }
    for (endpoint, error, printer) in failed {
        nodes.report_failure(&endpoint, &error, printer);
    }
    Ok(())
}

fn write_error(path: &Path, error: &io::Error) -> CommandError {
    CommandError::config_line(format!("cannot write to {}: {}", path.display(), chain(error)))
        .hint("the file is set with --output")
}

/// Returns the revision of a directory from the CI system or git, or an empty string without one.
fn revision(directory: &str, environment: &Environment) -> String {
    let variables = [env_vars::GIT_COMMIT, env_vars::CI_COMMIT_SHA, env_vars::GITHUB_SHA];
    if let Some(revision) = variables.iter().find_map(|variable| environment.get(variable)) {
        return revision.to_owned();
    }
    let git = Command::new("git")
        .args(["-C", directory, "rev-parse", "HEAD"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let printed = git.ok().filter(|git| git.status.success()).map(|git| git.stdout);
    printed.map(|text| String::from_utf8_lossy(&text).trim().to_owned()).unwrap_or_default()
}
