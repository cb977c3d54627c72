//! Tests of single decisions, and a simulation of series of builds.

use std::collections::HashSet;

use jiff::Timestamp;

use super::*;

const TIER: &str = "layers";

fn build(millis: u64, tiers: Vec<TierRecord>) -> BuildRecord {
    BuildRecord { outcome: BuildOutcome::Built, millis, tiers, ..BuildRecord::started(Timestamp::UNIX_EPOCH) }
}

fn used(outcome: TierOutcome, cost: u64, spared: impl Into<Option<u64>>) -> TierRecord {
    let spared_millis = spared.into();
    TierRecord {
        millis: cost / 4,
        saving_millis: cost - cost / 4,
        spared_millis,
        ..TierRecord::new(TIER, outcome, "")
    }
}

fn skipped() -> TierRecord {
    TierRecord { loses_time: true, ..TierRecord::new(TIER, TierOutcome::Skipped, "") }
}

/// Creates builds of 60 s each from letters: `m` is a miss that cost 12 s, `h` a hit that cost 12 s and spared 50 s, `u` a
/// hit of unknown gain, `i` a hit that had nothing to do, `o` an outage, `s` a build that skipped the tier, `-` one that had no use for it, and `f` a failed build.
fn builds(letters: &str) -> Vec<BuildRecord> {
    let build = |letter| {
        let tiers = match letter {
            'm' | 'f' => vec![used(TierOutcome::Miss, 12_000, None)],
            'h' => vec![used(TierOutcome::Hit, 12_000, 50_000)],
            'u' => vec![used(TierOutcome::Hit, 12_000, None)],
            'i' => vec![used(TierOutcome::Hit, 0, 0)],
            'o' => vec![TierRecord { failed: true, ..used(TierOutcome::Miss, 12_000, None) }],
            's' => vec![skipped()],
            _ => Vec::new(),
        };
        let mut build = build(60_000, tiers);
        if letter == 'f' {
            build.outcome = BuildOutcome::Failed;
        }
        build
    };
    letters.chars().map(build).collect()
}

#[test]
fn a_tier_that_loses_time_is_skipped_and_tried_again() {
    let nineteen = "s".repeat(19);
    for (letters, is_skipped) in [
        ("", false),
        ("mm", false),
        ("mmm", true),
        ("mmf", false),
        ("mm----------------m", false),
        ("mmiii", false),
        ("mmooo", false),
        ("mmms", true),
        ("mmm-s-s", true),
        ("mhm", false),
        ("mmmmmmmmmmmmh", false),
        ("mmmmmmmmmmmmhm", true),
        ("mmmu", false),
        (&format!("mmmmmmmmm{}", &nineteen[..18]), true),
        (&format!("mmmmmmmmm{nineteen}"), false),
        (&format!("mmmmmmmmm{nineteen}m"), true),
        (&format!("mmmmmmmmm{nineteen}h"), false),
    ] {
        assert_eq!(loss(builds(letters).iter(), &[TIER]).is_some(), is_skipped, "{letters}");
    }
}

#[test]
fn a_small_loss_is_accepted_because_a_hit_may_follow() {
    let series = |cost| vec![build(10_000, vec![used(TierOutcome::Miss, cost, None)]); 30];
    assert_eq!(loss(series(400).iter(), &[TIER]), None);
    assert_eq!(loss(series(1_000)[..9].iter(), &[TIER]), None, "less than half a minute");
    let lost = loss(series(1_000).iter(), &[TIER]).unwrap();
    assert_eq!(lost.to_string(), "it cost 30.0s and spared 0.0s in the last 30 builds that used it");
}

#[test]
fn tiers_that_need_each_other_are_judged_as_one() {
    let archive = used(TierOutcome::Miss, 4_000, None);
    let prefix = TierRecord { tier: "prefix".to_owned(), ..used(TierOutcome::Hit, 400, 8_000) };
    let builds = vec![build(10_000, vec![archive, prefix]); 9];
    assert!(loss(builds.iter(), &[TIER]).is_some());
    assert_eq!(loss(builds.iter(), &[TIER, "prefix"]), None);
}

/// The time that a tier costs, and what it is good for, in seconds.
#[derive(Debug, Clone, Copy)]
struct Economics {
    /// A build without the tier.
    build: f64,
    spared: f64,
    look: f64,
    load: f64,
    save: f64,
}

impl Economics {
    /// Builds the inputs of `series` one after the other, and returns the time of all builds. `decide` returns `true` if
    /// a build should use the tier.
    fn simulate(self, series: &[u64], decide: impl Fn(&[BuildRecord]) -> bool) -> f64 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "short durations")]
        let millis = |seconds: f64| (seconds * 1000.0) as u64;
        let (mut builds, mut saved, mut all) = (Vec::new(), HashSet::new(), 0.0);
        for inputs in series {
            let (duration, record) = if decide(&builds) {
                let is_hit = !saved.insert(inputs);
                let (spared, load) = if is_hit { (self.spared, self.load) } else { (0.0, 0.0) };
                let record = TierRecord {
                    millis: millis(self.look + load),
                    saving_millis: millis(self.save),
                    spared_millis: is_hit.then_some(millis(spared)),
                    ..TierRecord::new(TIER, if is_hit { TierOutcome::Hit } else { TierOutcome::Miss }, "")
                };
                (self.build - spared + self.look + load + self.save, record)
            } else {
                (self.build, skipped())
            };
            builds.push(build(millis(duration), vec![record]));
            all += duration;
        }
        all
    }
}

/// Returns series of 200 builds. Builds with the same number have the same inputs.
fn patterns() -> Vec<(String, Vec<u64>)> {
    let series = |name: &str, of: &dyn Fn(u64) -> u64| (name.to_owned(), (0..200).map(of).collect());
    let mut patterns = vec![
        series("always the same", &|_| 0),
        series("always new", &|at| at),
        series("each twice", &|at| at / 2),
        series("the same again and again in every second group of ten", &|at| {
            if at / 10 % 2 == 1 { at } else { 1_000 + at / 20 }
        }),
        series("new, then the same", &|at| at.min(100)),
        series("the same, then new", &|at| at.saturating_sub(100)),
        series("new, then each twice", &|at| if at < 100 { at } else { 1_000 + at / 2 }),
        series("the same in every second group of fifty", &|at| {
            if at / 50 % 2 == 0 { at } else { 1_000 + at / 50 }
        }),
        series("the same in every 30th build", &|at| if at % 30 == 0 { 1_000 } else { at }),
    ];
    for percent in [5, 20, 50, 80] {
        // A fixed sequence of pseudo-random numbers (the generator of Numerical Recipes).
        let (mut state, mut series) = (1_u64, Vec::new());
        let mut random = |below: u64| {
            state = (state * 1_664_525 + 1_013_904_223) % (1 << 32);
            (state >> 8) % below
        };
        for new in 0..200 {
            let inputs = match series.len() {
                0 => new,
                known if random(100) < percent => series[usize::try_from(random(known as u64)).unwrap()],
                _ => new,
            };
            series.push(inputs);
        }
        patterns.push((format!("an earlier one in {percent} % of the builds"), series));
    }
    patterns
}

/// A tier that costs more than a whole build is not simulated: trying it again in every 20th build may cost 10 % then.
#[test]
fn the_judge_is_at_most_a_tenth_slower_than_the_best_fixed_choice() {
    let judged = |builds: &[BuildRecord]| loss(builds.iter(), &[TIER]).is_none();
    let (mut worst, mut tried) = (0.0_f64, 0);
    for (name, series) in patterns() {
        for (build, spared) in [(30.0, 27.0), (30.0, 8.0), (12.0, 9.0), (120.0, 110.0)] {
            for (look, load, save) in [
                (0.005, 1.0, 0.5),
                (0.005, 2.0, 2.0),
                (0.05, 3.0, 5.0),
                (0.1, 1.0, 8.0),
                (0.2, 5.0, 10.0),
                (0.2, 12.0, 3.0),
                (0.5, 8.0, 2.0),
                (0.1, 1.0, 20.0),
            ] {
                let economics = Economics { build, spared, look, load, save };
                if look + load + save > build {
                    continue;
                }
                let always = economics.simulate(&series, |_| true);
                let never = economics.simulate(&series, |_| false);
                let all = economics.simulate(&series, judged);
                let ratio = all / always.min(never);
                assert!(ratio <= 1.1, "{name}, {economics:?}: {all} s, always {always} s, never {never} s");
                (worst, tried) = (worst.max(ratio), tried + 1);
            }
        }
    }
    assert!(tried > 300 && worst > 1.0, "{tried} series, at worst {worst}");
}
