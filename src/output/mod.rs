//! What larder shows: the printer, progress, and renderings for people and programs.

pub mod changes;
mod printer;
pub mod progress;
pub mod stats;
pub mod summary;
mod table;

pub use printer::{Printer, terminal_size};
