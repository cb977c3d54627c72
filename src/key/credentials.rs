//! Credentials in addresses: what is stored or shown of a text goes without them.

/// `text` with `scheme://user:password@host` as `scheme://host`.
pub(super) fn without_credentials(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        kept.push_str(before);
        let end = behind.find(|char: char| char.is_whitespace() || "/'\"?#".contains(char));
        let authority = &behind[..end.unwrap_or(behind.len())];
        rest = authority.rfind('@').map_or(behind, |at| &behind[at + 1..]);
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_host_and_loses_its_user() {
        for (text, shown) in [
            ("pip install -i https://u:p@ss@index/simple x", "pip install -i https://index/simple x"),
            ("a ssh://git@h/r b http://t0ken@h?x@y", "a ssh://h/r b http://h?x@y"),
            ("RUN curl 'https://h/a@b' \"ftp://u@h\"", "RUN curl 'https://h/a@b' \"ftp://h\""),
            ("user@host no scheme://", "user@host no scheme://"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
    }
}
