//! Options of RUN steps: network, hosts, limits, entitlements.

use std::collections::BTreeMap;

use super::SettingsError;
use super::origin::{FromText, Origin};
use super::size::ByteSize;
use crate::cli::StepArgs;

#[derive(Debug, Default)]
pub(super) struct StepLayer {
    network: Option<Network>,
    /// `HOST=IP`.
    hosts: Vec<String>,
    /// In bytes.
    shm_size: Option<u64>,
    ulimits: Vec<String>,
    cgroup_parent: Option<String>,
    entitlements: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Default,
    Host,
    None,
}

impl StepLayer {
    /// Parses options; `origin` returns the origin of the values of a flag.
    pub(super) fn parse(
        written: &StepArgs,
        origin: impl Fn(&'static str) -> Origin,
    ) -> Result<Self, SettingsError> {
        let network = written
            .network
            .as_ref()
            .map(|text| parse_network(text).map_err(|reason| origin("network").error(reason)));
        let shm_size = written.shm_size.as_ref().map(|text| {
            ByteSize::from_text(text).map(|size| size.0).map_err(|reason| origin("shm-size").error(reason))
        });
        Ok(Self {
            network: network.transpose()?,
            hosts: origin("add-host").parse(&written.add_host, parse_host)?,
            shm_size: shm_size.transpose()?,
            ulimits: origin("ulimit").parse(&written.ulimit, check_ulimit)?,
            cgroup_parent: written.cgroup_parent.clone(),
            entitlements: origin("allow").parse(&written.allow, check_entitlement)?,
        })
    }

    /// Returns the options of both sources; those of `self` have precedence.
    pub(super) fn combine(self, lower: Self) -> Self {
        Self {
            network: self.network.or(lower.network),
            hosts: [lower.hosts, self.hosts].concat(),
            shm_size: self.shm_size.or(lower.shm_size),
            ulimits: [lower.ulimits, self.ulimits].concat(),
            cgroup_parent: self.cgroup_parent.or(lower.cgroup_parent),
            entitlements: [lower.entitlements, self.entitlements].concat(),
        }
    }

    /// Returns the options in the format of BuildKit's Dockerfile frontend, and the entitlements.
    pub(super) fn resolve(self) -> (BTreeMap<String, String>, Vec<String>) {
        let mut options = BTreeMap::new();
        let mut set = |name: &str, value: String| options.insert(name.to_owned(), value);
        match self.network {
            None | Some(Network::Default) => {}
            Some(Network::Host) => drop(set("force-network-mode", "host".to_owned())),
            Some(Network::None) => drop(set("force-network-mode", "none".to_owned())),
        }
        if !self.hosts.is_empty() {
            set("add-hosts", self.hosts.join(","));
        }
        if let Some(size) = self.shm_size {
            set("shm-size", size.to_string());
        }
        if !self.ulimits.is_empty() {
            set("ulimit", self.ulimits.join(","));
        }
        if let Some(cgroup) = self.cgroup_parent.filter(|cgroup| !cgroup.is_empty()) {
            set("cgroup-parent", cgroup);
        }
        let mut entitlements = self.entitlements;
        if self.network == Some(Network::Host) && !entitlements.iter().any(|name| name == "network.host") {
            entitlements.push("network.host".to_owned());
        }
        (options, entitlements)
    }
}

fn parse_network(text: &str) -> Result<Network, String> {
    match text {
        "" | "default" => Ok(Network::Default),
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        other => Err(format!("`{other}` is not one of BuildKit's modes default, none and host")),
    }
}

/// Normalizes `HOST:IP` or `HOST=IP` to `HOST=IP`.
fn parse_host(text: &str) -> Result<String, String> {
    let (host, address) = (text.split_once('=').or_else(|| text.split_once(':')))
        .filter(|(host, _)| !host.is_empty() && !host.contains([',', ' ']))
        .ok_or_else(|| format!("`{text}` is not HOST:IP"))?;
    if address == "host-gateway" {
        return Err("only the engine can resolve host-gateway: use the address itself".to_owned());
    }
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let ip: std::net::IpAddr = bare.parse().map_err(|_| format!("`{address}` is not an IP address"))?;
    Ok(format!("{host}={ip}"))
}

fn check_ulimit(text: &str) -> Result<String, String> {
    let failed =
        || format!("`{text}` is not NAME=SOFT[:HARD] with the name of a resource limit, such as nofile");
    is_ulimit(text).then(|| text.to_owned()).ok_or_else(failed)
}

fn check_entitlement(name: &str) -> Result<String, String> {
    let is_known = matches!(name, "network.host" | "security.insecure");
    let failed = || format!("`{name}` is neither network.host nor security.insecure");
    is_known.then(|| name.to_owned()).ok_or_else(failed)
}

/// Limits known to Docker's client (docker/go-units, `ulimit.go`).
const ULIMIT_NAMES: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

pub(super) fn is_ulimit(limit: &str) -> bool {
    // `-1` means unlimited.
    let number = |text: &str| if text == "-1" { Some(u64::MAX) } else { text.parse::<u64>().ok() };
    limit.split_once('=').is_some_and(|(name, range)| {
        let (soft, hard) = range.split_once(':').unwrap_or((range, range));
        let fits = number(soft).zip(number(hard)).is_some_and(|(soft, hard)| soft <= hard);
        ULIMIT_NAMES.contains(&name) && fits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_parsed_in_both_notations() {
        assert_eq!(parse_host("db:10.0.0.1").unwrap(), "db=10.0.0.1");
        assert_eq!(parse_host("db=[::1]").unwrap(), "db=::1");
        assert!(parse_host("db").is_err());
        assert!(parse_host("db:host-gateway").unwrap_err().contains("address itself"));
    }
}
