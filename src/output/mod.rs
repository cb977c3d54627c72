//! What the user sees: rendering of what the other rooms report.
//!
//! The rooms below never print; they hand over values and this room decides
//! how they look. It depends on domain types only.

pub mod progress;
