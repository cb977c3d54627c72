//! Docker contexts: named engine addresses stored by Docker's client.
//!
//! ```text
//! ~/.docker/
//!   config.json                           { "currentContext": "remote" }
//!   contexts/meta/<sha256(name)>/meta.json
//!   contexts/tls/<sha256(name)>/docker/{ca,cert,key}.pem
//! ```
//!
//! The layout is defined by docker/cli, `cli/context/store`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::Value;

use super::{Endpoint, EndpointError, TlsFiles};
use crate::digest::Digest;

#[derive(Debug, Clone)]
pub(crate) struct DockerContexts {
    directory: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DockerContextError {
    #[error("there is no Docker context named `{name}`{}", listed(.known))]
    Unknown { name: String, known: Vec<String> },
    #[error("cannot read Docker context {}", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The context has no Docker endpoint, for example because it is for Kubernetes only.
    #[error("Docker context `{0}` has no engine address")]
    NoEngine(String),
    #[error("Docker context `{0}` has an invalid address")]
    Address(String, #[source] EndpointError),
}

/// Lists the known contexts. `default` is the default socket and always exists.
fn listed(known: &[String]) -> String {
    let all: Vec<&str> = std::iter::once("default").chain(known.iter().map(String::as_str)).collect();
    format!(" (available: {})", all.join(", "))
}

impl DockerContexts {
    /// Creates the store under `docker_config` (usually `~/.docker`).
    pub(crate) fn new(docker_config: &Path) -> Self {
        Self { directory: docker_config.join("contexts") }
    }

    pub(crate) fn endpoint(&self, name: &str) -> Result<Endpoint, DockerContextError> {
        let id = Digest::of(name.as_bytes()).hex();
        let path = self.directory.join("meta").join(&id).join("meta.json");
        if !path.is_file() {
            return Err(DockerContextError::Unknown { name: name.to_owned(), known: self.names() });
        }
        let metadata = read(&path).map_err(|source| DockerContextError::Unreadable { path, source })?;
        let engine = &metadata["Endpoints"]["docker"];
        let host = engine["Host"].as_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| DockerContextError::NoEngine(name.to_owned()))?;
        let skip_verify = engine["SkipTLSVerify"] == true;
        let tls_directory = self.directory.join("tls").join(&id).join("docker");
        let tls = (tls_directory.is_dir() || skip_verify)
            .then(|| TlsFiles::in_directory(&tls_directory, skip_verify));
        Endpoint::parse(host, tls).map_err(|error| DockerContextError::Address(name.to_owned(), error))
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.join("meta")).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| {
                Some(read(&entry.path().join("meta.json")).ok()?["Name"].as_str()?.to_owned())
            })
            .collect();
        names.sort();
        names
    }
}

fn read(path: &Path) -> io::Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(name: &str, meta: &str) -> (tempfile::TempDir, DockerContexts) {
        let directory = tempfile::tempdir().unwrap();
        let id = Digest::of(name.as_bytes()).hex();
        let meta_directory = directory.path().join("contexts/meta").join(id);
        fs::create_dir_all(&meta_directory).unwrap();
        fs::write(meta_directory.join("meta.json"), meta).unwrap();
        let contexts = DockerContexts::new(directory.path());
        (directory, contexts)
    }

    #[test]
    fn a_context_is_read_with_its_address_and_tls_files() {
        let (directory, contexts) =
            store("ci", r#"{"Name":"ci","Endpoints":{"docker":{"Host":"tcp://10.0.0.7:2376"}}}"#);
        let tls = directory.path().join("contexts/tls").join(Digest::of(b"ci").hex()).join("docker");
        fs::create_dir_all(&tls).unwrap();
        fs::write(tls.join("ca.pem"), "").unwrap();
        let Endpoint::Tcp { host, port, tls: Some(files), .. } = contexts.endpoint("ci").unwrap() else {
            panic!("not a TLS endpoint")
        };
        assert_eq!((host.as_str(), port), ("10.0.0.7", 2376));
        assert_eq!((files.ca, files.client), (Some(tls.join("ca.pem")), None));
    }

    #[test]
    fn an_unknown_context_lists_the_known_ones() {
        let (_directory, contexts) =
            store("ci", r#"{"Name":"ci","Endpoints":{"docker":{"Host":"unix:///a"}}}"#);
        let error = contexts.endpoint("staging").unwrap_err().to_string();
        assert_eq!(error, "there is no Docker context named `staging` (available: default, ci)");
    }

    #[test]
    fn damaged_metadata_is_an_error_that_names_the_file() {
        let (_directory, contexts) = store("ci", "{");
        assert!(contexts.endpoint("ci").unwrap_err().to_string().contains("meta.json"));
    }
}
