//! `larder dir restore`.

use super::Job;
use crate::archive::{Fault, Options, RestoreError, UnlistedError, restore};
use crate::commands::error::CommandError;
use crate::error_chain::chain;
use crate::output::dir::DirOutcome;
use crate::settings::DirRestoreSettings;
use crate::store::EntryKind;

pub(super) fn run(settings: &DirRestoreSettings, job: &mut Job) -> Result<(), CommandError> {
    let lacks_key = job.lacks_key();
    if lacks_key && !settings.fallback {
        return Ok(());
    }
    // Also where the newest one will not do, it tells what has changed since.
    let found = job.store.find(EntryKind::Dir, &job.dir.family, job.key.digest, true);
    for fault in &found.faults {
        job.fault(fault);
    }
    let Some(entry) = found.entry else {
        let fault = job.report.faults.first().map(|fault| fault.message.clone());
        let none = || format!("nothing is kept of {} in {}", job.dir.family, job.store.lanes());
        let missing = job.report.reason.take().map(|missing| format!("{missing}; "));
        job.report.reason = Some(missing.unwrap_or_default() + &fault.unwrap_or_else(none));
        return Ok(());
    };
    let is_exact = found.exact && !lacks_key;
    let difference = if is_exact { None } else { job.difference(&entry) };
    if !is_exact && !settings.fallback {
        job.report.reason = Some(difference.unwrap_or_else(|| "no entry has this key".to_owned()));
        return Ok(());
    }
    let index = job.index();
    let options = Options { outside_links: settings.outside_links, index: index.as_ref() };
    match restore(&job.store, &entry, &job.dir.path, options, &job.meter) {
        Ok(restored) => {
            for fault in &restored.faults {
                job.fault(fault);
            }
            if let Err(fault) = job.store.touch(&entry) {
                job.fault(&fault);
            }
            if let Some(known) = restored.index.filter(|known| index.as_ref() != Some(known)) {
                job.keep_index(&known);
            }
            job.report.outcome = if is_exact { DirOutcome::Hit } else { DirOutcome::Fallback };
            job.report.reason = difference;
            (job.report.files, job.report.bytes) = (restored.files, restored.bytes);
            job.report.written = restored.written_files;
            job.report.unchanged = restored.files - restored.written_files;
            job.names(&entry);
            Ok(())
        }
        Err(RestoreError::Interrupted) => Err(CommandError::interrupted("interrupted; nothing was restored")),
        Err(error) => {
            job.names(&entry);
            missed(job, &error);
            Ok(())
        }
    }
}

/// Tells why there is no hit after all.
fn missed(job: &mut Job, error: &RestoreError) {
    let reason = chain(error);
    let id = job.report.entry.as_deref().unwrap_or_default();
    let entry = format!("entry {}", &id[..id.len().min(12)]);
    match error {
        RestoreError::Store(fault) | RestoreError::Unlisted(UnlistedError::Store(fault)) => job.fault(fault),
        RestoreError::Unlisted(UnlistedError::Refused(refused)) => {
            job.report.outcome = DirOutcome::Refused;
            let hint = match refused.fault {
                Fault::LeadsOut(_) => "; --outside-links restores it all the same",
                _ => "",
            };
            job.printer.warn(&format!("{entry} is refused: {refused}{hint}; nothing was restored"));
            job.report.reason = Some(format!("{entry} is refused: {refused}"));
            return;
        }
        RestoreError::Partial { .. } => {
            job.trouble("other", format!("{reason}; what is there may be of two times"));
        }
        RestoreError::Place(_)
        | RestoreError::InTheWay(_)
        | RestoreError::NoRoom { .. }
        | RestoreError::Interrupted => {
            job.trouble("other", format!("{entry} cannot be restored: {reason}"));
        }
    }
    job.report.reason = Some(reason);
}
