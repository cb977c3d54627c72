//! Parsers for the values of `docker run`'s options that have their own syntax.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::settings::fields;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct PortMapping {
    /// `PORT/PROTOCOL` in the container.
    pub(super) inside: String,
    /// The address on the engine's host; empty for all.
    pub(super) host_address: String,
    /// The port on the engine's host, or a range to choose one from; empty for any free one.
    pub(super) host_port: String,
}

/// Parses `[[IP:]PORT:]PORT[/PROTOCOL]`, also with ranges, or `published=PORT,target=PORT,protocol=PROTOCOL`.
pub(super) fn parse_published_ports(text: &str) -> Result<Vec<PortMapping>, String> {
    let failed = || format!("`{text}` is not [[IP:]PORT:]PORT[/tcp|/udp|/sctp]");
    let (address, outside, inside, protocol) =
        if text.contains('=') { split_long_port(text)? } else { split_short_port(text) };
    let (address, outside, inside) = (address.as_str(), outside.as_str(), inside.as_str());
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let is_address = address.is_empty() || address.parse::<IpAddr>().is_ok();
    let (first, last) =
        parse_port_range(inside).filter(|(first, _)| *first > 0 && is_address).ok_or_else(failed)?;
    let protocol = parse_protocol(&protocol).ok_or_else(failed)?;
    let port = |inside: u16, outside: String| PortMapping {
        inside: format!("{inside}/{protocol}"),
        host_address: address.to_owned(),
        host_port: outside,
    };
    if outside.is_empty() {
        return Ok((first..=last).map(|inside| port(inside, String::new())).collect());
    }
    let (start, end) = parse_port_range(outside).ok_or_else(failed)?;
    if first == last {
        return Ok(vec![port(first, outside.to_owned())]);
    }
    if end - start != last - first {
        return Err(format!("`{text}`: {outside} and {inside} are not the same number of ports"));
    }
    Ok((first..=last).zip(start..=end).map(|(inside, outside)| port(inside, outside.to_string())).collect())
}

/// Splits `[[IP:]PORT:]PORT[/PROTOCOL]` into the address, the ports outside and inside, and the protocol.
fn split_short_port(text: &str) -> (String, String, String, String) {
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let (outside, inside) = ports.rsplit_once(':').unwrap_or(("", ports));
    let (address, outside) = outside.rsplit_once(':').unwrap_or(("", outside));
    (address.to_owned(), outside.to_owned(), inside.to_owned(), protocol.to_owned())
}

/// Returns the same as [`split_short_port`] of `published=PORT,target=PORT,protocol=PROTOCOL`.
fn split_long_port(text: &str) -> Result<(String, String, String, String), String> {
    let (mut outside, mut inside, mut protocol) = (String::new(), None, "tcp".to_owned());
    for (name, value) in fields::parse(text)? {
        match (name.as_str(), value) {
            ("published", Some(value)) => outside = value,
            ("target", Some(value)) => inside = Some(value),
            ("protocol", Some(value)) => protocol = value,
            // Only swarms distinguish modes.
            ("mode", Some(_)) => {}
            _ => return Err(format!("`{name}` is not one of published, target, protocol")),
        }
    }
    let inside = inside.ok_or_else(|| format!("`{text}` has no target"))?;
    // The address may precede the port.
    let (address, outside) = outside.rsplit_once(':').unwrap_or(("", &outside));
    Ok((address.to_owned(), outside.to_owned(), inside, protocol))
}

/// Parses `PORT[-PORT][/PROTOCOL]`.
pub(super) fn parse_exposed_ports(text: &str) -> Result<Vec<PortMapping>, String> {
    let failed = || format!("`{text}` is not PORT[-PORT][/tcp|/udp|/sctp]");
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = parse_port_range(ports).filter(|(first, _)| *first > 0).ok_or_else(failed)?;
    let protocol = parse_protocol(protocol).ok_or_else(failed)?;
    let port = |port: u16| PortMapping {
        inside: format!("{port}/{protocol}"),
        host_address: String::new(),
        host_port: String::new(),
    };
    Ok((first..=last).map(port).collect())
}

fn parse_protocol(text: &str) -> Option<String> {
    let protocol = text.to_ascii_lowercase();
    matches!(&*protocol, "tcp" | "udp" | "sctp").then_some(protocol)
}

fn parse_port_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// Parses `DEVICE[:PATH[:rwm]]`.
pub(super) fn parse_device(text: &str) -> Result<Value, String> {
    let is_permissions = |text: &str| {
        let is_once = |c: char| text.matches(c).count() == 1;
        !text.is_empty() && text.chars().all(|c| "rwm".contains(c) && is_once(c))
    };
    let parts: Vec<&str> = text.split(':').collect();
    let parts = match parts[..] {
        [outside] => Some((outside, outside, "rwm")),
        [outside, permissions] if is_permissions(permissions) => Some((outside, outside, permissions)),
        [outside, inside] => Some((outside, inside, "rwm")),
        [outside, inside, permissions] if is_permissions(permissions) => Some((outside, inside, permissions)),
        _ => None,
    };
    let is_path = |text: &str| text.starts_with('/');
    let parts = parts.filter(|(outside, inside, _)| is_path(outside) && is_path(inside));
    let (outside, inside, permissions) =
        parts.ok_or_else(|| format!("`{text}` is not DEVICE[:PATH[:rwm]]"))?;
    Ok(json!({ "PathOnHost": outside, "PathInContainer": inside, "CgroupPermissions": permissions }))
}

/// Returns `true` for the name of a CDI device, `VENDOR/CLASS=NAME`.
pub(super) fn is_cdi_device(text: &str) -> bool {
    let is_kind = |kind: &str| !kind.starts_with('/') && kind.split('/').count() == 2;
    text.split_once('=').is_some_and(|(kind, name)| is_kind(kind) && !name.is_empty())
}

/// Checks a rule for the device cgroup, `TYPE MAJOR:MINOR PERMISSIONS`.
pub(super) fn check_device_rule(text: &str) -> Result<String, String> {
    let is_number =
        |text: &str| text == "*" || !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_rule = match text.split(' ').collect::<Vec<_>>()[..] {
        ["a" | "b" | "c", numbers, permissions] => {
            numbers.split_once(':').is_some_and(|(major, minor)| is_number(major) && is_number(minor))
                && (1..=3).contains(&permissions.len())
                && permissions.chars().all(|c| "rwm".contains(c))
        }
        _ => false,
    };
    is_rule.then(|| text.to_owned()).ok_or_else(|| format!("`{text}` is not a rule such as `c 226:* rwm`"))
}

/// Parses `all`, a count, or fields: `device=ID[,ID]`, `count`, `driver`, `capabilities` and `options`.
pub(super) fn parse_gpus(text: &str) -> Result<Value, String> {
    let failed = || {
        format!(
            "`{text}` is neither all, a count, device=ID[,ID], nor fields of count, device, driver, capabilities, options"
        )
    };
    let count = |text: &str| match text {
        "all" => Some(-1),
        text => text.parse::<u32>().ok().map(i64::from),
    };
    // docker run's syntax quotes lists, sometimes twice.
    let bare =
        text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).filter(|text| !text.contains('"'));
    let (mut number, mut ids, mut request) = (None, Vec::<String>::new(), json!({}));
    let mut capabilities = Vec::<String>::new();
    let split = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let text_of_fields = bare.unwrap_or(text);
    let given = match text_of_fields.strip_prefix("device=") {
        // Ids may contain capital letters, which the names of fields may not.
        Some(list) if !list.contains(['=', '"']) => vec![("device".to_owned(), Some(list.to_owned()))],
        _ => fields::parse(text_of_fields).map_err(|_| failed())?,
    };
    for (name, value) in given {
        match (name.as_str(), value) {
            ("device", Some(value)) if !value.is_empty() => ids.extend(split(&value)),
            ("count", Some(value)) => number = Some(count(&value).ok_or_else(failed)?),
            ("driver", Some(value)) => request["Driver"] = value.into(),
            ("capabilities", Some(value)) => capabilities.extend(split(&value)),
            ("options", Some(value)) => {
                let pairs = value.split(',').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
                pairs.for_each(|(name, value)| request["Options"][name] = value.into());
            }
            // Further ids after an unquoted `device=`.
            (id, None) if !ids.is_empty() && !id.is_empty() => ids.push(id.to_owned()),
            (all, None) if number.is_none() => number = Some(count(all).ok_or_else(failed)?),
            _ => return Err(failed()),
        }
    }
    if !capabilities.iter().any(|capability| capability == "gpu") {
        capabilities.push("gpu".to_owned());
    }
    request["Capabilities"] = json!([capabilities]);
    match (ids.is_empty(), number) {
        (true, number) => request["Count"] = number.unwrap_or(1).into(),
        (false, None) => request["DeviceIDs"] = json!(ids),
        (false, Some(_)) => return Err(format!("`{text}` has both a count and devices")),
    }
    Ok(request)
}

/// Converts `HOST:IP` or `HOST=IP` to the engine's format.
pub(super) fn parse_host(text: &str) -> Result<String, String> {
    let parts = text.split_once('=').or_else(|| text.split_once(':')).filter(|(host, _)| !host.is_empty());
    let (host, place) = parts.ok_or_else(|| format!("`{text}` is not HOST:IP"))?;
    let place = if place == "host-gateway" { place.to_owned() } else { check_address(place)? };
    Ok(format!("{host}:{place}"))
}

/// Checks an IP address, optionally in brackets.
pub(super) fn check_address(text: &str) -> Result<String, String> {
    check_address_of_kind(text, "IP", |_| true)
}

/// Checks an IP address with `is_it`; `kind` is its name in errors.
pub(super) fn check_address_of_kind(
    text: &str,
    kind: &str,
    is_it: fn(&IpAddr) -> bool,
) -> Result<String, String> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok().filter(is_it);
    address.map(|_| bare.to_owned()).ok_or_else(|| format!("`{text}` is not an {kind} address"))
}

/// Checks a MAC address, such as `92:d0:c6:0a:29:33`.
pub(super) fn check_mac_address(text: &str) -> Result<&str, String> {
    let is_byte = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_one = text.split([':', '-']).count() == 6 && text.split([':', '-']).all(is_byte);
    if is_one { Ok(text) } else { Err(format!("`{text}` is not a MAC address such as 92:d0:c6:0a:29:33")) }
}

/// Parses a number with up to nine decimals, in billionths.
pub(super) fn parse_billionths(text: &str) -> Result<i64, String> {
    let failed = || format!("`{text}` is not a number such as 2 or 1.5");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.len() > 9 || !is_number(whole) || !is_number(fraction) || whole.len() + fraction.len() == 0 {
        return Err(failed());
    }
    format!("{whole}{fraction:0<9}").parse().map_err(|_| failed())
}

/// Parses a network with the properties of the container's endpoint: `NAME`, or `name=NAME,alias=…`.
pub(super) fn parse_network(text: &str) -> Result<(String, Vec<(String, String)>), String> {
    if !text.contains('=') {
        return Ok((text.to_owned(), Vec::new()));
    }
    let (mut network, mut rest) = (None, Vec::new());
    for (name, value) in fields::parse(text)? {
        let value = value.ok_or_else(|| format!("`{name}` of `{text}` has no value"))?;
        if name == "name" { network = Some(value) } else { rest.push((name, value)) }
    }
    Ok((network.ok_or_else(|| format!("`{text}` has no name"))?, rest))
}
