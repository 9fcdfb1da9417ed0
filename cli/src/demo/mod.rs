//! `meshprobe demo`: a virtual cluster with the real daemons in it, to look at and to break.
//!
//! The program opens the API's sockets on the host, moves itself into namespaces of its own ([`meshprobe_lab::enter`], before any
//! thread exists), builds the cluster, starts aggregator and probers, waits until every path is healthy and then tells what
//! happens (`live`) until it is stopped; with `--script` it breaks and heals the cluster itself (`script`). From a second
//! terminal the ordinary commands work (`meshprobe matrix`), and `meshprobe demo break …` reaches the running demo by a
//! socket in the file system (`control`).
//!
//! Nothing is left behind, however it ends: everything hangs on the namespaces.

mod control;
mod live;
mod script;
mod story;
mod world;

use crate::args::{DemoArgs, DemoCommand};
use crate::console::Console;
use crate::exit::Health;

use control::Request;

/// Runs the demo, or talks to the one that runs.
pub fn run(arguments: &DemoArgs, console: &Console) -> anyhow::Result<Health> {
    if arguments.command.is_none() {
        log_warnings()?;
    }
    match &arguments.command {
        None if arguments.script => script::run(arguments, console),
        None => live::run(arguments, console),
        Some(DemoCommand::Faults) => {
            console.print(&story::catalogue())?;
            Ok(Health::Healthy)
        }
        Some(DemoCommand::Break { fault }) => {
            ask(&Request::Break(story::parse_fault(fault)?), console)
        }
        Some(DemoCommand::Heal { fault }) if fault.is_empty() => ask(&Request::HealAll, console),
        Some(DemoCommand::Heal { fault }) => {
            ask(&Request::Heal(story::parse_fault(fault)?), console)
        }
        Some(DemoCommand::Status) => ask(&Request::Status, console),
        Some(DemoCommand::Stop) => ask(&Request::Stop, console),
    }
}

/// The lab says on stderr what it could not do.
fn log_warnings() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .try_init()
        .map_err(anyhow::Error::from_boxed)
}

fn ask(request: &Request, console: &Console) -> anyhow::Result<Health> {
    let answer = control::ask(&control::path(), request)?;
    console.print(&answer)?;
    Ok(Health::Healthy)
}
