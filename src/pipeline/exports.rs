//! Converts the outputs of a build to exporters of the engine. Nothing is exported here.

use std::collections::BTreeMap;
use std::io::Write;

use crate::buildkit::session::{FileTarget, OutputFile};
use crate::buildkit::solve::Exporter;
use crate::buildkit::{Ability, EngineProduct};
use crate::engine::ImageStore;
use crate::plan::{BuildSettings, OutputDestination, OutputKind};
use crate::registry::Compression;

pub(crate) struct Exports {
    pub(crate) exporters: Vec<Exporter>,
    pub(crate) target: Option<FileTarget>,
    pub(crate) has_engine_image: bool,
    pub(crate) pushes_afterwards: bool,
}

impl Exports {
    pub(crate) fn none() -> Self {
        Self { exporters: Vec::new(), target: None, has_engine_image: false, pushes_afterwards: false }
    }
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ExportError {
    #[error("{engine} cannot export type={output} with its image store")]
    Unsupported { engine: String, output: &'static str },
    #[error("{engine} stores no images, so this one cannot be loaded")]
    NoImageStore { engine: String },
    #[error("{engine} supports one output per build, but {count} were requested")]
    SeveralOutputs { engine: String, count: usize },
    #[error("only one output can be written to files, but {0} were requested")]
    SeveralFileOutputs(usize),
    #[error("{engine} cannot build for several platforms at once with its image store")]
    SeveralPlatforms { engine: String },
}

impl ExportError {
    pub(crate) fn hint(&self) -> &'static str {
        match self {
            Self::Unsupported { .. } | Self::SeveralPlatforms { .. } => {
                "switch the engine to containerd's image store (\"features\": {\"containerd-snapshotter\": true} \
                 in daemon.json), or use a buildkitd"
            }
            Self::NoImageStore { .. } => "use --push, --output type=docker,dest=FILE, or a Docker engine",
            Self::SeveralOutputs { .. } => {
                "build once for each output (the second build is cached), or use Docker 26 or newer"
            }
            Self::SeveralFileOutputs(_) => "build once for each of them; the second build is cached",
        }
    }
}

pub(crate) struct ExportAbilities<'a> {
    pub(crate) product: &'a EngineProduct,
    pub(crate) store: ImageStore,
}

impl ExportAbilities<'_> {
    /// Returns `true` for buildkitd and containerd's image store. Engines with graph drivers cannot export archives.
    fn can_export_archives(&self) -> bool {
        !self.product.is_docker() || self.store == ImageStore::Containerd
    }
}

pub(crate) fn plan_exports(
    settings: &BuildSettings,
    can: &ExportAbilities<'_>,
    stdout: &dyn Fn() -> Box<dyn Write + Send>,
) -> Result<Exports, ExportError> {
    let engine = || can.product.to_string();
    let mut exports = Exports::none();
    let mut targets = 0;
    if settings.source.platforms.len() > 1 && !can.can_export_archives() {
        return Err(ExportError::SeveralPlatforms { engine: engine() });
    }
    for output in &settings.outputs {
        let mut attributes = output.attributes.clone();
        let kind = match &output.kind {
            OutputKind::CacheOnly => continue,
            OutputKind::Image { push } => {
                attributes.extend(settings.annotations.clone());
                set_name(&mut attributes, settings);
                if *push && can.can_export_archives() {
                    set_compression(&mut attributes, settings);
                }
                if can.product.is_docker() {
                    exports.has_engine_image = true;
                    exports.pushes_afterwards |= *push;
                    if can.store == ImageStore::Containerd {
                        attributes
                            .entry("prefer-image-digest".to_owned())
                            .or_insert_with(|| "true".to_owned());
                    }
                    "moby"
                } else if *push {
                    attributes.insert("push".to_owned(), "true".to_owned());
                    "image"
                } else if settings.has_default_output && output.attributes.is_empty() {
                    continue;
                } else {
                    return Err(ExportError::NoImageStore { engine: engine() });
                }
            }
            OutputKind::Local(directory) => {
                exports.target = Some(FileTarget::Directory(directory.clone()));
                targets += 1;
                "local"
            }
            OutputKind::Tar(destination) => {
                exports.target = Some(file_target(destination, stdout));
                targets += 1;
                "tar"
            }
            kind @ (OutputKind::Oci(destination) | OutputKind::Docker(destination)) => {
                if !can.can_export_archives() {
                    return Err(ExportError::Unsupported { engine: engine(), output: kind.name() });
                }
                attributes.extend(settings.annotations.clone());
                set_name(&mut attributes, settings);
                exports.target = Some(file_target(destination, stdout));
                targets += 1;
                kind.name()
            }
        };
        exports.exporters.push(Exporter { kind: kind.to_owned(), attributes });
    }
    if targets > 1 {
        return Err(ExportError::SeveralFileOutputs(targets));
    }
    if exports.exporters.len() > 1 && !can.product.supports(Ability::SeveralExporters) {
        return Err(ExportError::SeveralOutputs { engine: engine(), count: exports.exporters.len() });
    }
    Ok(exports)
}

fn set_name(attributes: &mut BTreeMap<String, String>, settings: &BuildSettings) {
    if !settings.tags.is_empty() {
        let names: Vec<String> = settings.tags.iter().map(ToString::to_string).collect();
        attributes.insert("name".to_owned(), names.join(","));
    }
}

/// Sets the compression of pushed layers. Existing layers keep theirs, unless `--output` has `force-compression=true`.
fn set_compression(attributes: &mut BTreeMap<String, String>, settings: &BuildSettings) {
    if settings.push.compression == Compression::Zstd {
        // Docker's media types do not support zstd.
        for (name, value) in [("compression", "zstd"), ("oci-mediatypes", "true")] {
            attributes.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
}

fn file_target(destination: &OutputDestination, stdout: &dyn Fn() -> Box<dyn Write + Send>) -> FileTarget {
    FileTarget::File(match destination {
        OutputDestination::File(path) => OutputFile::Path(path.clone()),
        OutputDestination::Stdout => OutputFile::Stream(stdout()),
    })
}
