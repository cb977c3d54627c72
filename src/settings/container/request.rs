//! Maps each option of `docker run` to a field of the request that creates a container.
//!
//! The fields are those of the Engine API's `POST /containers/create`, filled as in docker/cli's `opts.go`.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::mount;
use super::values::{self, Port};
use crate::cli::ContainerOptions;
use crate::settings::origin::FromText;
use crate::settings::size::ByteSize;
use crate::settings::step_options::is_ulimit;
use crate::settings::{Environment, SettingsError, duration};

/// The conversion of a value; the first element of a variant is the field.
#[derive(Debug)]
enum Meaning {
    Text(&'static str),
    /// One element of a list.
    Texts(&'static str),
    /// A namespace: one of these names, or `container:…` if [`OF_CONTAINER`] is listed.
    Mode(&'static str, &'static [&'static str]),
    Switch(&'static str),
    Number(&'static str, RangeInclusive<i64>),
    /// In bytes.
    Size(&'static str),
    /// In nanoseconds.
    Time(&'static str),
    /// `NAME=VALUE`; the value is optional if the second element is `true`.
    Pair(&'static str, bool),
    /// A custom conversion.
    Own(fn(&mut Request, &str) -> Result<(), String>),
}

use Meaning::{Mode, Number, Own, Pair, Size, Switch, Text, Texts, Time};

const AMOUNT: RangeInclusive<i64> = 0..=i64::MAX;
/// The namespace of a different container.
const OF_CONTAINER: &str = "container:NAME";

static MEANINGS: &[(&str, Meaning)] = &[
    ("env", Own(Request::variable)),
    ("volume", Own(Request::volume)),
    ("mount", Own(|request, text| request.push("HostConfig.Mounts", mount::parse(text)?))),
    ("tmpfs", Own(Request::tmpfs)),
    ("volumes-from", Texts("HostConfig.VolumesFrom")),
    ("volume-driver", Text("HostConfig.VolumeDriver")),
    ("publish", Own(|request, text| request.ports(values::published(text)?, true))),
    ("publish-all", Switch("HostConfig.PublishAllPorts")),
    ("expose", Own(|request, text| request.ports(values::exposed(text)?, false))),
    ("gpus", Own(|request, text| request.push("HostConfig.DeviceRequests", values::gpus(text)?))),
    ("device", Own(Request::device)),
    (
        "device-cgroup-rule",
        Own(|request, text| request.push("HostConfig.DeviceCgroupRules", values::device_rule(text)?.into())),
    ),
    ("user", Text("User")),
    ("group-add", Texts("HostConfig.GroupAdd")),
    ("workdir", Text("WorkingDir")),
    // As with docker run, an empty value resets the entrypoint.
    ("entrypoint", Own(|request, text| request.set("Entrypoint", json!([text])))),
    ("hostname", Text("Hostname")),
    ("domainname", Text("Domainname")),
    ("init", Switch("HostConfig.Init")),
    ("stop-signal", Text("StopSignal")),
    ("stop-timeout", Number("StopTimeout", -1..=i64::MAX)),
    ("label", Pair("Labels", true)),
    ("annotation", Pair("HostConfig.Annotations", true)),
    ("cap-add", Texts("HostConfig.CapAdd")),
    ("cap-drop", Texts("HostConfig.CapDrop")),
    ("privileged", Switch("HostConfig.Privileged")),
    ("security-opt", Own(Request::security)),
    ("read-only-rootfs", Switch("HostConfig.ReadonlyRootfs")),
    ("ipc", Mode("HostConfig.IpcMode", &["none", "private", "shareable", "host", OF_CONTAINER])),
    ("pid", Mode("HostConfig.PidMode", &["host", OF_CONTAINER])),
    ("uts", Mode("HostConfig.UTSMode", &["host"])),
    ("userns", Mode("HostConfig.UsernsMode", &["host"])),
    ("cgroupns", Mode("HostConfig.CgroupnsMode", &["host", "private"])),
    ("cgroup-parent", Text("HostConfig.CgroupParent")),
    ("runtime", Text("HostConfig.Runtime")),
    ("sysctl", Pair("HostConfig.Sysctls", false)),
    // Must come before the options for the endpoint of the container in the network.
    ("network", Own(Request::network)),
    ("network-alias", Own(|request, text| request.in_network("alias", text))),
    ("ip", Own(|request, text| request.in_network("ip", text))),
    ("ip6", Own(|request, text| request.in_network("ip6", text))),
    ("link-local-ip", Own(|request, text| request.in_network("link-local-ip", text))),
    ("mac-address", Own(|request, text| request.in_network("mac-address", text))),
    ("link", Own(Request::link)),
    ("add-host", Own(|request, text| request.push("HostConfig.ExtraHosts", values::host(text)?.into()))),
    ("dns", Own(|request, text| request.push("HostConfig.Dns", values::address(text)?.into()))),
    ("dns-option", Texts("HostConfig.DnsOptions")),
    ("dns-search", Texts("HostConfig.DnsSearch")),
    ("shm-size", Size("HostConfig.ShmSize")),
    ("memory", Size("HostConfig.Memory")),
    ("memory-reservation", Size("HostConfig.MemoryReservation")),
    (
        "memory-swap",
        Own(|request, text| {
            request.set("HostConfig.MemorySwap", if text == "-1" { json!(-1) } else { size(text)? })
        }),
    ),
    ("memory-swappiness", Number("HostConfig.MemorySwappiness", 0..=100)),
    ("oom-kill-disable", Switch("HostConfig.OomKillDisable")),
    ("oom-score-adj", Number("HostConfig.OomScoreAdj", -1000..=1000)),
    ("cpus", Own(|request, text| request.set("HostConfig.NanoCpus", values::billionths(text)?.into()))),
    ("cpuset-cpus", Text("HostConfig.CpusetCpus")),
    ("cpuset-mems", Text("HostConfig.CpusetMems")),
    ("cpu-shares", Number("HostConfig.CpuShares", AMOUNT)),
    ("cpu-period", Number("HostConfig.CpuPeriod", AMOUNT)),
    ("cpu-quota", Number("HostConfig.CpuQuota", -1..=i64::MAX)),
    ("cpu-rt-period", Number("HostConfig.CpuRealtimePeriod", AMOUNT)),
    ("cpu-rt-runtime", Number("HostConfig.CpuRealtimeRuntime", AMOUNT)),
    ("pids-limit", Number("HostConfig.PidsLimit", -1..=i64::MAX)),
    ("ulimit", Own(Request::ulimit)),
    ("blkio-weight", Number("HostConfig.BlkioWeight", 0..=1000)),
    (
        "blkio-weight-device",
        Own(|request, text| request.device_limit("HostConfig.BlkioWeightDevice", "Weight", text, number)),
    ),
    (
        "device-read-bps",
        Own(|request, text| request.device_limit("HostConfig.BlkioDeviceReadBps", "Rate", text, size)),
    ),
    (
        "device-write-bps",
        Own(|request, text| request.device_limit("HostConfig.BlkioDeviceWriteBps", "Rate", text, size)),
    ),
    (
        "device-read-iops",
        Own(|request, text| request.device_limit("HostConfig.BlkioDeviceReadIOps", "Rate", text, number)),
    ),
    (
        "device-write-iops",
        Own(|request, text| request.device_limit("HostConfig.BlkioDeviceWriteIOps", "Rate", text, number)),
    ),
    ("storage-opt", Pair("HostConfig.StorageOpt", false)),
    ("log-driver", Text("HostConfig.LogConfig.Type")),
    ("log-opt", Pair("HostConfig.LogConfig.Config", true)),
    ("health-cmd", Own(|request, text| request.set("Healthcheck.Test", json!(["CMD-SHELL", text])))),
    ("health-interval", Time("Healthcheck.Interval")),
    ("health-timeout", Time("Healthcheck.Timeout")),
    ("health-start-period", Time("Healthcheck.StartPeriod")),
    ("health-start-interval", Time("Healthcheck.StartInterval")),
    ("health-retries", Number("Healthcheck.Retries", AMOUNT)),
    ("no-healthcheck", Own(Request::no_healthcheck)),
];

/// Returns the request for a container with these options, which must be self-contained.
pub(super) fn request(options: &ContainerOptions, environment: &Environment) -> Result<Value, SettingsError> {
    let mut request = Request { body: json!({}), environment: environment.clone(), network: String::new() };
    for (name, meaning) in MEANINGS {
        for value in options.get(name) {
            let result = meaning.apply(&mut request, value);
            result.map_err(|reason| SettingsError::flag(name, reason))?;
        }
    }
    Ok(request.body)
}

struct Request {
    body: Value,
    /// The values of variables given by name only.
    environment: Environment,
    /// The network of the container; empty for the engine's default.
    network: String,
}

impl Meaning {
    fn apply(&self, request: &mut Request, text: &str) -> Result<(), String> {
        match self {
            Text(place) => request.set(place, text.into()),
            Texts(place) => request.push(place, text.into()),
            Mode(place, known) => {
                let other = known.contains(&OF_CONTAINER).then(|| text.strip_prefix("container:")).flatten();
                let is_known = known.contains(&text) && text != OF_CONTAINER;
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
            Size(place) => request.set(place, size(text)?),
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
                request.at(place)[name] = value.into();
                Ok(())
            }
            Own(apply) => apply(request, text),
        }
    }
}

impl Request {
    /// Returns the field at a path of dot-separated names and creates missing objects.
    fn at(&mut self, place: &str) -> &mut Value {
        place.split('.').fold(&mut self.body, |value, name| &mut value[name])
    }

    #[expect(clippy::unnecessary_wraps, reason = "returned by functions in the table, which are fallible")]
    fn set(&mut self, place: &str, value: Value) -> Result<(), String> {
        *self.at(place) = value;
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "returned by functions in the table, which are fallible")]
    fn push(&mut self, place: &str, value: Value) -> Result<(), String> {
        match self.at(place) {
            Value::Array(values) => values.push(value),
            empty => *empty = json!([value]),
        }
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
        self.at("Volumes")[text] = json!({});
        Ok(())
    }

    #[expect(clippy::unnecessary_wraps, reason = "functions in the table are fallible")]
    fn tmpfs(&mut self, text: &str) -> Result<(), String> {
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        self.at("HostConfig.Tmpfs")[path] = options.into();
        Ok(())
    }

    fn ports(&mut self, ports: Vec<Port>, is_published: bool) -> Result<(), String> {
        for Port { inside, address, outside } in ports {
            self.at("ExposedPorts")[&inside] = json!({});
            if is_published {
                let binding = json!({ "HostIp": address, "HostPort": outside });
                // The name of a port contains no dot.
                self.push(&format!("HostConfig.PortBindings.{inside}"), binding)?;
            }
        }
        Ok(())
    }

    fn device(&mut self, text: &str) -> Result<(), String> {
        if values::is_cdi(text) {
            return self.push("HostConfig.DeviceRequests", json!({ "Driver": "cdi", "DeviceIDs": [text] }));
        }
        self.push("HostConfig.Devices", values::device(text)?)
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
        let (network, rest) = values::network(text)?;
        self.network.clone_from(&network);
        self.set("HostConfig.NetworkMode", network.into())?;
        rest.iter().try_for_each(|(field, value)| self.in_network(field, value))
    }

    /// Returns `true` if the network was created by `docker network create`.
    fn is_network_of_users(&self) -> bool {
        !matches!(&*self.network, "" | "default" | "bridge" | "host" | "none")
            && !self.network.starts_with("container:")
    }

    /// Sets a property of the container's endpoint in its network, by the field of `--network name=…`.
    fn in_network(&mut self, field: &str, text: &str) -> Result<(), String> {
        let is_of_users = self.is_network_of_users();
        let network = if self.network.is_empty() { "default" } else { &self.network };
        let endpoint = &mut self.body["NetworkingConfig"]["EndpointsConfig"][network];
        let list =
            match field {
                "alias" if !is_of_users => return Err(
                    "only networks created by docker network create have aliases: select one with --network"
                        .to_owned(),
                ),
                "alias" => &mut endpoint["Aliases"],
                "link" => &mut endpoint["Links"],
                "link-local-ip" => &mut endpoint["IPAMConfig"]["LinkLocalIPs"],
                "ip" => {
                    endpoint["IPAMConfig"]["IPv4Address"] =
                        values::address_of(text, "IPv4", IpAddr::is_ipv4)?.into();
                    return Ok(());
                }
                "ip6" => {
                    endpoint["IPAMConfig"]["IPv6Address"] =
                        values::address_of(text, "IPv6", IpAddr::is_ipv6)?.into();
                    return Ok(());
                }
                "mac-address" => {
                    endpoint["MacAddress"] = values::mac_address(text)?.into();
                    return Ok(());
                }
                "driver-opt" => {
                    let (name, value) =
                        text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
                    endpoint["DriverOpts"][name] = value.into();
                    return Ok(());
                }
                _ => {
                    return Err(format!(
                        "`{field}` is not one of name, alias, ip, ip6, link-local-ip, mac-address, driver-opt"
                    ));
                }
            };
        match list {
            Value::Array(values) => values.push(text.into()),
            empty => *empty = json!([text]),
        }
        Ok(())
    }

    fn link(&mut self, text: &str) -> Result<(), String> {
        self.push("HostConfig.Links", text.into())?;
        // In user-defined networks, links belong to the endpoint.
        if self.is_network_of_users() { self.in_network("link", text) } else { Ok(()) }
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

    /// Parses `DEVICE:AMOUNT`.
    fn device_limit(
        &mut self,
        place: &str,
        field: &str,
        text: &str,
        amount: fn(&str) -> Result<Value, String>,
    ) -> Result<(), String> {
        let parts = text.split_once(':').filter(|(device, _)| device.starts_with("/dev/"));
        let (device, limit) =
            parts.ok_or_else(|| format!("`{text}` is not DEVICE:{}", field.to_uppercase()))?;
        let mut limits = json!({ "Path": device });
        limits[field] = amount(limit)?;
        self.push(place, limits)
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

fn size(text: &str) -> Result<Value, String> {
    let ByteSize(size) = ByteSize::from_text(text)?;
    i64::try_from(size).map(Value::from).map_err(|_| format!("`{text}` is too large"))
}

fn number(text: &str) -> Result<Value, String> {
    text.parse::<u32>().map(Value::from).map_err(|_| format!("`{text}` is not a whole number"))
}
