//! Text in the headers of BuildKit's calls.
//!
//! gRPC headers are ASCII. BuildKit of Docker 23.0 and later escapes other characters and marks that in
//! `<name>-encoded`; older versions send them unescaped (`session/filesync/filesync.go`, `encodeOpts`). Misreading an
//! exclude pattern would let a file into the image, so undecodable text is an error.

use tonic::Status;
use tonic::metadata::MetadataMap;

/// Returns the texts in all headers called `name`; fails if one is not UTF-8.
pub(super) fn texts(metadata: &MetadataMap, name: &str) -> Result<Vec<String>, Status> {
    let is_escaped = metadata.get(format!("{name}-encoded").as_str()).is_some_and(|flag| flag == "1");
    let values = metadata.get_all(name).iter().map(|value| {
        let bytes = value.as_encoded_bytes();
        let bytes = if is_escaped { unescape(bytes) } else { bytes.to_vec() };
        String::from_utf8(bytes)
            .map_err(|_| Status::invalid_argument(format!("the header {name} is not UTF-8")))
    });
    values.collect()
}

/// Returns the text in the header called `name`, empty if it is absent; fails if it is not UTF-8.
pub(super) fn text(metadata: &MetadataMap, name: &str) -> Result<String, Status> {
    Ok(texts(metadata, name)?.into_iter().next().unwrap_or_default())
}

/// Decodes Go's `url.QueryEscape`.
fn unescape(mut rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(rest.len());
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, tail @ ..]) => {
                let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok());
                if let (Some(high), Some(low)) = (digit(*high), digit(*low)) {
                    bytes.push(high << 4 | low);
                    rest = tail;
                } else {
                    bytes.push(b'%');
                }
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use tonic::metadata::{Ascii, MetadataValue};

    use super::*;

    const NAME: &str = "exclude-patterns";

    fn metadata(values: &[&[u8]]) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append(NAME, MetadataValue::<Ascii>::try_from(*value).unwrap());
        }
        metadata
    }

    #[test]
    fn escaped_and_unescaped_text_is_decoded() {
        let mut escaped = metadata(&[b"na%C3%AFve+file", b"100%25"]);
        assert_eq!(texts(&escaped, NAME).unwrap(), ["na%C3%AFve+file", "100%25"]);
        escaped.append("exclude-patterns-encoded", "1".parse().unwrap());
        assert_eq!(texts(&escaped, NAME).unwrap(), ["naïve file", "100%"]);
        let plain = metadata(&["**/пароли.txt".as_bytes(), b"50%"]);
        assert_eq!(texts(&plain, NAME).unwrap(), ["**/пароли.txt", "50%"]);
        assert_eq!(text(&plain, NAME).unwrap(), "**/пароли.txt");
        assert_eq!(text(&plain, "dir-name").unwrap(), "");
    }

    #[test]
    fn undecodable_text_is_an_error() {
        assert!(texts(&metadata(&[b"a", b"\xff"]), NAME).is_err());
        let mut escaped = metadata(&[b"%ff"]);
        escaped.append("exclude-patterns-encoded", "1".parse().unwrap());
        assert!(texts(&escaped, NAME).is_err());
    }

    #[test]
    fn an_invalid_escape_is_kept_as_it_is() {
        assert_eq!(unescape(b"50%"), b"50%");
        assert_eq!(unescape(b"%zz%4"), b"%zz%4");
    }
}
