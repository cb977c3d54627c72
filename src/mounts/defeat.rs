//! Finds what prevents a cache mount from being useful, as far as the Dockerfile shows it. Pure.

use super::auto::turned_off;
use super::identity::{MountUse, TargetMount};
use crate::buildkit::llb::Sharing;
use crate::dockerfile::Resolution;

/// Returns a line for each.
pub(super) fn defeats(resolution: &Resolution, mounts: &[TargetMount]) -> Vec<String> {
    let mut lines = Vec::new();
    for mount in mounts {
        for used in &mount.uses {
            let MountUse { line, target, .. } = used;
            let run = resolution.own_instruction(used.stage, *line);
            if let Some(word) =
                run.and_then(|(stage, place)| turned_off(mount.kind, &stage.instructions[place]))
            {
                lines.push(format!(
                    "line {line}: `{word}` keeps {} from using the cache mount {target}; leave it out",
                    mount.kind
                ));
            }
            if used.readonly {
                lines.push(format!(
                    "line {line}: the cache mount {target} is read-only there, so that nothing is added to it"
                ));
            }
        }
        if mount.sharing == Sharing::Private {
            let MountUse { line, target, .. } = &mount.uses[0];
            lines.push(format!(
                "line {line}: sharing=private gives a build that runs beside another one an empty {target}, of which \
                 larder may see either"
            ));
        }
    }
    lines
}
