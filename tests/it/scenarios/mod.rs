//! Recordings of whole builds: exit code, messages, record, and what registry and store were asked.
//!
//! Each scenario is compared with the recording in `snapshots/`, so that a change to the pipeline that is meant to keep its
//! behaviour shows what it did not keep. `INSTA_UPDATE=always` writes the recordings anew.
//!
//! What differs between runs (digests, times, sizes, ports) is replaced by a word, and what the engine itself says of its
//! steps is left out.

mod builds;
mod ends;
mod places;
mod record;
