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
    proxies: BTreeMap<String, BTreeMap<String, String>>,
}

/// Names in `config.json` and of the build arguments that they stand for.
const PROXIES: [(&str, &str); 5] = [
    ("httpProxy", "http_proxy"),
    ("httpsProxy", "https_proxy"),
    ("noProxy", "no_proxy"),
    ("ftpProxy", "ftp_proxy"),
    ("allProxy", "all_proxy"),
];

impl DockerConfig {
    pub(super) fn read(directory: &Path) -> Self {
        let text = std::fs::read(directory.join("config.json")).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The build arguments that `proxies.default` stands for, in both spellings of their names.
    pub(super) fn proxy_args(&self) -> BTreeMap<String, String> {
        let Some(proxies) = self.proxies.get("default") else { return BTreeMap::new() };
        PROXIES
            .iter()
            .filter_map(|(key, name)| Some((name, proxies.get(*key).filter(|value| !value.is_empty())?)))
            .flat_map(|(name, value)| {
                [((*name).to_owned(), value.clone()), (name.to_ascii_uppercase(), value.clone())]
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
