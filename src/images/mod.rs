//! Saves a whole image as an entry (its layers, its config, and other data that an engine needs), and sends it to an
//! engine. Never changes the bytes of a layer.
//!
//! ```text
//!  engine ─▶ archive as `docker save` writes it ─▶ blobs, the large ones as they arrive ─▶ listing ─▶ entry
//!  entry  ─▶ blobs that the engine lacks ─▶ archive as `docker load` reads it ─▶ engine
//! ```
//!
//! The content of an entry is its blobs, each identified by its digest, followed by an [`ImageListing`]. Layers are stored
//! byte for byte, because the id of an image is the digest of a config or manifest that contains the digests of the
//! layers. No temporary files are written. Every chunk is verified when it is read from the store, and every layer as a
//! whole by the engine that loads it.
//!
//! | engine's store | what it writes | layers are |
//! |---|---|---|
//! | graph driver, before 25 | Docker's layout: `manifest.json`, `ID.json`, `…/layer.tar` | uncompressed |
//! | graph driver, since 25 | the same, with an OCI layout around it: `index.json`, `blobs/sha256/…` | uncompressed |
//! | containerd | an OCI layout with nested indexes and attestations, and a `manifest.json` | as pulled or built, mostly gzip |

mod assemble;
mod chain;
mod compress;
mod known;
mod listing;
mod load_archive;
mod outline;
mod prefix;
mod save;

pub(crate) use assemble::{LayerArchive, assemble, copy_earlier};
pub(crate) use chain::chain_ids;
pub(crate) use compress::{CompressionTime, compress, cores};
pub(crate) use listing::{ImageListing, ImageListingError, read_config, read_listing};
pub(crate) use load_archive::{ArchiveLayout, LoadArchive};
pub(crate) use prefix::{SavePrefixError, save_prefix};
pub(crate) use save::{ImageDestination, SaveImageError, SavedImage, save};

#[cfg(test)]
mod tests;
