//! Errors of object stores.
//!
//! A fault contains only larder's own text and parts that are known to be harmless: a status, the error code and
//! message of the service, the error of the system. It never contains a part of a request, because a request contains
//! credentials in its headers, and with some services in its address.

use std::error::Error;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use opendal::ErrorKind;

use crate::http_retry::is_temporary;
use crate::store::backend::FaultReason;

/// The maximum length of texts from other sources, in characters.
const MAX_TEXT_LENGTH: usize = 200;

/// A hint about the permission that a request needs, attached to the request as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PermissionHint(pub(super) &'static str);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RemoteFault {
    #[error("it answered {status}{}{}", in_brackets(said(code.as_deref(), message.as_deref()).as_deref()), after_semicolon(*needs))]
    ErrorStatus {
        status: StatusCode,
        /// The error code of the service, such as `NoSuchBucket`.
        code: Option<String>,
        message: Option<String>,
        needs: Option<PermissionHint>,
    },
    #[error("it limits the request rate, and answered {}", StatusCode::FORBIDDEN)]
    RateLimited,
    #[error("it did not answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
    #[error("no connection could be made: {0}")]
    ConnectFailed(String),
    #[error("the connection broke: {0}")]
    ConnectionBroken(String),
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    #[error("there are no usable credentials for it{}", in_brackets(.0.as_deref()))]
    NoCredentials(Option<String>),
    #[error("{text}")]
    Other { reason: FaultReason, text: String },
}

fn in_brackets(text: Option<&str>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}

/// Joins the error code and the message of a service; returns `None` if both are missing.
fn said(code: Option<&str>, message: Option<&str>) -> Option<String> {
    let said: Vec<&str> = [code, message].into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join(": "))
}

fn after_semicolon(needs: Option<PermissionHint>) -> String {
    needs.map(|PermissionHint(what)| format!("; {what}")).unwrap_or_default()
}

impl RemoteFault {
    pub(super) fn from_client(error: &reqwest::Error, waited: Duration) -> Self {
        if error.is_timeout() {
            Self::TimedOut(waited)
        } else if error.is_connect() {
            Self::ConnectFailed(innermost_cause(error))
        } else {
            Self::ConnectionBroken(innermost_cause(error))
        }
    }

    /// Converts an error of OpenDAL for which no outcome of a request is recorded.
    pub(super) fn from_opendal(error: &opendal::Error) -> Self {
        let reason = match error.kind() {
            ErrorKind::PermissionDenied => FaultReason::Denied,
            ErrorKind::RateLimited => FaultReason::Unreachable,
            _ => FaultReason::Other,
        };
        let message = error.message();
        let said = said(debug_field(message, "code").as_deref(), debug_field(message, "message").as_deref());
        Self::Other { reason, text: said.unwrap_or_else(|| excerpt(&format!("{}: {message}", error.kind()))) }
    }

    pub(super) fn other(text: &str) -> Self {
        Self::Other { reason: FaultReason::Other, text: text.to_owned() }
    }

    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::ErrorStatus { status, .. } => is_temporary(*status),
            Self::RateLimited | Self::TimedOut(_) | Self::ConnectFailed(_) | Self::ConnectionBroken(_) => {
                true
            }
            Self::TooLarge(_) | Self::NoCredentials(_) | Self::Other { .. } => false,
        }
    }

    pub(super) fn reason(&self) -> FaultReason {
        match self {
            Self::ErrorStatus { status, code, .. } => match (status.as_u16(), code.as_deref()) {
                (401 | 403 | 407, _)
                | (400, Some("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired")) => {
                    FaultReason::Denied
                }
                (404, _) => FaultReason::Missing,
                (408, _) => FaultReason::TimedOut,
                (409, Some("already_exists")) => FaultReason::Busy,
                (507, _) => FaultReason::Full,
                (429 | 500.., _) => FaultReason::Unreachable,
                _ => FaultReason::Other,
            },
            Self::TimedOut(_) => FaultReason::TimedOut,
            Self::RateLimited | Self::ConnectFailed(_) | Self::ConnectionBroken(_) => {
                FaultReason::Unreachable
            }
            Self::TooLarge(_) => FaultReason::Damaged,
            Self::NoCredentials(_) => FaultReason::Denied,
            Self::Other { reason, .. } => *reason,
        }
    }
}

/// Returns the message of the innermost cause: that of the system, the resolver or TLS. The outer messages may contain
/// an address.
fn innermost_cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    excerpt(&innermost.to_string())
}

fn excerpt(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT_LENGTH).collect()
}

/// Returns the error code of the service: Azure's header, `<Code>` in XML, the first `"reason"` in Google's JSON, or
/// the `"code"` of GitHub's cache. Appends the region of the bucket if S3 reports it, because a signature for the wrong
/// region is a common mistake.
pub(super) fn service_code(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let body = String::from_utf8_lossy(&body[..body.len().min(64 << 10)]);
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let in_xml =
        || body.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map(|(code, _)| code);
    let in_json = |name| {
        let (_, rest) = body.split_once(name)?;
        rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?.split('"').next()
    };
    let code = header("x-ms-error-code").or_else(in_xml);
    let code = code.or_else(|| in_json("\"reason\"")).or_else(|| in_json("\"code\""))?;
    let is_word = |text: &str| {
        (1..=64).contains(&text.len())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let region = matches!(code, "PermanentRedirect" | "AuthorizationHeaderMalformed")
        .then(|| header("x-amz-bucket-region"))
        .flatten()
        .filter(|region| is_word(region))
        .map(|region| format!(", its region is {region}"));
    is_word(code).then(|| format!("{code}{}", region.unwrap_or_default()))
}

/// Returns the first line of the service's error message: `<Message>` in XML, `"message"` or `"msg"` in JSON.
pub(super) fn service_message(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Xml {
        message: Option<String>,
    }
    let body = String::from_utf8_lossy(&body[..body.len().min(64 << 10)]);
    let in_xml = || quick_xml::de::from_str::<Xml>(&body).ok()?.message;
    let in_json = || {
        let json: serde_json::Value = serde_json::from_str(&body).ok()?;
        let message = ["/error/message", "/message", "/msg"].iter().find_map(|pointer| json.pointer(pointer));
        message?.as_str().map(str::to_owned)
    };
    let message = in_xml().or_else(in_json)?;
    let line = excerpt(message.trim().lines().next()?);
    let line = line.trim_end_matches('.');
    (!line.is_empty()).then(|| line.to_owned())
}

/// Returns the value of a field in the `Debug` output of a struct, the form in which OpenDAL shows errors of S3.
fn debug_field(text: &str, field: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!(" {field}: \""))?;
    let (value, _) = rest.split_once('"')?;
    (!value.is_empty()).then(|| excerpt(value.trim_end_matches('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, code: Option<&str>) -> RemoteFault {
        RemoteFault::ErrorStatus {
            status: StatusCode::from_u16(status).unwrap(),
            code: code.map(str::to_owned),
            message: None,
            needs: None,
        }
    }

    #[test]
    fn faults_are_classified_by_reason_and_by_whether_a_retry_helps() {
        for (status, code, reason, temporary) in [
            (400, Some("ExpiredToken"), FaultReason::Denied, false),
            (400, None, FaultReason::Other, false),
            (401, None, FaultReason::Denied, false),
            (403, Some("SlowDown"), FaultReason::Denied, false),
            (404, Some("NoSuchBucket"), FaultReason::Missing, false),
            (408, None, FaultReason::TimedOut, true),
            (409, Some("already_exists"), FaultReason::Busy, false),
            (429, None, FaultReason::Unreachable, true),
            (500, None, FaultReason::Unreachable, true),
            (501, None, FaultReason::Unreachable, false),
            (503, Some("SlowDown"), FaultReason::Unreachable, true),
            (507, None, FaultReason::Full, false),
        ] {
            let fault = answered(status, code);
            assert_eq!((fault.reason(), fault.is_temporary()), (reason, temporary), "{fault}");
        }
        assert_eq!(
            answered(403, Some("AccessDenied")).to_string(),
            "it answered 403 Forbidden (AccessDenied)"
        );
    }

    #[test]
    fn the_message_of_the_service_is_shown_without_additions_of_opendal() {
        for (body, message) in [
            (
                "<?xml version=\"1.0\"?>\n<Error><Code>A</Code><Message>You &amp; I may not.</Message><Id>1</Id></Error>",
                Some("You & I may not"),
            ),
            ("<Error><Message>One line\nRequestId:1</Message></Error>", Some("One line")),
            (r#"{"error": {"code": 403, "message": "no access"}}"#, Some("no access")),
            (r#"{"code":"already_exists","msg":"there is one"}"#, Some("there is one")),
            ("<html><body>bad gateway</body></html>", None),
            ("<Error><Code>A</Code></Error>", None),
            ("", None),
        ] {
            assert_eq!(service_message(body.as_bytes()).as_deref(), message, "{body}");
        }
        let fault = RemoteFault::ErrorStatus {
            status: StatusCode::FORBIDDEN,
            code: Some("AccessDenied".to_owned()),
            message: Some("no".to_owned()),
            needs: None,
        };
        assert_eq!(fault.to_string(), "it answered 403 Forbidden (AccessDenied: no)");
        let error = opendal::Error::new(
            ErrorKind::PermissionDenied,
            r#"S3Error { code: "AccessDenied", message: "Access Denied.", resource: "", request_id: "1" }"#,
        );
        assert_eq!(RemoteFault::from_opendal(&error).to_string(), "AccessDenied: Access Denied");
    }

    #[test]
    fn the_error_code_is_found_in_the_response() {
        let none = HeaderMap::new();
        for (body, code) in [
            ("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", Some("AccessDenied")),
            (r#"{"error": {"errors": [{"reason": "rateLimitExceeded"}]}}"#, Some("rateLimitExceeded")),
            (r#"{"code":"already_exists","msg":"cache entry …"}"#, Some("already_exists")),
            ("<Error><Code>AKIA/secret+key=</Code></Error>", None),
            (r#"{"error": {"code": 403, "message": "no"}}"#, None),
            ("<Error><Code></Code></Error>", None),
            ("<html>bad gateway</html>", None),
        ] {
            assert_eq!(service_code(&none, body.as_bytes()).as_deref(), code, "{body}");
        }
        let header = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-ms-error-code"),
            http::HeaderValue::from_static("ContainerNotFound"),
        )]);
        assert_eq!(service_code(&header, b"").as_deref(), Some("ContainerNotFound"));
    }
}
