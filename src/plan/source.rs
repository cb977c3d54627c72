//! The resolved inputs of a build: the context, the Dockerfile, arguments, secrets, and options of RUN steps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::buildkit::session::{SecretSource, SshAgent};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BuildContextSource {
    Directory(PathBuf),
    /// A git or http(s) address that the engine fetches.
    Remote(String),
    /// A tar archive or a bare Dockerfile on stdin.
    Stdin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DockerfileSource {
    /// `Dockerfile` in the context.
    Default,
    /// A file: relative to a remote or stdin context, else on this machine.
    File(PathBuf),
    Stdin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NamedContextSource {
    Directory(PathBuf),
    /// A `docker-image://`, `target:`, git or http(s) reference that the engine resolves.
    Reference(String),
}

/// The inputs of an image, from which its key is computed.
#[derive(Debug, Clone)]
pub(crate) struct SourceSettings {
    pub(crate) context: BuildContextSource,
    pub(crate) dockerfile: DockerfileSource,
    /// The given build arguments, and the proxies of Docker's configuration.
    pub(crate) build_args: BTreeMap<String, String>,
    pub(crate) target: Option<String>,
    /// If empty, the engine's platform.
    pub(crate) platforms: Vec<String>,
    pub(crate) named_contexts: BTreeMap<String, NamedContextSource>,
    /// By id.
    pub(crate) secrets: BTreeMap<String, SecretSource>,
    /// By id.
    pub(crate) ssh: BTreeMap<String, SshAgent>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Further options of the frontend by name (`force-network-mode`, `add-hosts`, …).
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) entitlements: Vec<String>,
    pub(crate) pull: bool,
    pub(crate) key_extra: BTreeMap<String, String>,
    pub(crate) key_tags: BTreeSet<String>,
    /// The canonical text of `--additional-context`, for the key.
    pub(crate) additional_context: Option<String>,
    /// The values of `--additional-context`: build arguments, and the environment of a run.
    pub(crate) variables: BTreeMap<String, String>,
}
