//! Image references, normalised as in Docker.
//!
//! `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`; the default host is `docker.io`, its default namespace `library`, the default
//! tag `latest` (distribution/reference, "normalized named").

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// A normalised image reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    host: String,
    path: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// The error for a string that is not an image reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid image reference `{text}`: {reason}")]
pub struct InvalidImageRef {
    text: String,
    reason: &'static str,
}

/// Docker Hub as the host of an image reference.
pub(super) const HUB: &str = "docker.io";
const MAX_TAG: usize = 128;
const MAX_NAME: usize = 255;
const TAG_RULE: &str = "a tag has letters, digits, `_`, `.` and `-`, at most 128 of them";

impl ImageRef {
    /// Returns the registry's host, `docker.io` for Docker Hub.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the repository below the host, for example `library/python`.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// Returns the tag; `latest` if neither tag nor digest was given.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the tag, or `latest` for a reference that only has a digest.
    pub(crate) fn tag_or_latest(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }

    pub(crate) fn digest_or_tag(&self) -> &str {
        self.digest.as_deref().unwrap_or_else(|| self.tag_or_latest())
    }

    pub(crate) fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// Returns `HOST/PATH` without tag and digest.
    pub(crate) fn repository(&self) -> String {
        format!("{}/{}", self.host, self.path)
    }

    /// Returns the same repository with this tag and no digest, or `None` if the tag is invalid.
    pub(crate) fn with_tag(&self, tag: &str) -> Option<Self> {
        is_tag(tag).then(|| Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    #[must_use]
    pub(crate) fn pinned(&self, digest: Digest) -> Self {
        Self { digest: Some(digest.to_string()), ..self.clone() }
    }

    /// Returns the same name in a different registry (`HOST[:PORT]`), or `None` if the host is invalid.
    pub(crate) fn in_registry(&self, host: &str) -> Option<Self> {
        let is_host =
            !host.is_empty() && !host.contains(['/', '@', '?', '#']) && !host.contains(char::is_whitespace);
        is_host.then(|| Self { host: host.to_owned(), ..self.clone() })
    }

    /// Returns the short form without `docker.io/` and `library/`.
    pub(crate) fn familiar(&self) -> String {
        let full = self.to_string();
        let Some(short) = full.strip_prefix("docker.io/") else { return full };
        short.strip_prefix("library/").unwrap_or(short).to_owned()
    }
}

impl FromStr for ImageRef {
    type Err = InvalidImageRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |reason| InvalidImageRef { text: text.to_owned(), reason };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        let (name, tag) = match name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (name, None),
        };
        if name.is_empty() {
            return Err(invalid("the name of the repository is missing"));
        }
        if text.contains("://") {
            return Err(invalid("it begins with a protocol, which is not part of an image reference"));
        }
        let (host, path) = match name.split_once('/') {
            // Otherwise the engine would treat the text after the colon as a port.
            Some((host, _)) if is_tag_with_slash(host) => {
                return Err(invalid(TAG_RULE));
            }
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path.to_owned()),
            Some(_) => (HUB, name.to_owned()),
            None => (HUB, format!("library/{name}")),
        };
        let host = if host == "index.docker.io" { HUB } else { host };
        let path = if host == HUB && !path.contains('/') { format!("library/{path}") } else { path };
        if path.contains(':') {
            return Err(invalid(TAG_RULE));
        }
        if !is_host(host) {
            return Err(invalid("a registry is HOST or HOST:PORT, made of letters, digits, `.` and `-`"));
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(invalid("a repository name must be lower case"));
        }
        if !path.split('/').all(is_path_component) {
            return Err(invalid(
                "a repository name has letters, digits and, between those, one of `.`, `_`, `__` or `-`",
            ));
        }
        if host == HUB && path.strip_prefix("library/").is_some_and(is_image_id) {
            return Err(invalid("64 hex digits are the id of an image, and cannot be its name"));
        }
        if host.len() + path.len() > MAX_NAME {
            return Err(invalid("the name is longer than 255 characters"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(invalid(TAG_RULE));
        }
        if digest.is_some_and(|digest| digest.parse::<Digest>().is_err()) {
            return Err(invalid("the digest is not `sha256:` and 64 hex digits"));
        }
        let tag = tag.or(if digest.is_none() { Some("latest") } else { None });
        Ok(Self {
            host: host.to_owned(),
            path,
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        })
    }
}

/// Returns `true` for `NAME:TAG` before a slash, where only a port can follow the colon.
fn is_tag_with_slash(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(name, tag)| {
        !name.contains(['.', '[']) && name != "localhost" && tag.parse::<u16>().is_err()
    })
}

/// Returns `true` for `HOST[:PORT]` (distribution/reference, `domain`).
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_label = |label: &str| {
        label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_address = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .is_some_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok());
    (is_address || host.split('.').all(is_label))
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// Returns `true` for letters and digits with one separator between them: `.`, `_`, `__`, or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit();
    let is_separator =
        |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    !component.is_empty()
        && component.starts_with(alphanumeric)
        && component.ends_with(alphanumeric)
        && component.split(alphanumeric).all(is_separator)
}

fn is_image_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=MAX_TAG).contains(&tag.len())
        && word(tag.as_bytes()[0])
        && tag.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_as_docker_does() {
        let digest = Digest::of(b"x");
        for (text, full, familiar) in [
            ("app", "docker.io/library/app:latest", "app:latest"),
            ("me/app:1", "docker.io/me/app:1", "me/app:1"),
            ("docker.io/app", "docker.io/library/app:latest", "app:latest"),
            ("index.docker.io/library/app:2", "docker.io/library/app:2", "app:2"),
            ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
            ("localhost:5000/a/b:t", "localhost:5000/a/b:t", "localhost:5000/a/b:t"),
            ("reg.example/a__b", "reg.example/a__b:latest", "reg.example/a__b:latest"),
            (&format!("app@{digest}"), &format!("docker.io/library/app@{digest}"), &format!("app@{digest}")),
        ] {
            let image: ImageRef = text.parse().unwrap();
            assert_eq!((image.to_string().as_str(), image.familiar().as_str()), (full, familiar), "{text}");
        }
    }

    #[test]
    fn a_reference_can_be_given_a_different_tag_digest_or_registry() {
        let image: ImageRef = "reg.example/a/app:1".parse().unwrap();
        assert_eq!(image.with_tag("cache").unwrap().to_string(), "reg.example/a/app:cache");
        assert_eq!(image.with_tag("not/a/tag"), None);
        let digest = Digest::of(b"x");
        assert_eq!(image.pinned(digest).to_string(), format!("reg.example/a/app:1@{digest}"));
        assert_eq!(image.in_registry("localhost:5000").unwrap().to_string(), "localhost:5000/a/app:1");
        assert_eq!(image.in_registry("a/b"), None);
    }

    #[test]
    fn references_that_docker_rejects_are_rejected() {
        let id = "a".repeat(64);
        for (text, reason) in [
            ("", "repository is missing"),
            (":1", "repository is missing"),
            ("App", "lower case"),
            ("Shop/app:main", "lower case"),
            ("a//b", "a repository name has"),
            ("a/-b", "a repository name has"),
            ("a..b", "a repository name has"),
            ("a___b", "a repository name has"),
            ("a._b", "a repository name has"),
            ("a.-b", "a repository name has"),
            (" app", "a repository name has"),
            ("a:b c", "a tag has"),
            ("app:", "a tag has"),
            ("app:.x", "a tag has"),
            ("app:home=page", "a tag has"),
            ("app:feature/login", "a tag has"),
            ("shop/app:feature/login", "a tag has"),
            ("reg.example:5000/app:feature/login", "a tag has"),
            ("app:feature/login:1", "a tag has"),
            ("reg.example:feature/login", "HOST:PORT"),
            ("reg.example:0/app", "HOST:PORT"),
            ("reg.example:70000/app", "HOST:PORT"),
            ("reg_x.y/app", "HOST:PORT"),
            ("-x.y/app", "HOST:PORT"),
            ("http://reg.example/app", "protocol"),
            ("app@sha256:12", "digest"),
            (&id, "id of an image"),
        ] {
            let error = text.parse::<ImageRef>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains(reason), "{error}");
        }
        for text in ["x/a-b--c__d.e", "[::1]:5000/app", "localhost:5000/app", "reg-1.example/app:v1.0_X-y"] {
            assert!(text.parse::<ImageRef>().is_ok(), "{text}");
        }
    }
}
