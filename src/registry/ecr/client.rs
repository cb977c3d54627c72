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

use super::token::EcrToken;
use super::{EcrError, EcrHost, ImageToRemove, LifecyclePolicy};
use crate::registry::connection::authority_of;
use crate::registry::manifest::is_index;

/// Timeout of one call, including the lookup of an identity.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_BATCH: usize = 100;
/// The region that issues the public registry's tokens.
const PUBLIC_REGION: &str = "us-east-1";
/// Patterns of the tags that larder must be able to replace in a repository with immutable tags.
const MUTABLE_TAGS: [&str; 3] = ["cache*", "buildcache*", "larder-*"];

#[derive(Debug, Clone)]
pub(crate) struct EcrClient {
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
    pub(crate) bytes: u64,
    pub(crate) pushed: Option<Timestamp>,
    /// The last pull, with a resolution of one day.
    pub(crate) pulled: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NewRepository {
    pub(crate) scan_on_push: bool,
    /// `true` if tags cannot be replaced, except those that larder maintains.
    pub(crate) has_immutable_tags: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ImageRemoval {
    pub(crate) removed: Vec<ImageToRemove>,
    pub(crate) failed: Vec<(ImageToRemove, String)>,
}

impl EcrClient {
    /// Creates a client for the registry `host` of this `kind`. Reads the environment, but sends no request.
    pub(crate) async fn new(kind: &EcrHost, host: &str) -> Self {
        let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http);
        let mut account = None;
        match kind {
            EcrHost::Private { account: number, region, is_fips: fips } => {
                account = Some(number.clone());
                loader = loader.region(Region::new(region.clone())).use_fips(*fips);
            }
            EcrHost::Public => loader = loader.region(Region::new(PUBLIC_REGION)),
            EcrHost::CustomEndpoint => {}
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
    pub(super) async fn token(&self, host: &str, endpoint: Option<&str>) -> Result<EcrToken, EcrError> {
        let public = "ecr-public:GetAuthorizationToken";
        let action = if self.is_public { public } else { "ecr:GetAuthorizationToken" };
        let found = if self.is_public {
            let call = aws_sdk_ecrpublic::Client::new(&self.config).get_authorization_token().send();
            let found = with_timeout(action, &self.host, call).await?.authorization_data;
            found.map(|found| (found.authorization_token, found.expires_at, None))
        } else {
            let call = self.client.get_authorization_token().send();
            let found = with_timeout(action, &self.host, call).await?.authorization_data.unwrap_or_default();
            let first = found.into_iter().next();
            first.map(|found| (found.authorization_token, found.expires_at, found.proxy_endpoint))
        };
        let unusable = || EcrError::Refused {
            action,
            place: self.host.clone(),
            code: String::new(),
            message: "the response contains no token".to_owned(),
        };
        let (token, expires, issued_for) = found.ok_or_else(unusable)?;
        let issued_for = authority_of(issued_for.as_deref().unwrap_or_default());
        if let Some(endpoint) = endpoint.filter(|_| !self.is_public)
            && ![issued_for, authority_of(endpoint)].contains(&host)
        {
            return Err(EcrError::WrongRegistry { host: host.to_owned(), issued_for: issued_for.to_owned() });
        }
        let expires = expires.as_ref().and_then(to_timestamp);
        let token = token.zip(expires).and_then(|(token, expires)| EcrToken::decode(host, &token, expires));
        token.ok_or_else(unusable)
    }

    /// Creates a repository. Returns `true` if it was created, `false` if it already existed.
    pub(crate) async fn create_repository(
        &self,
        repository: &str,
        new: NewRepository,
    ) -> Result<bool, EcrError> {
        let place = self.place(repository)?;
        let mut call = self
            .client
            .create_repository()
            .repository_name(repository)
            .set_registry_id(self.account.clone())
            .image_scanning_configuration(
                ImageScanningConfiguration::builder().scan_on_push(new.scan_on_push).build(),
            );
        if new.has_immutable_tags {
            call = call.image_tag_mutability(ImageTagMutability::ImmutableWithExclusion);
            for pattern in MUTABLE_TAGS {
                let filter = ImageTagMutabilityExclusionFilter::builder()
                    .filter_type(ImageTagMutabilityExclusionFilterType::Wildcard)
                    .filter(pattern)
                    .build();
                if let Ok(filter) = filter {
                    call = call.image_tag_mutability_exclusion_filters(filter);
                }
            }
        }
        match with_timeout("ecr:CreateRepository", &place, call.send()).await {
            Ok(_) => Ok(true),
            Err(EcrError::Refused { code, .. }) if code == "RepositoryAlreadyExistsException" => Ok(false),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn list_images(&self, repository: &str) -> Result<Vec<EcrImage>, EcrError> {
        let place = self.place(repository)?;
        let (mut images, mut next): (Vec<EcrImage>, Option<String>) = (Vec::new(), None);
        loop {
            let call = self.client.describe_images().repository_name(repository);
            let call = call.set_registry_id(self.account.clone()).set_next_token(next);
            let page = with_timeout("ecr:DescribeImages", &place, call.send()).await?;
            images.extend(page.image_details().iter().map(|image| EcrImage {
                digest: image.image_digest().unwrap_or_default().to_owned(),
                tags: image.image_tags().to_vec(),
                is_index: image.image_manifest_media_type().is_some_and(is_index),
                bytes: image.image_size_in_bytes().and_then(|size| size.try_into().ok()).unwrap_or_default(),
                pushed: image.image_pushed_at().and_then(to_timestamp),
                pulled: image.last_recorded_pull_time().and_then(to_timestamp),
            }));
            match page.next_token {
                Some(token) => next = Some(token),
                None => return Ok(images),
            }
        }
    }

    /// Removes images and tags. After an error, some of them may already be removed.
    pub(crate) async fn remove_images(
        &self,
        repository: &str,
        doomed: &[ImageToRemove],
    ) -> Result<ImageRemoval, EcrError> {
        let place = self.place(repository)?;
        let mut removal = ImageRemoval::default();
        for batch in doomed.chunks(MAX_BATCH) {
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
            let answer = with_timeout("ecr:BatchDeleteImage", &place, call.send()).await?;
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
                        removal.failed.push((doomed.clone(), reason));
                    }
                    None => removal.removed.push(doomed.clone()),
                }
            }
        }
        Ok(removal)
    }

    pub(crate) async fn lifecycle_policy(&self, repository: &str) -> Result<LifecyclePolicy, EcrError> {
        let place = self.place(repository)?;
        let call = self.client.get_lifecycle_policy().repository_name(repository);
        let call = call.set_registry_id(self.account.clone()).send();
        let text = match with_timeout("ecr:GetLifecyclePolicy", &place, call).await {
            Ok(found) => found.lifecycle_policy_text,
            Err(EcrError::Refused { code, .. }) if code == "LifecyclePolicyNotFoundException" => None,
            Err(error) => return Err(error),
        };
        LifecyclePolicy::parse(text.as_deref()).map_err(|reason| EcrError::InvalidPolicy(place, reason))
    }

    pub(crate) async fn set_lifecycle_policy(
        &self,
        repository: &str,
        policy: &LifecyclePolicy,
    ) -> Result<(), EcrError> {
        let place = self.place(repository)?;
        let call = self.client.put_lifecycle_policy().repository_name(repository);
        let call = call.set_registry_id(self.account.clone()).lifecycle_policy_text(policy.to_json());
        with_timeout("ecr:PutLifecyclePolicy", &place, call.send()).await.map(drop)
    }

    /// Returns `HOST/REPOSITORY` for messages. Fails for the public registry, which larder does not manage.
    fn place(&self, repository: &str) -> Result<String, EcrError> {
        if self.is_public {
            return Err(EcrError::UnsupportedByPublic("API that larder can manage repositories with"));
        }
        Ok(format!("{}/{repository}", self.host))
    }
}

async fn with_timeout<T, E: ProvideErrorMetadata + std::error::Error + 'static>(
    action: &'static str,
    place: &str,
    call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Result<T, EcrError> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(convert_error(action, place, &error)),
        Err(_) => Err(EcrError::TimedOut { action, place: place.to_owned(), patience: CALL_TIMEOUT }),
    }
}

/// Converts an error of the SDK. AWS's error codes are grouped by remedy.
fn convert_error<E: ProvideErrorMetadata + std::error::Error + 'static>(
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
            EcrError::NoCredentials { place, message: "none was found".to_owned() }
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
        | "MissingAuthenticationToken" => EcrError::NoCredentials { place, message: words },
        "RepositoryNotFoundException" => EcrError::RepositoryNotFound(place),
        code => EcrError::Refused { action, place, code: code.to_owned(), message: words },
    }
}

fn to_timestamp(time: &aws_sdk_ecr::primitives::DateTime) -> Option<Timestamp> {
    Timestamp::from_second(time.secs()).ok()
}
