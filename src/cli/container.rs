//! The container options of `larder run`, which are those of `docker run`.
//!
//! Names, short forms and arities are the same as in docker/cli's `cli/command/container/opts.go`. The values are interpreted
//! by `settings::container`; `docs/run.md` lists all options.

use std::collections::BTreeMap;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::unsupported::{UNSUPPORTED_RUN_OPTIONS, UnsupportedOption};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arity {
    /// On or off: `--init`, `--init=false`.
    Switch,
    /// One value. A value on the command line replaces the one in the configuration file.
    Once,
    /// Any number of values. Those on the command line are added to those in the configuration file.
    Many,
}

#[derive(Debug)]
pub(crate) struct ContainerOption {
    /// Without dashes.
    pub(crate) name: &'static str,
    pub(crate) arity: Arity,
    value: &'static str,
    short: Option<char>,
    alias: Option<&'static str>,
    help: &'static str,
}

impl ContainerOption {
    const fn new(name: &'static str, arity: Arity, value: &'static str, help: &'static str) -> Self {
        Self { name, arity, value, short: None, alias: None, help }
    }

    const fn short(self, short: char) -> Self {
        Self { short: Some(short), ..self }
    }

    const fn alias(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }

    #[cfg(test)]
    pub(crate) fn help(&self) -> &'static str {
        self.help
    }

    fn arg(&self) -> Arg {
        let arg = Arg::new(self.name).long(self.name).help(self.help);
        let arg = match self.arity {
            Arity::Switch => arg
                .value_name("BOOL")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("true")
                .value_parser(PossibleValuesParser::new(["true", "false"]))
                .hide_possible_values(true),
            Arity::Once => arg.value_name(self.value).allow_negative_numbers(true),
            Arity::Many => arg.value_name(self.value).action(ArgAction::Append),
        };
        let arg = match self.short {
            Some(short) => arg.short(short),
            None => arg,
        };
        match self.alias {
            Some(alias) => arg.alias(alias),
            None => arg,
        }
    }
}

const fn switch(name: &'static str, help: &'static str) -> ContainerOption {
    ContainerOption::new(name, Arity::Switch, "BOOL", help)
}

const fn once(name: &'static str, value: &'static str, help: &'static str) -> ContainerOption {
    ContainerOption::new(name, Arity::Once, value, help)
}

const fn many(name: &'static str, value: &'static str, help: &'static str) -> ContainerOption {
    ContainerOption::new(name, Arity::Many, value, help)
}

pub(crate) static CONTAINER_OPTIONS: &[ContainerOption] = &[
    many("env-file", "FILE", "Set environment variables from a file, one per line"),
    many("env", "NAME[=VALUE]", "Set an environment variable; without a value, it is taken from the environment").short('e'),
    many("volume", "SOURCE:PATH[:OPTIONS]", "Mount a directory or a volume").short('v'),
    many("mount", "FIELDS", "Mount a directory, a volume or a tmpfs: type=bind,source=DIR,target=PATH,readonly"),
    many("tmpfs", "PATH[:OPTIONS]", "Mount a tmpfs"),
    many("volumes-from", "CONTAINER[:OPTIONS]", "Mount the volumes of another container"),
    once("volume-driver", "DRIVER", "Driver of the volumes that --volume names"),
    many("publish", "[[IP:]PORT:]PORT[/PROTOCOL]", "Publish a port or a range of ports").short('p'),
    switch("publish-all", "Publish all exposed ports").short('P'),
    many("expose", "PORT[/PROTOCOL]", "Expose a port or a range of ports"),
    once("gpus", "GPUS", "GPUs: all, a count, device=ID[,ID], or fields such as count=2,capabilities=utility"),
    many("device", "DEVICE[:PATH[:rwm]]", "Add a device of the engine's host, or a CDI device: VENDOR/CLASS=NAME"),
    many("device-cgroup-rule", "RULE", "Allow devices by number, e.g. 'c 226:* rwm'"),
    once("user", "USER[:GROUP]", "User, and optionally group").short('u'),
    many("group-add", "GROUP", "Add the user to a group of the image, by name or ID"),
    once("workdir", "DIR", "Working directory").short('w'),
    once("entrypoint", "PROGRAM", "Program to run instead of the image's entrypoint"),
    once("hostname", "NAME", "Host name"),
    once("domainname", "NAME", "NIS domain name"),
    switch("init", "Run an init that forwards signals and reaps processes"),
    once("stop-signal", "SIGNAL", "Signal that stops the container"),
    once("stop-timeout", "SECONDS", "Seconds between the stop signal and killing the container [default: 10]"),
    many("label", "NAME[=VALUE]", "Set a label on the container; --build-label sets one on the image").short('l'),
    many("label-file", "FILE", "Set labels from a file, one per line"),
    many("annotation", "NAME=VALUE", "Set an annotation for the runtime"),
    // Permissions.
    many("cap-add", "CAPABILITY", "Add a capability, e.g. SYS_PTRACE, or ALL"),
    many("cap-drop", "CAPABILITY", "Drop a capability, or ALL"),
    switch("privileged", "Grant all capabilities and devices of the engine's host"),
    many("security-opt", "OPTION", "Security option: seccomp=unconfined, seccomp=FILE, apparmor=PROFILE, label=…, no-new-privileges, systempaths=unconfined"),
    switch("read-only-rootfs", "Mount the root file system read-only; --read-only also does this, and saves nothing in the cache"),
    // Namespaces.
    once("ipc", "MODE", "IPC namespace: none, private, shareable, host or container:NAME"),
    once("pid", "MODE", "PID namespace: host or container:NAME"),
    once("uts", "MODE", "UTS namespace: host"),
    once("userns", "MODE", "User namespace: host"),
    once("cgroupns", "MODE", "Cgroup namespace: host or private"),
    once("cgroup-parent", "CGROUP", "Parent cgroup"),
    once("runtime", "RUNTIME", "Runtime of the engine"),
    many("sysctl", "NAME=VALUE", "Set a kernel parameter of the container's namespaces"),
    // Network.
    once("network", "NETWORK", "Network of the container: bridge, host, none, container:NAME or a network's name; default, host and none also apply to RUN steps, unless --build-network is set").alias("net"),
    many("network-alias", "NAME", "Additional name of the container in its network").alias("net-alias"),
    once("ip", "ADDRESS", "IPv4 address in its network"),
    once("ip6", "ADDRESS", "IPv6 address in its network"),
    many("link-local-ip", "ADDRESS", "Link-local address"),
    once("mac-address", "ADDRESS", "MAC address"),
    many("link", "CONTAINER[:ALIAS]", "Make another container reachable by name"),
    many("add-host", "HOST:IP", "Add a host to /etc/hosts; the address may be host-gateway"),
    many("dns", "ADDRESS", "DNS server"),
    many("dns-option", "OPTION", "Option of the resolver").alias("dns-opt"),
    many("dns-search", "DOMAIN", "Search domain for host names; . disables the search"),
    // Resources.
    once("shm-size", "SIZE", "Size of /dev/shm, e.g. 8g"),
    once("memory", "SIZE", "Limit the memory, e.g. 4g").short('m'),
    once("memory-reservation", "SIZE", "Soft memory limit, which applies when memory is scarce"),
    once("memory-swap", "SIZE", "Limit the sum of memory and swap; -1 for no limit"),
    once("memory-swappiness", "PERCENT", "Tendency to swap memory, 0 to 100"),
    switch("oom-kill-disable", "Do not kill the container when memory is exhausted"),
    once("oom-score-adj", "SCORE", "Likelihood of being killed when memory is exhausted, -1000 to 1000"),
    once("cpus", "COUNT", "Limit the number of CPUs, e.g. 1.5"),
    once("cpuset-cpus", "CPUS", "CPUs to run on, e.g. 0-3,8"),
    once("cpuset-mems", "NODES", "Memory nodes to use, e.g. 0,1"),
    once("cpu-shares", "SHARES", "Relative CPU weight").short('c'),
    once("cpu-period", "MICROSECONDS", "Period of the CPU scheduler"),
    once("cpu-quota", "MICROSECONDS", "CPU time in each period"),
    once("cpu-rt-period", "MICROSECONDS", "Period of the real-time CPU scheduler"),
    once("cpu-rt-runtime", "MICROSECONDS", "Real-time CPU time in each period"),
    once("pids-limit", "COUNT", "Limit the number of processes; -1 for no limit"),
    many("ulimit", "NAME=SOFT[:HARD]", "Set a ulimit of the container; --build-ulimit sets one of RUN steps"),
    once("blkio-weight", "WEIGHT", "Relative weight for block I/O, 10 to 1000"),
    many("blkio-weight-device", "DEVICE:WEIGHT", "Relative weight for block I/O on a device, 10 to 1000"),
    many("device-read-bps", "DEVICE:SIZE", "Limit the read rate of a device, in bytes per second"),
    many("device-write-bps", "DEVICE:SIZE", "Limit the write rate of a device, in bytes per second"),
    many("device-read-iops", "DEVICE:COUNT", "Limit the read rate of a device, in operations per second"),
    many("device-write-iops", "DEVICE:COUNT", "Limit the write rate of a device, in operations per second"),
    many("storage-opt", "NAME=VALUE", "Option of the storage driver, e.g. size=20G"),
    once("log-driver", "DRIVER", "Log driver of the container"),
    many("log-opt", "NAME=VALUE", "Option of the log driver"),
    // Health checks.
    once("health-cmd", "COMMAND", "Command that checks the container's health"),
    once("health-interval", "DURATION", "Time between checks"),
    once("health-timeout", "DURATION", "Time limit of a check"),
    once("health-start-period", "DURATION", "Time after the start in which failures do not count"),
    once("health-start-interval", "DURATION", "Time between checks during the start period"),
    once("health-retries", "COUNT", "Consecutive failures that make the container unhealthy"),
    switch("no-healthcheck", "Disable the image's health check"),
];

/// The options that were given, with their values as typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ContainerOptions {
    values: BTreeMap<&'static str, Vec<String>>,
    refused: Option<&'static str>,
}

impl ContainerOptions {
    pub(crate) fn get(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn add(&mut self, name: &'static str, value: String) {
        self.values.entry(name).or_default().push(value);
    }

    /// Removes the values of the option `name` for which `is_unwanted` returns `true`.
    #[must_use]
    pub(crate) fn without(mut self, name: &str, is_unwanted: impl Fn(&String) -> bool) -> Self {
        if let Some(values) = self.values.get_mut(name) {
            values.retain(|value| !is_unwanted(value));
        }
        self
    }

    /// Combines these options with `written`, which has lower precedence.
    #[must_use]
    pub(crate) fn overriding(&self, written: &Self) -> Self {
        let mut both = Self { refused: self.refused, ..written.clone() };
        for option in CONTAINER_OPTIONS {
            match (self.get(option.name), option.arity) {
                ([], _) => {}
                (typed, Arity::Many) => both.values.entry(option.name).or_default().extend_from_slice(typed),
                (typed, Arity::Once | Arity::Switch) => drop(both.values.insert(option.name, typed.to_vec())),
            }
        }
        both
    }

    pub(crate) fn refused(&self) -> Option<&'static UnsupportedOption> {
        UNSUPPORTED_RUN_OPTIONS.iter().find(|option| Some(option.name) == self.refused)
    }
}

impl Args for ContainerOptions {
    fn augment_args(command: Command) -> Command {
        let hidden = UNSUPPORTED_RUN_OPTIONS.iter().map(UnsupportedOption::arg);
        command.args(CONTAINER_OPTIONS.iter().map(ContainerOption::arg)).args(hidden)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ContainerOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut options = Self::default();
        options.update_from_arg_matches(matches)?;
        Ok(options)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for option in CONTAINER_OPTIONS {
            let typed = matches.get_many::<String>(option.name).unwrap_or_default();
            typed.for_each(|value| self.add(option.name, value.clone()));
        }
        let refused = UNSUPPORTED_RUN_OPTIONS.iter().find(|option| option.is_refused(matches));
        self.refused = refused.map(|option| option.name);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_takes_precedence_over_the_file() {
        let with = |given: &[(&'static str, &str)]| {
            let mut options = ContainerOptions::default();
            for (name, value) in given {
                options.add(name, (*value).to_owned());
            }
            options
        };
        let written = with(&[("cap-add", "A"), ("memory", "1g"), ("init", "true")]);
        let typed = with(&[("cap-add", "B"), ("memory", "2g"), ("init", "false")]);
        let expected = with(&[("cap-add", "A"), ("cap-add", "B"), ("memory", "2g"), ("init", "false")]);
        assert_eq!(typed.overriding(&written), expected);
    }
}
