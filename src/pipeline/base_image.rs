//! Finds or builds base images: images with the dependencies, which are built once for all images based on them and are
//! found by their key.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::error::{PipelineError, Result};
use super::keyed_build::KeyedBuild;
use super::keys::BuildKeys;
use super::reporter::Reporter;
use super::session::{EngineConnection, Session};
use super::stages::{BuildPurpose, KeyedNames, build_image};
use crate::buildkit::session::new_id;
use crate::digest::Digest;
use crate::engine::Image;
use crate::error_chain::chain;
use crate::key::{Input, InputKind};
use crate::ledger::{BaseOutcome, BaseRecord, millis};
use crate::plan::{BuildContextSource, BuildOutput, BuildSettings, OutputKind};
use crate::registry::{ImageRef, RegistryError, with_timeout};
use crate::tiers::Tags;

const DEADLINE: Duration = Duration::from_secs(30);
const LOCAL_REPOSITORY: &str = "larder-base";

pub(crate) struct BaseImageRequest<'a> {
    /// The build of the base image. Its names and outputs are ignored.
    pub(crate) build: &'a BuildSettings,
    /// The repository of base images; `None` if they are stored in the engine only.
    pub(crate) repository: Option<ImageRef>,
    /// The files of the context that the key is computed from. If empty, these are all files that the Dockerfile reads.
    pub(crate) requirements: &'a [String],
}

/// Finds a base image, or builds and pushes it. If the push fails but the engine has the image, also returns the push
/// error.
pub(crate) async fn ensure_base(
    BaseImageRequest { build, repository, requirements }: BaseImageRequest<'_>,
    session: &Session<'_>,
    reporter: &dyn Reporter,
) -> Result<(BaseRecord, Option<PipelineError>)> {
    let (clock, settings) = (Instant::now(), session.settings);
    let KeyedBuild { keys, connection, .. } = KeyedBuild::compute(build, session, reporter).await?;
    let files = if requirements.is_empty() { None } else { named_files(requirements, build, reporter)? };
    let inputs = files.as_ref().map(|files| files.iter().map(|(input, _)| input.clone()).collect());
    let key = keys.keys.base(inputs, &settings.seal);
    let key = key.map_err(|error| PipelineError::KeysUnknown(Arc::new(error.into())))?;
    let platform = keys.platforms[0].clone();
    let files = files.into_iter().flatten().map(|(input, path)| (path, input.digest)).collect();
    let base =
        BaseImageBuild { build, keys, files, has_images: connection.engine.is_some(), session, reporter };
    let record = |reference, outcome| BaseRecord { reference, outcome, key, millis: millis(clock.elapsed()) };
    let done = |reference, outcome| (record(reference, outcome), None);
    let tags = Tags::for_lanes(&settings.lanes.lanes).of_base(key);
    // The age and the signature of an existing image cannot be verified.
    let is_strict = settings.store.terms.trust.is_strict() || settings.store.limits.max_age.is_some();
    let takes_found = build.every_step_flag().is_none() && !is_strict;
    let Some(repository) = repository else {
        let local: ImageRef = LOCAL_REPOSITORY.parse().expect("it is a name");
        let mut newest: Option<(Option<Timestamp>, ImageRef)> = None;
        for tag in tags.iter().filter(|_| takes_found) {
            let name = with_tag(&local, tag)?;
            let found = engine_image(&name, &connection).await?;
            if let Some(image) = found.filter(|image| is_newer(image.created, newest.as_ref())) {
                newest = Some((image.created, name));
            }
        }
        if let Some((_, name)) = newest {
            reporter.note(&format!("the base image is in the engine: {}\n", name.familiar()));
            return Ok(done(name.familiar(), BaseOutcome::Found));
        }
        let name = base.build_as((&with_tag(&local, &tags[0])?, &unkeyed(&local)?), false).await?;
        return Ok(done(name.familiar(), BaseOutcome::Built));
    };
    if takes_found {
        match find_in_registry(&repository, &tags, &platform, &connection).await {
            Ok(Some(name)) => {
                reporter.note(&format!("the base image is in its registry: {}\n", name.familiar()));
                return Ok(done(name.familiar(), BaseOutcome::Found));
            }
            Ok(None) => {}
            Err(error) if build.strict => return Err(PipelineError::cache(&error)),
            Err(error) => {
                reporter.warn(&format!("{}; {}; building the base image", chain(&error), error.remedy()));
            }
        }
    }
    let (name, unkeyed) = (with_tag(&repository, &tags[0])?, unkeyed(&repository)?);
    let is_pushed = !settings.store.terms.read_only;
    let name = match base.build_as((&name, &unkeyed), is_pushed).await {
        Ok(name) => name,
        Err(error @ PipelineError::Push { .. }) if !build.strict && connection.engine.is_some() => {
            for name in [unkeyed, name] {
                if engine_image(&name, &connection).await?.is_some() {
                    return Ok((record(name.familiar(), BaseOutcome::Built), Some(error)));
                }
            }
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    // The digest prevents that images on this base change with later pushes.
    let pinned = match name.tag().map(str::to_owned) {
        Some(tag) if is_pushed => {
            find_in_registry(&repository, &[tag], &platform, &connection).await.ok().flatten()
        }
        _ => None,
    };
    Ok(done(pinned.unwrap_or(name).familiar(), BaseOutcome::Built))
}

/// A rebuild on the trunk replaces the job's own base.
fn is_newer<T>(built: Option<Timestamp>, newest: Option<&(Option<Timestamp>, T)>) -> bool {
    newest.is_none_or(|(newest, _)| *newest < built)
}

/// Returns the newest base under these tags, pinned to its digest.
async fn find_in_registry(
    repository: &ImageRef,
    tags: &[String],
    platform: &str,
    connection: &EngineConnection,
) -> Result<Option<ImageRef>, RegistryError> {
    let look = async {
        let mut place = connection.registries.repository(repository).await?;
        let mut newest = None;
        for tag in tags {
            let Some(manifest) = place.manifest(tag).await? else { continue };
            let built = place.image(&manifest, platform).await?.and_then(|image| image.created);
            if is_newer(built, newest.as_ref()) {
                newest = repository.with_tag(tag).map(|name| (built, name.pinned(manifest.digest)));
            }
        }
        Ok(newest.map(|(_, name)| name))
    };
    with_timeout(repository.host(), DEADLINE, Box::pin(look)).await
}

async fn engine_image(name: &ImageRef, connection: &EngineConnection) -> Result<Option<Image>> {
    let engine = connection.engine.as_ref().ok_or(PipelineError::NoEngineForBase)?;
    Ok(engine.image(&name.familiar()).await?)
}

struct BaseImageBuild<'a> {
    build: &'a BuildSettings,
    keys: BuildKeys,
    files: Vec<(PathBuf, Digest)>,
    has_images: bool,
    session: &'a Session<'a>,
    reporter: &'a dyn Reporter,
}

impl BaseImageBuild<'_> {
    /// Returns the name that was used: `unkeyed` if the inputs have changed during the build, otherwise `name`.
    async fn build_as(self, (name, unkeyed): (&ImageRef, &ImageRef), push: bool) -> Result<ImageRef> {
        let output = BuildOutput { kind: OutputKind::Image { push }, attributes: [].into() };
        let build = BuildSettings {
            tags: vec![name.clone()],
            outputs: vec![output],
            load: !push,
            has_default_output: false,
            quiet: false,
            ..self.build.clone()
        };
        self.reporter.note(&format!("building the base image {}\n", name.familiar()));
        let names = KeyedNames::new(&build, unkeyed.clone(), (self.keys, self.files), self.has_images);
        let purpose = BuildPurpose { keyed: Some(Arc::new(names)), ..BuildPurpose::default() };
        let done = Box::pin(build_image(&build, &purpose, self.session, self.reporter)).await?;
        Ok(done.names.into_iter().next().unwrap_or_else(|| name.clone()))
    }
}

fn unkeyed(repository: &ImageRef) -> Result<ImageRef> {
    let id = new_id().map_err(|error| PipelineError::Resource(chain(&error)))?;
    with_tag(repository, &format!("unkeyed-{}", &id[..16]))
}

fn with_tag(repository: &ImageRef, tag: &str) -> Result<ImageRef> {
    repository.with_tag(tag).ok_or_else(|| PipelineError::InvalidTag(tag.to_owned()))
}

/// Reads the files that the key is computed from. Warns and returns `None` if one of them cannot be read.
fn named_files(
    paths: &[String],
    build: &BuildSettings,
    reporter: &dyn Reporter,
) -> Result<Option<Vec<(Input, PathBuf)>>> {
    let BuildContextSource::Directory(directory) = &build.source.context else {
        return Err(PipelineError::RequirementsContext);
    };
    let mut files = Vec::new();
    for path in paths {
        let file = Path::new(directory).join(path);
        match std::fs::read(&file) {
            Ok(bytes) => {
                files.push((Input::with_digest(InputKind::File, path, Digest::of(&bytes)), file));
            }
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) =>
            {
                reporter.warn(&format!(
                    "--requirements: cannot read {}: {}; the key is computed from all context files that the Dockerfile reads",
                    file.display(),
                    chain(&error)
                ));
                return Ok(None);
            }
            Err(error) => return Err(PipelineError::Requirements { path: file, source: Arc::new(error) }),
        }
    }
    Ok(Some(files))
}
