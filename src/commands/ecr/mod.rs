//! `larder ecr`: commands for ECR.

mod clean;
mod docker_login;
mod images;
mod lifecycle;

use super::error::CommandError;
use super::print_text;
use crate::cli::{EcrCommand, EcrLoginArgs};
use crate::commands::CommandContext;
use crate::output::Printer;
use crate::registry::ecr::{EcrClient, EcrError, NewRepository};
use crate::registry::{ImageRef, InvalidImageRef};
use crate::settings::{Settings, parse_repository};

pub(super) async fn run(
    action: &EcrCommand,
    command: &CommandContext<'_>,
    printer: Printer,
) -> Result<(), CommandError> {
    let settings = command.settings;
    match action {
        EcrCommand::Login(args) => login(args, settings, printer).await,
        EcrCommand::Pull(args) => images::pull(args, command, printer).await,
        EcrCommand::Push(args) => images::push(args, command, printer).await,
        EcrCommand::Clean(args) => clean::run(args, settings, printer).await,
        EcrCommand::Lifecycle(args) => lifecycle::run(args, settings, printer).await,
    }
}

const NAME_HINT: &str = "names of images and repositories have the form REGISTRY/NAME, e.g. \
                         123456789012.dkr.ecr.eu-central-1.amazonaws.com/shop/app";

async fn login(args: &EcrLoginArgs, settings: &Settings, printer: Printer) -> Result<(), CommandError> {
    let registry = args.registry.trim_start_matches("https://").trim_end_matches('/');
    let found = settings.job.ecr.credentials(registry).await?;
    let (credentials, ends) = found.ok_or_else(|| not_ecr_error(registry))?;
    if args.print {
        return print_text(printer, &format!("{}\n", credentials.secret));
    }
    if args.docker {
        let path = settings.docker_config.join("config.json");
        docker_login::save_login(&path, registry, &credentials)
            .map_err(|error| error.hint("larder itself needs no login in Docker's config.json"))?;
    }
    printer.note(&format!("logged in to {registry} until {}\n", ends.strftime("%Y-%m-%d %H:%M UTC")));
    Ok(())
}

async fn create_repository(
    ecr: &EcrClient,
    name: &ImageRef,
    new: NewRepository,
    printer: Printer,
) -> Result<(), EcrError> {
    if ecr.create_repository(name.path(), new).await? {
        printer.note(&format!("created the repository {}\n", name.repository()));
    }
    Ok(())
}

fn image_name(text: &str) -> Result<ImageRef, CommandError> {
    text.parse().map_err(|error: InvalidImageRef| CommandError::config(&error).hint(NAME_HINT))
}

async fn resolve_image(text: &str, settings: &Settings) -> Result<(ImageRef, EcrClient), CommandError> {
    let name = image_name(text)?;
    let ecr = settings.job.ecr.client(name.host()).await?.ok_or_else(|| not_ecr_error(name.host()))?;
    Ok((name, ecr))
}

async fn resolve_repository(text: &str, settings: &Settings) -> Result<(ImageRef, EcrClient), CommandError> {
    let name = parse_repository(text).map_err(|reason| CommandError::config_line(reason).hint(NAME_HINT))?;
    resolve_image(&name.repository(), settings).await
}

fn check_writable(settings: &Settings, hint: &'static str) -> Result<(), CommandError> {
    if settings.job.store.terms.read_only {
        return Err(CommandError::config_line("cannot change a repository with --read-only").hint(hint));
    }
    Ok(())
}

fn not_ecr_error(registry: &str) -> CommandError {
    CommandError::config_line(format!("{registry} is not an ECR registry")).hint(
        "ECR registries are named ACCOUNT.dkr.ecr.REGION.amazonaws.com or public.ecr.aws; AWS_ENDPOINT_URL_ECR sets a \
         different endpoint",
    )
}

impl From<EcrError> for CommandError {
    fn from(error: EcrError) -> Self {
        Self::config(&error).hint(error.remedy())
    }
}
