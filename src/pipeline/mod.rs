//! The flow of a build as stages that return outcomes, and the parts that the stages use.
//!
//! ```text
//!  JobSettings ─▶ Session ─▶ Inputs ─▶ Keyed ─▶ Lookup ─┬─ Served ─────────────────────────┬─▶ BuildRecord ─▶ ledger
//!  BuildSettings ──────────────┘                        └─ Made: Restored ─▶ Solved ─▶ … ──┘
//! ```
//!
//! Nothing here prints, or reads flags or the environment. Events go to a [`reporter`].

pub(crate) mod base_image;
pub(crate) mod bases;
pub(crate) mod blocking;
pub(crate) mod borrowed_name;
pub(crate) mod carrier;
pub(crate) mod changes;
pub(crate) mod confidential;
pub(crate) mod container;
pub(crate) mod dir;
pub(crate) mod error;
pub(crate) mod explain;
pub(crate) mod exports;
pub(crate) mod failed_build;
pub(crate) mod files;
pub(crate) mod handing;
pub(crate) mod import_watch;
pub(crate) mod inputs;
pub(crate) mod keyed_build;
pub(crate) mod keys;
pub(crate) mod known_builder;
pub(crate) mod own_files;
mod own_push;
pub(crate) mod reached_mounts;
pub(crate) mod registries;
pub(crate) mod reporter;
pub(crate) mod request;
pub(crate) mod session;
pub(crate) mod stages;
pub(crate) mod transfers;
pub(crate) mod unnoticed;
pub(crate) mod visible;
pub(crate) mod witness;
