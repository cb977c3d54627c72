//! Runs the command line program with real engines.
//!
//! `make test` starts the engines and sets `LARDER_TEST_ENGINES` to a file that lists them (see `scripts/test.sh`).
//! Without this variable the tests fail, so that no test is skipped unnoticed.

#![allow(unused_crate_dependencies, reason = "each test binary uses only some of the dependencies")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod actions_cache_server;
mod archived_prefixes;
mod auto_mounts;
mod bad_input;
mod bases;
mod cache;
mod cancelling;
mod containers;
mod differential;
mod direct_server;
mod dirs;
mod docker_config;
mod ecr;
mod engines;
mod equivalence;
mod explaining;
mod faults;
mod grafts;
mod hits;
mod image;
mod kept;
mod mounts;
mod named;
mod nodes;
mod object_servers;
mod outputs;
mod own_files;
mod own_push;
mod places;
mod prefix_equality;
mod progress;
mod proxy;
mod rebuilds;
mod registries;
mod registry_tiers;
mod running;
mod runs;
mod scenarios;
mod store_actions_cache;
mod store_backends;
mod store_faults;
mod support;
mod transports;
mod visible;
mod waiting;
