//! The courier: a small static program that runs in the builder, beside cache mounts.
//!
//! `protocol` is what both sides say; `mount` is what the courier does. The
//! program itself is `main.rs`, which `build.rs` compiles of these files and
//! std alone; it runs in an empty file system, without network.

pub mod mount;
pub mod protocol;

include!(concat!(env!("OUT_DIR"), "/courier_programs.rs"));

/// The program for builders of this architecture, as BuildKit names it (`amd64`, `arm64`), if this larder has one.
pub(crate) fn program(architecture: &str) -> Option<&'static [u8]> {
    PROGRAMS.iter().find(|(name, _)| *name == architecture).map(|(_, program)| *program)
}

#[cfg(test)]
mod tests;
