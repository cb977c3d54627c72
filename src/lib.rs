//! larder keeps what a Docker build already cooked.

pub mod buildkit;
pub mod digest;
pub mod dockerfile;
pub mod key;
pub mod requirements;
