//! Tests of the formats of `larder stats`.

use jiff::Timestamp;

use super::*;
use crate::ledger::{
    BuildOutcome, CiJobRecord, LanesRecord, StepCountsRecord, StepEntry, TierOutcome, TierRecord,
};
use crate::published_schema;

/// Returns two builds: one that ran a step, and a hit, with characters that every format has to escape.
fn builds() -> [BuildRecord; 2] {
    let step = |source: &str, cached, millis| StepEntry {
        source: Some(source.to_owned()),
        cached,
        millis,
        ..StepEntry::default()
    };
    let built = BuildRecord {
        outcome: BuildOutcome::Built,
        names: vec!["app:1".to_owned()],
        repositories: vec!["docker.io/library/app".to_owned()],
        job: Some(CiJobRecord {
            system: "jenkins".to_owned(),
            number: Some("811".to_owned()),
            url: Some("https://ci.example/job/app/811/".to_owned()),
            ..CiJobRecord::default()
        }),
        steps: StepCountsRecord { total: 4, cached: 3, imported: 0 },
        step_list: vec![step("RUN pip install -r a", true, 0), step("COPY . .", false, 1_200)],
        tiers: vec![
            TierRecord {
                millis: 2,
                ..TierRecord::new("engine", TierOutcome::Miss, "no image of this key is known")
            },
            TierRecord {
                bytes: 181_000_000,
                millis: 640,
                saving_millis: 3_100,
                spared_millis: Some(12_000),
                ..TierRecord::new("mounts", TierOutcome::Hit, "1 of 1 restored")
            },
        ],
        changes: vec!["a|b <\"&'> changed".to_owned()],
        millis: 61_530,
        without_millis: Some(73_530),
        ..BuildRecord::started(Timestamp::UNIX_EPOCH)
    };
    let hit = BuildRecord {
        outcome: BuildOutcome::ImageHit,
        hit_tier: Some("engine".to_owned()),
        job: None,
        step_list: vec![step("RUN pip install -r a", true, 0), step("COPY . .", true, 0)],
        tiers: vec![TierRecord {
            millis: 4,
            ..TierRecord::new("engine", TierOutcome::Hit, "the image is in the engine")
        }],
        millis: 31,
        without_millis: None,
        ..built.clone()
    };
    [built, hit]
}

fn failed() -> BuildRecord {
    BuildRecord {
        outcome: BuildOutcome::Failed,
        error: Some("exit code: 1 <\u{1b}&\">".to_owned()),
        ..builds()[1].clone()
    }
}

const LIMITS: Limits = Limits {
    min_hit_rate: Some(90.0),
    max_cache_gb: Some(1.0),
    max_restore_seconds: Some(0.5),
    min_saved_seconds: Some(10.0),
};

#[test]
fn statistics_are_rendered_as_text() {
    let cache = Path::new("/cache");
    insta::assert_snapshot!("two_builds", Stats::new(&builds(), cache, 12_345, Limits::default()).text());
    insta::assert_snapshot!("no_build", Stats::new(&[], cache, 0, Limits::default()).text());
}

#[test]
fn statistics_are_rendered_for_other_programs() {
    let [built, hit] = builds();
    let builds = [built, hit, failed()];
    let stats = Stats::new(&builds, Path::new("/cache"), 12_345, LIMITS);
    insta::assert_snapshot!("markdown", stats.markdown());
    insta::assert_snapshot!("junit", stats.junit());
    insta::assert_snapshot!("openmetrics", stats.openmetrics());
    insta::assert_snapshot!("summary_in_markdown", super::markdown::summary(&builds[0]));
}

#[test]
fn a_threshold_that_is_not_met_or_not_known_names_the_figure() {
    let texts = |builds: &[BuildRecord]| {
        let stats = Stats::new(builds, Path::new("/cache"), 2_500_000_000, LIMITS);
        let thresholds = stats.thresholds().iter();
        thresholds.map(|threshold| (threshold.is_met, threshold.text.clone())).collect::<Vec<_>>()
    };
    let with = |is_met, text: &str| (is_met, text.to_owned());
    assert_eq!(
        texts(&builds()),
        [
            with(Some(false), "the step hit rate is 75 %, --min-hit-rate demands at least 90 %"),
            with(Some(false), "the size of the cache is 2.5 GB, --max-cache-gb demands at most 1 GB"),
            with(Some(false), "the longest restore is 0.64 s, --max-restore-seconds demands at most 0.5 s"),
            with(Some(true), "the time saved is 12 s, --min-saved-seconds demands at least 10 s"),
        ]
    );
    let unknown = texts(&builds()[1..]);
    assert_eq!(
        unknown[3],
        with(None, "the time saved is not known, --min-saved-seconds demands at least 10 s")
    );
}

#[test]
fn a_trend_names_the_first_build_and_its_change() {
    let [good, _] = builds();
    let bad = BuildRecord {
        steps: StepCountsRecord { total: 4, cached: 1, imported: 0 },
        changes: vec!["base image python:3.12-slim moved".to_owned()],
        ..good.clone()
    };
    let series = [vec![good; 4], vec![bad; 4]].concat();
    let stats = Stats::new(&series, Path::new("/cache"), 0, Limits::default());
    let texts: Vec<&str> = stats.trends.iter().map(|trend| trend.text.as_str()).collect();
    assert_eq!(
        texts,
        ["step hit rate fell from 75.0% to 25.0% since build 811: base image python:3.12-slim moved"]
    );
}

#[test]
fn two_builds_are_compared() {
    let [built, mut hit] = builds();
    hit.step_list[0].cached = false;
    insta::assert_snapshot!("comparison", Comparison::new(&hit, &built).text());
    insta::assert_snapshot!("comparison_reversed", Comparison::new(&built, &hit).text());
}

#[test]
fn the_schema_of_the_statistics_is_up_to_date() {
    let generator = schemars::generate::SchemaSettings::default().for_serialize().into_generator();
    published_schema::assert_up_to_date(
        "larder-stats.schema.json",
        &generator.into_root_schema_for::<Stats<'_>>(),
    );
}

#[test]
fn builds_are_selected_by_image_and_branch() {
    let [mut build, _] = builds();
    build.lanes = Some(LanesRecord {
        own: "pr-7".to_owned(),
        own_from: String::new(),
        trunk: Vec::new(),
        trunk_from: String::new(),
    });
    build.job.as_mut().unwrap().branch = Some("feature".to_owned());
    for (image, expected) in
        [("app", true), ("library/app", true), ("pp", false), ("docker.io/library/app", true)]
    {
        assert_eq!(build.is_of_image(image), expected, "{image}");
    }
    for (branch, expected) in [("pr-7", true), ("feature", true), ("main", false)] {
        assert_eq!(build.is_of_branch(branch), expected, "{branch}");
    }
}
