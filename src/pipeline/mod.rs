//! The flow of a build as stages that return outcomes, and the parts that the stages use.
//!
//! ```text
//!  JobSettings ─▶ Session ─▶ Inputs ─▶ Keyed ─▶ Lookup ─┬─ CacheHit ─────────────────────────────┬─▶ BuildRecord
//!  BuildSettings ────────────┘                          ├─ GraftedImage ─────────────────────────┤
//!                                                       └─ ImageBuild: Restored ─▶ Solved ─▶ … ──┘
//! ```
//!
//! Nothing here prints, or reads flags or the environment. Events go to a [`reporter`].

pub(crate) mod base_image;
pub(crate) mod base_lookup;
pub(crate) mod blocking;
pub(crate) mod borrowed_name;
pub(crate) mod changes;
pub(crate) mod confidential;
pub(crate) mod container;
pub(crate) mod dir;
mod direct_push;
pub(crate) mod directory_digests;
pub(crate) mod error;
pub(crate) mod explain;
pub(crate) mod exports;
pub(crate) mod failed_build;
pub(crate) mod image_loading;
pub(crate) mod import_watch;
pub(crate) mod input_snapshot;
pub(crate) mod inputs;
pub(crate) mod keyed_build;
pub(crate) mod keys;
pub(crate) mod known_builder;
pub(crate) mod mount_transfer;
pub(crate) mod reached_mounts;
pub(crate) mod registries;
pub(crate) mod reporter;
pub(crate) mod request;
pub(crate) mod session;
pub(crate) mod stages;
pub(crate) mod transfers;
pub(crate) mod undetected_changes;
pub(crate) mod visible_files;
pub(crate) mod withheld_files;
