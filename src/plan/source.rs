//! What is built: the context, the Dockerfile, arguments, secrets, and the conditions of RUN steps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::buildkit::session::{SecretSource, SshAgent};

/// Where the build context comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ContextSource {
    /// A directory of this machine.
    Directory(PathBuf),
    /// A git or http(s) address that the engine fetches.
    Remote(String),
    /// A tar archive, or a bare Dockerfile, on stdin.
    Stdin,
}

/// Where the Dockerfile comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DockerfileSource {
    /// `Dockerfile` of the context.
    Default,
    /// A file; below a remote or stdin context when relative, else of this machine.
    File(PathBuf),
    /// Stdin.
    Stdin,
}

/// The source of a named context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamedContext {
    /// A directory of this machine.
    Directory(PathBuf),
    /// `docker-image://`, `target:`, git or http(s): resolved by the engine.
    Reference(String),
}

/// What goes into an image and therefore into its key.
#[derive(Debug, Clone)]
pub(crate) struct SourceSettings {
    /// The build context.
    pub(crate) context: ContextSource,
    /// The Dockerfile.
    pub(crate) dockerfile: DockerfileSource,
    /// Build arguments: those given, and the proxies of Docker's configuration.
    pub(crate) build_args: BTreeMap<String, String>,
    /// The stage asked for.
    pub(crate) target: Option<String>,
    /// The platforms asked for; none means the engine's.
    pub(crate) platforms: Vec<String>,
    /// Named contexts.
    pub(crate) named_contexts: BTreeMap<String, NamedContext>,
    /// Secrets by id.
    pub(crate) secrets: BTreeMap<String, SecretSource>,
    /// SSH agents by id.
    pub(crate) ssh: BTreeMap<String, SshAgent>,
    /// Labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// Options of the frontend beyond these, by their names there (`force-network-mode`, `add-hosts`, …).
    pub(crate) options: BTreeMap<String, String>,
    /// Rights beyond the usual.
    pub(crate) entitlements: Vec<String>,
    /// Base images are to be looked up anew.
    pub(crate) pull: bool,
    /// The user's own inputs to the key.
    pub(crate) key_extra: BTreeMap<String, String>,
    /// The user's own tags in the key.
    pub(crate) key_tags: BTreeSet<String>,
    /// The user's own text in the key.
    pub(crate) additional_context: Option<String>,
    /// The names in that with their values: build arguments, and the environment of a run.
    pub(crate) variables: BTreeMap<String, String>,
}
