//! Tests of the stages without an engine: there is no builder, and Docker's API is a table of responses.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use clap::Parser;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;

use super::job::Job;
use super::keyed::Keyed;
use super::lookup::Lookup;
use super::phases::PhaseClock;
use super::record::{FinishedBuild, ImageOrigin};
use super::{BuildPurpose, Deadline, read_inputs, record, run_stages};
use crate::buildkit::status::StatusUpdate;
use crate::buildkit::trace::Trace;
use crate::buildkit::{ApiVersion, Client, EngineProduct};
use crate::cli::{Cli, Command};
use crate::ledger::{self, BuildOutcome, BuildRecord, TierOutcome, TierRecord};
use crate::notes::ImageAge;
use crate::pipeline::inputs::Inputs;
use crate::pipeline::reporter::{BuildEvent, Reporter, StepProgress, TransferProgress};
use crate::pipeline::session::{EngineConnection, Session};
use crate::plan::{BuildSettings, JobSettings};
use crate::settings::{Environment, Settings};
use crate::tiers::Hit;

const ID: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";

/// A reporter that records what was reported.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn push(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn warnings(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter_map(|line| line.strip_prefix("warning: ")).map(str::to_owned).collect()
    }
}

impl Reporter for Recorder {
    fn report(&self, event: &BuildEvent<'_>) {
        if let BuildEvent::Tier(TierRecord { tier, reason, .. }) = event {
            self.push(format!("{tier}: {reason}"));
        }
    }

    fn warn(&self, text: &str) {
        self.push(format!("warning: {text}"));
    }

    fn note(&self, _: &str) {}

    fn message(&self, text: &str) {
        self.push(text);
    }

    fn shows_notes(&self) -> bool {
        true
    }

    fn transfer(&self, _: &str) -> Box<dyn TransferProgress> {
        Box::new(NoProgress(Trace::default()))
    }

    fn steps(&self, _: bool) -> Box<dyn StepProgress> {
        Box::new(NoProgress(Trace::default()))
    }

    fn stdout(&self) -> Box<dyn Write + Send> {
        Box::new(std::io::sink())
    }

    fn stderr(&self) -> Box<dyn Write + Send> {
        Box::new(std::io::sink())
    }
}

struct NoProgress(Trace);

impl TransferProgress for NoProgress {
    fn show(&mut self, _: (u64, u64)) {}

    fn finish(self: Box<Self>) {}
}

impl StepProgress for NoProgress {
    fn update(&mut self, update: StatusUpdate, _: Timestamp) {
        self.0.apply(update);
    }

    fn tick(&mut self, _: Timestamp) {}

    fn trace(&self) -> &Trace {
        &self.0
    }

    fn finish(self: Box<Self>, _: Timestamp) -> Trace {
        self.0
    }
}

/// The engine's responses: text that the request's path contains, status and body. Other requests get 404.
type Answers = &'static [(&'static str, u16, &'static str)];

/// A project with a Dockerfile, its settings, and an engine with a table of responses.
struct Project {
    directory: TempDir,
    settings: JobSettings,
    build: BuildSettings,
    purpose: BuildPurpose,
    reporter: Recorder,
    requests: Arc<Mutex<Vec<String>>>,
    phases: PhaseClock,
}

impl Project {
    fn new(flags: &[&str], dockerfile: &str, answers: Answers) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        fs::create_dir(at("app")).unwrap();
        fs::write(at("app/Dockerfile"), dockerfile).unwrap();
        fs::write(at("app/file"), "content").unwrap();
        let (context, cache, host) = (at("app"), at("cache"), format!("unix://{}", at("docker.sock")));
        let command = ["larder", "--cache-dir", &cache, "--host", &host, "build", "-t", "app:1", &context];
        let cli = Cli::try_parse_from(command.iter().chain(flags)).unwrap();
        let Command::Build(args) = &cli.command else { unreachable!() };
        let environment = Environment::default();
        let settings = Settings::resolve(&cli.global, &environment, true).unwrap();
        let build = BuildSettings::resolve(&args.build, &settings, &environment).unwrap();
        let requests = Arc::default();
        serve(&directory.path().join("docker.sock"), answers, Arc::clone(&requests));
        let (settings, purpose, reporter) = (settings.job, BuildPurpose::default(), Recorder::default());
        Self { directory, settings, build, purpose, reporter, requests, phases: PhaseClock::start() }
    }

    async fn inputs(&self) -> Inputs {
        read_inputs(&self.build, &self.settings).await.unwrap()
    }

    fn connection(&self) -> EngineConnection {
        let api = ApiVersion { major: 1, minor: 41 };
        let product = EngineProduct::Docker { api, server: "Docker/20.10".to_owned() };
        let client = Client::without_builder(&self.settings.endpoint, product);
        EngineConnection::new(client, &self.settings).unwrap()
    }

    fn job<'a>(
        &'a self,
        session: &'a Session<'a>,
        inputs: &'a Inputs,
        connection: &'a EngineConnection,
    ) -> Job<'a> {
        let deadline = Deadline::after(None);
        let Self { build, purpose, reporter, phases, .. } = self;
        Job::new(build, purpose, session, inputs, connection, reporter, (deadline, phases))
    }

    /// Runs the stages up to the lookup of whole images.
    async fn look_up(&self) -> (Keyed, Lookup, Result<(), String>) {
        let (session, inputs, connection) =
            (Session::new(&self.settings), self.inputs().await, self.connection());
        let job = self.job(&session, &inputs, &connection);
        let (keyed, mut lookup) = (Box::pin(Keyed::compute(&job)).await.unwrap(), Lookup::default());
        let end = Box::pin(lookup.run(&job, &keyed)).await.map_err(|error| error.to_string());
        (keyed, lookup, end)
    }

    /// Runs all stages, and writes the record.
    async fn run(&self) -> (BuildRecord, Result<(), String>) {
        let session = Session::new(&self.settings);
        self.run_in(&session).await
    }

    async fn run_in(&self, session: &Session<'_>) -> (BuildRecord, Result<(), String>) {
        let (inputs, connection) = (self.inputs().await, self.connection());
        let (job, finished) = Box::pin(run_stages(self.job(session, &inputs, &connection))).await;
        let record = finished.record(&job);
        record::write(&record, &job, &finished.end).unwrap();
        (record, finished.end.map_err(|error| error.to_string()))
    }

    /// Records an image of the project's key that was built `age` ago.
    async fn note_image(&self, age: SignedDuration) {
        let (keyed, ..) = self.look_up().await;
        let keys = &keyed.keys().expect("the keys are known").keys;
        let built = Timestamp::now().checked_sub(age).unwrap();
        let notes = self.settings.notes();
        notes.note_image(keys.image, keys.dependency, ID, Some(ImageAge::new(built, None)), built).unwrap();
        self.reporter.0.lock().unwrap().clear();
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn ledger(&self) -> Vec<BuildRecord> {
        ledger::read(&self.settings.notes().ledger_path(), usize::MAX, |_| true).unwrap().builds
    }
}

/// Responds to requests on a socket, one per connection, until the process ends.
fn serve(socket: &Path, answers: Answers, requests: Arc<Mutex<Vec<String>>>) {
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let request = lines.next().unwrap_or_default();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let found = answers.iter().find(|(path, ..)| request.contains(path));
            let (status, body) = found.map_or((404, "{}"), |(_, status, body)| (*status, *body));
            requests.lock().unwrap().push(request);
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
            );
            stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes()).unwrap();
        }
    });
}

/// A Dockerfile without a base image, so that no registry is queried for one.
const PLAIN: &str = "FROM scratch\nCOPY file /file\n";
const IMAGE: &str = r#"{"Id":"sha256:1111111111111111111111111111111111111111111111111111111111111111","RepoTags":[],"Os":"linux","Architecture":"amd64"}"#;
const HAS_IMAGE: Answers = &[("/tag?", 201, ""), ("/images/sha256:1111", 200, IMAGE)];

#[tokio::test]
async fn an_image_of_the_key_in_the_engine_is_named_and_recorded_as_a_hit() {
    let project = Project::new(&[], PLAIN, HAS_IMAGE);
    project.note_image(SignedDuration::from_hours(1)).await;
    let (record, end) = project.run().await;
    end.unwrap();
    assert_eq!((record.outcome, record.hit_tier.as_deref()), (BuildOutcome::ImageHit, Some("engine")));
    assert_eq!((record.image_id.as_deref(), &*record.names), (Some(ID), &["app:1".to_owned()][..]));
    assert_eq!((record.steps.total, record.steps.cached), (1, 1));
    assert!(
        project
            .requests()
            .iter()
            .any(|request| request.contains("/tag?repo=docker.io%2Flibrary%2Fapp&tag=1"))
    );
    assert_eq!(project.ledger().len(), 1);
    assert!(project.reporter.warnings().is_empty(), "{:?}", project.reporter.warnings());
}

#[tokio::test]
async fn a_removed_image_is_a_miss_and_a_failing_engine_is_a_miss_with_a_warning() {
    for (answers, reason, warnings) in [
        (&[][..], "the engine no longer has the image of this key", 0),
        (&[("/images/", 500, r#"{"message":"broken"}"#)], "the engine cannot be queried for the image", 1),
    ] {
        let project = Project::new(&[], PLAIN, answers);
        project.note_image(SignedDuration::from_hours(1)).await;
        let (_, lookup, end) = project.look_up().await;
        end.unwrap();
        assert!(lookup.hit.is_none());
        assert_eq!((lookup.tiers[0].outcome, lookup.tiers[0].reason.as_str()), (TierOutcome::Miss, reason));
        assert_eq!(project.reporter.warnings().len(), warnings, "{:?}", project.reporter.warnings());
    }
}

#[tokio::test]
async fn a_fault_of_a_tier_fails_a_strict_build_and_is_recorded() {
    let broken: Answers = &[("/images/", 500, r#"{"message":"broken"}"#)];
    let project = Project::new(&["--strict"], PLAIN, broken);
    project.note_image(SignedDuration::from_hours(1)).await;
    let (record, end) = project.run().await;
    assert!(end.unwrap_err().contains("broken"));
    assert_eq!(record.outcome, BuildOutcome::Failed);
    assert_eq!(record.tiers[0].tier, "engine", "earlier answers are recorded");
}

#[tokio::test]
async fn an_image_older_than_max_age_makes_every_step_run() {
    let project = Project::new(&["--max-age", "1h"], PLAIN, HAS_IMAGE);
    project.note_image(SignedDuration::from_hours(2)).await;
    let (session, inputs, connection) =
        (Session::new(&project.settings), project.inputs().await, project.connection());
    let (_, lookup, _) = project.look_up().await;
    let job = project.job(&session, &inputs, &connection);
    assert!(lookup.hit.is_none());
    assert_eq!(lookup.runs_every_step(&job), Some("--max-age"));
}

#[tokio::test]
async fn tiers_that_cannot_have_the_image_are_not_queried() {
    for (flags, dockerfile, reason) in [
        (&["--no-cache"][..], PLAIN, "--no-cache"),
        (&["--no-cache-filter", "x"], PLAIN, "--no-cache-filter"),
        (&["--tiers", "layers"], PLAIN, "it is not among the requested tiers"),
        (
            &[],
            "FROM scratch\nADD https://registry.invalid/x /x\n",
            "ADD of a remote address, or a SOURCE_DATE_EPOCH that is not a number: only the engine can read the source",
        ),
    ] {
        let project = Project::new(flags, dockerfile, HAS_IMAGE);
        if dockerfile == PLAIN {
            // Without the flag this would be a hit.
            project.note_image(SignedDuration::from_hours(1)).await;
        }
        let (_, lookup, end) = project.look_up().await;
        end.unwrap();
        assert_eq!(
            (lookup.tiers[0].outcome, lookup.tiers[0].reason.as_str()),
            (TierOutcome::Skipped, reason)
        );
        assert!(project.requests().is_empty(), "{:?}", project.requests());
    }
}

#[tokio::test]
async fn unreadable_notes_cause_one_warning_and_the_store_is_not_queried() {
    let project = Project::new(&["--enable-cache"], PLAIN, HAS_IMAGE);
    fs::create_dir(project.directory.path().join("cache")).unwrap();
    fs::write(project.directory.path().join("cache/v1"), "no directory").unwrap();
    let (_, lookup, end) = project.look_up().await;
    end.unwrap();
    let tier_names: Vec<&str> = lookup.tiers.iter().map(|tier| tier.tier.as_str()).collect();
    assert_eq!(tier_names, ["engine"]);
    let warnings = project.reporter.warnings();
    assert!(warnings.len() == 1 && warnings[0].ends_with("going on without it"), "{warnings:?}");
}

#[tokio::test]
async fn the_time_spent_on_a_failing_registry_is_part_of_the_layer_lookup() {
    let project = Project::new(&["--cache-repo", "127.0.0.1:1/caches"], PLAIN, &[]);
    let (session, inputs, connection) =
        (Session::new(&project.settings), project.inputs().await, project.connection());
    let job = project.job(&session, &inputs, &connection);
    let keyed = Box::pin(Keyed::compute(&job)).await.unwrap();
    let caches = job.find_layer_caches(&keyed, &Lookup::default()).await.unwrap();
    assert!(caches.fault.is_some() && caches.is_unreachable && caches.imports().is_empty());
    assert!(!caches.elapsed.is_zero());
}

#[tokio::test]
async fn a_build_that_the_engine_rejects_is_recorded_as_failed_with_earlier_answers() {
    let project = Project::new(&[], PLAIN, &[]);
    let (record, end) = project.run().await;
    end.unwrap_err();
    assert_eq!((record.outcome, record.image_id), (BuildOutcome::Failed, None));
    assert!(record.error.is_some());
    let tier_names: Vec<&str> = record.tiers.iter().map(|tier| tier.tier.as_str()).collect();
    assert_eq!(tier_names[0], "engine");
}

#[tokio::test]
async fn a_build_that_times_out_ends_between_two_stages_and_is_recorded() {
    let project = Project::new(&[], PLAIN, HAS_IMAGE);
    let (session, inputs, connection) =
        (Session::new(&project.settings), project.inputs().await, project.connection());
    let late = Deadline::after(Some(std::time::Duration::ZERO));
    let job = Job { deadline: late, ..project.job(&session, &inputs, &connection) };
    let (job, finished) = Box::pin(run_stages(job)).await;
    let record = finished.record(&job);
    assert_eq!((record.outcome, record.tiers.len()), (BuildOutcome::Failed, 0));
    assert!(record.error.unwrap().starts_with("the build took longer than"));
}

#[tokio::test]
async fn an_interrupted_build_tags_nothing_and_is_recorded() {
    let project = Project::new(&[], PLAIN, HAS_IMAGE);
    project.note_image(SignedDuration::from_hours(1)).await;
    let (record, end) = project.run_in(&Session::interrupted(&project.settings)).await;
    assert_eq!((record.outcome, end), (BuildOutcome::Interrupted, Err("interrupted".to_owned())));
    assert!(!project.requests().iter().any(|request| request.contains("/tag?")));
    assert_eq!(project.ledger()[0].outcome, BuildOutcome::Interrupted);
}

#[tokio::test]
async fn a_record_depends_only_on_the_outcomes_of_the_stages() {
    let project = Project::new(&[], PLAIN, HAS_IMAGE);
    let (session, inputs, connection) =
        (Session::new(&project.settings), project.inputs().await, project.connection());
    let job = project.job(&session, &inputs, &connection);
    let keyed = Box::pin(Keyed::compute(&job)).await.unwrap();
    let hit = Hit {
        id: ID.to_owned(),
        tier: "registry",
        image: None,
        age: None,
        is_named: true,
        digest: Some("sha256:2".to_owned()),
        entry: None,
    };
    let origin = ImageOrigin::CacheHit(Box::new(super::cache_hit::CacheHit::new(hit)));
    let finished = FinishedBuild {
        keyed: Some(keyed),
        lookup: Lookup::default(),
        origin,
        found_builds: super::FoundBuilds::None,
        end: Ok(()),
    };
    let record = finished.record(&job);
    assert_eq!((record.outcome, record.hit_tier.as_deref()), (BuildOutcome::ImageHit, Some("registry")));
    assert_eq!(record.more["containerimage.digest"], "sha256:2");
    let end = Err(super::PipelineError::Cancelled);
    let interrupted = FinishedBuild { end, ..finished };
    let record = interrupted.record(&job);
    assert_eq!(record.outcome, BuildOutcome::Interrupted);
    assert_eq!(record.error.as_deref(), Some("interrupted; the build was cancelled"));
}
