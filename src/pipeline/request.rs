//! Builds the request to BuildKit's Dockerfile frontend.
//!
//! The names of the attributes are defined in moby/buildkit, `frontend/dockerui/config.go`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::exports::Exports;
use super::inputs::{BuildContext, DockerfileInput, Inputs};
use crate::buildkit::session::{Attachments, SharedDirectory, Upload};
use crate::buildkit::solve::{CacheEntry, SolveRequest};
use crate::digest::Digest;
use crate::dockerfile::SKIP_CHECKS;
use crate::plan::{BuildSettings, NamedContextSource};
use crate::registry::Login;

/// The name in the session of a tar archive that was read from stdin.
const UPLOAD: &str = "context.tar";

#[derive(Default)]
pub(crate) struct RequestConditions {
    /// The digest of the files whose changes BuildKit cannot detect. An earlier upload of the context is only reused if
    /// it has the same digest.
    pub(crate) undetected_digest: Option<Digest>,
    pub(crate) runs_every_step: bool,
    /// `true` if base images are looked up in the engine first.
    pub(crate) uses_engine_images: bool,
    /// `true` if the engine supports attestations, so that `docker build` would attach a provenance.
    pub(crate) has_attestations: bool,
    pub(crate) cache_imports: Vec<CacheEntry>,
    /// The directory of the Dockerfile to build instead of the one in the inputs. It has the same name.
    pub(crate) dockerfile: Option<PathBuf>,
}

pub(crate) fn request(
    settings: &BuildSettings,
    inputs: &Inputs,
    exports: Exports,
    login: Login,
    conditions: &RequestConditions,
) -> (SolveRequest, Attachments) {
    let mut attachments = Attachments {
        secrets: settings.source.secrets.clone(),
        ssh: settings.source.ssh.clone(),
        login: Some(login),
        target: exports.target,
        ..Attachments::default()
    };
    let mut attributes = BTreeMap::new();
    context(inputs, conditions, &mut attributes, &mut attachments);
    named_contexts(settings, inputs, &mut attributes, &mut attachments);
    options(settings, conditions, &mut attributes);
    if conditions.dockerfile.is_some() {
        let (name, value) = SKIP_CHECKS;
        attributes.insert(format!("build-arg:{name}"), value.to_owned());
    }
    let frontend = match settings.source.build_args.get("BUILDKIT_SYNTAX").map(|syntax| syntax.trim()) {
        Some(syntax) if !syntax.is_empty() => {
            let image = syntax.split_whitespace().next().unwrap_or(syntax);
            attributes.insert("source".to_owned(), image.to_owned());
            attributes.insert("cmdline".to_owned(), syntax.to_owned());
            "gateway.v0"
        }
        _ => "dockerfile.v0",
    };
    let request = SolveRequest {
        frontend: frontend.to_owned(),
        definition: None,
        attributes,
        exporters: exports.exporters,
        cache_imports: settings.cache_from.iter().chain(&conditions.cache_imports).cloned().collect(),
        cache_exports: settings.cache_to.clone(),
        entitlements: settings.source.entitlements.clone(),
    };
    (request, attachments)
}

/// Returns the request for `stage` of a Dockerfile with additional stages, without exporting the result.
pub(crate) fn request_of_stage(
    settings: &BuildSettings,
    inputs: &Inputs,
    (stage, directory): (&str, &Path),
    login: Login,
    conditions: &RequestConditions,
) -> (SolveRequest, Attachments) {
    let (mut request, mut attachments) = request(settings, inputs, Exports::none(), login, conditions);
    request.cache_exports.clear();
    let attributes = &mut request.attributes;
    attributes.retain(|name, _| name != "no-cache" && !name.starts_with("attest:"));
    attributes.insert("target".to_owned(), stage.to_owned());
    attachments.directories.insert("dockerfile".to_owned(), directory.into());
    (request, attachments)
}

fn context(
    inputs: &Inputs,
    conditions: &RequestConditions,
    attributes: &mut BTreeMap<String, String>,
    attachments: &mut Attachments,
) {
    let mut set = |name: &str, value: &str| drop(attributes.insert(name.to_owned(), value.to_owned()));
    match &inputs.context {
        BuildContext::Directory(directory) => {
            let shared = shared_directory(inputs, directory);
            attachments.directories.insert("context".to_owned(), shared);
            attachments.shared_key = shared_key(directory);
            if let Some(content) = conditions.undetected_digest {
                attachments.shared_key.push_str(&content.hex());
            }
        }
        BuildContext::Empty(directory) => {
            attachments.directories.insert("context".to_owned(), directory.path().into());
        }
        BuildContext::Archive(file) => {
            attachments.uploads.insert(UPLOAD.to_owned(), Upload::File(file.path().to_owned()));
            set("context", &format!("http://buildkit-session/{UPLOAD}"));
        }
        BuildContext::Remote(address) => set("context", address),
    }
    match &inputs.dockerfile {
        DockerfileInput::Local { directory, name, changed, .. } => {
            let changed = changed.as_ref().map(|changed| changed.directory.path());
            let directory = conditions.dockerfile.as_deref().or(changed).unwrap_or(directory);
            attachments.directories.insert("dockerfile".to_owned(), directory.into());
            set("filename", name);
            if matches!(inputs.context, BuildContext::Remote(_)) {
                // Without this the frontend looks for it in the remote context.
                set("dockerfilekey", "dockerfile");
            }
        }
        DockerfileInput::InContext(name) => set("filename", name),
    }
}

fn shared_directory(inputs: &Inputs, directory: &Path) -> SharedDirectory {
    SharedDirectory { withheld: inputs.withheld(directory), ..directory.into() }
}

fn named_contexts(
    settings: &BuildSettings,
    inputs: &Inputs,
    attributes: &mut BTreeMap<String, String>,
    attachments: &mut Attachments,
) {
    for (name, context) in &settings.source.named_contexts {
        let value = match context {
            NamedContextSource::Reference(address) => address.clone(),
            NamedContextSource::Directory(directory) => {
                // The build itself uses these two names for its own directories.
                let local = if matches!(name.as_str(), "context" | "dockerfile") {
                    format!("_{name}")
                } else {
                    name.clone()
                };
                attachments.directories.insert(local.clone(), shared_directory(inputs, directory));
                attributes.insert(format!("sharedkey:localdir:{name}"), shared_key(directory));
                format!("local:{local}")
            }
        };
        attributes.insert(format!("context:{name}"), value);
        attributes.insert("frontend.caps".to_owned(), "moby.buildkit.frontend.contexts+forward".to_owned());
    }
}

fn options(
    settings: &BuildSettings,
    conditions: &RequestConditions,
    attributes: &mut BTreeMap<String, String>,
) {
    let source = &settings.source;
    attributes.extend(source.options.clone());
    for (name, value) in &source.build_args {
        attributes.insert(format!("build-arg:{name}"), value.clone());
    }
    for (name, value) in &source.labels {
        attributes.insert(format!("label:{name}"), value.clone());
    }
    let mut set = |name: &str, value: &str| drop(attributes.insert(name.to_owned(), value.to_owned()));
    if let Some(target) = &source.target {
        set("target", target);
    }
    if !source.platforms.is_empty() {
        set("platform", &source.platforms.join(","));
    }
    if source.pull {
        set("image-resolve-mode", "pull");
    } else if conditions.uses_engine_images {
        set("image-resolve-mode", "local");
    }
    if conditions.runs_every_step {
        // An empty list means all stages.
        set("no-cache", "");
    } else if !settings.no_cache_filter.is_empty() {
        set("no-cache", &settings.no_cache_filter.join(","));
    }
    for (kind, attestation) in &settings.attestations {
        if let Some(attestation) = attestation {
            set(&format!("attest:{kind}"), attestation);
        }
    }
    if conditions.has_attestations && !settings.attestations.contains_key("provenance") {
        set("attest:provenance", "mode=min,inline-only=true");
    }
}

/// Returns the key by which BuildKit finds an earlier upload of the directory, so that only the differences are sent.
fn shared_key(directory: &Path) -> String {
    let absolute = std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned());
    Digest::of(absolute.as_os_str().as_encoded_bytes()).hex()
}
