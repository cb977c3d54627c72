//! Selects the engine by Docker's rules.
//!
//! The first of these that is set is used: `--host`, `--context`, `DOCKER_HOST`, `DOCKER_CONTEXT`, the current context
//! of `config.json`, the default socket (docker/cli, `cli/command/cli.go`, `resolveContextName`).

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::docker_config::DockerConfig;
use super::origin::Origin;
use super::{Environment, SettingsError, env_vars};
use crate::cli::GlobalArgs;
use crate::endpoint::{DockerContexts, Endpoint, EndpointError, TlsFiles};
use crate::error_chain::chain;

const CERTIFICATE_POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The longest wait for `ca.pem` after `cert.pem` exists.
const CA_FILE_TIMEOUT: Duration = Duration::from_secs(2);
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
const DEFAULT_CONTEXT: &str = "default";

pub(super) fn resolve(
    global: &GlobalArgs,
    environment: &Environment,
    docker_config: &Path,
    docker: &DockerConfig,
    wait: Option<Duration>,
) -> Result<Vec<Endpoint>, SettingsError> {
    let tls = || tls_files(environment, docker_config, wait);
    let contexts = DockerContexts::new(docker_config);
    let by_context = |name: &str| -> Result<Vec<Endpoint>, SettingsError> {
        Ok(vec![if name == DEFAULT_CONTEXT {
            Endpoint::parse(DEFAULT_HOST, None)?
        } else {
            contexts.endpoint(name)?
        }])
    };
    if !global.host.is_empty() {
        let mut endpoints = Vec::new();
        for host in &global.host {
            let endpoint = Endpoint::parse(host, tls()?);
            endpoints.push(endpoint.map_err(|error| SettingsError::flag("host", error.to_string()))?);
        }
        return Ok(endpoints);
    }
    if let Some(name) = &global.context {
        return by_context(name).map_err(|error| SettingsError::flag("context", chain(&error)));
    }
    if let Some(host) = environment.get(env_vars::DOCKER_HOST) {
        let failed = |error: EndpointError| Origin::Variable(env_vars::DOCKER_HOST).error(error.to_string());
        return Ok(vec![Endpoint::parse(host, tls()?).map_err(failed)?]);
    }
    if let Some(name) = environment.get(env_vars::DOCKER_CONTEXT) {
        let origin = Origin::Variable(env_vars::DOCKER_CONTEXT);
        return by_context(name).map_err(|error| origin.error(chain(&error)));
    }
    by_context(docker.current_context().as_deref().unwrap_or(DEFAULT_CONTEXT))
}

fn tls_files(
    environment: &Environment,
    docker_config: &Path,
    wait: Option<Duration>,
) -> Result<Option<TlsFiles>, SettingsError> {
    let verify = environment.get(env_vars::DOCKER_TLS_VERIFY).is_some();
    if !verify && environment.get(env_vars::DOCKER_TLS).is_none() {
        return Ok(None);
    }
    let directory = environment.get(env_vars::DOCKER_CERT_PATH).map(PathBuf::from);
    // docker-in-docker creates its certificates when it starts, and ca.pem last. Other directories may never contain
    // ca.pem, so the wait is short once cert.pem exists.
    let begin = Instant::now();
    while let (Some(directory), Some(wait)) = (&directory, wait)
        && !directory.join("ca.pem").exists()
        && begin.elapsed()
            < if directory.join("cert.pem").exists() { wait.min(CA_FILE_TIMEOUT) } else { wait }
    {
        std::thread::sleep(CERTIFICATE_POLL_INTERVAL);
    }
    if let Some(missing) = directory.as_ref().filter(|directory| !directory.is_dir()) {
        let reason = format!("{} is not a directory", missing.display());
        return Err(Origin::Variable(env_vars::DOCKER_CERT_PATH).error(reason));
    }
    Ok(Some(TlsFiles::in_directory(&directory.unwrap_or_else(|| docker_config.to_owned()), !verify)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(global: &GlobalArgs, variables: &[(&str, &str)], config: &Path) -> String {
        let environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (docker, _) = DockerConfig::read(config);
        let endpoints = resolve(global, &environment, config, &docker, None).unwrap();
        endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn flags_override_variables_and_variables_override_the_context() {
        let config = tempfile::tempdir().unwrap();
        let global = |host: &[&str], context: Option<&str>| GlobalArgs {
            host: host.iter().map(|host| (*host).to_owned()).collect(),
            context: context.map(str::to_owned),
            cache_dir: None,
            lane: None,
            config: None,
            wait_for_engine: None,
            store: crate::cli::StoreArgs::default(),
        };
        let host = [("DOCKER_HOST", "tcp://build.example:1")];
        for (flags, variables, expected) in [
            (global(&[], None), &[][..], DEFAULT_HOST),
            (global(&[], None), &host[..], "tcp://build.example:1"),
            (global(&["unix:///x"], None), &host[..], "unix:///x"),
            (global(&["unix:///x", "tcp://y:2"], None), &host[..], "unix:///x tcp://y:2"),
            (global(&[], Some("default")), &host[..], DEFAULT_HOST),
            (global(&[], None), &[("DOCKER_CONTEXT", "default"), host[0]][..], "tcp://build.example:1"),
            (global(&[], None), &[("DOCKER_HOST", "")][..], DEFAULT_HOST),
        ] {
            assert_eq!(resolved(&flags, variables, config.path()), expected);
        }
        std::fs::write(config.path().join("config.json"), r#"{"currentContext":"ci"}"#).unwrap();
        let meta = format!("contexts/meta/{}", crate::digest::Digest::of(b"ci").hex());
        std::fs::create_dir_all(config.path().join(&meta)).unwrap();
        let ci = r#"{"Name":"ci","Endpoints":{"docker":{"Host":"unix:///ci"}}}"#;
        std::fs::write(config.path().join(&meta).join("meta.json"), ci).unwrap();
        for (flags, variables, expected) in [
            (global(&[], None), &[][..], "unix:///ci"),
            (global(&[], None), &host[..], "tcp://build.example:1"),
            (global(&[], None), &[("DOCKER_CONTEXT", "default")][..], DEFAULT_HOST),
            (global(&[], Some("ci")), &host[..], "unix:///ci"),
        ] {
            assert_eq!(resolved(&flags, variables, config.path()), expected);
        }
    }

    #[test]
    fn tls_uses_dockers_variables_and_files() {
        let certificates = tempfile::tempdir().unwrap();
        std::fs::write(certificates.path().join("ca.pem"), "").unwrap();
        let directory = certificates.path().to_string_lossy().into_owned();
        let environment: Environment =
            [("DOCKER_TLS_VERIFY".to_owned(), "1".to_owned()), ("DOCKER_CERT_PATH".to_owned(), directory)]
                .into_iter()
                .collect();
        let files = tls_files(&environment, Path::new("/nowhere"), None).unwrap().unwrap();
        assert_eq!(files.ca, Some(certificates.path().join("ca.pem")));
        assert!(!files.skip_verify);
        let late = certificates.path().join("client");
        let making = late.clone();
        let waiting = std::thread::spawn(move || {
            let variables =
                [("DOCKER_TLS_VERIFY", "1".to_owned()), ("DOCKER_CERT_PATH", late.display().to_string())];
            let environment = variables.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
            let wait = |wait| tls_files(&environment, Path::new("/nowhere"), wait);
            wait(Some(Duration::from_mins(1))).unwrap().unwrap()
        });
        std::fs::create_dir(&making).unwrap();
        std::fs::write(making.join("ca.pem"), "").unwrap();
        assert_eq!(waiting.join().unwrap().ca, Some(making.join("ca.pem")));
        assert_eq!(tls_files(&Environment::default(), Path::new("/nowhere"), None).unwrap(), None);
    }
}
