//! Adds a login to Docker's configuration.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::registry::Credentials;
use crate::regular_file::{self, PRIVATE};

/// Reasons why Docker's configuration was not changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DockerLoginError {
    #[error("cannot write {}", .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("{} is not valid JSON", .0.display())]
    Malformed(PathBuf, #[source] serde_json::Error),
    #[error("{} is not a JSON object", .0.display())]
    NotAnObject(PathBuf),
    #[error("{} stores the logins of {registry} with docker-credential-{helper}", .path.display())]
    Helper { path: PathBuf, registry: String, helper: String },
}

/// Adds the login to Docker's configuration at `path`, as `docker login` does without a credential helper.
pub(super) fn save_login(path: &Path, registry: &str, login: &Credentials) -> Result<(), DockerLoginError> {
    let failed = |error| DockerLoginError::File(path.to_owned(), error);
    let mut config: Value = match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|error| DockerLoginError::Malformed(path.to_owned(), error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => json!({}),
        Err(error) => return Err(failed(error)),
    };
    let helper = config["credHelpers"][registry].as_str().or_else(|| config["credsStore"].as_str());
    if let Some(helper) = helper.filter(|helper| !helper.is_empty()) {
        let (path, registry, helper) = (path.to_owned(), registry.to_owned(), helper.to_owned());
        return Err(DockerLoginError::Helper { path, registry, helper });
    }
    let logins = config.as_object_mut().map(|config| config.entry("auths").or_insert_with(|| json!({})));
    let logins = logins
        .and_then(Value::as_object_mut)
        .ok_or_else(|| DockerLoginError::NotAnObject(path.to_owned()))?;
    let auth = STANDARD.encode(format!("{}:{}", login.username, login.secret));
    logins.insert(registry.to_owned(), json!({ "auth": auth }));
    let directory = path.parent().unwrap_or(Path::new("."));
    let write = || {
        fs::create_dir_all(directory)?;
        regular_file::write(path, format!("{config:#}\n").as_bytes(), PRIVATE)
    };
    write().map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_login_is_added_and_nothing_else_is_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/config.json");
        let login = Credentials { username: "AWS".to_owned(), secret: "s3cret".to_owned() };
        save_login(&path, "reg.example", &login).unwrap();
        fs::write(&path, r#"{"auths":{"other.example":{"auth":"x"}},"currentContext":"ci"}"#).unwrap();
        save_login(&path, "reg.example", &login).unwrap();
        let config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(config["auths"]["reg.example"]["auth"], STANDARD.encode("AWS:s3cret"));
        assert_eq!(
            (&config["auths"]["other.example"]["auth"], &config["currentContext"]),
            (&json!("x"), &json!("ci"))
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        for (text, reason) in
            [("{", "not valid JSON"), ("[]", "not a JSON object"), (r#"{"credsStore":"pass"}"#, "-pass")]
        {
            fs::write(&path, text).unwrap();
            assert!(
                save_login(&path, "reg.example", &login).unwrap_err().to_string().contains(reason),
                "{text}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
