//! What holds of entries of directories.

mod listing;
