//! `grpc.health.v1.Health`: reports that the session is alive. Without responses, BuildKit ends the session within
//! seconds.

use bollard_buildkit_proto::health::health_check_response::ServingStatus;
use bollard_buildkit_proto::health::health_server::{Health, HealthServer};
use bollard_buildkit_proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use tokio_stream::Once;
use tonic::{Request, Response, Status};

use super::Reply;

pub(super) const METHODS: [&str; 2] = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"];

pub(super) fn service() -> HealthServer<SessionHealth> {
    HealthServer::new(SessionHealth)
}

pub(super) struct SessionHealth;

const SERVING: HealthCheckResponse = HealthCheckResponse { status: ServingStatus::Serving as i32 };

#[tonic::async_trait]
impl Health for SessionHealth {
    async fn check(&self, _request: Request<HealthCheckRequest>) -> Reply<HealthCheckResponse> {
        Ok(Response::new(SERVING))
    }

    async fn list(&self, _request: Request<HealthListRequest>) -> Reply<HealthListResponse> {
        Ok(Response::new(HealthListResponse { statuses: [(String::new(), SERVING)].into() }))
    }

    type WatchStream = Once<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _request: Request<HealthCheckRequest>) -> Reply<Self::WatchStream> {
        Ok(Response::new(tokio_stream::once(Ok(SERVING))))
    }
}
