//! `run` of an image in `larder.yaml`: the options of `larder run` by their names, with `_` for `-`.
//!
//! ```yaml
//! run:
//!   command: [python, run.py]
//!   env: { MODE: fast, TOKEN: null }
//!   volumes: [./data:/data]
//!   devices: [/dev/kfd, /dev/dri]
//!   cap_add: [SYS_PTRACE]
//!   security_opt: [seccomp=unconfined]
//!   memory: 64g
//! ```

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};

use crate::cli::{Arity, CONTAINER_OPTIONS, ContainerOption, ContainerOptions};

/// Options with a plural key in the file.
const PLURAL_KEYS: [(&str, &str); 2] = [("volume", "volumes"), ("device", "devices")];
const COMMAND: &str = "command";

/// The options of `larder run` for an image.
#[derive(Debug, Clone, Default)]
pub(super) struct RunOptions {
    /// The command, or the arguments of the image's entrypoint.
    pub(super) command: Vec<String>,
    pub(super) options: ContainerOptions,
}

/// Returns the key of an option in the file.
fn key(option: &ContainerOption) -> String {
    let called = PLURAL_KEYS.iter().find(|(name, _)| *name == option.name);
    called.map_or_else(|| option.name.replace('-', "_"), |(_, key)| (*key).to_owned())
}

/// Returns the path of keys of an option, relative to its image.
pub(super) fn key_path(flag: &str) -> Option<Vec<String>> {
    let option = CONTAINER_OPTIONS.iter().find(|option| option.name == flag)?;
    Some(vec!["run".to_owned(), key(option)])
}

impl<'de> Deserialize<'de> for RunOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RunOptionsVisitor)
    }
}

struct RunOptionsVisitor;

impl<'de> Visitor<'de> for RunOptionsVisitor {
    type Value = RunOptions;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RunOptions, A::Error> {
        let mut run = RunOptions::default();
        while let Some(OptionKey(option)) = map.next_key()? {
            match option {
                None => run.command = map.next_value()?,
                Some(option) if !run.options.get(option.name).is_empty() => {
                    return Err(A::Error::custom(format!("`{}` is defined twice", key(option))));
                }
                Some(option) => {
                    for value in map.next_value_seed(OptionValues(option))? {
                        run.options.add(option.name, value);
                    }
                }
            }
        }
        Ok(run)
    }
}

/// An option, or `None` for the command.
struct OptionKey(Option<&'static ContainerOption>);

impl<'de> Deserialize<'de> for OptionKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        if name == COMMAND {
            return Ok(Self(None));
        }
        let option = CONTAINER_OPTIONS.iter().find(|option| key(option) == name);
        option.map(|option| Self(Some(option))).ok_or_else(|| {
            D::Error::custom(format!(
                "unknown field `{name}`, expected command or an option of larder run such as cap_add"
            ))
        })
    }
}

/// Deserializes the values of an option into the format of its flag.
struct OptionValues(&'static ContainerOption);

impl<'de> DeserializeSeed<'de> for OptionValues {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<String>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl OptionValues {
    fn single_value<E: Error>(&self, value: String, found: Unexpected<'_>) -> Result<Vec<String>, E> {
        if self.0.arity == Arity::Once { Ok(vec![value]) } else { Err(E::invalid_type(found, self)) }
    }
}

impl<'de> Visitor<'de> for OptionValues {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0.arity {
            Arity::Switch => "true or false",
            Arity::Once => "one value",
            Arity::Many => "a sequence or a mapping of names to values",
        })
    }

    fn visit_unit<E: Error>(self) -> Result<Vec<String>, E> {
        Ok(Vec::new())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Vec<String>, E> {
        match self.0.arity {
            Arity::Switch => Ok(vec![value.to_string()]),
            _ => Err(E::invalid_type(Unexpected::Bool(value), &self)),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Vec<String>, E> {
        self.single_value(value.to_string(), Unexpected::Signed(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Vec<String>, E> {
        self.single_value(value.to_string(), Unexpected::Unsigned(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Vec<String>, E> {
        self.single_value(value.to_string(), Unexpected::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Vec<String>, E> {
        self.single_value(value.to_owned(), Unexpected::Str(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<String>, A::Error> {
        if self.0.arity != Arity::Many {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        let mut values = Vec::new();
        while let Some(Scalar(value)) = sequence.next_element()? {
            values.push(value);
        }
        Ok(values)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<String>, A::Error> {
        if self.0.arity != Arity::Many {
            return Err(A::Error::invalid_type(Unexpected::Map, &self));
        }
        let mut values = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, Option<Scalar>>()? {
            values.push(value.map_or_else(|| name.clone(), |Scalar(value)| format!("{name}={value}")));
        }
        Ok(values)
    }
}

/// Text, or a number as text.
#[derive(Deserialize)]
#[serde(from = "ScalarValue")]
struct Scalar(String);

#[derive(Deserialize)]
#[serde(untagged, expecting = "text or a number")]
enum ScalarValue {
    Text(String),
    Integer(i64),
    Number(f64),
}

impl From<ScalarValue> for Scalar {
    fn from(plain: ScalarValue) -> Self {
        Self(match plain {
            ScalarValue::Text(text) => text,
            ScalarValue::Integer(number) => number.to_string(),
            ScalarValue::Number(number) => number.to_string(),
        })
    }
}

#[cfg(test)]
impl schemars::JsonSchema for RunOptions {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RunOfImage".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let texts = serde_json::json!({ "type": "array", "items": { "type": ["string", "number"] } });
        let mut properties = serde_json::Map::new();
        let mut command = texts.clone();
        command["description"] = "The command, or the arguments of the image's entrypoint.".into();
        properties.insert(COMMAND.to_owned(), command);
        for option in CONTAINER_OPTIONS {
            let mut schema = match option.arity {
                Arity::Switch => serde_json::json!({ "type": "boolean" }),
                Arity::Once => serde_json::json!({ "type": ["string", "number", "null"] }),
                Arity::Many => serde_json::json!({ "anyOf": [
                    texts,
                    { "type": "object", "additionalProperties": { "type": ["string", "number", "null"] } },
                ]}),
            };
            schema["description"] = format!("{}.", option.help()).into();
            properties.insert(key(option), schema);
        }
        let schema = serde_json::json!({
            "type": "object",
            "description": "Options of `larder run`.",
            "properties": properties,
            "additionalProperties": false,
        });
        schema.try_into().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_of_larder_run_is_accepted() {
        for option in CONTAINER_OPTIONS {
            let (value, expected) = match option.arity {
                Arity::Switch => ("true", "true"),
                Arity::Once => ("'1'", "1"),
                Arity::Many => ("[x, 2]", "x"),
            };
            let text = format!("{}: {value}\n", key(option));
            let run: RunOptions = serde_yaml::from_str(&text).unwrap();
            assert_eq!(run.options.get(option.name)[0], expected, "{text}");
        }
    }

    #[test]
    fn values_are_converted_to_the_format_of_flags() {
        let run: RunOptions = serde_yaml::from_str(
            "env: {A: '1', B: 2, C: null}\nlabel: [x=1]\ncpus: 1.5\npids_limit: -1\ninit: false\nsysctl: {net.core.somaxconn: 1024}\n",
        )
        .unwrap();
        for (name, expected) in [
            ("env", &["A=1", "B=2", "C"][..]),
            ("label", &["x=1"]),
            ("cpus", &["1.5"]),
            ("pids-limit", &["-1"]),
            ("init", &["false"]),
            ("sysctl", &["net.core.somaxconn=1024"]),
        ] {
            assert_eq!(run.options.get(name), expected, "{name}");
        }
        for (text, reason) in [
            ("cap_add: SYS_PTRACE", "expected a sequence"),
            ("memory: [1g]", "expected one value"),
            ("init: 'yes'", "expected true or false"),
            ("restart: always", "unknown field `restart`"),
        ] {
            let error = serde_yaml::from_str::<RunOptions>(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
