//! Removes possible secrets from addresses.
//!
//! Keeps the scheme, the host, the path, and the parts of the fragment that pip interprets. Removes the user and the
//! password, the query, and parts of an index's path that look like a token.

/// The keys of a fragment that pip interprets (packaging specifications, "Direct URL").
const FRAGMENT_KEYS: [&str; 8] =
    ["egg", "subdirectory", "md5", "sha1", "sha224", "sha256", "sha384", "sha512"];

/// Removes possible secrets from every address in a text. `index` is `true` for the addresses of package indexes, whose
/// paths may contain tokens.
pub(super) fn without_secrets(text: &str, index: bool) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, address) = rest.split_at(at + 3);
        clean.push_str(before);
        let end = address.find(|char: char| char.is_whitespace() || "\"',;<>".contains(char));
        let (address, behind) = address.split_at(end.unwrap_or(address.len()));
        clean.push_str(&address_without_secrets(address, index));
        rest = behind;
    }
    clean.push_str(rest);
    clean
}

fn address_without_secrets(address: &str, index: bool) -> String {
    let (address, fragment) =
        address.split_once('#').map_or((address, None), |(address, fragment)| (address, Some(fragment)));
    let address = address.split_once('?').map_or(address, |(address, _)| address);
    // A password may contain an unescaped slash. If the part before the first slash has a colon, but no port, the
    // password continues up to the next `@`.
    let (authority, path) = address.split_once('/').unwrap_or((address, ""));
    let (host, path) = match authority.rsplit_once('@') {
        Some((_, host)) => (host, path),
        None if authority.contains(':') && !has_port(authority) => match path.split_once('@') {
            Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
            None => ("", path),
        },
        None => (authority, path),
    };
    let mut clean = host.to_owned();
    if address.contains('/') {
        for part in path.split('/') {
            clean.push('/');
            clean.push_str(if index && is_token(part) { "…" } else { part });
        }
    }
    let known = fragment
        .into_iter()
        .flat_map(|fragment| fragment.split('&'))
        .filter(|part| part.split_once('=').is_some_and(|(name, _)| FRAGMENT_KEYS.contains(&name)));
    for (number, part) in known.enumerate() {
        clean.push(if number == 0 { '#' } else { '&' });
        clean.push_str(part);
    }
    clean
}

/// Returns `true` for `host:PORT`; a bracketed host contains colons itself.
fn has_port(authority: &str) -> bool {
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    authority.starts_with('[') || port.chars().all(|char| char.is_ascii_digit())
}

/// Returns `true` for a long mixture of letters and digits, which is probably a token and not a directory.
fn is_token(part: &str) -> bool {
    const MIN_TOKEN_BYTES: usize = 16;
    part.len() >= MIN_TOKEN_BYTES
        && part.contains(|char: char| char.is_ascii_digit())
        && part.contains(|char: char| char.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn possible_secrets_are_removed_from_addresses() {
        let table = [
            ("x @ https://user:pass@host/a.whl", "x @ https://host/a.whl"),
            ("https://user:p@ss@host:8080/simple/", "https://host:8080/simple/"),
            ("https://user:pa/ss@host/simple", "https://host/simple"),
            ("https://host/simple?token=abc&x=1", "https://host/simple"),
            ("https://${USER}:${TOKEN}@host/", "https://host/"),
            ("git+ssh://git@github.com/a/b@v1#egg=b&token=x", "git+ssh://github.com/a/b@v1#egg=b"),
            (
                "https://a:b@h/x.zip#sha256=00 ; python_version<'3'",
                "https://h/x.zip#sha256=00 ; python_version<'3'",
            ),
            ("https://[::1]:80/x https://u@h", "https://[::1]:80/x https://h"),
            ("flask==3.0", "flask==3.0"),
        ];
        for (text, clean) in table {
            assert_eq!(without_secrets(text, false), clean, "{text}");
        }
        let index = "--index-url https://pypi.example/0a1b2c3d4e5f6a7b8c/team/simple";
        assert_eq!(without_secrets(index, true), "--index-url https://pypi.example/…/team/simple");
    }
}
