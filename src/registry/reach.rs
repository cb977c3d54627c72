//! How registries are reached from here: certificates, insecure ones, mirrors.

use std::net::IpAddr;
use std::path::PathBuf;

use reqwest::Client;

use super::RegistryError;
use super::authority::Certificates;
use super::connection::patient;

/// How registries are reached from here, as Docker would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Directories like Docker's `certs.d`: in `HOST[:PORT]/` the registry's CAs (`*.crt`), and what larder is known by
    /// there (`*.cert`, each with its `*.key`).
    pub(crate) certificates: Vec<PathBuf>,
    /// Registries that are spoken to in plain HTTP, or whatever their certificate is: `HOST[:PORT]` or `ADDRESS/BITS`.
    pub(crate) insecure: Vec<String>,
    /// Registries that are asked before Docker Hub, `http(s)://HOST[:PORT]`.
    pub(crate) mirrors: Vec<String>,
}

impl Reach {
    /// Whether `host` is spoken to in plain HTTP if need be: an insecure registry, or one of this very machine. Whose CA is
    /// given is held to that.
    pub(super) fn is_insecure(&self, host: &str) -> bool {
        let has_authority = |directory: &PathBuf| {
            let files = std::fs::read_dir(directory.join(host)).into_iter().flatten().flatten();
            files.into_iter().any(|file| file.path().extension().is_some_and(|extension| extension == "crt"))
        };
        self.is_named_insecure(host) && !self.certificates.iter().any(has_authority)
    }

    fn is_named_insecure(&self, host: &str) -> bool {
        let address = address(host);
        let is_named = |insecure: &String| {
            insecure == host || address.is_some_and(|address| is_within(address, insecure))
        };
        is_loopback(host) || self.insecure.iter().any(is_named)
    }

    /// A client that speaks to `host`.
    pub(super) fn client(&self, host: &str) -> Result<Client, RegistryError> {
        // The one TLS stack's provider; whoever installed it first in this process installed the same.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut client = patient(Client::builder())
            .user_agent(concat!("larder/", env!("CARGO_PKG_VERSION")))
            .tls_danger_accept_invalid_certs(self.is_insecure(host));
        if is_loopback(host) {
            // No proxy stands between a machine and itself.
            client = client.no_proxy();
        }
        let mut certificates = Certificates::default();
        for directory in &self.certificates {
            certificates.read(&directory.join(host))?;
        }
        if !certificates.is_empty() {
            client = client.tls_backend_preconfigured(certificates.config(host)?);
        }
        client.build().map_err(|source| RegistryError::Http { host: host.to_owned(), source })
    }
}

/// The address that a registry is named by, if it is named by one.
fn address(host: &str) -> Option<IpAddr> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether `address` is within `ADDRESS/BITS`.
fn is_within(address: IpAddr, network: &str) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    };
    let Some((base, length)) = network.split_once('/') else { return false };
    let (Ok(base), Ok(length)) = (base.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    let ((base, width), (address, other)) = (bits(base), bits(address));
    width == other && length <= width && (base ^ address).leading_zeros() >= length
}

/// Whether a registry runs on this very machine, by its name.
fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || address(host).is_some_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_and_what_is_named_insecure() {
        let reach = Reach {
            insecure: ["10.1.0.0/16", "registry:5000", "fd00::/8"].map(str::to_owned).to_vec(),
            ..Reach::default()
        };
        for host in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:80",
            "127.9.9.9",
            "[::1]:5000",
            "10.1.2.3:443",
            "registry:5000",
            "[fd00::7]:5000",
        ] {
            assert!(reach.is_insecure(host), "{host}");
        }
        for host in
            ["docker.io", "localhost.example", "10.2.0.1:5000", "registry:5001", "registry", "[fe80::1]"]
        {
            assert!(!reach.is_insecure(host), "{host}");
        }
    }

    #[test]
    fn a_certificate_that_is_none_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let of_host = directory.path().join("reg.example:5000");
        std::fs::create_dir(&of_host).unwrap();
        std::fs::write(of_host.join("client.cert"), "-----BEGIN NOTHING-----").unwrap();
        let reach = Reach { certificates: vec![directory.path().to_owned()], ..Reach::default() };
        let error = reach.client("reg.example:5000").unwrap_err();
        assert!(error.to_string().contains("client."), "{error}");
        assert!(reach.client("other.example").is_ok());
    }
}
