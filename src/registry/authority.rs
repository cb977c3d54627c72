//! Certificates that registries and larder authenticate with.
//!
//! Many registries use a single self-signed certificate that claims to be an authority, as `openssl req -x509` creates
//! it. Docker accepts it both as authority and as server certificate; rustls does not accept an authority as a server.
//! Therefore a server's certificate that is one of the given ones is accepted if it is valid for the host name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::RegistryError;

/// The certificates for one registry from a directory like Docker's `certs.d`.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    authorities: Vec<CertificateDer<'static>>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Certificates {
    /// Reads `*.crt`, and `*.cert` with its `*.key`.
    pub(super) fn read(&mut self, directory: &Path) -> Result<(), RegistryError> {
        let Ok(files) = std::fs::read_dir(directory) else { return Ok(()) };
        let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
        paths.sort();
        for path in paths {
            match path.extension().and_then(std::ffi::OsStr::to_str) {
                Some("crt") => self.authorities.extend(certificates(&path)?),
                Some("cert") => {
                    let key = path.with_extension("key");
                    let key = PrivateKeyDer::from_pem_file(&key).map_err(|error| unusable(&key, error))?;
                    self.client = Some((certificates(&path)?, key));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.client.is_none()
    }

    /// Returns a TLS configuration with these certificates and the system's authorities.
    pub(super) fn config(self, host: &str) -> Result<ClientConfig, RegistryError> {
        let failed = |error: &dyn std::fmt::Display| unusable(Path::new(host), error);
        let provider = Arc::new(ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for authority in &self.authorities {
            roots.add(authority.clone()).map_err(|error| failed(&error))?;
        }
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let usual = usual.build().map_err(|error| failed(&error))?;
        let verifier = Arc::new(Known { usual, given: self.authorities });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        match self.client {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| failed(&error)),
            None => Ok(builder.with_no_client_auth()),
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| unusable(path, error))?;
    if found.is_empty() { Err(unusable(path, "there is none in it")) } else { Ok(found) }
}

fn unusable(path: &Path, reason: impl std::fmt::Display) -> RegistryError {
    RegistryError::Certificate { path: path.display().to_string(), reason: reason.to_string() }
}

/// Verifies servers as usual, and accepts those whose own certificate was given.
#[derive(Debug)]
struct Known {
    usual: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Known {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified =
            self.usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // rustls has no specific error for an authority used as a server.
            Err(Error::InvalidCertificate(CertificateError::Other(_))) if self.given.contains(end_entity) => {
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
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
