//! Base images: from a name to what stands behind it and its ONBUILD triggers.
//!
//! Asked are, for all images at once: the engine for its own image, as a build
//! without `--pull` takes that; the registry; and the registry through the
//! engine, which may know mirrors, proxies and insecure registries that this
//! process does not. What none of them knows in time stays unpinned.
//!
//! A base is named by [`ImageConfig::identity`](crate::registry::ImageConfig),
//! or by the digest that the Dockerfile pins it to. So an agent that has
//! pulled the image and one that asks the registry get the same key, on every
//! image store; so do two tags of one image. Where only the engine can reach
//! the registry, it tells the digest of what the tag stands for, and not what
//! is in it: there an agent without the image has a key of its own, which is a
//! miss too much and never a wrong hit.
//!
//! An engine whose store holds the images of several platforms under one name
//! does not say which of them a build for another platform than its own would
//! find there. Such a base is pinned only while the registry has the same
//! under its name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::time::{Instant, timeout, timeout_at};

use super::inputs::Inputs;
use super::registries::Registries;
use crate::dockerfile::BaseStart;
use crate::engine::Engine;
use crate::plan::SourceSettings;
use crate::registry::{ImageConfig, ImageRef, remote_image, serves};

/// How long all look-ups together may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a registry has before it is asked through the engine as well.
const HEAD_START: Duration = Duration::from_secs(2);

/// What is known of a base image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Base {
    /// What names its content; `None` when neither the engine nor the registry told.
    pub(crate) digest: Option<String>,
    /// Its ONBUILD triggers; `None` when only its digest is known.
    pub(crate) triggers: Option<Vec<String>>,
    /// What RUNs on top of it start with; `None` when only its digest is known.
    pub(crate) start: Option<BaseStart>,
}

impl Base {
    fn of(config: &ImageConfig) -> Self {
        let settings = config.settings.clone();
        let start = BaseStart {
            environment: settings.env,
            user: settings.user,
            workdir: settings.working_dir,
            shell: settings.shell,
        };
        let (digest, triggers) = (Some(config.identity().to_string()), Some(settings.on_build));
        Self { digest, triggers, start: Some(start) }
    }
}

/// What a build has found of its base images, by reference and platform, so that it sees the same ones throughout.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownBases(Arc<Mutex<BTreeMap<(String, String), Base>>>);

impl KnownBases {
    fn get(&self, base: &(String, String)) -> Option<Base> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(base).cloned()
    }

    fn note(&self, base: (String, String), found: Base) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(base, found);
    }
}

/// Where base images are looked up.
pub(crate) struct BaseLookup<'a> {
    /// The engine to ask; a buildkitd cannot be asked.
    pub(crate) engine: Option<&'a Engine>,
    pub(crate) registries: &'a Registries,
    /// `--pull`: what the engine has does not count.
    pub(crate) pull: bool,
    /// What the same build has found.
    pub(crate) known: KnownBases,
}

impl<'a> BaseLookup<'a> {
    /// Returns what finds the base images of a build.
    pub(crate) fn of(
        source: &SourceSettings,
        inputs: &Inputs,
        engine: Option<&'a Engine>,
        registries: &'a Registries,
    ) -> Self {
        Self { engine, registries, pull: source.pull, known: inputs.known_bases.clone() }
    }
}

impl BaseLookup<'_> {
    /// Looks up every reference with its platform (`OS/ARCHITECTURE[/VARIANT]`), all at once.
    pub(crate) async fn all(&self, wanted: &[(String, String)]) -> Vec<Base> {
        let deadline = Instant::now() + DEADLINE;
        let names: Vec<Option<ImageRef>> =
            wanted.iter().map(|(reference, _)| reference.parse().ok()).collect();
        let lookups = wanted.iter().zip(&names).map(|(base, name)| async move {
            // What is no reference fails in the build, with the engine's words.
            let Some(name) = name else { return Base::default() };
            if let Some(found) = self.known.get(base) {
                return found;
            }
            let digest = name.digest().map(str::to_owned);
            let lookup = self.one(&base.0, name, &base.1, deadline);
            let found = timeout_at(deadline, lookup).await.unwrap_or_default();
            let found = Base { digest: digest.or(found.digest), ..found };
            self.known.note(base.clone(), found.clone());
            found
        });
        join_all(lookups).await
    }

    async fn one(&self, reference: &str, name: &ImageRef, platform: &str, deadline: Instant) -> Base {
        // What the engine's name stands for, where that could be used and cannot be looked into.
        let mut held = None;
        if let Some(engine) = self.engine.filter(|_| !self.pull || name.digest().is_some()) {
            // An engine that cannot be asked leaves the base to the registry.
            let found = engine.image(reference).await.ok().flatten();
            if let Some(image) = &found
                && fits(&image.config.platform(), platform)
            {
                return Base::of(&image.config);
            }
            held = found.and_then(|image| image.target().map(str::to_owned));
        }
        let told = self.ask(name, platform, deadline).await;
        match told {
            Some(told) if held.is_none_or(|held| held == told.target) => told.base,
            _ => Base::default(),
        }
    }

    /// Asks the registry, and when that fails or is slow the engine to ask it.
    async fn ask(&self, name: &ImageRef, platform: &str, deadline: Instant) -> Option<Told> {
        let mut directly = std::pin::pin!(async {
            let reach = self.registries.reach().await;
            let image = remote_image(name, platform, self.registries.login(), reach).await.ok().flatten()?;
            Some(Told { target: image.target.to_string(), base: Base::of(&image.config) })
        });
        let through_engine = async {
            // Nobody's where it cannot be had, so that the registry has the last word.
            let credentials = self.registries.credentials(name.host()).await.unwrap_or_default();
            let digest = self.engine?.registry_digest(name, &credentials).await.ok().flatten()?;
            let base = Base { digest: Some(digest.clone()), ..Base::default() };
            Some(Told { target: digest, base })
        };
        // A little before the end, so that what came in time counts.
        let end = deadline - Duration::from_millis(100);
        match timeout(HEAD_START, &mut directly).await {
            Ok(Some(told)) => Some(told),
            Ok(None) => timeout_at(end, through_engine).await.ok().flatten(),
            Err(_) => {
                let (late, other) = join(timeout_at(end, directly), timeout_at(end, through_engine)).await;
                late.ok().flatten().or(other.ok().flatten())
            }
        }
    }
}

/// What a registry told.
struct Told {
    /// The digest of what the name stands for there.
    target: String,
    base: Base,
}

/// Whether an engine takes its image of platform `has` where `wanted` is: one without a variant serves any.
fn fits(has: &str, wanted: &str) -> bool {
    let same = |has: &str| wanted.strip_prefix(has).is_some_and(|rest| rest.starts_with('/'));
    serves(has, wanted).is_some() || (has.matches('/').count() == 1 && same(has))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Login;

    #[test]
    fn an_image_of_another_platform_is_not_the_base() {
        assert!(fits("linux/arm/v6", "linux/arm/v7") && fits("linux/arm", "linux/arm/v6"));
        for has in ["linux/arm64", "linux/arm/v7", "", "linux"] {
            assert!(!fits(has, "linux/arm/v6"), "{has}");
        }
    }

    #[tokio::test]
    async fn a_registry_that_never_answers_costs_the_deadline_once() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host = silent.local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let registries = Registries::with(Login::new(directory.path()));
        let lookup =
            BaseLookup { engine: None, registries: &registries, pull: false, known: KnownBases::default() };
        let wanted = |name: &str| (format!("{host}/{name}"), "linux/amd64".to_owned());
        let clock = Instant::now();
        let found = lookup.all(&[wanted("a"), wanted("b"), wanted("c")]).await;
        assert_eq!(found, vec![Base::default(); 3]);
        assert!(clock.elapsed() < DEADLINE + Duration::from_secs(1), "{:?}", clock.elapsed());
    }
}
