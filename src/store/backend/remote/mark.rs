//! Marks in an object store, which has no locks. Instead, each part of a mark contains the time of writing.
//!
//! ```text
//! <directory>/<random id>/<sequence number>
//!     2026-01-31T12:00:00Z\n     when it was written, by the writer's clock
//!     …                          the added text
//! ```
//!
//! A mark is dead if nothing was added to it for [`MARK_LIFETIME`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use opendal::ErrorKind;

use super::objects::{RemoteObjects, random_id};
use super::{RemoteBackend, RemoteSettings};
use crate::store::backend::{BackendError, Mark};

/// How long a mark is valid after the last addition. Six hours, so that clocks that differ by minutes or by a wrong
/// time zone do not matter.
pub(crate) const MARK_LIFETIME: Duration = Duration::from_hours(6);

const MAX_PART_SIZE: u64 = 64 << 20;
/// The time limit for removing a mark when it is dropped. Parts that remain expire.
const DROP_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct RemoteMark {
    remote: RemoteBackend,
    path: String,
    parts: AtomicU64,
}

impl RemoteMark {
    pub(super) fn write(remote: &RemoteBackend, directory: &str, text: &str) -> Result<Self, BackendError> {
        let path = format!("{directory}/{}", random_id());
        // If this fails, nothing is cleaned up, because that would take a second deadline.
        write_part(remote, &path, 0, text)?;
        Ok(Self { remote: remote.clone(), path, parts: AtomicU64::new(1) })
    }
}

impl Mark for RemoteMark {
    fn add(&self, text: &str) -> Result<(), BackendError> {
        write_part(&self.remote, &self.path, self.parts.fetch_add(1, Ordering::Relaxed), text)
    }
}

fn write_part(remote: &RemoteBackend, mark: &str, number: u64, text: &str) -> Result<(), BackendError> {
    let object = format!("{}\n{text}", Timestamp::now());
    remote.write_object(&format!("{mark}/{number:08}"), object.into_bytes())
}

impl Drop for RemoteMark {
    fn drop(&mut self) {
        let written = *self.parts.get_mut();
        let deadline = self.remote.settings.deadline.min(DROP_DEADLINE);
        let settings = RemoteSettings { deadline, ..self.remote.settings.clone() };
        // Parts that cannot be removed expire and are removed by a reader.
        let _ = self.remote.call(settings.allowance(0), "remove", &self.path, |objects, path| async move {
            objects.remove_marks(&path, 0..written).await
        });
    }
}

/// Returns the texts of the marks that are alive at `now`, and removes dead marks.
pub(super) async fn read_marks(
    objects: &RemoteObjects,
    directory: &str,
    now: Timestamp,
) -> opendal::Result<Vec<String>> {
    let mut marks: BTreeMap<String, BTreeMap<u64, String>> = BTreeMap::new();
    for object in objects.list(directory).await? {
        let below = object.path.strip_prefix(directory).unwrap_or_default().trim_start_matches('/');
        let Some((id, number)) = below.split_once('/') else { continue };
        // Other names were not written by larder.
        if let Ok(number) = number.parse() {
            marks.entry(id.to_owned()).or_default().insert(number, object.path.clone());
        }
    }
    let mut texts = Vec::new();
    for (id, paths) in marks {
        let read = paths.values().cloned().map(|path| async move { read_part(objects, &path).await });
        let parts: Vec<Option<(Option<Timestamp>, String)>> =
            stream::iter(read).buffered(objects.parallelism).try_collect().await?;
        // A part that vanished meanwhile belongs to a mark that was dropped.
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        let newest = parts.iter().filter_map(|(time, _)| *time).max();
        if newest.is_some_and(|time| is_alive(time, now)) {
            texts.push(parts.into_iter().map(|(_, text)| text).collect());
        } else {
            objects.remove_marks(&format!("{directory}/{id}"), paths.into_keys()).await?;
        }
    }
    Ok(texts)
}

/// Returns `true` if a mark is alive. A mark with a time in the future was written by a fast clock; it expires later.
fn is_alive(time: Timestamp, now: Timestamp) -> bool {
    now.duration_since(time) < SignedDuration::try_from(MARK_LIFETIME).unwrap_or(SignedDuration::MAX)
}

/// Reads a part and returns its time, if it is valid, and its text; returns `None` if the part does not exist.
async fn read_part(
    objects: &RemoteObjects,
    path: &str,
) -> opendal::Result<Option<(Option<Timestamp>, String)>> {
    let content = match objects.read(path, MAX_PART_SIZE).await {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let content = String::from_utf8_lossy(&content);
    let (time, text) = content.split_once('\n').unwrap_or((&content, ""));
    Ok(Some((time.parse().ok(), text.to_owned())))
}
