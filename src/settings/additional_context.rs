//! `--additional-context`: names and values that describe what an image is for.

use std::collections::BTreeMap;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct AdditionalContext {
    /// The text in canonical form, for the key.
    pub(super) text: Option<String>,
    pub(super) values: BTreeMap<String, String>,
}

impl AdditionalContext {
    /// Parses a mapping in the notation of JSON, YAML or Python (`{'guest_os': 'CENTOS'}`). Other text is not parsed.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if !text.trim_start().starts_with('{') {
            return Ok(Self { text: Some(text.to_owned()), values: BTreeMap::new() });
        }
        let mapping: BTreeMap<String, serde_json::Value> = serde_yaml::from_str(text)
            .map_err(|error| format!("`{text}` is not a mapping of names: {error}"))?;
        let values = mapping.into_iter().filter_map(|(name, value)| match value {
            serde_json::Value::String(text) => Some((name, text)),
            serde_json::Value::Null => None,
            value => Some((name, value.to_string())),
        });
        Self::from_values(values.collect()).map_err(|reason| format!("`{text}`: {reason}"))
    }

    pub(super) fn from_values(values: BTreeMap<String, String>) -> Result<Self, String> {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_name = |name: &str| {
            !name.is_empty()
                && name.chars().all(is_allowed)
                && !name.starts_with(|c: char| c.is_ascii_digit())
        };
        if let Some(name) = values.keys().find(|name| !is_name(name)) {
            return Err(format!("`{name}` cannot be the name of a variable"));
        }
        let text = serde_json::to_string(&values).map_err(|error| error.to_string())?;
        Ok(Self { text: Some(text), values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_has_the_same_text_in_every_notation() {
        let parse = AdditionalContext::parse;
        let json = parse(r#"{"guest_os": "CENTOS", "batch_size": 32, "tuned": true, "none": null}"#).unwrap();
        for text in [
            "{'guest_os': 'CENTOS', 'batch_size': 32, 'tuned': True, 'none': null}",
            "{tuned: true, batch_size: '32', guest_os: CENTOS}",
        ] {
            assert_eq!(parse(text).unwrap(), json, "{text}");
        }
        assert_eq!(json.text.unwrap(), r#"{"batch_size":"32","guest_os":"CENTOS","tuned":"true"}"#);
        assert_eq!(json.values["guest_os"], "CENTOS");
        assert_eq!(parse("plain words").unwrap().text.unwrap(), "plain words");
        for wrong in ["{'a': 'b'", "{'a b': 1}", "{'1a': 1}", "{'': 1}", "{'a'}{"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
