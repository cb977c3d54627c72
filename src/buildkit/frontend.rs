//! Requests the image config of a build from its frontend, without running a step.
//!
//! A solve without a frontend and without a definition waits for calls of the service `LLBBridge` that name the solve
//! (moby/buildkit, `control/gateway/gateway.go`). Such a call runs a frontend as a build does, and returns the config
//! of the image; the steps are defined, but not run.

use bollard_buildkit_proto::moby::buildkit::v1 as control;
use bollard_buildkit_proto::moby::buildkit::v1::frontend as gateway;
use bollard_buildkit_proto::moby::buildkit::v1::frontend::llb_bridge_client::LlbBridgeClient;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};

use super::Client;
use super::client::MAX_MESSAGE;
use super::error::SolveError;
use super::session::{Attachments, SolveSession, new_id};
use super::solve::SolveRequest;

/// The header that names the solve (moby/buildkit, `client/buildid/metadata.go`).
const SOLVE_ID_HEADER: &str = "buildkit-controlapi-buildid";
/// The config in the result of a frontend (moby/buildkit, `exporter/containerimage/exptypes/types.go`).
const CONFIG_KEY: &str = "containerimage.config";

impl Client {
    /// Returns the config of the image that a build for one platform would make, as its frontend describes it: with
    /// settings and history, but without the layers of the build. Returns `None` if the frontend describes no image.
    ///
    /// Exports and caches of the request are ignored.
    pub(crate) async fn describe_image(
        &self,
        request: SolveRequest,
        attachments: Attachments,
    ) -> Result<Option<Vec<u8>>, SolveError> {
        let mut session = SolveSession::open(self, attachments).await?;
        let reference = new_id().map_err(|error| self.broken(error))?;
        let name: MetadataValue<Ascii> = reference.parse().expect("an id consists of digits and letters");
        let named = |mut request: Request<()>| {
            request.metadata_mut().insert(SOLVE_ID_HEADER, name.clone());
            Ok(request)
        };
        let mut bridge = LlbBridgeClient::with_interceptor(self.channel.clone(), named)
            .max_decoding_message_size(MAX_MESSAGE);
        let describing = async {
            let call = gateway::SolveRequest {
                frontend: request.frontend,
                frontend_opt: request.attributes.into_iter().collect(),
                allow_result_return: true,
                allow_result_array_ref: true,
                ..gateway::SolveRequest::default()
            };
            let result = bridge.solve(call).await?.into_inner().result.unwrap_or_default();
            // The solve itself ends without a result.
            let end = gateway::ReturnRequest { result: Some(gateway::Result::default()), error: None };
            bridge.r#return(end).await?;
            Ok(result)
        };
        let mut control = self.control.clone();
        let waiting = control.solve(control::SolveRequest {
            r#ref: reference,
            session: session.id().to_owned(),
            entitlements: request.entitlements,
            internal: true,
            ..control::SolveRequest::default()
        });
        tokio::select! {
            ended = async { tokio::try_join!(waiting, describing) } => {
                let (_, mut result) = ended.map_err(SolveError::from_status)?;
                Ok(result.metadata.remove(CONFIG_KEY))
            }
            () = session.wait_closed() => Err(SolveError::SessionLost),
        }
    }
}
