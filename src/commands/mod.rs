//! The subcommands, one per file: they resolve settings, call the domain modules and print the result.

mod base;
mod build;
mod cache;
mod concurrent_builds;
mod dir;
mod ecr;
mod error;
mod key;
mod mount;
mod run;
mod runtime;
mod stats;
mod target_engines;
mod why;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;
use std::sync::Once;

use clap::Parser;
use serde::Serialize;

use crate::cli::{CacheCommand, Cli, Command, OutputFormat};
use crate::error_chain::chain;
use crate::output::Printer;
use crate::pipeline::session::Session;
use crate::pipeline::stages::{BuildPurpose, BuildResult, build_image};
use crate::registry::ImageRef;
use crate::settings::{BuildSettings, Environment, Settings, env_vars};
use crate::store::FaultRecord;
use error::{CommandError, ErrorKind, usage};
use runtime::CommandRuntime;

/// Runs larder with the process's arguments and environment, and returns its exit code.
pub fn main() -> ExitCode {
    let environment = Environment::from_process();
    restart_without(&environment.empty_variables(env_vars::AWS_ENDPOINT_URL));
    let mut printer = Printer::new(environment.get(env_vars::NO_COLOR).is_none());
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let result = match Cli::try_parse_from(&arguments) {
        Ok(cli) => run(&cli, &environment, &mut printer),
        Err(error) => usage::convert(&error, &arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print(printer);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// Restarts the process without these variables, because the AWS SDK treats an empty one as an address.
fn restart_without(variables: &[&str]) {
    if variables.is_empty() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut again = std::process::Command::new(program);
    again.args(std::env::args_os().skip(1));
    for variable in variables {
        again.env_remove(variable);
    }
    // It returns only on failure, in which case this process continues.
    drop(again.exec());
}

fn run(cli: &Cli, environment: &Environment, printer: &mut Printer) -> Result<(), CommandError> {
    let mut settings = Settings::resolve(&cli.global, environment, cli.command.needs_engine())?;
    // These commands are about the cache directory itself.
    let is_about_cache = matches!(cli.command, Command::Cache(_) | Command::Stats(_) | Command::Why(_));
    let _temporary = if is_about_cache { None } else { settings.replace_unusable_directories() };
    let takes_several = match &cli.command {
        Command::Run(_) => true,
        Command::Cache(action) => matches!(action, CacheCommand::Load(_)),
        _ => false,
    };
    if settings.job.endpoints.len() > 1 && !takes_several {
        return Err(CommandError::config_line(
            "only larder run and larder cache load support several engines",
        )
        .hint("select one engine with --host"));
    }
    if environment.switch(env_vars::LARDER_STEP_SUMMARY)?.unwrap_or(true)
        && let Some(file) = environment.get(env_vars::GITHUB_STEP_SUMMARY)
    {
        printer.set_step_summary(file);
    }
    if settings.cannot_redraw {
        printer.never_redraw();
    }
    let (session, threads) = (Session::new(&settings.job), CommandRuntime::default());
    let command = CommandContext { settings: &settings, environment, session: &session, threads: &threads };
    let result = match &cli.command {
        Command::Build(args) => command.block_on(build::run(args, &command, printer)),
        Command::Run(args) => {
            let mut args = args.clone();
            if cli.global.store.read_only {
                // docker run's flag of that name is about the container's root filesystem.
                args.container.options.add("read-only-rootfs", "true".to_owned());
            }
            command.block_on(run::run(&args, &command, printer))
        }
        Command::Key(args) => command.block_on(key::run(args, &command, *printer)),
        Command::Why(args) => command.block_on(why::run(args, &command, *printer)),
        Command::Cache(args) => cache::run(args, &command, *printer),
        Command::Stats(args) => stats::run(args, &command, *printer),
        Command::Mount(args) => command.block_on(mount::run(args, &command, *printer)),
        Command::Base(args) => command.block_on(base::run(args, &command, printer)),
        Command::Ecr(args) => command.block_on(ecr::run(args, &command, *printer)),
        Command::Dir(args) => command.block_on(dir::run(args, &command, *printer)),
    };
    // After the command, which determines whether messages are JSON.
    settings
        .warnings
        .iter()
        .chain(&settings.job.login.take_lookup_errors())
        .for_each(|warning| printer.warn(warning));
    result
}

#[derive(Clone, Copy)]
struct CommandContext<'a> {
    settings: &'a Settings,
    environment: &'a Environment,
    session: &'a Session<'a>,
    threads: &'a CommandRuntime,
}

impl CommandContext<'_> {
    fn block_on<T>(&self, command: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
        self.threads.block_on(self.session, command)
    }
}

/// Builds an image, unless it is cached, and prints its id if requested.
async fn build_one(
    build: &BuildSettings,
    purpose: &BuildPurpose,
    session: &Session<'_>,
    mut printer: Printer,
) -> Result<BuildResult, CommandError> {
    printer.set_progress(build.progress);
    let is_like_a_name = |tag: &&String| tag.contains([':', '/']) && tag.parse::<ImageRef>().is_ok();
    if let (Some(tag), true) = (build.source.key_tags.iter().find(is_like_a_name), build.tags.is_empty()) {
        printer.warn(&format!(
            "--tags {tag} does not name the image: it adds a word to the key and selects images of larder.yaml; did you mean --tag {tag}?"
        ));
    }
    warn_of_unknown_branch(session, printer);
    let result = build_image(build, purpose, session, &printer).await?;
    if let (true, Some(id)) = (build.quiet, &result.record.image_id) {
        print_text(printer, &format!("{id}\n"))?;
    }
    Ok(result)
}

/// Warns, once per process, if the branch of this job is unknown.
fn warn_of_unknown_branch(session: &Session<'_>, printer: Printer) {
    static WARNED: Once = Once::new();
    if let Some(warning) = session.settings.lanes.warning() {
        WARNED.call_once(|| printer.warn(&warning));
    }
}

/// Returns the first fault of the cache as an error if `--strict` is set.
fn check_faults(faults: &[FaultRecord], is_strict: bool) -> Result<(), CommandError> {
    match faults.first() {
        Some(fault) if is_strict => Err(CommandError::new(ErrorKind::Cache, &fault.message)
            .hint("without --strict this is only a warning")),
        _ => Ok(()),
    }
}

fn print_result(
    printer: Printer,
    format: OutputFormat,
    result: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), CommandError> {
    match format {
        OutputFormat::Text => print_text(printer, &text()),
        OutputFormat::Json => print_json(printer, result),
    }
}

fn print_json(printer: Printer, object: &impl Serialize) -> Result<(), CommandError> {
    let json = serde_json::to_string_pretty(object).map_err(|error| CommandError::config(&error))?;
    print_text(printer, &format!("{json}\n"))
}

fn print_text(printer: Printer, text: &str) -> Result<(), CommandError> {
    printer.out(text).map_err(|error| {
        CommandError::config_line(format!("cannot write to standard output: {}", chain(&error)))
            .hint("free disk space, or redirect the output")
    })
}
