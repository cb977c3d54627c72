//! Which cache mount a RUN means: pure.
//!
//! BuildKit knows a cache mount by its namespace and id, and by what it is made
//! from, if that is not nothing: a directory of a certain owner and mode, or
//! files of a stage or an image. Stage, platform and Dockerfile do not matter.
//!
//! After moby/buildkit, `frontend/dockerfile/dockerfile2llb/convert_runmount.go`.

use std::collections::BTreeMap;
use std::fmt;

use super::defeat::defeats;
use super::kinds::Kind;
use crate::buildkit::llb::Sharing;
use crate::context::clean_path;
use crate::digest::Digest;
use crate::dockerfile::{
    CacheMount, InstructionKind, Resolution, ResolvedInstruction, Run, RunCommand, Source,
};

/// The build argument that sets the namespace.
const NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// A cache mount as BuildKit knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MountId {
    /// Namespace, a slash, and the id: `/pip`, `//root/.cache/pip`.
    pub(crate) wire: String,
    /// Files that it is made from, if it is not made from nothing.
    pub(crate) origin: Option<Origin>,
    /// The directory that it is made from, or that is made for it beside its files, if that has an owner or a mode of its
    /// own.
    pub(crate) directory: Option<Directory>,
}

/// The files that a mount is made from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    /// The stage, the image or the named context that holds them, as the Dockerfile writes it.
    pub(crate) from: String,
    /// The stage's index in the Dockerfile, if it is one.
    pub(crate) stage: Option<usize>,
    /// The directory in it, cleaned: `/` or `/seed`.
    pub(crate) source: String,
    /// The mount's id without the namespace.
    pub(crate) id: String,
}

/// The directory that a mount is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Directory {
    /// Its owner.
    pub(crate) uid: u32,
    /// Its owner's group.
    pub(crate) gid: u32,
    /// Its permission bits.
    pub(crate) mode: u32,
}

/// A cache mount that the target of a build reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetMount {
    /// What BuildKit knows it by.
    pub(crate) id: MountId,
    /// Whose cache it is.
    pub(crate) kind: Kind,
    /// What becomes of several users at once; the strictest of its uses.
    pub(crate) sharing: Sharing,
    /// Where it is used, in the order of the Dockerfile; never empty.
    pub(crate) uses: Vec<MountUse>,
}

/// A RUN that mounts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountUse {
    /// The stage's index in the Dockerfile.
    pub(crate) stage: usize,
    /// The RUN's first line.
    pub(crate) line: usize,
    /// Where it stands in that RUN, as written but for variables.
    pub(crate) target: String,
    /// Whether the RUN can only read it.
    pub(crate) readonly: bool,
    /// The last USER before the RUN, without its group; `None` where the base image says who it is.
    pub(crate) user: Option<String>,
}

/// A cache mount that is not carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Where it is used.
    pub(crate) used: MountUse,
    /// Why it is not carried.
    pub(crate) reason: &'static str,
}

/// The cache mounts of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mounts {
    /// Those that can be carried, each once.
    pub(crate) carried: Vec<TargetMount>,
    /// Those that cannot.
    pub(crate) passed: Vec<Passed>,
    /// What keeps those that are carried from being of use, a line each.
    pub(crate) defeats: Vec<String>,
}

/// What a frontend makes of variables in the options of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variables {
    /// Their values, from Dockerfile 1.3 on.
    Expanded,
    /// Nothing: before, a dollar sign was a dollar sign.
    AsWritten,
}

/// The cache mounts that a target reaches; of the build's arguments the namespace counts.
pub(crate) fn mounts(
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
            readonly: is_readonly(options),
            user: run.and_then(|(stage, place)| resolution.user_at(stage, place)),
        };
        let is_certain = mount.certain || variables == Variables::AsWritten;
        let (id, sharing) = match identify(mount, options, is_certain, namespace) {
            Ok(identified) => identified,
            Err(reason) => {
                mounts.passed.push(Passed { used, reason });
                continue;
            }
        };
        if let Some(known) = mounts.carried.iter_mut().find(|known| known.id == id) {
            known.sharing = known.sharing.max(sharing);
            known.uses.push(used);
        } else {
            let script = run.map(|(stage, place)| script(&stage.instructions[place]));
            let kind = Kind::of(&used.target, &script.unwrap_or_default());
            mounts.carried.push(TargetMount { id, kind, sharing, uses: vec![used] });
        }
    }
    mounts.defeats = defeats(resolution, &mounts.carried);
    mounts
}

/// What a RUN runs, for people.
fn script(run: &ResolvedInstruction) -> String {
    match &run.instruction.kind {
        InstructionKind::Run(Run { command: RunCommand::Exec(words), .. }) => words.join(" "),
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
        return Err("a variable of its options may come from the base image");
    }
    let option = |name: &str| options.get(name).map(String::as_str);
    let number = |name, radix| match option(name) {
        None => Ok(None),
        Some(text) => u32::from_str_radix(text, radix).map(Some).map_err(|_| "an option is no number"),
    };
    let (uid, gid, mode) = (number("uid", 10)?, number("gid", 10)?, number("mode", 8)?);
    let id = option("id").filter(|id| !id.is_empty()).map(str::to_owned);
    let id = id.unwrap_or_else(|| clean_path(option("target").unwrap_or_default()));
    let source = clean_path(&format!("/{}", option("source").unwrap_or_default()));
    let is_whole = source == "/";
    let origin = match &mount.from {
        None | Some(Source::Scratch) if !is_whole => {
            return Err("it is made from a directory of an empty file system, which has none");
        }
        None | Some(Source::Scratch) => None,
        Some(holder) => Some(Origin {
            from: option("from").unwrap_or_default().to_owned(),
            stage: if let Source::Stage(index) = holder { Some(*index) } else { None },
            source,
            id: id.clone(),
        }),
    };
    // Owner and mode are not for a directory that is there.
    let directory = (is_whole && uid.or(gid).or(mode).is_some()).then(|| Directory {
        uid: uid.unwrap_or_default(),
        gid: gid.unwrap_or_default(),
        mode: mode.unwrap_or(0o755) & 0o777,
    });
    let sharing = match option("sharing").map(str::to_ascii_lowercase).as_deref() {
        Some("locked") => Sharing::Locked,
        Some("private") => Sharing::Private,
        _ => Sharing::Shared,
    };
    Ok((MountId { wire: format!("{namespace}/{id}"), origin, directory }, sharing))
}

fn is_readonly(options: &BTreeMap<String, String>) -> bool {
    // As Go's `strconv.ParseBool` reads them.
    let says =
        |name: &str, words: [&str; 6]| options.get(name).is_some_and(|text| words.contains(&text.as_str()));
    says("readonly", ["1", "t", "T", "true", "TRUE", "True"])
        || says("readwrite", ["0", "f", "F", "false", "FALSE", "False"])
}

impl MountId {
    /// What an entry of the mount is made for: everything that BuildKit knows it by.
    pub(crate) fn key(&self) -> Digest {
        Digest::of(format!("larder-mount-v1\n{self}").as_bytes())
    }
}

impl fmt::Display for MountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.wire)?;
        if let Some(Origin { from, source, .. }) = &self.origin {
            write!(f, " from {from}:{source}")?;
        }
        match self.directory {
            Some(Directory { uid, gid, mode }) => write!(f, " of {uid}:{gid} {mode:04o}"),
            None => Ok(()),
        }
    }
}
