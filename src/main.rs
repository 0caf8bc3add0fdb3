//! Parse, call, exit code. Nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(ci_setup_agent::start())
}
