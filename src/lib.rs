//! larder keeps what a Docker build already cooked, so that the next CI agent need not cook it again.
//!
//! The rooms, from the top down (`ARCHITECTURE.md` says which may use which):
//!
//! - [`commands`] runs a subcommand; [`cli`] is what was typed, [`settings`] what it means, [`output`] what is shown.
//! - [`tiers`] look for a whole image, [`buildkit`] builds one, [`engine`] keeps it, [`images`] makes entries of it.
//! - [`dockerfile`], [`requirements`] and [`context`] are what goes into a [`key`]; [`store`] keeps content,
//!   [`archive`] makes entries of directories, [`notes`] and [`ledger`] remember.
//! - [`mounts`] carries cache mounts between a builder and the store; [`courier`] is its half there.
//! - [`endpoint`], [`registry`], [`platform`] and [`digest`] are the ground.

pub mod archive;
pub mod buildkit;
pub mod cli;
pub mod commands;
pub mod context;
pub mod courier;
pub mod digest;
pub mod dockerfile;
pub mod endpoint;
pub mod engine;
pub mod images;
pub mod key;
pub mod ledger;
pub mod mounts;
pub mod notes;
pub mod output;
pub mod platform;
pub mod registry;
pub mod requirements;
pub mod settings;
pub mod store;
pub mod tiers;
