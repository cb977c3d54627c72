//! The last builds of images, which jobs write for each other to the remote store.
//!
//! ```text
//! builds/<lane>/<image>/<time>-<random>      an object of `ledger::pack`
//! ```
//!
//! Each build writes an object of its own with the builds that it knows, so that concurrent jobs lose nothing: a reader
//! merges the newest ones. A job reads the lanes that it reads entries of, and writes its own. Nothing else in the store
//! depends on these objects.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::address::path_name;
use super::backend::{Backend, BackendError};
use super::{Lane, Lanes};
use crate::digest::Digest;

const DIRECTORY: &str = "builds";
/// The number of newest objects of an image and lane that are read.
const READ: usize = 3;
/// The number of newest objects of an image and lane that are kept.
const KEPT: usize = 5;

/// The shared builds in a remote.
#[derive(Clone)]
pub(crate) struct SharedBuilds {
    remote: Arc<dyn Backend>,
    lanes: Lanes,
}

impl fmt::Debug for SharedBuilds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedBuilds").field(&self.remote.place()).finish()
    }
}

impl SharedBuilds {
    pub(crate) fn new(remote: Arc<dyn Backend>, lanes: Lanes) -> Self {
        Self { remote, lanes }
    }

    /// Returns the newest objects about the image with these repositories, each with its lane. Objects that cannot be
    /// listed or read, or that are larger than `limit`, are left out.
    pub(crate) fn read(&self, repositories: &[String], limit: u64) -> Vec<(Lane, Vec<u8>)> {
        let mut objects = Vec::new();
        for lane in self.lanes.reads() {
            let listed = self.remote.list(&directory(lane, repositories)).unwrap_or_default();
            let mut paths: Vec<String> = listed.into_iter().map(|object| object.path).collect();
            paths.sort_unstable();
            for path in paths.iter().rev().take(READ) {
                if let Ok(Some(object)) = self.remote.read(path, limit) {
                    objects.push((lane.clone(), object));
                }
            }
        }
        objects
    }

    /// Writes an object about the image with these repositories, and removes old ones of this lane.
    pub(crate) fn write(
        &self,
        repositories: &[String],
        content: &[u8],
        now: Timestamp,
    ) -> Result<(), BackendError> {
        let directory = directory(self.lanes.own(), repositories);
        let mark = Digest::of(&[content, std::process::id().to_string().as_bytes()].concat()).hex();
        let path = format!("{directory}/{:013}-{}", now.as_millisecond(), &mark[..8]);
        self.remote.write(&path, content)?;
        let listed = self.remote.list(&directory).unwrap_or_default();
        let mut paths: Vec<String> = listed.into_iter().map(|object| object.path).collect();
        paths.sort_unstable();
        for old in &paths[..paths.len().saturating_sub(KEPT)] {
            // If this job may not remove objects, a bucket's own rules have to.
            drop(self.remote.remove(old));
        }
        Ok(())
    }
}

fn directory(lane: &Lane, repositories: &[String]) -> String {
    let image = Digest::of(repositories.join("\n").as_bytes()).hex();
    format!("{DIRECTORY}/{}/{}", path_name(&lane.to_string()), &image[..32])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::backend::DirectoryBackend;

    #[test]
    fn jobs_read_the_newest_objects_of_their_lanes() {
        let directory = tempfile::tempdir().unwrap();
        let remote: Arc<dyn Backend> = Arc::new(DirectoryBackend::new(directory.path()));
        let lane = |name: &str| Lane::try_from(name.to_owned()).unwrap();
        let builds = |own: &str| {
            SharedBuilds::new(Arc::clone(&remote), Lanes::new(lane(own), None, vec![lane("main")]))
        };
        let (app, other) = (vec!["r/app".to_owned()], vec!["r/other".to_owned()]);
        let time = |second| Timestamp::from_second(second).unwrap();
        let read = |builds: &SharedBuilds, image: &[String], limit| {
            let found = builds.read(image, limit).into_iter();
            let mut found: Vec<String> = found
                .map(|(lane, object)| format!("{lane}: {}", String::from_utf8(object).unwrap()))
                .collect();
            found.sort();
            found
        };
        let (main, request) = (builds("main"), builds("pr-7"));
        assert_eq!(read(&main, &app, 100), [""; 0]);
        for second in 1..=7 {
            main.write(&app, format!("{second}").as_bytes(), time(second)).unwrap();
        }
        request.write(&app, b"request", time(8)).unwrap();
        assert_eq!(read(&main, &app, 100), ["main: 5", "main: 6", "main: 7"], "not those of a pull request");
        assert_eq!(read(&request, &app, 100), ["main: 5", "main: 6", "main: 7", "pr-7: request"]);
        assert_eq!(read(&request, &app, 3), ["main: 5", "main: 6", "main: 7"], "one is too large");
        assert_eq!(read(&request, &other, 100), [""; 0]);
        assert_eq!(remote.list(DIRECTORY).unwrap().len(), KEPT + 1);
    }
}
