//! Docker's `config.json`, read as Docker's client reads it.
//!
//! Field names are case-insensitive, `null` counts as absent, anything after the first JSON value is ignored, and an
//! empty file is an empty configuration (docker/cli, `cli/config/configfile`, with Go's `encoding/json`). A field of
//! the wrong type counts as absent without affecting the others.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::{Deserializer, Value};

/// A JSON object whose fields are read with Go's rules.
#[derive(Default, Clone)]
pub(crate) struct DockerConfigFile(BTreeMap<String, Value>);

#[derive(Debug, thiserror::Error)]
pub(crate) enum DockerConfigError {
    #[error("cannot be read")]
    File(#[from] io::Error),
    #[error("is not JSON")]
    Json(#[from] serde_json::Error),
    #[error("is not a JSON object")]
    NotAnObject,
}

impl DockerConfigFile {
    /// Reads the file; a missing file is an empty configuration.
    pub(crate) fn read(path: &Path) -> Result<Self, DockerConfigError> {
        match std::fs::read(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn parse(text: &[u8]) -> Result<Self, DockerConfigError> {
        match Deserializer::from_slice(text).into_iter().next() {
            None => Ok(Self::default()),
            Some(value) => Self::from_value(value?).ok_or(DockerConfigError::NotAnObject),
        }
    }

    /// Converts an object; `null` is an empty one.
    pub(super) fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Null => Some(Self::default()),
            Value::Object(fields) => {
                Some(Self(fields.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect()))
            }
            _ => None,
        }
    }

    /// Returns the value of a field, or `None` if it is absent or of a different type.
    pub(crate) fn field<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_value(self.0.get(&name.to_lowercase())?.clone()).ok()
    }

    /// Returns the string in a field, or an empty one if it is absent or of a different type.
    pub(crate) fn text(&self, name: &str) -> String {
        self.field(name).unwrap_or_default()
    }

    pub(crate) fn objects(&self, name: &str) -> BTreeMap<String, Self> {
        let values: BTreeMap<String, Value> = self.field(name).unwrap_or_default();
        values.into_iter().filter_map(|(name, value)| Some((name, Self::from_value(value)?))).collect()
    }

    /// Returns `true` if a field exists but is not of type `T`.
    pub(crate) fn has_other_type<T: DeserializeOwned>(&self, name: &str) -> bool {
        let value = self.0.get(&name.to_lowercase()).cloned();
        value.is_some_and(|value| serde_json::from_value::<Option<T>>(value).is_err())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_go_reads_them() {
        let read = |text: &str| DockerConfigFile::parse(text.as_bytes()).unwrap();
        for text in [
            r#"{"credsStore":"pass"}"#,
            r#"{"CredsStore":"pass"}"#,
            r#"{"credsStore":"pass"} and more"#,
            r#"{"auths":null,"credHelpers":[1],"proxies":"no","credsStore":"pass"}"#,
        ] {
            assert_eq!(read(text).text("credsStore"), "pass", "{text}");
        }
        for text in ["", " \n", "null", "{}", r#"{"credsStore":null}"#, r#"{"credsStore":3}"#] {
            assert_eq!(read(text).text("credsStore"), "", "{text}");
        }
        assert!(read(r#"{"credsStore":3}"#).has_other_type::<String>("credsStore"));
        assert!(!read(r#"{"credsStore":null}"#).has_other_type::<String>("credsStore"));
        let auths = read(r#"{"auths":{"a":{"Auth":"x"},"b":null,"c":3}}"#).objects("auths");
        assert_eq!(auths.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(auths["a"].text("auth"), "x");
        for text in ["{", "[]", "3", "\u{feff}{}"] {
            assert!(DockerConfigFile::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
