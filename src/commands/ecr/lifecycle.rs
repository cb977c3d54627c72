//! `larder ecr lifecycle`.

use super::{fault, may_write, repository};
use crate::cli::EcrLifecycleArgs;
use crate::commands::error::CommandError;
use crate::commands::print_text;
use crate::output::Printer;
use crate::registry::ecr::LifecycleRules;
use crate::settings::Settings;

/// Tags whose images always stay.
const PROTECTED: [&str; 4] = ["cache*", "buildcache*", "latest", "v*"];

pub(super) async fn run(
    args: &EcrLifecycleArgs,
    settings: &Settings,
    printer: Printer,
) -> Result<(), CommandError> {
    if args.apply {
        may_write(settings, "without --apply it only tells what it would write")?;
    }
    let (name, ecr) = repository(&args.repository, settings).await?;
    let protected = PROTECTED.map(str::to_owned).into_iter().chain(args.protect.iter().cloned());
    let wanted =
        LifecycleRules { untagged_days: args.untagged_days, keep: args.keep, protected: protected.collect() };
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
