//! Every way to an engine: both BuildKit transports, and all addresses that Docker knows.

mod addresses;
mod contexts;
mod direct;
mod remote_sources;
mod ssh;
