//! What goes wrong between larder and an object store.
//!
//! A fault is told in words of larder's own and what is known to be harmless
//! (a status, a service's error code, the system's error). Nothing of a
//! request gets into it, for a request holds credentials: in its headers, and
//! with some services in its address.

use std::error::Error;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use opendal::ErrorKind;

use crate::store::backend::Reason;

/// Longest text that is taken over from elsewhere.
const LONGEST: usize = 200;

/// What a request needs to be allowed, in its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Needs(pub(super) &'static str);

/// Why an operation on an object store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The service answered, but not with what was asked for.
    #[error("it answered {status}{}{}", in_brackets(code.as_deref()), after_semicolon(*needs))]
    Answered {
        /// HTTP status.
        status: StatusCode,
        /// The service's own code of the error, such as `NoSuchBucket`.
        code: Option<String>,
        /// What it takes to be allowed, where that is known and it was not.
        needs: Option<Needs>,
    },
    /// It is asked too often, and says so with a 403, as GitHub does.
    #[error("it was asked too often, and answered {}", StatusCode::FORBIDDEN)]
    Limited,
    /// There was no answer, or no more of it.
    #[error("it did not answer within {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// No connection could be made.
    #[error("no connection could be made: {0}")]
    Unconnected(String),
    /// A connection ended too early.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The object is larger than was allowed.
    #[error("it has more than {0} bytes")]
    TooLarge(u64),
    /// There is nothing to sign requests with.
    #[error("there are no usable credentials for it{}", in_brackets(.0.as_deref()))]
    NoCredentials(Option<String>),
    /// Anything else.
    #[error("{text}")]
    Other {
        /// How it is counted.
        reason: Reason,
        /// What it is.
        text: String,
    },
}

fn in_brackets(text: Option<&str>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}

fn after_semicolon(needs: Option<Needs>) -> String {
    needs.map(|Needs(what)| format!("; {what}")).unwrap_or_default()
}

impl Fault {
    /// What an HTTP client's error comes to after at most `waited`.
    pub(super) fn of_client(error: &reqwest::Error, waited: Duration) -> Self {
        if error.is_timeout() {
            Self::Silent(waited)
        } else if error.is_connect() {
            Self::Unconnected(cause(error))
        } else {
            Self::Broken(cause(error))
        }
    }

    /// What an OpenDAL error comes to when the service's answer was none: what OpenDAL makes of it.
    pub(super) fn of_answer(error: &opendal::Error) -> Self {
        let reason = match error.kind() {
            ErrorKind::PermissionDenied => Reason::Denied,
            ErrorKind::RateLimited => Reason::Unreachable,
            _ => Reason::Other,
        };
        Self::Other { reason, text: excerpt(&format!("{}: {}", error.kind(), error.message())) }
    }

    /// What has no other words.
    pub(super) fn other(text: &str) -> Self {
        Self::Other { reason: Reason::Other, text: text.to_owned() }
    }

    /// Whether it may be gone a moment later.
    pub(super) fn is_temporary(&self) -> bool {
        match self {
            Self::Answered { status, .. } => {
                matches!(status.as_u16(), 408 | 423 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            Self::Limited | Self::Silent(_) | Self::Unconnected(_) | Self::Broken(_) => true,
            Self::TooLarge(_) | Self::NoCredentials(_) | Self::Other { .. } => false,
        }
    }

    /// How it is counted.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Answered { status, code, .. } => match (status.as_u16(), code.as_deref()) {
                (401 | 403 | 407, _)
                | (400, Some("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired")) => Reason::Denied,
                (404, _) => Reason::Missing,
                (408, _) => Reason::TimedOut,
                (409, Some("already_exists")) => Reason::Busy,
                (507, _) => Reason::Full,
                (429 | 500.., _) => Reason::Unreachable,
                _ => Reason::Other,
            },
            Self::Silent(_) => Reason::TimedOut,
            Self::Limited | Self::Unconnected(_) | Self::Broken(_) => Reason::Unreachable,
            Self::TooLarge(_) => Reason::Damaged,
            Self::NoCredentials(_) => Reason::Denied,
            Self::Other { reason, .. } => *reason,
        }
    }
}

/// The innermost cause of an error: the system's, the resolver's, TLS's. Those above it may hold an address.
fn cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    excerpt(&innermost.to_string())
}

fn excerpt(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

/// The service's own code in what it answered: Azure's header, `<Code>` in XML, the first `"reason"` in Google's JSON, the
/// `"code"` of GitHub's cache. With it the region that S3 says the bucket is in, for a signature for another is a common
/// mistake.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, code: Option<&str>) -> Fault {
        Fault::Answered {
            status: StatusCode::from_u16(status).unwrap(),
            code: code.map(str::to_owned),
            needs: None,
        }
    }

    #[test]
    fn answers_are_told_apart_by_what_can_be_done_about_them() {
        for (status, code, reason, temporary) in [
            (400, Some("ExpiredToken"), Reason::Denied, false),
            (400, None, Reason::Other, false),
            (401, None, Reason::Denied, false),
            (403, Some("SlowDown"), Reason::Denied, false),
            (404, Some("NoSuchBucket"), Reason::Missing, false),
            (408, None, Reason::TimedOut, true),
            (409, Some("already_exists"), Reason::Busy, false),
            (429, None, Reason::Unreachable, true),
            (500, None, Reason::Unreachable, true),
            (501, None, Reason::Unreachable, false),
            (503, Some("SlowDown"), Reason::Unreachable, true),
            (507, None, Reason::Full, false),
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
    fn a_services_code_is_found_and_nothing_else_is_taken_from_its_answer() {
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
