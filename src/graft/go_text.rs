//! Formats values as Go does, because `BuildKit` writes them into the history of images in this form.

use std::fmt::Write as _;

/// Returns a list of strings as `%q` prints it: `["a" "b"]`.
pub(super) fn quoted_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    format!("[{}]", words.join(" "))
}

/// Returns a list of strings as `%v` prints it: `[a b]`.
pub(super) fn plain_list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// Returns a number as `%q` prints it: as the character with this number, between quotes.
pub(super) fn quoted_char(number: u32) -> String {
    let char = char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER);
    format!("'{}'", escape(&char.to_string(), '\''))
}

/// Returns a string as `%q` prints it.
pub(super) fn quote(word: &str) -> String {
    format!("\"{}\"", escape(word, '"'))
}

fn escape(word: &str, quote: char) -> String {
    let mut quoted = String::new();
    for char in word.chars() {
        match char {
            char if char == quote || char == '\\' => quoted.extend(['\\', char]),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            char if (char as u32) < 0x20 || char == '\x7f' => {
                let _ = write!(quoted, "\\x{:02x}", char as u32);
            }
            char if char.is_control() || char != ' ' && char.is_whitespace() => {
                let _ = write!(quoted, "\\u{:04x}", char as u32);
            }
            char => quoted.push(char),
        }
    }
    quoted
}

/// Returns nanoseconds as `time.Duration` prints them: `1m30s`, `1.5s`, `250ms`.
pub(super) fn duration(nanoseconds: i64) -> String {
    const SECOND: i64 = 1_000_000_000;
    let fraction = |value: i64, unit: i64, name: &str| {
        let digits = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        let digits = digits.trim_end_matches('0');
        let point = if digits.is_empty() { "" } else { "." };
        format!("{}{point}{digits}{name}", value / unit)
    };
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    if nanoseconds < SECOND {
        let (unit, name) = if nanoseconds >= 1_000_000 { (1_000_000, "ms") } else { (1_000, "µs") };
        return fraction(nanoseconds, unit, name);
    }
    let seconds = fraction(nanoseconds % (60 * SECOND), SECOND, "s");
    match (nanoseconds / (3600 * SECOND), nanoseconds / (60 * SECOND) % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_formatted_as_in_go() {
        let words = ["a b".to_owned(), "\"q\"\\\n\u{1}é".to_owned()];
        assert_eq!(quoted_list(&words), r#"["a b" "\"q\"\\\n\x01é"]"#);
        assert_eq!([quoted_char(3), quoted_char(39), quoted_char(10)], ["'\\x03'", "'\\''", "'\\n'"]);
        assert_eq!((quoted_list(&[]), plain_list(&words[..1])), ("[]".to_owned(), "[a b]".to_owned()));
        for (nanoseconds, text) in [
            (0, "0s"),
            (1_000_000, "1ms"),
            (1_500_000, "1.5ms"),
            (1_500_000_000, "1.5s"),
            (30_000_000_000, "30s"),
            (60_000_000_000, "1m0s"),
            (90_500_000_000, "1m30.5s"),
            (3_600_000_000_000, "1h0m0s"),
            (5_425_000_000_000, "1h30m25s"),
        ] {
            assert_eq!(duration(nanoseconds), text);
        }
    }
}
