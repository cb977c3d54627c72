//! Runs the command line program with real engines.
//!
//! `make test` starts the engines and sets `LARDER_TEST_ENGINES` to a file that lists them (see `scripts/test.sh`).
//! Without this variable the tests fail, so that no test is skipped unnoticed.

#![allow(unused_crate_dependencies, reason = "each test binary uses only some of the dependencies")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod actions_cache_server;
mod archived_images;
mod archived_prefixes;
mod auto_mounts;
mod bad_input;
mod base_images;
mod cache;
mod cancelling;
mod containers;
mod differential;
mod direct_server;
mod directories;
mod docker_config;
mod ecr;
mod engines;
mod equivalence;
mod explaining;
mod faulty_proxy;
mod grafts;
mod image;
mod image_hits;
mod job_environments;
mod larder_push;
mod larder_yaml_images;
mod mounts;
mod object_servers;
mod outputs;
mod polling;
mod prefix_equality;
mod progress;
mod proxy;
mod rebuilds;
mod registries;
mod registry_tiers;
mod report;
mod running;
mod runs;
mod scenarios;
mod several_engines;
mod statistics;
mod store_actions_cache;
mod store_backends;
mod store_faults;
mod support;
mod transports;
mod visible;
mod written_files;
