//! Values of settings with the flag, variable or key of `larder.yaml` that set them.

use std::fmt;
use std::marker::PhantomData;
use std::path::PathBuf;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Environment, SettingsError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// A flag, without dashes.
    Flag(&'static str),
    Variable(&'static str),
    /// `larder.yaml`.
    File,
    /// A key of an image in `larder.yaml`.
    Key {
        file: PathBuf,
        path: String,
        line: Option<usize>,
    },
}

impl Origin {
    pub(super) fn error(&self, reason: impl Into<String>) -> SettingsError {
        let reason = reason.into();
        match self {
            Self::Flag(flag) => SettingsError::Flag { flag, reason },
            Self::Variable(variable) => SettingsError::Variable { variable, reason },
            Self::File => {
                SettingsError::File { path: PathBuf::from(super::config_file::DEFAULT_NAME), reason }
            }
            Self::Key { file, path, line } => {
                let line = line.map(|line| format!(" at line {line}")).unwrap_or_default();
                SettingsError::File { path: file.clone(), reason: format!("{path}: {reason}{line}") }
            }
        }
    }

    pub(super) fn parse<T>(
        &self,
        values: &[String],
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, SettingsError> {
        values.iter().map(|value| parse(value).map_err(|reason| self.error(reason))).collect()
    }
}

/// A value and its origin. Deserialized values are from `larder.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sourced<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

impl<T> Sourced<T> {
    pub(super) fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }

    pub(super) fn flag(name: &'static str, value: T) -> Self {
        Self::new(value, Origin::Flag(name))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Sourced<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(T::deserialize(deserializer)?, Origin::File))
    }
}

/// A value that flags, variables and `larder.yaml` write as text.
pub(super) trait FromText: Sized {
    /// Parses the text. The error is the reason, and quotes the text.
    fn from_text(text: &str) -> Result<Self, String>;

    /// Converts a number, or returns the reason why it is invalid, or `None` if only text is valid.
    fn from_number(_: f64) -> Result<Self, Option<String>> {
        Err(None)
    }
}

pub(super) fn parse_flag<T: FromText>(
    name: &'static str,
    text: Option<&String>,
) -> Result<Option<T>, SettingsError> {
    let parse = |text: &String| T::from_text(text).map_err(|reason| SettingsError::flag(name, reason));
    text.map(parse).transpose()
}

impl Environment {
    /// Returns the value of a variable that is set and not empty.
    pub(super) fn parsed_value<T: FromText>(
        &self,
        variable: &'static str,
    ) -> Result<Option<T>, SettingsError> {
        let parse = |text| T::from_text(text).map_err(|reason| SettingsError::Variable { variable, reason });
        self.get(variable).map(parse).transpose()
    }
}

/// A value that is deserialized from text or a number. Errors have the key and the line, because they are raised while
/// the value is visited.
pub(super) struct Written<T>(pub(super) T);

impl<'de, T: FromText> Deserialize<'de> for Written<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WrittenVisitor(PhantomData)).map(Self)
    }
}

struct WrittenVisitor<T>(PhantomData<T>);

impl<T: FromText> WrittenVisitor<T> {
    fn visit_number<E: Error>(self, number: f64, found: Unexpected<'_>) -> Result<T, E> {
        let invalid = |reason: Option<_>| reason.map_or_else(|| E::invalid_type(found, &self), E::custom);
        T::from_number(number).map_err(invalid)
    }
}

impl<T: FromText> Visitor<'_> for WrittenVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        #[expect(clippy::cast_precision_loss, reason = "larger numbers are invalid anyway")]
        self.visit_number(number as f64, Unexpected::Unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Err(E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.visit_number(number, Unexpected::Float(number))
    }
}

pub(super) fn text<'de, D: Deserializer<'de>, T: FromText>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Written<T>>::deserialize(deserializer)?.map(|written| written.0))
}
