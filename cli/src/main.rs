//! The `meshprobe` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    meshprobe::run(std::env::args_os())
}
