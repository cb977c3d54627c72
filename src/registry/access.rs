//! Network access to registries: certificates, insecure registries, mirrors.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, ClientBuilder};

use super::RegistryError;
use super::certificates::Certificates;
use crate::tls::install_provider;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// The settings of this machine for access to registries, as in Docker's daemon configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RegistryAccess {
    /// Directories like Docker's `certs.d`: `HOST[:PORT]/` contains the registry's CAs (`*.crt`) and larder's client
    /// certificates (`*.cert`, each with its `*.key`).
    pub(crate) certificates: Vec<PathBuf>,
    /// Registries that may be used with plain HTTP or with any certificate: `HOST[:PORT]` or `ADDRESS/BITS`.
    pub(crate) insecure_registries: Vec<String>,
    /// Mirrors of Docker Hub, `http(s)://HOST[:PORT]`.
    pub(crate) mirrors: Vec<String>,
}

impl RegistryAccess {
    /// Returns `true` if plain HTTP is allowed for `host`: an insecure registry, or one on this machine. A registry
    /// with a given CA always requires TLS.
    pub(super) fn is_insecure(&self, host: &str) -> bool {
        let has_authority = |directory: &PathBuf| {
            let files = std::fs::read_dir(directory.join(host)).into_iter().flatten().flatten();
            files.into_iter().any(|file| file.path().extension().is_some_and(|extension| extension == "crt"))
        };
        self.is_listed_insecure(host) && !self.certificates.iter().any(has_authority)
    }

    fn is_listed_insecure(&self, host: &str) -> bool {
        let address = address(host);
        let is_named = |insecure: &String| {
            insecure == host || address.is_some_and(|address| is_within(address, insecure))
        };
        is_loopback(host) || self.insecure_registries.iter().any(is_named)
    }

    pub(super) fn client(&self, host: &str) -> Result<Client, RegistryError> {
        self.build_client(host, Client::builder().read_timeout(READ_TIMEOUT))
    }

    /// Creates a client for requests whose bodies take longer than [`Self::client`] waits for a response.
    pub(super) fn streaming_client(&self, host: &str) -> Result<Client, RegistryError> {
        self.build_client(host, Client::builder())
    }

    fn build_client(&self, host: &str, client: ClientBuilder) -> Result<Client, RegistryError> {
        install_provider();
        let mut client = client
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("larder/", env!("CARGO_PKG_VERSION")))
            .tls_danger_accept_invalid_certs(self.is_insecure(host));
        if is_loopback(host) {
            // Never use a proxy to reach this machine.
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

fn address(host: &str) -> Option<IpAddr> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Returns `true` if `address` is in `network` (`ADDRESS/BITS`).
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

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || address(host).is_some_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_only_for_this_machine_and_insecure_registries() {
        let reach = RegistryAccess {
            insecure_registries: ["10.1.0.0/16", "registry:5000", "fd00::/8"].map(str::to_owned).to_vec(),
            ..RegistryAccess::default()
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
    fn the_error_for_an_invalid_certificate_names_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let of_host = directory.path().join("reg.example:5000");
        std::fs::create_dir(&of_host).unwrap();
        std::fs::write(of_host.join("client.cert"), "-----BEGIN NOTHING-----").unwrap();
        let reach =
            RegistryAccess { certificates: vec![directory.path().to_owned()], ..RegistryAccess::default() };
        let error = reach.client("reg.example:5000").unwrap_err();
        assert!(error.to_string().contains("client."), "{error}");
        assert!(reach.client("other.example").is_ok());
    }
}
