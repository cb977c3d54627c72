//! The parts of Docker's `config.json` that change how a build is run.
//!
//! A file that is missing or damaged counts as empty here; damage is reported
//! where logins are read from it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DockerConfig {
    /// The context that `docker context use` chose.
    pub(super) current_context: Option<String>,
    proxies: BTreeMap<String, Proxies>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Proxies {
    http_proxy: String,
    https_proxy: String,
    no_proxy: String,
    ftp_proxy: String,
    all_proxy: String,
}

impl DockerConfig {
    pub(super) fn read(directory: &Path) -> Self {
        let text = std::fs::read(directory.join("config.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The build arguments that `proxies.default` stands for, in both spellings of their names.
    pub(super) fn proxy_args(&self) -> BTreeMap<String, String> {
        let Some(proxies) = self.proxies.get("default") else { return BTreeMap::new() };
        [
            ("http_proxy", &proxies.http_proxy),
            ("https_proxy", &proxies.https_proxy),
            ("no_proxy", &proxies.no_proxy),
            ("ftp_proxy", &proxies.ftp_proxy),
            ("all_proxy", &proxies.all_proxy),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .flat_map(|(name, value)| {
            [(name.to_owned(), value.clone()), (name.to_ascii_uppercase(), value.clone())]
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_become_build_arguments_in_both_spellings() {
        let directory = tempfile::tempdir().unwrap();
        let text = r#"{"proxies":{"default":{"httpProxy":"http://p:1","noProxy":"localhost"}}}"#;
        std::fs::write(directory.path().join("config.json"), text).unwrap();
        let args = DockerConfig::read(directory.path()).proxy_args();
        let names: Vec<&str> = args.keys().map(String::as_str).collect();
        assert_eq!(names, ["HTTP_PROXY", "NO_PROXY", "http_proxy", "no_proxy"]);
    }
}
