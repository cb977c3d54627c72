//! Shows how a build goes: BuildKit's status stream, rendered.

mod log_line;
mod runs;
mod step;
#[cfg(test)]
mod testing;
mod trace;
mod vertex;

pub use log_line::LogLine;
pub use step::{StepCounts, StepKind, StepRecord};
pub use trace::{Change, Changes, Trace, VertexId};
pub use vertex::{REMEMBERED_LINES, State, VertexTrace};
