//! Progress as JSON, one object per line.
//!
//! Every object has `schema` (always [`SCHEMA`]) and `event`; the other fields depend on the event. All are always
//! present; unknown values are `null`. Times are RFC 3339 in UTC, by the builder's clock. Fields may be added, but not
//! renamed or removed, without a new schema name.
//!
//! | `event` | fields |
//! |---|---|
//! | `vertex` | `digest`, `name`, `inputs` (digests), `cached`, `started`, `completed`, `error`, `group` (`id`, `name`) |
//! | `status` | `vertex` (digest), `id`, `current` and `total` (bytes; a total of 0 is unknown), `timestamp`, `started`, `completed` |
//! | `log` | `vertex`, `stream` (`stdout` or `stderr`), `timestamp`, `data` |
//! | `message` | `level` (`note`, `warning`, `error` or `hint`), `text`: larder's own messages; a `note` explains an error |
//! | `keys` | `image_key` and `dependency_key`, or `null` and the `reason` if they cannot be known |
//! | `tier` | `tier`, `outcome` (`hit`, `miss`, `skipped`), `reason`, `bytes`, `millis`: the result of a tier |
//! | `mount` | `action` (`restore`, `save`), `mount`: a cache mount's record, as in `larder mount --format json` |
//! | `build` | `record`: the record of the build, as in `--metadata-file`; the last event of a build |
//! | `ran` | `host`, `exit`, `millis`: a container of `larder run` has ended |
//! | `warning` | `vertex`, `short`, `detail` (lines), `url`, `lines` (`first`, `last`; 1-based, of the Dockerfile) |
//!
//! A vertex is repeated completely whenever it changes. `data` is output in pieces that need not be lines; invalid
//! UTF-8 becomes U+FFFD, and a character that is split between two messages is part of the second.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::Renderer;
use crate::buildkit::status::{StatusUpdate, Vertex, VertexStatus, VertexWarning};
use crate::buildkit::trace::{Trace, TraceChanges};

pub(crate) const SCHEMA: &str = "larder.progress.v1";

#[derive(Default)]
pub(crate) struct JsonRenderer {
    /// The incomplete character at the end of the data, by vertex and stream.
    incomplete_characters: BTreeMap<(String, i64), Vec<u8>>,
}

#[derive(Serialize)]
struct JsonRecord<'a> {
    schema: &'static str,
    #[serde(flatten)]
    event: JsonEvent<'a>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
enum JsonEvent<'a> {
    Vertex {
        digest: &'a str,
        name: &'a str,
        inputs: &'a [String],
        cached: bool,
        started: Option<Timestamp>,
        completed: Option<Timestamp>,
        error: Option<&'a str>,
        group: Option<Value>,
    },
    Status(&'a VertexStatus),
    Log {
        vertex: &'a str,
        stream: &'static str,
        timestamp: Option<Timestamp>,
        data: &'a str,
    },
    Message {
        level: &'a str,
        text: &'a str,
        /// The engine that the message is about, if there are several.
        #[serde(skip_serializing_if = "Option::is_none")]
        part: Option<&'a str>,
    },
    Warning {
        vertex: &'a str,
        short: &'a str,
        detail: &'a [String],
        url: Option<&'a str>,
        lines: Option<Value>,
    },
}

impl<'a> From<&'a Vertex> for JsonEvent<'a> {
    fn from(vertex: &'a Vertex) -> Self {
        Self::Vertex {
            digest: &vertex.digest,
            name: &vertex.name,
            inputs: &vertex.inputs,
            cached: vertex.is_cached,
            started: vertex.started,
            completed: vertex.completed,
            error: non_empty(&vertex.error),
            group: vertex.progress_group.as_ref().map(|(id, name)| json!({ "id": id, "name": name })),
        }
    }
}

impl<'a> From<&'a VertexWarning> for JsonEvent<'a> {
    fn from(warning: &'a VertexWarning) -> Self {
        Self::Warning {
            vertex: &warning.vertex,
            short: &warning.short,
            detail: &warning.detail,
            url: non_empty(&warning.url),
            lines: warning.lines.map(|(first, last)| json!({ "first": first, "last": last })),
        }
    }
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

impl Renderer for JsonRenderer {
    fn message(&mut self, update: &StatusUpdate, out: &mut String) {
        let StatusUpdate { vertexes, statuses, logs, warnings } = update;
        let events = vertexes.iter().map(JsonEvent::from);
        let events = events.chain(statuses.iter().map(JsonEvent::Status));
        events.chain(warnings.iter().map(JsonEvent::from)).for_each(|event| push_event(event, out));
        for log in logs {
            let split = self.incomplete_characters.entry((log.vertex.clone(), log.stream)).or_default();
            split.extend_from_slice(&log.data);
            let rest = split.split_off(complete_length(split));
            let bytes = std::mem::replace(split, rest);
            push_output(&log.vertex, log.stream, log.timestamp, &bytes, out);
        }
    }

    fn finish(&mut self, _trace: &Trace, _changes: TraceChanges, _now: Timestamp, out: &mut String) {
        for ((vertex, stream), bytes) in &self.incomplete_characters {
            push_output(vertex, *stream, None, bytes, out);
        }
    }
}

fn push_output(vertex: &str, stream: i64, timestamp: Option<Timestamp>, bytes: &[u8], out: &mut String) {
    if !bytes.is_empty() {
        let stream = if stream == 2 { "stderr" } else { "stdout" };
        let data = &String::from_utf8_lossy(bytes);
        push_event(JsonEvent::Log { vertex, stream, timestamp, data }, out);
    }
}

/// Returns a line with a message of larder, optionally about one of several engines.
pub(crate) fn message(level: &str, text: &str, part: Option<&str>) -> String {
    line(&JsonRecord { schema: SCHEMA, event: JsonEvent::Message { level, text, part } })
}

/// Returns a line with an event, optionally about one of several engines.
pub(crate) fn event(name: &str, fields: &impl Serialize, part: Option<&str>) -> String {
    #[derive(Serialize)]
    struct CustomEvent<'a, T> {
        schema: &'static str,
        event: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        part: Option<&'a str>,
        #[serde(flatten)]
        fields: &'a T,
    }
    line(&CustomEvent { schema: SCHEMA, event: name, part, fields })
}

fn push_event(event: JsonEvent<'_>, out: &mut String) {
    out.push_str(&line(&JsonRecord { schema: SCHEMA, event }));
}

fn line(record: &impl Serialize) -> String {
    serde_json::to_string(record).expect("records with text keys always become JSON") + "\n"
}

/// Returns the length of `bytes` without an incomplete character at the end.
fn complete_length(bytes: &[u8]) -> usize {
    let cut_off = |start: &usize| matches!(std::str::from_utf8(&bytes[*start..]), Err(error) if error.valid_up_to() == 0 && error.error_len().is_none());
    (bytes.len().saturating_sub(3)..bytes.len()).find(cut_off).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::super::ProgressDisplay;
    use super::super::captured::CapturedOutput;
    use super::*;
    use crate::buildkit::trace::testing::{TraceScript, at};
    use crate::pipeline::reporter::StepProgress as _;
    use proptest::prelude::*;

    fn rendered(updates: impl IntoIterator<Item = StatusUpdate>) -> String {
        let captured = CapturedOutput::default();
        let renderer = Box::new(JsonRenderer::default());
        let mut display = Box::new(ProgressDisplay::new(renderer, captured.boxed()));
        for update in updates {
            display.update(update, at(0));
        }
        display.finish(at(0));
        captured.text()
    }

    fn output(text: &str) -> String {
        let events = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        events.map(|event| event["data"].as_str().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn every_event_is_one_object_with_stable_names() {
        let text = rendered([
            TraceScript::new().start("sha256:a", "[2/2] RUN make", 0).update(),
            TraceScript::new()
                .failed("sha256:a", "[2/2] RUN make", 0, 1_500, "exit code: 1")
                .grouped("g", "[2/2] RUN")
                .status("sha256:a", "transferring context:", (10, 20), (0, 40), false)
                .warning("sha256:a", "JSONArgsRecommended")
                .log_on(2, "sha256:a", 1_000, "boo\n\u{1b}[0m")
                .update(),
        ]);
        insta::assert_snapshot!(text);
    }

    #[test]
    fn an_incomplete_character_at_the_end_is_replaced() {
        assert_eq!(
            output(&rendered([TraceScript::new().log("a", 0, b"\xff ok \xe2\x82").update()])),
            "\u{fffd} ok \u{fffd}"
        );
    }

    #[test]
    fn messages_of_larder_are_events() {
        assert_eq!(
            message("warning", "a \"b\"\nc", None),
            "{\"schema\":\"larder.progress.v1\",\"event\":\"message\",\"level\":\"warning\",\"text\":\"a \\\"b\\\"\\nc\"}\n"
        );
    }

    proptest! {
        #[test]
        fn a_character_split_between_messages_is_output_once(text in "[a€🦀é]{0,20}", cut in 0usize..60) {
            let (before, after) = text.as_bytes().split_at(cut.min(text.len()));
            let updates = [before, after].map(|bytes| TraceScript::new().log("a", 0, bytes).update());
            prop_assert_eq!(output(&rendered(updates)), text);
        }
    }
}
