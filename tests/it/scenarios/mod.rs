//! Recordings of whole builds: exit code, messages, metadata, and the calls to registry and store.
//!
//! Each scenario is compared with its recording in `snapshots/`, which shows unintended changes of behaviour.
//! `INSTA_UPDATE=always` rewrites the recordings.
//!
//! Values that differ between runs (digests, times, sizes, ports) are replaced by placeholders. The engine's own output
//! of its steps is left out.

mod builds;
mod failures;
mod record;
mod unavailable_caches;
