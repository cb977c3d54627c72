//! Saves a directory to the store.

use std::io;

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use super::report::DirOutcome;
use super::{DirError, DirJob};
use crate::amounts::{count, size};
use crate::archive::{
    BaseEntry, DirectoryDestination, LeftOutReason, SaveError, ShrinkReason, WalkedDirectory, check_shrink,
    read_listing, remove_stale, save, trim, walk,
};
use crate::error_chain::chain;
use crate::pipeline::changes::abridged;
use crate::pipeline::explain::key_inputs;
use crate::plan::DirSaveSettings;
use crate::store::{Entry, EntryKind, Subject};

pub(super) fn run(settings: &DirSaveSettings, job: &mut DirJob) -> Result<(), DirError> {
    if let Some(reason) = job.save_disabled {
        job.report.reason = Some(reason.to_owned());
        return Ok(());
    }
    if job.lacks_key() {
        return Ok(());
    }
    let opened = match open(job) {
        Ok(opened) => opened,
        Err(error) => {
            let message = format!("cannot read {}: {error}; nothing is saved", job.path());
            job.report.reason = Some("the directory cannot be read".to_owned());
            job.report_problem("denied", message);
            return Ok(());
        }
    };
    let found = job.store.find(EntryKind::Dir, &job.dir.family, job.key.digest, true);
    job.report_faults(&found.faults);
    let before = found.entry.as_ref().map(|entry| entry.manifest.subject.bytes);
    if let Some(shrunk) = check_shrink(opened.as_ref().map(|(_, walked)| walked), before)
        && !settings.allow_shrink
    {
        refuse_shrunk(job, &shrunk);
        return Ok(());
    }
    let Some((root, mut walked)) = opened else {
        refuse_save(job, &ShrinkReason::Missing.to_string(), "");
        return Ok(());
    };
    let unreadable =
        walked.left_out.iter().find(|left_out| !matches!(left_out.reason, LeftOutReason::Kind(_)));
    if let Some(unreadable) = unreadable {
        refuse_incomplete(job, &unreadable.to_string());
        return Ok(());
    }
    let trimmed = leave_out(settings, job, &root, &mut walked);
    if trimmed && walked.bytes() == 0 {
        let reason = "it is larger than --max-size, and it cannot be reduced by leaving out files";
        refuse_save(job, reason, "");
        return Ok(());
    }
    let base = base_entry(job, found.entry);
    if let Some(base) = &base
        && is_current(job, base)
        && base.has_same_content(&walked)
        && job.store.is_in_all_stores(&base.entry)
    {
        job.report_faults(&job.store.touch(&base.entry).err());
        job.report.outcome = DirOutcome::Unchanged;
        job.set_entry(&base.entry);
        let (subject, amounts) = (&base.entry.manifest.subject, &mut job.report.amounts);
        (amounts.files, amounts.bytes, amounts.unchanged) = (subject.files, subject.bytes, subject.files);
        return Ok(());
    }
    let replaces = before.filter(|_| !settings.allow_shrink && !trimmed);
    let destination = DirectoryDestination {
        family: &job.dir.family,
        key: job.key.digest,
        subject: subject(job),
        replaces,
    };
    match save(&job.store, &root, walked, base.as_ref(), destination, &job.meter) {
        Ok(saved) => {
            warn_of_left_out(job, &saved.left_out);
            job.write_index(&saved.index);
            job.report_faults(&saved.saved.faults);
            let (subject, amounts) = (&saved.saved.entry.manifest.subject, &mut job.report.amounts);
            (amounts.files, amounts.bytes) = (subject.files, subject.bytes);
            (amounts.written, amounts.unchanged) = (saved.read_files, saved.known_files);
            amounts.added_bytes = saved.saved.added_bytes;
            job.report.outcome = DirOutcome::Saved;
            job.set_entry(&saved.saved.entry);
            job.maintain_store();
        }
        Err(SaveError::Interrupted) => return Err(DirError::Interrupted("saved")),
        Err(SaveError::Shrunk { shrunk, left_out }) => {
            warn_of_left_out(job, &left_out);
            refuse_shrunk(job, &shrunk);
        }
        Err(SaveError::Incomplete(left_out)) => refuse_incomplete(job, &left_out.to_string()),
        Err(error) => {
            job.report.reason = Some(chain(&error));
            match &error {
                SaveError::Store(fault) => job.report_faults([fault]),
                error => job.report_problem("other", chain(error)),
            }
        }
    }
    Ok(())
}

fn refuse_shrunk(job: &mut DirJob, shrunk: &ShrinkReason) {
    let hint = if *shrunk == ShrinkReason::Missing { "" } else { "; --allow-shrink saves it anyway" };
    refuse_save(job, &shrunk.to_string(), hint);
}

fn refuse_save(job: &mut DirJob, reason: &str, hint: &str) {
    job.report.outcome = DirOutcome::Refused;
    job.report.reason = Some(reason.to_owned());
    job.reporter.warn(&format!("{} is not saved: {reason}{hint}", job.path()));
}

/// Reports that a file cannot be read. The entry could be useless without it.
fn refuse_incomplete(job: &mut DirJob, reason: &str) {
    job.report.outcome = DirOutcome::Refused;
    job.report.reason = Some(reason.to_owned());
    job.report_problem("other", format!("{} is not saved: {reason}", job.path()));
}

fn open(job: &DirJob) -> io::Result<Option<(Dir, WalkedDirectory)>> {
    let root = match Dir::open_ambient_dir(&job.dir.path, ambient_authority()) {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    remove_stale(&root)?;
    let walked = walk(&root)?;
    Ok(Some((root, walked)))
}

/// Leaves out files until the entry is within the size limit, and reports these and special files. Returns `true` if
/// the directory was too large.
fn leave_out(settings: &DirSaveSettings, job: &mut DirJob, root: &Dir, walked: &mut WalkedDirectory) -> bool {
    let mut is_trimmed = false;
    job.report.amounts.skipped += walked.left_out.len() as u64;
    if let Some(named) = first_names(&walked.left_out) {
        job.reporter.note(&format!("not saved: {named}\n"));
    }
    if let Some(limit) = settings.max_size {
        let by_use = rustix::fs::fstatvfs(root)
            .is_ok_and(|system| !system.f_flag.contains(rustix::fs::StatVfsMountFlags::NOATIME));
        let trimmed = trim(&mut walked.found, limit, by_use);
        if trimmed.files > 0 {
            is_trimmed = true;
            job.report.amounts.skipped += trimmed.files;
            let size = size(trimmed.bytes);
            job.reporter.note(&format!(
                "not saved: {} used least recently, {size}, to stay within --max-size\n",
                count(trimmed.files, "file that was", "files that were")
            ));
        }
    }
    let outside = walked.outside_links();
    if let Some(named) = first_names(&outside) {
        job.reporter.note(&format!(
            "links that lead out of the directory: {named}; restoring the entry requires --outside-links\n"
        ));
    }
    is_trimmed
}

fn warn_of_left_out(job: &mut DirJob, left_out: &[impl ToString]) {
    job.report.amounts.skipped += left_out.len() as u64;
    if let Some(named) = first_names(left_out) {
        job.report_problem("other", format!("left out of the entry: {named}"));
    }
}

/// Returns the first few names and the number of the others, or `None` if there are no names.
fn first_names(all: &[impl ToString]) -> Option<String> {
    (!all.is_empty()).then(|| abridged(all, 5, all.len() as u64, ", and"))
}

/// Returns the entry that the directory was last saved to or restored from, if the entry still exists.
fn base_entry(job: &mut DirJob, newest: Option<Entry>) -> Option<BaseEntry> {
    let index = job.index()?;
    let entry = newest.filter(|entry| entry.id == index.entry).or_else(|| {
        let found = job.store.find(EntryKind::Dir, &index.family, index.key, false);
        found.entry.filter(|entry| entry.id == index.entry)
    })?;
    match read_listing(&job.store, &entry, true) {
        Ok(listing) => Some(BaseEntry { entry, listing, index }),
        Err(error) => {
            job.report_problem("damaged", format!("{}; all files are read", chain(&error)));
            None
        }
    }
}

fn is_current(job: &DirJob, base: &BaseEntry) -> bool {
    let address = &base.entry.manifest.address;
    address.key == job.key.digest
        && address.family == job.dir.family
        && address.lane == *job.store.lanes().own()
}

fn subject(job: &DirJob) -> Subject {
    Subject { title: job.path(), inputs: key_inputs(&job.key.inputs), ..Subject::default() }
}
