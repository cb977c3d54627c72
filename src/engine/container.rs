//! Containers: made of an image, run with their output, ended.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error as ApiError;
use bollard::models::{ContainerCreateBody, DeviceMapping, DeviceRequest, HostConfig, PortBinding};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt;

use super::{Engine, EngineError};

/// How long a container may run.
const PATIENCE: Duration = Duration::from_hours(24 * 365);
/// Seconds that a container has to end by itself once it is asked to.
const GRACE_SECONDS: i32 = 10;

/// What a container is made of. What is not given comes from the image or the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerSpec {
    /// The image's id.
    pub image: String,
    /// The container's name.
    pub name: Option<String>,
    /// The command, or its arguments where the image has an entrypoint.
    pub command: Vec<String>,
    /// Instead of the image's entrypoint; one empty word is none.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// `SOURCE:PATH[:OPTIONS]`, of which the source is an absolute path or a volume's name.
    pub binds: Vec<String>,
    /// Paths that get a volume of their own.
    pub volumes: Vec<String>,
    /// Ports that can be reached from outside.
    pub ports: Vec<Port>,
    /// Graphics processors.
    pub gpus: Option<Gpus>,
    /// `bridge`, `host`, `none`, `container:NAME` or a network's name.
    pub network: Option<String>,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<u64>,
    /// User and perhaps group.
    pub user: Option<String>,
    /// The working directory.
    pub working_dir: Option<String>,
    /// `private`, `shareable`, `host` or `container:NAME`.
    pub ipc: Option<String>,
    /// Devices of the engine's machine.
    pub devices: Vec<Device>,
}

/// A port of a container that can be reached from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// `PORT/PROTOCOL` in the container.
    pub inside: String,
    /// The address on the engine's machine; empty for all.
    pub address: String,
    /// The port there; empty for any that is free.
    pub outside: String,
}

/// A device of the engine's machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its path there.
    pub outside: String,
    /// Its path in the container.
    pub inside: String,
    /// Some of `r`, `w` and `m`.
    pub permissions: String,
}

/// Which graphics processors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gpus {
    /// So many; -1 is all.
    Count(i64),
    /// These.
    Ids(Vec<String>),
}

/// Where a container writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// A container.
#[derive(Debug)]
pub struct Container {
    docker: Docker,
    id: String,
    /// Its name.
    pub name: String,
}

impl Engine {
    /// Makes a container, which does not run yet.
    ///
    /// # Errors
    ///
    /// Fails when the engine refuses, with its words.
    pub async fn create_container(&self, spec: &ContainerSpec) -> Result<Container, EngineError> {
        let failed = |error| EngineError::new("to making a container", error);
        let options = match &spec.name {
            Some(name) => CreateContainerOptionsBuilder::default().name(name).build(),
            None => CreateContainerOptionsBuilder::default().build(),
        };
        let docker = self.docker.clone().with_timeout(PATIENCE);
        let id = docker.create_container(Some(options), body(spec)).await.map_err(failed)?.id;
        let inspected = docker.inspect_container(&id, None).await.map_err(failed)?;
        let name = inspected.name.unwrap_or_default().trim_start_matches('/').to_owned();
        Ok(Container { docker, id, name })
    }
}

impl Container {
    /// Runs it to its end; `output` gets what it writes, as it comes. Answers its exit code.
    ///
    /// # Errors
    ///
    /// Fails when the engine cannot start it or loses it.
    pub async fn run(&self, mut output: impl FnMut(Stream, &[u8])) -> Result<i64, EngineError> {
        let failed = |error| EngineError::new("to running a container", error);
        let everything =
            AttachContainerOptionsBuilder::default().stream(true).stdout(true).stderr(true).build();
        let AttachContainerResults { output: mut written, input: _input } =
            self.docker.attach_container(&self.id, Some(everything)).await.map_err(failed)?;
        self.docker.start_container(&self.id, None).await.map_err(failed)?;
        while let Some(part) = written.next().await {
            match part.map_err(failed)? {
                LogOutput::StdErr { message } => output(Stream::Err, &message),
                LogOutput::StdOut { message } | LogOutput::Console { message } => {
                    output(Stream::Out, &message);
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
            None => Err(EngineError::Refused("the container was lost".to_owned())),
        }
    }

    /// Asks it to end, and ends it after ten seconds.
    ///
    /// # Errors
    ///
    /// Fails when the engine refuses.
    pub async fn stop(&self) -> Result<(), EngineError> {
        let grace = StopContainerOptionsBuilder::default().t(GRACE_SECONDS).build();
        let stopped = self.docker.stop_container(&self.id, Some(grace)).await;
        stopped.map_err(|error| EngineError::new("to stopping a container", error))
    }

    /// Removes it with the volumes that have no name, running or not.
    ///
    /// # Errors
    ///
    /// Fails when the engine refuses.
    pub async fn remove(self) -> Result<(), EngineError> {
        let all = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let removed = self.docker.remove_container(&self.id, Some(all)).await;
        removed.map_err(|error| EngineError::new("to removing a container", error))
    }
}

fn body(spec: &ContainerSpec) -> ContainerCreateBody {
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for Port { inside, address, outside } in &spec.ports {
        let binding = PortBinding { host_ip: Some(address.clone()), host_port: Some(outside.clone()) };
        bindings.entry(inside.clone()).or_default().get_or_insert_default().push(binding);
    }
    let gpus = spec.gpus.as_ref().map(|gpus| {
        let (count, device_ids) = match gpus {
            Gpus::Count(count) => (Some(*count), None),
            Gpus::Ids(ids) => (None, Some(ids.clone())),
        };
        let capabilities = Some(vec![vec!["gpu".to_owned()]]);
        vec![DeviceRequest { count, device_ids, capabilities, ..DeviceRequest::default() }]
    });
    let devices = spec.devices.iter().map(|device| DeviceMapping {
        path_on_host: Some(device.outside.clone()),
        path_in_container: Some(device.inside.clone()),
        cgroup_permissions: Some(device.permissions.clone()),
    });
    let host = HostConfig {
        binds: some(&spec.binds),
        port_bindings: (!bindings.is_empty()).then_some(bindings),
        device_requests: gpus,
        devices: (!spec.devices.is_empty()).then(|| devices.collect()),
        network_mode: spec.network.clone(),
        ipc_mode: spec.ipc.clone(),
        shm_size: spec.shm_size.and_then(|size| i64::try_from(size).ok()),
        ..HostConfig::default()
    };
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: some(&spec.command),
        entrypoint: spec.entrypoint.clone(),
        env: some(&spec.env),
        volumes: some(&spec.volumes),
        exposed_ports: (!spec.ports.is_empty())
            .then(|| spec.ports.iter().map(|port| port.inside.clone()).collect()),
        user: spec.user.clone(),
        working_dir: spec.working_dir.clone(),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        host_config: Some(host),
        ..ContainerCreateBody::default()
    }
}
