//! What `larder dir` is to do.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::source::key_extra;
use super::{Environment, Settings, SettingsError};
use crate::cli::{DirKeyArgs, DirRestoreArgs, DirSaveArgs};
use crate::context::clean_path;

/// A directory and the key of its entry.
#[derive(Debug, Clone)]
pub struct DirSettings {
    /// As typed.
    pub path: PathBuf,
    /// What entries of the directory have in common.
    pub family: String,
    /// Names and patterns of the files that the key is made of.
    pub key_files: Vec<String>,
    /// The user's own inputs of the key.
    pub key_extra: BTreeMap<String, String>,
    /// A cache at fault fails the command.
    pub strict: bool,
}

/// `larder dir save`, resolved.
#[derive(Debug, Clone)]
pub struct DirSaveSettings {
    /// The directory.
    pub dir: DirSettings,
    /// Bytes that the entry may have.
    pub max_size: Option<u64>,
    /// Save whatever is left of the directory.
    pub allow_shrink: bool,
}

/// `larder dir restore`, resolved.
#[derive(Debug, Clone)]
pub struct DirRestoreSettings {
    /// The directory.
    pub dir: DirSettings,
    /// The newest entry of the family will do.
    pub fallback: bool,
    /// Links may lead out of the directory.
    pub outside_links: bool,
}

impl DirSettings {
    fn resolve(
        args: &DirKeyArgs,
        settings: &Settings,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let family = match &args.name {
            Some(name) if name.is_empty() => return Err(SettingsError::flag("name", "it is empty")),
            Some(name) => name.clone(),
            None => clean_path(&args.path.to_string_lossy()),
        };
        Ok(Self {
            path: args.path.clone(),
            family,
            key_files: args.key_files.clone(),
            key_extra: key_extra(&args.key_extra)?,
            strict: settings.is_strict(args.strict, environment)?,
        })
    }
}

impl DirSaveSettings {
    /// Resolves `larder dir save`'s flags.
    ///
    /// # Errors
    ///
    /// Fails on malformed flags.
    pub fn resolve(
        args: &DirSaveArgs,
        settings: &Settings,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let size = |text: &String| {
            size(text).ok_or_else(|| {
                SettingsError::flag("max-size", format!("`{text}` is no size such as 500MB or 2GiB"))
            })
        };
        Ok(Self {
            dir: DirSettings::resolve(&args.key, settings, environment)?,
            max_size: args.max_size.as_ref().map(size).transpose()?,
            allow_shrink: args.allow_shrink,
        })
    }
}

impl DirRestoreSettings {
    /// Resolves `larder dir restore`'s flags.
    ///
    /// # Errors
    ///
    /// Fails on malformed flags.
    pub fn resolve(
        args: &DirRestoreArgs,
        settings: &Settings,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let dir = DirSettings::resolve(&args.key, settings, environment)?;
        Ok(Self { dir, fallback: args.fallback, outside_links: args.outside_links })
    }
}

/// A size in bytes: `500MB`, `2GiB`, `1.5 GB`, `4096`; `500M` and `2G` count in powers of 1000, too.
fn size(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let (prefix, step) = match unit.strip_suffix("ib") {
        Some(prefix) => (prefix, 1024_u64),
        None => (unit.strip_suffix('b').unwrap_or(&unit), 1000),
    };
    let power = match prefix {
        "" if step == 1000 => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let unit = step.pow(power);
    let tenths = match fraction {
        "" => 0,
        digits if digits.len() <= 3 => {
            digits.parse::<u64>().ok()? * unit / 10_u64.pow(u32::try_from(digits.len()).ok()?)
        }
        _ => return None,
    };
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(tenths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("4096", Some(4096)),
            ("500MB", Some(500_000_000)),
            ("500m", Some(500_000_000)),
            ("2GiB", Some(2 << 30)),
            ("1.5 GB", Some(1_500_000_000)),
            ("0.25KiB", Some(256)),
            ("1TB", Some(1_000_000_000_000)),
            ("0", Some(0)),
            ("", None),
            ("GB", None),
            ("1.2.3", None),
            ("-1", None),
            ("1XB", None),
            ("ib", None),
            ("1ib", None),
            ("99999999999TB", None),
        ] {
            assert_eq!(size(text), bytes, "{text}");
        }
    }
}
