//! `meshprobe completion`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Cli;
use crate::console::Console;
use crate::exit::Health;

/// Prints the script.
pub fn run(shell: Shell, console: &Console) -> anyhow::Result<Health> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "meshprobe", &mut script);
    console.print(&String::from_utf8(script)?)?;
    Ok(Health::Healthy)
}
