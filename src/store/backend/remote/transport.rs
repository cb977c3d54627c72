//! Sends HTTP requests with a deadline, retries, and a limit of the response size.
//!
//! The transport is below OpenDAL's services, because they differ in which faults they retry (WebDAV's retries a 403,
//! but not a 429), and because requests for credentials need deadlines as well. Every request that the services send
//! can be repeated safely. Proxies are taken from `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`; certificates are verified
//! as the system does.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response, StatusCode, request};
use jiff::Timestamp;
use opendal::raw::Operation;
use opendal::{Buffer, ErrorKind, HttpBody, HttpTransport};
use tokio::time::{Instant, sleep, timeout_at};

use super::call::{OperationLimits, RemoteOperation};
use super::fault::{PermissionHint, RemoteFault, service_code, service_message};
use super::settings::RemoteSettings;
use crate::http_retry::{Attempts, requested_pause};
use crate::tls::install_provider;

/// A request is not repeated if it would have less time than this: it would time out, which hides the fault before.
const MIN_ATTEMPT: Duration = Duration::from_millis(100);
/// The deadline of a request to a metadata service. On other machines, nothing responds at its address.
const METADATA_DEADLINE: Duration = Duration::from_secs(2);
/// The maximum number of attempts without a response; each takes half of the deadline.
const MAX_TIMEOUTS: u32 = 2;
/// The maximum size in bytes of responses that are not objects.
const MAX_RESPONSE_SIZE: u64 = 256 << 20;

#[derive(Debug, Clone)]
pub(super) struct Transport {
    client: reqwest::Client,
    /// The allowance of requests that do not belong to an operation.
    default_allowance: OperationLimits,
}

struct HttpResponse {
    head: http::response::Parts,
    body: Bytes,
}

impl Transport {
    pub(super) fn new(settings: &RemoteSettings) -> reqwest::Result<Self> {
        install_provider();
        let client = reqwest::Client::builder()
            .user_agent(concat!("larder/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(settings.connect_deadline)
            .build()?;
        Ok(Self { client, default_allowance: settings.allowance(0) })
    }

    async fn send(
        &self,
        head: &request::Parts,
        body: &Bytes,
        until: Instant,
        limit: u64,
    ) -> Result<HttpResponse, RemoteFault> {
        let started = Instant::now();
        let silent = |_| RemoteFault::TimedOut(started.elapsed());
        let broken = |error| RemoteFault::from_client(&error, started.elapsed());
        let mut request =
            self.client.request(head.method.clone(), head.uri.to_string()).headers(head.headers.clone());
        if !body.is_empty() {
            request = request.body(body.clone());
        }
        let mut answer = timeout_at(until, request.send()).await.map_err(silent)?.map_err(broken)?;
        let limit = if answer.status().is_success() { limit } else { MAX_RESPONSE_SIZE };
        let length =
            answer.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if head.method != Method::HEAD && length.is_some_and(|length: u64| length > limit) {
            return Err(RemoteFault::TooLarge(limit));
        }
        let mut body = BytesMut::new();
        // A large object may take long while data keeps coming; the deadline of the operation still applies.
        while let Some(part) = timeout_at(Instant::now() + (until - started), answer.chunk())
            .await
            .map_err(silent)?
            .map_err(broken)?
        {
            if u64::try_from(body.len() + part.len()).is_ok_and(|length| length > limit) {
                return Err(RemoteFault::TooLarge(limit));
            }
            body.extend_from_slice(&part);
        }
        let mut response = Response::new(());
        *response.status_mut() = answer.status();
        *response.headers_mut() = std::mem::take(answer.headers_mut());
        response.extensions_mut().insert(head.uri.clone());
        Ok(HttpResponse { head: response.into_parts().0, body: body.freeze() })
    }
}

impl HttpResponse {
    fn fault(&self, needs: Option<PermissionHint>) -> Option<RemoteFault> {
        let status = self.head.status;
        if status.is_success() {
            return None;
        }
        if status == StatusCode::FORBIDDEN && self.requested_pause().is_some() {
            return Some(RemoteFault::RateLimited);
        }
        let is_denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        let needs = needs.filter(|_| is_denied);
        let (code, message) = (service_code(&self.head.headers, &self.body), service_message(&self.body));
        Some(RemoteFault::ErrorStatus { status, code, message, needs })
    }

    fn requested_pause(&self) -> Option<Duration> {
        requested_pause(&self.head.headers, Timestamp::now())
    }
}

/// Returns `true` if `host` is a metadata service, from which a cloud machine gets its credentials.
fn is_metadata_service(host: &str) -> bool {
    host.starts_with("169.254.") || host.starts_with("[fd00:ec2:") || host == "metadata.google.internal"
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (head, body) = request.into_parts();
        let body = body.to_bytes();
        let call = RemoteOperation::current(self.default_allowance);
        let host = head.uri.host().unwrap_or_default();
        let operation = head.extensions.get::<Operation>();
        // Of the requests that read an object, only the GET returns the object itself.
        let is_object = operation == Some(&Operation::Read) && head.method == Method::GET;
        let limit = if is_object { call.allowance.limit } else { MAX_RESPONSE_SIZE };
        let needs = head.extensions.get::<PermissionHint>().copied();
        let (mut attempts, mut silences, mut has_failed) = (Attempts::default(), 0, false);
        loop {
            let now = Instant::now();
            let patience =
                if is_metadata_service(host) { METADATA_DEADLINE } else { call.allowance.response };
            let answer = self.send(&head, &body, call.until.min(now + patience), limit).await;
            let fault =
                answer.as_ref().map_or_else(|fault| Some(fault.clone()), |answer| answer.fault(needs));
            let is_silent = matches!(fault, Some(RemoteFault::TimedOut(_)));
            silences += u32::from(is_silent);
            // How the service failed before says more than that there was no time left to try again.
            let is_cut_short = has_failed && is_silent && call.until < now + patience;
            has_failed = true;
            let can_retry = fault.as_ref().is_some_and(RemoteFault::is_temporary)
                && silences < MAX_TIMEOUTS
                && !is_metadata_service(host);
            let pause = attempts.next_pause(answer.as_ref().ok().and_then(HttpResponse::requested_pause));
            let pause = pause.filter(|pause| can_retry && Instant::now() + *pause + MIN_ATTEMPT < call.until);
            if operation.is_none() {
                call.record_credentials(host, fault.as_ref());
            } else if !is_cut_short {
                call.record(fault);
            }
            if let Some(pause) = pause {
                sleep(pause).await;
                continue;
            }
            return match answer {
                Ok(HttpResponse { head, body }) => {
                    let length = u64::try_from(body.len()).ok();
                    let body = HttpBody::new(stream::iter([Ok(Buffer::from(body))]), length);
                    Ok(Response::from_parts(head, body))
                }
                Err(fault) => Err(opendal::Error::new(ErrorKind::Unexpected, fault.to_string())),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::store::backend::FaultReason;

    use super::*;

    #[test]
    fn a_403_with_a_retry_time_is_a_rate_limit_with_that_pause() {
        let in_an_hour = (Timestamp::now().as_second() + 3600).to_string();
        for (status, headers, reason, seconds) in [
            (403, &[][..], FaultReason::Denied, None),
            (
                403,
                &[("x-ratelimit-remaining", "17"), ("x-ratelimit-reset", &in_an_hour)],
                FaultReason::Denied,
                None,
            ),
            (403, &[("retry-after", "60")], FaultReason::Unreachable, Some(60)),
            (
                403,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1")],
                FaultReason::Unreachable,
                Some(0),
            ),
            (
                429,
                &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &in_an_hour)],
                FaultReason::Unreachable,
                Some(3600),
            ),
        ] {
            let mut answer = Response::builder().status(status);
            for (name, value) in headers {
                answer = answer.header(*name, *value);
            }
            let answer = HttpResponse { head: answer.body(()).unwrap().into_parts().0, body: Bytes::new() };
            let fault = answer.fault(None).unwrap();
            assert_eq!(
                (fault.reason(), fault.is_temporary()),
                (reason, reason != FaultReason::Denied),
                "{headers:?}"
            );
            let asked_for = answer.requested_pause().map(|pause| pause.as_secs());
            assert!(asked_for == seconds || asked_for.map(|asked| asked + 1) == seconds, "{asked_for:?}");
        }
    }
}
