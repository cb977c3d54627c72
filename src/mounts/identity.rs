//! Determines the identity of the cache mounts of RUN instructions. Does no I/O.
//!
//! BuildKit identifies a cache mount by its namespace and id, and by its initial content if it has any: a directory
//! with a certain owner and mode, or files of a stage or an image. The stage of the RUN, the platform and the
//! Dockerfile are not part of the identity.
//!
//! Based on moby/buildkit, `frontend/dockerfile/dockerfile2llb/convert_runmount.go`.

use std::collections::BTreeMap;
use std::fmt;

use super::kinds::CacheKind;
use super::warnings::mount_warnings;
use crate::buildkit::llb::Sharing;
use crate::context::clean_path;
use crate::digest::Digest;
use crate::dockerfile::{
    CacheMount, InstructionKind, Resolution, ResolvedInstruction, RunCommand, RunInstruction, Source,
};

/// The build argument that sets the namespace.
const NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MountId {
    /// BuildKit's id: the namespace, a slash, and the id of the mount, for example `/pip` or `//root/.cache/pip`.
    pub(crate) buildkit_id: String,
    pub(crate) origin: Option<MountOrigin>,
    pub(crate) directory: Option<RootDirectory>,
}

/// The files that a new mount starts with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MountOrigin {
    /// The stage, image or named context that contains the files, as written in the Dockerfile.
    pub(crate) from: String,
    /// The index of the stage in the Dockerfile, if it is a stage.
    pub(crate) stage: Option<usize>,
    /// The cleaned path of the directory, for example `/` or `/seed`.
    pub(crate) source: String,
    /// The id of the mount without the namespace.
    pub(crate) id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RootDirectory {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetMount {
    pub(crate) id: MountId,
    pub(crate) kind: CacheKind,
    /// How concurrent RUNs are handled: the strictest mode of the uses.
    pub(crate) sharing: Sharing,
    /// The uses, in the order of the Dockerfile; never empty.
    pub(crate) uses: Vec<MountUse>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountUse {
    pub(crate) stage: usize,
    /// The first line of the RUN.
    pub(crate) line: usize,
    /// The target as written, with variables expanded.
    pub(crate) target: String,
    pub(crate) is_readonly: bool,
    /// The last USER before the RUN, without its group; `None` if the base image sets it.
    pub(crate) user: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SkippedMount {
    pub(crate) used: MountUse,
    pub(crate) reason: &'static str,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mounts {
    /// The mounts that can be saved and restored, without duplicates.
    pub(crate) supported: Vec<TargetMount>,
    pub(crate) skipped: Vec<SkippedMount>,
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variables {
    /// It expands them, since Dockerfile 1.3.
    Expanded,
    /// It keeps them as written, before Dockerfile 1.3.
    AsWritten,
}

/// Returns the cache mounts that a target reaches. Only the namespace is taken from `build_args`.
pub(crate) fn cache_mounts(
    resolution: &Resolution,
    build_args: &BTreeMap<String, String>,
    variables: Variables,
) -> Mounts {
    let namespace = build_args.get(NAMESPACE).map_or("", String::as_str);
    let mut mounts = Mounts::default();
    for mount in &resolution.cache_mounts {
        let options = match variables {
            Variables::Expanded => &mount.options,
            Variables::AsWritten => &mount.written,
        };
        let run = resolution.own_instruction(mount.stage, mount.line);
        let used = MountUse {
            stage: mount.stage,
            line: mount.line,
            target: options.get("target").cloned().unwrap_or_default(),
            is_readonly: is_readonly(options),
            user: run.and_then(|(stage, place)| resolution.user_at(stage, place)),
        };
        let is_certain = mount.is_certain || variables == Variables::AsWritten;
        let (id, sharing) = match identify(mount, options, is_certain, namespace) {
            Ok(identified) => identified,
            Err(reason) => {
                mounts.skipped.push(SkippedMount { used, reason });
                continue;
            }
        };
        if let Some(known) = mounts.supported.iter_mut().find(|known| known.id == id) {
            known.sharing = known.sharing.max(sharing);
            known.uses.push(used);
        } else {
            let script = run.map(|(stage, place)| script(&stage.instructions[place]));
            let kind = CacheKind::of(&used.target, &script.unwrap_or_default());
            mounts.supported.push(TargetMount { id, kind, sharing, uses: vec![used] });
        }
    }
    mounts.warnings = mount_warnings(resolution, &mounts.supported);
    mounts
}

fn script(run: &ResolvedInstruction) -> String {
    match &run.instruction.kind {
        InstructionKind::Run(RunInstruction { command: RunCommand::Exec(words), .. }) => words.join(" "),
        InstructionKind::Run(run) => run.script().unwrap_or_default(),
        _ => String::new(),
    }
}

fn identify(
    mount: &CacheMount,
    options: &BTreeMap<String, String>,
    is_certain: bool,
    namespace: &str,
) -> Result<(MountId, Sharing), &'static str> {
    if !is_certain {
        return Err("its options depend on a variable that the base image may set");
    }
    let option = |name: &str| options.get(name).map(String::as_str);
    let number = |name, radix| match option(name) {
        None => Ok(None),
        Some(text) => u32::from_str_radix(text, radix).map(Some).map_err(|_| "an option is not a number"),
    };
    let (uid, gid, mode) = (number("uid", 10)?, number("gid", 10)?, number("mode", 8)?);
    let id = option("id").filter(|id| !id.is_empty()).map(str::to_owned);
    let id = id.unwrap_or_else(|| clean_path(option("target").unwrap_or_default()));
    let source = clean_path(&format!("/{}", option("source").unwrap_or_default()));
    let is_whole = source == "/";
    let origin = match &mount.from {
        None | Some(Source::Scratch) if !is_whole => {
            return Err("its source is a directory of an empty file system");
        }
        None | Some(Source::Scratch) => None,
        Some(holder) => Some(MountOrigin {
            from: option("from").unwrap_or_default().to_owned(),
            stage: if let Source::Stage(index) = holder { Some(*index) } else { None },
            source,
            id: id.clone(),
        }),
    };
    // Owner and mode are ignored for an existing directory.
    let directory = (is_whole && uid.or(gid).or(mode).is_some()).then(|| RootDirectory {
        uid: uid.unwrap_or_default(),
        gid: gid.unwrap_or_default(),
        mode: mode.unwrap_or(0o755) & 0o777,
    });
    let sharing = match option("sharing").map(str::to_ascii_lowercase).as_deref() {
        Some("locked") => Sharing::Locked,
        Some("private") => Sharing::Private,
        _ => Sharing::Shared,
    };
    Ok((MountId { buildkit_id: format!("{namespace}/{id}"), origin, directory }, sharing))
}

fn is_readonly(options: &BTreeMap<String, String>) -> bool {
    // The values that Go's `strconv.ParseBool` accepts.
    let is_set =
        |name: &str, words: [&str; 6]| options.get(name).is_some_and(|text| words.contains(&text.as_str()));
    is_set("readonly", ["1", "t", "T", "true", "TRUE", "True"])
        || is_set("readwrite", ["0", "f", "F", "false", "FALSE", "False"])
}

impl MountId {
    pub(crate) fn key(&self) -> Digest {
        Digest::of(format!("larder-mount-v1\n{self}").as_bytes())
    }
}

impl fmt::Display for MountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.buildkit_id)?;
        if let Some(MountOrigin { from, source, .. }) = &self.origin {
            write!(f, " from {from}:{source}")?;
        }
        match self.directory {
            Some(RootDirectory { uid, gid, mode }) => write!(f, " of {uid}:{gid} {mode:04o}"),
            None => Ok(()),
        }
    }
}
