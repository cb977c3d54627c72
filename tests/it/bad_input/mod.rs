//! Invalid input and failures of the engine: larder prints one line with the cause and a hint, and sets the exit code.

mod command_line;
mod configuration;
mod dockerfiles;
mod endpoints;
mod engine_faults;
mod files;
mod sources;
mod tls;
