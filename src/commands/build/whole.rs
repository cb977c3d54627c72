//! Whole images: looked for before a build, noted under their keys after it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::timeout;

use super::archiving::Keeping;
use super::{BuildKeys, Job};
use crate::commands::error::CommandError;
use crate::commands::transfers::transfer;
use crate::engine::Image;
use crate::ledger::{Outcome, StepCounts};
use crate::notes::NotesError;
use crate::output::changes;
use crate::settings::OutputKind;
use crate::store::{EntryKind, Meter};
use crate::tiers::{Accepted, Answer, ArchiveTier, EngineTier, Kept, RegistryTier};

/// How long an image of the engine waits for what a remote store, or a registry that it is not pushed to, has.
const MOST_ASKING: Duration = Duration::from_secs(2);
/// An image that a cache had.
pub(super) struct Hit {
    /// Its id.
    pub(super) id: String,
    /// The tier that had it.
    pub(super) tier: &'static str,
    /// The image in the engine, where it is there.
    pub(super) image: Option<Image>,
    /// When it was built, as far as is known.
    pub(super) built: Option<Timestamp>,
    /// It has its names in the registries that it is to be pushed to.
    pub(super) is_named: bool,
}

impl Hit {
    fn of(image: Image, tier: &'static str, built: Option<Timestamp>) -> Self {
        Self { id: image.id.clone(), tier, image: Some(image), built, is_named: false }
    }
}

/// What a registry or a shared store says of an image that the engine has.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Elsewhere {
    /// They have a newer one of the same key, for this reason.
    Newer(&'static str),
    /// The registries have it and gave it its names.
    Named,
    /// Nothing.
    Unknown,
}

impl Job<'_> {
    /// Why no whole image is looked for, if none is.
    pub(super) fn whole_images_are_off(&self) -> Option<&'static str> {
        let images = self.build.outputs.iter().all(|output| matches!(output.kind, OutputKind::Image { .. }));
        if !images {
            Some("the result is not just an image")
        } else if let Some(flag) = self.build.runs_every_step() {
            Some(flag)
        } else if !self.build.no_cache_filter.is_empty() {
            Some("--no-cache-filter")
        } else if self.build.cache_to.iter().any(|cache| cache.kind != "inline") {
            Some("--cache-to wants a build")
        } else {
            None
        }
    }

    /// Looks for the image of these keys in one tier after the other, and gives it its names.
    pub(super) async fn lookup(&mut self, keys: Option<&BuildKeys>) -> Result<Option<Hit>, CommandError> {
        let off = self.whole_images_are_off().map(str::to_owned).or_else(|| self.no_keys.clone());
        let tiers = &self.build.tiers;
        let no_images = self.engine.is_none().then_some("buildkitd keeps no images");
        let is_one = keys.is_none_or(|keys| keys.sole_platform().is_some());
        let no_archive = no_images.or((!is_one).then_some("an image for several platforms is not kept"));
        let wanted = [
            (EngineTier::NAME, tiers.engine, no_images),
            (RegistryTier::NAME, tiers.registry, self.registry_is_off()),
            (ArchiveTier::NAME, tiers.archive, no_archive),
        ];
        for (tier, is_used, own_reason) in wanted {
            if tier == RegistryTier::NAME && own_reason.is_some() {
                // A build that has nothing to do with a registry is not to be told of one.
                continue;
            }
            let is_unasked = tier == ArchiveTier::NAME && !self.archive_policy(false).is_requested();
            let reason = if is_used { own_reason.or(off.as_deref()) } else { Some(self.build.tiers.switch) };
            if let Some(reason) = reason {
                if !is_unasked {
                    self.skip(tier, reason);
                }
                continue;
            }
            let Some(keys) = keys else { continue };
            if self.cache_is_down && tier != RegistryTier::NAME {
                continue;
            }
            let found = match tier {
                EngineTier::NAME => self.lookup_in_engine(keys).await?,
                RegistryTier::NAME => self.lookup_in_registry(keys).await?,
                _ => self.lookup_in_store(keys).await?.map(|Kept { image, entry }| {
                    let built = entry.manifest.created;
                    self.entry = Some(entry);
                    Hit::of(image, tier, Some(built))
                }),
            };
            if let Some(hit) = found {
                if hit.image.is_some() {
                    self.note(keys, &hit.id, hit.built)?;
                }
                return Ok(Some(hit));
            }
        }
        Ok(None)
    }

    async fn lookup_in_engine(&mut self, keys: &BuildKeys) -> Result<Option<Hit>, CommandError> {
        let Some(engine) = self.engine.clone() else { return Ok(None) };
        let clock = Instant::now();
        let notes = self.notes.clone();
        let tier = EngineTier::new(&notes, &engine);
        let mut answer = tier.find(keys.keys.image, self.youngest()).await;
        let mut is_named = false;
        if let Some((image, built)) = &answer.found {
            match self.place_elsewhere(keys, image, *built).await? {
                Elsewhere::Newer(reason) => answer = Answer::miss(reason),
                Elsewhere::Named => is_named = true,
                Elsewhere::Unknown => {}
            }
        }
        if let Some((image, _)) = &answer.found
            && let Err(error) = tier.name(image, &self.build.tags).await
        {
            answer = Answer::fault(error, "the engine cannot name the image");
        }
        self.is_expired |= answer.is_too_old();
        if answer.is_unknown() {
            match self.identity().explain(&self.notes, &keys.keys) {
                Ok(explanation) => {
                    let changes = explanation.and_then(|found| changes::brief(&found.changes));
                    answer.reason.extend(changes.map(|changes| format!(": {changes}")));
                }
                Err(error) => self.cache_fault(&error)?,
            }
        }
        self.answered(answer.record(EngineTier::NAME, clock.elapsed()));
        for fault in &answer.faults {
            match fault.downcast_ref() {
                Some(fault) => self.notes_fault(fault)?,
                None => self.cache_fault(fault.as_ref())?,
            }
        }
        Ok(answer
            .found
            .map(|(image, built)| Hit { is_named, ..Hit::of(image, EngineTier::NAME, Some(built)) }))
    }

    /// What is known elsewhere of the engine's image of the key. A rebuild by another machine may have replaced it.
    async fn place_elsewhere(
        &mut self,
        keys: &BuildKeys,
        image: &Image,
        built: Timestamp,
    ) -> Result<Elsewhere, CommandError> {
        let late = |what: &str| {
            format!(
                "{what} does not say in {MOST_ASKING:?} if it has a newer image; going on with the engine's"
            )
        };
        if self.registry_is_off().is_none() {
            let wants_push = self.wants_push();
            let asking = Box::pin(self.place_in_registry(keys, &image.id, built));
            let asked = if wants_push { Ok(asking.await) } else { timeout(MOST_ASKING, asking).await };
            match asked {
                Ok(elsewhere) => match elsewhere? {
                    Elsewhere::Unknown => {}
                    elsewhere => return Ok(elsewhere),
                },
                Err(_) => self.printer.warn(&late("the registry")),
            }
        }
        if self.settings.store.remote.is_some()
            && self.build.tiers.archive
            && !self.cache_is_down
            && let (Some(tier), Some(platform)) = (self.archive_tier().await?, keys.sole_platform())
        {
            let asking = tier.has_newer(keys.keys.image, platform, image, built);
            let Ok((is_newer, faults)) = timeout(MOST_ASKING, asking).await else {
                self.printer.warn(&late("the remote store"));
                return Ok(Elsewhere::Unknown);
            };
            faults.iter().try_for_each(|fault| self.cache_fault(fault))?;
            if is_newer {
                return Ok(Elsewhere::Newer("the store has a newer image of this key"));
            }
        }
        Ok(Elsewhere::Unknown)
    }

    /// When an image must have been built to be a hit, at the earliest.
    pub(super) fn youngest(&self) -> Option<Timestamp> {
        let age = self.settings.store.limits.max_age?;
        Timestamp::now().checked_sub(age).ok()
    }

    /// Which images of the key may be hits.
    pub(super) fn accepted(&self, keys: &BuildKeys) -> Accepted {
        // What cannot be read was reported when the engine's image was looked for.
        let noted = self.notes.image(keys.keys.image).ok().flatten();
        Accepted { since: self.youngest(), noted }
    }

    /// Returns `true` if the image that is built replaces what there was of its key, because the user wanted every step to run.
    pub(super) fn replaces_images(&self) -> bool {
        self.runs_every_step().is_some() || !self.build.no_cache_filter.is_empty()
    }

    async fn lookup_in_store(&mut self, keys: &BuildKeys) -> Result<Option<Kept>, CommandError> {
        let clock = Instant::now();
        let Some(tier) = self.archive_tier().await? else { return Ok(None) };
        let Some(platform) = keys.sole_platform() else { return Ok(None) };
        let meter = Arc::new(Meter::default());
        let wanted = (keys.keys.image, platform);
        let accepted = self.accepted(keys);
        let taking = tier.take(wanted, &self.build.tags, &accepted, &meter);
        let answer = transfer("loading the image", taking, &meter, self.session, self.printer).await?;
        self.is_expired |= answer.is_too_old();
        self.is_refused |= answer.found.is_none() && !answer.faults.is_empty();
        // Images are only looked for where nothing requests more: that is worth a line if it found something.
        let is_news = answer.found.is_some() || !answer.faults.is_empty();
        if is_news || answer.is_too_old() || self.archive_policy(false).is_requested() {
            self.answered(answer.record(ArchiveTier::NAME, clock.elapsed()));
        }
        for fault in &answer.faults {
            self.cache_fault(fault.as_ref())?;
        }
        Ok(answer.found)
    }

    /// A fault of the notes. Where they can be neither read nor written, nothing else can be in that directory.
    pub(super) fn notes_fault(&mut self, fault: &NotesError) -> Result<(), CommandError> {
        self.cache_is_down |= !matches!(fault, NotesError::Damaged { .. });
        self.cache_fault(fault)
    }

    pub(super) async fn finish_hit(&mut self, hit: Hit, keys: &BuildKeys) -> Result<(), CommandError> {
        let Hit { id, tier, image, is_named, built } = hit;
        if let Err(error) = self.identity().record_hit(&self.notes, &keys.keys, built, Timestamp::now()) {
            self.notes_fault(&error)?;
        }
        if let (Some(image), Some(platform)) = (image, keys.sole_platform())
            && tier != ArchiveTier::NAME
            && self.build.tiers.archive
            && !self.cache_is_down
        {
            // What is kept of it is of use, too, and not to be the first to go.
            let key = keys.keys.image.digest();
            let touched = self.session.store()?.touch_here(EntryKind::Image, platform, key);
            touched.or_else(|fault| self.cache_fault(&fault))?;
            if self.purpose.nodes.is_some() {
                self.find_entry(&image, keys).await?;
            }
        }
        self.record.steps = StepCounts { total: keys.steps, cached: keys.steps, imported: 0 };
        self.record.outcome = Outcome::ImageHit;
        self.record.hit_tier = Some(tier.to_owned());
        self.record.image_id = Some(id.clone());
        self.is_of_key = true;
        let is_missed =
            tier == EngineTier::NAME && (self.was_archiving(keys) || self.lacks_archive(keys).await?);
        let keeping = if is_missed { self.keep_built(keys, self.will_be_in_registry()).await? } else { None };
        self.push_hit(&id, tier, is_named, keys).await?;
        self.finish_keeping(keeping).await
    }

    /// Pushes an image that a tier had, where it is to be pushed and the registry does not have it.
    async fn push_hit(
        &mut self,
        id: &str,
        tier: &str,
        is_named: bool,
        keys: &BuildKeys,
    ) -> Result<(), CommandError> {
        if tier == RegistryTier::NAME || !self.wants_push() {
            return Ok(());
        }
        if !is_named {
            self.push(true).await?;
            self.publish(keys).await?;
        }
        if self.is_made_here(id).await {
            self.look_for_layers(Some(keys)).await?;
            self.keep_layers(Some(keys)).await?;
        }
        Ok(())
    }

    /// Whether the builder has made the image, and still has what it made of it, as far as is known.
    async fn is_made_here(&self, id: &str) -> bool {
        let made = match (self.known_builder().await, id.parse()) {
            (Ok(builder), Ok(id)) => builder.has_made(id),
            _ => false,
        };
        made && self.client.has_layers().await.unwrap_or(false)
    }

    /// Notes the image under its key, and when it was built if that is known; a cache that cannot be written costs a warning.
    fn note(&mut self, keys: &BuildKeys, id: &str, built: Option<Timestamp>) -> Result<(), CommandError> {
        let Some(engine) = &self.engine else { return Ok(()) };
        let tier = EngineTier::new(&self.notes, engine);
        match tier.note(keys.keys.image, keys.keys.dependency, id, built) {
            Ok(()) => Ok(()),
            Err(error) => self.notes_fault(&error),
        }
    }

    /// Notes the image that was built, and begins to keep it.
    pub(super) async fn note_built(&mut self, keys: &BuildKeys) -> Result<Option<Keeping>, CommandError> {
        let has_image = self.build.outputs.iter().any(|output| output.kind.is_image());
        let (Some(id), true) = (self.record.image_id.clone(), has_image && self.build.tiers.are_any()) else {
            return Ok(None);
        };
        let changed = keys.changed().await;
        if !changed.is_empty() {
            let names = changes::first_names(&changed);
            self.printer.warn(&format!(
                "files of the context changed while the image was built ({names}): it is not kept as a hit"
            ));
            return Ok(None);
        }
        self.is_of_key = true;
        if self.replaces_images() {
            let (image, dependency) = (keys.keys.image, keys.keys.dependency);
            if let Err(error) = self.notes.note_rebuild(image, dependency, self.record.started) {
                self.notes_fault(&error)?;
            }
        }
        let inputs = keys.published(&self.settings.seal).await;
        if let Err(error) = self.identity().record(&self.notes, &keys.keys, &inputs, Timestamp::now()) {
            self.notes_fault(&error)?;
        }
        if self.engine.is_none() {
            return Ok(None);
        }
        self.note(keys, &id, Some(Timestamp::now()))?;
        self.note_layers(keys, &id).await?;
        self.keep_built(keys, self.will_be_in_registry()).await
    }

    /// Returns `true` if the image will be found by its key in the registry that it is pushed to.
    pub(super) fn will_be_in_registry(&self) -> bool {
        self.wants_push() && self.build.tiers.registry && !self.settings.store.terms.read_only
    }
}
