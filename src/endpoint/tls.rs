//! TLS to an engine, mutual if it requires a client certificate.
//!
//! Docker keeps `ca.pem`, `cert.pem` and `key.pem` in one directory. Without `ca.pem`, the system's certificate
//! authorities apply.

use std::io;
use std::path::{Path, PathBuf};

use rustls::{AlertDescription, ClientConfig, RootCertStore};

use crate::tls::{self, PemError, Verification};

/// The certificate files of one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate authority of the server; `None` means the system's.
    pub(crate) ca: Option<PathBuf>,
    /// The client's certificate chain and its key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
    /// Accept any server certificate (Docker's `--tls` without `--tlsverify`).
    pub(crate) skip_verify: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    Pem(#[from] PemError),
    #[error("unusable certificate or key")]
    Config(#[source] rustls::Error),
    #[error("`{0}` is not a valid server name for TLS")]
    ServerName(String),
    #[error("the server does not speak TLS")]
    NotTls(#[source] io::Error),
    /// The engine rejected the client's certificate, or the lack of one.
    #[error("the engine did not accept the client certificate")]
    Rejected(#[source] rustls::Error),
    #[error("TLS handshake failed")]
    Handshake(#[source] io::Error),
}

impl TlsFiles {
    /// Returns the files of a directory laid out as Docker's `DOCKER_CERT_PATH`; only those that exist.
    ///
    /// If either the certificate or the key exists, both are returned, so that the missing one is reported.
    pub(crate) fn in_directory(directory: &Path, skip_verify: bool) -> Self {
        let [ca, certificate, key] = ["ca.pem", "cert.pem", "key.pem"].map(|name| directory.join(name));
        let client = (certificate.is_file() || key.is_file()).then_some((certificate, key));
        Self { ca: Some(ca).filter(|path| path.is_file()), client, skip_verify }
    }

    pub(super) fn config(&self) -> Result<ClientConfig, TlsError> {
        let verification =
            if self.skip_verify { Verification::None } else { Verification::Roots(self.roots()?) };
        let client = self.client.as_ref().map(|(certificate, key)| tls::client_identity(certificate, key));
        tls::client_config(verification, client.transpose()?).map_err(TlsError::Config)
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let Some(ca) = &self.ca else { return Ok(tls::system_roots()) };
        let mut roots = RootCertStore::empty();
        for certificate in tls::certificates(ca)? {
            roots.add(certificate).map_err(TlsError::Config)?;
        }
        Ok(roots)
    }
}

impl TlsError {
    /// Returns the reason why a handshake failed.
    ///
    /// With TLS 1.3 the client's certificate is checked only after the handshake, so the first read fails instead.
    pub(crate) fn handshake(error: io::Error) -> Self {
        match error.get_ref().and_then(|source| source.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidMessage(_)) => Self::NotTls(error),
            Some(rustls::Error::AlertReceived(
                alert @ (AlertDescription::BadCertificate
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRequired
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateUnknown
                | AlertDescription::DecryptError
                | AlertDescription::UnknownCA
                | AlertDescription::UnsupportedCertificate),
            )) => Self::Rejected(rustls::Error::AlertReceived(*alert)),
            _ if error.kind() == io::ErrorKind::UnexpectedEof => Self::NotTls(error),
            _ => Self::Handshake(error),
        }
    }
}
