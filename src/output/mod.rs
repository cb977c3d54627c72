//! What larder shows: the printer, progress, and renderings for people and programs.

mod amounts;
pub mod changes;
pub mod dir;
pub mod entries;
pub mod eviction;
pub mod mounts;
mod prefixed;
mod printer;
pub mod progress;
pub mod stats;
pub mod summary;
mod table;
pub mod transfer;
pub mod usage;
pub mod verification;

pub use amounts::{count, size};
pub use prefixed::Prefixed;
pub use printer::{Printer, terminal_size};
