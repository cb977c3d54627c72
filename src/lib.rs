//! larder keeps what a Docker build already cooked.

pub mod buildkit;
pub mod context;
pub mod digest;
pub mod endpoint;
pub mod registry;
pub mod output;
