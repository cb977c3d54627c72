//! `--additional-context`: names and values that describe what an image is built and run for.

use std::collections::BTreeMap;

use super::SettingsError;

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct AdditionalContext {
    /// The text in canonical form, for the key.
    pub(super) text: Option<String>,
    pub(super) values: BTreeMap<String, String>,
}

/// Parses a mapping in the notation of JSON, YAML or Python (`{'guest_os': 'CENTOS'}`); other text is used as it is.
pub(super) fn parse(given: Option<&str>) -> Result<AdditionalContext, SettingsError> {
    let Some(text) = given else { return Ok(AdditionalContext::default()) };
    if !text.trim_start().starts_with('{') {
        return Ok(AdditionalContext { text: Some(text.to_owned()), values: BTreeMap::new() });
    }
    let failed = |reason: String| SettingsError::flag("additional-context", format!("`{text}` {reason}"));
    let mapping: BTreeMap<String, serde_json::Value> =
        serde_yaml::from_str(text).map_err(|error| failed(format!("is no mapping of names: {error}")))?;
    let mut values = BTreeMap::new();
    for (name, value) in mapping {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(failed(format!("has `{name}`, which cannot be the name of a variable")));
        }
        let value = match value {
            serde_json::Value::String(text) => text,
            serde_json::Value::Null => continue,
            value => value.to_string(),
        };
        values.insert(name, value);
    }
    let text = serde_json::to_string(&values).map_err(|error| failed(error.to_string()))?;
    Ok(AdditionalContext { text: Some(text), values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_has_the_same_text_in_every_notation() {
        let json =
            parse(Some(r#"{"guest_os": "CENTOS", "batch_size": 32, "tuned": true, "none": null}"#)).unwrap();
        for text in [
            "{'guest_os': 'CENTOS', 'batch_size': 32, 'tuned': True, 'none': null}",
            "{tuned: true, batch_size: '32', guest_os: CENTOS}",
        ] {
            assert_eq!(parse(Some(text)).unwrap(), json, "{text}");
        }
        assert_eq!(json.text.unwrap(), r#"{"batch_size":"32","guest_os":"CENTOS","tuned":"true"}"#);
        assert_eq!(json.values["guest_os"], "CENTOS");
        assert_eq!(parse(Some("plain words")).unwrap().text.unwrap(), "plain words");
        assert_eq!(parse(None).unwrap(), AdditionalContext::default());
        for wrong in ["{'a': 'b'", "{'a b': 1}", "{'1a': 1}", "{'': 1}", "{'a'}{"] {
            assert!(parse(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
