//! The aggregator's binary. Everything is in the library; see [`meshprobe_aggregator::app`].

use std::process::ExitCode;

use meshprobe_aggregator::app;

fn main() -> ExitCode {
    meshprobe_daemon::exit::main("meshprobe-aggregator", app::main)
}
