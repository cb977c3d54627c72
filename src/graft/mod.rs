//! Grafts: the layers and the config of a Dockerfile's last instructions, created without a builder.
//!
//! ```text
//!  prefix image ─▶ config, PrefixIndex ────────┐
//!  Dockerfile, cut ─▶ Tail: settings, copies ──┼─▶ Layer … ─▶ tar   and   config with history
//!  context ─▶ CopySources ─────────────────────┘
//! ```
//!
//! The result is identical to the one of `BuildKit`: copies follow its `fsutil/copy` and `solver/llbsolver/file`,
//! settings its `frontend/dockerfile/dockerfile2llb`. If an instruction cannot be reproduced exactly, or would fail
//! there, the result is a [`Refusal`], and the caller builds normally.
//!
//! Only [`CopySources`], [`LayerTarReader`] and [`make_layer`] read files. Nothing here connects to a registry or an engine.

mod accounts;
mod copy;
mod go_text;
mod index;
mod layer;
mod layer_reader;
mod refusal;
mod settings;
mod sources;
mod tail;
mod tree;

#[cfg(test)]
mod tests;

pub(crate) use accounts::{Accounts, FILES as ACCOUNT_FILES};
pub(crate) use copy::make_layer;
pub(crate) use index::{DamagedIndex, PrefixIndex};
pub(crate) use layer::FinishedLayer;
pub(crate) use layer_reader::LayerTarReader;
pub(crate) use refusal::Refusal;
pub(crate) use sources::CopySources;
pub(crate) use tail::{Tail, TailOptions};
pub(crate) use tree::{Attributes, ImageNode, ImageTree};
