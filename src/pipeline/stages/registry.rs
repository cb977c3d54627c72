//! Looks for whole images in registries before a build, and tags them with their keys after a push.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::job::Job;
use crate::engine::ImageStore;
use crate::pipeline::error::Result;
use crate::pipeline::keys::BuildKeys;
use crate::pipeline::reporter::BuildEvent;
use crate::pipeline::transfers::transfer;
use crate::platform::{self, Platform};
use crate::registry::{ImageRef, RegistryError, with_timeout};
use crate::store::Meter;
use crate::tiers::{
    BoxedError, Hit, HitConditions, ImageTier, PushTarget, RegistryTerms, RegistryTier, Tags, TierAnswer,
    TransferError,
};

pub(super) const LOGIN_DEADLINE: Duration = Duration::from_secs(40);

/// The result of looking in registries and the remote store for a newer image of a key than the engine's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NewerImage {
    Yes(&'static str),
    /// No newer image was found. `is_named` is `true` if the same image was found and named in the registry.
    No {
        is_named: bool,
    },
}

/// Reports the names that the image was given without a push.
pub(super) fn report_named(job: &Job<'_>) {
    for tag in job.build.tags.iter().filter(|_| job.wants_push()) {
        job.reporter.report(&BuildEvent::Named(tag));
    }
}

impl Job<'_> {
    pub(super) fn should_be_in_engine(&self) -> bool {
        let is_loaded = self.build.load || !self.wants_push() || self.purpose.run.is_some();
        self.engine().is_some() && is_loaded
    }

    pub(super) fn registries_disabled_reason(&self) -> Option<&'static str> {
        let is_used = self.wants_push() || self.build.tiers.cache_repo.is_some();
        (!is_used).then_some("nothing is pushed, and no --cache-repo is given")
    }

    /// Returns the repository for what later builds can reuse, or `None` if the build uses none.
    pub(super) fn cache_repository(&self) -> Option<ImageRef> {
        let first = || self.build.tags.first().filter(|_| self.wants_push());
        self.build.tiers.cache_repo.as_ref().or_else(first).cloned()
    }

    /// The platforms are those of the keys, or those of the flags or the builder if the keys are unknown.
    pub(super) async fn registry_tags(&self, keys: Option<&BuildKeys>) -> Tags {
        let builder =
            self.connection.platform().await.unwrap_or_else(|_| platform::local_container_platform());
        let default: Option<Platform> = builder.parse().ok();
        let mut names = keys.map_or(&*self.build.source.platforms, |keys| &*keys.platforms);
        if names.is_empty() {
            names = std::slice::from_ref(&builder);
        }
        let parsed = names.iter().filter_map(|name| Platform::parse(name, default.as_ref()).ok());
        Tags::for_lanes(&self.settings.lanes.lanes).with_platforms(&parsed.collect())
    }

    /// Returns the repositories of these names, or the repository of `--cache-repo` if there are no names.
    pub(super) async fn targets_of(
        &self,
        tags: impl Iterator<Item = &ImageRef>,
    ) -> Result<Vec<PushTarget>, RegistryError> {
        let mut grouped: Vec<Vec<ImageRef>> = Vec::new();
        for tag in tags {
            match grouped.iter_mut().find(|names| names[0].repository() == tag.repository()) {
                Some(names) => names.push(tag.clone()),
                None => grouped.push(vec![tag.clone()]),
            }
        }
        let mut targets = Vec::new();
        for names in grouped {
            targets.push(self.target(&names[0].clone(), names).await?);
        }
        if let (true, Some(cache_repo)) = (targets.is_empty(), &self.build.tiers.cache_repo) {
            targets.push(self.target(cache_repo, Vec::new()).await?);
        }
        Ok(targets)
    }

    /// Returns the targets of pushes. Fails if the user interrupts or if logins take too long.
    async fn targets_before_deadline(&self) -> Result<Result<Vec<PushTarget>, RegistryError>> {
        let names = self.build.tags.iter().chain(&self.build.tiers.cache_repo);
        let host = names.map(ImageRef::host).next().unwrap_or_default();
        let targets = self.targets_of(self.build.tags.iter().filter(|_| self.wants_push()));
        self.run_until_interrupt(with_timeout(host, LOGIN_DEADLINE, Box::pin(targets))).await
    }

    async fn target(&self, place: &ImageRef, names: Vec<ImageRef>) -> Result<PushTarget, RegistryError> {
        let credentials = self.registries().login().credentials(place.host()).await?;
        Ok(PushTarget { repository: self.registries().repository(place).await?, credentials, names })
    }

    /// Returns the conditions for registry hits of this image, without an engine to pull it into.
    pub(super) async fn registry_terms(&self, keys: &BuildKeys) -> Result<RegistryTerms> {
        let trusted_store =
            if self.settings.store.terms.trust.is_strict() { Some(self.session.store()?) } else { None };
        // buildkitd identifies images by their manifests.
        let images = match self.engine() {
            Some(_) => self.connection.image_store().await?,
            None => ImageStore::Containerd,
        };
        // Other engines do not recompress the layers of the base image.
        let compresses = self.wants_push() && images == ImageStore::GraphDriver;
        Ok(RegistryTerms {
            tags: self.registry_tags(Some(keys)).await,
            images,
            compression: compresses.then(|| self.build.push.effective()),
            only_image: None,
            pull_into: None,
            deadline: self.build.tiers.archive_timeout,
            is_read_only: self.settings.store.terms.read_only,
            trusted_store,
        })
    }

    /// Returns `true` if the engine has an image under one of the names. The registry may have a different one.
    pub(super) async fn has_images_in_engine(&self) -> bool {
        let Some(engine) = self.engine() else { return false };
        let found = self.build.tags.iter().map(|tag| async {
            let name = tag.familiar();
            engine.image(&name).await.ok().flatten().is_some()
        });
        futures_util::future::join_all(found).await.contains(&true)
    }

    /// Gives the engine's image `id`, built at `built`, its names in the registries if they have the same image.
    /// Returns whether they have a newer image, and the faults.
    pub(super) async fn name_in_registry(
        &self,
        keys: &BuildKeys,
        id: &str,
        built: Timestamp,
    ) -> Result<(NewerImage, Vec<BoxedError>)> {
        if !self.build.tiers.registry {
            return Ok((NewerImage::No { is_named: false }, Vec::new()));
        }
        let only_image = Some((id.to_owned(), built));
        let terms = RegistryTerms { only_image, ..self.registry_terms(keys).await? };
        let answer = self.query_registries(&terms, keys, &Arc::default()).await?;
        let is_named = answer.found.is_some();
        if is_named {
            report_named(self);
        }
        let newer = if answer.has_newer && !is_named {
            NewerImage::Yes("a registry has a newer image of this key")
        } else {
            NewerImage::No { is_named }
        };
        Ok((newer, answer.faults))
    }

    pub(super) async fn query_registries(
        &self,
        terms: &RegistryTerms,
        keys: &BuildKeys,
        meter: &Arc<Meter>,
    ) -> Result<TierAnswer<Hit>> {
        match self.targets_before_deadline().await? {
            Ok(targets) => {
                let (mut tier, accepted) = (RegistryTier::new(terms.clone(), targets), self.accepted(keys));
                let wanted = self.wanted(keys, &accepted);
                let taking = Box::pin(tier.look_and_fetch(&wanted, meter));
                transfer("fetching the image", taking, meter, self.session, self.reporter).await
            }
            Err(error) => Ok(TransferError::from(error).into()),
        }
    }

    /// Removes the saved tokens of ECR registries that rejected them. Returns `true` if there were any.
    pub(super) fn forget_rejected_logins(&self, answer: &TierAnswer<Hit>) -> bool {
        let faults = answer.faults.iter().filter_map(|fault| fault.downcast_ref::<TransferError>());
        if !faults.into_iter().any(TransferError::is_login_error) {
            return false;
        }
        let places = self.build.tags.iter().chain(&self.build.tiers.cache_repo);
        let hosts: BTreeSet<&str> = places.map(ImageRef::host).collect();
        let amazons = hosts.into_iter().filter(|host| self.settings.ecr.host_kind(host).is_some());
        amazons.map(|host| self.registries().login().forget(host)).count() > 0
    }

    /// Tags the image `id`, which was pushed, with its key. Returns `true` if it was tagged.
    pub(super) async fn publish(&self, keys: &BuildKeys, id: &str) -> Result<bool> {
        if !self.build.tiers.registry || self.settings.store.terms.read_only {
            return Ok(false);
        }
        let terms = self.registry_terms(keys).await?;
        let layers = match self.engine() {
            Some(engine) => engine.image(id).await.ok().flatten().map(|image| image.config.layers),
            None => None,
        };
        let published = match self.targets_before_deadline().await? {
            Ok(targets) => {
                let (mut tier, accepted) = (RegistryTier::new(terms, targets), HitConditions::default());
                let wanted = self.wanted(keys, &accepted);
                let saving = Box::pin(tier.save(&wanted, id, layers.as_deref()));
                self.run_until_interrupt(saving).await?
            }
            Err(error) => Err(error),
        };
        match published {
            Ok(true) => Ok(true),
            Ok(false) => {
                self.reporter.warn(
                    "another job pushed under the image's name in the meantime: the image is not tagged with its key",
                );
                Ok(false)
            }
            Err(error) => self.faults.report(&error).map(|()| false),
        }
    }
}
