//! A visit: one step in the builder with the mounts and the courier.
//!
//! Usually the step is a separate definition. For mounts whose origin is a result of a build, it is the last step of
//! that build.

use std::io::{BufReader, BufWriter};
use std::net::Shutdown;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::conversation::{Conversation, ConversationError, CourierReader, CourierWriter};
use super::direct::DirectSocket;
use super::identity::TargetMount;
use crate::buildkit::llb::{CacheMountInput, Definition, Exec, Graph, Sharing};
use crate::buildkit::session::{Attachments, SshAgent, StepStream, Upload, new_id};
use crate::buildkit::solve::SolveRequest;
use crate::buildkit::status::StatusUpdate;
use crate::buildkit::{Client, ConnectError, SolveError, Worker};
use crate::{courier, platform};

pub(super) const STREAM: &str = "larder-visit";
pub(super) const PROGRAM: &str = "/courier";
pub(super) const SOCKET: &str = "/larder.sock";
const MOUNTS: &str = "/mounts";
/// The name by which the builder fetches the courier from the session.
pub(super) const UPLOAD: &str = "larder-courier";
const CACHE_PARENT: &str = "/cache";
const QUEUE_LENGTH: usize = 64;
const HOST_NETWORK: &str = "network.host";
const BUFFER: usize = 256 << 10;
/// The maximum number of bytes of the step's output that are reported when it fails.
const MAX_OUTPUT: usize = 2000;

pub(crate) enum VisitSolve {
    Separate,
    /// A build, whose other steps are not limited by the deadline of the visit.
    Build(Box<VisitBuild>),
}

/// A build with an appended stage that has the mounts: see [`super::with_visit`].
pub(crate) struct VisitBuild {
    pub(crate) request: SolveRequest,
    pub(crate) attachments: Attachments,
    pub(crate) status: mpsc::Sender<StatusUpdate>,
    /// The time limit of the steps before the visit.
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(crate) struct VisitTerms {
    /// The time limit of the visit. In a build, it starts when the step runs, and the time limit of the build applies
    /// as well.
    pub(crate) deadline: Duration,
    pub(crate) cancel: CancellationToken,
    pub(crate) name: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum VisitError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("larder has no courier for a builder of the platform {os}/{architecture}")]
    NoCourier { os: String, architecture: String },
    #[error("the step that accesses cache mounts failed{}", in_brackets(output))]
    Solve {
        #[source]
        source: SolveError,
        output: String,
    },
    #[error(transparent)]
    Courier(ConversationError),
    #[error("it took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("interrupted")]
    Interrupted,
}

fn in_brackets(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(" ({text})") }
}

/// Visits `mounts`, and calls `work` for each by its index, concurrently and on separate threads.
///
/// When it returns, the builder no longer uses these mounts. If all of them are shared, the builder may still be
/// removing the step.
///
/// Fails if the step cannot be run.
pub(crate) async fn visit<T: Send + 'static>(
    client: &Client,
    mounts: &[TargetMount],
    within: VisitSolve,
    work: impl Fn(usize, Conversation) -> T + Send + Sync + 'static,
    terms: &VisitTerms,
) -> Result<Vec<T>, VisitError> {
    let work: Arc<MountWork<T>> = Arc::new(work);
    let mut visit = Visit::of(mounts.len(), terms);
    visit.may_overlap = mounts.iter().all(|mount| mount.sharing == Sharing::Shared);
    match within {
        VisitSolve::Build(build) => visit.run_in_build(client, *build, &work).await,
        VisitSolve::Separate => {
            if let Some((program, direct)) = direct_connection(client) {
                let mut request = SolveRequest {
                    definition: Some(definition(program, mounts, &terms.name, Some(direct.environment()))),
                    ..SolveRequest::default()
                };
                request.entitlements.push(HOST_NETWORK.to_owned());
                let done =
                    visit.run(client, request, Attachments::default(), None, Some(direct), &work).await;
                // The engine may be on a different machine or platform, or deny access to its network.
                if visit.has_connected || !matches!(done, Err(VisitError::Solve { .. })) {
                    return done;
                }
            }
            let program = program_for(client, terms).await?;
            let definition = Some(definition(program, mounts, &terms.name, None));
            let request = SolveRequest { definition, ..SolveRequest::default() };
            visit.run(client, request, Attachments::default(), None, None, &work).await
        }
    }
}

/// Visits the file system of a stage: see [`super::with_scan`]. Fails if the step cannot be run.
pub(crate) async fn visit_stage<T: Send + 'static>(
    client: &Client,
    build: VisitBuild,
    work: impl Fn(Conversation) -> T + Send + Sync + 'static,
    terms: &VisitTerms,
) -> Result<Option<T>, VisitError> {
    let work: Arc<MountWork<T>> = Arc::new(move |_, conversation| work(conversation));
    Ok(Visit::of(1, terms).run_in_build(client, build, &work).await?.pop())
}

async fn program_for(client: &Client, terms: &VisitTerms) -> Result<&'static [u8], VisitError> {
    let Worker { os, architecture, .. } = tokio::select! {
        worker = client.worker() => worker?,
        () = terms.cancel.cancelled() => return Err(VisitError::Interrupted),
        () = tokio::time::sleep_until(after(terms.deadline)) => {
            return Err(VisitError::TimedOut(terms.deadline));
        }
    };
    let program = if os == "linux" { courier::program(architecture) } else { None };
    program.ok_or_else(|| VisitError::NoCourier { os: os.clone(), architecture: architecture.clone() })
}

/// Returns the courier and a socket for a direct connection if the engine seems to be on this machine. A Docker engine
/// usually allows steps to use the host's network, a buildkitd does not.
fn direct_connection(client: &Client) -> Option<(&'static [u8], DirectSocket)> {
    let is_docker = client.product().is_docker();
    let own = platform::local_container_platform();
    let architecture = own.split('/').nth(1).filter(|_| is_docker && client.uses_local_socket())?;
    courier::program(architecture).zip(DirectSocket::open().ok())
}

type MountWork<T> = dyn Fn(usize, Conversation) -> T + Send + Sync;

struct Visit<'a> {
    mounts: usize,
    /// `true` if other steps may use the mounts at the same time.
    may_overlap: bool,
    terms: &'a VisitTerms,
    /// The time limit that currently applies, and its end.
    limit: Duration,
    ends_at: Instant,
    has_connected: bool,
}

impl<'a> Visit<'a> {
    fn of(mounts: usize, terms: &'a VisitTerms) -> Self {
        let (limit, ends_at) = (terms.deadline, after(terms.deadline));
        Self { mounts, may_overlap: false, terms, limit, ends_at, has_connected: false }
    }

    async fn run_in_build<T: Send + 'static>(
        &mut self,
        client: &Client,
        build: VisitBuild,
        work: &Arc<MountWork<T>>,
    ) -> Result<Vec<T>, VisitError> {
        let VisitBuild { request, mut attachments, status, timeout } = build;
        let program = program_for(client, self.terms).await?;
        attachments.uploads.insert(UPLOAD.to_owned(), Upload::Bytes(program));
        self.limit = timeout.unwrap_or(Duration::MAX);
        self.ends_at = after(self.limit);
        self.run(client, request, attachments, Some(status), None, work).await
    }

    /// Runs the step, and handles each mount whose courier connects.
    async fn run<T: Send + 'static>(
        &mut self,
        client: &Client,
        request: SolveRequest,
        mut attachments: Attachments,
        forward: Option<mpsc::Sender<StatusUpdate>>,
        direct: Option<DirectSocket>,
        work: &Arc<MountWork<T>>,
    ) -> Result<Vec<T>, VisitError> {
        let (streams, mut connections) = mpsc::channel(self.mounts.max(1));
        let (near, mut near_connections) = mpsc::channel(self.mounts.max(1));
        let _serving = direct.map(|direct| AbortOnDropHandle::new(tokio::spawn(direct.serve(near))));
        attachments.ssh.insert(STREAM.to_owned(), SshAgent::Streams(streams));
        let give_up = self.terms.cancel.child_token();
        let is_of_build = forward.is_some();
        let may_overlap = !is_of_build && self.may_overlap;
        let (status, updates) = mpsc::channel(QUEUE_LENGTH);
        let listening = tokio::spawn(forward_status(updates, forward));
        let solving = {
            let (client, give_up) = (client.clone(), give_up.clone());
            async move { client.solve(request, attachments, status, give_up).await }
        };
        let mut solving = tokio::spawn(solving);

        let seats = Arc::new(ConnectedMounts(Mutex::new(vec![false; self.mounts])));
        let mut working = JoinSet::new();
        let mut done = VisitResults { values: (0..self.mounts).map(|_| None).collect(), error: None };
        let deadline = tokio::time::sleep_until(self.ends_at);
        tokio::pin!(deadline);
        let (mut late, mut near_streams) = (false, Vec::new());
        let solved = loop {
            let (reader, writer): (CourierReader, CourierWriter) = tokio::select! {
                solved = &mut solving => break solved,
                Some(StepStream { reader, writer }) = connections.recv() => {
                    (Box::new(reader), Box::new(writer))
                }
                Some(stream) = near_connections.recv() => {
                    let Ok(streams) = stream.try_clone().and_then(|reader| Ok((reader, stream.try_clone()?)))
                    else { continue };
                    near_streams.push(stream);
                    let (reader, writer) = streams;
                    (
                        Box::new(BufReader::with_capacity(BUFFER, reader)),
                        Box::new(BufWriter::with_capacity(BUFFER, writer)),
                    )
                }
                Some(ended) = working.join_next() => {
                    done.record(ended);
                    if may_overlap
                        && !give_up.is_cancelled()
                        && let Some(values) = done.take_all()
                    {
                        return Ok(values);
                    }
                    continue;
                }
                () = &mut deadline, if !give_up.is_cancelled() => {
                    // If all mounts are done, the visit is not late: only the step has not ended.
                    late = done.values.iter().any(Option::is_none);
                    give_up.cancel();
                    continue;
                }
            };
            if !std::mem::replace(&mut self.has_connected, true) && is_of_build {
                self.limit = self.terms.deadline;
                deadline.as_mut().reset(after(self.limit).min(self.ends_at));
            }
            let (work, seats) = (Arc::clone(work), Arc::clone(&seats));
            working.spawn_blocking(move || {
                let (place, conversation) = Conversation::accept(reader, writer)?;
                seats.take(place)?;
                Ok((place, work(place, conversation)))
            });
        };
        // The end of the step closes all connections.
        drop(connections);
        for stream in near_streams {
            drop(stream.shutdown(Shutdown::Both));
        }
        while let Some(ended) = working.join_next().await {
            done.record(ended);
        }
        let output = listening.await.unwrap_or_default();
        if self.terms.cancel.is_cancelled() {
            return Err(VisitError::Interrupted);
        }
        if late {
            return Err(VisitError::TimedOut(self.limit));
        }
        if let Some(values) = done.take_all() {
            // A step also fails if larder closes one of several connections early. If all mounts are done, the visit
            // has succeeded.
            return Ok(values);
        }
        match solved {
            Err(ended) => std::panic::resume_unwind(ended.into_panic()),
            Ok(Err(source)) => Err(VisitError::Solve { source, output }),
            Ok(Ok(_)) => Err(VisitError::Courier(done.error.unwrap_or(ConversationError::Ended))),
        }
    }
}

/// Returns the time after `limit`, limited to ten years because `Instant` overflows.
fn after(limit: Duration) -> Instant {
    const YEARS: Duration = Duration::from_hours(24 * 365 * 10);
    Instant::now() + limit.min(YEARS)
}

struct ConnectedMounts(Mutex<Vec<bool>>);

impl ConnectedMounts {
    /// Claims the mount at `place`. The number comes from the courier and is not trusted.
    fn take(&self, place: usize) -> Result<(), ConversationError> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match taken.get_mut(place) {
            Some(taken @ false) => {
                *taken = true;
                Ok(())
            }
            Some(true) => Err(ConversationError::Refused("it opened two connections for a mount".to_owned())),
            None => Err(ConversationError::Refused("it opened a connection for an unknown mount".to_owned())),
        }
    }
}

struct VisitResults<T> {
    values: Vec<Option<T>>,
    /// The error of a connection that could not be assigned to a mount.
    error: Option<ConversationError>,
}

impl<T> VisitResults<T> {
    fn take_all(&mut self) -> Option<Vec<T>> {
        let is_all = self.values.iter().all(Option::is_some);
        is_all.then(|| std::mem::take(&mut self.values).into_iter().flatten().collect())
    }

    fn record(&mut self, ended: Result<Result<(usize, T), ConversationError>, tokio::task::JoinError>) {
        match ended {
            Ok(Ok((place, value))) => self.values[place] = Some(value),
            Ok(Err(fault)) => self.error = Some(fault),
            // A panic was already reported by the thread.
            Err(_) => {}
        }
    }
}

fn definition(program: &[u8], mounts: &[TargetMount], name: &str, short_cut: Option<String>) -> Definition {
    let mut graph = Graph::default();
    let root = graph.file(PROGRAM, 0o755, program);
    let mut arguments = vec![PROGRAM.to_owned(), SOCKET.to_owned()];
    arguments.extend((0..mounts.len()).map(target));
    let caches = mounts.iter().enumerate().map(|(number, mount)| CacheMountInput {
        id: mount.id.buildkit_id.clone(),
        parent: mount.id.directory.map(|directory| {
            (
                graph.directory(CACHE_PARENT, directory.mode, directory.uid, directory.gid),
                CACHE_PARENT.to_owned(),
            )
        }),
        sharing: mount.sharing,
        target: target(number),
    });
    let caches = caches.collect();
    // BuildKit would not run an identical step again.
    let nonce = new_id().unwrap_or_default();
    let step = graph.exec(Exec {
        root,
        arguments,
        host_network: short_cut.is_some(),
        environment: std::iter::once(format!("VISIT={nonce}")).chain(short_cut).collect(),
        caches,
        socket: Some((STREAM.to_owned(), SOCKET.to_owned())),
        name: name.to_owned(),
    });
    graph.define(step)
}

pub(super) fn target(number: usize) -> String {
    format!("{MOUNTS}/{number}")
}

/// Forwards the status until its end; returns the last output of the steps.
async fn forward_status(
    mut updates: mpsc::Receiver<StatusUpdate>,
    forward: Option<mpsc::Sender<StatusUpdate>>,
) -> String {
    let mut output = Vec::new();
    while let Some(update) = updates.recv().await {
        for log in &update.logs {
            output.extend(&log.data);
            output.drain(..output.len().saturating_sub(MAX_OUTPUT));
        }
        if let Some(forward) = &forward {
            // The receiver may be closed; the visit continues.
            drop(forward.send(update).await);
        }
    }
    String::from_utf8_lossy(&output).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mount_accepts_one_courier_and_an_unknown_mount_is_refused() {
        let seats = ConnectedMounts(Mutex::new(vec![false; 2]));
        assert!(seats.take(1).is_ok() && seats.take(0).is_ok());
        assert_eq!(
            seats.take(1).unwrap_err().to_string(),
            "the builder sent an invalid response: it opened two connections for a mount"
        );
        assert_eq!(
            seats.take(2).unwrap_err().to_string(),
            "the builder sent an invalid response: it opened a connection for an unknown mount"
        );
    }
}
