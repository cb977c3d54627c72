//! Finds settings and commands in the Dockerfile that make a cache mount useless. Does no I/O.

use super::auto::disabling_word;
use super::identity::{MountUse, TargetMount};
use crate::buildkit::llb::Sharing;
use crate::dockerfile::Resolution;

pub(super) fn mount_warnings(resolution: &Resolution, mounts: &[TargetMount]) -> Vec<String> {
    let mut lines = Vec::new();
    for mount in mounts {
        for used in &mount.uses {
            let MountUse { line, target, .. } = used;
            let run = resolution.own_instruction(used.stage, *line);
            if let Some(word) =
                run.and_then(|(stage, place)| disabling_word(mount.kind, &stage.instructions[place]))
            {
                lines.push(format!(
                    "line {line}: `{word}` prevents {} from using the cache mount {target}; remove it",
                    mount.kind
                ));
            }
            if used.is_readonly {
                lines.push(format!(
                    "line {line}: the cache mount {target} is read-only, so nothing is added to it"
                ));
            }
        }
        if mount.sharing == Sharing::Private {
            let MountUse { line, target, .. } = &mount.uses[0];
            lines.push(format!(
                "line {line}: with sharing=private, a concurrent build gets a separate, empty {target}, and \
                 larder may save either of them"
            ));
        }
    }
    lines
}
