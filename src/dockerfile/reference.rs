//! Recognises names of images for named contexts, and remote sources of ADD.

/// Returns the short form of an image name, by which named contexts are looked up: `docker.io/library/alpine:latest` is
/// `alpine`.
///
/// Behaviour after `BuildKit`'s `frontend/dockerui/config.go` (`NamedContext`).
pub(super) fn familiar_name(name: &str) -> &str {
    let name = name.strip_suffix(":latest").unwrap_or(name);
    let hub = ["docker.io/", "index.docker.io/"].iter().find_map(|domain| name.strip_prefix(domain));
    let name = hub.unwrap_or(name);
    name.strip_prefix("library/").filter(|rest| !rest.contains('/')).unwrap_or(name)
}

/// Returns `true` if an ADD source is remote: HTTP(S) or git.
pub(crate) fn is_remote(source: &str) -> bool {
    let scheme = ["http://", "https://", "git://", "ssh://"];
    scheme.iter().any(|scheme| source.starts_with(scheme)) || is_scp_like(source)
}

/// Returns `true` for `user@host:path`, which git accepts. It could also be the name of a file.
pub(super) fn is_scp_like(source: &str) -> bool {
    let Some((user, rest)) = source.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let plain = |text: &str| {
        !text.is_empty() && text.chars().all(|char| char.is_ascii_alphanumeric() || "-_.".contains(char))
    };
    plain(user) && plain(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_an_image_have_the_same_short_form() {
        for name in ["alpine", "alpine:latest", "library/alpine", "docker.io/library/alpine:latest"] {
            assert_eq!(familiar_name(name), "alpine");
        }
        assert_eq!(familiar_name("docker.io/me/app:1"), "me/app:1");
        assert_eq!(familiar_name("quay.io/library/app"), "quay.io/library/app");
    }

    #[test]
    fn remote_sources_are_distinguished_from_paths() {
        for remote in ["https://x/y.tgz", "http://x", "git://x/y", "git@github.com:a/b.git#v1"] {
            assert!(is_remote(remote), "{remote}");
        }
        for local in [".", "src/", "github.com/a/b", "a@b", "./a@b:c/d"] {
            assert!(!is_remote(local), "{local}");
        }
    }
}
