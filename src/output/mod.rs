//! All output of larder: the printer, progress, and reports as text and JSON.

pub(crate) mod benchmark_row;
pub(crate) mod dir;
pub(crate) mod entries;
pub(crate) mod eviction;
pub(crate) mod mounts;
mod prefixed;
mod printer;
pub(crate) mod progress;
pub(crate) mod report;
mod reporting;
pub(crate) mod stats;
pub(crate) mod summary;
mod table;
pub(crate) mod transfer;
pub(crate) mod usage;
pub(crate) mod verification;

pub(crate) use printer::Printer;
