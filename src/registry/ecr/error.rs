//! AWS errors and their remedies.

use std::time::Duration;

/// A failed call to AWS. `action` is the name of the call in IAM policies, such as `ecr:BatchDeleteImage`; `place` is
/// the registry or repository; `message` is AWS's own text.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum EcrError {
    #[error("AWS denies {action} on {place}: {message}")]
    Denied { action: &'static str, place: String, message: String },
    /// There are no credentials, or they have expired.
    #[error("there is no usable AWS identity for {place}: {message}")]
    NoCredentials { place: String, message: String },
    #[error("the repository {0} does not exist")]
    RepositoryNotFound(String),
    /// AWS refused the call with an error code, which is empty for a response that cannot be used.
    #[error("AWS refuses {action} on {place}: {code}{}{message}", if code.is_empty() { "" } else { ": " })]
    Refused { action: &'static str, place: String, code: String, message: String },
    #[error("cannot reach AWS for {action} on {place}: {message}")]
    Unreachable { action: &'static str, place: String, message: String },
    #[error("AWS did not answer {action} on {place} in {patience:?}")]
    TimedOut { action: &'static str, place: String, patience: Duration },
    /// The server that replaces AWS issues tokens for a different registry.
    #[error("the tokens of AWS_ENDPOINT_URL are for {issued_for}, not for {host}")]
    WrongRegistry { host: String, issued_for: String },
    #[error("`{0}` is not the address of a server")]
    InvalidEndpoint(String),
    #[error("cannot read the lifecycle policy of {0}: {1}")]
    InvalidPolicy(String, String),
    #[error("the public registry has no {0}")]
    UnsupportedByPublic(&'static str),
}

impl EcrError {
    /// Returns one line that says how to fix the error.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::Denied { action, place, .. } => {
                format!("allow this identity {action} on {place} (IAM policy)")
            }
            Self::NoCredentials { .. } => {
                "give the job access keys, AWS_PROFILE, a role or a web identity; `aws sso login` renews a session"
                    .to_owned()
            }
            Self::RepositoryNotFound(_) => {
                "create it: larder ecr push --create, or larder build --create-repository".to_owned()
            }
            Self::Refused { .. } | Self::UnsupportedByPublic(_) => "follow the message from AWS".to_owned(),
            Self::Unreachable { .. } | Self::TimedOut { .. } => {
                "check the region, proxies, firewalls and AWS_ENDPOINT_URL".to_owned()
            }
            Self::WrongRegistry { issued_for, .. } => {
                format!("name images as {issued_for}/NAME, or correct AWS_ENDPOINT_URL")
            }
            Self::InvalidEndpoint(_) => {
                "AWS_ENDPOINT_URL_ECR and AWS_ENDPOINT_URL must begin with http:// or https://".to_owned()
            }
            Self::InvalidPolicy(..) => "correct the policy in the AWS console".to_owned(),
        }
    }
}
