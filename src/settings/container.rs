//! What `larder run` makes its container of.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Environment, Settings, SettingsError, fields, named_image, source};
use crate::cli::ContainerArgs;
use crate::engine::{ContainerSpec, Device, Gpus, Port};
use crate::store::RunFlags;

/// A run, resolved.
#[derive(Debug, Clone)]
pub struct RunSettings {
    /// The container; its image is filled in once it is known.
    pub container: ContainerSpec,
    /// What an entry keeps of it, so that it can be run so again.
    pub kept: RunFlags,
}

impl RunSettings {
    /// Resolves docker run's flags for an image of `larder.yaml` or of a context, which is made for `variables`.
    ///
    /// # Errors
    ///
    /// Fails on malformed flags.
    pub fn of_image(
        args: &ContainerArgs,
        command: &[String],
        name: &str,
        variables: &BTreeMap<String, String>,
        (settings, environment): (&Settings, &Environment),
    ) -> Result<Self, SettingsError> {
        let file = &settings.file;
        let run = match file.images.get(name) {
            Some(image) => {
                let (mut written, own_command) = image.container(&file.directory());
                written.env.retain(|set| !variables.contains_key(set.split('=').next().unwrap_or_default()));
                let command = if command.is_empty() { own_command } else { command };
                let is_typed = |flag: &str| named_image::is_typed_of_run(flag, args);
                Self::of_flags(&merged(args, written), command, environment)
                    .map_err(|error| error.of_image(file, name, is_typed))?
            }
            None => Self::of_flags(args, command, environment)?,
        };
        Ok(run.made_for(variables))
    }

    /// Resolves docker run's flags for an image that was run so before; what it is made for may be other `variables`.
    ///
    /// # Errors
    ///
    /// Fails on malformed flags.
    pub fn of_entry(
        args: &ContainerArgs,
        command: &[String],
        kept: &RunFlags,
        variables: &BTreeMap<String, String>,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let is_other = |set: &str| set.split_once('=').is_none_or(|(name, _)| !variables.contains_key(name));
        let mut flags = kept.flags.clone();
        flags.retain(|flag| flag.strip_prefix("--env=").is_none_or(is_other));
        let written = ContainerArgs::of_flags(&flags).unwrap_or_default();
        let command = if command.is_empty() { &kept.command } else { command };
        Ok(Self::of_flags(&merged(args, written), command, environment)?.made_for(variables))
    }

    /// Adds what the image is made for, which is kept with its values; variables of the flags come before it.
    fn made_for(mut self, variables: &BTreeMap<String, String>) -> Self {
        let set: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.kept.flags.splice(0..0, set.iter().map(|set| format!("--env={set}")));
        self.container.env.splice(0..0, set);
        self
    }

    /// The names of variables that an earlier run had and this one has no value of.
    pub fn missing_variables(&self) -> Vec<&str> {
        let names = self.kept.flags.iter().filter_map(|flag| flag.strip_prefix("--env="));
        let names = names.filter(|name| !name.contains('='));
        let is_set = |name: &str| self.container.env.iter().any(|set| set.split('=').next() == Some(name));
        names.filter(|name| !is_set(name)).collect()
    }

    /// The container of an image, by its id.
    pub fn of(&self, image: &str) -> ContainerSpec {
        ContainerSpec { image: image.to_owned(), ..self.container.clone() }
    }

    fn of_flags(
        args: &ContainerArgs,
        command: &[String],
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let kept = RunFlags { flags: kept(args)?, command: command.to_vec() };
        Ok(Self { container: container(args, command, environment)?, kept })
    }
}

/// What was typed, before what is written elsewhere.
fn merged(typed: &ContainerArgs, written: ContainerArgs) -> ContainerArgs {
    let typed = typed.clone();
    ContainerArgs {
        env: [written.env, typed.env].concat(),
        volume: [written.volume, typed.volume].concat(),
        publish: [written.publish, typed.publish].concat(),
        device: [written.device, typed.device].concat(),
        gpus: typed.gpus.or(written.gpus),
        network: typed.network.or(written.network),
        shm_size: typed.shm_size.or(written.shm_size),
        entrypoint: typed.entrypoint.or(written.entrypoint),
        user: typed.user.or(written.user),
        workdir: typed.workdir.or(written.workdir),
        ipc: typed.ipc.or(written.ipc),
        ..typed
    }
}

/// The flags that say how a container runs, but not what it is called; of variables their names.
fn kept(args: &ContainerArgs) -> Result<Vec<String>, SettingsError> {
    let mut flags = Vec::new();
    let mut keep = |flag: &str, value: &str| {
        let flag = format!("--{flag}={value}");
        if !flags.contains(&flag) {
            flags.push(flag);
        }
    };
    for variable in &args.env {
        keep("env", variable.split('=').next().unwrap_or_default());
    }
    for volume in &args.volume {
        match volume.split_once(':') {
            Some((outside, rest)) => keep("volume", &format!("{}:{rest}", bind_source(outside)?)),
            None => keep("volume", volume),
        }
    }
    let lists = [("publish", &args.publish), ("device", &args.device)];
    for (flag, value) in lists.iter().flat_map(|(flag, values)| values.iter().map(move |value| (flag, value)))
    {
        keep(flag, value);
    }
    let scalars = [
        ("gpus", &args.gpus),
        ("network", &args.network),
        ("shm-size", &args.shm_size),
        ("entrypoint", &args.entrypoint),
        ("user", &args.user),
        ("workdir", &args.workdir),
        ("ipc", &args.ipc),
    ];
    for (flag, value) in scalars {
        if let Some(value) = value {
            keep(flag, value);
        }
    }
    Ok(flags)
}

fn container(
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
    fn what_is_kept_of_a_run_makes_the_same_run_again() {
        let environment: Environment = [("TOKEN".to_owned(), "secret".to_owned())].into_iter().collect();
        let typed = ContainerArgs {
            env: vec!["TOKEN".to_owned(), "MODE=fast".to_owned()],
            volume: vec!["/data:/data:ro".to_owned(), "/scratch".to_owned()],
            publish: vec!["8080:80".to_owned()],
            gpus: Some("all".to_owned()),
            shm_size: Some("8g".to_owned()),
            name: Some("once".to_owned()),
            ..ContainerArgs::default()
        };
        let command = ["python".to_owned(), "-c".to_owned()];
        let first = RunSettings::of_flags(&typed, &command, &environment).unwrap();
        let text = serde_json::to_string(&first.kept).unwrap();
        assert!(!text.contains("secret") && !text.contains("fast") && !text.contains("once"), "{text}");
        let of_entry = |typed: &ContainerArgs, command: &[String]| {
            RunSettings::of_entry(typed, command, &first.kept, &BTreeMap::new(), &environment).unwrap()
        };
        let again = of_entry(&ContainerArgs::default(), &[]);
        assert_eq!(again.missing_variables(), ["MODE"]);
        let expected =
            ContainerSpec { env: vec!["TOKEN=secret".to_owned()], name: None, ..first.container.clone() };
        assert_eq!(again.container, expected);
        assert_eq!(again.kept, first.kept);
        let other = ContainerArgs { gpus: Some("1".to_owned()), ..ContainerArgs::default() };
        let other = of_entry(&other, &["sh".to_owned()]);
        assert_eq!(
            (other.container.gpus, &*other.container.command),
            (Some(Gpus::Count(1)), &["sh".to_owned()][..])
        );
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
