//! Resolves the settings of `larder dir`.

use super::source::key_extra;
use super::{DirRestoreSettings, DirSaveSettings, DirSettings, Environment, Settings, SettingsError, size};
use crate::cli::{DirKeyArgs, DirRestoreArgs, DirSaveArgs};
use crate::context::clean_path;

impl DirSettings {
    fn resolve(
        args: &DirKeyArgs,
        settings: &Settings,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let family = match &args.name {
            Some(name) if name.is_empty() => return Err(SettingsError::flag("name", "it is empty")),
            Some(name) => name.clone(),
            None => {
                // With replacement characters, it could equal a different path.
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
            key_extra: key_extra(&args.key_extra)?,
            strict: settings.is_strict(args.strict, environment)?,
        })
    }
}

impl DirSaveSettings {
    pub(crate) fn resolve(
        args: &DirSaveArgs,
        settings: &Settings,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let size =
            |text: &String| size::parse(text).map_err(|reason| SettingsError::flag("max-size", reason));
        Ok(Self {
            dir: DirSettings::resolve(&args.key, settings, environment)?,
            max_size: args.max_size.as_ref().map(size).transpose()?,
            allow_shrink: args.allow_shrink,
        })
    }
}

impl DirRestoreSettings {
    pub(crate) fn resolve(
        args: &DirRestoreArgs,
        settings: &Settings,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let dir = DirSettings::resolve(&args.key, settings, environment)?;
        Ok(Self { dir, fallback: args.fallback, outside_links: args.outside_links })
    }
}
