//! The certificates of one registry in a directory like Docker's `certs.d`.

use std::path::{Path, PathBuf};

use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;

use super::RegistryError;
use crate::error_chain::chain;
use crate::tls::{self, ClientIdentity, PemError, Verification};

#[derive(Debug, Default)]
pub(super) struct Certificates {
    authorities: Vec<CertificateDer<'static>>,
    client: Option<ClientIdentity>,
}

impl Certificates {
    /// Adds the certificates in a directory: `*.crt` as authorities, `*.cert` with its `*.key` for the client. The
    /// directory need not exist.
    pub(super) fn read(&mut self, directory: &Path) -> Result<(), RegistryError> {
        let Ok(files) = std::fs::read_dir(directory) else { return Ok(()) };
        let mut paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
        paths.sort();
        for path in paths {
            match path.extension().and_then(std::ffi::OsStr::to_str) {
                Some("crt") => self.authorities.extend(tls::certificates(&path)?),
                Some("cert") => self.client = Some(tls::client_identity(&path, &path.with_extension("key"))?),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.client.is_none()
    }

    pub(super) fn config(self, host: &str) -> Result<ClientConfig, RegistryError> {
        let failed = |error: rustls::Error| RegistryError::InvalidCertificate {
            path: host.to_owned(),
            reason: chain(&error),
        };
        let mut roots = tls::system_roots();
        for authority in &self.authorities {
            roots.add(authority.clone()).map_err(failed)?;
        }
        tls::client_config(Verification::RootsOrServers(roots, self.authorities), self.client).map_err(failed)
    }
}

impl From<PemError> for RegistryError {
    fn from(error: PemError) -> Self {
        let (PemError::Unreadable { path, .. } | PemError::NoCertificate(path)) = &error;
        Self::InvalidCertificate { path: path.display().to_string(), reason: chain(&error) }
    }
}
