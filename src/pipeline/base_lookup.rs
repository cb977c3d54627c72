//! Looks up base images: the digest of their content and their ONBUILD triggers. Images are never pulled here.
//!
//! All images are looked up concurrently, in three places:
//!
//! - in the engine, because a build without `--pull` uses the engine's image;
//! - in the registry;
//! - in the registry through the engine, which may know mirrors, proxies and insecure registries that this process
//!   does not know.
//!
//! A base image that none of them returns in time is not pinned.
//!
//! A base is identified by [`ImageConfig::identity`](crate::registry::ImageConfig), or by the digest that the
//! Dockerfile pins it to. An agent that has pulled the image and one that queries the registry therefore compute the
//! same key on every image store, and so do two tags of the same image. If only the engine can reach the registry, it
//! returns the digest of the tag, but not the image's config. An agent without the image then computes a different key:
//! that can cause a miss, but never a wrong hit.
//!
//! An engine that stores images of several platforms under one name does not report which of them a build for a
//! different platform would use. Such a base is pinned only while the registry has the same digest under its name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::{Instant, timeout, timeout_at};

use super::registries::Registries;
use crate::dockerfile::{BaseImage, BaseSettings};
use crate::engine::Engine;
use crate::registry::{ImageConfig, ImageRef, compatibility_rank, remote_image};

const DEADLINE: Duration = Duration::from_secs(5);
/// The time before the registry is also queried through the engine.
const HEAD_START: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BaseInfo {
    /// The identity of its content; `None` if neither the engine nor the registry returned it.
    pub(crate) digest: Option<String>,
    /// Its ONBUILD triggers; `None` if only the digest is known.
    pub(crate) triggers: Option<Vec<String>>,
    /// The initial environment of RUN steps on this base; `None` if only the digest is known.
    pub(crate) start: Option<BaseSettings>,
    /// The number of its layers; `None` if only the digest is known.
    pub(crate) layers: Option<usize>,
}

impl BaseInfo {
    fn of(config: &ImageConfig) -> Self {
        let settings = config.settings.clone();
        let start = BaseSettings {
            environment: settings.env,
            user: settings.user,
            workdir: settings.working_dir,
            shell: settings.shell,
        };
        let (digest, triggers) = (Some(config.identity().to_string()), Some(settings.on_build));
        Self { digest, triggers, start: Some(start), layers: Some(config.layers.len()) }
    }
}

/// The base images found so far by reference and platform, so that a build uses the same ones throughout.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownBases(Arc<Mutex<BTreeMap<(String, String), BaseInfo>>>);

impl KnownBases {
    fn get(&self, base: &(String, String)) -> Option<BaseInfo> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(base).cloned()
    }

    pub(crate) fn layers(&self, base: &BaseImage) -> Option<usize> {
        self.get(&(base.reference.clone(), base.platform.to_string()))?.layers
    }

    pub(crate) fn starts(&self, platform: &str) -> BTreeMap<String, BaseSettings> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_platform = known.iter().filter(|((_, of), _)| of == platform);
        of_platform
            .filter_map(|((reference, _), base)| Some((reference.clone(), base.start.clone()?)))
            .collect()
    }

    pub(crate) fn names(&self) -> Vec<ImageRef> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.keys().filter_map(|(reference, _)| reference.parse().ok()).collect()
    }

    fn note(&self, base: (String, String), found: BaseInfo) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(base, found);
    }
}

pub(crate) struct BaseLookup<'a> {
    /// The Docker engine; `None` for buildkitd, which stores no images.
    pub(crate) engine: Option<&'a Engine>,
    pub(crate) registries: &'a Registries,
    /// `true` for `--pull`: images of the engine are ignored.
    pub(crate) pull: bool,
    pub(crate) known: KnownBases,
}

impl BaseLookup<'_> {
    /// Looks up all references with their platforms (`OS/ARCHITECTURE[/VARIANT]`).
    pub(crate) async fn look_up_all(&self, wanted: &[(String, String)]) -> Vec<BaseInfo> {
        let deadline = Instant::now() + DEADLINE;
        let names: Vec<Option<ImageRef>> =
            wanted.iter().map(|(reference, _)| reference.parse().ok()).collect();
        let lookups = wanted.iter().zip(&names).map(|(base, name)| async move {
            // For an invalid reference the build fails with the engine's message.
            let Some(name) = name else { return BaseInfo::default() };
            if let Some(found) = self.known.get(base) {
                return found;
            }
            let digest = name.digest().map(str::to_owned);
            let lookup = self.look_up(&base.0, name, &base.1, deadline);
            let found = timeout_at(deadline, lookup).await.unwrap_or_default();
            let found = BaseInfo { digest: digest.or(found.digest), ..found };
            self.known.note(base.clone(), found.clone());
            found
        });
        join_all(lookups).await
    }

    async fn look_up(&self, reference: &str, name: &ImageRef, platform: &str, deadline: Instant) -> BaseInfo {
        // The digest of the engine's image, if the image could be used but its config is for a different platform.
        let mut engine_digest = None;
        if let Some(engine) = self.engine.filter(|_| !self.pull || name.digest().is_some()) {
            // If the engine fails, the registry decides.
            let found = engine.image(reference).await.ok().flatten();
            if let Some(image) = &found
                && fits_platform(&image.config.platform(), platform)
            {
                return BaseInfo::of(&image.config);
            }
            engine_digest = found.and_then(|image| image.manifest_digest().map(str::to_owned));
        }
        let answer = self.query_registry(name, platform, deadline).await;
        match answer {
            Some(answer) if engine_digest.is_none_or(|engine_digest| engine_digest == answer.target) => {
                answer.base
            }
            _ => BaseInfo::default(),
        }
    }

    /// Queries the registry directly, and also through the engine if that fails or is slow.
    async fn query_registry(
        &self,
        name: &ImageRef,
        platform: &str,
        deadline: Instant,
    ) -> Option<RegistryAnswer> {
        let mut directly = std::pin::pin!(async {
            let reach = self.registries.reach().await;
            let image = remote_image(name, platform, self.registries.login(), reach).await.ok().flatten()?;
            Some(RegistryAnswer { target: image.target.to_string(), base: BaseInfo::of(&image.config) })
        });
        let through_engine = async {
            // Without credentials the registry itself decides whether it grants access.
            let credentials = self.registries.login().credentials(name.host()).await.unwrap_or_default();
            let digest = self.engine?.registry_digest(name, &credentials).await.ok().flatten()?;
            let base = BaseInfo { digest: Some(digest.clone()), ..BaseInfo::default() };
            Some(RegistryAnswer { target: digest, base })
        };
        // End slightly before the deadline, so that an answer that arrived in time is used.
        let end = deadline - Duration::from_millis(100);
        match timeout(HEAD_START, &mut directly).await {
            Ok(Some(answer)) => Some(answer),
            Ok(None) => timeout_at(end, through_engine).await.ok().flatten(),
            Err(_) => {
                let (late, other) = join(timeout_at(end, directly), timeout_at(end, through_engine)).await;
                late.ok().flatten().or(other.ok().flatten())
            }
        }
    }
}

struct RegistryAnswer {
    /// The digest that the name refers to in the registry.
    target: String,
    base: BaseInfo,
}

/// Returns `true` if an engine uses its image of platform `has` for a build for `wanted`. An image without a variant
/// fits any variant.
fn fits_platform(has: &str, wanted: &str) -> bool {
    let same = |has: &str| wanted.strip_prefix(has).is_some_and(|rest| rest.starts_with('/'));
    compatibility_rank(has, wanted).is_some() || (has.matches('/').count() == 1 && same(has))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Login;

    #[test]
    fn an_image_of_a_different_platform_is_not_used() {
        assert!(fits_platform("linux/arm/v6", "linux/arm/v7") && fits_platform("linux/arm", "linux/arm/v6"));
        for has in ["linux/arm64", "linux/arm/v7", "", "linux"] {
            assert!(!fits_platform(has, "linux/arm/v6"), "{has}");
        }
    }

    #[tokio::test]
    async fn lookups_in_an_unresponsive_registry_share_one_deadline() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host = silent.local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let registries = Registries::new(Login::new(directory.path()), Vec::new(), None);
        let lookup =
            BaseLookup { engine: None, registries: &registries, pull: false, known: KnownBases::default() };
        let wanted = |name: &str| (format!("{host}/{name}"), "linux/amd64".to_owned());
        let clock = Instant::now();
        let found = lookup.look_up_all(&[wanted("a"), wanted("b"), wanted("c")]).await;
        assert_eq!(found, vec![BaseInfo::default(); 3]);
        assert!(clock.elapsed() < DEADLINE + Duration::from_secs(1), "{:?}", clock.elapsed());
    }
}
