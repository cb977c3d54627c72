//! `larder cache`: inspects, changes and transfers the entries of the store.

mod archive;
mod image;
mod maintenance;
mod stats;
mod transfer;

use super::error::CommandError;
use super::print_result;
use crate::cli::{CacheCommand, InfoArgs, OutputFormat, PlaceArg};
use crate::commands::CommandContext;
use crate::output::Printer;
use crate::output::entries::{EntryInfo, EntryList};
use crate::pipeline::session::store::{evict_beyond_limits, warn_of_faults};
use crate::settings::Settings;
use crate::store::backend::FaultReason;
use crate::store::{Census, CensusEntry, Store, StoreError, StoreLimits, StoreLocation};

/// The number of entries that are listed if an id is unknown or ambiguous.
const MAX_LISTED_ENTRIES: usize = 10;

pub(super) struct Cache<'a> {
    command: CommandContext<'a>,
    settings: &'a Settings,
    pub(super) store: Store,
    place: StoreLocation,
    /// The place as shown to users.
    name: String,
    printer: Printer,
}

pub(super) fn run(
    action: &CacheCommand,
    command: &CommandContext<'_>,
    printer: Printer,
) -> Result<(), CommandError> {
    let open = |at| Cache::open(at, command, printer);
    match action {
        CacheCommand::List(args) => list(args.format, &open(args.at)?),
        CacheCommand::Info(args) => info(args, &open(args.read.at)?),
        CacheCommand::Load(args) => command.block_on(image::load(args, &open(PlaceArg::Local)?)),
        CacheCommand::Stats(args) => stats::run(args.format, &open(args.at)?),
        CacheCommand::Clear(args) => maintenance::clear(args, &open(args.read.at)?),
        CacheCommand::Evict(args) => maintenance::evict(args, &open(args.read.at)?),
        CacheCommand::Verify(args) => maintenance::verify(args, &open(args.read.at)?),
        CacheCommand::Push(args) => transfer::push(args.format, &open(PlaceArg::Remote)?),
        CacheCommand::Export(args) => transfer::export(args, &open(args.read.at)?),
        CacheCommand::Import(args) => transfer::import(args, &open(args.read.at)?),
    }
}

fn list(format: OutputFormat, cache: &Cache<'_>) -> Result<(), CommandError> {
    let census = cache.census()?;
    let entries = EntryList::new(&census, &cache.name);
    print_result(cache.printer, format, &entries, || entries.text())
}

fn info(args: &InfoArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    let census = cache.census()?;
    let info = EntryInfo::new(cache.find_entry(&args.id, &census)?);
    print_result(cache.printer, args.read.format, &info, || info.text())
}

impl<'a> Cache<'a> {
    pub(super) fn open(
        at: PlaceArg,
        command: &CommandContext<'a>,
        printer: Printer,
    ) -> Result<Self, CommandError> {
        let store = command.session.store()?;
        let place = match at {
            PlaceArg::Local => StoreLocation::Local,
            PlaceArg::Remote => StoreLocation::Remote,
        };
        let missing = || {
            CommandError::config_line("no remote store is configured")
                .hint("set it with --remote URL, LARDER_REMOTE or `remote` in larder.yaml")
        };
        let name = store.place(place).ok_or_else(missing)?;
        Ok(Self { command: *command, settings: command.settings, store, place, name, printer })
    }

    /// Returns the limits of the place. A shared store without its own limit uses the local one.
    fn limits(&self) -> StoreLimits {
        let own = self.settings.job.store.limits;
        let max_bytes = self.settings.job.store.remote_limits.max_bytes.or(own.max_bytes);
        if self.place == StoreLocation::Remote { StoreLimits { max_bytes, ..own } } else { own }
    }

    pub(super) fn census(&self) -> Result<Census, CommandError> {
        let (census, faults) = self.store.census(self.place)?;
        warn_of_faults(&faults, &self.printer);
        Ok(census)
    }

    /// Returns the entries with these ids, which may be abbreviated.
    fn find_entries<'c>(
        &self,
        ids: &[String],
        census: &'c Census,
    ) -> Result<Vec<&'c CensusEntry>, CommandError> {
        let mut named: Vec<&CensusEntry> = Vec::new();
        for id in ids {
            let listed = self.find_entry(id, census)?;
            if !named.iter().any(|known| known.entry.id == listed.entry.id) {
                named.push(listed);
            }
        }
        Ok(named)
    }

    pub(super) fn find_entry<'c>(
        &self,
        id: &str,
        census: &'c Census,
    ) -> Result<&'c CensusEntry, CommandError> {
        let digits = id.strip_prefix("sha256:").unwrap_or(id).to_ascii_lowercase();
        let fits = |listed: &&CensusEntry| !digits.is_empty() && listed.entry.id.hex().starts_with(&digits);
        let found: Vec<&CensusEntry> = census.entries.iter().filter(fits).collect();
        match found[..] {
            [listed] => Ok(listed),
            [] => {
                let cause = format!("there is no cache entry `{id}` in {}", self.name);
                let all: Vec<&CensusEntry> = census.entries.iter().collect();
                Err(CommandError::config_line(cause).hints(entry_hints(&all)))
            }
            _ => {
                let cause = format!("{} cache entries begin with `{id}`", found.len());
                Err(CommandError::config_line(cause).hints(entry_hints(&found)))
            }
        }
    }

    fn evict_beyond_limits(&self) {
        let faults = evict_beyond_limits(&self.store, &self.settings.job.store, &self.printer);
        warn_of_faults(&faults, &self.printer);
    }
}

fn entry_hints(entries: &[&CensusEntry]) -> Vec<String> {
    if entries.is_empty() {
        return vec![
            "the cache has no entries yet; larder build --enable-cache archives an image".to_owned(),
        ];
    }
    let line = |listed: &&CensusEntry| {
        let manifest = &listed.entry.manifest;
        format!("{}: {} {}", listed.entry.short_id(), manifest.address.kind, manifest.subject.title)
    };
    let mut hints: Vec<String> = entries.iter().take(MAX_LISTED_ENTRIES).map(line).collect();
    if entries.len() > MAX_LISTED_ENTRIES {
        hints.push(format!("and {} more", entries.len() - MAX_LISTED_ENTRIES));
    }
    hints.push("larder cache list shows the details of all entries".to_owned());
    hints
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        let hint = match &error {
            StoreError::ReadOnly => "remove --read-only (LARDER_READ_ONLY, read_only in larder.yaml)",
            StoreError::Backend(error) => match error.reason {
                FaultReason::Denied => "the cache must be readable and writable for this user",
                FaultReason::Full => "free disk space there, or set a different directory with --cache-dir",
                _ => {
                    "--cache-dir (LARDER_CACHE_DIR) and --remote (LARDER_REMOTE) set the location of the cache"
                }
            },
            _ => return Self::config(&error),
        };
        Self::config(&error).hint(hint)
    }
}
