//! All connections to an engine: both BuildKit transports, and all kinds of addresses that Docker supports.

mod addresses;
mod contexts;
mod direct;
mod remote_sources;
mod ssh;
