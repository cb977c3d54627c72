//! The subcommands, one file each: they put the rooms to work and decide nothing that a room could.

mod base;
mod build;
mod cache;
mod carry;
mod connecting;
mod dir;
mod ecr;
mod error;
mod interrupts;
mod key;
mod mount;
mod nodes;
mod places;
mod run;
mod session;
mod several;
mod stages;
mod stats;
mod store;
mod transfers;
mod why;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;

use crate::cli::{CacheCommand, Cli, Command};
use crate::output::Printer;
use crate::settings::{Environment, ProgressMode, Settings, env_vars};
use error::{CommandError, usage};
use session::Session;

/// Runs larder with the process's arguments and environment; answers its exit code.
pub fn main() -> ExitCode {
    let environment = Environment::of_process();
    restart_without(&environment.empty(env_vars::AWS_ENDPOINT_URL));
    let mut printer = Printer::new(environment.get(env_vars::NO_COLOR).is_none());
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let result = match Cli::try_parse_from(&arguments) {
        Ok(cli) => run(&cli, &environment, &mut printer),
        Err(answer) => usage::answer(&answer, &arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.tell(printer);
            ExitCode::from(error.kind.exit_code())
        }
    }
}

/// Becomes the same process without these variables, if there are any: the SDK of AWS reads them by itself, and an empty one
/// as an address.
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
    // Answers only where it fails; then it is gone on with.
    drop(again.exec());
}

fn run(cli: &Cli, environment: &Environment, printer: &mut Printer) -> Result<(), CommandError> {
    let mut settings = Settings::resolve(&cli.global, environment, cli.command.needs_engine())?;
    // These are about what is in that very directory.
    let is_about_cache = matches!(cli.command, Command::Cache(_) | Command::Stats(_) | Command::Why(_));
    let _temporary = if is_about_cache { None } else { places::make_do(&mut settings, *printer) };
    let takes_several = match &cli.command {
        Command::Run(_) => true,
        Command::Cache(args) => matches!(args.command, CacheCommand::Load(_)),
        _ => false,
    };
    if settings.endpoints.len() > 1 && !takes_several {
        return Err(CommandError::config_line("several engines are for larder run and larder cache load")
            .hint("name one with --host"));
    }
    let session = Session::new(&settings, environment);
    let result = match &cli.command {
        Command::Build(args) => session.block_on(build::run(args, &session, printer)),
        Command::Run(args) => {
            let mut args = args.clone();
            if cli.global.store.read_only {
                // docker run says so of the container's files.
                args.container.options.add("read-only-rootfs", "true".to_owned());
            }
            session.block_on(run::run(&args, &session, printer))
        }
        Command::Key(args) => session.block_on(key::run(args, &session, *printer)),
        Command::Why(args) => session.block_on(why::run(args, &session, *printer)),
        Command::Cache(args) => cache::run(args, &session, *printer),
        Command::Stats(args) => stats::run(args, &settings, *printer),
        Command::Mount(args) => session.block_on(mount::run(args, &session, *printer)),
        Command::Base(args) => session.block_on(base::run(args, &session, printer)),
        Command::Ecr(args) => session.block_on(ecr::run(args, &session, *printer)),
        Command::Dir(args) => session.block_on(dir::run(args, &session, *printer)),
    };
    // Not before the command, which decides whether messages are JSON.
    settings.warnings.iter().chain(&settings.login.take_faults()).for_each(|warning| printer.warn(warning));
    result
}

/// Makes a printer speak in the form that progress is wanted in.
fn speak(printer: &mut Printer, progress: ProgressMode) {
    match progress {
        ProgressMode::Json => printer.speak_json(),
        ProgressMode::Plain => printer.speak_plain(),
        ProgressMode::Quiet => printer.speak_quiet(),
        ProgressMode::Auto | ProgressMode::Tty => {}
    }
}

/// Prints an object that was asked for as JSON.
fn print_json(printer: Printer, object: &impl Serialize) -> Result<(), CommandError> {
    let json = serde_json::to_string_pretty(object).map_err(|error| CommandError::config(&error))?;
    print_text(printer, &format!("{json}\n"))
}

/// Prints what was asked for.
fn print_text(printer: Printer, text: &str) -> Result<(), CommandError> {
    printer.out(text).map_err(|error| {
        CommandError::config_line(format!("cannot write to standard output: {}", error::chain(&error)))
            .hint("make room where it goes, or send it elsewhere")
    })
}
