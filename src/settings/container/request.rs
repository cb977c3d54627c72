//! Maps each option of `docker run` to a field of the request that creates a container.
//!
//! The fields are those of the Engine API's `POST /containers/create`, filled as in docker/cli's `opts.go`.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::mount;
use super::values::{self, PortMapping, parse_billionths};
use crate::cli::ContainerOptions;
use crate::settings::origin::FromText;
use crate::settings::size::ByteSize;
use crate::settings::step_options::is_ulimit;
use crate::settings::{Environment, SettingsError, duration};

/// The conversion of a value; the first element of a variant is the field.
#[derive(Debug)]
enum OptionConversion {
    Text(&'static str),
    TextList(&'static str),
    /// A namespace: one of these names, or `container:…` if [`CONTAINER_NAMESPACE`] is listed.
    Namespace(&'static str, &'static [&'static str]),
    Switch(&'static str),
    Number(&'static str, RangeInclusive<i64>),
    /// In bytes.
    Size(&'static str),
    /// In nanoseconds.
    Time(&'static str),
    /// `NAME=VALUE`; the value is optional if the second element is `true`.
    Pair(&'static str, bool),
    /// One element of a list, after a conversion.
    Checked(&'static str, fn(&str) -> Result<String, String>),
    /// `DEVICE:AMOUNT`; the second element is the field of the amount.
    DeviceLimit(&'static str, &'static str, fn(&str) -> Result<Value, String>),
    Custom(fn(&mut RequestBuilder, &str) -> Result<(), String>),
}

use OptionConversion::{
    Checked, Custom, DeviceLimit, Namespace, Number, Pair, Size, Switch, Text, TextList, Time,
};

const NON_NEGATIVE: RangeInclusive<i64> = 0..=i64::MAX;
/// The namespace of a different container.
const CONTAINER_NAMESPACE: &str = "container:NAME";
const NO_ALIASES: &str =
    "only networks created by docker network create have aliases: select one with --network";

static OPTION_CONVERSIONS: &[(&str, OptionConversion)] = &[
    ("env", Custom(RequestBuilder::variable)),
    ("volume", Custom(RequestBuilder::volume)),
    ("mount", Custom(|request, text| request.push("HostConfig.Mounts", mount::parse(text)?))),
    ("tmpfs", Custom(RequestBuilder::tmpfs)),
    ("volumes-from", TextList("HostConfig.VolumesFrom")),
    ("volume-driver", Text("HostConfig.VolumeDriver")),
    ("publish", Custom(|request, text| request.ports(values::parse_published_ports(text)?, true))),
    ("publish-all", Switch("HostConfig.PublishAllPorts")),
    ("expose", Custom(|request, text| request.ports(values::parse_exposed_ports(text)?, false))),
    ("gpus", Custom(|request, text| request.push("HostConfig.DeviceRequests", values::parse_gpus(text)?))),
    ("device", Custom(RequestBuilder::device)),
    ("device-cgroup-rule", Checked("HostConfig.DeviceCgroupRules", values::check_device_rule)),
    ("user", Text("User")),
    ("group-add", TextList("HostConfig.GroupAdd")),
    ("workdir", Text("WorkingDir")),
    // As with docker run, an empty value resets the entrypoint.
    ("entrypoint", Custom(|request, text| request.set("Entrypoint", json!([text])))),
    ("hostname", Text("Hostname")),
    ("domainname", Text("Domainname")),
    ("init", Switch("HostConfig.Init")),
    ("stop-signal", Text("StopSignal")),
    ("stop-timeout", Number("StopTimeout", -1..=i64::MAX)),
    ("label", Pair("Labels", true)),
    ("annotation", Pair("HostConfig.Annotations", true)),
    ("cap-add", TextList("HostConfig.CapAdd")),
    ("cap-drop", TextList("HostConfig.CapDrop")),
    ("privileged", Switch("HostConfig.Privileged")),
    ("security-opt", Custom(RequestBuilder::security)),
    ("read-only-rootfs", Switch("HostConfig.ReadonlyRootfs")),
    ("ipc", Namespace("HostConfig.IpcMode", &["none", "private", "shareable", "host", CONTAINER_NAMESPACE])),
    ("pid", Namespace("HostConfig.PidMode", &["host", CONTAINER_NAMESPACE])),
    ("uts", Namespace("HostConfig.UTSMode", &["host"])),
    ("userns", Namespace("HostConfig.UsernsMode", &["host"])),
    ("cgroupns", Namespace("HostConfig.CgroupnsMode", &["host", "private"])),
    ("cgroup-parent", Text("HostConfig.CgroupParent")),
    ("runtime", Text("HostConfig.Runtime")),
    ("sysctl", Pair("HostConfig.Sysctls", false)),
    // Must come before the options for the endpoint of the container in the network.
    ("network", Custom(RequestBuilder::network)),
    ("network-alias", Custom(|request, text| request.set_endpoint_property("alias", text))),
    ("ip", Custom(|request, text| request.set_endpoint_property("ip", text))),
    ("ip6", Custom(|request, text| request.set_endpoint_property("ip6", text))),
    ("link-local-ip", Custom(|request, text| request.set_endpoint_property("link-local-ip", text))),
    ("mac-address", Custom(|request, text| request.set_endpoint_property("mac-address", text))),
    ("link", Custom(RequestBuilder::link)),
    ("add-host", Checked("HostConfig.ExtraHosts", values::parse_host)),
    ("dns", Checked("HostConfig.Dns", values::check_address)),
    ("dns-option", TextList("HostConfig.DnsOptions")),
    ("dns-search", TextList("HostConfig.DnsSearch")),
    ("shm-size", Size("HostConfig.ShmSize")),
    ("memory", Size("HostConfig.Memory")),
    ("memory-reservation", Size("HostConfig.MemoryReservation")),
    (
        "memory-swap",
        Custom(|request, text| {
            request.set("HostConfig.MemorySwap", if text == "-1" { json!(-1) } else { parse_size(text)? })
        }),
    ),
    ("memory-swappiness", Number("HostConfig.MemorySwappiness", 0..=100)),
    ("oom-kill-disable", Switch("HostConfig.OomKillDisable")),
    ("oom-score-adj", Number("HostConfig.OomScoreAdj", -1000..=1000)),
    ("cpus", Custom(|request, text| request.set("HostConfig.NanoCpus", parse_billionths(text)?.into()))),
    ("cpuset-cpus", Text("HostConfig.CpusetCpus")),
    ("cpuset-mems", Text("HostConfig.CpusetMems")),
    ("cpu-shares", Number("HostConfig.CpuShares", NON_NEGATIVE)),
    ("cpu-period", Number("HostConfig.CpuPeriod", NON_NEGATIVE)),
    ("cpu-quota", Number("HostConfig.CpuQuota", -1..=i64::MAX)),
    ("cpu-rt-period", Number("HostConfig.CpuRealtimePeriod", NON_NEGATIVE)),
    ("cpu-rt-runtime", Number("HostConfig.CpuRealtimeRuntime", NON_NEGATIVE)),
    ("pids-limit", Number("HostConfig.PidsLimit", -1..=i64::MAX)),
    ("ulimit", Custom(RequestBuilder::ulimit)),
    ("blkio-weight", Number("HostConfig.BlkioWeight", 0..=1000)),
    ("blkio-weight-device", DeviceLimit("HostConfig.BlkioWeightDevice", "Weight", parse_number)),
    ("device-read-bps", DeviceLimit("HostConfig.BlkioDeviceReadBps", "Rate", parse_size)),
    ("device-write-bps", DeviceLimit("HostConfig.BlkioDeviceWriteBps", "Rate", parse_size)),
    ("device-read-iops", DeviceLimit("HostConfig.BlkioDeviceReadIOps", "Rate", parse_number)),
    ("device-write-iops", DeviceLimit("HostConfig.BlkioDeviceWriteIOps", "Rate", parse_number)),
    ("storage-opt", Pair("HostConfig.StorageOpt", false)),
    ("log-driver", Text("HostConfig.LogConfig.Type")),
    ("log-opt", Pair("HostConfig.LogConfig.Config", true)),
    ("health-cmd", Custom(|request, text| request.set("Healthcheck.Test", json!(["CMD-SHELL", text])))),
    ("health-interval", Time("Healthcheck.Interval")),
    ("health-timeout", Time("Healthcheck.Timeout")),
    ("health-start-period", Time("Healthcheck.StartPeriod")),
    ("health-start-interval", Time("Healthcheck.StartInterval")),
    ("health-retries", Number("Healthcheck.Retries", NON_NEGATIVE)),
    ("no-healthcheck", Custom(RequestBuilder::no_healthcheck)),
];

/// Returns the request for a container with these options, which must be self-contained.
pub(super) fn container_request(
    options: &ContainerOptions,
    environment: &Environment,
) -> Result<Value, SettingsError> {
    let mut request =
        RequestBuilder { body: json!({}), environment: environment.clone(), network: String::new() };
    for (name, meaning) in OPTION_CONVERSIONS {
        for value in options.get(name) {
            let result = meaning.apply(&mut request, value);
            result.map_err(|reason| SettingsError::flag(name, reason))?;
        }
    }
    Ok(request.body)
}

struct RequestBuilder {
    body: Value,
    /// The values of variables given by name only.
    environment: Environment,
    /// The network of the container; empty for the engine's default.
    network: String,
}

impl OptionConversion {
    fn apply(&self, request: &mut RequestBuilder, text: &str) -> Result<(), String> {
        match self {
            Text(place) => request.set(place, text.into()),
            TextList(place) => request.push(place, text.into()),
            Namespace(place, known) => {
                let other =
                    known.contains(&CONTAINER_NAMESPACE).then(|| text.strip_prefix("container:")).flatten();
                let is_known = known.contains(&text) && text != CONTAINER_NAMESPACE;
                if !is_known && !text.is_empty() && other.is_none_or(str::is_empty) {
                    return Err(format!("`{text}` is not one of {}", known.join(", ")));
                }
                request.set(place, text.into())
            }
            // Clap accepts only `true` and `false`.
            Switch(place) => request.set(place, (text != "false").into()),
            Number(place, range) => {
                let number = text.parse::<i64>().ok().filter(|number| range.contains(number));
                let number = number.ok_or_else(|| match (*range.start(), *range.end()) {
                    (low, i64::MAX) => format!("`{text}` is not a whole number of at least {low}"),
                    (low, high) => format!("`{text}` is not a whole number from {low} to {high}"),
                })?;
                request.set(place, number.into())
            }
            Size(place) => request.set(place, parse_size(text)?),
            Time(place) => {
                let time = if text == "0" { Ok(std::time::Duration::ZERO) } else { duration::parse(text) }?;
                request.set(
                    place,
                    i64::try_from(time.as_nanos()).map_err(|_| format!("`{text}` is too long"))?.into(),
                )
            }
            Pair(place, may_lack_value) => {
                let (name, value) = match text.split_once('=') {
                    Some(pair) => pair,
                    None if *may_lack_value => (text, ""),
                    None => return Err(format!("`{text}` is not NAME=VALUE")),
                };
                if name.is_empty() {
                    return Err(format!("`{text}` has no name"));
                }
                request.field_mut(place)[name] = value.into();
                Ok(())
            }
            Checked(place, convert) => request.push(place, convert(text)?.into()),
            DeviceLimit(place, field, amount) => {
                let parts = text.split_once(':').filter(|(device, _)| device.starts_with("/dev/"));
                let (device, limit) =
                    parts.ok_or_else(|| format!("`{text}` is not DEVICE:{}", field.to_uppercase()))?;
                let mut limits = json!({ "Path": device });
                limits[*field] = amount(limit)?;
                request.push(place, limits)
            }
            Custom(apply) => apply(request, text),
        }
    }
}

impl RequestBuilder {
    /// Returns the field at a path of dot-separated names and creates missing objects.
    fn field_mut(&mut self, place: &str) -> &mut Value {
        place.split('.').fold(&mut self.body, |value, name| &mut value[name])
    }

    #[expect(clippy::unnecessary_wraps, reason = "returned by functions in the table, which are fallible")]
    fn set(&mut self, place: &str, value: Value) -> Result<(), String> {
        *self.field_mut(place) = value;
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "returned by functions in the table, which are fallible")]
    fn push(&mut self, place: &str, value: Value) -> Result<(), String> {
        push(self.field_mut(place), value);
        Ok(())
    }

    fn variable(&mut self, text: &str) -> Result<(), String> {
        if text.is_empty() || text.starts_with('=') {
            return Err(format!("`{text}` has no name"));
        }
        if text.contains('=') {
            return self.push("Env", text.into());
        }
        match self.environment.text(text)? {
            Some(value) => self.push("Env", format!("{text}={value}").into()),
            // This differs from docker run, which would remove the variable of the image.
            None => Ok(()),
        }
    }

    fn volume(&mut self, text: &str) -> Result<(), String> {
        if text.contains(':') {
            return self.push("HostConfig.Binds", text.into());
        }
        self.field_mut("Volumes")[text] = json!({});
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "functions in the table are fallible")]
    fn tmpfs(&mut self, text: &str) -> Result<(), String> {
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        self.field_mut("HostConfig.Tmpfs")[path] = options.into();
        Ok(())
    }

    fn ports(&mut self, ports: Vec<PortMapping>, is_published: bool) -> Result<(), String> {
        for PortMapping { inside, host_address: address, host_port: outside } in ports {
            self.field_mut("ExposedPorts")[&inside] = json!({});
            if is_published {
                let binding = json!({ "HostIp": address, "HostPort": outside });
                // The name of a port contains no dot.
                self.push(&format!("HostConfig.PortBindings.{inside}"), binding)?;
            }
        }
        Ok(())
    }

    fn device(&mut self, text: &str) -> Result<(), String> {
        if values::is_cdi_device(text) {
            return self.push("HostConfig.DeviceRequests", json!({ "Driver": "cdi", "DeviceIDs": [text] }));
        }
        self.push("HostConfig.Devices", values::parse_device(text)?)
    }

    fn security(&mut self, text: &str) -> Result<(), String> {
        // The engine does not know this option; it only accepts lists of paths.
        if text == "systempaths=unconfined" {
            self.set("HostConfig.MaskedPaths", json!([]))?;
            return self.set("HostConfig.ReadonlyPaths", json!([]));
        }
        let is_known = matches!(text, "no-new-privileges" | "writable-cgroups") || text.contains(['=', ':']);
        if !is_known {
            return Err(format!(
                "`{text}` is not an option such as seccomp=FILE, apparmor=PROFILE or no-new-privileges"
            ));
        }
        self.push("HostConfig.SecurityOpt", text.into())
    }

    fn network(&mut self, text: &str) -> Result<(), String> {
        let (network, rest) = values::parse_network(text)?;
        self.network.clone_from(&network);
        self.set("HostConfig.NetworkMode", network.into())?;
        rest.iter().try_for_each(|(field, value)| self.set_endpoint_property(field, value))
    }

    /// Returns `true` if the network was created by `docker network create`.
    fn is_user_defined_network(&self) -> bool {
        !matches!(&*self.network, "" | "default" | "bridge" | "host" | "none")
            && !self.network.starts_with("container:")
    }

    /// Sets a property of the container's endpoint in its network, by the field of `--network name=…`.
    fn set_endpoint_property(&mut self, field: &str, text: &str) -> Result<(), String> {
        let is_of_users = self.is_user_defined_network();
        let network = if self.network.is_empty() { "default" } else { &self.network };
        let endpoint = &mut self.body["NetworkingConfig"]["EndpointsConfig"][network];
        match field {
            "alias" if !is_of_users => return Err(NO_ALIASES.to_owned()),
            "alias" => push(&mut endpoint["Aliases"], text.into()),
            "link" => push(&mut endpoint["Links"], text.into()),
            "link-local-ip" => push(&mut endpoint["IPAMConfig"]["LinkLocalIPs"], text.into()),
            "ip" => {
                let address = values::check_address_of_kind(text, "IPv4", IpAddr::is_ipv4)?;
                endpoint["IPAMConfig"]["IPv4Address"] = address.into();
            }
            "ip6" => {
                let address = values::check_address_of_kind(text, "IPv6", IpAddr::is_ipv6)?;
                endpoint["IPAMConfig"]["IPv6Address"] = address.into();
            }
            "mac-address" => endpoint["MacAddress"] = values::check_mac_address(text)?.into(),
            "driver-opt" => {
                let pair = text.split_once('=');
                let (name, value) = pair.ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
                endpoint["DriverOpts"][name] = value.into();
            }
            _ => {
                let known = "name, alias, ip, ip6, link-local-ip, mac-address, driver-opt";
                return Err(format!("`{field}` is not one of {known}"));
            }
        }
        Ok(())
    }

    fn link(&mut self, text: &str) -> Result<(), String> {
        self.push("HostConfig.Links", text.into())?;
        // In user-defined networks, links belong to the endpoint.
        if self.is_user_defined_network() { self.set_endpoint_property("link", text) } else { Ok(()) }
    }

    fn ulimit(&mut self, text: &str) -> Result<(), String> {
        let limit = text.split_once('=').filter(|_| is_ulimit(text));
        let (name, range) = limit.ok_or_else(|| format!("`{text}` is not NAME=SOFT[:HARD]"))?;
        let (soft, hard) = range.split_once(':').unwrap_or((range, range));
        let number = |text: &str| text.parse::<i64>().map_err(|_| format!("`{text}` is too large"));
        let (soft, hard) = (number(soft)?, number(hard)?);
        if hard != -1 && (soft > hard || soft == -1) {
            return Err(format!("`{text}`: the soft limit is above the hard one"));
        }
        self.push("HostConfig.Ulimits", json!({ "Name": name, "Soft": soft, "Hard": hard }))
    }

    fn no_healthcheck(&mut self, text: &str) -> Result<(), String> {
        if text == "false" {
            return Ok(());
        }
        if self.body.get("Healthcheck").is_some() {
            return Err("it cannot be combined with --health-… options".to_owned());
        }
        self.set("Healthcheck.Test", json!(["NONE"]))
    }
}

/// Adds a value to a list, which is created if the field is empty.
fn push(list: &mut Value, value: Value) {
    match list {
        Value::Array(values) => values.push(value),
        empty => *empty = json!([value]),
    }
}

fn parse_size(text: &str) -> Result<Value, String> {
    let ByteSize(size) = ByteSize::from_text(text)?;
    i64::try_from(size).map(Value::from).map_err(|_| format!("`{text}` is too large"))
}

fn parse_number(text: &str) -> Result<Value, String> {
    text.parse::<u32>().map(Value::from).map_err(|_| format!("`{text}` is not a whole number"))
}
