//! larder keeps what a Docker build already cooked.

pub mod buildkit;
pub mod cli;
pub mod commands;
pub mod context;
pub mod digest;
pub mod dockerfile;
pub mod endpoint;
pub mod engine;
pub mod key;
pub mod ledger;
pub mod output;
pub mod registry;
pub mod requirements;
pub mod settings;
pub mod store;
pub mod tiers;
