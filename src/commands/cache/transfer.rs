//! `larder cache export`, `import` and `push`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use jiff::Timestamp;

use super::super::error::CommandError;
use super::super::print_json;
use super::Cache;
use crate::amounts::{count, size};
use crate::cli::{ExportArgs, ImportArgs, OutputFormat};
use crate::error_chain::chain;
use crate::pipeline::session::store::warn_of_faults;
use crate::pipeline::transfers::transfer_on_thread;
use crate::regular_file::{PRIVATE, PendingFile};
use crate::store::{Entry, EvictionSelection, PortableError, SendReport, TransferAmounts};

pub(super) fn export(args: &ExportArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    let mut census = cache.census()?;
    let mut ids = Vec::new();
    for id in &args.ids {
        match cache.find_entry(id, &census) {
            Ok(listed) => ids.push(listed.entry.id.hex()),
            Err(unknown) => ids.push(cache.archive(id)?.ok_or(unknown)?.id.hex()),
        }
    }
    if ids.iter().any(|id| cache.find_entry(id, &census).is_err()) {
        census = cache.census()?;
    }
    let named = cache.find_entries(&ids, &census)?;
    let total = named.iter().map(|listed| listed.stored_bytes).sum();
    let entries: Vec<Entry> = named.into_iter().map(|listed| listed.entry.clone()).collect();
    let export = |file: &mut (dyn Write + Send)| {
        transfer_on_thread("exporting", total, &cache.printer, |progress| {
            cache.store.export(cache.place, &entries, BufWriter::new(file), progress).map_err(portable_error)
        })
    };
    if is_stdio(&args.output) {
        let carried = export(&mut io::stdout())?;
        cache.printer.note(&format!("exported {}\n", format_amounts(carried)));
        return Ok(());
    }
    let write = |error: io::Error| file_error(&args.output, "write", &error);
    let mut file = PendingFile::create(&args.output, PRIVATE).map_err(write)?;
    let carried = export(&mut file)?;
    file.commit().map_err(write)?;
    if let Err(fault) = cache.settings.job.notes().note_result(&args.output) {
        cache.printer.warn(&chain(&fault));
    }
    let message = format!("exported {} to {}", format_amounts(carried), args.output.display());
    finish(&message, carried, args.read.format, cache)
}

pub(super) fn import(args: &ImportArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    let (carried, _) =
        if is_stdio(&args.input) { cache.import(io::stdin(), 0)? } else { cache.import_file(&args.input)? };
    let message = format!("imported {} into {}", format_amounts(carried), cache.name);
    finish(&message, carried, args.read.format, cache)
}

pub(super) fn push(format: OutputFormat, cache: &Cache<'_>) -> Result<(), CommandError> {
    let SendReport { carried, faults } = cache.store.send_all(&|entry| {
        let manifest = &entry.manifest;
        let (kind, title) = (manifest.address.kind, &manifest.subject.title);
        cache.printer.note(&format!("{} contains {}: {kind} {title}\n", cache.name, entry.short_id()));
    })?;
    warn_of_faults(&faults, &cache.printer);
    finish(&format!("sent {} to {}", format_amounts(carried), cache.name), carried, format, cache)?;
    let cause = format!("{} not sent", count(faults.len(), "entry was", "entries were"));
    match faults.into_iter().next() {
        None => Ok(()),
        Some(error) => Err(CommandError { cause, ..error.into() }),
    }
}

impl Cache<'_> {
    pub(super) fn import_file(&self, path: &Path) -> Result<(TransferAmounts, Vec<Entry>), CommandError> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (total, file) = opened.map_err(|error| file_error(path, "read", &error))?;
        self.import(BufReader::new(file), total)
    }

    /// Imports a file of `total` bytes; 0 if unknown.
    fn import(
        &self,
        file: impl Read + Send,
        total: u64,
    ) -> Result<(TransferAmounts, Vec<Entry>), CommandError> {
        let imported = transfer_on_thread("importing", total, &self.printer, |progress| {
            self.store.import(self.place, file, progress)
        });
        let imported = imported.map_err(|error| {
            // Remove the chunks of the incomplete import.
            let swept = self.store.evict(self.place, EvictionSelection::Ids(&[]), false, Timestamp::now());
            warn_of_faults(swept.err().as_slice(), &self.printer);
            portable_error(error)
        })?;
        self.evict_beyond_limits();
        Ok(imported)
    }
}

fn is_stdio(path: &Path) -> bool {
    path == Path::new("-")
}

fn finish(
    message: &str,
    carried: TransferAmounts,
    format: OutputFormat,
    cache: &Cache<'_>,
) -> Result<(), CommandError> {
    cache.printer.note(&format!("{message}\n"));
    match format {
        OutputFormat::Text => Ok(()),
        OutputFormat::Json => print_json(cache.printer, &carried),
    }
}

fn format_amounts(carried: TransferAmounts) -> String {
    let TransferAmounts { entries, chunks, bytes } = carried;
    let (entries, chunks) = (count(entries, "entry", "entries"), count(chunks, "chunk", "chunks"));
    format!("{entries} ({chunks}, {})", size(bytes))
}

fn file_error(path: &Path, action: &str, error: &io::Error) -> CommandError {
    CommandError::config_line(format!("cannot {action} {}: {}", path.display(), chain(error)))
}

fn portable_error(error: PortableError) -> CommandError {
    match error {
        PortableError::Store(error) => error.into(),
        error @ PortableError::File(_) => CommandError::config(&error),
        error @ PortableError::InvalidMember { .. } => CommandError::config(&error)
            .hint("only complete files from larder cache export can be imported; no entry was imported"),
    }
}
