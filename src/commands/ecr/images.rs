//! `larder ecr pull` and `larder ecr push`: transfers images between the engine and a registry, with larder's login.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{create_repository, image_name, resolve_image};
use crate::amounts::size;
use crate::cli::{EcrPullArgs, EcrPushArgs};
use crate::commands::CommandContext;
use crate::commands::error::CommandError;
use crate::engine::Engine;
use crate::error_chain::chain;
use crate::ledger::millis;
use crate::output::Printer;
use crate::output::summary::{format_duration, pushed_message};
use crate::pipeline::registries::{PushError, Registries};
use crate::pipeline::session::EngineConnection;
use crate::pipeline::transfers::transfer;
use crate::registry::ecr::NewRepository;
use crate::registry::{ImageRef, RegistryError, with_timeout};
use crate::store::Meter;

/// For requests for a manifest.
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) async fn pull(
    args: &EcrPullArgs,
    command: &CommandContext<'_>,
    printer: Printer,
) -> Result<(), CommandError> {
    // Check all names before any transfer.
    args.image.iter().try_for_each(|text| image_name(text).map(drop))?;
    let (connection, engine) = connected(command).await?;
    let registries = &connection.registries;
    for text in &args.image {
        let (name, _) = resolve_image(text, command.settings).await?;
        let refused = |error: RegistryError| CommandError::build(chain(&error)).hint(error.remedy());
        let mut repository = registries.repository(&name).await.map_err(refused)?;
        let reference = name.digest_or_tag();
        let looking = with_timeout(name.host(), DEADLINE, repository.manifest(reference));
        if looking.await.map_err(refused)?.is_none() {
            let missing = format!("{} does not exist", name.familiar());
            if args.strict {
                return Err(
                    CommandError::build(missing).hint("remove --strict if the image may be pushed later")
                );
            }
            printer.note(&format!("{missing} yet\n"));
            continue;
        }
        let credentials = registries.login().credentials(name.host()).await?;
        let platform = engine.platform().await.map_err(|error| CommandError::build(chain(&error)))?;
        let (clock, meter) = (Instant::now(), Arc::new(Meter::default()));
        let pulling = engine.pull(&name, &platform, &credentials, |done, total| meter.set(done, total));
        let pulled = transfer("pulling", pulling, &meter, command.session, &printer).await?;
        let bytes = pulled.map_err(|error| {
            CommandError::build(format!("cannot pull {}: {}", name.familiar(), chain(&error)))
        })?;
        let (time, size) = (format_duration(millis(clock.elapsed())), size(bytes));
        printer.note(&format!("pulled {} in {time}: {size}\n", name.familiar()));
    }
    Ok(())
}

pub(super) async fn push(
    args: &EcrPushArgs,
    command: &CommandContext<'_>,
    printer: Printer,
) -> Result<(), CommandError> {
    // Check all names before any transfer.
    args.image.iter().try_for_each(|text| image_name(text).map(drop))?;
    let (connection, engine) = connected(command).await?;
    let registries = &connection.registries;
    let mut images = Vec::new();
    for text in &args.image {
        let (name, ecr) = resolve_image(text, command.settings).await?;
        let found = engine.image(&name.familiar()).await;
        let found = found.map_err(|error| CommandError::build(chain(&error)))?;
        if found.is_none() {
            return Err(CommandError::build(format!("the engine has no image {}", name.familiar()))
                .hint("larder build -t builds it; larder build --push also pushes it"));
        }
        if args.create.create {
            check_login(registries, &name).await?;
        }
        images.push((name, ecr));
    }
    // Repositories are not removed on failure, so none is created before all foreseeable errors are excluded.
    for (name, ecr) in images {
        if args.create.create {
            let new = NewRepository {
                scan_on_push: args.create.scan_on_push,
                has_immutable_tags: args.create.immutable,
            };
            create_repository(&ecr, &name, new, printer).await?;
        }
        let (clock, meter) = (Instant::now(), Meter::default());
        let pushing = Box::pin(registries.push(&engine, &name, &meter));
        let pushed = transfer("pushing", pushing, &meter, command.session, &printer).await?;
        let pushed = pushed.map_err(|error| match error {
            PushError::Login(error) => error.into(),
            error => CommandError::build(format!("cannot push {}: {}", name.familiar(), chain(&error))).hint(
                "--create creates a missing repository; a push requires ecr:PutImage and ecr:UploadLayerPart",
            ),
        })?;
        printer.note(&pushed_message(&name.familiar(), pushed, clock.elapsed()));
    }
    Ok(())
}

/// Returns an error if there is no login or the registry rejects it. Other refusals, such as of reading, do not imply
/// that a push fails.
async fn check_login(registries: &Registries, name: &ImageRef) -> Result<(), CommandError> {
    let looking = async {
        let mut repository = registries.repository(name).await?;
        repository.manifest(name.tag_or_latest()).await
    };
    match with_timeout(name.host(), DEADLINE, Box::pin(looking)).await {
        Err(error) if error.is_login_error() || matches!(error, RegistryError::Login(_)) => {
            Err(CommandError::config(&error).hint(error.remedy()))
        }
        _ => Ok(()),
    }
}

async fn connected(command: &CommandContext<'_>) -> Result<(Arc<EngineConnection>, Engine), CommandError> {
    let connection = command.session.connection(None).await?;
    let engine = connection.engine.clone().ok_or_else(|| {
        CommandError::config_line("a buildkitd stores no images").hint("select a Docker engine with --host")
    })?;
    Ok((connection, engine))
}
