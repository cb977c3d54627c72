//! `--output`, `--push`, `--load`: the results of a build.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{BuildOutput, OutputDestination, OutputKind, SettingsError, fields};

/// Resolves the flags; by default, the result is an image in the engine.
pub(super) fn resolve(flags: &[String], push: bool, load: bool) -> Result<Vec<BuildOutput>, SettingsError> {
    let mut outputs = flags.iter().map(|flag| parse_output(flag)).collect::<Result<Vec<_>, _>>()?;
    let image = outputs.iter().position(|output| matches!(output.kind, OutputKind::Image { .. }));
    if let Some(image) = image {
        if push {
            outputs[image].kind = OutputKind::Image { push };
        }
    } else if push || load || outputs.is_empty() {
        outputs.push(BuildOutput { kind: OutputKind::Image { push }, attributes: BTreeMap::new() });
    }
    if outputs.iter().filter(|output| output.kind.is_stdout()).count() > 1 {
        return Err(SettingsError::flag("output", "only one output can be written to standard output"));
    }
    Ok(outputs)
}

fn parse_output(flag: &str) -> Result<BuildOutput, SettingsError> {
    let failed = |reason: String| SettingsError::flag("output", reason);
    if flag.is_empty() {
        return Err(failed("it is empty".to_owned()));
    }
    let mut attributes = BTreeMap::new();
    if flag == "-" {
        return Ok(BuildOutput { kind: OutputKind::Tar(OutputDestination::Stdout), attributes });
    }
    if !flag.contains(['=', ',']) {
        return Ok(BuildOutput { kind: OutputKind::Local(check_directory(flag)?), attributes });
    }
    for (key, value) in fields::parse(flag).map_err(failed)? {
        let value = value.ok_or_else(|| failed(format!("`{key}` has no value")))?;
        attributes.insert(key, value);
    }
    let kind = attributes.remove("type").ok_or_else(|| failed(format!("`{flag}` has no type")))?;
    let destination = attributes.remove("dest");
    let kind = match (kind.as_str(), destination) {
        ("image", None) => {
            let push = match attributes.remove("push").as_deref() {
                None | Some("false" | "0") => false,
                Some("true" | "1") => true,
                Some(other) => return Err(failed(format!("push=`{other}` is neither true nor false"))),
            };
            OutputKind::Image { push }
        }
        ("registry", None) => OutputKind::Image { push: true },
        ("docker", None) => OutputKind::Image { push: false },
        ("cacheonly", None) => OutputKind::CacheOnly,
        ("image" | "registry" | "cacheonly", Some(_)) => {
            return Err(failed(format!("type={kind} does not accept dest")));
        }
        ("local", Some(path)) if !matches!(path.as_str(), "" | "-") => {
            OutputKind::Local(check_directory(&path)?)
        }
        ("local", _) => return Err(failed("type=local needs dest=DIRECTORY".to_owned())),
        ("tar", destination) => OutputKind::Tar(archive_destination(destination.as_deref())?),
        ("oci", destination) => OutputKind::Oci(archive_destination(destination.as_deref())?),
        ("docker", destination) => OutputKind::Docker(archive_destination(destination.as_deref())?),
        (other, _) => {
            let known = "image, registry, local, tar, oci, docker, cacheonly";
            return Err(failed(format!("type `{other}` is not one of {known}")));
        }
    };
    Ok(BuildOutput { kind, attributes })
}

fn archive_destination(destination: Option<&str>) -> Result<OutputDestination, SettingsError> {
    match destination {
        None | Some("-") => Ok(OutputDestination::Stdout),
        Some(path) if Path::new(path).is_dir() => {
            Err(SettingsError::flag("output", format!("dest=`{path}` is a directory, not a file")))
        }
        Some(path) => {
            check_directory(Path::new(path).parent().and_then(Path::to_str).unwrap_or_default())?;
            Ok(OutputDestination::File(PathBuf::from(path)))
        }
    }
}

/// Checks that a directory exists or can be created.
fn check_directory(path: &str) -> Result<PathBuf, SettingsError> {
    let existing = Path::new(path).ancestors().find(|ancestor| ancestor.exists());
    match existing.filter(|existing| !existing.is_dir()) {
        Some(file) => {
            let reason = format!("dest=`{}` is a file, not a directory", file.display());
            Err(SettingsError::flag("output", reason))
        }
        None => Ok(PathBuf::from(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(flags: &[&str], push: bool, load: bool) -> Vec<OutputKind> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        resolve(&flags, push, load).unwrap().into_iter().map(|output| output.kind).collect()
    }

    #[test]
    fn outputs_have_the_same_meaning_as_in_docker_build() {
        let image = |push| OutputKind::Image { push };
        let file = |path: &str| OutputDestination::File(PathBuf::from(path));
        for (flags, push, load, expected) in [
            (&[][..], false, false, vec![image(false)]),
            (&[][..], true, false, vec![image(true)]),
            (&["type=registry"][..], false, false, vec![image(true)]),
            (&["type=image,push=true"][..], false, false, vec![image(true)]),
            (&["out"][..], false, false, vec![OutputKind::Local("out".into())]),
            (&["-"][..], false, false, vec![OutputKind::Tar(OutputDestination::Stdout)]),
            (&["type=tar,dest=a.tar"][..], false, true, vec![OutputKind::Tar(file("a.tar")), image(false)]),
            (&["type=docker"][..], false, false, vec![image(false)]),
            (&["type=docker,dest=a.tar"][..], false, false, vec![OutputKind::Docker(file("a.tar"))]),
            (&["type=cacheonly"][..], false, false, vec![OutputKind::CacheOnly]),
        ] {
            assert_eq!(kinds(flags, push, load), expected, "{flags:?}");
        }
    }

    #[test]
    fn a_malformed_output_is_an_error_with_its_reason() {
        for (flag, reason) in [
            ("type=squashfs", "is not one of"),
            ("dest=x", "has no type"),
            ("type=local", "needs dest"),
            ("type=image,dest=x", "does not accept dest"),
            ("type=tar,dest", "has no value"),
        ] {
            let error = resolve(&[flag.to_owned()], false, false).unwrap_err().to_string();
            assert!(error.contains(reason), "{flag}: {error}");
        }
    }
}
