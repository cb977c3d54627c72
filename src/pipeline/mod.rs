//! What a build reads, what it is known by, and what an engine is asked.
//!
//! ```text
//!  plan ─▶ inputs ─▶ keys (bases, files, witness) ─▶ request (exports) ─▶ an engine
//! ```
//!
//! Nothing here prints, or reads flags or the environment.

pub(crate) mod bases;
pub(crate) mod blocking;
pub(crate) mod borrowed_name;
pub(crate) mod confidential;
pub(crate) mod explain;
pub(crate) mod exports;
pub(crate) mod files;
pub(crate) mod import_watch;
pub(crate) mod inputs;
pub(crate) mod keys;
pub(crate) mod known_builder;
pub(crate) mod own_files;
pub(crate) mod registries;
pub(crate) mod request;
pub(crate) mod unnoticed;
pub(crate) mod visible;
pub(crate) mod witness;
