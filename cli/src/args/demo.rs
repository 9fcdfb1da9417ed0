//! The arguments of `meshprobe demo`.

use std::net::SocketAddr;

use clap::{Args, Subcommand};

/// `meshprobe demo …`
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Nodes, mesh-1 to mesh-N.
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=200))]
    pub nodes: u8,
    /// Zones, zone-a and so on.
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=26))]
    pub zones: u8,
    /// Break and heal the cluster, show what was found, and end. Fails if anything was not found in time.
    #[arg(long)]
    pub script: bool,
    /// Where the gRPC API listens on this machine; 127.0.0.1:4860 if not given, any free port with --script.
    #[arg(long, value_name = "IP:PORT")]
    pub listen_grpc: Option<SocketAddr>,
    /// Where the JSON API listens on this machine; 127.0.0.1:4861 if not given, any free port with --script.
    #[arg(long, value_name = "IP:PORT")]
    pub listen_http: Option<SocketAddr>,
    /// Leave the daemons' logs and configuration files in place at the end.
    #[arg(long)]
    pub keep_logs: bool,
    /// Steer the demo that runs in another terminal.
    #[command(subcommand)]
    pub command: Option<DemoCommand>,
}

/// What can be asked of a running demo.
#[derive(Clone, Debug, Subcommand)]
pub enum DemoCommand {
    /// Break something: a fault and where, for example node-dark mesh-3.
    Break {
        /// The fault's name and its arguments; `meshprobe demo faults` lists them.
        #[arg(required = true, value_name = "FAULT")]
        fault: Vec<String>,
    },
    /// Heal what is broken: one fault, or everything.
    Heal {
        /// The fault as it was given to `break`; everything if left out.
        #[arg(value_name = "FAULT")]
        fault: Vec<String>,
    },
    /// List what can be broken.
    Faults,
    /// What is broken in the running demo, and what was found.
    Status,
    /// End the running demo.
    Stop,
}
