//! `larder ecr lifecycle`.

use super::{fault, may_write, repository};
use crate::cli::EcrLifecycleArgs;
use crate::commands::error::CommandError;
use crate::commands::print_text;
use crate::output::Printer;
use crate::registry::ecr::LifecycleRules;
use crate::settings::Settings;

/// Tags whose images are never removed.
const PROTECTED: [&str; 4] = ["cache*", "buildcache*", "latest", "v*"];

/// The hint on protecting releases; a policy cannot select images that have only a key's tag.
const RELEASES: &str = "ECR removes an image with all of its tags: --protect PATTERN names those of releases, --any-tag lets \
                        them go too; larder ecr clean --tag 'larder-*' --keep COUNT removes tags of keys alone";

pub(super) async fn run(
    args: &EcrLifecycleArgs,
    settings: &Settings,
    printer: Printer,
) -> Result<(), CommandError> {
    if args.keep.is_some() && args.protect.is_empty() && !args.any_tag {
        return Err(CommandError::config_line("--keep, and nothing says which tags are those of releases")
            .hint(RELEASES));
    }
    if args.apply {
        may_write(settings, "without --apply it only tells what it would write")?;
    }
    let (name, ecr) = repository(&args.repository, settings).await?;
    let protected = PROTECTED.map(str::to_owned).into_iter().chain(args.protect.iter().cloned());
    let wanted =
        LifecycleRules { untagged_days: args.untagged_days, keep: args.keep, protected: protected.collect() };
    if args.keep.is_some() && !args.any_tag {
        let images = ecr.images(name.path()).await.map_err(|error| fault(&error))?;
        if let Some(tag) = wanted.endangered(&images) {
            let cause =
                format!("nothing protects {}:{tag}, whose image has a key's tag too", name.repository());
            return Err(CommandError::config_line(cause).hint(RELEASES));
        }
    }
    let before = ecr.lifecycle(name.path()).await.map_err(|error| fault(&error))?;
    let after = before.with(&wanted);
    print_text(printer, &before.diff(&after))?;
    if before == after {
        printer.note("the repository has this policy already\n");
    } else if args.apply {
        ecr.set_lifecycle(name.path(), &after).await.map_err(|error| fault(&error))?;
        printer.note("the policy is written\n");
    } else {
        printer.note("nothing is written: --apply does\n");
    }
    if args.keep.is_some() {
        printer.note(&format!(
            "an image goes with all of its tags; those with {} stay (--protect names more)\n",
            wanted.protected.join(", ")
        ));
    }
    Ok(())
}
