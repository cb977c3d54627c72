//! The kind of work of a vertex, and cache hits by kind.
//!
//! BuildKit distinguishes Dockerfile instructions from its internal jobs only by name: `[builder 2/3] RUN make` and
//! `[internal] load build context`. The format is defined by `prefixCommand` in BuildKit's `dockerfile2llb`: the
//! brackets contain an optional platform, an optional stage and the padded number of the step (`[ 2/10]`); an optional
//! `ONBUILD` follows them.
//!
//! Hit statistics count only RUN, COPY and ADD: FROM and WORKDIR take almost no time and would inflate the rate.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::Trace;
use super::runs::{covered, elapsed};
use super::vertex::{VertexState, VertexTrace, is_cancellation};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StepKind {
    From,
    Run,
    Copy,
    Add,
    Workdir,
    /// The frontend's internal jobs: loading the Dockerfile, the context, metadata.
    Internal,
    Auth,
    CacheImport,
    CacheExport,
    Export,
    Other,
}

/// Prefixes of BuildKit's jobs without brackets; the first match is used.
const JOBS: [(&str, StepKind); 8] = [
    ("importing cache manifest", StepKind::CacheImport),
    ("inferred cache manifest", StepKind::CacheImport),
    ("exporting cache", StepKind::CacheExport),
    ("preparing build cache", StepKind::CacheExport),
    ("preparing layers for inline cache", StepKind::CacheExport),
    ("exporting", StepKind::Export),
    ("sending tarball", StepKind::Export),
    ("importing to docker", StepKind::Export),
];

impl StepKind {
    pub(crate) fn of(name: &str) -> Self {
        let Some((bracket, rest)) = name.strip_prefix('[').and_then(|name| name.split_once(']')) else {
            let job = JOBS.iter().find(|(start, _)| name.starts_with(start));
            return job.map_or(Self::Other, |(_, kind)| *kind);
        };
        let mut bracketed = bracket.split_whitespace();
        match (bracketed.clone().next(), bracketed.next_back()) {
            (Some("auth"), _) => Self::Auth,
            (Some("context"), _) | (_, Some("internal")) => Self::Internal,
            (_, Some(number)) if is_step_number(number) => Self::of_instruction(rest),
            _ => Self::Other,
        }
    }

    /// Returns `true` for the kinds in hit statistics: RUN, COPY and ADD.
    pub(crate) fn is_counted(self) -> bool {
        matches!(self, Self::Run | Self::Copy | Self::Add)
    }

    fn of_instruction(text: &str) -> Self {
        // `LINK COPY …` is the merge step of a `COPY --link`.
        let mut words = text.split_whitespace().skip_while(|word| matches!(*word, "ONBUILD" | "LINK"));
        match words.next() {
            Some("FROM") => Self::From,
            Some("RUN") => Self::Run,
            Some("COPY") => Self::Copy,
            Some("ADD") => Self::Add,
            Some("WORKDIR") => Self::Workdir,
            _ => Self::Other,
        }
    }
}

fn is_step_number(text: &str) -> bool {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('/').is_some_and(|(step, total)| is_number(step) && is_number(total))
}

/// The outcome of one vertex, for the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepRecord {
    /// The digest of the vertex; for a group, of its first one.
    pub(crate) digest: String,
    pub(crate) name: String,
    pub(crate) is_cached: bool,
    /// The time that the vertex was running; overlapping runs count once.
    pub(crate) duration: Duration,
    /// The reason for a failure or cancellation.
    pub(crate) error: Option<String>,
    /// The first start, by the builder's clock.
    pub(crate) started: Option<Timestamp>,
    /// The layers that were fetched, with the number of bytes that were reported; graph drivers report none.
    pub(crate) fetched: Vec<(String, u64)>,
}

impl StepRecord {
    /// Returns `true` if the step was cancelled or ended by a signal.
    pub(crate) fn is_killed(&self) -> bool {
        let by_signal = |error: &str| {
            let (_, code) = error.rsplit_once("exit code: ")?;
            Some(code.trim().parse::<u32>().ok()? > 128)
        };
        let error = self.error.as_deref().unwrap_or_default();
        is_cancellation(error) || by_signal(error).unwrap_or_default()
    }

    pub(crate) fn kind(&self) -> StepKind {
        StepKind::of(&self.name)
    }

    /// Returns the number of bytes of the layers that were fetched, as far as they were reported.
    pub(crate) fn fetched_bytes(&self) -> u64 {
        let mut layers = BTreeMap::<&str, u64>::new();
        for (layer, bytes) in &self.fetched {
            let known = layers.entry(layer).or_default();
            *known = (*known).max(*bytes);
        }
        layers.values().sum()
    }
}

/// How long BuildKit spent on what. The parts may overlap; `other` is the time without any of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SolveTimes {
    pub(crate) all: Duration,
    /// RUN, COPY and ADD steps that were not cached.
    pub(crate) steps: Duration,
    /// Base images, except those that a tier has provided.
    pub(crate) base: Duration,
    /// Caches in a registry, their layers, and base images that a tier has provided.
    pub(crate) import: Duration,
    pub(crate) export: Duration,
    pub(crate) other: Duration,
}

/// Counts of the RUN, COPY and ADD instructions that were reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StepCounts {
    pub(crate) total: usize,
    pub(crate) cached: usize,
}

impl Trace {
    /// Returns the vertexes that were reached, in the order of first appearance.
    ///
    /// The duration of a running one ends at the latest time in the stream.
    pub(crate) fn steps(&self) -> Vec<StepRecord> {
        self.reached_vertexes()
            .map(|vertex| StepRecord {
                digest: vertex.digest().to_owned(),
                name: vertex.name().to_owned(),
                is_cached: vertex.is_cached(),
                duration: self.latest().map(|latest| vertex.duration(latest)).unwrap_or_default(),
                error: vertex.error().map(str::to_owned),
                started: vertex.first_start(),
                fetched: vertex.fetched_layers(),
            })
            .collect()
    }

    /// Returns how long BuildKit spent on what. `is_import` is `true` for the name of a FROM step whose image a tier
    /// has provided.
    pub(crate) fn times(&self, is_import: impl Fn(&str) -> bool) -> SolveTimes {
        let (Some(start), Some(end)) = (self.started(), self.latest()) else { return SolveTimes::default() };
        let spans = |wanted: &dyn Fn(StepKind, &VertexTrace) -> bool| {
            let vertexes = self.reached_vertexes();
            let wanted = vertexes.filter(|vertex| wanted(StepKind::of(vertex.name()), vertex));
            wanted.flat_map(|vertex| vertex.spans(end)).collect::<Vec<_>>()
        };
        let is_base = |kind, vertex: &VertexTrace| kind == StepKind::From && !is_import(vertex.name());
        let is_imported = |kind: StepKind, vertex: &VertexTrace| match kind {
            StepKind::CacheImport => true,
            StepKind::From => is_import(vertex.name()),
            // A cached step runs only while its layer is fetched.
            _ => kind.is_counted() && vertex.is_cached(),
        };
        let steps = spans(&|kind, vertex| kind.is_counted() && !vertex.is_cached());
        let (base, import) = (spans(&is_base), spans(&is_imported));
        let export = spans(&|kind, _| matches!(kind, StepKind::Export | StepKind::CacheExport));
        let known = covered([&steps[..], &base, &import, &export].concat());
        let all = elapsed(start, end);
        SolveTimes {
            all,
            steps: covered(steps),
            base: covered(base),
            import: covered(import),
            export: covered(export),
            other: all.saturating_sub(known),
        }
    }

    /// Counts the RUN, COPY and ADD instructions that were reached.
    ///
    /// An instruction may consist of several vertexes with one name (`ADD` of a URL is a download and a copy): it
    /// counts once, and as cached only if all of them are.
    pub(crate) fn counted_steps(&self) -> StepCounts {
        let mut instructions: Vec<(&str, bool)> = self
            .reached_vertexes()
            .filter(|vertex| StepKind::of(vertex.name()).is_counted())
            .map(|vertex| (vertex.name(), vertex.is_cached()))
            .collect();
        // `false` sorts first, so deduplication keeps the vertex that was not cached.
        instructions.sort_unstable();
        instructions.dedup_by_key(|(name, _)| *name);
        StepCounts {
            total: instructions.len(),
            cached: instructions.iter().filter(|(_, cached)| *cached).count(),
        }
    }

    fn reached_vertexes(&self) -> impl Iterator<Item = &VertexTrace> {
        self.vertexes().map(|(_, vertex)| vertex).filter(|vertex| vertex.state() != VertexState::Waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::TraceScript;
    use super::*;

    #[test]
    fn the_kind_is_derived_from_the_name() {
        for (name, kind) in [
            ("[1/3] FROM docker.io/library/python:3.12@sha256:abc", StepKind::From),
            ("[2/5] COPY . .", StepKind::Copy),
            ("[ 2/10] COPY . .", StepKind::Copy),
            ("[builder 2/3] RUN make", StepKind::Run),
            ("[builder  2/13] RUN [\"make\"]", StepKind::Run),
            ("[linux/amd64 builder 2/3] RUN make", StepKind::Run),
            ("[linux/amd64 2/3] ADD a.tar /", StepKind::Add),
            ("[linux/amd64->arm64 stage-1 2/3] RUN make", StepKind::Run),
            ("[base 3/4] ONBUILD RUN make", StepKind::Run),
            ("[stage-1 3/4] LINK COPY --link a b", StepKind::Copy),
            ("[3/4] WORKDIR /srv", StepKind::Workdir),
            ("[2/4] RUNNER", StepKind::Other),
            ("[internal] load build definition from Dockerfile", StepKind::Internal),
            ("[linux/amd64 internal] load metadata for docker.io/library/alpine:3", StepKind::Internal),
            ("[internal] setting cache mount permissions", StepKind::Internal),
            ("[context wheels] load .dockerignore", StepKind::Internal),
            ("[auth] library/python:pull token for registry-1.docker.io", StepKind::Auth),
            ("importing cache manifest from registry.example/app:cache", StepKind::CacheImport),
            ("exporting cache to registry", StepKind::CacheExport),
            ("exporting to image", StepKind::Export),
            ("exporting to oci image format", StepKind::Export),
            ("resolve image config for docker-image://docker.io/docker/dockerfile:1", StepKind::Other),
            ("[linux/amd64] RUN make", StepKind::Other),
            ("[2/] RUN make", StepKind::Other),
            ("[] RUN make", StepKind::Other),
            ("[2/3 RUN make", StepKind::Other),
            ("RUN make", StepKind::Other),
            ("", StepKind::Other),
        ] {
            assert_eq!(StepKind::of(name), kind, "{name}");
        }
    }

    fn trace(script: TraceScript) -> Trace {
        let mut trace = Trace::default();
        trace.apply(script.update());
        trace
    }

    #[test]
    fn only_run_copy_and_add_count_towards_the_hit_rate() {
        let trace = trace(
            TraceScript::new()
                .done("i", "[internal] load build context", 0, 1)
                .cached("f", "[1/5] FROM alpine", 1)
                .cached("w", "[2/5] WORKDIR /srv", 1)
                .cached("c", "[3/5] COPY . .", 1)
                .done("r", "[4/5] RUN make", 1, 9)
                .announce("n", "[5/5] RUN never reached"),
        );
        assert_eq!(trace.counted_steps(), StepCounts { total: 2, cached: 1 });
        assert_eq!(trace.steps().len(), 5);
    }

    #[test]
    fn an_instruction_of_two_vertexes_counts_once_and_is_cached_only_if_both_are() {
        let add = "[2/2] ADD https://example.org/a /a";
        let half = trace(TraceScript::new().cached("a", add, 0).done("b", add, 0, 1));
        assert_eq!(half.counted_steps(), StepCounts { total: 1, cached: 0 });
        let whole = trace(TraceScript::new().cached("a", add, 0).cached("b", add, 0));
        assert_eq!(whole.counted_steps(), StepCounts { total: 1, cached: 1 });
    }

    #[test]
    fn the_time_of_a_solve_is_divided_by_what_it_was_spent_on() {
        let trace = trace(
            TraceScript::new()
                .done("i", "[internal] load build context", 0, 500)
                .done("m", "importing cache manifest from app:cache", 500, 700)
                .done("f", "[1/4] FROM base", 700, 1_700)
                .cached("a", "[2/4] RUN a", 1_700)
                .done("b", "[3/4] RUN b", 1_700, 3_700)
                .done("c", "[4/4] COPY . .", 3_000, 4_000)
                .done("e", "exporting to image", 4_000, 4_250),
        );
        let millis = |imported: bool| {
            let times = trace.times(|_| imported);
            [times.all, times.steps, times.base, times.import, times.export, times.other]
                .map(|time| time.as_millis())
        };
        assert_eq!(millis(false), [4_250, 2_300, 1_000, 200, 250, 500]);
        assert_eq!(millis(true), [4_250, 2_300, 0, 1_200, 250, 500]);
    }

    #[test]
    fn the_duration_of_a_step_is_that_of_all_its_runs() {
        let mut trace = trace(TraceScript::new().done("a", "[2/2] RUN a", 0, 1_000));
        trace.apply(TraceScript::new().failed("a", "[2/2] RUN a", 5_000, 5_500, "exit code: 1").update());
        let [step] = trace.steps().try_into().unwrap();
        assert_eq!(step.duration, Duration::from_millis(1_500));
        assert_eq!((step.kind(), step.error.as_deref()), (StepKind::Run, Some("exit code: 1")));
    }
}
