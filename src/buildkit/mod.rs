//! The native BuildKit client: no Docker CLI, no plugin.
//!
//! ```text
//!  Client ── Control.Solve, LLBBridge ────▶ ┌──────────┐
//!         ◀─ Control.Status (stream) ────── │ BuildKit │
//!  Session ◀═ gRPC, served by the client ══ └──────────┘
//!     file sync · secrets · ssh · registry auth · upload · file send
//! ```
//!
//! There are two transports. Docker engines up to API 1.52 upgrade an HTTP/1 request to HTTP/2 on `POST /grpc`
//! (control) and `POST /session` (session); newer engines and buildkitd speak gRPC directly and carry the session as
//! the stream of `Control.Session`. [`Client::connect`] probes which one to use.
//!
//! The client serves the session while a solve runs. If the session ends, the solve is aborted, because BuildKit itself
//! might wait for it forever.

mod client;
mod error;
mod frontend;
mod http1;
pub(crate) mod llb;
mod product;
pub(crate) mod session;
pub(crate) mod solve;
pub(crate) mod status;
pub(crate) mod trace;

pub use client::Client;
pub(crate) use client::Worker;
pub(crate) use error::{BuildFailure, ConnectError, SolveError};
pub(crate) use product::Ability;
#[cfg(test)]
pub(crate) use product::ApiVersion;
pub use product::EngineProduct;
