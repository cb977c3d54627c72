//! The command line against real engines.
//!
//! `make test` starts the engines and names them in `LARDER_TEST_ENGINES`
//! (see `scripts/test.sh`). Without that these tests fail: a suite that quietly
//! tests nothing is worse than none.

#![allow(unused_crate_dependencies, reason = "one binary of several")]

mod engines;
mod hits;
mod support;
