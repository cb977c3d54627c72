//! larder keeps what a Docker build already cooked, so that the next CI agent need not cook it again.
//!
//! The rooms, from the top down (`ARCHITECTURE.md` says which may use which):
//!
//! - [`commands`] runs a subcommand; [`cli`] is what was typed, [`settings`] what it means, [`output`] what is shown.
//! - [`plan`] is what a build is to do, [`pipeline`] what it reads, is known by and asks an engine for.
//! - [`tiers`] look for a whole image, [`buildkit`] builds one, [`engine`] keeps it, `images` makes entries of it.
//! - [`dockerfile`], [`requirements`] and [`context`] are what goes into a [`key`]; [`store`] keeps content,
//!   [`archive`] makes entries of directories, `notes` and `ledger` remember.
//! - [`mounts`] carries cache mounts between a builder and the store; [`courier`] is its half there.
//! - [`endpoint`], [`registry`], [`platform`] and [`digest`] are the ground.
//!
//! The library is what the binary is made of. To open a store, look at what it keeps, and load an image from it:
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
//! use larder::store::backend::Directory;
//! use larder::store::{EntryKind, Lane, Place, Store, Terms};
//! use larder::tiers::ArchiveTier;
//!
//! # async fn load() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = Directory::new(Path::new("/var/cache/larder/v1"));
//! let terms = Terms::of(Lane::try_from("main".to_owned())?);
//! let store = Store::new(Arc::new(directory), None, terms);
//!
//! let (census, faults) = store.census(Place::Local)?;
//! for listed in &census.entries {
//!     let manifest = &listed.entry.manifest;
//!     println!("{} {} {}", listed.entry.short_id(), manifest.address.kind, manifest.subject.title);
//! }
//! assert!(faults.is_empty());
//!
//! let newest = census.entries.iter().find(|listed| listed.entry.manifest.address.kind == EntryKind::Image);
//! let entry = &newest.ok_or("no image is kept")?.entry;
//! let endpoint = Endpoint::parse("unix:///var/run/docker.sock", None)?;
//! let client = Client::connect(&endpoint).await?;
//! let EngineProduct::Docker { api, .. } = client.product() else { return Err("buildkitd keeps no images".into()) };
//! let engine = Engine::new(&endpoint, (api.major, api.minor))?;
//! let images = engine.image_store().await?;
//! let tier = ArchiveTier::new(store, engine, images, Duration::from_mins(10));
//! let loaded = tier.load(entry, &["app:1".parse()?], &Arc::default()).await?;
//! println!("{} after {} bytes", loaded.image.id, loaded.bytes);
//! # Ok(())
//! # }
//! ```
//!
//! A key is made of whatever decides what is built, here of a directory's files:
//!
//! ```
//! use larder::key::{DirectoryInputs, directory_key};
//!
//! let mut inputs = DirectoryInputs { platform: "linux/amd64".to_owned(), ..DirectoryInputs::default() };
//! inputs.files.insert("poetry.lock".to_owned(), b"[[package]]".to_vec());
//! let (key, told) = directory_key(&inputs);
//! assert_eq!(told.len(), 2);
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
pub mod digest;
pub mod dockerfile;
pub mod endpoint;
pub mod engine;
mod error_chain;
mod images;
pub mod key;
mod ledger;
pub mod mounts;
mod notes;
mod output;
mod pipeline;
mod plan;
mod platform;
pub mod registry;
pub mod requirements;
mod screen_text;
mod settings;
pub mod store;
pub mod tiers;
