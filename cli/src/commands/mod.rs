//! One module a command: ask, render, print, say how healthy it was.

pub mod completion;
mod incidents;
mod matrix;
mod nodes;
mod path;
mod status;
mod watch;

use crate::args::{Command, Global, IncidentsCommand, WatchCommand};
use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;

/// Connects and runs a command of the public API.
pub fn run(global: &Global, command: Command, console: &Console) -> anyhow::Result<Health> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = || Client::connect(global);
        match command {
            Command::Status => status::run(&client().await?, console).await,
            Command::Nodes => nodes::run(&client().await?, console).await,
            Command::Matrix(layer) => matrix::run(&client().await?, layer.layer(), console).await,
            Command::Path { source, target } => {
                path::run(&client().await?, source, target, console).await
            }
            Command::Incidents {
                command: Some(IncidentsCommand::Show { id }),
                ..
            } => incidents::show(&client().await?, &id, console).await,
            Command::Incidents { all, command: None } => {
                incidents::list(&client().await?, all, console).await
            }
            Command::Watch {
                command: None | Some(WatchCommand::Incidents),
            } => watch::incidents(global, console).await,
            Command::Watch {
                command: Some(WatchCommand::Matrix(layer)),
            } => watch::matrix(global, layer.layer(), console).await,
            Command::Completion { shell } => completion::run(shell, console),
        }
    })
}
