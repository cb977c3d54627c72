//! Resolves the options of RUN steps: network, hosts, limits, entitlements.

use std::collections::BTreeMap;

use super::SettingsError;
use crate::cli::StepArgs;

/// Returns the options in the format of BuildKit's Dockerfile frontend.
pub(super) fn options(args: &StepArgs) -> Result<BTreeMap<String, String>, SettingsError> {
    let mut options = BTreeMap::new();
    match args.network.as_deref() {
        None | Some("" | "default") => {}
        Some(mode @ ("host" | "none")) => {
            options.insert("force-network-mode".to_owned(), mode.to_owned());
        }
        Some(other) => {
            let reason = format!("BuildKit knows the modes default, none and host, not `{other}`");
            return Err(SettingsError::flag("network", reason));
        }
    }
    let hosts: Result<Vec<String>, SettingsError> = args.add_host.iter().map(|host| add_host(host)).collect();
    if !args.add_host.is_empty() {
        options.insert("add-hosts".to_owned(), hosts?.join(","));
    }
    if let Some(text) = &args.shm_size {
        options.insert("shm-size".to_owned(), size("shm-size", text)?.to_string());
    }
    if !args.ulimit.is_empty() {
        for limit in &args.ulimit {
            if !is_ulimit(limit) {
                let reason =
                    format!("`{limit}` is not NAME=SOFT[:HARD] with a name of setrlimit, such as nofile");
                return Err(SettingsError::flag("ulimit", reason));
            }
        }
        options.insert("ulimit".to_owned(), args.ulimit.join(","));
    }
    if let Some(cgroup) = args.cgroup_parent.as_ref().filter(|cgroup| !cgroup.is_empty()) {
        options.insert("cgroup-parent".to_owned(), cgroup.clone());
    }
    Ok(options)
}

/// Normalizes `HOST:IP` or `HOST=IP` to `HOST=IP`.
fn add_host(flag: &str) -> Result<String, SettingsError> {
    let failed = |reason: String| SettingsError::flag("add-host", reason);
    let (host, address) = (flag.split_once('=').or_else(|| flag.split_once(':')))
        .filter(|(host, _)| !host.is_empty() && !host.contains([',', ' ']))
        .ok_or_else(|| failed(format!("`{flag}` is not HOST:IP")))?;
    if address == "host-gateway" {
        return Err(failed("host-gateway is known to the engine only: give the address itself".to_owned()));
    }
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let ip: std::net::IpAddr = bare.parse().map_err(|_| failed(format!("`{address}` is no IP address")))?;
    Ok(format!("{host}={ip}"))
}

/// Limits known to Docker's client (docker/go-units, `ulimit.go`).
const ULIMITS: [&str; 15] = [
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
        ULIMITS.contains(&name) && fits
    })
}

pub(super) fn size(flag: &'static str, text: &str) -> Result<u64, SettingsError> {
    bytes(text).ok_or_else(|| SettingsError::flag(flag, format!("`{text}` is no size such as 64m or 1g")))
}

/// Parses a size in bytes with Docker's binary suffixes: `64m`, `1g`, `1.5GiB`, `512`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let split = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, suffix) = lower.split_at(split);
    let shift = match suffix.trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // Further digits are smaller than a byte.
    let (fraction, digits) = (&fraction[..fraction.len().min(9)], u32::try_from(fraction.len().min(9)).ok()?);
    let part = if digits == 0 { 0 } else { (fraction.parse::<u128>().ok()? << shift) / 10_u128.pow(digits) };
    whole.parse::<u64>().ok()?.checked_mul(1 << shift)?.checked_add(u64::try_from(part).ok()?)
}

pub(super) fn entitlements(args: &StepArgs) -> Result<Vec<String>, SettingsError> {
    let mut entitlements = args.allow.clone();
    if let Some(unknown) =
        args.allow.iter().find(|name| !matches!(name.as_str(), "network.host" | "security.insecure"))
    {
        let reason = format!("`{unknown}` is neither network.host nor security.insecure");
        return Err(SettingsError::flag("allow", reason));
    }
    if args.network.as_deref() == Some("host") && !args.allow.iter().any(|name| name == "network.host") {
        entitlements.push("network.host".to_owned());
    }
    Ok(entitlements)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_dockers_suffixes() {
        for (text, expected) in [
            ("64m", Some(64 << 20)),
            ("1GB", Some(1 << 30)),
            ("512", Some(512)),
            ("1.5GiB", Some(3 << 29)),
            ("0.5k", Some(512)),
            ("x", None),
            ("1q", None),
            ("1.2.3", None),
            ("-1", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn hosts_come_in_both_notations() {
        assert_eq!(add_host("db:10.0.0.1").unwrap(), "db=10.0.0.1");
        assert_eq!(add_host("db=[::1]").unwrap(), "db=::1");
        assert!(add_host("db").is_err());
        assert!(add_host("db:host-gateway").unwrap_err().to_string().contains("address itself"));
    }
}
