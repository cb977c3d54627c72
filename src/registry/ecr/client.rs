//! The ECR client. Only this module uses the AWS SDK.

use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_ecr::Client;
use aws_sdk_ecr::config::http::HttpResponse;
use aws_sdk_ecr::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ecr::types::{
    ImageIdentifier, ImageScanningConfiguration, ImageTagMutability, ImageTagMutabilityExclusionFilter,
    ImageTagMutabilityExclusionFilterType,
};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use jiff::Timestamp;

use super::token::Token;
use super::{Doomed, EcrError, EcrHost, LifecyclePolicy};
use crate::registry::manifest::is_index;

/// Timeout of one call, including the lookup of an identity.
const PATIENCE: Duration = Duration::from_secs(30);
/// The maximum number of images in one `BatchDeleteImage` call.
const BATCH: usize = 100;
/// The region that issues the public registry's tokens.
const PUBLIC_REGION: &str = "us-east-1";
/// Patterns of the tags that larder must be able to replace in a repository with immutable tags.
const REPLACED: [&str; 3] = ["cache*", "buildcache*", "larder-*"];

/// A client of an ECR registry.
#[derive(Debug, Clone)]
pub(crate) struct Ecr {
    config: SdkConfig,
    client: Client,
    account: Option<String>,
    is_public: bool,
    host: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EcrImage {
    /// `sha256:…`.
    pub(crate) digest: String,
    pub(crate) tags: Vec<String>,
    pub(crate) is_index: bool,
    /// Size of the compressed layers in bytes.
    pub(crate) bytes: u64,
    pub(crate) pushed: Option<Timestamp>,
    /// The last pull, with a resolution of one day.
    pub(crate) pulled: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NewRepository {
    pub(crate) scan_on_push: bool,
    /// `true` if tags cannot be replaced, except those that larder maintains.
    pub(crate) immutable: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) removed: Vec<Doomed>,
    /// Images that were not removed, with AWS's reason.
    pub(crate) refused: Vec<(Doomed, String)>,
}

impl Ecr {
    /// Creates a client for the registry `host` of this `kind`. Reads the environment, but sends no request.
    pub(crate) async fn of(kind: &EcrHost, host: &str) -> Self {
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http);
        let mut account = None;
        match kind {
            EcrHost::Private { account: number, region, fips } => {
                account = Some(number.clone());
                loader = loader.region(Region::new(region.clone())).use_fips(*fips);
            }
            EcrHost::Public => loader = loader.region(Region::new(PUBLIC_REGION)),
            EcrHost::Elsewhere => {}
        }
        let mut config = loader.load().await;
        if config.region().is_none() {
            // A server that replaces AWS accepts any region.
            config = config.into_builder().region(Region::new(PUBLIC_REGION)).build();
        }
        let client = Client::new(&config);
        Self { config, client, account, is_public: *kind == EcrHost::Public, host: host.to_owned() }
    }

    /// Requests a token for the registry. `endpoint` is the address of the server that replaces AWS, if any.
    pub(super) async fn token(&self, host: &str, endpoint: Option<&str>) -> Result<Token, EcrError> {
        const UNUSABLE: &str = "the response contains no token";
        let (action, place) = ("ecr:GetAuthorizationToken", self.host.clone());
        let refused = || EcrError::Refused {
            action,
            place: place.clone(),
            code: String::new(),
            message: UNUSABLE.to_owned(),
        };
        if self.is_public {
            let action = "ecr-public:GetAuthorizationToken";
            let call = aws_sdk_ecrpublic::Client::new(&self.config).get_authorization_token().send();
            let found = within(action, &place, call).await?.authorization_data;
            let found = found.ok_or_else(refused)?;
            let (Some(token), Some(expires)) = (&found.authorization_token, &found.expires_at) else {
                return Err(refused());
            };
            return Token::read(host, token, time(expires).ok_or_else(refused)?).ok_or_else(refused);
        }
        let found = within(action, &place, self.client.get_authorization_token().send()).await?;
        let found = found.authorization_data().first().ok_or_else(refused)?;
        let issued_for = found.proxy_endpoint().unwrap_or_default();
        if let Some(endpoint) = endpoint
            && ![issued_for, endpoint].iter().any(|address| authority(address) == authority(host))
        {
            return Err(EcrError::OfAnother {
                host: host.to_owned(),
                told: authority(issued_for).to_owned(),
            });
        }
        let (Some(token), Some(expires)) = (found.authorization_token(), found.expires_at()) else {
            return Err(refused());
        };
        Token::read(host, token, time(expires).ok_or_else(refused)?).ok_or_else(refused)
    }

    /// Creates a repository. Returns `true` if it was created, `false` if it already existed.
    pub(crate) async fn create(&self, repository: &str, new: NewRepository) -> Result<bool, EcrError> {
        let place = self.place(repository)?;
        let mut call = self
            .client
            .create_repository()
            .repository_name(repository)
            .set_registry_id(self.account.clone())
            .image_scanning_configuration(
                ImageScanningConfiguration::builder().scan_on_push(new.scan_on_push).build(),
            );
        if new.immutable {
            call = call.image_tag_mutability(ImageTagMutability::ImmutableWithExclusion);
            for pattern in REPLACED {
                let filter = ImageTagMutabilityExclusionFilter::builder()
                    .filter_type(ImageTagMutabilityExclusionFilterType::Wildcard)
                    .filter(pattern)
                    .build();
                if let Ok(filter) = filter {
                    call = call.image_tag_mutability_exclusion_filters(filter);
                }
            }
        }
        match within("ecr:CreateRepository", &place, call.send()).await {
            Ok(_) => Ok(true),
            Err(EcrError::Refused { code, .. }) if code == "RepositoryAlreadyExistsException" => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn images(&self, repository: &str) -> Result<Vec<EcrImage>, EcrError> {
        let place = self.place(repository)?;
        let (mut images, mut next): (Vec<EcrImage>, Option<String>) = (Vec::new(), None);
        loop {
            let call = self.client.describe_images().repository_name(repository);
            let call = call.set_registry_id(self.account.clone()).set_next_token(next);
            let page = within("ecr:DescribeImages", &place, call.send()).await?;
            images.extend(page.image_details().iter().map(|image| EcrImage {
                digest: image.image_digest().unwrap_or_default().to_owned(),
                tags: image.image_tags().to_vec(),
                is_index: image.image_manifest_media_type().is_some_and(is_index),
                bytes: image.image_size_in_bytes().and_then(|size| size.try_into().ok()).unwrap_or_default(),
                pushed: image.image_pushed_at().and_then(time),
                pulled: image.last_recorded_pull_time().and_then(time),
            }));
            match page.next_token {
                Some(token) => next = Some(token),
                None => return Ok(images),
            }
        }
    }

    /// Removes images and tags. After an error, some of them may already be removed.
    pub(crate) async fn remove(&self, repository: &str, doomed: &[Doomed]) -> Result<Removal, EcrError> {
        let place = self.place(repository)?;
        let mut removal = Removal::default();
        for batch in doomed.chunks(BATCH) {
            let identifiers = batch.iter().map(|doomed| {
                let id = ImageIdentifier::builder();
                match &doomed.tag {
                    Some(tag) => id.image_tag(tag),
                    None => id.image_digest(&doomed.digest),
                }
                .build()
            });
            let call = self.client.batch_delete_image().repository_name(repository);
            let call = call.set_registry_id(self.account.clone()).set_image_ids(Some(identifiers.collect()));
            let answer = within("ecr:BatchDeleteImage", &place, call.send()).await?;
            let failures = answer.failures();
            for doomed in batch {
                let failure = failures.iter().find(|failure| {
                    failure.image_id().is_some_and(|id| match &doomed.tag {
                        Some(tag) => id.image_tag() == Some(tag),
                        None => id.image_digest() == Some(doomed.digest.as_str()),
                    })
                });
                match failure {
                    Some(failure) => {
                        let reason = failure.failure_reason().unwrap_or_default().to_owned();
                        removal.refused.push((doomed.clone(), reason));
                    }
                    None => removal.removed.push(doomed.clone()),
                }
            }
        }
        Ok(removal)
    }

    pub(crate) async fn lifecycle(&self, repository: &str) -> Result<LifecyclePolicy, EcrError> {
        let place = self.place(repository)?;
        let call = self.client.get_lifecycle_policy().repository_name(repository);
        let call = call.set_registry_id(self.account.clone()).send();
        let text = match within("ecr:GetLifecyclePolicy", &place, call).await {
            Ok(found) => found.lifecycle_policy_text,
            Err(EcrError::Refused { code, .. }) if code == "LifecyclePolicyNotFoundException" => None,
            Err(error) => return Err(error),
        };
        LifecyclePolicy::parse(text.as_deref()).map_err(|reason| EcrError::Policy(place, reason))
    }

    pub(crate) async fn set_lifecycle(
        &self,
        repository: &str,
        policy: &LifecyclePolicy,
    ) -> Result<(), EcrError> {
        let place = self.place(repository)?;
        let call = self.client.put_lifecycle_policy().repository_name(repository);
        let call = call.set_registry_id(self.account.clone()).lifecycle_policy_text(policy.json());
        within("ecr:PutLifecyclePolicy", &place, call.send()).await.map(drop)
    }

    /// Returns `HOST/REPOSITORY` for messages. Fails for the public registry, which larder does not manage.
    fn place(&self, repository: &str) -> Result<String, EcrError> {
        if self.is_public {
            return Err(EcrError::Public("API that larder can manage repositories with"));
        }
        Ok(format!("{}/{repository}", self.host))
    }
}

async fn within<T, E: ProvideErrorMetadata + std::error::Error + 'static>(
    action: &'static str,
    place: &str,
    call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Result<T, EcrError> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(fault(action, place, &error)),
        Err(_) => Err(EcrError::Late { action, place: place.to_owned(), patience: PATIENCE }),
    }
}

/// Converts an error of the SDK. AWS's error codes are grouped by remedy.
fn fault<E: ProvideErrorMetadata + std::error::Error + 'static>(
    action: &'static str,
    place: &str,
    error: &SdkError<E, HttpResponse>,
) -> EcrError {
    let place = place.to_owned();
    let Some(refusal) = error.as_service_error() else {
        let message = DisplayErrorContext(error).to_string();
        let message = message.split(" (").next().unwrap_or_default().trim_end_matches('.').to_owned();
        // No provider of the chain has credentials, or the last one, the instance metadata service, rejects the
        // request.
        return if format!("{error:?} {message}").to_lowercase().contains("credentials") {
            EcrError::NoIdentity { place, message: "none was found".to_owned() }
        } else {
            EcrError::Unreachable { action, place, message }
        };
    };
    let code = refusal.code().unwrap_or_default();
    let words = refusal.message().unwrap_or("AWS gave no reason").to_owned();
    match code {
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" => {
            EcrError::Denied { action, place, message: words }
        }
        "ExpiredTokenException"
        | "ExpiredToken"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "IncompleteSignature"
        | "MissingAuthenticationToken" => EcrError::NoIdentity { place, message: words },
        "RepositoryNotFoundException" => EcrError::NoRepository(place),
        code => EcrError::Refused { action, place, code: code.to_owned(), message: words },
    }
}

fn time(time: &aws_sdk_ecr::primitives::DateTime) -> Option<Timestamp> {
    Timestamp::from_second(time.secs()).ok()
}

/// Returns `HOST[:PORT]` of an address.
pub(super) fn authority(address: &str) -> &str {
    let address = address.split_once("://").map_or(address, |(_, rest)| rest);
    address.split('/').next().unwrap_or(address)
}
