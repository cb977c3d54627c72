//! A registry's authentication challenge, and the header that answers it (RFC 7235, RFC 6750).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Client;
use reqwest::header::HeaderValue;

use super::connection::authority_of;
use super::{Credentials, ImageRef, TokenError, TokenRequest};

/// The authentication that a registry requires. The order is that of preference: the preferred scheme is the greatest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: String, scope: String },
}

impl Challenge {
    /// Parses a `WWW-Authenticate` header; returns `None` for an unknown scheme.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let (scheme, parameters) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service, mut scope) = (String::new(), String::new(), String::new());
        for (name, value) in parse_parameters(parameters) {
            match name.to_ascii_lowercase().as_str() {
                "realm" => realm = value,
                "service" => service = value,
                "scope" => scope = value,
                _ => {}
            }
        }
        (!realm.is_empty()).then_some(Self::Bearer { realm, service, scope })
    }

    /// Returns the `Authorization` header, or `None` if basic authentication is required but there are no credentials.
    /// A requested token also allows reading the repositories at the paths `further`.
    pub(super) async fn answer(
        self,
        (name, further): (&ImageRef, &[String]),
        credentials: &Credentials,
        client: &Client,
    ) -> Result<Option<HeaderValue>, TokenError> {
        let value = match self {
            Self::Basic if credentials.is_anonymous() || credentials.username.is_empty() => return Ok(None),
            Self::Basic => {
                let login = format!("{}:{}", credentials.username, credentials.secret);
                format!("Basic {}", STANDARD.encode(login))
            }
            Self::Bearer { realm, service, scope } => {
                let pull = |path: &str| format!("repository:{path}:pull");
                let mut scopes: Vec<String> = scope.split_whitespace().map(str::to_owned).collect();
                if scopes.is_empty() {
                    scopes.push(pull(name.path()));
                }
                for scope in further.iter().map(|path| pull(path)) {
                    if !scopes.contains(&scope) {
                        scopes.push(scope);
                    }
                }
                let request = TokenRequest { realm, service, scopes };
                // A registry that is its own token server uses the same certificates for it.
                let token = if authority_of(&request.realm) == name.host() {
                    request.fetch_with(client, credentials).await?
                } else {
                    request.fetch(credentials).await?
                };
                format!("Bearer {}", token.value)
            }
        };
        let mut header = HeaderValue::try_from(value).ok();
        if let Some(header) = &mut header {
            header.set_sensitive(true);
        }
        Ok(header)
    }
}

/// Parses `name="value", name=value`. In quotes, a backslash escapes the next character.
fn parse_parameters(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let name: String = std::iter::from_fn(|| chars.next_if(|char| *char != '=')).collect();
        if chars.next().is_none() {
            return pairs;
        }
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            while let Some(char) = chars.next().filter(|char| *char != '"') {
                value.extend(if char == '\\' { chars.next() } else { Some(char) });
            }
        } else {
            value.extend(std::iter::from_fn(|| chars.next_if(|char| *char != ',')));
        }
        pairs.push((name.trim_matches([',', ' ']).to_owned(), value.trim().to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_parsed_as_registries_send_them() {
        let bearer = |realm: &str, service: &str, scope: &str| {
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service: service.to_owned(),
                scope: scope.to_owned(),
            })
        };
        for (header, challenge) in [
            (
                "Bearer realm=\"https://auth.example/token\",service=\"reg\",scope=\"repository:a/b:pull,push\"",
                bearer("https://auth.example/token", "reg", "repository:a/b:pull,push"),
            ),
            (
                "bearer service=reg, realm=\"https://x/\\\"y\\\"\" , error=\"e\"",
                bearer("https://x/\"y\"", "reg", ""),
            ),
            ("Basic realm=\"tests\"", Some(Challenge::Basic)),
            ("Bearer service=\"x\"", None),
            ("Negotiate", None),
        ] {
            assert_eq!(Challenge::parse(header), challenge, "{header}");
        }
        assert!(bearer("a", "", "") > Some(Challenge::Basic));
    }

    #[tokio::test]
    async fn a_basic_challenge_is_answered_only_with_credentials() {
        let name: ImageRef = "reg.example/app".parse().unwrap();
        let login = Credentials { username: "ci".to_owned(), secret: "s3cret".to_owned() };
        let client = crate::registry::RegistryAccess::default().client("reg.example").unwrap();
        let header = Challenge::Basic.answer((&name, &[]), &login, &client).await.unwrap().unwrap();
        assert_eq!(header.to_str().unwrap(), "Basic Y2k6czNjcmV0");
        assert!(!format!("{header:?}").contains("Y2k6"));
        assert_eq!(
            Challenge::Basic.answer((&name, &[]), &Credentials::default(), &client).await.unwrap(),
            None
        );
    }
}
