//! The config of a grafted image: that of its prefix, changed by the instructions after it.
//!
//! Follows `BuildKit`'s `frontend/dockerfile/dockerfile2llb/convert.go`. The text of the history is that of Docker 28.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::go_text::{duration, plain_list, quote, quoted_char, quoted_list};
use crate::dockerfile::Scope;

/// The beginning of the names of the fields that larder adds to the config of a prefix.
const LARDER_FIELD_PREFIX: &str = "larder.";
/// The comment in the history entries of `BuildKit`.
const COMMENT: &str = "buildkit.dockerfile.v0";
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// The config of a grafted image, to which instructions are applied one by one.
#[derive(Debug, Clone)]
pub(crate) struct GraftedConfig {
    fields: Map<String, Value>,
    settings: Map<String, Value>,
    history: Vec<Value>,
    /// `true` if a CMD of the stage has set the command. An ENTRYPOINT does not reset such a command.
    has_command: bool,
    created: String,
}

impl GraftedConfig {
    /// Parses the config of a prefix. Returns `None` if `prefix` is not a config.
    ///
    /// `has_command` must be `true` if the prefix contains a CMD of the stage.
    pub(super) fn parse(prefix: &[u8], has_command: bool, created: Timestamp) -> Option<Self> {
        let mut fields: Map<String, Value> = serde_json::from_slice(prefix).ok()?;
        fields.retain(|name, _| !name.starts_with(LARDER_FIELD_PREFIX));
        let settings = match fields.remove("config") {
            None | Some(Value::Null) => Map::new(),
            Some(settings) => serde_json::from_value(settings).ok()?,
        };
        let Value::Array(history) = fields.remove("history")? else { return None };
        fields.get("rootfs")?.get("diff_ids")?;
        Some(Self { fields, settings, history, has_command, created: created.to_string() })
    }

    /// Returns `true` if the variables of the config have the values in `scope`. They can differ if a variable depends
    /// on the default `PATH`, which the engine sets.
    pub(super) fn has_environment(&self, scope: &Scope) -> bool {
        let list = self.list("Env");
        let mut pairs = list.iter().filter_map(|pair| pair.split_once('='));
        pairs.all(|(name, value)| scope.get(name).is_none_or(|known| known == value))
    }

    pub(super) fn add_history_entry(&mut self, text: &str, has_layer: bool) {
        let mut entry = json!({ "created": self.created, "created_by": text, "comment": COMMENT });
        if !has_layer {
            entry["empty_layer"] = true.into();
        }
        self.history.push(entry);
    }

    fn list(&self, name: &str) -> Vec<String> {
        let list = self.settings.get(name).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    fn set_list(&mut self, name: &str, list: Vec<String>) {
        if list.is_empty() {
            self.settings.remove(name);
        } else {
            self.settings.insert(name.to_owned(), list.into());
        }
    }

    fn set_in(&mut self, name: &str, key: String, value: Value) {
        let map = self.settings.entry(name).or_insert_with(|| json!({}));
        if !map.is_object() {
            *map = json!({});
        }
        map[key] = value;
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.settings.get("User").and_then(Value::as_str).filter(|user| !user.is_empty())
    }

    pub(super) fn env(&mut self, pairs: &[(String, String)]) {
        let mut list = self.list("Env");
        for (name, value) in pairs {
            let new = format!("{name}={value}");
            match list.iter_mut().find(|old| old.split('=').next() == Some(name)) {
                Some(old) => *old = new,
                None => list.push(new),
            }
        }
        self.set_list("Env", list);
        self.add_history_entry(&format!("ENV {}", format_pairs(pairs)), false);
    }

    pub(super) fn labels(&mut self, pairs: Vec<(String, String)>) {
        self.add_history_entry(&format!("LABEL {}", format_pairs(&pairs)), false);
        for (name, value) in pairs {
            self.label(name, value);
        }
    }

    /// Sets a label without adding it to the history.
    pub(super) fn label(&mut self, name: String, value: String) {
        self.set_in("Labels", name, value.into());
    }

    /// Sets the field `name`, as the instruction `keyword` does.
    pub(super) fn set_text(&mut self, keyword: &str, name: &str, text: String, has_layer: bool) {
        self.add_history_entry(&format!("{keyword} {text}"), has_layer);
        self.settings.insert(name.to_owned(), text.into());
    }

    pub(super) fn shell(&mut self, words: &[String]) {
        self.add_history_entry(&format!("SHELL {}", plain_list(words)), false);
        self.set_list("Shell", words.to_vec());
    }

    /// Returns the arguments that run a command in the shell.
    fn shell_command(&self, command: String) -> Vec<String> {
        let mut words = self.list("Shell");
        if words.is_empty() {
            words = DEFAULT_SHELL.map(str::to_owned).to_vec();
        }
        words.push(command);
        words
    }

    /// Sets the command: the words of its JSON form, or `Err` with the text for the shell.
    pub(super) fn command(&mut self, words: Result<Vec<String>, String>) {
        let words = words.unwrap_or_else(|text| self.shell_command(text));
        self.add_history_entry(&format!("CMD {}", quoted_list(&words)), false);
        self.set_list("Cmd", words);
        self.settings.insert("ArgsEscaped".to_owned(), true.into());
        self.has_command = true;
    }

    pub(super) fn entrypoint(&mut self, words: Result<Vec<String>, String>) {
        let words = words.unwrap_or_else(|text| self.shell_command(text));
        self.add_history_entry(&format!("ENTRYPOINT {}", quoted_list(&words)), false);
        self.set_list("Entrypoint", words);
        if !self.has_command {
            self.settings.remove("Cmd");
        }
    }

    /// Adds names to the field `set`, as the instruction `keyword` does.
    pub(super) fn add_names(&mut self, keyword: &str, set: &str, names: Vec<String>) {
        self.add_history_entry(&format!("{keyword} {}", plain_list(&names)), false);
        for name in names {
            self.set_in(set, name, json!({}));
        }
    }

    /// Sets the health check. `times` are interval, timeout, start period and start interval in nanoseconds; 0 means
    /// the default.
    pub(super) fn healthcheck(&mut self, test: &[String], times: [i64; 4], retries: i64) {
        let quoted = times.map(|time| quote(&duration(time))).join(" ");
        let quoted_retries = quoted_char(u32::try_from(retries).unwrap_or_default());
        let entry = format!("HEALTHCHECK &{{{} {quoted} {quoted_retries}}}", quoted_list(test));
        self.add_history_entry(&entry, false);
        let mut written = json!({ "Test": test });
        let names = ["Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"];
        for (name, value) in names.into_iter().zip(times.into_iter().chain([retries])) {
            if value != 0 {
                written[name] = value.into();
            }
        }
        self.settings.insert("Healthcheck".to_owned(), written);
    }

    pub(super) fn maintainer(&mut self, author: String) {
        self.add_history_entry(&format!("MAINTAINER {author}"), false);
        self.fields.insert("author".to_owned(), author.into());
    }

    /// Sets the instructions that run in builds on top of the image.
    pub(super) fn triggers(&mut self, triggers: Vec<String>) {
        if !triggers.is_empty() {
            self.set_list("OnBuild", triggers);
        }
    }

    /// Returns the config with additional layers, given by their diff ids in order.
    pub(crate) fn with_layers(&self, diff_ids: impl IntoIterator<Item = String>) -> Vec<u8> {
        let mut fields = self.fields.clone();
        if let Some(Value::Array(layers)) =
            fields.get_mut("rootfs").and_then(|rootfs| rootfs.get_mut("diff_ids"))
        {
            layers.extend(diff_ids.into_iter().map(Value::from));
        }
        fields.insert("config".to_owned(), self.settings.clone().into());
        fields.insert("history".to_owned(), self.history.clone().into());
        fields.insert("created".to_owned(), self.created.clone().into());
        serde_json::to_vec(&fields).expect("a config has text keys only")
    }

    /// Returns the number of layers in the history.
    pub(crate) fn layer_count(&self) -> usize {
        self.history.iter().filter(|entry| entry.get("empty_layer") != Some(&true.into())).count()
    }
}

/// Formats pairs as in the history: `NAME=VALUE`, separated by spaces.
fn format_pairs(pairs: &[(String, String)]) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(" ")
}
