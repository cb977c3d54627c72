//! `larder cache load`: loads the image of an entry into every given engine.

use super::Cache;
use crate::cli::LoadArgs;
use crate::commands::error::CommandError;
use crate::commands::print_text;
use crate::commands::target_engines::TargetEngines;
use crate::output::entries::EntryInfo;
use crate::pipeline::image_loading::LoadNames;
use crate::settings::archive_timeout;

pub(super) async fn run(args: &LoadArgs, cache: &Cache<'_>) -> Result<(), CommandError> {
    let deadline = archive_timeout(args.archive_timeout.as_ref(), cache.settings)?;
    let listed = cache.image(&args.id)?;
    let entry = &listed.entry;
    cache.printer.note(&format!("loading from the cache\n{}", EntryInfo::new(&listed).brief_text()));
    let mut nodes = TargetEngines::connect(cache.command.session, cache.printer).await?;
    let names = LoadNames::IfFree(&entry.manifest.subject.title);
    let handed = nodes.load_image(entry, names, &cache.store, deadline, cache.command.session, 0).await?;
    for (node, handed) in nodes.connected.iter().zip(&handed) {
        let place = if nodes.has_several() { format!("{} ", node.endpoint) } else { String::new() };
        print_text(cache.printer, &format!("{place}{}\n", handed.image))?;
    }
    nodes.check_failures()
}
