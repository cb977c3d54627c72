//! Restores a directory from the store.

use super::report::{DirAmounts, DirOutcome};
use super::{DirError, DirJob};
use crate::archive::{ListingError, ListingFault, RestoreError, RestoreOptions, restore};
use crate::error_chain::chain;
use crate::plan::DirRestoreSettings;
use crate::store::EntryKind;

pub(super) fn run(settings: &DirRestoreSettings, job: &mut DirJob) -> Result<(), DirError> {
    let lacks_key = job.lacks_key();
    if lacks_key && !settings.fallback {
        return Ok(());
    }
    // Look for the newest entry even if only an exact hit is restored, to report what has changed since that entry.
    let found = job.store.find(EntryKind::Dir, &job.dir.family, job.key.digest, true);
    job.report_faults(&found.faults);
    let Some(entry) = found.entry else {
        let fault = job.report.faults.first().map(|fault| fault.message.clone());
        let no_entry = || format!("no entry of {} in {}", job.dir.family, job.store.lanes());
        let missing = job.report.reason.take().map(|missing| format!("{missing}; "));
        job.report.reason = Some(missing.unwrap_or_default() + &fault.unwrap_or_else(no_entry));
        return Ok(());
    };
    let is_exact = found.is_exact && !lacks_key;
    let difference = if is_exact { None } else { job.difference(&entry) };
    if !is_exact && !settings.fallback {
        job.report.reason = Some(difference.unwrap_or_else(|| "no entry has this key".to_owned()));
        return Ok(());
    }
    let index = job.index();
    let options = RestoreOptions { outside_links: settings.outside_links, index: index.as_ref() };
    match restore(&job.store, &entry, &job.dir.path, options, &job.meter) {
        Ok(restored) => {
            job.report_faults(&restored.faults);
            job.report_faults(&job.store.touch(&entry).err());
            if let Some(known) = restored.index.filter(|known| index.as_ref() != Some(known)) {
                job.write_index(&known);
            }
            job.report.outcome = if is_exact { DirOutcome::Hit } else { DirOutcome::Fallback };
            job.report.reason = difference;
            job.report.amounts = DirAmounts {
                files: restored.files,
                bytes: restored.bytes,
                written: restored.written_files,
                unchanged: restored.files - restored.written_files,
                ..DirAmounts::default()
            };
            job.set_entry(&entry);
            Ok(())
        }
        Err(RestoreError::Interrupted) => Err(DirError::Interrupted("restored")),
        Err(error) => {
            job.set_entry(&entry);
            report_failure(job, &error);
            Ok(())
        }
    }
}

fn report_failure(job: &mut DirJob, error: &RestoreError) {
    let reason = chain(error);
    let id = job.report.entry.as_deref().unwrap_or_default();
    let entry = format!("entry {}", &id[..id.len().min(12)]);
    match error {
        RestoreError::Store(fault) | RestoreError::Unlisted(ListingError::Store(fault)) => {
            job.report_faults([fault]);
        }
        RestoreError::Unlisted(ListingError::Refused(refused)) => {
            job.report.outcome = DirOutcome::Refused;
            let hint = match refused.fault {
                ListingFault::LeadsOut(_) => "; --outside-links restores it anyway",
                _ => "",
            };
            job.reporter.warn(&format!("{entry} is refused: {refused}{hint}; nothing was restored"));
            job.report.reason = Some(format!("{entry} is refused: {refused}"));
            return;
        }
        RestoreError::Partial { .. } => {
            job.report_problem(
                "other",
                format!("{reason}; the directory may now contain a mix of old and restored files"),
            );
        }
        RestoreError::Place(_)
        | RestoreError::DirectoryInTheWay(_)
        | RestoreError::NoSpace { .. }
        | RestoreError::Interrupted => {
            job.report_problem("other", format!("{entry} cannot be restored: {reason}"));
        }
    }
    job.report.reason = Some(reason);
}
