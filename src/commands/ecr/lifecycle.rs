//! `larder ecr lifecycle`.

use super::{check_writable, resolve_repository};
use crate::cli::EcrLifecycleArgs;
use crate::commands::error::CommandError;
use crate::commands::print_text;
use crate::output::Printer;
use crate::registry::ecr::LifecycleRules;
use crate::settings::Settings;

/// Tags whose images are never removed.
const PROTECTED_TAGS: [&str; 4] = ["cache*", "buildcache*", "latest", "v*"];

/// The hint on protecting releases; a policy cannot select images that have only a key's tag.
const RELEASES_HINT: &str = "ECR removes an image with all its tags: protect release tags with --protect PATTERN, or use --any-tag to \
                        remove them too; larder ecr clean --tag 'larder-*' --keep COUNT removes only tags of keys";

pub(super) async fn run(
    args: &EcrLifecycleArgs,
    settings: &Settings,
    printer: Printer,
) -> Result<(), CommandError> {
    if args.keep.is_some() && args.protect.is_empty() && !args.any_tag {
        return Err(CommandError::config_line("--keep requires --protect or --any-tag").hint(RELEASES_HINT));
    }
    if args.apply {
        check_writable(settings, "without --apply it only shows the changes")?;
    }
    let (name, ecr) = resolve_repository(&args.repository, settings).await?;
    let protected = PROTECTED_TAGS.map(str::to_owned).into_iter().chain(args.protect.iter().cloned());
    let wanted =
        LifecycleRules { untagged_days: args.untagged_days, keep: args.keep, protected: protected.collect() };
    if args.keep.is_some() && !args.any_tag {
        let images = ecr.list_images(name.path()).await?;
        if let Some(tag) = wanted.endangered_tag(&images) {
            let cause = format!(
                "{}:{tag} is not protected, and its image also has the tag of a key",
                name.repository()
            );
            return Err(CommandError::config_line(cause).hint(RELEASES_HINT));
        }
    }
    let before = ecr.lifecycle_policy(name.path()).await?;
    let after = before.with_rules(&wanted);
    print_text(printer, &before.diff(&after))?;
    if before == after {
        printer.note("the repository already has this policy\n");
    } else if args.apply {
        ecr.set_lifecycle_policy(name.path(), &after).await?;
        printer.note("wrote the policy\n");
    } else {
        printer.note("nothing was written: --apply writes the policy\n");
    }
    if args.keep.is_some() {
        printer.note(&format!(
            "an image is removed with all its tags; images with the tags {} are kept (--protect adds tags)\n",
            wanted.protected.join(", ")
        ));
    }
    Ok(())
}
