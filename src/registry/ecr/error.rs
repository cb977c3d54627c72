//! Why AWS did not do what it was asked, and what would help.

use std::time::Duration;

/// AWS did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EcrError {
    /// This identity may not do that.
    #[error("AWS denies {action} on {place}: {message}")]
    Denied {
        /// The action as policies name it, e.g. `ecr:BatchDeleteImage`.
        action: &'static str,
        /// The registry or repository.
        place: String,
        /// In AWS's words.
        message: String,
    },
    /// There is no identity, or none that AWS knows any more.
    #[error("there is no usable AWS identity for {place}: {message}")]
    NoIdentity {
        /// The registry or repository.
        place: String,
        /// In AWS's words.
        message: String,
    },
    /// The repository does not exist.
    #[error("the repository {0} does not exist")]
    NoRepository(String),
    /// It refused for another reason.
    #[error("AWS refuses {action} on {place}: {message}")]
    Refused {
        /// The action as policies name it.
        action: &'static str,
        /// The registry or repository.
        place: String,
        /// In AWS's words.
        message: String,
    },
    /// It could not be asked.
    #[error("cannot ask AWS for {action} on {place}: {message}")]
    Unreachable {
        /// The action as policies name it.
        action: &'static str,
        /// The registry or repository.
        place: String,
        /// Why.
        message: String,
    },
    /// It took too long.
    #[error("AWS did not answer to {action} on {place} in {patience:?}")]
    Late {
        /// The action as policies name it.
        action: &'static str,
        /// The registry or repository.
        place: String,
        /// So long.
        patience: Duration,
    },
    /// The registry's tokens are for another one.
    #[error("the tokens of AWS_ENDPOINT_URL are for {told}, not for {host}")]
    OfAnother {
        /// The registry that was asked for.
        host: String,
        /// The one that the tokens are for.
        told: String,
    },
    /// What is to stand for AWS has no usable address.
    #[error("`{0}` is no address of a server")]
    Endpoint(String),
    /// The policy that the repository has cannot be read.
    #[error("the lifecycle policy of {0} makes no sense: {1}")]
    Policy(String, String),
    /// The public registry has nothing like it.
    #[error("the public registry has no {0}")]
    Public(&'static str),
}

impl EcrError {
    /// What would help, in a line.
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
