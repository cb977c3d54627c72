//! Content by address, in entries, in lanes; on this machine's disk and in a bucket that machines share.
//!
//! The same tree on a disk and in a bucket; `v1` is its version:
//!
//! ```text
//! v1/
//!   entries/<lane>/<kind>/<family>/<key>.<created>.<id>.json   a manifest, see `manifest`
//!   used/<id>            when the entry was last used
//!   chunks/<ab>/<abcd…>  a chunk by the SHA-256 of its bytes, as one zstd frame
//!   saving/…             marks: who is saving, and which chunks that needs
//!   sweeping/…           marks: who is removing, and which chunks
//!   damaged/…            what failed verification; nobody reads it
//! ```
//!
//! Chunks are written before the manifest that needs them, and manifests
//! removed before their chunks. Every chunk is verified whenever it is read.

mod address;
pub mod backend;
mod lane;
mod manifest;

pub use address::{Address, EntryKind};
pub use lane::{InvalidLane, Lane};
pub use manifest::{ChunkRef, Entry, KeyInput, Manifest, SCHEMA, Span, Subject};
