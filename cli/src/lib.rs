//! The `meshprobe` command: a client of the aggregator's public API, `meshprobe replay` and `meshprobe demo`.
//!
//! A command asks the API ([`client`]), turns the answer into text ([`render`]) or into a document for programs
//! ([`document`]), writes it once ([`console`]) and ends with an [`exit`] code that a script can use. Rendering is pure:
//! it takes messages, a width and the time, and returns a string with colours in it; what the terminal cannot show is
//! taken out at the very edge.

pub mod args;
pub mod client;
pub mod commands;
pub mod console;
pub mod demo;
pub mod document;
pub mod exit;
pub mod render;

#[cfg(test)]
#[path = "../tests/samples/mod.rs"]
#[expect(unreachable_pub, reason = "shared with the tests in tests/")]
mod samples;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Cli, Command};
use crate::console::Console;
use crate::exit::Health;

/// Parses the arguments, runs the command, prints its error if it has one.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(answer) => return exit::usage(&answer),
    };
    exit::code(dispatch(cli))
}

fn dispatch(cli: Cli) -> anyhow::Result<Health> {
    let Cli { global, command } = cli;
    let console = &Console::for_standard_output(&global)?;
    match command {
        Command::Completion { shell } => commands::completion::run(shell, console),
        Command::Replay { bundle } => commands::replay::run(&bundle, console),
        // Before anything starts a thread: the demo moves into namespaces of its own.
        Command::Demo(arguments) => demo::run(&arguments, console),
        Command::Ask(command) => commands::run(&global, command, console),
    }
}
