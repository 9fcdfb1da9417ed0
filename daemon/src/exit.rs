//! How a process ends: its exit code, and its error printed once.
//!
//! | Code | Meaning | What a supervisor should do |
//! |---|---|---|
//! | 0 | asked to stop, and stopped | nothing |
//! | 1 | failed while running | restart it |
//! | 2 | refused to start: bad flags or bad configuration | tell a person; a restart will not help |
//! | 130, 143 | a second signal ended the drain (128 + signal number) | nothing |
//!
//! `clap` uses 2 for bad flags as well, so 2 always means "what was written down is wrong".

use std::{fmt, process::ExitCode};

use tracing::error;

use crate::logging;

/// Why the process ends other than by request.
#[derive(Debug)]
pub enum Failure {
    /// What was configured cannot work; exit code 2.
    Config(anyhow::Error),
    /// Something failed that was expected to work; exit code 1.
    Runtime(anyhow::Error),
}

impl Failure {
    /// Wraps an error of the configuration.
    pub fn config(error: impl Into<anyhow::Error>) -> Self {
        Self::Config(error.into())
    }

    /// Wraps an error of the running process.
    pub fn runtime(error: impl Into<anyhow::Error>) -> Self {
        Self::Runtime(error.into())
    }

    /// The number that the process exits with.
    pub fn code(&self) -> u8 {
        match self {
            Self::Runtime(_) => 1,
            Self::Config(_) => 2,
        }
    }

    fn error(&self) -> &anyhow::Error {
        match self {
            Self::Config(error) | Self::Runtime(error) => error,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error())
    }
}

impl From<anyhow::Error> for Failure {
    /// Everything that nobody called a configuration error is a runtime error.
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

/// Runs a process' `main`: prints its failure, if any, and turns the result into the exit code.
///
/// A configuration error is for the person at the terminal (it shows lines of a file) and goes to
/// stderr as it is. A runtime error goes through the log if there is one, so that it has the log's
/// format and time.
pub fn main(name: &str, run: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    match run() {
        Ok(()) => {
            logging::flush();
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let log_is_ready = tracing::dispatcher::has_been_set();
            match &failure {
                Failure::Runtime(_) if log_is_ready => {
                    error!(error = %failure, "Stopped by a failure");
                }
                _ => eprintln!("{name}: {failure}"),
            }
            logging::flush();
            ExitCode::from(failure.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn bad_configuration_and_failures_have_their_own_exit_codes() {
        assert_eq!(Failure::config(anyhow!("no")).code(), 2);
        assert_eq!(Failure::runtime(anyhow!("no")).code(), 1);
        assert_eq!(Failure::from(anyhow!("no")).code(), 1);
    }

    #[test]
    fn a_failure_prints_its_whole_chain_in_one_line() {
        let error = anyhow!("address in use")
            .context("bind the port")
            .context("start");
        assert_eq!(
            Failure::runtime(error).to_string(),
            "start: bind the port: address in use"
        );
    }

    #[test]
    fn success_is_zero() {
        assert_eq!(main("some-daemon", || Ok(())), ExitCode::SUCCESS);
        assert_eq!(
            main("some-daemon", || Err(Failure::config(anyhow!("no")))),
            ExitCode::from(2)
        );
    }
}
