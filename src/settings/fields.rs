//! Comma-separated `key=value` fields, as in `--output` and `--secret`.
//!
//! The format is that of Go's `encoding/csv`, which Docker's flags use: a field in double quotes may contain commas and
//! quotes, which are doubled.

/// Parses the fields of a flag, in order. Keys are converted to lower case; a field without `=` has no value.
pub(super) fn parse(text: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, tail) = next_field(rest)?;
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
            None => (field, None),
        };
        fields.push((key.trim().to_ascii_lowercase(), value));
        match tail {
            Some(tail) => rest = tail,
            None => return Ok(fields),
        }
    }
}

fn next_field(text: &str) -> Result<(String, Option<&str>), String> {
    let Some(mut quoted) = text.strip_prefix('"') else {
        return Ok(match text.split_once(',') {
            Some((field, tail)) => (field.to_owned(), Some(tail)),
            None => (text.to_owned(), None),
        });
    };
    let mut field = String::new();
    loop {
        let (piece, tail) =
            quoted.split_once('"').ok_or_else(|| format!("`{text}` lacks a closing quote"))?;
        field.push_str(piece);
        if let Some(tail) = tail.strip_prefix('"') {
            field.push('"');
            quoted = tail;
        } else if tail.is_empty() {
            return Ok((field, None));
        } else if let Some(tail) = tail.strip_prefix(',') {
            return Ok((field, Some(tail)));
        } else {
            return Err(format!("`{text}` has text after a closing quote"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_split_as_in_gos_csv() {
        let parsed = parse(r#"type=local,"dest=a,""b""",platform-split"#).unwrap();
        let expected = [("type", Some("local")), ("dest", Some("a,\"b\"")), ("platform-split", None)];
        let expected: Vec<_> =
            expected.into_iter().map(|(key, value)| (key.to_owned(), value.map(str::to_owned))).collect();
        assert_eq!(parsed, expected);
        assert!(parse(r#""open"#).is_err());
        assert!(parse(r#""a"b"#).is_err());
    }
}
