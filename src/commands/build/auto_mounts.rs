//! `--auto-mounts`: cache mounts for RUNs that could use one, added in memory.

use super::inputs::Inputs;
use super::keys::options;
use crate::commands::error::CommandError;
use crate::dockerfile::{Dockerfile, with_flags};
use crate::mounts::missing;
use crate::output::Printer;
use crate::platform;
use crate::settings::{BuildSettings, ProgressMode};

/// Adds them, and says to which lines. Of a Dockerfile with a mistake the build itself will speak.
pub(super) fn add(inputs: &mut Inputs, build: &BuildSettings, printer: Printer) -> Result<(), CommandError> {
    let Some((_, text)) = inputs.dockerfile_text() else {
        printer.warn("--auto-mounts: the Dockerfile is in a context that only the engine can read; nothing is added to it");
        return Ok(());
    };
    let options = options(&build.source, platform::own());
    let Some(resolution) =
        Dockerfile::parse(text).ok().and_then(|dockerfile| dockerfile.resolve(&options).ok())
    else {
        return Ok(());
    };
    let flags = missing(&resolution);
    if flags.is_empty() {
        return Ok(());
    }
    let changed = with_flags(text, &flags);
    let lines: Vec<String> = flags.keys().map(ToString::to_string).collect();
    if !build.quiet && !matches!(build.progress, ProgressMode::Json | ProgressMode::Quiet) {
        let what = if lines.len() == 1 { "the RUN in line" } else { "the RUNs in lines" };
        printer.note(&format!("cache mounts are added to {what} {}\n", lines.join(", ")));
    }
    inputs.build_instead(changed).map_err(|error| {
        CommandError::config_line(format!("the Dockerfile with cache mounts cannot be written: {error}"))
            .hint("make room in the directory for temporary files")
    })
}
