//! Adds a login to Docker's configuration.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::commands::error::CommandError;
use crate::error_chain::chain;
use crate::registry::Credentials;
use crate::regular_file::{self, PRIVATE};

/// Adds the login to Docker's configuration at `path`, as `docker login` does without a credential helper.
pub(super) fn save_login(path: &Path, registry: &str, login: &Credentials) -> Result<(), CommandError> {
    let place = path.display();
    let failed =
        |error: io::Error| CommandError::config_line(format!("cannot write {place}: {}", chain(&error)));
    let mut config: Value = match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| {
            CommandError::config_line(format!("{place} is not valid JSON: {}", chain(&error)))
        })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => json!({}),
        Err(error) => return Err(failed(error)),
    };
    let helper = config["credHelpers"][registry].as_str().or_else(|| config["credsStore"].as_str());
    if let Some(helper) = helper.filter(|helper| !helper.is_empty()) {
        return Err(CommandError::config_line(format!(
            "{place} stores the logins of {registry} with docker-credential-{helper}"
        )));
    }
    let logins = config.as_object_mut().map(|config| config.entry("auths").or_insert_with(|| json!({})));
    let logins = logins
        .and_then(Value::as_object_mut)
        .ok_or_else(|| CommandError::config_line(format!("{place} is not a JSON object")))?;
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
            let error = save_login(&path, "reg.example", &login).unwrap_err();
            assert!(error.cause.contains(reason), "{text}: {error:?}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
