//! larder keeps what a Docker build already cooked.

pub mod buildkit;
pub mod cli;
pub mod context;
pub mod digest;
pub mod dockerfile;
pub mod key;
pub mod requirements;
