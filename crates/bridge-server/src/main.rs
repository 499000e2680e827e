//! The program `bridge`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bridge_server::run(std::env::args_os())
}
