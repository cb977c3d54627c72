//! `larder ecr clean`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{check_writable, resolve_repository};
use crate::amounts::{count, size};
use crate::cli::EcrCleanArgs;
use crate::commands::error::CommandError;
use crate::commands::print_result;
use crate::error_chain::chain;
use crate::output::Printer;
use crate::pipeline::registries::Registries;
use crate::registry::ecr::{EcrImage, ImageRemoval, ImageSelection, ImageToRemove};
use crate::registry::{ImageRef, RegistryError, with_timeout};
use crate::settings::{Settings, duration};

/// The time limit for requests for the contents of indexes.
const DEADLINE: Duration = Duration::from_mins(1);

#[derive(Serialize)]
struct CleanReport<'a> {
    schema: &'static str,
    repository: String,
    dry_run: bool,
    removed: &'a [ImageToRemove],
    refused: Vec<RefusedRow<'a>>,
    bytes: u64,
}

#[derive(Serialize)]
struct RefusedRow<'a> {
    #[serde(flatten)]
    image: &'a ImageToRemove,
    reason: &'a str,
}

pub(super) async fn run(
    args: &EcrCleanArgs,
    settings: &Settings,
    printer: Printer,
) -> Result<(), CommandError> {
    let wanted = selection(args)?;
    if !args.dry_run {
        check_writable(settings, "--dry-run lists what would be removed")?;
    }
    let (name, ecr) = resolve_repository(&args.repository, settings).await?;
    let mut images = ecr.list_images(name.path()).await?;
    if wanted.include_untagged {
        let parts = digests_in_tagged_indexes(&name, &images, settings);
        let parts = with_timeout(name.host(), DEADLINE, Box::pin(parts)).await;
        let parts = parts.map_err(|error| CommandError::build(chain(&error)).hint(error.remedy()))?;
        images.retain(|image| !image.tags.is_empty() || !parts.contains(&image.digest));
    }
    let doomed = wanted.select(&images);
    let removal = if args.dry_run {
        ImageRemoval { removed: doomed, failed: Vec::new() }
    } else {
        ecr.remove_images(name.path(), &doomed).await?
    };
    let refused = removal.failed.iter().map(|(image, reason)| RefusedRow { image, reason });
    let report = CleanReport {
        schema: "larder.ecr-clean.v1",
        repository: name.repository(),
        dry_run: args.dry_run,
        removed: &removal.removed,
        refused: refused.collect(),
        bytes: removal.removed.iter().map(|gone| gone.bytes).sum(),
    };
    print_result(printer, args.format, &report, || text(&report))?;
    match report.refused.len() {
        0 => Ok(()),
        number => Err(CommandError::build(format!(
            "{} not removed",
            count(number, "tag or image was", "tags and images were")
        ))
        .hint("an image that belongs to an index can only be removed together with the index")),
    }
}

/// Returns the digests of images in tagged indexes, which must not be removed before their indexes.
async fn digests_in_tagged_indexes(
    name: &ImageRef,
    images: &[EcrImage],
    settings: &Settings,
) -> Result<BTreeSet<String>, RegistryError> {
    let mut repository = Registries::new(settings.job.login.clone(), settings.job.certificates.clone(), None)
        .repository(name)
        .await?;
    let mut parts = BTreeSet::new();
    for image in images.iter().filter(|image| image.is_index && !image.tags.is_empty()) {
        if let Some(index) = repository.manifest(&image.digest).await? {
            parts.extend(repository.entries(&index)?.iter().map(ToString::to_string));
        }
    }
    Ok(parts)
}

/// Returns the selection of the flags; an empty one is an error.
fn selection(args: &EcrCleanArgs) -> Result<ImageSelection, CommandError> {
    if args.tag.is_empty() && !args.untagged {
        return Err(CommandError::config_line("no images are selected for removal")
            .hint("select them with --untagged, --tag 'larder-*' --keep 50, or --tag cache; --dry-run removes nothing"));
    }
    let before = match &args.older_than {
        Some(text) => {
            let age = duration::parse(text)
                .map_err(|reason| CommandError::config_line(format!("--older-than: {reason}")))?;
            let before = Timestamp::now().checked_sub(age);
            Some(before.map_err(|_| CommandError::config_line("--older-than is too long"))?)
        }
        None => None,
    };
    let (tags, keep) = (args.tag.clone(), args.keep.unwrap_or_default());
    Ok(ImageSelection { tags, include_untagged: args.untagged, before, keep })
}

fn text(report: &CleanReport<'_>) -> String {
    let name = |gone: &ImageToRemove| match &gone.tag {
        Some(tag) => format!("{}:{tag}", report.repository),
        None => format!("{}@{}", report.repository, gone.digest),
    };
    let did = if report.dry_run { "would remove" } else { "removed" };
    let mut text = String::new();
    for gone in report.removed {
        let _ = writeln!(text, "{did} {}", name(gone));
    }
    for RefusedRow { image, reason } in &report.refused {
        let _ = writeln!(text, "not removed {}: {reason}", name(image));
    }
    let size = size(report.bytes);
    let _ =
        writeln!(text, "{did} {}, {size}", count(report.removed.len(), "tag or image", "tags and images"));
    text
}
