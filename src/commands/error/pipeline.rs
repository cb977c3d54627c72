//! Errors of builds and sessions.

use super::{CommandError, ErrorKind};
use crate::error_chain::chain;
use crate::pipeline::error::PipelineError;
use crate::pipeline::failed_build::FailedBuild;
use crate::pipeline::inputs::InputError;
use crate::pipeline::keys::NoKeys;
use crate::pipeline::registries::PushError;
use crate::store::backend::remote::OpenRemoteFault;

/// Phrases of engines that cannot reach a registry.
const UNREACHED: [&str; 5] =
    ["connection refused", "no such host", "timeout", "unreachable", "deadline exceeded"];

impl From<PipelineError> for CommandError {
    fn from(error: PipelineError) -> Self {
        let cause = chain(&error);
        let of_kind = |kind| Self { kind, cause: cause.clone(), hints: Vec::new() };
        let build = |hint: &str| of_kind(ErrorKind::Build).hint(hint);
        let cache = |hint: &str| of_kind(ErrorKind::Cache).hint(hint);
        let config = |hint: &str| of_kind(ErrorKind::Config).hint(hint);
        match &error {
            PipelineError::Connect(error) => (&**error).into(),
            PipelineError::Build(FailedBuild { hints, .. }) => of_kind(ErrorKind::Build).hints(hints.clone()),
            PipelineError::Interrupted | PipelineError::Cancelled => of_kind(ErrorKind::Interrupted),
            PipelineError::TimedOut(_) => build("--timeout sets how long it may take"),
            PipelineError::Broken(_) => {
                build("look at the engine's log: it may have been stopped, or have run out of memory or disk")
            }
            PipelineError::NoImage | PipelineError::Engine(_) | PipelineError::Result { .. } => {
                of_kind(ErrorKind::Build)
            }
            PipelineError::Unloadable(_) => build("larder build and larder run make it anew"),
            PipelineError::NoEngine => config("name a Docker engine with --host or DOCKER_HOST"),
            PipelineError::Push { name, source, host, is_ecr } => {
                of_kind(ErrorKind::Push).hint(push_hint(source, name, host, *is_ecr, &cause))
            }
            PipelineError::Cache(_) => cache("without --strict the build goes on without the cache"),
            PipelineError::Mounts(_) => cache("without --strict the cache is done without"),
            PipelineError::Inputs(error) => config(input_hint(error)),
            PipelineError::TakesOwn(_) => {
                config("leave it out of COPY, ADD and mounts, or move it out of the build context")
            }
            PipelineError::TakesNoBase => config("begin it with ARG BASE_IMAGE and FROM ${BASE_IMAGE}"),
            PipelineError::AutoMounts(_) => config("make room in the directory for temporary files"),
            PipelineError::NoKeys(error) => {
                of_kind(ErrorKind::Config).hints(keys_hint(error).map(str::to_owned))
            }
            PipelineError::NoEngineForBase => {
                config("name a repository: --repo, or --base-repo of larder build")
            }
            PipelineError::Requirements { .. } => config("paths are relative to the build context"),
            PipelineError::Export(error) => config(error.hint()),
            PipelineError::ResultIsDockerfile { .. } => {
                config("name another file: it is written anew by each build")
            }
            PipelineError::ResultFile { .. } => {
                config("the directory must exist and be writable for this user")
            }
            PipelineError::Repository(error) => config(&error.remedy()),
            PipelineError::Remote(error) => {
                let provided = match error.reason {
                    OpenRemoteFault::NotGiven(variable) => Some(how_provided(variable)),
                    _ => None,
                };
                of_kind(ErrorKind::Config).hints(provided).hint(
                    "correct --remote or LARDER_REMOTE, or leave it out to use this machine's cache alone",
                )
            }
            PipelineError::InvalidTag(_) | PipelineError::RequirementsContext | PipelineError::Machine(_) => {
                of_kind(ErrorKind::Config)
            }
        }
    }
}

fn keys_hint(error: &NoKeys) -> Option<&'static str> {
    match error {
        NoKeys::Syntax(_) | NoKeys::Resolve(_) => None,
        NoKeys::Context(_) => Some("a build reads the same files"),
        _ => Some("a build of this can work, but is never an exact hit"),
    }
}

fn input_hint(error: &InputError) -> &'static str {
    match error {
        InputError::NoDockerfile(_) => {
            "name it with --file, or give the directory that holds it as the build context"
        }
        InputError::EmptyStdin | InputError::TwoDockerfiles => {
            "larder build - < Dockerfile, or --file - with a directory"
        }
        InputError::Dockerfile(..) | InputError::IgnoreFile(..) => "check the file and its permissions",
        InputError::NotText(_) => {
            "save it as UTF-8; file and iconv tell and change what a file is written in"
        }
        InputError::Stdin(_) => "larder build - reads a tar archive or a Dockerfile from stdin",
    }
}

fn push_hint(error: &PushError, name: &str, host: &str, is_ecr: bool, cause: &str) -> String {
    match error {
        PushError::Login(error) => error.remedy(),
        PushError::Registry(error) => error.remedy(),
        PushError::Gone => "push once more; another job may have removed it".to_owned(),
        PushError::Engine(_) if cause.contains("immutable") => {
            format!("{name} cannot be replaced: push another tag")
        }
        PushError::Engine(_) if is_ecr => {
            "--create-repository makes a repository that does not exist; pushing takes ecr:PutImage, \
             ecr:InitiateLayerUpload, ecr:UploadLayerPart and ecr:CompleteLayerUpload"
                .to_owned()
        }
        PushError::Engine(_) if UNREACHED.iter().any(|words| cause.contains(words)) => {
            format!("check that {host} is up and can be reached from the engine")
        }
        PushError::Engine(_) => {
            format!("check that the repository exists and that you are logged in to {host}")
        }
    }
}

/// Returns the way to pass this variable to a step in a workflow of GitHub.
fn how_provided(variable: &str) -> String {
    match variable {
        "GITHUB_TOKEN" => "give the job `permissions: actions: write`, and the step \
             `env: GITHUB_TOKEN: ${{ github.token }}`"
            .to_owned(),
        actions if actions.starts_with("ACTIONS_") => format!(
            "GitHub gives it to actions, not to `run:` steps; a step before that `uses: actions/github-script` hands it \
             on with `script: core.exportVariable('{actions}', process.env.{actions} ?? '')`"
        ),
        _ => "GitHub sets it in every step of a workflow; this cache is for those alone".to_owned(),
    }
}
