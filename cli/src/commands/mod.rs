//! One module a command: ask, render, print, say how healthy it was.

mod assert;
pub mod completion;
mod explain;
mod findings;
mod incidents;
mod matrix;
mod nodes;
mod notify;
mod path;
mod probe;
pub mod replay;
mod silence;
mod status;
mod told;
mod watch;

use meshprobe_proto::v1;

use crate::args::{ApiCommand, Global, IncidentsCommand, WatchCommand};
use crate::client::Client;
use crate::console::Console;
use crate::exit::Health;

/// Connects and runs a command of the public API.
pub fn run(global: &Global, command: ApiCommand, console: &Console) -> anyhow::Result<Health> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let client = || Client::connect(global);
        match command {
            ApiCommand::Status => status::run(&client().await?, console).await,
            ApiCommand::Nodes { name: None, at } => {
                nodes::run(&client().await?, at.at, console).await
            }
            ApiCommand::Nodes {
                name: Some(name),
                at,
            } => nodes::show(&client().await?, name, at.at, console).await,
            ApiCommand::Probe {
                source,
                target,
                layer,
                trace,
            } => {
                let layer = layer.layer();
                probe::run(&client().await?, source, target, layer, trace, console).await
            }
            ApiCommand::Matrix { layer, at } => {
                matrix::run(&client().await?, layer.layer(), at.at, console).await
            }
            ApiCommand::Path { source, target, at } => {
                path::run(&client().await?, source, target, at.at, console).await
            }
            ApiCommand::Findings {
                pattern,
                node,
                zone,
                severity,
                at,
            } => {
                let request = findings::request(pattern, node, zone, severity, at.at);
                findings::run(&client().await?, request, console).await
            }
            ApiCommand::Explain { source, target } => {
                explain::run(&client().await?, source, target, console).await
            }
            ApiCommand::Silence { command } => {
                silence::run(&client().await?, v1::SilenceKind::Silence, command, console).await
            }
            ApiCommand::Maintenance { command } => {
                let kind = v1::SilenceKind::Maintenance;
                silence::run(&client().await?, kind, command, console).await
            }
            ApiCommand::Drain(args) => told::drain(&client().await?, args, console).await,
            ApiCommand::Event(args) => told::event(&client().await?, args, console).await,
            ApiCommand::Assert(arguments) => assert::run(global, arguments, console).await,
            ApiCommand::Incidents {
                command: Some(IncidentsCommand::Show { id }),
                ..
            } => incidents::show(&client().await?, &id, console).await,
            ApiCommand::Incidents {
                command: Some(IncidentsCommand::Bundle { id, file }),
                ..
            } => incidents::bundle(&client().await?, &id, file, console).await,
            ApiCommand::Incidents { all, command: None } => {
                incidents::list(&client().await?, all, console).await
            }
            ApiCommand::Notify { command } => notify::run(&client().await?, command, console).await,
            ApiCommand::Watch {
                command: None | Some(WatchCommand::Incidents),
            } => watch::incidents(global, console).await,
            ApiCommand::Watch {
                command: Some(WatchCommand::Findings),
            } => watch::findings(global, console).await,
            ApiCommand::Watch {
                command: Some(WatchCommand::Matrix(layer)),
            } => watch::matrix(global, layer.layer(), console).await,
        }
    })
}
