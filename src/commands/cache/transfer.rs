//! `larder cache export` and `larder cache import`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use jiff::Timestamp;

use super::super::error::CommandError;
use super::super::print_json;
use super::{Cache, store_error};
use crate::amounts::{count, size};
use crate::cli::{ExportArgs, ImportArgs, OutputFormat};
use crate::error_chain::chain;
use crate::pipeline::session::store::{evict_beyond_limits, warn_of_faults};
use crate::pipeline::transfers::transfer_on_thread;
use crate::regular_file::{PRIVATE, PendingFile};
use crate::store::{Entry, EvictionSelection, PortableError, TransferAmounts};

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
    let (mut file, total): (Box<dyn Read + Send>, u64) = if is_stdio(&args.input) {
        (Box::new(io::stdin()), 0)
    } else {
        let opened = File::open(&args.input).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (total, file) = opened.map_err(|error| file_error(&args.input, "read", &error))?;
        (Box::new(BufReader::new(file)), total)
    };
    let (carried, _) = cache.import(&mut file, total)?;
    let message = format!("imported {} into {}", format_amounts(carried), cache.name);
    finish(&message, carried, args.read.format, cache)
}

impl Cache<'_> {
    /// Imports the entries of a file of `total` bytes, and returns them.
    pub(in crate::commands) fn import(
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
        warn_of_faults(
            &evict_beyond_limits(&self.store, &self.settings.job.store, &self.printer),
            &self.printer,
        );
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

pub(super) fn format_amounts(carried: TransferAmounts) -> String {
    let TransferAmounts { entries, chunks, bytes } = carried;
    let (entries, chunks) = (count(entries, "entry", "entries"), count(chunks, "chunk", "chunks"));
    format!("{entries} ({chunks}, {})", size(bytes))
}

pub(in crate::commands) fn file_error(path: &Path, action: &str, error: &io::Error) -> CommandError {
    CommandError::config_line(format!("cannot {action} {}: {}", path.display(), chain(error)))
}

fn portable_error(error: PortableError) -> CommandError {
    match error {
        PortableError::Store(error) => store_error(&error),
        error @ PortableError::File(_) => CommandError::config(&error),
        error @ PortableError::InvalidMember { .. } => CommandError::config(&error)
            .hint("only complete files from larder cache export can be imported; no entry was imported"),
    }
}
