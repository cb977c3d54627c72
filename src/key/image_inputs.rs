//! The inputs of a key as the caller provides them, and their conversion to key inputs. Does no input or output.

use std::collections::{BTreeMap, BTreeSet};

use super::encoding::{DuplicateInput, KeyBuilder};
use super::input::{Input, InputKind};
use super::seal::Seal;
use crate::digest::Digest;
use crate::dockerfile::{ContextPaths, Directives, Dockerfile, Options, Resolution};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BasePin {
    /// The expanded reference, as in [`crate::dockerfile::BaseImage`].
    pub(crate) reference: String,
    pub(crate) platform: String,
    pub(crate) digest: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContextFile {
    /// The path from the context's root as the instructions name it, separated by `/`.
    pub(crate) path: String,
    /// `file`, `dir`, or the name of a different kind.
    pub(crate) kind: String,
    pub(crate) mode: u32,
    /// The digest of the content, or of a link's target.
    pub(crate) digest: Digest,
    pub(crate) xattrs: Option<Digest>,
    pub(crate) size: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamedContext {
    /// An address such as `docker-image://alpine`, with its digest if known.
    Address { address: String, digest: Option<String> },
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
pub(crate) struct ParsedDockerfile<'a> {
    pub(crate) dockerfile: &'a Dockerfile,
    /// The Dockerfile resolved with `options`.
    pub(crate) resolution: &'a Resolution,
    pub(crate) options: &'a Options,
}

/// Access to the main context beyond the digests of its files.
pub(crate) struct ContextAccess<'a> {
    /// Returns a file's bytes by path, or `None` if the path is not a file.
    pub(crate) read: &'a dyn Fn(&str) -> Option<Vec<u8>>,
    /// Selects the entries that a part of the Dockerfile can see.
    pub(crate) select: &'a dyn Fn(&ContextPaths) -> Vec<ContextFile>,
}

/// All inputs of the keys of an image. Not `Debug`, because it contains the values of build arguments.
#[derive(Clone)]
pub(crate) struct ImageInputs<'a> {
    pub(crate) text: &'a str,
    pub(crate) parsed: Option<ParsedDockerfile<'a>>,
    /// The digests of the base images, and of the `syntax` frontend if known.
    pub(crate) bases: &'a [BasePin],
    /// `--build-arg`, as given to the resolution.
    pub(crate) build_args: &'a BTreeMap<String, String>,
    pub(crate) target: Option<&'a str>,
    /// `--platform`: one platform; each platform has its own key.
    pub(crate) platform: Option<&'a str>,
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) secrets: &'a BTreeSet<String>,
    pub(crate) ssh: &'a BTreeSet<String>,
    /// `--build-context`, by name as given to the resolution.
    pub(crate) named_contexts: &'a BTreeMap<String, NamedContext>,
    /// The included entries of the main context: those that the reached instructions use, or all if these are not
    /// known.
    pub(crate) files: &'a [ContextFile],
    pub(crate) network: Option<&'a str>,
    /// Other options that affect RUN steps (`add-host`, `shm-size`, `ulimit`, `cgroup-parent`), with all their values
    /// in order.
    pub(crate) run_options: &'a BTreeMap<String, Vec<String>>,
    /// Options that affect only the image, such as exporter attributes.
    pub(crate) image_options: &'a BTreeMap<String, Vec<String>>,
    pub(crate) extra: &'a BTreeMap<String, String>,
    pub(crate) tags: &'a BTreeSet<String>,
    pub(crate) additional_context: Option<&'a str>,
    pub(crate) seal: &'a Seal,
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

pub(super) fn shown_digest(pin: &BasePin) -> &str {
    pin.digest.as_deref().unwrap_or("unpinned")
}

pub(super) fn pinned(digest: Option<&str>) -> [&[u8]; 2] {
    digest.map_or([b"unpinned", b""], |digest| [b"pinned", digest.as_bytes()])
}
