//! `larder build`: settings → inputs → keys → tiers → BuildKit → ledger → summary.

mod archiving;
mod auto_mounts;
mod bases;
mod blocking;
mod borrowed_name;
mod closing;
mod confidential;
mod explain;
mod exports;
mod files;
mod foreseen;
mod import_watch;
mod inputs;
mod kept_layers;
mod keyed_names;
mod keys;
mod layers;
mod mounts;
mod own_files;
mod place;
mod push;
mod registry;
mod request;
mod result_file;
mod run;
mod several;
mod solving;
mod steps;
mod unneeded;
mod unnoticed;
mod visited;
mod whole;
mod witness;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::json;

use super::base::{args_of_base, ensure};
use super::error::{CommandError, ErrorKind, chain};
use super::registries::Registries;
use super::session::{EngineConnection, Session};
use super::speak;
use super::store::{is_news, warn_of_unknown_branch};
use crate::buildkit::Client;
use crate::buildkit::trace::Trace;
use crate::cli::{BuildArgs, BuildCommandArgs};
use crate::context::ContextError;
use crate::dockerfile::{Dockerfile, InstructionKind, ResolveError};
use crate::engine::Engine;
use crate::ledger::{BaseRecord, BuildRecord, TierOutcome, TierRecord, millis};
use crate::mounts::TargetMount;
use crate::notes::Notes;
use crate::output::Printer;
use crate::registry::ImageRef;
use crate::settings::{BuildSettings, ProgressMode, Settings, base_repository};
use crate::store::{Entry, RunFlags, StoreError};
use closing::{lanes_record, record_failed_base};
use inputs::InputError;
use layers::LayerCaches;
use own_files::withhold;
use whole::Hit;

pub(super) use bases::{Base, Lookup};
pub(super) use explain::{Explanation, Identity, Past};
pub(super) use foreseen::{Foreseen, ForeseenHit, foresee};
pub(super) use inputs::Inputs;
pub(super) use keyed_names::KeyedNames;
pub(super) use keys::{BuildKeys, NoKeys, compute as compute_keys, options};
pub(super) use run::{Deadline, Progress, show};
pub(super) use several::{NamedBuild, images, known_images};
pub(super) use visited::{VisitedBuild, is_of_visit};

/// The build argument that a base image is handed on by.
const BASE_IMAGE: &str = "BASE_IMAGE";

pub(super) async fn run(
    args: &BuildCommandArgs,
    session: &Session<'_>,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let (settings, environment) = (session.settings, session.environment);
    let BuildCommandArgs { build, more, base, base_repo, base_requirements } = args;
    if more.is_empty() {
        let mut build = build.clone();
        let mut purpose = Purpose::default();
        if let Some(dockerfile) = base {
            speak(printer, ProgressMode::resolve(&build, settings, environment)?);
            let repository = base_repository(("base-repo", base_repo.as_deref()), settings, environment)?;
            let of_base = args_of_base(dockerfile, &build);
            if build.source.build_arg.iter().any(|given| is_base_image(given)) {
                return Err(CommandError::config_line(format!("--base, and --build-arg {BASE_IMAGE}"))
                    .hint("--base hands its image on as BASE_IMAGE: leave one of the two out"));
            }
            let making = ensure(&of_base, repository, base_requirements, session, *printer);
            let (base, failed) = match Box::pin(making).await {
                Ok(made) => made,
                Err(error) => {
                    if let Some(path) =
                        build.metadata_file.as_deref().filter(|_| !error.kind.is_before_build())
                    {
                        record_failed_base(path, &error)?;
                    }
                    return Err(error);
                }
            };
            if let Some(error) = failed {
                // An image that is built and cannot be pushed is of use here all the same.
                printer.warn(&format!("{}; going on with what the engine has", error.cause));
            }
            build.source.build_arg.push(format!("{BASE_IMAGE}={}", base.reference));
            purpose.base = Some(base);
        }
        let build = BuildSettings::resolve(&build, settings, environment)?;
        return image(&build, &purpose, session, printer).await.map(drop);
    }
    if base.is_some() {
        return Err(CommandError::config_line("--base is for one image, and several are named")
            .hint("larder base build prints a reference that --build-arg BASE_IMAGE=… takes"));
    }
    let names: Vec<&str> = [&build.context].into_iter().chain(more).map(String::as_str).collect();
    several::check(&names, build, settings)?;
    let mut builds = Vec::new();
    for name in names {
        let args = BuildArgs { context: name.to_owned(), ..build.clone() };
        let build = BuildSettings::resolve(&args, settings, environment)?;
        builds.push(NamedBuild { name: name.to_owned(), build, purpose: Purpose::default() });
    }
    images(&builds, session, *printer).await.map(drop)
}

/// Whether a build argument, as it was typed, is the base image.
fn is_base_image(given: &str) -> bool {
    given.split('=').next() == Some(BASE_IMAGE)
}

/// What an image is built for.
#[derive(Debug, Clone, Default)]
pub(super) struct Purpose {
    /// The image that it stands on, if that was made before.
    pub(super) base: Option<BaseRecord>,
    /// How it is to be run, which its entry is to tell.
    pub(super) run: Option<RunFlags>,
    /// The number of engines that it is to be run on, if there are several: then it is handed to them by its entry.
    pub(super) nodes: Option<NonZeroU32>,
    /// Its names carry a key, and are given after the build.
    pub(super) keyed: Option<Arc<KeyedNames>>,
}

/// What a build came to.
pub(super) struct Built {
    pub(super) record: BuildRecord,
    /// The entry that holds the image, where it was kept or looked for.
    pub(super) entry: Option<Entry>,
    /// The names that it has.
    pub(super) names: Vec<ImageRef>,
}

/// Builds, unless a cache has the image.
pub(super) async fn image(
    build: &BuildSettings,
    purpose: &Purpose,
    session: &Session<'_>,
    printer: &mut Printer,
) -> Result<Built, CommandError> {
    let settings = session.settings;
    let (clock, deadline) = (Instant::now(), Deadline::after(build.timeout));
    speak(printer, build.progress);
    if let (Some(tag), true) =
        (build.source.key_tags.iter().find(|tag| is_like_a_name(tag)), build.tags.is_empty())
    {
        printer.warn(&format!(
            "--tags {tag} names no image, but is a word in its key and what larder.yaml's images are selected by: did you mean --tag {tag}?"
        ));
    }
    for (flag, path) in [("iidfile", &build.iid_file), ("metadata-file", &build.metadata_file)] {
        path.as_ref().map_or(Ok(()), |path| result_file::clear(flag, path))?;
    }
    warn_of_unknown_branch(settings, *printer);
    let mut inputs = read_inputs(build, settings)?;
    if purpose.base.is_some() && !takes_base(&inputs) {
        return Err(CommandError::config_line("the Dockerfile does not take the base image")
            .hint("begin it with ARG BASE_IMAGE and FROM ${BASE_IMAGE}"));
    }
    let connecting = Box::pin(connected(&mut inputs, build, session, *printer));
    let connection = deadline.bound(connecting).await??;
    let mut job = Job::new(build, purpose, session, &inputs, &connection, *printer);
    job.deadline = deadline;
    job.record.base.clone_from(&purpose.base);
    job.record.lanes = Some(lanes_record(&settings.lanes));
    job.record.names = build.tags.iter().map(ImageRef::familiar).collect();
    let result = Box::pin(job.run()).await;
    let closed = job.close(&result, millis(clock.elapsed()));
    result.and(closed)?;
    Ok(Built { record: job.record, entry: job.entry, names: job.build.tags.clone() })
}

/// Returns the connection to the engine, after adding the mounts of `--auto-mounts` to the Dockerfile: they depend on the base
/// images.
pub(super) async fn connected(
    inputs: &mut Inputs,
    build: &BuildSettings,
    session: &Session<'_>,
    printer: Printer,
) -> Result<Arc<EngineConnection>, CommandError> {
    let connection = session.connection(Some(printer)).await?;
    let lookup = Lookup::of(&connection, build);
    auto_mounts::add(inputs, build, &lookup, &connection.client, printer).await?;
    Ok(connection)
}

/// Returns `true` if a word reads like the name of an image.
fn is_like_a_name(tag: &str) -> bool {
    tag.contains([':', '/']) && tag.parse::<ImageRef>().is_ok()
}

/// Whether a Dockerfile that larder can read has the argument for a base image where `FROM` sees it.
fn takes_base(inputs: &Inputs) -> bool {
    let Some((_, text)) = inputs.dockerfile_text() else { return true };
    // What is wrong with it is told by the build.
    let Ok(dockerfile) = Dockerfile::parse(text) else { return true };
    dockerfile.global_args.iter().any(|instruction| match &instruction.kind {
        InstructionKind::Arg(declared) => declared.iter().any(|(name, _)| name == BASE_IMAGE),
        _ => false,
    })
}

/// Finds what a build reads, without files of larder.
pub(super) fn read_inputs(build: &BuildSettings, settings: &Settings) -> Result<Inputs, CommandError> {
    let mut inputs = Inputs::read(&build.source).map_err(|error| input_error(&error))?;
    withhold(&mut inputs, build, settings).map_err(|error| {
        CommandError::config(&error)
            .hint("leave it out of COPY, ADD and mounts, or move it out of the build context")
    })?;
    Ok(inputs)
}

fn input_error(error: &InputError) -> CommandError {
    let hint = match error {
        InputError::NoDockerfile(_) => {
            "name it with --file, or give the directory that holds it as the build context"
        }
        InputError::EmptyStdin | InputError::TwoDockerfiles => {
            "larder build - < Dockerfile, or --file - with a directory"
        }
        InputError::Dockerfile(..) | InputError::IgnoreFile(..) => "check the file and its permissions",
        InputError::NotText(_) => {
            "save it as UTF-8; file and iconv tell and change what a file is written in"
        }
        InputError::Stdin(_) => "larder build - reads a tar archive or a Dockerfile from stdin",
    };
    CommandError::config(error).hint(hint)
}

/// One `larder build` in the making.
struct Job<'a> {
    session: &'a Session<'a>,
    settings: &'a Settings,
    build: &'a BuildSettings,
    purpose: &'a Purpose,
    inputs: &'a Inputs,
    connection: &'a EngineConnection,
    client: &'a Client,
    engine: Option<Engine>,
    notes: Notes,
    registries: &'a Registries,
    record: BuildRecord,
    printer: Printer,
    /// When the build is given up; what comes after it is not.
    deadline: Deadline,
    /// What larder's own reading of the Dockerfile has to say, should the build fail.
    finding: Option<String>,
    /// The faults of the cache that were told.
    told: Vec<String>,
    /// What was built before the build itself, for the mounts' sake.
    prepared: Trace,
    /// Mounts whose steps are expected to be layers of the builder.
    unneeded: Vec<TargetMount>,
    /// The steps with mounts that ran, by their names.
    mounting_steps: Vec<String>,
    /// Those of them that were killed.
    killed_steps: Vec<String>,
    /// Why the keys cannot be known, if they cannot.
    no_keys: Option<String>,
    /// The entry that holds the image, once it is known.
    entry: Option<Entry>,
    /// A registry could not be reached when whole images were looked for.
    registry_is_down: bool,
    /// A registry has failed: nothing more is taken from it.
    registry_is_faulty: bool,
    /// What a registry has of its layers.
    layers: LayerCaches,
    /// What was built, or found, is known to be the image of the key.
    is_of_key: bool,
    /// There was one of this key that could not be loaded.
    is_refused: bool,
    /// There is an image of this key, but an older one than is wanted.
    is_expired: bool,
    /// The cache's directory cannot be used.
    cache_is_down: bool,
}

impl<'a> Job<'a> {
    fn new(
        build: &'a BuildSettings,
        purpose: &'a Purpose,
        session: &'a Session<'a>,
        inputs: &'a Inputs,
        connection: &'a EngineConnection,
        printer: Printer,
    ) -> Self {
        let settings = session.settings;
        Self {
            notes: settings.notes(),
            registries: &connection.registries,
            engine: connection.engine.clone(),
            record: BuildRecord::started(Timestamp::now()),
            session,
            settings,
            connection,
            build,
            purpose,
            inputs,
            client: &connection.client,
            printer,
            deadline: Deadline::after(build.timeout),
            finding: None,
            told: Vec::new(),
            prepared: Trace::default(),
            unneeded: Vec::new(),
            mounting_steps: Vec::new(),
            killed_steps: Vec::new(),
            no_keys: None,
            entry: None,
            is_refused: false,
            is_of_key: false,
            registry_is_down: false,
            registry_is_faulty: false,
            layers: LayerCaches::default(),
            is_expired: false,
            cache_is_down: false,
        }
    }
}

impl Job<'_> {
    async fn run(&mut self) -> Result<(), CommandError> {
        if let Some(fault) = &self.settings.cache_fault {
            self.cache_fault(&**fault)?;
        }
        let (deadline, interrupts) = (self.deadline, self.session.interrupts());
        let (keys, hit) = deadline.bound(interrupts.clone().bound(Box::pin(self.look()))).await???;
        if let (Some(hit), Some(keys)) = (hit, &keys) {
            return Box::pin(self.finish_hit(hit, keys)).await;
        }
        // Visits of mounts know the deadline, so that they can leave the builder in order.
        let mounts = self.restore_mounts(keys.as_ref()).await?;
        if interrupts.has_come() {
            return Err(CommandError::interrupted("interrupted"));
        }
        let mut built = self.build_it(keys.as_ref()).await;
        if built.is_ok()
            && let Err(error) = self.give_names().await
        {
            built = Err(error);
        }
        let keeping = match (&built, &keys) {
            (Ok(_), Some(keys)) => self.note_built(keys).await,
            _ => Ok(None),
        };
        // Also of a build that failed: what it has downloaded is of use to the next one.
        let is_over = matches!(&built, Err(error) if error.kind == ErrorKind::Interrupted);
        let saved =
            if is_over { Ok(()) } else { self.save_mounts(mounts, keys.as_ref(), built.is_err()).await };
        let (mut keeping, wants_push) = (keeping?, built?);
        let mut pushed = self.push(wants_push).await;
        let mut is_published = false;
        if let (true, true, Some(keys)) = (self.wants_push(), pushed.is_ok(), &keys) {
            pushed = self.publish(keys).await.map(|is| is_published = is);
        }
        if pushed.is_ok() {
            pushed = self.keep_layers(keys.as_ref()).await;
        }
        if !matches!(&pushed, Err(error) if error.kind == ErrorKind::Interrupted) {
            // An image that was left to its registry, which refused it.
            if let (false, None, true, Some(keys)) =
                (is_published, &keeping, self.will_be_in_registry(), &keys)
            {
                keeping = self.keep_built(keys, false).await?;
            }
            self.finish_keeping(keeping).await?;
        }
        pushed.and(saved)
    }

    /// Looks for the image in the caches, and if there is none for its layers.
    async fn look(&mut self) -> Result<(Option<BuildKeys>, Option<Hit>), CommandError> {
        let keys = self.keys().await?;
        self.printer.event("keys", &json!({
            "image_key": self.record.image_key, "dependency_key": self.record.dependency_key, "reason": self.no_keys,
        }));
        self.create_repositories().await?;
        self.check_names().await;
        let hit = self.lookup(keys.as_ref()).await?;
        if hit.is_none() {
            self.look_for_layers(keys.as_ref()).await?;
        }
        Ok((keys, hit))
    }

    /// The keys, if they can be known beforehand; why not goes into the record.
    async fn keys(&mut self) -> Result<Option<BuildKeys>, CommandError> {
        let lookup = Lookup {
            engine: self.engine.as_ref(),
            registries: self.registries,
            pull: self.build.source.pull,
        };
        let seal = &self.settings.seal;
        match compute_keys(self.build, self.inputs, &lookup, self.client, &self.notes, seal).await {
            Ok(keys) => {
                self.record.image_key = Some(keys.keys.image);
                self.record.dependency_key = Some(keys.keys.dependency);
                if !keys.unpinned.is_empty() {
                    self.printer.warn(&format!(
                        "no digest is known of the base image {}: a newer one would go unnoticed",
                        keys.unpinned.join(", ")
                    ));
                }
                for fault in &keys.faults {
                    self.cache_fault(fault)?;
                }
                if !keys.withheld.is_empty() {
                    self.printer.note(&format!(
                        "left out of the build context, for larder wrote it: {}\n",
                        keys.withheld.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
                    ));
                }
                Ok(Some(keys))
            }
            Err(error) => {
                let reason = chain(&error);
                match &error {
                    // The build itself will say that.
                    NoKeys::Context(ContextError::NotUtf8 { .. }) => {}
                    NoKeys::Context(_) if self.build.strict => return Err(CommandError::cache(&error)),
                    NoKeys::Resolve(error @ ResolveError::UnknownTarget { .. }) => {
                        self.finding = Some(chain(error));
                    }
                    NoKeys::Syntax(error) => self.finding = Some(chain(error)),
                    NoKeys::Context(error) => self.finding = Some(chain(error)),
                    _ => {}
                }
                self.no_keys = Some(reason);
                Ok(None)
            }
        }
    }

    /// What this build is compared with others by.
    fn identity(&self) -> Identity<'_> {
        Identity { names: &self.build.tags, lane: self.settings.lanes.lanes.own(), seal: &self.settings.seal }
    }

    /// A warning, once for each fault, or the end under `--strict`.
    fn cache_fault(&mut self, fault: &(dyn std::error::Error + 'static)) -> Result<(), CommandError> {
        if self.build.strict {
            return Err(CommandError::cache(fault));
        }
        if std::iter::successors(Some(fault), |error| error.source())
            .find_map(|error| error.downcast_ref::<StoreError>())
            .is_some_and(|fault| !is_news(fault))
        {
            return Ok(());
        }
        let fault = chain(fault);
        if !self.told.contains(&fault) {
            self.printer.warn(&format!("{fault}; going on without it"));
            self.told.push(fault);
        }
        Ok(())
    }

    fn skip(&mut self, tier: &str, reason: &str) {
        self.answered(TierRecord {
            tier: tier.to_owned(),
            outcome: TierOutcome::Skipped,
            reason: reason.to_owned(),
            bytes: 0,
            millis: 0,
        });
    }

    /// Records what a tier has answered.
    fn answered(&mut self, answer: TierRecord) {
        self.printer.event("tier", &answer);
        self.record.tiers.push(answer);
    }

    /// The flag that makes BuildKit run every step, if one does.
    fn runs_every_step(&self) -> Option<&'static str> {
        // Layers of an image that is too old would make just that image again.
        self.build.runs_every_step().or(self.is_expired.then_some("--max-age"))
    }

    /// Whether what the engine says can hold the value of a build argument.
    fn shows_values(&self) -> bool {
        !self.build.source.build_args.is_empty()
    }
}
