//! Validates the options of a mount.
//!
//! The engine validates them when it runs the instruction, after expanding variables. Here only options without
//! variables are validated, so that mistakes are reported before anything runs.
//!
//! Behaviour after `BuildKit`'s `frontend/dockerfile/instructions/commands_runmount.go`.

use super::error::InstructionMistake;
use super::mount::MountKind;

/// The properties of the fields that were read so far.
#[derive(Default)]
struct MountSummary<'a> {
    /// `None` if it depends on a variable.
    kind: Option<MountKind>,
    /// The keys that are allowed only in some kinds of mount, each with its field.
    restricted: Vec<(&'a str, &'a str)>,
    has_id: bool,
    has_source: bool,
    has_target: bool,
    /// `true` if the value of a field depends on a variable.
    has_variable: bool,
}

/// Returns the first mistake in the options with normalised keys that were parsed from these fields.
pub(super) fn first_mistake(
    options: &[(String, Option<String>)],
    fields: &[String],
) -> Option<InstructionMistake> {
    let mut sum = MountSummary { kind: Some(MountKind::Bind), ..MountSummary::default() };
    for ((key, value), field) in options.iter().zip(fields) {
        if let Some(message) = field_mistake(key, value.as_deref(), field, &mut sum) {
            return Some(InstructionMistake::at_part(field, message));
        }
    }
    let (message, field) = mount_mistake(&sum)?;
    let field = field.or(fields.first().map(String::as_str)).unwrap_or_default();
    Some(InstructionMistake::at_part(field, message))
}

fn is_plain(value: &str) -> bool {
    !value.contains(['$', '\\', '`', '\'', '"'])
}

fn field_mistake<'a>(
    key: &'a str,
    value: Option<&str>,
    field: &'a str,
    sum: &mut MountSummary<'a>,
) -> Option<String> {
    if value.is_some_and(|value| !is_plain(value)) {
        sum.has_variable = true;
        if key == "type" {
            sum.kind = None;
        }
        return None;
    }
    let value = value.unwrap_or("true");
    match (key, sum.kind) {
        ("type", _) => {
            sum.kind = MountKind::of(value);
            return sum.kind.is_none().then(|| {
                format!("the mount option `type` must be bind, cache, tmpfs, secret or ssh, not `{value}`")
            });
        }
        ("required", Some(kind @ (MountKind::Bind | MountKind::Cache | MountKind::Tmpfs))) => {
            return Some(not_allowed(key, kind));
        }
        ("size", Some(kind)) if kind != MountKind::Tmpfs => return Some(not_allowed(key, kind)),
        ("id", _) => sum.has_id = !value.is_empty(),
        ("source", _) => sum.has_source = !value.is_empty(),
        ("target", _) => sum.has_target = !value.is_empty(),
        ("from", _) if value.is_empty() => {}
        ("sharing" | "mode" | "uid" | "gid" | "from", _) => sum.restricted.push((key, field)),
        _ => {}
    }
    let valid = match key {
        "readonly" | "readwrite" | "required" => is_boolean(value),
        "size" => is_size(value),
        "sharing" => ["shared", "private", "locked"].iter().any(|mode| value.eq_ignore_ascii_case(mode)),
        "mode" => is_unsigned_number(value, 8),
        "uid" | "gid" => is_unsigned_number(value, 10),
        _ => true,
    };
    let expected = match key {
        "readonly" | "readwrite" | "required" => "true or false",
        "size" => "a number of bytes such as 64m",
        "sharing" => "shared, private or locked",
        "mode" => "an octal number such as 0755",
        _ => "a number",
    };
    (!valid).then(|| format!("the mount option `{key}` must be {expected}, not `{value}`"))
}

fn not_allowed(key: &str, kind: MountKind) -> String {
    format!("`{key}` is not allowed in mounts of type {}", kind.name())
}

/// Returns the mistake in the whole mount, with the field that contains it, if any.
fn mount_mistake<'a>(sum: &MountSummary<'a>) -> Option<(String, Option<&'a str>)> {
    let kind = sum.kind?;
    let wrong = |(key, _): &&(&str, &str)| match *key {
        "sharing" => kind != MountKind::Cache,
        "from" => kind == MountKind::Secret,
        _ => matches!(kind, MountKind::Bind | MountKind::Tmpfs),
    };
    if let Some((key, field)) = sum.restricted.iter().find(wrong) {
        return Some((not_allowed(key, kind), Some(*field)));
    }
    if kind != MountKind::Secret || sum.has_variable {
        return None;
    }
    if sum.has_source && sum.has_id {
        return Some(("a secret mount cannot have both a source and an id".to_owned(), None));
    }
    let named = sum.has_source || sum.has_id || sum.has_target;
    (!named).then(|| ("a secret mount needs an id or a target".to_owned(), None))
}

/// Behaves like Go's `strconv.ParseBool`.
fn is_boolean(value: &str) -> bool {
    matches!(
        value,
        "1" | "t" | "T" | "true" | "TRUE" | "True" | "0" | "f" | "F" | "false" | "FALSE" | "False"
    )
}

fn is_unsigned_number(value: &str, radix: u32) -> bool {
    !value.starts_with('+') && u32::from_str_radix(value, radix).is_ok()
}

/// Behaves like `units.RAMInBytes` of `docker/go-units`.
fn is_size(value: &str) -> bool {
    let Some(last) = value.rfind(|char: char| char.is_ascii_digit() || matches!(char, '.' | ' ')) else {
        return false;
    };
    let (number, unit) = value.split_at(last + 1);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let unit = unit.to_ascii_lowercase();
    let valid = match unit.strip_prefix(['k', 'm', 'g', 't', 'p']) {
        Some(rest) => matches!(rest, "" | "b" | "ib"),
        None => matches!(unit.as_str(), "" | "b"),
    };
    valid && number.parse::<f64>().is_ok_and(|number| number >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::super::mount::Mount;

    #[test]
    fn options_are_validated_as_in_the_frontend() {
        for valid in [
            "target=/x,readonly=1,rw=False",
            "type=tmpfs,target=/x,size=1.5 GiB",
            "type=tmpfs,target=/x,size=64m",
            "type=cache,target=/x,sharing=LOCKED,mode=0755,uid=1000,gid=0",
            "type=secret,id=a,required,mode=0400,env=A",
            "type=secret,target=/run/secrets/a",
            "type=ssh,required=true,uid=1000",
            // A variable may have any value.
            "type=$T,required,size=1",
            "type=cache,target=/x,mode=$M,sharing=${S:-shared}",
            "type=secret,source=$S,id=$I",
        ] {
            assert_eq!(Mount::parse(valid).err(), None, "{valid}");
        }
        let table = [
            ("target=/x,ro=yes", "the mount option `readonly` must be true or false, not `yes`", "ro=yes"),
            ("type=cache,required", "`required` is not allowed in mounts of type cache", "required"),
            ("required,type=ssh", "`required` is not allowed in mounts of type bind", "required"),
            ("type=cache,size=1g", "`size` is not allowed in mounts of type cache", "size=1g"),
            (
                "type=tmpfs,size=big",
                "the mount option `size` must be a number of bytes such as 64m, not `big`",
                "size=big",
            ),
            (
                "type=tmpfs,size=1x",
                "the mount option `size` must be a number of bytes such as 64m, not `1x`",
                "size=1x",
            ),
            (
                "type=cache,sharing=all",
                "the mount option `sharing` must be shared, private or locked, not `all`",
                "sharing=all",
            ),
            (
                "type=cache,mode=0888",
                "the mount option `mode` must be an octal number such as 0755, not `0888`",
                "mode=0888",
            ),
            ("type=cache,uid=app", "the mount option `uid` must be a number, not `app`", "uid=app"),
            ("type=cache,gid=-1", "the mount option `gid` must be a number, not `-1`", "gid=-1"),
            ("target=/x,mode=0755", "`mode` is not allowed in mounts of type bind", "mode=0755"),
            ("type=tmpfs,uid=1,target=/x", "`uid` is not allowed in mounts of type tmpfs", "uid=1"),
            ("sharing=shared,target=/x", "`sharing` is not allowed in mounts of type bind", "sharing=shared"),
            ("type=secret,id=a,from=b", "`from` is not allowed in mounts of type secret", "from=b"),
            (
                "type=secret,id=a,source=b",
                "a secret mount cannot have both a source and an id",
                "type=secret",
            ),
            ("type=secret,env=A", "a secret mount needs an id or a target", "type=secret"),
        ];
        for (text, message, field) in table {
            let mistake = Mount::parse(text).unwrap_err();
            assert_eq!(
                (mistake.message.as_str(), &*mistake.parts),
                (message, &[field.to_owned()][..]),
                "{text}"
            );
        }
    }
}
