//! The command line against real engines.
//!
//! `make test` starts the engines and names them in `LARDER_TEST_ENGINES`
//! (see `scripts/test.sh`). Without that these tests fail: a suite that quietly
//! tests nothing is worse than none.

#![allow(unused_crate_dependencies, reason = "one binary of several")]
#![allow(clippy::unwrap_used, reason = "what a test relies on must be so")]

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
