//! The work commands of this repository: `cargo xtask …`.
//!
//! The same commands serve people and CI. Each one says what it does, and names what is missing
//! instead of failing somewhere inside.

mod arrows;
mod binaries;
mod checks;
mod deny;
mod file_length;
mod leftovers;
mod licence;
mod metadata;
mod packages;
mod sources;
mod steps;
mod supply_chain;
mod test;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{binaries::Program, packages::Purpose};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "The work commands of meshprobe",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check and every test, stopping at the first failure
    Test {
        /// Only what needs no release build and no virtual cluster
        #[arg(long)]
        fast: bool,
    },
    /// Install the Debian packages that tests and demo need (or name them, without root)
    Setup,
    /// Build and run `meshprobe demo`: a virtual cluster to look at and to break
    #[command(disable_help_flag = true)]
    Demo(Rest),
    /// Build and run a scenario in the virtual cluster
    #[command(disable_help_flag = true)]
    Scenario(Rest),
    /// Build and run a simulation in virtual time
    #[command(disable_help_flag = true)]
    Sim(Rest),
    /// Build and run a benchmark; `list` names them
    #[command(disable_help_flag = true)]
    Bench(Rest),
    /// Build and run the fuzz targets; `list` names them
    #[command(disable_help_flag = true)]
    Fuzz(Rest),
}

#[derive(clap::Args)]
struct Rest {
    /// Handed on as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Test { fast } => test::run(fast),
        Command::Setup => packages::ensure(Purpose::Bench),
        Command::Demo(rest) => binaries::run(&Program::DEMO, &rest.arguments),
        Command::Scenario(rest) => binaries::run(&Program::SCENARIO, &rest.arguments),
        Command::Sim(rest) => binaries::run(&Program::SIM, &rest.arguments),
        Command::Bench(rest) => binaries::run(&Program::BENCH, &rest.arguments),
        Command::Fuzz(rest) => binaries::run(&Program::FUZZ, &rest.arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
