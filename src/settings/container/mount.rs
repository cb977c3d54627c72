//! `--mount` of `docker run`, parsed as in docker/cli's `opts/mount.go`.

use serde_json::{Value, json};

use crate::settings::fields;
use crate::settings::origin::FromText;
use crate::settings::size::ByteSize;

/// Parses a mount and returns it in the format of the Engine API.
pub(super) fn parse(text: &str) -> Result<Value, String> {
    let mut mount = json!({ "Type": "volume" });
    for (name, value) in fields::parse(text)? {
        set_field(&mut mount, &name, value.as_deref()).map_err(|reason| format!("`{text}`: {reason}"))?;
    }
    if mount.get("Target").is_none() {
        return Err(format!("`{text}` has no target"));
    }
    let kind = mount["Type"].as_str().unwrap_or_default();
    for (options, of) in [
        ("VolumeOptions", "volume"),
        ("BindOptions", "bind"),
        ("TmpfsOptions", "tmpfs"),
        ("ImageOptions", "image"),
    ] {
        if mount.get(options).is_some() && kind != of {
            return Err(format!("`{text}`: {of}-… options do not apply to type={kind}"));
        }
    }
    Ok(mount)
}

const MOUNT_TYPES: [&str; 6] = ["bind", "volume", "tmpfs", "image", "npipe", "cluster"];
const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

/// Returns the lowercase value of the field `name`, or an error if it is not one of `known`.
fn one_of(known: &[&str], name: &str, value: &str) -> Result<String, String> {
    let lower = value.to_lowercase();
    let is_known = known.contains(&lower.as_str());
    is_known
        .then_some(lower)
        .ok_or_else(|| format!("`{value}` of `{name}` is not one of {}", known.join(", ")))
}

fn set_field(mount: &mut Value, name: &str, value: Option<&str>) -> Result<(), String> {
    let missing = || format!("`{name}` has no value");
    let switch = |value: Option<&str>| match value {
        None | Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
        Some(other) => Err(format!("`{other}` of `{name}` is neither true nor false")),
    };
    let wrong = |value: &str| format!("`{value}` of `{name}` is not valid");
    let text = || value.ok_or_else(missing);
    match name {
        "type" => mount["Type"] = one_of(&MOUNT_TYPES, name, text()?)?.into(),
        "source" | "src" => mount["Source"] = text()?.into(),
        "target" | "dst" | "destination" => mount["Target"] = text()?.into(),
        "readonly" | "ro" => mount["ReadOnly"] = switch(value)?.into(),
        "consistency" => mount["Consistency"] = text()?.to_lowercase().into(),
        "bind-propagation" => {
            mount["BindOptions"]["Propagation"] = one_of(&PROPAGATIONS, name, text()?)?.into();
        }
        "bind-nonrecursive" => mount["BindOptions"]["NonRecursive"] = switch(value)?.into(),
        "bind-create-src" => mount["BindOptions"]["CreateMountpoint"] = switch(value)?.into(),
        "bind-recursive" => match text()? {
            "enabled" => {}
            "disabled" => mount["BindOptions"]["NonRecursive"] = true.into(),
            "writable" => mount["BindOptions"]["ReadOnlyNonRecursive"] = true.into(),
            "readonly" => mount["BindOptions"]["ReadOnlyForceRecursive"] = true.into(),
            other => return Err(wrong(other)),
        },
        "volume-nocopy" => mount["VolumeOptions"]["NoCopy"] = switch(value)?.into(),
        "volume-subpath" => mount["VolumeOptions"]["Subpath"] = text()?.into(),
        "volume-driver" => mount["VolumeOptions"]["DriverConfig"]["Name"] = text()?.into(),
        "volume-label" | "volume-opt" => {
            let (key, value) = text()?.split_once('=').unwrap_or((text()?, ""));
            let options = &mut mount["VolumeOptions"];
            let place = if name == "volume-label" {
                &mut options["Labels"]
            } else {
                &mut options["DriverConfig"]["Options"]
            };
            place[key] = value.into();
        }
        "image-subpath" => mount["ImageOptions"]["Subpath"] = text()?.into(),
        "tmpfs-size" => {
            mount["TmpfsOptions"]["SizeBytes"] = ByteSize::from_text(text()?)?.0.into();
        }
        "tmpfs-mode" => {
            let mode = u32::from_str_radix(text()?, 8).map_err(|_| wrong(value.unwrap_or_default()))?;
            mount["TmpfsOptions"]["Mode"] = mode.into();
        }
        _ => return Err(format!("`{name}` is not a field of a mount")),
    }
    Ok(())
}
