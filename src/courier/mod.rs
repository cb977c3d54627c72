//! The courier: a small static program that runs in the builder with cache mounts.
//!
//! `protocol` defines the messages of both sides, and `mount` serves them. The program is `main.rs`, which `build.rs`
//! compiles from these files. They must use std only: the program runs in an empty file system, without network.

pub mod mount;
pub mod protocol;

include!(concat!(env!("OUT_DIR"), "/courier_programs.rs"));

/// Returns the program for builders of this architecture in BuildKit's notation (`amd64`, `arm64`), if it is included.
pub(crate) fn program(architecture: &str) -> Option<&'static [u8]> {
    PROGRAMS.iter().find(|(name, _)| *name == architecture).map(|(_, program)| *program)
}

#[cfg(test)]
mod tests;
