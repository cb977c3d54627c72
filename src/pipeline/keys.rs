//! Computes the keys of a build from its inputs. The definition of the keys is in `crate::key`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::base_lookup::{BaseInfo, BaseLookup};
use super::blocking::blocking;
use super::directory_digests::DirectoryDigester;
use super::input_snapshot::InputSnapshot;
use super::inputs::{BuildContext, DockerfileInput, Inputs};
use super::visible_files::{VisiblePaths, context_file, named_contexts, visible_files};
use crate::buildkit::ConnectError;
use crate::context::{ContextError, archive};
use crate::digest::Digest;
use crate::dockerfile::{ContextPaths, Dockerfile, Options, Resolution, ResolveError, SyntaxError};
use crate::key::{
    BasePin, ContextAccess as KeyContext, ContextFile, ImageInputs, Input, Keys, ParsedDockerfile, Seal,
};
use crate::notes::{Notes, NotesError};
use crate::plan::{BuildSettings, SourceSettings};

#[derive(Debug)]
pub(crate) struct BuildKeys {
    pub(crate) keys: Keys,
    /// Base images without a known digest. Changes of these images are not detected.
    pub(crate) unpinned: Vec<String>,
    /// The sorted platforms.
    pub(crate) platforms: Vec<String>,
    /// The number of RUN, COPY and ADD steps of the target on all platforms.
    pub(crate) steps: usize,
    /// The index of the target stage in the Dockerfile.
    pub(crate) target: usize,
    /// The parts of the Dockerfile that the build reaches, on the first platform.
    pub(crate) resolution: Arc<Resolution>,
    /// The options of `resolution`.
    pub(crate) options: Options,
    /// The digest of the files whose changes BuildKit cannot detect, if there are any.
    pub(crate) undetected_digest: Option<Digest>,
    /// Writes to the cache that failed. They cost time, but do not affect the keys.
    pub(crate) faults: Vec<NotesError>,
    pub(crate) withheld: BTreeSet<String>,
    snapshot: Arc<InputSnapshot>,
}

impl BuildKeys {
    pub(crate) async fn changed_inputs(&self) -> Vec<String> {
        let snapshot = Arc::clone(&self.snapshot);
        blocking(move || snapshot.changed_inputs()).await
    }

    /// Returns the inputs in the form that may be stored, with sealed digests.
    pub(crate) async fn published(&self, seal: &Seal) -> Vec<Input> {
        let (keys, seal) = (self.keys.clone(), seal.clone());
        blocking(move || keys.published(&seal)).await
    }

    pub(crate) fn sole_platform(&self) -> Option<&str> {
        if let [platform] = &*self.platforms { Some(platform) } else { None }
    }

    pub(crate) fn layers_digest(&self) -> Digest {
        self.keys.layers.digest(self.keys.dependency)
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    #[error("the context is remote: only the engine can read it")]
    RemoteContext,
    #[error("the named context {0} is remote: only the engine can read it")]
    RemoteNamedContext(String),
    #[error("larder cannot read the compression of the archive on stdin")]
    UnsupportedCompression,
    #[error("the archive on stdin cannot be read")]
    Archive(#[source] io::Error),
    #[error(
        "ADD of a remote address, or a SOURCE_DATE_EPOCH that is not a number: only the engine can read the source"
    )]
    RemoteAdd,
    #[error("--pull was given, but {0} could not be looked up in its registry")]
    UnknownPulledImage(String),
    #[error("the Dockerfile has an error")]
    Syntax(#[source] SyntaxError),
    #[error("the Dockerfile cannot be resolved")]
    Resolve(#[source] ResolveError),
    #[error("the build context cannot be read")]
    Context(#[from] ContextError),
    #[error("the engine's platform is unknown")]
    Platform(#[source] Box<ConnectError>),
    #[error("two inputs have the same name")]
    Duplicate(#[from] crate::key::DuplicateInput),
}

/// Computes the keys of `inputs` for `settings` on a builder of this platform. If that fails, the build itself may
/// still succeed.
pub(crate) async fn compute_keys(
    settings: &BuildSettings,
    inputs: &Inputs,
    lookup: &BaseLookup<'_>,
    build_platform: Result<String, ConnectError>,
    notes: &Notes,
    seal: &Seal,
) -> Result<BuildKeys, KeysError> {
    let archived = match &inputs.context {
        BuildContext::Remote(_) => return Err(KeysError::RemoteContext),
        BuildContext::Archive(file) => {
            let (path, wanted) =
                (file.path().to_owned(), dockerfile_in_archive(&inputs.dockerfile).to_owned());
            Some(Arc::new(blocking(move || read_archive(&path, &wanted)).await?))
        }
        BuildContext::Directory(_) | BuildContext::Empty(_) => None,
    };
    let (text, dockerfile) = match (inputs.built_text(), &inputs.dockerfile) {
        (Some(text), _) => {
            let dockerfile = text.parsed().map_err(|error| KeysError::Syntax(error.clone()))?;
            (text.as_str().to_owned(), Arc::clone(dockerfile))
        }
        (None, dockerfile) => {
            let bytes = archived.as_ref().and_then(|archive| archive.requested.clone());
            let missing =
                || io::Error::other(format!("it does not contain {}", dockerfile_in_archive(dockerfile)));
            let bytes = bytes.ok_or_else(missing).map_err(KeysError::Archive)?;
            let text =
                String::from_utf8(bytes).map_err(|error| KeysError::Archive(io::Error::other(error)))?;
            let dockerfile = Dockerfile::parse(&text).map_err(KeysError::Syntax)?;
            (text, Arc::new(dockerfile))
        }
    };
    let mut reader = DirectoryDigester::new(notes);
    if let DockerfileInput::Local { directory, name, text, .. } = &inputs.dockerfile {
        reader.snapshot.record_file(directory.join(name), Some(text.as_str().as_bytes()));
    }
    let build_platform = build_platform.map_err(|error| KeysError::Platform(Box::new(error)))?;
    let options = resolve_options(&settings.source, build_platform);
    let text: Arc<str> = text.into();
    let owned = Arc::new(settings.clone());
    let keying = KeyComputation { settings: owned, inputs, lookup, seal, text: &text, dockerfile, archived };
    let requested: BTreeSet<&String> = settings.source.platforms.iter().collect();
    // `None` is the default platform of the engine.
    let requested = if requested.is_empty() { vec![None] } else { requested.into_iter().map(Some).collect() };
    let mut parts = Vec::new();
    for platform in requested {
        let options = Options { platform: platform.cloned(), ..options.clone() };
        parts.push(keying.on(options, &mut reader).await?);
    }
    let steps = parts.iter().map(|part| part.steps).sum();
    // The target does not depend on the platform.
    let (resolution, options) = (Arc::clone(&parts[0].resolution), parts[0].options.clone());
    let unpinned: BTreeSet<String> = parts.iter_mut().flat_map(|part| part.unpinned.drain(..)).collect();
    let mut of_platforms: Vec<(String, Keys)> =
        parts.into_iter().map(|part| (part.platform, part.keys)).collect();
    let platforms = of_platforms.iter().map(|(platform, _)| platform.clone()).collect();
    let keys = if of_platforms.len() == 1 {
        of_platforms.remove(0).1
    } else {
        let seal = seal.clone();
        blocking(move || Keys::of_platforms(&of_platforms, &seal)).await?
    };
    Ok(BuildKeys {
        keys,
        platforms,
        steps,
        target: resolution.target,
        resolution,
        options,
        unpinned: unpinned.into_iter().collect(),
        undetected_digest: reader.undetected.digest(&text),
        faults: reader.faults,
        withheld: reader.withheld,
        snapshot: Arc::new(reader.snapshot),
    })
}

struct KeyComputation<'a> {
    settings: Arc<BuildSettings>,
    inputs: &'a Inputs,
    lookup: &'a BaseLookup<'a>,
    seal: &'a Seal,
    text: &'a Arc<str>,
    dockerfile: Arc<Dockerfile>,
    archived: Option<Arc<archive::ContextArchive>>,
}

struct PlatformKeys {
    platform: String,
    keys: Keys,
    unpinned: Vec<String>,
    steps: usize,
    resolution: Arc<Resolution>,
    options: Options,
}

impl KeyComputation<'_> {
    async fn on(
        &self,
        mut options: Options,
        reader: &mut DirectoryDigester<'_>,
    ) -> Result<PlatformKeys, KeysError> {
        let Self { settings, inputs, lookup, dockerfile, .. } = self;
        let source = &settings.source;
        let resolution = dockerfile.resolve(&options).map_err(KeysError::Resolve)?;
        let bases = pin_bases(dockerfile, &resolution, &mut options, lookup).await;
        if source.pull
            && let Some(unknown) = bases.iter().find(|base| base.digest.is_none())
        {
            return Err(KeysError::UnknownPulledImage(unknown.reference.clone()));
        }
        let resolution = dockerfile.resolve(&options).map_err(KeysError::Resolve)?;
        if resolution.has_remote_source {
            return Err(KeysError::RemoteAdd);
        }
        let seen = VisiblePaths::of(dockerfile, &resolution, source);
        let named_contexts = named_contexts((settings, inputs), &resolution, &seen, lookup, reader).await?;
        let digested = match (&inputs.context, &self.archived) {
            (BuildContext::Directory(directory), None) => {
                visible_files(directory, inputs, &seen.context, reader).await?
            }
            _ => None,
        };
        let unpinned = (resolution.bases.iter())
            .filter(|base| bases.iter().any(|pin| pin.reference == base.reference && pin.digest.is_none()))
            .map(|base| base.written.clone())
            .collect();
        let (steps, resolution) = (resolution.step_count(), Arc::new(resolution));
        let reached = Arc::clone(&resolution);
        let work = {
            let (settings, dockerfile, text) =
                (Arc::clone(settings), Arc::clone(dockerfile), Arc::clone(self.text));
            let (seal, options, archived) = (self.seal.clone(), options.clone(), self.archived.clone());
            let (directory, archive) = match &inputs.context {
                BuildContext::Directory(directory) => (Some(directory.clone()), None),
                BuildContext::Archive(file) => (None, Some(file.path().to_owned())),
                BuildContext::Empty(_) | BuildContext::Remote(_) => (None, None),
            };
            move || {
                let source = &settings.source;
                let select = |paths: &ContextPaths| -> Vec<ContextFile> {
                    let files = match (&archived, &digested) {
                        (Some(archive), _) => archive.select(paths),
                        (None, Some(digested)) => digested.select(paths),
                        (None, None) => Vec::new(),
                    };
                    files.into_iter().map(context_file).collect()
                };
                let files = match &digested {
                    Some(digested) => digested.files().into_iter().map(context_file).collect(),
                    None => select(&seen.context),
                };
                let image_inputs = ImageInputs {
                    text: &text,
                    parsed: Some(ParsedDockerfile {
                        dockerfile: &dockerfile,
                        resolution: &resolution,
                        options: &options,
                    }),
                    bases: &bases,
                    build_args: &source.build_args,
                    target: source.target.as_deref(),
                    platform: options.platform.as_deref(),
                    labels: &source.labels,
                    secrets: &source.secrets.keys().cloned().collect::<BTreeSet<_>>(),
                    ssh: &source.ssh.keys().cloned().collect::<BTreeSet<_>>(),
                    named_contexts: &named_contexts,
                    files: &files,
                    network: source.options.get("force-network-mode").map(String::as_str),
                    run_options: &run_options(&settings),
                    image_options: &image_options(&settings),
                    extra: &source.key_extra,
                    tags: &source.key_tags,
                    additional_context: source.additional_context.as_deref(),
                    seal: &seal,
                };
                let read = |path: &str| match (&directory, &archive) {
                    (Some(directory), _) => std::fs::read(directory.join(path)).ok(),
                    (None, Some(archive)) => archive::read(File::open(archive).ok()?, path).ok()??.requested,
                    (None, None) => None,
                };
                image_inputs.keys(&KeyContext { read: &read, select: &select })
            }
        };
        let keys = blocking(work).await?;
        let platform = options.platform.as_ref().unwrap_or(&options.build_platform).clone();
        Ok(PlatformKeys { platform, keys, unpinned, steps, resolution: reached, options })
    }
}

/// Returns the options to resolve a Dockerfile on a builder of this platform. They contain no triggers.
pub(crate) fn resolve_options(source: &SourceSettings, build_platform: String) -> Options {
    Options {
        target: source.target.clone(),
        build_args: source.build_args.clone(),
        platform: source.platforms.first().cloned(),
        build_platform,
        named_contexts: source.named_contexts.keys().cloned().collect(),
        triggers: BTreeMap::new(),
        base_settings: BTreeMap::new(),
    }
}

/// Also adds the triggers of the base images to `options`.
async fn pin_bases(
    dockerfile: &Dockerfile,
    resolution: &Resolution,
    options: &mut Options,
    lookup: &BaseLookup<'_>,
) -> Vec<BasePin> {
    let mut wanted: Vec<(String, String)> =
        (resolution.bases.iter()).map(|base| (base.reference.clone(), base.platform.to_string())).collect();
    if let Some(syntax) = &dockerfile.directives.syntax {
        wanted.push((syntax.clone(), options.build_platform.clone()));
    }
    let found = lookup.look_up_all(&wanted).await;
    let pins =
        wanted.into_iter().zip(found).map(|((reference, platform), BaseInfo { digest, triggers, .. })| {
            if let Some(triggers) = triggers {
                options.triggers.insert(reference.clone(), triggers);
            }
            BasePin { reference, platform, digest }
        });
    pins.collect()
}

fn dockerfile_in_archive(dockerfile: &DockerfileInput) -> &str {
    match dockerfile {
        DockerfileInput::InContext(name) => name.trim_start_matches("./"),
        DockerfileInput::Local { .. } => "",
    }
}

fn read_archive(path: &Path, wanted: &str) -> Result<archive::ContextArchive, KeysError> {
    let file = File::open(path).map_err(KeysError::Archive)?;
    archive::read(file, wanted).map_err(KeysError::Archive)?.ok_or(KeysError::UnsupportedCompression)
}

fn run_options(settings: &BuildSettings) -> BTreeMap<String, Vec<String>> {
    let mut options: BTreeMap<String, Vec<String>> = (settings.source.options.iter())
        .filter(|(name, _)| *name != "force-network-mode")
        .map(|(name, value)| (name.clone(), vec![value.clone()]))
        .collect();
    if !settings.source.entitlements.is_empty() {
        options.insert("allow".to_owned(), settings.source.entitlements.clone());
    }
    options
}

/// Returns the options that affect only the image.
fn image_options(settings: &BuildSettings) -> BTreeMap<String, Vec<String>> {
    let annotations = settings.annotations.iter().map(|(name, value)| (name.clone(), vec![value.clone()]));
    let mut options: BTreeMap<String, Vec<String>> = annotations.collect();
    for (kind, attributes) in &settings.attestations {
        options.insert(format!("attest:{kind}"), attributes.iter().cloned().collect());
    }
    if settings.cache_to.iter().any(|cache| cache.kind == "inline") {
        options.insert("inline-cache".to_owned(), Vec::new());
    }
    let outputs = settings.outputs.iter().filter(|output| output.kind.is_image());
    for (name, value) in outputs.flat_map(|output| &output.attributes) {
        options.insert(format!("output:{name}"), vec![value.clone()]);
    }
    options
}
