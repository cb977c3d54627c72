//! A whole image as an entry: its layers, its config, and what else an engine needs to have it again.
//!
//! ```text
//!  engine ─▶ archive as `docker save` writes it ─▶ blobs, the large ones as they come ─▶ what they are to each other ─▶ entry
//!  entry  ─▶ blobs that the engine lacks ─▶ archive as `docker load` reads it ─▶ engine
//! ```
//!
//! An entry's content is its blobs, each known by its digest, and behind them
//! a [`Listing`]. Layers stay byte for byte what the engine wrote: an image's
//! id is the digest of a config or a manifest that names them by theirs.
//! Nothing is written to a file on the way. Every chunk is verified as it
//! leaves the store, and every layer, as a whole, by the engine that gets it.
//!
//! | engine's store | what it writes | layers are |
//! |---|---|---|
//! | graph driver, before 25 | Docker's layout: `manifest.json`, `ID.json`, `…/layer.tar` | plain |
//! | graph driver, since 25 | the same, with an OCI layout around it: `index.json`, `blobs/sha256/…` | plain |
//! | containerd | an OCI layout, with indexes in indexes and attestations, and a `manifest.json` | as they were pulled or built, mostly gzip |

mod assemble;
mod known;
mod listing;
mod outline;
mod parcel;
mod save;

pub(crate) use assemble::{LayerArchive, assemble, copy_earlier};
pub(crate) use listing::{Listing, UnlistedError, read_listing};
pub(crate) use parcel::{Form, Parcel};
pub(crate) use save::{Destination, SaveError, SavedImage, save};

#[cfg(test)]
mod tests;
