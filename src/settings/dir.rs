//! Resolves the settings of `larder dir`.

use super::origin::parse_flag;
use super::size::ByteSize;
use super::source::parse_key_extra;
use super::{DirRestoreSettings, DirSaveSettings, DirSettings, Settings, SettingsError};
use crate::cli::{DirKeyArgs, DirRestoreArgs, DirSaveArgs};
use crate::context::clean_path;

impl DirSettings {
    fn resolve(args: &DirKeyArgs, settings: &Settings) -> Result<Self, SettingsError> {
        let family = match &args.name {
            Some(name) if name.is_empty() => return Err(SettingsError::flag("name", "it is empty")),
            Some(name) => name.clone(),
            None => {
                // With replacement characters, different paths could have the same name.
                let path = args.path.to_str().ok_or_else(|| {
                    let path = args.path.display();
                    SettingsError::flag("name", format!("the path {path} is not UTF-8: give it a name"))
                })?;
                clean_path(path)
            }
        };
        Ok(Self {
            path: args.path.clone(),
            family,
            key_files: args.key_files.clone(),
            key_extra: parse_key_extra(&args.key_extra)?,
            strict: args.strict || settings.options.strict.unwrap_or_default(),
        })
    }
}

impl DirSaveSettings {
    pub(crate) fn resolve(args: &DirSaveArgs, settings: &Settings) -> Result<Self, SettingsError> {
        let max_size = parse_flag::<ByteSize>("max-size", args.max_size.as_ref())?;
        Ok(Self {
            dir: DirSettings::resolve(&args.key, settings)?,
            max_size: max_size.map(|size| size.0),
            allow_shrink: args.allow_shrink,
        })
    }
}

impl DirRestoreSettings {
    pub(crate) fn resolve(args: &DirRestoreArgs, settings: &Settings) -> Result<Self, SettingsError> {
        let dir = DirSettings::resolve(&args.key, settings)?;
        Ok(Self { dir, fallback: args.fallback, outside_links: args.outside_links })
    }
}
