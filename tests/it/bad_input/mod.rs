//! Wrong input, missing parts, faults of the engine: one line of cause, a hint, the right exit code.

mod command_line;
mod configuration;
mod dockerfiles;
mod endpoints;
mod engine_faults;
mod files;
mod sources;
mod tls;
