//! Amazon ECR: the features that other registries do not have. The AWS SDK is used only in `client`.
//!
//! AWS issues login tokens, valid for twelve hours, to any identity it knows (keys, profiles, roles, SSO, a pod's or a
//! job's web identity). The registry's name contains account and region:
//!
//! | name | registry |
//! |---|---|
//! | `ACCOUNT.dkr.ecr.REGION.amazonaws.com[.cn]` | private |
//! | `ACCOUNT.dkr.ecr-fips.REGION.amazonaws.com` | private, through endpoints validated for FIPS |
//! | `ACCOUNT.dkr-ecr.REGION.on.aws` | private, also over IPv6 |
//! | `public.ecr.aws` | public; its tokens come from `us-east-1` |
//!
//! If `AWS_ENDPOINT_URL` or `AWS_ENDPOINT_URL_ECR` names a server that replaces AWS, every registry for which that
//! server issues tokens also counts as ECR.

mod client;
mod error;
mod lifecycle;
mod selection;
mod token;

pub(crate) use client::{EcrClient, EcrImage, ImageRemoval, NewRepository};
pub(crate) use error::EcrError;
pub(crate) use lifecycle::{LifecyclePolicy, LifecycleRules};
pub(crate) use selection::{ImageSelection, ImageToRemove};
pub(crate) use token::EcrLogin;
pub(super) use token::is_expired_token;

/// The kind of an ECR registry, derived from its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EcrHost {
    Private {
        account: String,
        /// For example `eu-north-1`.
        region: String,
        /// `true` if its endpoints are validated for FIPS.
        is_fips: bool,
    },
    Public,
    /// A registry of a server that replaces AWS; account and region come from the environment.
    CustomEndpoint,
}

impl EcrHost {
    /// Parses the name of a registry; returns `None` if it is not an ECR registry.
    pub(crate) fn parse(host: &str) -> Option<Self> {
        if host == "public.ecr.aws" {
            return Some(Self::Public);
        }
        let (account, rest) = host.split_once('.')?;
        let prefixes = [("dkr.ecr-fips.", true), ("dkr.ecr.", false), ("dkr-ecr.", false)];
        let (rest, is_fips) =
            prefixes.iter().find_map(|(prefix, is_fips)| Some((rest.strip_prefix(prefix)?, *is_fips)))?;
        let domains = [".amazonaws.com", ".amazonaws.com.cn", ".on.aws", ".on.amazonwebservices.com.cn"];
        let region = domains.iter().find_map(|domain| rest.strip_suffix(domain))?;
        let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let is_region = !region.is_empty() && !region.contains('.');
        (is_account && is_region).then(|| Self::Private {
            account: account.to_owned(),
            region: region.to_owned(),
            is_fips,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_and_region_are_read_from_the_name() {
        let private = |account: &str, region: &str, fips| {
            Some(EcrHost::Private { account: account.to_owned(), region: region.to_owned(), is_fips: fips })
        };
        for (host, found) in [
            ("123456789012.dkr.ecr.eu-north-1.amazonaws.com", private("123456789012", "eu-north-1", false)),
            (
                "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn",
                private("123456789012", "cn-north-1", false),
            ),
            (
                "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
                private("123456789012", "us-gov-west-1", true),
            ),
            ("123456789012.dkr-ecr.us-west-2.on.aws", private("123456789012", "us-west-2", false)),
            ("public.ecr.aws", Some(EcrHost::Public)),
            ("123456789012.dkr.ecr.eu-north-1.amazonaws.com.evil.example", None),
            ("1234.dkr.ecr.eu-north-1.amazonaws.com", None),
            ("docker.io", None),
            ("localhost:5000", None),
        ] {
            assert_eq!(EcrHost::parse(host), found, "{host}");
        }
    }
}
