//! TLS to an engine, mutual if it requires a client certificate.
//!
//! Docker keeps `ca.pem`, `cert.pem` and `key.pem` in one directory. Without `ca.pem`, the system's certificate
//! authorities apply.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{AlertDescription, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

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

/// A failure to set up or to use TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read certificate or key {}", .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("unusable certificate or key")]
    Config(#[source] rustls::Error),
    #[error("`{0}` is not a valid server name for TLS")]
    ServerName(String),
    #[error("there is no certificate in {}", .0.display())]
    NoCertificate(PathBuf),
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
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Config)?;
        let builder = if self.skip_verify {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        match &self.client {
            Some((certificate, key)) => {
                let key_der = PrivateKeyDer::from_pem_file(key)
                    .map_err(|source| TlsError::File { path: key.clone(), source })?;
                builder.with_client_auth_cert(certificates(certificate)?, key_der).map_err(TlsError::Config)
            }
            None => Ok(builder.with_no_client_auth()),
        }
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        if let Some(ca) = &self.ca {
            for certificate in certificates(ca)? {
                roots.add(certificate).map_err(TlsError::Config)?;
            }
        } else {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Ok(roots)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| TlsError::File { path: path.to_owned(), source })?;
    if found.is_empty() { Err(TlsError::NoCertificate(path.to_owned())) } else { Ok(found) }
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

/// Accepts every certificate, provided that the peer holds its key.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
