//! AWS errors and their remedies.

use std::time::Duration;

/// A failed call to AWS. `action` is the name in IAM policies, such as `ecr:BatchDeleteImage`; `place` is the registry
/// or repository; `message` is AWS's own text.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EcrError {
    #[error("AWS denies {action} on {place}: {message}")]
    Denied { action: &'static str, place: String, message: String },
    /// There is no identity, or it has expired.
    #[error("there is no usable AWS identity for {place}: {message}")]
    NoIdentity { place: String, message: String },
    #[error("the repository {0} does not exist")]
    NoRepository(String),
    #[error("AWS refuses {action} on {place}: {message}")]
    Refused { action: &'static str, place: String, message: String },
    #[error("cannot ask AWS for {action} on {place}: {message}")]
    Unreachable { action: &'static str, place: String, message: String },
    #[error("AWS did not answer to {action} on {place} in {patience:?}")]
    Late { action: &'static str, place: String, patience: Duration },
    /// The tokens are for the registry `told`, not for `host`.
    #[error("the tokens of AWS_ENDPOINT_URL are for {told}, not for {host}")]
    OfAnother { host: String, told: String },
    #[error("`{0}` is no address of a server")]
    Endpoint(String),
    #[error("the lifecycle policy of {0} makes no sense: {1}")]
    Policy(String, String),
    /// The public registry does not support an operation.
    #[error("the public registry has no {0}")]
    Public(&'static str),
}

impl EcrError {
    /// Returns one line that says how to fix the error.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::Denied { action, place, .. } => {
                format!("allow {action} on {place} to this identity (IAM policy)")
            }
            Self::NoIdentity { .. } => {
                "give the job keys, AWS_PROFILE, a role, or a web identity; aws sso login renews a session"
                    .to_owned()
            }
            Self::NoRepository(_) => {
                "create it: larder ecr push --create, or larder build --create-repository".to_owned()
            }
            Self::Refused { .. } | Self::Public(_) => "see what AWS says".to_owned(),
            Self::Unreachable { .. } | Self::Late { .. } => {
                "check region, proxies and firewalls, and AWS_ENDPOINT_URL".to_owned()
            }
            Self::OfAnother { told, .. } => {
                format!("name images as {told}/NAME, or correct AWS_ENDPOINT_URL")
            }
            Self::Endpoint(_) => {
                "AWS_ENDPOINT_URL_ECR and AWS_ENDPOINT_URL begin with http:// or https://".to_owned()
            }
            Self::Policy(..) => "repair it in the console".to_owned(),
        }
    }
}
