//! `larder cache export` and `larder cache import`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::path::Path;

use humansize::{DECIMAL, format_size};

use super::super::error::CommandError;
use super::super::print_json;
use super::{Cache, fault};
use crate::cli::{ExportArgs, Format, ImportArgs};
use crate::store::{Carried, Entry, PortableError};

pub(super) fn export(args: &ExportArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    let census = cache.census()?;
    let entries: Vec<Entry> =
        cache.named(&args.ids, &census)?.into_iter().map(|listed| listed.entry.clone()).collect();
    if is_standard(&args.output) {
        let file = BufWriter::new(io::stdout().lock());
        let carried = cache.store.export(cache.place, &entries, file, &|_| {}).map_err(failed)?;
        cache.printer.note(&format!("exported {}\n", told(carried)));
        return Ok(());
    }
    let write = |error: io::Error| unusable(&args.output, "write", &error);
    let directory =
        args.output.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Whole or not at all: half a file would be taken for one.
    let mut file = tempfile::NamedTempFile::new_in(directory).map_err(write)?;
    let carried =
        cache.store.export(cache.place, &entries, BufWriter::new(&mut file), &|_| {}).map_err(failed)?;
    file.flush().map_err(write)?;
    file.persist(&args.output).map_err(|error| write(error.error))?;
    finish(
        &format!("exported {} to {}", told(carried), args.output.display()),
        carried,
        args.read.format,
        cache,
    )
}

pub(super) fn import(args: &ImportArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    let carried = if is_standard(&args.input) {
        cache.store.import(cache.place, io::stdin().lock(), &|_| {})
    } else {
        let file = File::open(&args.input).map_err(|error| unusable(&args.input, "read", &error))?;
        cache.store.import(cache.place, BufReader::new(file), &|_| {})
    };
    let carried = carried.map_err(failed)?;
    let said = format!("imported {} into {}", told(carried), cache.name);
    finish(&said, carried, args.read.format, cache)
}

fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

fn finish(said: &str, carried: Carried, format: Format, cache: &Cache<'_>) -> Result<(), CommandError> {
    cache.printer.note(&format!("{said}\n"));
    match format {
        Format::Text => Ok(()),
        Format::Json => print_json(cache.printer, &carried),
    }
}

fn told(carried: Carried) -> String {
    let Carried { entries, chunks, bytes } = carried;
    format!("{entries} entries ({chunks} chunks, {})", format_size(bytes, DECIMAL))
}

fn unusable(path: &Path, action: &str, error: &io::Error) -> CommandError {
    CommandError::config_line(format!(
        "cannot {action} {}: {}",
        path.display(),
        super::super::error::chain(error)
    ))
}

fn failed(error: PortableError) -> CommandError {
    match error {
        PortableError::Store(error) => fault(&error),
        error @ PortableError::File(_) => CommandError::config(&error),
        error @ PortableError::Foreign { .. } => CommandError::config(&error).hint(
            "only a whole file that larder cache export wrote can be imported; no entry was taken over",
        ),
    }
}
