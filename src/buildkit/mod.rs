//! The native BuildKit client.

pub mod status;
