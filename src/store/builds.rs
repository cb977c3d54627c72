//! The last builds of images, which jobs write for each other to the remote store.
//!
//! ```text
//! builds/<lane>/<image>/<time>-<random>      an object of `ledger::pack`
//! ```
//!
//! Each build writes an object of its own with the builds that it knows, so that concurrent jobs lose nothing: a reader
//! merges the newest ones. A job reads the lanes that it reads entries of, and writes its own.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::address::path_name;
use super::{Store, StoreError};
use crate::digest::Digest;

const DIRECTORY: &str = "builds";
/// The number of newest objects of an image and lane that are read.
const READ: usize = 3;
/// The number of newest objects of an image and lane that are kept.
const KEPT: usize = 5;

impl Store {
    /// Returns the newest objects in the remote that were written about the image with these repositories, or about all
    /// images. Returns nothing without a remote, or if only signed entries are used, because objects are not signed.
    pub(crate) fn shared_builds(
        &self,
        repositories: Option<&[String]>,
        limit: u64,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let Some(remote) = self.remote.as_ref().filter(|_| !self.trust.is_strict()) else {
            return Ok(Vec::new());
        };
        let wanted = repositories.map(image_name);
        let lanes: Vec<String> = self.lanes.reads().iter().map(|lane| path_name(&lane.to_string())).collect();
        let mut found: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
        for object in remote.backend.list(DIRECTORY)? {
            let parts: Vec<&str> = object.path.split('/').collect();
            let [_, lane, image, _] = parts[..] else { continue };
            if lanes.iter().any(|own| own == lane) && wanted.as_deref().is_none_or(|wanted| wanted == image) {
                found.entry((lane.to_owned(), image.to_owned())).or_default().push(object.path.clone());
            }
        }
        let mut objects = Vec::new();
        for mut paths in found.into_values() {
            paths.sort_unstable();
            for path in paths.iter().rev().take(READ) {
                objects.extend(remote.backend.read(path, limit)?);
            }
        }
        Ok(objects)
    }

    /// Writes an object about the image with these repositories to the remote, and removes old ones of this lane. Does
    /// nothing without a remote, and in a read-only store.
    pub(crate) fn share_builds(
        &self,
        repositories: &[String],
        content: &[u8],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(remote) = self.remote.as_ref().filter(|_| !self.read_only) else { return Ok(()) };
        let lane = path_name(&self.lanes.own().to_string());
        let directory = format!("{DIRECTORY}/{lane}/{}", image_name(repositories));
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| StoreError::Worker(std::io::Error::other(error)))?;
        let random = &Digest::of(&random).hex()[..8];
        let path = format!("{directory}/{:013}-{random}", now.as_millisecond());
        remote.backend.write(&path, content)?;
        let listed = remote.backend.list(&directory)?;
        let mut paths: Vec<String> = listed.into_iter().map(|object| object.path).collect();
        paths.sort_unstable();
        for old in &paths[..paths.len().saturating_sub(KEPT)] {
            remote.backend.remove(old)?;
        }
        Ok(())
    }
}

fn image_name(repositories: &[String]) -> String {
    Digest::of(repositories.join("\n").as_bytes()).hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::backend::DirectoryBackend;
    use crate::store::{Lane, Lanes, StoreOptions};

    #[test]
    fn jobs_read_the_newest_objects_of_their_lanes() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| Arc::new(DirectoryBackend::new(&directory.path().join(name)));
        std::fs::create_dir(directory.path().join("remote")).unwrap();
        let lane = |name: &str| Lane::try_from(name.to_owned()).unwrap();
        let store = |own: &str, read_only| {
            let lanes = Lanes::new(lane(own), None, vec![lane("main")]);
            let options = StoreOptions { lanes, read_only, ..StoreOptions::of(lane(own)) };
            Store::new(at("local"), Some(at("remote")), options)
        };
        let (app, other) = (vec!["r/app".to_owned()], vec!["r/other".to_owned()]);
        let time = |second| Timestamp::from_second(second).unwrap();
        let read = |store: &Store, image: Option<&[String]>| {
            let mut found: Vec<String> = store
                .shared_builds(image, 100)
                .unwrap()
                .into_iter()
                .map(|object| String::from_utf8(object).unwrap())
                .collect();
            found.sort();
            found
        };
        let (main, request) = (store("main", false), store("pr-7", false));
        assert_eq!(read(&main, None), [""; 0]);
        for second in 1..=7 {
            main.share_builds(&app, format!("main {second}").as_bytes(), time(second)).unwrap();
        }
        request.share_builds(&app, b"pr 1", time(8)).unwrap();
        request.share_builds(&other, b"pr other", time(9)).unwrap();
        store("main", true).share_builds(&app, b"read-only", time(10)).unwrap();
        assert_eq!(read(&main, Some(&app)), ["main 5", "main 6", "main 7"], "not those of a pull request");
        assert_eq!(read(&request, Some(&app)), ["main 5", "main 6", "main 7", "pr 1"]);
        assert_eq!(read(&request, None).len(), 5);
        let kept = main.remote.as_ref().unwrap().backend.list(DIRECTORY).unwrap();
        assert_eq!(kept.len(), KEPT + 2);
    }
}
