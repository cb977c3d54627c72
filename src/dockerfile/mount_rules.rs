//! Validates the options of a mount.
//!
//! The engine validates them when it runs the instruction, after expanding variables. Here only options without
//! variables are validated, so that mistakes are reported before anything runs.
//!
//! Behaviour after `BuildKit`'s `frontend/dockerfile/instructions/commands_runmount.go`.

use super::mount::MountKind;

/// One option: its normalised key, its value, and the field as written.
pub(super) struct MountField<'a> {
    pub(super) key: &'a str,
    pub(super) value: Option<&'a str>,
    pub(super) written: &'a str,
}

/// The properties of the fields that were read so far.
struct MountSummary<'a> {
    /// `None` if it depends on a variable.
    kind: Option<MountKind>,
    /// The fields that are allowed only in some kinds of mount.
    restricted: Vec<&'a MountField<'a>>,
    has_id: bool,
    has_source: bool,
    has_target: bool,
    /// `true` if the value of a field depends on a variable.
    has_variable: bool,
}

/// Returns the first mistake, with the field that contains it.
pub(super) fn first_mistake(fields: &[MountField<'_>]) -> Option<(String, String)> {
    let mut sum = MountSummary {
        kind: Some(MountKind::Bind),
        restricted: Vec::new(),
        has_id: false,
        has_source: false,
        has_target: false,
        has_variable: false,
    };
    fields
        .iter()
        .find_map(|field| field_mistake(field, &mut sum).map(|message| (message, field.written.to_owned())))
        .or_else(|| {
            let first = || fields.first().map(|field| field.written.to_owned()).unwrap_or_default();
            let (message, field) = mount_mistake(&sum)?;
            Some((message, field.map_or_else(first, |field| field.written.to_owned())))
        })
}

fn is_plain(value: &str) -> bool {
    !value.contains(['$', '\\', '`', '\'', '"'])
}

fn field_mistake<'a>(field: &'a MountField<'a>, sum: &mut MountSummary<'a>) -> Option<String> {
    let MountField { key, value, .. } = *field;
    if value.is_some_and(|value| !is_plain(value)) {
        sum.has_variable = true;
        if key == "type" {
            sum.kind = None;
        }
        return None;
    }
    let value = value.unwrap_or("true");
    let named = |kind: MountKind| kind.name();
    match (key, sum.kind) {
        ("type", _) => {
            sum.kind = MountKind::of(value);
            return sum.kind.is_none().then(|| {
                format!("the mount option `type` must be bind, cache, tmpfs, secret or ssh, not `{value}`")
            });
        }
        ("required", Some(kind)) if !matches!(kind, MountKind::Secret | MountKind::Ssh) => {
            return Some(format!("`required` is not allowed in mounts of type {}", named(kind)));
        }
        ("size", Some(kind)) if kind != MountKind::Tmpfs => {
            return Some(format!("`size` is not allowed in mounts of type {}", named(kind)));
        }
        ("id", _) => sum.has_id = !value.is_empty(),
        ("source", _) => sum.has_source = !value.is_empty(),
        ("target", _) => sum.has_target = !value.is_empty(),
        ("from", _) if value.is_empty() => {}
        ("sharing" | "mode" | "uid" | "gid" | "from", _) => sum.restricted.push(field),
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

fn mount_mistake<'a>(sum: &MountSummary<'a>) -> Option<(String, Option<&'a MountField<'a>>)> {
    let kind = sum.kind?;
    let wrong = |field: &&&MountField<'_>| match (field.key, kind) {
        ("sharing", kind) => kind != MountKind::Cache,
        ("from", kind) => kind == MountKind::Secret,
        (_, kind) => matches!(kind, MountKind::Bind | MountKind::Tmpfs),
    };
    if let Some(field) = sum.restricted.iter().find(wrong) {
        return Some((
            format!("`{}` is not allowed in mounts of type {}", field.key, kind.name()),
            Some(field),
        ));
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
            assert_eq!(Mount::parse(text).unwrap_err(), (message.to_owned(), field.to_owned()), "{text}");
        }
    }
}
