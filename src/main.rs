//! The `larder` command: one call into the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    larder::commands::main()
}
