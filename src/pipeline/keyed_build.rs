//! Computes the keys of a build for commands that need them, and for base images, which are named by their keys.
//! Nothing is built here.

use std::sync::Arc;

use super::error::{PipelineError, Result};
use super::inputs::Inputs;
use super::keys::{BuildKeys, KeysError, compute_keys};
use super::reporter::Reporter;
use super::session::{EngineConnection, Session};
use super::stages::{connect, read_inputs};
use crate::error_chain::chain;
use crate::plan::BuildSettings;

pub(crate) struct KeyedBuild {
    pub(crate) inputs: Inputs,
    pub(crate) connection: Arc<EngineConnection>,
    pub(crate) keys: BuildKeys,
}

impl KeyedBuild {
    /// Computes the keys of a build, and warns of inputs that could not be taken into account. If the keys cannot be
    /// computed, reports the place in the Dockerfile that prevents it.
    pub(crate) async fn compute(
        build: &BuildSettings,
        session: &Session<'_>,
        reporter: &dyn Reporter,
    ) -> Result<Self> {
        let settings = session.settings;
        let mut inputs = read_inputs(build, settings).await?;
        let connection = connect(&mut inputs, build, session, reporter).await?;
        let (lookup, notes) = (connection.base_lookup(build, &inputs), settings.notes());
        let platform = connection.platform().await;
        let computed = compute_keys(build, &inputs, &lookup, platform, &notes, &settings.seal).await;
        let keys = computed.map_err(|error| {
            report_place(&error, &inputs, reporter);
            PipelineError::KeysUnknown(Arc::new(error))
        })?;
        if !keys.unpinned.is_empty() {
            reporter.warn(&format!("the digest of the base image {} is unknown", keys.unpinned.join(", ")));
        }
        for fault in &keys.faults {
            reporter.warn(&format!("{}; going on without it", chain(fault)));
        }
        Ok(Self { inputs, connection, keys })
    }
}

fn report_place(error: &KeysError, inputs: &Inputs, reporter: &dyn Reporter) {
    let Some((name, text)) = inputs.user_text() else { return };
    let mistake = match error {
        KeysError::Syntax(mistake) => Some(mistake.clone()),
        KeysError::Resolve(fault) => fault.locate(text.as_str()),
        _ => None,
    };
    if let Some(mistake) = mistake {
        reporter.message(&format!("{}\n", mistake.caret(name, text.as_str())));
    }
}
