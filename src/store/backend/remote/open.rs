//! Opens the backend of an address.
//!
//! If larder is given no credentials, OpenDAL's signers find them as the tools of each provider do: `AWS_*` variables,
//! shared configuration, web identity, container and instance roles; `GOOGLE_APPLICATION_CREDENTIALS`, the well-known
//! file, the metadata server; `AZURE_STORAGE_*`, workload and managed identities. The signers read the environment
//! themselves. OpenDAL's service for GitHub's cache reads from it the version of the cache service.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use opendal::services::{Azblob, Gcs, Ghac, S3, Webdav};
use opendal::{HttpTransporter, OperationContext, Operator};

use super::actions_cache::{self, ActionsCacheLayer, CacheJob};
use super::transport::Transport;
use super::url::{RemoteService, RemoteUrl};
use super::{RemoteBackend, RemoteSettings};
use crate::store::backend::{Backend, DirectoryBackend};

#[derive(Debug, thiserror::Error)]
#[error("cannot open {place}")]
pub struct OpenRemoteError {
    /// The address of the store, without credentials.
    pub(crate) place: String,
    #[source]
    pub(crate) reason: OpenRemoteFault,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenRemoteFault {
    #[error("the region is not known: set the option `region` or AWS_REGION")]
    NoRegion,
    #[error("the storage account is not known: set the option `account` or `endpoint`")]
    NoAccount,
    #[error("the account key is not base64")]
    InvalidAccountKey,
    #[error("GitHub's cache needs the variable {0}, which is not set")]
    MissingVariable(&'static str),
    #[error("OpenDAL does not accept the address")]
    RejectedAddress,
    #[error("cannot create an HTTP client")]
    Client(#[source] reqwest::Error),
}

impl RemoteUrl {
    /// Opens the backend at this address without sending a request. For a `file://` address, the parent directory must
    /// exist whenever the backend is used.
    ///
    /// # Errors
    ///
    /// Fails if an option or variable that the service needs is missing.
    pub fn open(&self, settings: &RemoteSettings) -> Result<Arc<dyn Backend>, OpenRemoteError> {
        if self.service == RemoteService::File {
            let root = PathBuf::from(format!("/{}", self.prefix));
            return Ok(Arc::new(DirectoryBackend::shared(root.parent().unwrap_or(&root), &root)));
        }
        self.open_remote(settings)
            .map(|remote| Arc::new(remote) as Arc<dyn Backend>)
            .map_err(|reason| OpenRemoteError { place: self.to_string(), reason })
    }

    fn open_remote(&self, settings: &RemoteSettings) -> Result<RemoteBackend, OpenRemoteFault> {
        let transport = Transport::new(settings).map_err(OpenRemoteFault::Client)?;
        // The signer that assumes a role uses the default transport only. Later calls have no effect.
        HttpTransporter::install_default(transport.clone());
        let operator = self.operator(settings)?;
        let operator = operator
            .with_context(OperationContext::new().with_http_transport(HttpTransporter::new(transport)));
        Ok(RemoteBackend::new(operator, self.to_string(), settings))
    }

    fn operator(&self, settings: &RemoteSettings) -> Result<Operator, OpenRemoteFault> {
        match self.service {
            RemoteService::S3 => self.s3(settings),
            RemoteService::Gcs => self.gcs(),
            RemoteService::Azblob => self.azblob(settings),
            RemoteService::Webdav => self.webdav("http", settings),
            RemoteService::Webdavs => self.webdav("https", settings),
            RemoteService::Ghac => self.ghac(settings),
            RemoteService::File => Err(OpenRemoteFault::RejectedAddress),
        }
    }

    fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// Returns the value of an option, or an empty text, which OpenDAL's builders treat as absent.
    fn option_or_none(&self, name: &str) -> &str {
        self.option(name).unwrap_or_default()
    }

    fn is_anonymous(&self) -> bool {
        self.option("anonymous") == Some("true")
    }

    fn s3(&self, settings: &RemoteSettings) -> Result<Operator, OpenRemoteFault> {
        let build = |region: &str| {
            let mut builder = S3::default()
                .bucket(&self.name)
                .root(&self.prefix)
                .endpoint(self.option_or_none("endpoint"))
                .region(region)
                .profile(self.option_or_none("profile"))
                .role_arn(self.option_or_none("role_arn"))
                .external_id(self.option_or_none("external_id"))
                .server_side_encryption(self.option_or_none("sse"))
                .server_side_encryption_aws_kms_key_id(self.option_or_none("kms_key"))
                .default_storage_class(self.option_or_none("storage_class"));
            if let Some((user, password)) = settings.user.as_deref().zip(settings.password.as_deref()) {
                builder = builder.access_key_id(user).secret_access_key(password);
            }
            if self.option("path_style") == Some("false") {
                builder = builder.enable_virtual_host_style();
            }
            if self.is_anonymous() {
                builder = builder.skip_signature();
            }
            Operator::new(builder)
        };
        if let Some(region) = self.option("region") {
            return build(region).map_err(|_| OpenRemoteFault::RejectedAddress);
        }
        match build("") {
            // Some services ignore regions, but their signatures need one.
            Err(_) if self.option("endpoint").is_some() => {
                build("us-east-1").map_err(|_| OpenRemoteFault::RejectedAddress)
            }
            Err(error) if error.message().starts_with("region is missing") => Err(OpenRemoteFault::NoRegion),
            done => done.map_err(|_| OpenRemoteFault::RejectedAddress),
        }
    }

    fn gcs(&self) -> Result<Operator, OpenRemoteFault> {
        let mut builder = Gcs::default()
            .bucket(&self.name)
            .root(&self.prefix)
            .endpoint(self.option_or_none("endpoint"))
            .default_storage_class(self.option_or_none("storage_class"));
        if self.is_anonymous() {
            builder = builder.skip_signature();
        }
        Operator::new(builder).map_err(|_| OpenRemoteFault::RejectedAddress)
    }

    fn azblob(&self, settings: &RemoteSettings) -> Result<Operator, OpenRemoteFault> {
        let account = self.option("account").or(settings.user.as_deref());
        let endpoint = match (self.option("endpoint"), account) {
            (Some(endpoint), _) => endpoint.to_owned(),
            (None, Some(account)) => format!("https://{account}.blob.core.windows.net"),
            (None, None) => return Err(OpenRemoteFault::NoAccount),
        };
        let mut builder = Azblob::default()
            .container(&self.name)
            .root(&self.prefix)
            .endpoint(&endpoint)
            .account_name(account.unwrap_or_default());
        if let Some(key) = &settings.password {
            base64::prelude::BASE64_STANDARD.decode(key).map_err(|_| OpenRemoteFault::InvalidAccountKey)?;
            builder = builder.account_key(key);
        }
        if self.is_anonymous() {
            builder = builder.skip_signature();
        }
        Operator::new(builder).map_err(|_| OpenRemoteFault::RejectedAddress)
    }

    fn ghac(&self, settings: &RemoteSettings) -> Result<Operator, OpenRemoteFault> {
        let job = CacheJob::new(&settings.actions)?;
        let builder = Ghac::default()
            .version(actions_cache::VERSION)
            .endpoint(&job.results_url)
            .runtime_token(&job.runtime_token);
        let operator = Operator::new(builder).map_err(|_| OpenRemoteFault::RejectedAddress)?;
        // The name of the operator is the version of its entries: a digest, unless it uses the first version of the
        // service, which GitHub has switched off.
        if *operator.info().name() == *actions_cache::VERSION {
            return Err(OpenRemoteFault::MissingVariable("ACTIONS_CACHE_SERVICE_V2"));
        }
        Ok(operator.layer(ActionsCacheLayer::new(job, &self.prefix)))
    }

    fn webdav(&self, scheme: &str, settings: &RemoteSettings) -> Result<Operator, OpenRemoteFault> {
        let given = || settings.user.as_deref().zip(settings.password.as_deref());
        let in_url = self.user.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
        let (user, password) = in_url.or_else(given).unwrap_or_default();
        let builder = Webdav::default()
            .endpoint(&format!("{scheme}://{}", self.name))
            .root(&self.prefix)
            .username(user)
            .password(password);
        Operator::new(builder).map_err(|_| OpenRemoteFault::RejectedAddress)
    }
}
