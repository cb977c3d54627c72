//! Containers: created from an image, run with their output, stopped and removed.

use std::time::Duration;

use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error as ApiError;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptions, RemoveContainerOptionsBuilder,
    StopContainerOptions, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt;
use serde_json::Value;

use super::{Engine, EngineError};

/// Timeout of requests on a running container.
const CONTAINER_TIMEOUT: Duration = Duration::from_hours(24 * 365);

/// Request fields (`/*` is each element of a list or object) with the API version (`major.minor`) that introduced them
/// and a description. Older engines ignore the field silently.
const VERSIONED_FIELDS: [(&str, (usize, usize), &str); 7] = [
    ("/HostConfig/Annotations", (1, 43), "annotations"),
    ("/Healthcheck/StartInterval", (1, 44), "a health check interval for the start of a container"),
    ("/HostConfig/CgroupnsMode", (1, 41), "a cgroup namespace mode"),
    ("/HostConfig/Mounts/*/VolumeOptions/Subpath", (1, 45), "a volume subpath"),
    ("/HostConfig/Mounts/*/BindOptions/ReadOnlyForceRecursive", (1, 44), "bind-recursive=readonly"),
    ("/HostConfig/Mounts/*/BindOptions/ReadOnlyNonRecursive", (1, 44), "bind-recursive=writable"),
    ("/NetworkingConfig/EndpointsConfig/*/MacAddress", (1, 44), "a MAC address"),
];

/// The definition of a container. Omitted values come from the image or the engine.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ContainerSpec {
    name: Option<String>,
    /// The body of `POST /containers/create`.
    request: Value,
}

impl ContainerSpec {
    /// Creates a definition; `request` is the body of `POST /containers/create` and must be an object.
    pub(crate) fn new(name: Option<String>, request: Value) -> Self {
        Self { name, request }
    }

    #[must_use]
    pub(crate) fn with_image(mut self, image: &str) -> Self {
        self.request["Image"] = image.into();
        self
    }

    /// Prepends strings to those in an array field.
    pub(crate) fn prepend(&mut self, field: &str, texts: Vec<String>) {
        let all: Vec<String> = texts.into_iter().chain(self.strings(field).map(str::to_owned)).collect();
        if !all.is_empty() {
            self.request[field] = all.into();
        }
    }

    pub(crate) fn strings(&self, field: &str) -> impl Iterator<Item = &str> {
        self.request[field].as_array().into_iter().flatten().filter_map(Value::as_str)
    }

    /// Returns the request as it is sent to the engine.
    #[cfg(test)]
    pub(crate) fn request_json(&self) -> Value {
        let sent = body(self).unwrap();
        let (attach_stdout, attach_stderr) = (None, None);
        serde_json::to_value(ContainerCreateBody { attach_stdout, attach_stderr, ..sent }).unwrap()
    }

    /// Returns the description of the first option of the request that an engine with this API version would ignore.
    fn ignored_by(&self, api: (usize, usize)) -> Option<&'static str> {
        let is_given = |place: &str| {
            let Some((all, field)) = place.split_once("/*") else {
                return self.request.pointer(place).is_some();
            };
            match self.request.pointer(all) {
                Some(Value::Array(all)) => all.iter().any(|one| one.pointer(field).is_some()),
                Some(Value::Object(all)) => all.values().any(|one| one.pointer(field).is_some()),
                _ => false,
            }
        };
        let ignored = VERSIONED_FIELDS.iter().find(|(place, since, _)| api < *since && is_given(place));
        ignored.map(|(_, _, what)| *what)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputStream {
    Stdout,
    Stderr,
}

#[derive(Debug)]
pub(crate) struct Container {
    docker: Docker,
    id: String,
    pub(crate) name: String,
}

impl Engine {
    pub(crate) async fn create_container(&self, spec: &ContainerSpec) -> Result<Container, EngineError> {
        let failed = |error| EngineError::new("create a container", error);
        let options = CreateContainerOptions { name: spec.name.clone(), ..CreateContainerOptions::default() };
        let docker = self.docker.clone().with_timeout(CONTAINER_TIMEOUT);
        let api = docker.client_version();
        if let Some(what) = spec.ignored_by((api.major_version, api.minor_version)) {
            return Err(EngineError::TooOld(what));
        }
        let id =
            docker.create_container(Some(options), body(spec).map_err(failed)?).await.map_err(failed)?.id;
        let inspected = docker.inspect_container(&id, None).await.map_err(failed)?;
        let name = inspected.name.unwrap_or_default().trim_start_matches('/').to_owned();
        Ok(Container { docker, id, name })
    }
}

impl Container {
    /// Starts the container and waits for its end. Returns the exit code; `output` receives the output as it arrives.
    pub(crate) async fn run(&self, mut output: impl FnMut(OutputStream, &[u8])) -> Result<i64, EngineError> {
        let failed = |error| EngineError::new("run a container", error);
        let everything =
            AttachContainerOptionsBuilder::default().stream(true).stdout(true).stderr(true).build();
        let AttachContainerResults { output: mut written, input: _input } =
            self.docker.attach_container(&self.id, Some(everything)).await.map_err(failed)?;
        self.docker.start_container(&self.id, None).await.map_err(failed)?;
        while let Some(part) = written.next().await {
            match part.map_err(failed)? {
                LogOutput::StdErr { message } => output(OutputStream::Stderr, &message),
                LogOutput::StdOut { message } | LogOutput::Console { message } => {
                    output(OutputStream::Stdout, &message);
                }
                LogOutput::StdIn { .. } => {}
            }
        }
        let stopped = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut waiting = Box::pin(self.docker.wait_container(&self.id, Some(stopped)));
        match waiting.next().await {
            Some(Ok(ended)) => Ok(ended.status_code),
            Some(Err(ApiError::DockerContainerWaitError { error, code })) if error.is_empty() => Ok(code),
            Some(Err(error)) => Err(failed(error)),
            None => Err(EngineError::Refused("the engine lost the container".to_owned())),
        }
    }

    /// Stops the container. It is killed after the stop timeout that it was created with, by default ten seconds.
    pub(crate) async fn stop(&self) -> Result<(), EngineError> {
        let stopped = self.docker.stop_container(&self.id, None::<StopContainerOptions>).await;
        stopped.map_err(|error| EngineError::new("stop a container", error))
    }

    /// Removes the container with its anonymous volumes, whether it is running or not.
    pub(crate) async fn remove(self) -> Result<(), EngineError> {
        let all = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let removed = self.docker.remove_container(&self.id, Some(all)).await;
        removed.map_err(|error| EngineError::new("remove a container", error))
    }
}

/// Returns the request body, with the fields that larder needs to receive the output.
fn body(spec: &ContainerSpec) -> Result<ContainerCreateBody, ApiError> {
    let body: ContainerCreateBody = serde_json::from_value(spec.request.clone())?;
    Ok(ContainerCreateBody { attach_stdout: Some(true), attach_stderr: Some(true), ..body })
}
