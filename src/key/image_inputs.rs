//! The inputs of a key as the caller provides them, and their conversion to key inputs. Does no input or output.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::encoding::{DuplicateInput, KeyBuilder};
use super::input::{Input, InputKind};
use super::seal::Seal;
use crate::digest::Digest;
use crate::dockerfile::{ContextPaths, Directives, Dockerfile, Options, Resolution};

/// The digest of a base image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasePin {
    /// The expanded reference, as in [`crate::dockerfile::BaseImage`].
    pub reference: String,
    /// The platform in its normalised spelling.
    pub platform: String,
    /// The digest, if one could be resolved.
    pub digest: Option<String>,
}

/// An entry of the main context that is included in the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextFile {
    /// The path from the context's root as the instructions name it, separated by `/`.
    pub path: String,
    /// `file`, `dir`, or the name of a different kind.
    pub kind: String,
    /// The permission bits.
    pub mode: u32,
    /// The digest of the content, or of a link's target.
    pub digest: Digest,
    /// The digest of the extended attributes, if there are any.
    pub xattrs: Option<Digest>,
    /// The bytes of the content. They are not part of any key.
    pub size: u64,
}

/// The source of a named context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// An address such as `docker-image://alpine`, with its digest if known.
    Address {
        /// The address as given.
        address: String,
        /// The digest of its target.
        digest: Option<String>,
    },
    /// A directory, by a digest over its files.
    Files(Digest),
}

/// Returns `true` if the Dockerfile's frontend is known, so that its instructions can be interpreted. If not, all
/// inputs must be assumed to be visible to the build.
pub(crate) fn reads_docker_syntax(dockerfile: &Dockerfile, build_args: &BTreeMap<String, String>) -> bool {
    let argument = build_args.get("BUILDKIT_SYNTAX").map(String::as_str);
    argument.or(dockerfile.directives.syntax.as_deref()).is_none_or(Directives::is_known_frontend)
}

/// A parsed Dockerfile, and the stages that a build of one target reaches.
#[derive(Debug, Clone, Copy)]
pub struct ParsedDockerfile<'a> {
    /// The Dockerfile.
    pub dockerfile: &'a Dockerfile,
    /// The Dockerfile resolved with `options`.
    pub resolution: &'a Resolution,
    /// The options of the resolution.
    pub options: &'a Options,
}

/// Access to the main context beyond the digests of its files.
pub struct ContextAccess<'a> {
    /// Returns a file's bytes by path, or `None` if the path is not a file.
    pub read: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    /// Selects the entries that a part of the Dockerfile can see.
    pub select: &'a dyn Fn(&ContextPaths) -> Vec<ContextFile>,
}

/// All inputs of the keys of an image.
///
/// `Debug` shows names, never the values of build arguments.
#[derive(Clone)]
pub struct ImageInputs<'a> {
    /// The text of the Dockerfile.
    pub text: &'a str,
    /// The Dockerfile parsed and resolved, if possible.
    pub parsed: Option<ParsedDockerfile<'a>>,
    /// The digests of the base images, and of the `syntax` frontend if known.
    pub bases: &'a [BasePin],
    /// `--build-arg`, as given to the resolution.
    pub build_args: &'a BTreeMap<String, String>,
    /// `--target`.
    pub target: Option<&'a str>,
    /// `--platform`: one platform; each platform has its own key.
    pub platform: Option<&'a str>,
    /// `--label`.
    pub labels: &'a BTreeMap<String, String>,
    /// The ids of `--secret`.
    pub secrets: &'a BTreeSet<String>,
    /// The ids of `--ssh`.
    pub ssh: &'a BTreeSet<String>,
    /// `--build-context`, by name as given to the resolution.
    pub named_contexts: &'a BTreeMap<String, NamedContext>,
    /// The included entries of the main context: those that the reached instructions use, or all if these are not
    /// known.
    pub files: &'a [ContextFile],
    /// `--network`.
    pub network: Option<&'a str>,
    /// Other options that affect RUN steps (`add-host`, `shm-size`, `ulimit`, `cgroup-parent`), with all their values
    /// in order.
    pub run_options: &'a BTreeMap<String, Vec<String>>,
    /// Options that affect only the image, such as exporter attributes.
    pub image_options: &'a BTreeMap<String, Vec<String>>,
    /// `--key-extra`.
    pub extra: &'a BTreeMap<String, String>,
    /// `--tags`.
    pub tags: &'a BTreeSet<String>,
    /// `--additional-context`.
    pub additional_context: Option<&'a str>,
    /// Protects values that could be guessed.
    pub seal: &'a Seal,
}

impl fmt::Debug for ImageInputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageInputs")
            .field("parsed", &self.parsed.is_some())
            .field("build_args", &self.build_args.keys().collect::<Vec<_>>())
            .field("target", &self.target)
            .field("platform", &self.platform)
            .field("files", &self.files.len())
            .finish_non_exhaustive()
    }
}

impl ImageInputs<'_> {
    /// Returns `true` if the Dockerfile was not parsed, or if its frontend is known.
    pub(super) fn reads_docker_syntax(&self) -> bool {
        self.parsed.is_none_or(|parsed| reads_docker_syntax(parsed.dockerfile, self.build_args))
    }

    pub(super) fn add_directives(
        &self,
        key: &mut KeyBuilder,
        dockerfile: &Dockerfile,
    ) -> Result<(), DuplicateInput> {
        let Directives { syntax, escape, .. } = &dockerfile.directives;
        if let Some(syntax) = syntax {
            let pin = self.bases.iter().find(|pin| pin.reference == *syntax);
            let [state, digest] = pinned(pin.and_then(|pin| pin.digest.as_deref()));
            key.add_described(InputKind::Directive, "syntax", &[syntax.as_bytes(), state, digest], syntax)?;
        }
        let escape = escape.to_string();
        key.add_described(InputKind::Directive, "escape", &[escape.as_bytes()], &escape)
    }

    pub(super) fn add_platform(key: &mut KeyBuilder, resolution: &Resolution) -> Result<(), DuplicateInput> {
        let platform = resolution.platform.to_string();
        // An explicit platform is written into the image, a default one is inherited from the base.
        let origin: &[u8] = if resolution.platform_is_explicit { b"explicit" } else { b"implicit" };
        key.add_described(InputKind::Platform, "target", &[platform.as_bytes(), origin], &platform)
    }

    pub(super) fn add_build_args(
        &self,
        key: &mut KeyBuilder,
        counts: impl Fn(&str) -> bool,
    ) -> Result<(), DuplicateInput> {
        for (name, value) in self.build_args.iter().filter(|(name, _)| counts(name)) {
            key.add_values(InputKind::BuildArg, name, &[value.as_bytes()])?;
        }
        Ok(())
    }

    /// Adds the ids of the secrets and SSH agents that are provided and used.
    pub(super) fn add_ids(
        &self,
        key: &mut KeyBuilder,
        resolution: &Resolution,
    ) -> Result<(), DuplicateInput> {
        let any = resolution.may_use_any_secret || !resolution.unknown_triggers.is_empty();
        let given = [
            (InputKind::SecretId, self.secrets, &resolution.secrets),
            (InputKind::SshId, self.ssh, &resolution.ssh),
        ];
        for (kind, ids, used) in given {
            for id in ids.iter().filter(|id| any || used.contains(*id)) {
                key.add_values(kind, id, &[])?;
            }
        }
        Ok(())
    }

    pub(super) fn add_contexts(
        &self,
        key: &mut KeyBuilder,
        counts: impl Fn(&str) -> bool,
    ) -> Result<(), DuplicateInput> {
        for (name, context) in self.named_contexts.iter().filter(|(name, _)| counts(name)) {
            match context {
                NamedContext::Address { address, digest } => {
                    let [state, digest] = pinned(digest.as_deref());
                    let values = [b"address", address.as_bytes(), state, digest];
                    key.add_described(InputKind::NamedContext, name, &values, address)?;
                }
                NamedContext::Files(digest) => {
                    key.add_values(InputKind::NamedContext, name, &[b"files", digest.as_bytes()])?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn add_run_options(&self, key: &mut KeyBuilder) -> Result<(), DuplicateInput> {
        if let Some(network) = self.network {
            key.add_described(InputKind::Network, "mode", &[network.as_bytes()], network)?;
        }
        add_options(key, "run", self.run_options)
    }

    pub(super) fn add_image_options(&self, key: &mut KeyBuilder) -> Result<(), DuplicateInput> {
        for (name, value) in self.labels {
            key.add_described(InputKind::Label, name, &[value.as_bytes()], value)?;
        }
        add_options(key, "image", self.image_options)
    }

    pub(super) fn add_extra(&self, key: &mut KeyBuilder) -> Result<(), DuplicateInput> {
        for (name, value) in self.extra {
            key.add_described(InputKind::Extra, name, &[value.as_bytes()], value)?;
        }
        for tag in self.tags {
            key.add_values(InputKind::Tag, tag, &[])?;
        }
        if let Some(context) = self.additional_context {
            key.add_described(InputKind::AdditionalContext, "text", &[context.as_bytes()], context)?;
        }
        Ok(())
    }

    pub(super) fn add_files(&self, key: &mut KeyBuilder) -> Result<(), DuplicateInput> {
        for file in self.files {
            let mode = file.mode.to_le_bytes();
            let mut values = vec![file.kind.as_bytes(), &mode, file.digest.as_bytes()];
            values.extend(file.xattrs.iter().map(|xattrs| xattrs.as_bytes().as_slice()));
            let about = format!("{} {:04o}", file.kind, file.mode);
            key.add(Input::of_values(InputKind::File, &file.path, &values).about(about))?;
        }
        Ok(())
    }
}

fn add_options(
    key: &mut KeyBuilder,
    scope: &str,
    options: &BTreeMap<String, Vec<String>>,
) -> Result<(), DuplicateInput> {
    for (name, values) in options {
        let fields: Vec<&[u8]> = values.iter().map(String::as_bytes).collect();
        key.add_described(InputKind::Option, format!("{scope}/{name}"), &fields, &values.join(", "))?;
    }
    Ok(())
}

/// Returns the digest of a base image for display.
pub(super) fn shown_digest(pin: &BasePin) -> &str {
    pin.digest.as_deref().unwrap_or("unpinned")
}

/// Encodes a digest that may be unknown.
pub(super) fn pinned(digest: Option<&str>) -> [&[u8]; 2] {
    digest.map_or([b"unpinned", b""], |digest| [b"pinned", digest.as_bytes()])
}
