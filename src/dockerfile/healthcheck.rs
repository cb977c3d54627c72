//! Validates HEALTHCHECK instructions.

use super::error::InstructionMistake;
use super::words::{self, Flag, InstructionWords};

/// Returns the mistake in a HEALTHCHECK whose flag names were already validated.
pub(super) fn first_mistake(command: &InstructionWords) -> Option<InstructionMistake> {
    match test_mistake(command) {
        Some(message) => Some(message.into()),
        None if command.arguments.eq_ignore_ascii_case("none") => None,
        None => command.flags.iter().find_map(value_mistake),
    }
}

fn test_mistake(command: &InstructionWords) -> Option<String> {
    let mut halves = command.arguments.splitn(2, char::is_whitespace);
    let (kind, test) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default().trim_start());
    match kind.to_uppercase().as_str() {
        "" => Some("HEALTHCHECK requires at least one argument".to_owned()),
        "NONE" => (!test.is_empty()).then(|| "HEALTHCHECK NONE does not accept arguments".to_owned()),
        "CMD" => match words::parse_json_array(test) {
            Some(Err(message)) => Some(message),
            Some(Ok(argv)) if argv.is_empty() => Some("missing command after HEALTHCHECK CMD".to_owned()),
            None if test.is_empty() => Some("missing command after HEALTHCHECK CMD".to_owned()),
            _ => None,
        },
        _ => Some(format!("unknown HEALTHCHECK type `{kind}`: expected CMD or NONE")),
    }
}

fn value_mistake(flag: &Flag) -> Option<InstructionMistake> {
    let (name, value) = (&flag.name, flag.value.as_deref().filter(|value| !value.is_empty())?);
    let valid = match name.as_str() {
        "retries" => value.parse::<i32>().is_ok_and(|retries| retries >= 0),
        "interval" | "timeout" | "start-period" | "start-interval" => {
            parse_nanoseconds(value).is_some_and(|duration| duration == 0 || duration >= 1_000_000)
        }
        _ => true,
    };
    let expected =
        if name == "retries" { "a number" } else { "zero or a duration of at least 1ms, such as 30s" };
    let message = || format!("`--{name}` must be {expected}, not `{value}`");
    (!valid).then(|| InstructionMistake::at_part(format!("--{name}"), message()))
}

/// Parses a duration in Go's notation: `1h30m`, `1.5s`, `0`.
pub(super) fn parse_nanoseconds(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    if unsigned == "0" {
        return Some(0);
    }
    let mut rest = unsigned;
    let mut sum = 0.0;
    if unsigned.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let unit = rest.find(|char: char| !char.is_ascii_digit() && char != '.')?;
        let next = rest[unit..].find(|char: char| char.is_ascii_digit() || char == '.');
        let end = next.map_or(rest.len(), |next| unit + next);
        let scale = match &rest[unit..end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        sum += rest[..unit].parse::<f64>().ok()? * scale;
        rest = &rest[end..];
    }
    #[allow(clippy::cast_possible_truncation, reason = "fractions of a nanosecond do not count")]
    Some((sign * f64::round(sum)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn healthchecks_are_validated_as_in_the_frontend() {
        for valid in
            ["NONE", "--interval=30s CMD x", "--interval=1h30m --timeout=1.5s --retries=3 cmd [\"x\"]"]
        {
            assert_eq!(
                first_mistake(&InstructionWords::of_line(&format!("HEALTHCHECK {valid}"), '\\')),
                None,
                "{valid}"
            );
        }
        let duration = "must be zero or a duration of at least 1ms, such as 30s, not";
        let table = [
            ("", "HEALTHCHECK requires at least one argument".to_owned()),
            ("NONE x", "HEALTHCHECK NONE does not accept arguments".to_owned()),
            ("CMD", "missing command after HEALTHCHECK CMD".to_owned()),
            ("CMD []", "missing command after HEALTHCHECK CMD".to_owned()),
            ("curl -f localhost", "unknown HEALTHCHECK type `curl`: expected CMD or NONE".to_owned()),
            ("--interval=5 CMD x", format!("`--interval` {duration} `5`")),
            ("--timeout=-5s CMD x", format!("`--timeout` {duration} `-5s`")),
            ("--timeout=1us CMD x", format!("`--timeout` {duration} `1us`")),
            ("--start-period=1d CMD x", format!("`--start-period` {duration} `1d`")),
            ("--retries=-1 CMD x", "`--retries` must be a number, not `-1`".to_owned()),
        ];
        for (text, message) in table {
            let command = InstructionWords::of_line(&format!("HEALTHCHECK {text}"), '\\');
            assert_eq!(first_mistake(&command).map(|mistake| mistake.message), Some(message), "{text}");
        }
    }
}
