//! `larder run`: the image is built or taken from a cache, then run.

mod from_cache;
mod row;

use std::io::{self, Write};
use std::time::Instant;

use super::build;
use super::error::{CommandError, chain};
use super::interrupts::Interrupts;
use crate::cli::RunArgs;
use crate::engine::{Container, ContainerSpec, Engine, EngineError, Stream};
use crate::ledger::millis;
use crate::output::{Printer, summary};
use crate::settings::{BuildSettings, Environment, Settings, container};
use row::Row;

/// An image that is ready to be run.
struct Ready {
    engine: Engine,
    /// Its id.
    image: String,
    /// What is already known of this run.
    row: Row,
}

pub(super) async fn run(
    args: &RunArgs,
    settings: &Settings,
    environment: &Environment,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let mut spec = container(&args.container, &args.command, environment)?;
    let build = BuildSettings::resolve(&args.build(), settings, environment)?;
    let Ready { engine, image, mut row } = match &args.from_cache {
        Some(named) => from_cache::ready(named, &build, settings, *printer).await?,
        None => built(args, settings, environment, printer).await?,
    };
    spec.image = image;
    spec.env.splice(0..0, build.source.variables.iter().map(|(name, value)| format!("{name}={value}")));
    let clock = Instant::now();
    let (status, ended) = run_container(&engine, &spec, args.container.keep_alive, *printer).await?;
    let elapsed = clock.elapsed();
    if let Some(path) = &args.container.output {
        row.ended(elapsed, status, args.context.as_deref(), environment);
        row.append(path)?;
    }
    printer.note(&format!("ran in {}, exit status {status}\n", summary::duration(millis(elapsed))));
    match ended {
        Ended::Interrupted => Err(CommandError::interrupted("interrupted; the container was stopped")),
        Ended::ByItself if status == 0 => Ok(()),
        Ended::ByItself => Err(CommandError::exit(u8::try_from(status).unwrap_or(u8::MAX))),
    }
}

/// Builds the image, unless a cache has it.
async fn built(
    args: &RunArgs,
    settings: &Settings,
    environment: &Environment,
    printer: &mut Printer,
) -> Result<Ready, CommandError> {
    let (record, engine) = build::image(&args.build(), settings, environment, printer).await?;
    let engine = engine.ok_or_else(|| {
        CommandError::config_line("buildkitd keeps no images that could be run")
            .hint("name a Docker engine with --host or DOCKER_HOST")
    })?;
    let image = record.image_id.clone().ok_or_else(|| CommandError::build("the build made no image"))?;
    Ok(Ready { engine, image, row: Row::of(&record) })
}

/// Why a container does not run any more.
#[derive(Clone, Copy)]
enum Ended {
    ByItself,
    Interrupted,
}

/// Runs a container to its end, unless the user interrupts; its exit status.
async fn run_container(
    engine: &Engine,
    spec: &ContainerSpec,
    keep: bool,
    printer: Printer,
) -> Result<(i64, Ended), CommandError> {
    let mut interrupts = Interrupts::watch();
    let container = engine.create_container(spec).await.map_err(|error| failed(&error))?;
    let done = attended(&container, &mut interrupts, printer).await;
    if keep {
        printer.note(&format!("the container is kept as {}\n", container.name));
    } else if let Err(error) = container.remove().await {
        printer.warn(&format!("the container stays: {}", chain(&error)));
    }
    done.map_err(|error| failed(&error))
}

/// The first interrupt asks the container to end, a second one waits for nothing.
async fn attended(
    container: &Container,
    interrupts: &mut Interrupts,
    printer: Printer,
) -> Result<(i64, Ended), EngineError> {
    let running = container.run(write);
    tokio::pin!(running);
    tokio::select! {
        status = &mut running => return Ok((status?, Ended::ByItself)),
        () = interrupts.next() => {}
    }
    printer.note("\nlarder: stopping the container; interrupt again to leave at once\n");
    let ending = async { tokio::join!(container.stop(), &mut running) };
    tokio::select! {
        (stopped, status) = ending => {
            stopped?;
            Ok((status?, Ended::Interrupted))
        }
        () = interrupts.next() => Ok((130, Ended::Interrupted)),
    }
}

/// Hands on what the container wrote. Who does not listen any more misses it, and the container goes on.
fn write(stream: Stream, bytes: &[u8]) {
    let _ = match stream {
        Stream::Out => write_all(&mut io::stdout().lock(), bytes),
        Stream::Err => write_all(&mut io::stderr().lock(), bytes),
    };
}

fn write_all(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

fn failed(error: &EngineError) -> CommandError {
    CommandError::build(format!("the image cannot be run: {}", chain(error)))
        .hint("larder run --help lists what a container can be given")
}
