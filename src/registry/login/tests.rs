//! Tests of lookups in Docker's configuration files.

use super::*;

/// Returns the credentials found in a configuration, and the reasons of lookups that failed.
async fn looked_up(config: &str, host: &str) -> (Credentials, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("config.json"), config).unwrap();
    let login = Login::new(directory.path());
    (login.stored_credentials(host).await, login.take_lookup_errors())
}

async fn found(config: &str, host: &str) -> (String, String) {
    let (found, faults) = looked_up(config, host).await;
    assert_eq!(faults, [""; 0], "{config}");
    (found.username, found.secret)
}

fn login(username: &str, secret: &str) -> (String, String) {
    (username.to_owned(), secret.to_owned())
}

#[tokio::test]
async fn credentials_are_found_under_every_spelling_of_their_registry() {
    // base64 of "ci:s3cret"
    let entry = r#"{"auth":"Y2k6czNjcmV0"}"#;
    for (host, keys) in [
        (
            "reg.example:5000",
            &[
                "reg.example:5000",
                "https://reg.example:5000",
                "http://reg.example:5000/",
                "https://reg.example:5000/v1/",
                "https://reg.example:5000/v2/",
                "reg.example:5000/v2/",
                "reg.example:5000/shop",
            ][..],
        ),
        (
            "docker.io",
            &[
                "https://index.docker.io/v1/",
                "https://index.docker.io/v2/",
                "index.docker.io",
                "docker.io",
                "https://registry-1.docker.io",
            ],
        ),
        ("registry-1.docker.io", &["https://index.docker.io/v1/", "docker.io"]),
    ] {
        for key in keys {
            let config = format!(r#"{{"auths":{{"other.example":{{"auth":"eDp5"}},"{key}":{entry}}}}}"#);
            assert_eq!(found(&config, host).await, login("ci", "s3cret"), "{host} under {key}");
        }
    }
    for (host, key) in [
        ("reg.example", "reg.example:5000"),
        ("reg.example", "my.reg.example"),
        ("docker.io", "reg.example"),
        ("docker.io.example", "docker.io"),
    ] {
        let config = format!(r#"{{"auths":{{"{key}":{entry}}}}}"#);
        assert_eq!(found(&config, host).await, login("", ""), "{host} under {key}");
    }
    // The exact key comes first.
    let config = format!(r#"{{"auths":{{"https://reg.example":{{"auth":"eDp5"}},"reg.example":{entry}}}}}"#);
    assert_eq!(found(&config, "reg.example").await, login("ci", "s3cret"));
}

#[tokio::test]
async fn credentials_are_read_in_every_form_that_docker_writes() {
    for (entry, expected) in [
        (r#"{"auth":"Y2k6czNjcmV0"}"#, login("ci", "s3cret")),
        (r#"{"auth":"Y2k6czNjcmV0Cg"}"#, login("ci", "s3cret\n")),
        (r#"{"auth":"Y2k6\nczNjcmV0"}"#, login("ci", "s3cret")),
        (r#"{"auth":"Y2k6YTpiOmM="}"#, login("ci", "a:b:c")),
        (r#"{"auth":"Y2k6czNjcmV0AAA="}"#, login("ci", "s3cret")),
        (r#"{"Auth":"Y2k6czNjcmV0","email":"a@b.example"}"#, login("ci", "s3cret")),
        (r#"{"username":"ci","password":"s3cret"}"#, login("ci", "s3cret")),
        (r#"{"auth":"Y2k6czNjcmV0","username":"old","password":"old"}"#, login("ci", "s3cret")),
        (r#"{"auth":"","username":"ci","password":"s3cret"}"#, login("ci", "s3cret")),
        (r#"{"identitytoken":"token"}"#, login("", "token")),
        (r#"{"auth":"PHRva2VuPjo=","identitytoken":"token"}"#, login("", "token")),
        (r#"{"username":"ci"}"#, login("", "")),
        ("{}", login("", "")),
        ("null", login("", "")),
    ] {
        assert_eq!(found(&format!(r#"{{"auths":{{"r":{entry}}}}}"#), "r").await, expected, "{entry}");
    }
    for config in ["", "{}", "null", r#"{"auths":null}"#, r#"{"auths":[],"credHelpers":3}"#, "{", "[]"] {
        assert_eq!(found(config, "r").await, login("", ""), "{config}");
    }
    for auth in ["!", "Y2k=", "OnM="] {
        let (found, faults) = looked_up(&format!(r#"{{"auths":{{"r":{{"auth":"{auth}"}}}}}}"#), "r").await;
        assert!(found.is_anonymous(), "{auth}");
        assert!(faults[0].contains("no login for r: its auth in ") && faults.len() == 1, "{faults:?}");
    }
}

#[tokio::test]
async fn a_missing_or_unreadable_config_means_anonymous() {
    let directory = tempfile::tempdir().unwrap();
    assert!(Login::new(&directory.path().join("missing")).stored_credentials("r").await.is_anonymous());
    std::fs::create_dir(directory.path().join("config.json")).unwrap();
    assert!(Login::new(directory.path()).stored_credentials("r").await.is_anonymous());
}

#[tokio::test]
async fn the_environment_takes_precedence_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let config =
        r#"{"auths":{"r":{"username":"file","password":"x"},"s":{"username":"file","password":"x"}}}"#;
    std::fs::write(directory.path().join("config.json"), config).unwrap();
    let given = DockerConfigFile::parse(br#"{"auths":{"https://r/v2/":{"auth":"Y2k6czNjcmV0"}}}"#).unwrap();
    let login = Login::new(directory.path()).with_environment(given);
    assert_eq!(
        (login.stored_credentials("r").await.username, login.stored_credentials("s").await.username),
        ("ci".into(), "file".into())
    );
    assert!(!format!("{login:?} {:?}", login.stored_credentials("r").await).contains("s3cret"));
}

#[tokio::test]
async fn the_public_ecr_registry_needs_no_credentials() {
    let directory = tempfile::tempdir().unwrap();
    // Nothing listens on this port.
    let ecr = EcrLogin::new(directory.path(), "", Some("http://127.0.0.1:9"));
    let login = Login::new(directory.path()).with_ecr(ecr);
    assert!(login.credentials("registry.example").await.unwrap().is_anonymous());
    assert!(login.credentials("registry.example").await.unwrap().is_anonymous());
}
