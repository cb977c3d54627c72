//! What a build speaks to: its engine and the registries, each opened once.

use super::auto_mounts::add as add_mounts;
use super::bases::Lookup;
use super::inputs::Inputs;
use crate::buildkit::{Client, EngineProduct};
use crate::commands::connecting::connect;
use crate::commands::error::CommandError;
use crate::commands::registries::Registries;
use crate::engine::Engine;
use crate::output::Printer;
use crate::settings::{BuildSettings, Settings};

/// The engine of a build and the registries, of which there is one each for a build.
pub(in crate::commands) struct Reached {
    pub(in crate::commands) client: Client,
    pub(in crate::commands) engine: Option<Engine>,
    pub(in crate::commands) registries: Registries,
}

impl Reached {
    /// Connects to the engine, and adds the mounts of `--auto-mounts` to the Dockerfile: these depend on the base images.
    pub(in crate::commands) async fn connect(
        inputs: &mut Inputs,
        build: &BuildSettings,
        settings: &Settings,
        printer: Printer,
    ) -> Result<Self, CommandError> {
        let client = connect(&settings.endpoint, settings.engine_wait, Some(printer)).await?;
        let engine = engine(&client)?;
        let registries = Registries::new(settings, engine.as_ref());
        let reached = Self { client, engine, registries };
        add_mounts(inputs, build, &reached.lookup(build), &reached.client, printer).await?;
        Ok(reached)
    }

    /// What finds the base images of `build`.
    pub(in crate::commands) fn lookup(&self, build: &BuildSettings) -> Lookup<'_> {
        Lookup { engine: self.engine.as_ref(), registries: &self.registries, pull: build.source.pull }
    }
}

/// The API of a Docker engine; buildkitd has none.
pub(in crate::commands) fn engine(client: &Client) -> Result<Option<Engine>, CommandError> {
    match client.product() {
        EngineProduct::Docker { api, .. } => Engine::new(client.endpoint(), (api.major, api.minor))
            .map(Some)
            .map_err(|error| CommandError::config(&error)),
        EngineProduct::Buildkitd => Ok(None),
    }
}

/// The Docker engine that the settings name; `None` where that is a buildkitd.
pub(in crate::commands) async fn docker_engine(settings: &Settings) -> Result<Option<Engine>, CommandError> {
    engine(&connect(&settings.endpoint, settings.engine_wait, None).await?)
}
