//! The parts of Docker's `config.json` that affect a build.
//!
//! As with Docker's client, an unreadable file causes a warning and is treated as empty.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Environment, env_vars};
use crate::endpoint::Endpoint;
use crate::error_chain::chain;
use crate::registry::DockerConfigFile;

#[derive(Default, Clone)]
pub(super) struct DockerConfig {
    file: DockerConfigFile,
}

const PROXY_ARGS: [(&str, &str); 5] = [
    ("httpProxy", "http_proxy"),
    ("httpsProxy", "https_proxy"),
    ("noProxy", "no_proxy"),
    ("ftpProxy", "ftp_proxy"),
    ("allProxy", "all_proxy"),
];

type TextMap = BTreeMap<String, String>;
type ObjectMap = BTreeMap<String, serde_json::Map<String, serde_json::Value>>;

impl std::fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The file contains passwords.
        f.debug_struct("DockerConfig").finish_non_exhaustive()
    }
}

impl DockerConfig {
    /// Reads the file in Docker's configuration directory, and returns warnings.
    pub(super) fn read(directory: &Path) -> (Self, Vec<String>) {
        let path = directory.join("config.json");
        let file = match DockerConfigFile::read(&path) {
            Ok(file) => file,
            Err(error) => {
                let warning = format!(
                    "Docker's configuration {} {}; going on without its logins, proxies and context",
                    path.display(),
                    chain(&error)
                );
                return (Self::default(), vec![warning]);
            }
        };
        let texts = ["credsStore", "currentContext"].map(|name| (name, file.has_other_type::<String>(name)));
        let maps = ["credHelpers", "HttpHeaders"].map(|name| (name, file.has_other_type::<TextMap>(name)));
        let objects = ["auths", "proxies"].map(|name| (name, file.has_other_type::<ObjectMap>(name)));
        let others = texts.iter().chain(&maps).chain(&objects).filter(|(_, is_other)| *is_other);
        let warnings = others.map(|(name, _)| {
            format!(
                "`{name}` in {} does not have the type that Docker expects, and is ignored",
                path.display()
            )
        });
        let warnings = warnings.collect();
        (Self { file }, warnings)
    }

    pub(super) fn current_context(&self) -> Option<String> {
        Some(self.file.text("currentContext")).filter(|name| !name.is_empty())
    }

    pub(super) fn headers(&self) -> BTreeMap<String, String> {
        self.file.field("HttpHeaders").unwrap_or_default()
    }

    /// Returns the build arguments for an engine's proxies, or else for the default ones, with names in lower and upper
    /// case.
    pub(super) fn proxy_args(&self, endpoint: &Endpoint) -> BTreeMap<String, String> {
        let of_engines = self.file.objects("proxies");
        let address = endpoint.to_string();
        let same =
            || of_engines.iter().find(|(key, _)| is_address_of(key, endpoint)).map(|(_, proxies)| proxies);
        let Some(proxies) = of_engines.get(&address).or_else(same).or_else(|| of_engines.get("default"))
        else {
            return BTreeMap::new();
        };
        PROXY_ARGS
            .iter()
            .map(|(key, name)| (name, proxies.text(key)))
            .filter(|(_, value)| !value.is_empty())
            .flat_map(|(name, value)| {
                [((*name).to_owned(), value.clone()), (name.to_ascii_uppercase(), value)]
            })
            .collect()
    }
}

/// Returns `true` if a key of `proxies` is an address of that engine in any notation.
fn is_address_of(key: &str, endpoint: &Endpoint) -> bool {
    let tls = match endpoint {
        Endpoint::Tcp { tls, .. } => tls.clone(),
        _ => None,
    };
    Endpoint::parse(key, tls).is_ok_and(|named| named.to_string() == endpoint.to_string())
}

/// Returns the logins in `DOCKER_AUTH_CONFIG`, with a warning if it is malformed.
pub(super) fn logins_from_variable(environment: &Environment) -> (DockerConfigFile, Option<String>) {
    let text = environment.get(env_vars::DOCKER_AUTH_CONFIG).unwrap_or_default();
    let parsed = DockerConfigFile::parse(text.as_bytes());
    // The warning omits the error, because the text is a secret.
    let warning = format!("{} is not a JSON object, and is ignored", env_vars::DOCKER_AUTH_CONFIG);
    let warning = parsed.is_err().then_some(warning);
    (parsed.unwrap_or_default(), warning)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (DockerConfig, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.json"), text).unwrap();
        DockerConfig::read(directory.path())
    }

    #[test]
    fn the_proxies_of_an_engine_override_the_default_ones() {
        let config = |proxies: &str| {
            let (config, warnings) = read(&format!(r#"{{"proxies":{proxies}}}"#));
            assert_eq!(warnings, [""; 0]);
            config
        };
        let of = |proxies: &str, host: &str| {
            let endpoint = Endpoint::parse(host, None).unwrap();
            config(proxies)
                .proxy_args(&endpoint)
                .into_iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        };
        let default = r#""default":{"httpProxy":"d","noProxy":"localhost"}"#;
        let both = ["HTTP_PROXY=d", "NO_PROXY=localhost", "http_proxy=d", "no_proxy=localhost"];
        let own = ["HTTP_PROXY=o", "http_proxy=o"];
        for (proxies, host, expected) in [
            (format!("{{{default}}}"), "unix:///a", &both[..]),
            (format!(r#"{{{default},"unix:///a":{{"httpProxy":"o"}}}}"#), "unix:///a", &own),
            (
                format!(r#"{{{default},"unix:///a":{{"HTTPProxy":"o","httpsProxy":null}}}}"#),
                "unix:///a",
                &own,
            ),
            (format!(r#"{{{default},"unix:///b":{{"httpProxy":"o"}}}}"#), "unix:///a", &both),
            // An entry of the engine is used even if it is empty.
            (format!(r#"{{{default},"unix:///a":{{}}}}"#), "unix:///a", &[]),
            (r#"{"tcp://h:2375":{"httpProxy":"o"}}"#.to_owned(), "tcp://h", &own),
            (r#"{"ssh://ci@h":{"httpProxy":"o"}}"#.to_owned(), "ssh://ci@h", &own),
            (r#"{"unix:///b":{"httpProxy":"o"}}"#.to_owned(), "unix:///a", &[]),
            ("null".to_owned(), "unix:///a", &[]),
        ] {
            let found: Vec<String> = of(&proxies, host);
            assert_eq!(found, expected, "{proxies} for {host}");
        }
        let all =
            of(r#"{"default":{"httpsProxy":"s","ftpProxy":"f","allProxy":"a"}}"#, "unix:///a").into_iter();
        assert_eq!(all.filter(|set: &String| set.contains("_proxy")).count(), 3);
    }

    #[test]
    fn a_damaged_file_or_field_causes_a_warning_and_the_rest_is_used() {
        for (text, context, warning) in [
            (r#"{"currentContext":"ci"}"#, Some("ci"), None),
            (r#"{"currentContext":""}"#, None, None),
            (
                r#"{"currentContext":"ci","proxies":null,"auths":null,"experimental":"enabled"}"#,
                Some("ci"),
                None,
            ),
            (
                r#"{"currentContext":"ci","plugins":{"x":{"y":"z"}},"aliases":{},"psFormat":3}"#,
                Some("ci"),
                None,
            ),
            ("", None, None),
            (r#"{"currentContext":"ci","proxies":["no"]}"#, Some("ci"), Some("`proxies` in ")),
            (r#"{"currentContext":"ci","credHelpers":{"a":1}}"#, Some("ci"), Some("`credHelpers` in ")),
            (r#"{"currentContext":["ci"]}"#, None, Some("`currentContext` in ")),
            (r#"{"currentContext":"ci""#, None, Some("is not JSON: EOF")),
            ("[]", None, Some("is not a JSON object")),
        ] {
            let (config, warnings) = read(text);
            assert_eq!(config.current_context().as_deref(), context, "{text}");
            assert_eq!(warnings.len(), usize::from(warning.is_some()), "{warnings:?}");
            assert!(warnings.iter().all(|text| text.contains(warning.unwrap_or_default())), "{warnings:?}");
        }
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        assert!(DockerConfig::read(&missing).1.is_empty());
        std::fs::create_dir(directory.path().join("config.json")).unwrap();
        assert!(DockerConfig::read(directory.path()).1[0].contains("cannot be read: "));
    }
}
