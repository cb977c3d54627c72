//! What `larder run` makes its container of.

use std::path::Path;

use super::{Environment, SettingsError, fields, source};
use crate::cli::ContainerArgs;
use crate::engine::{ContainerSpec, Device, Gpus, Port};

/// Resolves docker run's flags; the image is filled in once it is known.
///
/// # Errors
///
/// Fails on malformed flags.
pub fn container(
    args: &ContainerArgs,
    command: &[String],
    environment: &Environment,
) -> Result<ContainerSpec, SettingsError> {
    let mut spec = ContainerSpec {
        image: String::new(),
        name: args.name.clone(),
        command: command.to_vec(),
        entrypoint: args.entrypoint.clone().map(|program| vec![program]),
        network: args.network.clone(),
        user: args.user.clone(),
        working_dir: args.workdir.clone(),
        ipc: args.ipc.clone(),
        ..ContainerSpec::default()
    };
    for variable in &args.env {
        if variable.is_empty() || variable.starts_with('=') {
            return Err(SettingsError::flag("env", format!("`{variable}` has no name")));
        }
        match (variable.contains('='), environment.raw(variable)) {
            (true, _) => spec.env.push(variable.clone()),
            (false, Some(value)) => spec.env.push(format!("{variable}={value}")),
            // As docker run does.
            (false, None) => {}
        }
    }
    for volume in &args.volume {
        match volume.split_once(':') {
            Some((outside, rest)) => spec.binds.push(format!("{}:{rest}", bind_source(outside)?)),
            None => spec.volumes.push(volume.clone()),
        }
    }
    for flag in &args.publish {
        spec.ports.push(port(flag).ok_or_else(|| {
            SettingsError::flag("publish", format!("`{flag}` is not [[IP:]PORT:]PORT[/tcp|/udp|/sctp]"))
        })?);
    }
    for flag in &args.device {
        spec.devices.push(
            device(flag).ok_or_else(|| {
                SettingsError::flag("device", format!("`{flag}` is not DEVICE[:PATH[:rwm]]"))
            })?,
        );
    }
    spec.gpus = args.gpus.as_deref().map(gpus).transpose()?;
    spec.shm_size = args.shm_size.as_deref().map(|size| source::size("shm-size", size)).transpose()?;
    Ok(spec)
}

/// A relative path as an absolute one; a volume's name as it is.
fn bind_source(outside: &str) -> Result<String, SettingsError> {
    if !outside.starts_with(['.', '~']) {
        return Ok(outside.to_owned());
    }
    let absolute = std::path::absolute(Path::new(outside)).ok();
    let absolute = absolute.and_then(|path| path.to_str().map(str::to_owned));
    absolute.ok_or_else(|| SettingsError::flag("volume", format!("`{outside}` is no path")))
}

fn port(flag: &str) -> Option<Port> {
    let (address, protocol) = flag.rsplit_once('/').unwrap_or((flag, "tcp"));
    let (outside, inside) = address.rsplit_once(':').unwrap_or(("", address));
    let (address, outside) = outside.rsplit_once(':').unwrap_or(("", outside));
    let is_port = |text: &str| text.parse::<u16>().is_ok_and(|port| port > 0);
    let fits = is_port(inside)
        && (outside.is_empty() || is_port(outside))
        && matches!(protocol, "tcp" | "udp" | "sctp");
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let is_address = address.is_empty() || address.parse::<std::net::IpAddr>().is_ok();
    (fits && is_address).then(|| Port {
        inside: format!("{inside}/{protocol}"),
        address: address.to_owned(),
        outside: outside.to_owned(),
    })
}

fn device(flag: &str) -> Option<Device> {
    let parts: Vec<&str> = flag.split(':').collect();
    let is_permissions = |text: &str| !text.is_empty() && text.chars().all(|c| "rwm".contains(c));
    let (outside, inside, permissions) = match parts[..] {
        [outside] => (outside, outside, "rwm"),
        [outside, permissions] if is_permissions(permissions) => (outside, outside, permissions),
        [outside, inside] => (outside, inside, "rwm"),
        [outside, inside, permissions] if is_permissions(permissions) => (outside, inside, permissions),
        _ => return None,
    };
    let is_path = outside.starts_with('/') && inside.starts_with('/');
    is_path.then(|| Device {
        outside: outside.to_owned(),
        inside: inside.to_owned(),
        permissions: permissions.to_owned(),
    })
}

fn gpus(flag: &str) -> Result<Gpus, SettingsError> {
    let failed =
        || SettingsError::flag("gpus", format!("`{flag}` is neither all, a count, nor device=ID[,ID]"));
    if flag == "all" {
        return Ok(Gpus::Count(-1));
    }
    if let Ok(count) = flag.parse::<u32>() {
        return Ok(Gpus::Count(count.into()));
    }
    // docker run's own notation puts the list into quotes.
    let flag = flag.trim_matches('"');
    let fields = fields::parse(flag).map_err(|_| failed())?;
    let mut ids = Vec::new();
    for (place, (name, value)) in fields.into_iter().enumerate() {
        match (name.as_str(), value) {
            ("device", Some(id)) if place == 0 && !id.is_empty() => ids.push(id),
            (id, None) if place > 0 && !id.is_empty() => ids.push(id.to_owned()),
            _ => return Err(failed()),
        }
    }
    Ok(Gpus::Ids(ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_published_as_docker_run_does() {
        let known = |inside: &str, address: &str, outside: &str| Port {
            inside: inside.to_owned(),
            address: address.to_owned(),
            outside: outside.to_owned(),
        };
        for (flag, expected) in [
            ("80", Some(known("80/tcp", "", ""))),
            ("8080:80", Some(known("80/tcp", "", "8080"))),
            ("127.0.0.1:8080:80/udp", Some(known("80/udp", "127.0.0.1", "8080"))),
            ("127.0.0.1::80", Some(known("80/tcp", "127.0.0.1", ""))),
            ("[::1]:1:2", Some(known("2/tcp", "::1", "1"))),
            ("0", None),
            ("x:80", None),
            ("70000:80", None),
            ("80/icmp", None),
            ("host:1:2", None),
            ("", None),
        ] {
            assert_eq!(port(flag), expected, "{flag}");
        }
    }

    #[test]
    fn devices_and_processors_are_named_as_for_docker_run() {
        let told =
            |flag: &str| device(flag).map(|device| (device.outside, device.inside, device.permissions));
        let own = |a: &str, b: &str, c: &str| Some((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(told("/dev/kfd"), own("/dev/kfd", "/dev/kfd", "rwm"));
        assert_eq!(told("/dev/kfd:r"), own("/dev/kfd", "/dev/kfd", "r"));
        assert_eq!(told("/dev/a:/dev/b:rw"), own("/dev/a", "/dev/b", "rw"));
        assert_eq!(told("kfd"), None);
        assert_eq!(told("/dev/a:/dev/b:x"), None);
        assert_eq!(gpus("all").unwrap(), Gpus::Count(-1));
        assert_eq!(gpus("2").unwrap(), Gpus::Count(2));
        assert_eq!(gpus("\"device=0,1\"").unwrap(), Gpus::Ids(vec!["0".to_owned(), "1".to_owned()]));
        for wrong in ["", "some", "device=", "count=1"] {
            assert!(gpus(wrong).is_err(), "{wrong}");
        }
    }
}
