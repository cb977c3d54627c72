//! Saves a whole image as an entry: its layers, its config, and what else an engine needs to load it.
//!
//! ```text
//!  engine ─▶ archive as `docker save` writes it ─▶ blobs, the large ones as they arrive ─▶ listing ─▶ entry
//!  entry  ─▶ blobs that the engine lacks ─▶ archive as `docker load` reads it ─▶ engine
//! ```
//!
//! The content of an entry is its blobs, each identified by its digest, followed by a [`Listing`]. Layers are kept byte
//! for byte, because the id of an image is the digest of a config or a manifest that contains the digests of the
//! layers. No temporary files are written. Every chunk is verified when it is read from the store, and every layer as a
//! whole by the engine that loads it.
//!
//! | engine's store | what it writes | layers are |
//! |---|---|---|
//! | graph driver, before 25 | Docker's layout: `manifest.json`, `ID.json`, `…/layer.tar` | plain |
//! | graph driver, since 25 | the same, with an OCI layout around it: `index.json`, `blobs/sha256/…` | plain |
//! | containerd | an OCI layout, with indexes in indexes and attestations, and a `manifest.json` | as they were pulled or built, mostly gzip |

mod assemble;
mod chain;
mod compress;
mod known;
mod listing;
mod outline;
mod parcel;
mod prefix;
mod save;

pub(crate) use assemble::{LayerArchive, assemble, copy_earlier};
pub(crate) use chain::chain_ids;
pub(crate) use compress::{compress, cores};
pub(crate) use listing::{Listing, UnlistedError, read_config, read_listing};
pub(crate) use parcel::{Form, Parcel};
pub(crate) use prefix::{SavePrefixError, save_prefix};
pub(crate) use save::{Destination, SaveError, SavedImage, save};

#[cfg(test)]
mod tests;
