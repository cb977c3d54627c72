//! `RUN --mount=…`: its options, before and after variable expansion.
//!
//! Behaviour after `BuildKit`'s `frontend/dockerfile/instructions/commands_runmount.go`.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::error::InstructionMistake;
use super::mount_rules;
use super::suggest::{nearest_name, suggestion_text};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MountKind {
    /// Files of the context, a stage or an image (the default).
    Bind,
    /// A directory that persists after the build.
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl MountKind {
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "bind" => Self::Bind,
            "cache" => Self::Cache,
            "tmpfs" => Self::Tmpfs,
            "secret" => Self::Secret,
            "ssh" => Self::Ssh,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

/// One `--mount` flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The options in order, as written, but with normalised keys: in lower case and without aliases (`source` for
    /// `src`, `target` for `dst` and `destination`, `readonly` for `ro`, `readwrite` for `rw`).
    pub(crate) options: Vec<(String, Option<String>)>,
}

#[rustfmt::skip]
const OPTION_KEYS: [&str; 14] = [
    "type", "from", "source", "target", "readonly", "readwrite", "id", "sharing", "required", "size",
    "mode", "uid", "gid", "env",
];

impl Mount {
    /// Parses the value of `--mount=`. The part of a mistake is the field that contains it.
    pub(super) fn parse(text: &str) -> Result<Self, InstructionMistake> {
        let fields = split_fields(text).map_err(|message| InstructionMistake::at_part(text, message))?;
        let mut options = Vec::new();
        for field in &fields {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (field.as_str(), None),
            };
            let key = match key.to_ascii_lowercase().as_str() {
                "src" => "source".to_owned(),
                "dst" | "destination" => "target".to_owned(),
                "ro" => "readonly".to_owned(),
                "rw" => "readwrite".to_owned(),
                key => key.to_owned(),
            };
            let error = |message: String| Err(InstructionMistake::at_part(field, message));
            if !OPTION_KEYS.contains(&key.as_str()) {
                let similar = suggestion_text(nearest_name(&key, OPTION_KEYS));
                return error(format!("unexpected mount option `{key}`{similar}"));
            }
            match (key.as_str(), &value) {
                ("readonly" | "readwrite" | "required", None) => {}
                (_, None) => return error(format!("mount option `{key}` needs a value")),
                ("from", Some(from)) if from.find('$').is_some_and(|index| index + 1 < from.len()) => {
                    return error("variables are not allowed in the mount option `from`: declare a stage and use its name".to_owned());
                }
                _ => {}
            }
            options.push((key, value));
        }
        match mount_rules::first_mistake(&options, &fields) {
            Some(mistake) => Err(mistake),
            None => Ok(Self { options }),
        }
    }

    /// Returns the last value, as written.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.options.iter().rev().find(|(name, _)| name == key).and_then(|(_, value)| value.as_deref())
    }

    /// Returns the type, or `None` if it contains a variable.
    pub(crate) fn kind(&self) -> Option<MountKind> {
        self.get("type").map_or(Some(MountKind::Bind), MountKind::of)
    }

    /// Returns the options as written, each once: of duplicates, the last one.
    pub(super) fn options_as_written(&self) -> BTreeMap<String, String> {
        let Ok(mount) = self.expand(|value| Ok::<_, Infallible>(value.to_owned()));
        mount.options
    }

    pub(super) fn expand<E>(
        &self,
        mut expand: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<ExpandedMount, E> {
        let mut options = BTreeMap::new();
        for (key, value) in &self.options {
            let value = value.as_deref().map(&mut expand).transpose()?;
            options.insert(key.clone(), value.unwrap_or_else(|| "true".to_owned()));
        }
        Ok(ExpandedMount { options })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ExpandedMount {
    pub(super) options: BTreeMap<String, String>,
}

impl ExpandedMount {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.options.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Returns the type; an unknown one is treated as a bind mount, which can read the most.
    pub(super) fn kind(&self) -> MountKind {
        self.get("type").and_then(MountKind::of).unwrap_or(MountKind::Bind)
    }

    /// Returns the id of a secret: `source`, else `id`, else the last part of `target`.
    pub(super) fn secret_id(&self) -> Option<&str> {
        let target = self.get("target").map(|target| target.trim_end_matches('/'));
        let last = target.map(|target| target.rsplit('/').next().unwrap_or(target));
        self.get("source").or_else(|| self.get("id")).or(last)
    }

    pub(super) fn ssh_id(&self) -> &str {
        self.get("id").unwrap_or("default")
    }
}

/// Splits a comma-separated line with quotes as in RFC 4180.
fn split_fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, more) =
                rest.split_once(',').map_or((rest, None), |(field, more)| (field, Some(more)));
            if field.contains('"') {
                return Err("a quote inside an unquoted mount option".to_owned());
            }
            fields.push(field.to_owned());
            let Some(more) = more else { return Ok(fields) };
            rest = more;
            continue;
        };
        let mut field = String::new();
        let mut chars = quoted.char_indices();
        loop {
            match chars.next() {
                None => return Err("unclosed quote in a mount".to_owned()),
                Some((_, '"')) if chars.as_str().starts_with('"') => {
                    field.push('"');
                    chars.next();
                }
                Some((_, '"')) => break,
                Some((_, char)) => field.push(char),
            }
        }
        fields.push(field);
        let after = chars.as_str();
        if after.is_empty() {
            return Ok(fields);
        }
        rest = after.strip_prefix(',').ok_or_else(|| "text after a closing quote in a mount".to_owned())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aliases_defaults_and_quotes_in_mounts_are_supported() {
        let mount = Mount::parse(r#"Type=cache,dst=/root/.cache,"id=a,b",ro,sharing=locked"#).unwrap();
        assert_eq!(mount.kind(), Some(MountKind::Cache));
        assert_eq!(mount.get("target"), Some("/root/.cache"));
        assert_eq!(mount.get("id"), Some("a,b"));
        assert!(mount.options.contains(&("readonly".to_owned(), None)));
        assert_eq!(Mount::parse("target=/src").unwrap().kind(), Some(MountKind::Bind));
        assert_eq!(Mount::parse("type=$KIND,target=/src").unwrap().kind(), None);
    }

    #[test]
    fn mistakes_in_mounts_are_reported() {
        let table = [
            ("type=cahce", "the mount option `type` must be bind, cache, tmpfs, secret or ssh, not `cahce`"),
            ("tagret=/x", "unexpected mount option `tagret`; did you mean `target`?"),
            (
                "type=bind,from=$BASE,target=/x",
                "variables are not allowed in the mount option `from`: declare a stage and use its name",
            ),
            ("type=cache,target", "mount option `target` needs a value"),
            (r#""id=a"#, "unclosed quote in a mount"),
            (r#"type=cache,"id=a"b"#, "text after a closing quote in a mount"),
            (r#"type=cache,id="a,b""#, "a quote inside an unquoted mount option"),
        ];
        for (text, message) in table {
            assert_eq!(Mount::parse(text).unwrap_err().message, message, "{text}");
        }
    }
}
