//! What counts of a value that is given in several places: the flag, else the variable, else the file.

use super::config_file::ConfigFile;
use super::{Environment, SettingsError};

/// What stands behind the flags.
#[derive(Debug, Clone, Copy)]
pub(super) struct Behind<'a> {
    pub(super) environment: &'a Environment,
    pub(super) file: &'a ConfigFile,
}

impl Behind<'_> {
    /// Whether a flag, a variable or else the file switches something on.
    pub(super) fn switched_on(
        self,
        typed: bool,
        variable: &'static str,
        in_file: Option<bool>,
    ) -> Result<bool, SettingsError> {
        let in_environment = self.environment.switch(variable)?;
        Ok(typed || in_environment.or(in_file).unwrap_or_default())
    }

    /// The value of a flag, of a variable, or of the file; read by `read`.
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
