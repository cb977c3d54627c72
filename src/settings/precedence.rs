//! The precedence of values: flags, then variables, then the file.

use super::config_file::ConfigFile;
use super::{Environment, SettingsError};

/// The settings with lower precedence than flags.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fallback<'a> {
    pub(super) environment: &'a Environment,
    pub(super) file: &'a ConfigFile,
}

impl Fallback<'_> {
    /// Returns `true` if a flag, or else the variable, or else the file switches something on.
    pub(super) fn switched_on(
        self,
        typed: bool,
        variable: &'static str,
        in_file: Option<bool>,
    ) -> Result<bool, SettingsError> {
        let in_environment = self.environment.switch(variable)?;
        Ok(typed || in_environment.or(in_file).unwrap_or_default())
    }

    /// Returns the value of the flag, the variable or the file, parsed by `read`.
    pub(super) fn first<T>(
        self,
        (flag, typed): (&'static str, Option<&str>),
        variable: &'static str,
        (key, written): (&str, Option<&str>),
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, SettingsError> {
        if let Some(text) = typed {
            return read(text).map(Some).map_err(|reason| SettingsError::flag(flag, reason));
        }
        if let Some(text) = self.environment.get(variable) {
            return read(text).map(Some).map_err(|reason| SettingsError::Variable { variable, reason });
        }
        written.map(|text| read(text).map_err(|reason| self.file.fault(key, reason))).transpose()
    }
}
