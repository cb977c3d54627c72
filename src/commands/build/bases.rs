//! Base images: from a name to a digest and its ONBUILD triggers.

use std::time::Duration;

use futures_util::future::join_all;

use crate::engine::{Engine, Image};
use crate::registry::{ImageRef, Login};

/// How long all look-ups together may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// What is known of a base image.
#[derive(Debug, Clone, Default)]
pub(super) struct Base {
    /// Its digest; `None` when neither the engine nor the registry told.
    pub(super) digest: Option<String>,
    /// Its ONBUILD triggers; `None` when only the registry has it.
    pub(super) triggers: Option<Vec<String>>,
}

/// Where base images are looked up.
pub(crate) struct Lookup<'a> {
    /// The engine to ask; a buildkitd cannot be asked.
    pub(crate) engine: Option<&'a Engine>,
    pub(crate) login: &'a Login,
    /// `--pull`: what the engine has does not count.
    pub(crate) pull: bool,
}

impl Lookup<'_> {
    /// Looks up every reference with its platform (`OS/ARCHITECTURE[/VARIANT]`), all at once.
    pub(super) async fn all(&self, wanted: &[(String, String)]) -> Vec<Base> {
        let lookups = wanted.iter().map(|(reference, platform)| async {
            let lookup = self.one(reference, platform);
            tokio::time::timeout(DEADLINE, lookup).await.unwrap_or_default()
        });
        join_all(lookups).await
    }

    /// As the engine itself resolves a base: its own image first, then the registry's.
    async fn one(&self, reference: &str, platform: &str) -> Base {
        // What is no reference fails in the build, with the engine's words.
        let Ok(name) = reference.parse::<ImageRef>() else { return Base::default() };
        let pinned = name.digest().map(str::to_owned);
        let Some(engine) = self.engine else { return Base { digest: pinned, triggers: None } };
        if !self.pull {
            // An engine that cannot be asked leaves the base unpinned, which the summary says.
            let found = engine.image(reference).await.ok().flatten();
            if let Some(image) = found.filter(|image| fits(&image.platform, platform)) {
                let digest = pinned.or_else(|| Some(identity(&image, &name)));
                return Base { digest, triggers: Some(image.onbuild) };
            }
        }
        if pinned.is_some() {
            return Base { digest: pinned, triggers: None };
        }
        let login = self.login.clone();
        let host = name.host().to_owned();
        let credentials = tokio::task::spawn_blocking(move || login.credentials(&host)).await;
        let credentials = credentials.ok().and_then(Result::ok).unwrap_or_default();
        let digest = engine.registry_digest(&name, &credentials).await.ok().flatten();
        Base { digest, triggers: None }
    }
}

/// The digest under which the image is known in its registry, so that every engine names it alike; else its id.
fn identity(image: &Image, name: &ImageRef) -> String {
    let of_repository = image.repository_digests.iter().find_map(|known| {
        let known: ImageRef = known.parse().ok()?;
        (known.repository() == name.repository()).then(|| known.digest().map(str::to_owned))?
    });
    of_repository.unwrap_or_else(|| image.id.clone())
}

/// Whether an image of platform `has` serves where `wanted` is; the variant is the engine's business.
fn fits(has: &str, wanted: &str) -> bool {
    let os_and_architecture = |platform: &str| {
        let mut parts = platform.split('/').map(str::to_owned);
        (parts.next(), parts.next())
    };
    os_and_architecture(has) == os_and_architecture(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_known_by_its_registrys_digest_where_it_came_from_one() {
        let digest = crate::digest::Digest::of(b"manifest");
        let mut image = Image { id: "sha256:id".to_owned(), ..Image::default() };
        let name: ImageRef = "python:3".parse().unwrap();
        assert_eq!(identity(&image, &name), "sha256:id");
        image.repository_digests =
            vec![format!("mirror.example/python@{digest}"), format!("python@{digest}")];
        assert_eq!(identity(&image, &name), digest.to_string());
        image.repository_digests.pop();
        assert_eq!(identity(&image, &name), "sha256:id");
    }

    #[test]
    fn an_image_of_another_platform_is_not_the_base() {
        assert!(fits("linux/arm/v7", "linux/arm"));
        assert!(!fits("linux/arm64", "linux/amd64"));
    }
}
