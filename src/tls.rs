//! Certificates, keys and the verification of TLS servers, for engines, registries and object stores.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// The certificate chain of a client and its key.
pub(crate) type ClientIdentity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A certificate or key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// The file cannot be read or parsed.
    #[error("cannot read certificate or key {}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: pem::Error,
    },
    /// The file contains something else.
    #[error("there is no certificate in {}", .0.display())]
    NoCertificate(PathBuf),
}

/// Reads the certificates in a PEM file, of which there is at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| PemError::Unreadable { path: path.to_owned(), source })?;
    if found.is_empty() { Err(PemError::NoCertificate(path.to_owned())) } else { Ok(found) }
}

pub(crate) fn client_identity(certificate: &Path, key: &Path) -> Result<ClientIdentity, PemError> {
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|source| PemError::Unreadable { path: key.to_owned(), source })?;
    Ok((certificates(certificate)?, private))
}

pub(crate) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Makes ring the provider of cryptography for clients that do not have a configuration of their own.
pub(crate) fn install_provider() {
    // Fails if a provider is installed already, which is then the same one.
    drop(ring::default_provider().install_default());
}

/// How a client verifies servers.
#[derive(Debug)]
pub(crate) enum Verification {
    /// Any certificate is accepted, provided that the server has its key.
    None,
    Roots(RootCertStore),
    /// Also accepts a server whose certificate is itself one of these, if it is valid for the host name: many
    /// registries use a self-signed certificate that claims to be an authority, as `openssl req -x509` creates it.
    /// Docker accepts it both as authority and as server certificate; rustls does not accept an authority as a server.
    RootsOrServers(RootCertStore, Vec<CertificateDer<'static>>),
}

pub(crate) fn client_config(
    verification: Verification,
    client: Option<ClientIdentity>,
) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match verification {
        Verification::Roots(roots) => builder.with_root_certificates(roots),
        Verification::None => {
            let verifier = LenientVerifier { roots: None, servers: Vec::new(), provider };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        Verification::RootsOrServers(roots, servers) => {
            let roots = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let roots = Some(roots.build().map_err(|error| Error::General(error.to_string()))?);
            let verifier = LenientVerifier { roots, servers, provider };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    match client {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key),
        None => Ok(builder.with_no_client_auth()),
    }
}

/// Accepts more servers than rustls does, see [`Verification`].
#[derive(Debug)]
struct LenientVerifier {
    /// `None` accepts every certificate.
    roots: Option<Arc<WebPkiServerVerifier>>,
    servers: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for LenientVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else { return Ok(ServerCertVerified::assertion()) };
        match roots.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // rustls has no specific error for an authority that is used as a server.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.servers.contains(end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
