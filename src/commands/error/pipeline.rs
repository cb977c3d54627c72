//! Errors of builds, sessions and directories.

use super::{CommandError, ErrorKind};
use crate::error_chain::chain;
use crate::pipeline::dir::DirError;
use crate::pipeline::error::PipelineError;
use crate::pipeline::failed_build::FailedBuild;
use crate::pipeline::inputs::InputError;
use crate::pipeline::keys::KeysError;
use crate::pipeline::registries::PushError;
use crate::store::backend::remote::OpenRemoteFault;

/// Phrases in error messages of engines that cannot reach a registry.
const UNREACHABLE_PHRASES: [&str; 5] =
    ["connection refused", "no such host", "timeout", "unreachable", "deadline exceeded"];

impl From<PipelineError> for CommandError {
    fn from(error: PipelineError) -> Self {
        let cause = chain(&error);
        let of_kind = |kind| Self::new(kind, cause.as_str());
        let build = |hint: &str| of_kind(ErrorKind::Build).hint(hint);
        let cache = |hint: &str| of_kind(ErrorKind::Cache).hint(hint);
        let config = |hint: &str| of_kind(ErrorKind::Config).hint(hint);
        match &error {
            PipelineError::Connect(error) => (&**error).into(),
            PipelineError::Build(FailedBuild { hints, .. }) => of_kind(ErrorKind::Build).hints(hints.clone()),
            PipelineError::Interrupted | PipelineError::Cancelled => of_kind(ErrorKind::Interrupted),
            PipelineError::TimedOut(_) => build("--timeout sets the limit"),
            PipelineError::ConnectionLost(_) => build(
                "check the engine's log: it may have been stopped, or have run out of memory or disk space",
            ),
            PipelineError::NoImage | PipelineError::Engine(_) | PipelineError::Result { .. } => {
                of_kind(ErrorKind::Build)
            }
            PipelineError::CannotLoad(_) => build("larder build and larder run rebuild it"),
            PipelineError::NoEngine => config("select a Docker engine with --host or DOCKER_HOST"),
            PipelineError::Push { name, source, host, is_ecr } => {
                of_kind(ErrorKind::Push).hint(push_hint(source, name, host, *is_ecr, &cause))
            }
            PipelineError::Cache(_) => cache("without --strict the build continues without the cache"),
            PipelineError::Mounts(_) => cache("without --strict this is only a warning"),
            PipelineError::Inputs(error) => config(input_hint(error)),
            PipelineError::WithheldFile(_) => {
                config("exclude it from COPY, ADD and mounts, or move it out of the build context")
            }
            PipelineError::NoBaseImageArg => {
                config("start the Dockerfile with ARG BASE_IMAGE and FROM ${BASE_IMAGE}")
            }
            PipelineError::AutoMounts(_) => config("free disk space in the directory for temporary files"),
            PipelineError::KeysUnknown(error) => {
                of_kind(ErrorKind::Config).hints(keys_hint(error).map(str::to_owned))
            }
            PipelineError::NoEngineForBase => {
                config("set a repository with --repo, or with --base-repo of larder build")
            }
            PipelineError::Requirements { .. } => config("paths are relative to the build context"),
            PipelineError::Export(error) => config(error.hint()),
            PipelineError::ResultIsDockerfile { .. } => {
                config("use a different file: each build overwrites it")
            }
            PipelineError::ResultFile { .. } => {
                config("the directory must exist and be writable for this user")
            }
            PipelineError::Repository(error) => config(&error.remedy()),
            PipelineError::Remote(error) => {
                let provided = match error.reason {
                    OpenRemoteFault::MissingVariable(variable) => Some(variable_hint(variable)),
                    _ => None,
                };
                of_kind(ErrorKind::Config).hints(provided).hint(
                    "correct --remote or LARDER_REMOTE, or remove it to use only the cache of this machine",
                )
            }
            PipelineError::InvalidTag(_)
            | PipelineError::RequirementsContext
            | PipelineError::Resource(_) => of_kind(ErrorKind::Config),
        }
    }
}

impl From<DirError> for CommandError {
    fn from(error: DirError) -> Self {
        let cause = chain(&error);
        match error {
            DirError::Io(_) => Self::config_line(cause),
            DirError::ContainsCache { .. } => Self::config_line(cause)
                .hint("use --cache-dir with a directory outside this one, or save a part of this one"),
            DirError::KeyFiles(_) => Self::config_line(cause).hint(
                "paths are relative to the working directory; quote patterns so that larder expands them",
            ),
            DirError::Interrupted(_) => Self::new(ErrorKind::Interrupted, cause),
            DirError::Pipeline(error) => error.into(),
        }
    }
}

fn keys_hint(error: &KeysError) -> Option<&'static str> {
    match error {
        KeysError::Syntax(_) | KeysError::Resolve(_) => None,
        KeysError::Context(_) => Some("a build reads the same files"),
        _ => Some("a build may succeed, but is never an exact hit"),
    }
}

fn input_hint(error: &InputError) -> &'static str {
    match error {
        InputError::NoDockerfile(_) => "set it with --file, or use its directory as the build context",
        InputError::EmptyStdin | InputError::SeveralDockerfiles => {
            "use `larder build - < Dockerfile`, or `--file -` with a directory"
        }
        InputError::Dockerfile(..) | InputError::IgnoreFile(..) => "check the file and its permissions",
        InputError::NotUtf8(_) => {
            "save it as UTF-8; `file` detects the encoding of a file, and `iconv` converts it"
        }
        InputError::Stdin(_) => "larder build - reads a tar archive or a Dockerfile from stdin",
    }
}

fn push_hint(error: &PushError, name: &str, host: &str, is_ecr: bool, cause: &str) -> String {
    match error {
        PushError::Login(error) => error.remedy(),
        PushError::Registry(error) => error.remedy(),
        PushError::ImageMissing => "push again; a different job may have removed it".to_owned(),
        PushError::Engine(_) if cause.contains("immutable") => {
            format!("{name} cannot be replaced: push a different tag")
        }
        PushError::Engine(_) if is_ecr => {
            "--create-repository creates a missing repository; a push requires ecr:PutImage, \
             ecr:InitiateLayerUpload, ecr:UploadLayerPart and ecr:CompleteLayerUpload"
                .to_owned()
        }
        PushError::Engine(_) if UNREACHABLE_PHRASES.iter().any(|words| cause.contains(words)) => {
            format!("check that {host} is up and can be reached from the engine")
        }
        PushError::Engine(_) => {
            format!("check that the repository exists and that you are logged in to {host}")
        }
    }
}

/// Returns a hint on how to pass the variable to a step of a GitHub workflow.
fn variable_hint(variable: &str) -> String {
    match variable {
        "GITHUB_TOKEN" => "give the job `permissions: actions: write`, and the step \
             `env: GITHUB_TOKEN: ${{ github.token }}`"
            .to_owned(),
        actions if actions.starts_with("ACTIONS_") => format!(
            "GitHub passes it to actions, but not to `run:` steps; export it in an earlier step that \
             `uses: actions/github-script` with `script: core.exportVariable('{actions}', process.env.{actions} ?? '')`"
        ),
        _ => "GitHub sets it in every step of a workflow; this cache works only there".to_owned(),
    }
}
