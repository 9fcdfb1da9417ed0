//! Exit codes: what a script learns without reading the output.
//!
//! | Code | Meaning |
//! |---|---|
//! | 0 | healthy, or nothing was judged (`completion`, `watch`) |
//! | 1 | the command failed: bad arguments, no aggregator, an unknown name |
//! | 2 | not healthy: an open incident, a failing path or node, or an aggregator that does not judge yet |

use std::process::ExitCode;

use clap::error::ErrorKind;

/// The table above for the end of `--help`.
pub const HELP: &str = "Exit codes:
  0  healthy
  1  the command failed (bad arguments, no aggregator, unknown name)
  2  not healthy: an open incident, a failing path or node, or nothing judged yet";

/// What a command found out about the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Nothing that was looked at fails.
    Healthy,
    /// Something fails, or nobody can say yet.
    Unhealthy,
}

impl Health {
    /// Unhealthy if any of several things is.
    pub fn unless(unhealthy: bool) -> Self {
        if unhealthy {
            Self::Unhealthy
        } else {
            Self::Healthy
        }
    }
}

/// Turns a command's result into the exit code, after printing its error on stderr.
pub fn code(result: anyhow::Result<Health>) -> ExitCode {
    match result {
        Ok(Health::Healthy) => ExitCode::SUCCESS,
        Ok(Health::Unhealthy) => ExitCode::from(2),
        Err(error) => {
            anstream::eprintln!("meshprobe: {error:#}");
            ExitCode::from(1)
        }
    }
}

/// Prints what clap has to say: help and version are a success, anything else is a failed command.
///
/// clap's own code for bad arguments is 2, which here means "not healthy".
pub fn usage(answer: &clap::Error) -> ExitCode {
    // A closed pipe ends the help quietly.
    drop(answer.print());
    match answer.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
        _ => ExitCode::from(1),
    }
}
