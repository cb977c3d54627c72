//! larder caches Docker builds, so that CI agents reuse each other's results instead of building them again.
//!
//! The modules, from the top down (`ARCHITECTURE.md` lists which ones each may use):
//!
//! - [`commands`] runs a subcommand, with flags of `cli` that `settings` resolves, and prints its result with `output`.
//! - `pipeline` runs a build according to a `plan`: it reads inputs, computes keys, and uses caches and an engine.
//! - [`tiers`] are the caches of whole images and layers. [`buildkit`] builds images, [`engine`] is the client of the
//!   Docker Engine API, and `images` converts images to entries of the store.
//! - [`dockerfile`], [`requirements`] and [`context`] parse the inputs of a [`key`]. `graft` creates the last layers of
//!   an image without a builder.
//! - [`store`] stores content, [`archive`] converts directories to entries; `notes` and `ledger` record builds.
//! - [`mounts`] transfers cache mounts between a builder and the store, with the program [`courier`] in a build step.
//! - [`endpoint`], `registry`, `platform` and `digest` are used by all of these.
//!
//! The binary consists of a call to [`commands::main`]. To open a store, list its entries, and load an image from it:
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use larder::buildkit::Client;
//! use larder::buildkit::EngineProduct;
//! use larder::endpoint::Endpoint;
//! use larder::engine::Engine;
//! use larder::store::backend::DirectoryBackend;
//! use larder::store::{EntryKind, Lane, Store, StoreLocation, StoreOptions};
//! use larder::tiers::ArchiveTier;
//!
//! # async fn load() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = DirectoryBackend::new(Path::new("/var/cache/larder/v1"));
//! let options = StoreOptions::of(Lane::try_from("main".to_owned())?);
//! let store = Store::new(Arc::new(directory), None, options);
//!
//! let (census, faults) = store.census(StoreLocation::Local)?;
//! for listed in &census.entries {
//!     let manifest = &listed.entry.manifest;
//!     println!("{} {} {}", listed.entry.short_id(), manifest.address.kind, manifest.subject.title);
//! }
//! assert!(faults.is_empty());
//!
//! let newest = census.entries.iter().find(|listed| listed.entry.manifest.address.kind == EntryKind::Image);
//! let entry = &newest.ok_or("the store has no image")?.entry;
//! let endpoint = Endpoint::parse("unix:///var/run/docker.sock", None)?;
//! let client = Client::connect(&endpoint).await?;
//! let EngineProduct::Docker { api, .. } = client.product() else { return Err("buildkitd stores no images".into()) };
//! let engine = Engine::new(&endpoint, (api.major, api.minor))?;
//! let images = engine.image_store().await?;
//! let tier = ArchiveTier::new(store, engine, images, Duration::from_mins(10));
//! let loaded = tier.load(entry, &["app:1".parse()?], &Arc::default()).await?;
//! println!("{} after {} bytes", loaded.image.id, loaded.bytes);
//! # Ok(())
//! # }
//! ```
//!
//! A key is computed from everything that determines a result, here from the files of a directory:
//!
//! ```
//! use larder::key::{DirectoryInputs, directory_key};
//!
//! let mut inputs = DirectoryInputs { platform: "linux/amd64".to_owned(), ..DirectoryInputs::default() };
//! inputs.files.insert("poetry.lock".to_owned(), b"[[package]]".to_vec());
//! let (key, recorded) = directory_key(&inputs);
//! assert_eq!(recorded.len(), 2);
//! inputs.files.insert("poetry.lock".to_owned(), b"[[package]] # changed".to_vec());
//! assert_ne!(directory_key(&inputs).0, key);
//! ```

mod amounts;
pub mod archive;
pub mod buildkit;
mod cli;
pub mod commands;
pub mod context;
pub mod courier;
mod digest;
pub mod dockerfile;
pub mod endpoint;
pub mod engine;
mod error_chain;
mod graft;
mod http_retry;
mod images;
pub mod key;
mod ledger;
pub mod mounts;
mod notes;
mod output;
mod pipeline;
mod plan;
mod platform;
#[cfg(test)]
mod published_schema;
mod registry;
mod regular_file;
pub mod requirements;
mod screen_text;
mod settings;
pub mod store;
pub mod tiers;
mod tls;
