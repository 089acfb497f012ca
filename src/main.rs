//! The `mockserver` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    mockserver::main()
}
