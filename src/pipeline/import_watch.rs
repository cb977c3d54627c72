//! Watches the import of layers from a registry, and ends it when layers cannot be fetched.
//!
//! Graph drivers pull a missing, truncated or damaged layer again and again, for minutes, and then run the step anyway.
//! They also wait for layers that arrive very slowly. Neither may take longer than building the layers.
//!
//! When a build continues from an image, its FROM step fetches the layers of this image. In that step graph drivers do
//! not show repeated pulls of a layer, only that no data arrives.

use std::time::{Duration, Instant};

use crate::buildkit::solve::CacheEntry;
use crate::buildkit::trace::{StepKind, Trace, VertexTrace};
use crate::ledger::{BuildOutcome, BuildRecord};

/// The time limit for fetching layers if the time for building them is unknown.
const UNKNOWN_COST: Duration = Duration::from_mins(1);
const MIN_LIMIT: Duration = Duration::from_secs(10);
/// How long no data of a base image's layers may arrive. Graph drivers wait this long before the first retry.
const STALL_LIMIT: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot use the layers in the registry: {0}")]
pub(crate) struct ImportError(pub(crate) String);

pub(crate) struct ImportWatch {
    limit: Duration,
    /// The time spent on fetching layers so far.
    spent: Duration,
    last_fetching: Option<Instant>,
    /// The image that the build continues from, if there is one.
    base: Option<String>,
    /// The number of bytes of that image that have arrived, and when the last of them arrived.
    arrived: Option<(i64, Instant)>,
}

impl ImportWatch {
    /// Returns a watch over `imports` and the image `base`, or `None` if there is nothing to watch. `builds` reads the
    /// ledger; `names` are the names of the image that is built.
    pub(crate) fn new(
        imports: &[CacheEntry],
        base: Option<&str>,
        builds: impl FnOnce() -> Vec<BuildRecord>,
        names: &[String],
    ) -> Option<Self> {
        let limit = || miss_cost(&builds(), names).unwrap_or(UNKNOWN_COST).max(MIN_LIMIT);
        let is_needed = !imports.is_empty() || base.is_some();
        let base = base.map(str::to_owned);
        is_needed.then(|| Self {
            limit: limit(),
            spent: Duration::ZERO,
            last_fetching: None,
            base,
            arrived: None,
        })
    }

    /// Returns an error if the imported layers in `trace` cannot be fetched, or take too long as of `now`.
    pub(crate) fn check(&mut self, trace: &Trace, now: Instant) -> Option<ImportError> {
        let steps = || trace.vertexes().filter(|(_, vertex)| StepKind::of(vertex.name()).is_counted());
        if let Some(layer) = steps().find_map(|(_, vertex)| vertex.pulled_again()) {
            return Some(ImportError(format!("the engine fails to pull the layer {layer}")));
        }
        let base = self.base.as_deref().and_then(|base| {
            let is_base = |vertex: &VertexTrace| {
                StepKind::of(vertex.name()) == StepKind::From && vertex.name().ends_with(base)
            };
            trace.vertexes().map(|(_, vertex)| vertex).find(|vertex| is_base(vertex))
        });
        self.arrived = base.and_then(VertexTrace::downloaded_bytes).map(|bytes| match self.arrived {
            Some(arrived) if arrived.0 == bytes => arrived,
            _ => (bytes, now),
        });
        if self.arrived.is_some_and(|(_, since)| now - since > STALL_LIMIT) {
            let seconds = STALL_LIMIT.as_secs();
            return Some(ImportError(format!("the engine received no data of a layer for {seconds} s")));
        }
        let is_fetching = steps().map(|(_, vertex)| vertex).chain(base).any(VertexTrace::is_fetching);
        if let Some(seen) = self.last_fetching {
            self.spent += now - seen;
        }
        self.last_fetching = is_fetching.then_some(now);
        let limit = self.limit;
        (self.spent > limit).then(|| {
            ImportError(format!("fetching them takes longer than building them ({} s)", limit.as_secs()))
        })
    }
}

/// Returns the time that the steps of an image take without a cache, or `None` if the ledger does not show it.
fn miss_cost(builds: &[BuildRecord], names: &[String]) -> Option<Duration> {
    let own = builds.iter().filter(|build| build.outcome == BuildOutcome::Built && build.names == names);
    let ran = own.map(|build| -> u64 {
        build.step_list.iter().filter(|step| !step.cached).map(|step| step.millis).sum()
    });
    ran.max().filter(|millis| *millis > 0).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::buildkit::status::{StatusUpdate, Vertex, VertexStatus};
    use crate::ledger::StepEntry;

    fn step(cached: bool, millis: u64) -> StepEntry {
        StepEntry { cached, millis, ..StepEntry::default() }
    }

    /// Returns the record of a build of `app` whose steps ran for these times in milliseconds.
    fn build(ran: &[u64]) -> BuildRecord {
        let mut build = BuildRecord::started(Timestamp::UNIX_EPOCH);
        (build.outcome, build.names) = (BuildOutcome::Built, vec!["app".to_owned()]);
        build.step_list = ran.iter().map(|millis| step(false, *millis)).chain([step(true, 90_000)]).collect();
        build
    }

    #[test]
    fn fetching_layers_may_take_as_long_as_building_them() {
        let imports = [CacheEntry { kind: "registry".to_owned(), attributes: [].into() }];
        let limit = |builds: Vec<BuildRecord>| {
            ImportWatch::new(&imports, None, || builds, &["app".to_owned()])
                .map(|watch| watch.limit.as_secs())
        };
        let mut other = build(&[100_000]);
        other.names = vec!["other".to_owned()];
        for (builds, expected) in [
            (vec![], 60),
            (vec![other], 60),
            (vec![build(&[])], 60),
            (vec![build(&[20_000, 15_000]), build(&[100])], 35),
            (vec![build(&[100])], 10),
        ] {
            assert_eq!(limit(builds.clone()), Some(expected), "{builds:?}");
        }
        assert!(ImportWatch::new(&[], None, Vec::new, &[]).is_none());
    }

    #[test]
    fn the_time_that_a_step_waits_for_layers_is_limited() {
        let imports = [CacheEntry { kind: "registry".to_owned(), attributes: [].into() }];
        let mut watch = ImportWatch::new(&imports, None, Vec::new, &[]).unwrap();
        let (mut trace, start) = (Trace::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut report = |name: &str, is_over: bool| {
            let (now, digest) = (Some(Timestamp::UNIX_EPOCH), name.to_owned());
            let vertexes = vec![Vertex {
                digest: digest.clone(),
                name: name.to_owned(),
                started: now,
                ..Vertex::default()
            }];
            let id = "sha256:1".to_owned();
            let completed = now.filter(|_| is_over);
            let (vertex, current, total) = (digest, 1, 2);
            let row = VertexStatus { id, vertex, current, total, timestamp: now, started: now, completed };
            trace.apply(StatusUpdate { vertexes, statuses: vec![row], ..StatusUpdate::default() });
            trace.clone()
        };
        let base = report("[1/2] FROM base", false);
        assert!(watch.check(&base, at(0)).is_none() && watch.check(&base, at(300)).is_none());
        let layer = report("[2/2] RUN a", false);
        assert!(watch.check(&layer, at(400)).is_none() && watch.check(&layer, at(430)).is_none());
        let over = report("[2/2] RUN a", true);
        assert!(watch.check(&over, at(431)).is_none() && watch.check(&over, at(900)).is_none());
        let again = report("[2/2] RUN a", false);
        assert!(watch.check(&again, at(900)).is_none());
        assert!(watch.check(&again, at(930)).is_some(), "31 s before and 30 s now");
    }

    #[test]
    fn a_base_image_whose_data_stops_arriving_is_given_up() {
        let mut watch = ImportWatch::new(&[], Some("app@sha256:0"), Vec::new, &[]).unwrap();
        let (mut trace, start) = (Trace::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut report = |id: &str, current: i64, is_over: bool| {
            let (now, digest) = (Some(Timestamp::UNIX_EPOCH), "from".to_owned());
            let name = "[1/2] FROM app@sha256:0".to_owned();
            let vertexes = vec![Vertex { digest: digest.clone(), name, started: now, ..Vertex::default() }];
            let (id, completed) = (id.to_owned(), now.filter(|_| is_over));
            let row = VertexStatus {
                id,
                vertex: digest,
                current,
                total: 9,
                timestamp: now,
                started: now,
                completed,
            };
            trace.apply(StatusUpdate { vertexes, statuses: vec![row], ..StatusUpdate::default() });
            trace.clone()
        };
        let first = report("sha256:1", 1, false);
        assert!(watch.check(&first, at(0)).is_none() && watch.check(&first, at(5)).is_none());
        let more = report("sha256:1", 9, true);
        assert!(watch.check(&more, at(6)).is_none() && watch.check(&more, at(11)).is_none());
        let unpacked = report("extracting sha256:1", 0, false);
        assert!(watch.check(&unpacked, at(12)).is_none() && watch.check(&unpacked, at(20)).is_none());
        let nothing = report("extracting sha256:1", 0, true);
        assert!(watch.check(&nothing, at(21)).is_none() && watch.check(&nothing, at(26)).is_none());
        assert!(watch.check(&nothing, at(27)).is_some(), "no row is shown for the next layer");
    }
}
