//! `larder cache verify`.

use super::super::error::CommandError;
use super::super::print_result;
use super::{Cache, store_error};
use crate::cli::VerifyArgs;
use crate::error_chain::chain;
use crate::output::verification::VerificationReport;
use crate::pipeline::transfers::transfer_on_thread;

pub(super) fn run(args: &VerifyArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    let total = cache.census()?.bytes_stored;
    let what = format!("verifying {}", cache.name);
    let verified = transfer_on_thread(&what, total, &cache.printer, |progress| {
        cache.store.verify(cache.place, args.repair, progress)
    });
    let verified = verified.map_err(|error| store_error(&error))?;
    let faults = verified.faults.iter().map(|fault| (fault.reason(), chain(fault))).collect();
    let verification = VerificationReport::new(&verified, faults, args.repair);
    print_result(cache.printer, args.read.format, &verification, || verification.text())?;
    if verification.has_no_faults() || (args.repair && verification.has_only_complete_entries()) {
        return Ok(());
    }
    if args.repair {
        return Err(CommandError::cache_line(
            "the cache was damaged, and some entries could not be repaired",
        )
        .hint("incomplete entries were set aside; later builds save them again"));
    }
    Err(CommandError::cache_line("the cache is damaged").hint(
        "larder cache verify --repair copies chunks from the other store and sets incomplete entries aside",
    ))
}
