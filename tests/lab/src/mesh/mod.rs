//! meshprobe itself, in the lab: the real aggregator and one real prober a node, with a webhook receiver on the internet.
//!
//! The rest of the lab knows links and packets; this module knows the product's programs, their configuration files and their
//! API. The demo, the scenario runner and the benches build on it:
//!
//! ```no_run
//! use std::time::Duration;
//! use meshprobe_lab::mesh::{Mesh, MeshOptions};
//! use meshprobe_lab::{Fault, Lab, LabSpec, enter};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let inside = enter(|| Ok(Vec::new()))?;
//! let lab = Lab::build(&inside, &LabSpec::default())?;
//! let mesh = Mesh::start(&lab, MeshOptions::default())?;
//! mesh.wait_until_healthy(Duration::from_secs(60))?;
//!
//! let fault: Fault = "node-dark mesh-3".parse()?;
//! let injected = fault.inject(&lab)?;
//! let alert = mesh.wait_for_webhook(Duration::from_secs(5), |n| n.is_firing("node-dark", "mesh-3"));
//! injected.heal()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What runs where
//!
//! The aggregator runs in its pod `agg`; it serves the sockets that were handed in from the host as well
//! ([`MeshOptions::sockets`]). The probers run in the pods `pod-mesh-N`, know no more than their node's name, their zone and
//! addresses and the two ways home, and get everything else from the aggregator. Where the cluster is to have host probers, a second
//! one runs in each node's own namespace, on the same ports. Notifications go to
//! [`WEBHOOK_URL`] in namespace `internet`.
//!
//! The API is asked from inside the aggregator's own namespace, over its loopback: what a fault does to the network does not
//! blind the observer.
//!
//! # Logs
//!
//! Configuration files and logs are in the lab's state directory: `aggregator.yaml`, `aggregator.err`, `prober-mesh-1.yaml`,
//! `prober-mesh-1.err`, `host-prober-mesh-1.err`. [`Mesh::logs`] returns the end of each for the message of a failed test.
//!
//! Everything ends with the last clone of the [`Mesh`].

mod api;
mod binaries;
mod config;
mod http;
mod logs;
mod running;
mod webhook;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::Value;

use crate::fault::ProberHook;
use crate::{Lab, NamespaceError, Process, ProcessError};

pub use api::{Api, ApiError};
pub use binaries::{BIN_DIR_VARIABLE, Binaries, BinaryMissing};
pub use config::WEBHOOK_URL;
pub use running::NotHealthy;
pub use webhook::Notification;

use running::Running;

/// Port of the aggregator's admin listener.
const AGGREGATOR_ADMIN_PORT: u16 = 4865;
/// Port of a prober's admin listener.
const PROBER_ADMIN_PORT: u16 = 4864;

/// The mesh could not be started or steered.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    #[error(transparent)]
    Binary(#[from] BinaryMissing),
    #[error("write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("write a configuration file: {0}")]
    Yaml(String),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Lab(#[from] crate::LabError),
    #[error("receive webhooks")]
    Webhook(#[source] io::Error),
    #[error("ask the API")]
    Api(#[from] ApiError),
    #[error("there is no node `{0}` in this cluster")]
    UnknownNode(String),
    #[error("{name} runs already")]
    RunsAlready { name: String },
    #[error("{name} does not run")]
    DoesNotRun { name: String },
    #[error("{name} did not end within {patience:?} of SIGTERM; it was killed")]
    DidNotStop { name: String, patience: Duration },
    #[error("GET {path} of {name}")]
    Admin {
        name: String,
        path: String,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    NotHealthy(#[from] Box<NotHealthy>),
}

/// How to run the mesh. The default is the product's defaults, except for a short warm-up.
#[derive(Debug)]
pub struct MeshOptions {
    /// The programs; `None`: look for them, see [`Binaries::find`].
    pub binaries: Option<Binaries>,
    /// Sockets from the host for the aggregator to serve, by their socket activation names (`grpc`, `http`).
    pub sockets: Vec<(String, OwnedFd)>,
    /// How people outside reach the HTTP port: links in notifications begin with it.
    pub external_url: Option<String>,
    /// Also probes the lab's names as applications ask them, the virtual IP in front of the responders, the external servers and
    /// the API server.
    pub targets: bool,
    /// Starts the forward proxy and names it in every prober's environment: external targets are reached through it.
    pub proxy: bool,
    /// Laid over the aggregator's configuration: objects are merged key by key, anything else replaces what was there.
    /// For example `json!({"detection": {"dark_hold": "0s"}})`.
    pub aggregator: Value,
    /// Laid over every prober's configuration in the same way.
    pub prober: Value,
    /// Level of the logs: `error`, `warn`, `info`, `debug`, `trace`.
    pub log_level: String,
}

impl Default for MeshOptions {
    fn default() -> Self {
        Self {
            binaries: None,
            sockets: Vec::new(),
            external_url: None,
            targets: false,
            proxy: false,
            aggregator: Value::Null,
            prober: Value::Null,
            log_level: "info".to_owned(),
        }
    }
}

/// A running mesh. Clones are the same mesh.
#[derive(Debug, Clone)]
pub struct Mesh {
    running: Arc<Running>,
}

impl Mesh {
    /// Starts the webhook receiver, the aggregator and a prober on every node. Does not wait for anything to work.
    ///
    /// Tells the lab how to kill and start probers, for the fault `prober-down`.
    pub fn start(lab: &Lab, options: MeshOptions) -> Result<Self, MeshError> {
        let mesh = Self {
            running: Arc::new(Running::prepare(lab, options)?),
        };
        lab.set_prober_hook(Arc::new(Hook(Arc::downgrade(&mesh.running))));
        mesh.start_aggregator()?;
        for node in lab.nodes() {
            mesh.start_prober(&node.name)?;
            if lab.has_host_probers() {
                mesh.start_host_prober(&node.name)?;
            }
        }
        Ok(mesh)
    }

    /// The cluster that it runs in.
    pub fn lab(&self) -> &Lab {
        &self.running.lab
    }

    /// Starts a node's prober, with the same configuration as before.
    pub fn start_prober(&self, node: &str) -> Result<(), MeshError> {
        self.running.start_prober(node)
    }

    /// `kill -9`.
    pub fn kill_prober(&self, node: &str) -> Result<(), MeshError> {
        self.running.kill(&self.running.prober_name(node)?)
    }

    /// SIGTERM, and waits for its end: the prober says goodbye.
    pub fn stop_prober(&self, node: &str) -> Result<ExitStatus, MeshError> {
        self.running.stop(&self.running.prober_name(node)?)
    }

    /// SIGSTOP: the node's prober hangs, as if starved of CPU.
    pub fn pause_prober(&self, node: &str) -> Result<(), MeshError> {
        self.running.pause(&self.running.prober_name(node)?)
    }

    /// SIGCONT after [`Mesh::pause_prober`].
    pub fn resume_prober(&self, node: &str) -> Result<(), MeshError> {
        self.running.resume(&self.running.prober_name(node)?)
    }

    /// Starts a node's second prober, in the node's own namespace, with the same configuration as before. Only in a cluster that was
    /// asked for with [`host_probers`](crate::LabSpec::host_probers).
    pub fn start_host_prober(&self, node: &str) -> Result<(), MeshError> {
        self.running.start_host_prober(node)
    }

    /// `kill -9` of the second prober.
    pub fn kill_host_prober(&self, node: &str) -> Result<(), MeshError> {
        self.running.kill(&self.running.host_prober_name(node)?)
    }

    /// SIGTERM to the second prober, and waits for its end.
    pub fn stop_host_prober(&self, node: &str) -> Result<ExitStatus, MeshError> {
        self.running.stop(&self.running.host_prober_name(node)?)
    }

    /// Starts the aggregator, with the same configuration, store and sockets as before.
    pub fn start_aggregator(&self) -> Result<(), MeshError> {
        self.running.start_aggregator()
    }

    /// `kill -9`.
    pub fn kill_aggregator(&self) -> Result<(), MeshError> {
        self.running.kill(running::AGGREGATOR)
    }

    /// SIGTERM, and waits for its end.
    pub fn stop_aggregator(&self) -> Result<ExitStatus, MeshError> {
        self.running.stop(running::AGGREGATOR)
    }

    /// Where the aggregator's gRPC port is in the cluster. From outside of it use the sockets that were handed in.
    pub fn api_address(&self) -> SocketAddr {
        self.lab().aggregator().pod_address
    }

    /// A client of the public API that faults do not cut off. Blocking; one for each thread.
    pub fn api(&self) -> Result<Api, MeshError> {
        Ok(Api::new(self.lab().clone())?)
    }

    /// The processes that have ended though nobody asked them to, with their exit status: a crash is seen at once.
    pub fn crashed(&self) -> Result<Vec<(String, ExitStatus)>, MeshError> {
        self.running.crashed()
    }

    /// Every notification that arrived so far, in the order of arrival.
    pub fn webhooks(&self) -> Vec<Notification> {
        self.running.receiver.notifications()
    }

    /// Waits until a notification has arrived that `is_wanted` accepts, and returns the first such one.
    pub fn wait_for_webhook(
        &self,
        patience: Duration,
        is_wanted: impl Fn(&Notification) -> bool,
    ) -> Option<Notification> {
        self.running.receiver.wait_for(patience, is_wanted)
    }

    /// Answers notifications with this status from now on; 200 at the start. For tests of the retries.
    pub fn answer_webhooks_with(&self, status: u16) {
        self.running.receiver.answer_with(status);
    }

    /// GET of a path of the aggregator's admin port, for example `/metrics`.
    pub fn aggregator_admin(&self, path: &str) -> Result<String, MeshError> {
        let namespace = &self.lab().aggregator().namespace;
        self.running
            .admin(running::AGGREGATOR, namespace, AGGREGATOR_ADMIN_PORT, path)
    }

    /// GET of a path of a prober's admin port, for example `/metrics`.
    pub fn prober_admin(&self, node: &str, path: &str) -> Result<String, MeshError> {
        let name = self.running.prober_name(node)?;
        let namespace = &self.running.node(node)?.pod_namespace;
        self.running
            .admin(&name, namespace, PROBER_ADMIN_PORT, path)
    }

    /// GET of a path of the second prober's admin port.
    pub fn host_prober_admin(&self, node: &str, path: &str) -> Result<String, MeshError> {
        let name = self.running.host_prober_name(node)?;
        let namespace = &self.running.node(node)?.namespace;
        self.running
            .admin(&name, namespace, PROBER_ADMIN_PORT, path)
    }

    /// The process id of a node's second prober, if it runs.
    pub fn host_prober_pid(&self, node: &str) -> Result<Option<u32>, MeshError> {
        Ok(self.running.pid(&self.running.host_prober_name(node)?))
    }

    /// The process id of a node's prober, if it runs.
    pub fn prober_pid(&self, node: &str) -> Result<Option<u32>, MeshError> {
        Ok(self.running.pid(&self.running.prober_name(node)?))
    }

    /// The process id of the aggregator, if it runs.
    pub fn aggregator_pid(&self) -> Option<u32> {
        self.running.pid(running::AGGREGATOR)
    }

    /// Waits until the aggregator judges, every node reports, no path of any layer fails or lacks data and nothing is open. A slow
    /// path is no failure.
    pub fn wait_until_healthy(&self, patience: Duration) -> Result<(), MeshError> {
        running::wait_until_healthy(self, patience)
    }

    /// The last lines of every process's log, the ones with warnings and errors first among them.
    pub fn logs(&self) -> String {
        logs::tails(self.lab().state_directory())
    }
}

/// The lab knows the mesh, the mesh knows the lab: one of them must not keep the other.
#[derive(Debug)]
struct Hook(Weak<Running>);

impl Hook {
    fn with<T>(&self, act: impl FnOnce(&Running) -> Result<T, MeshError>) -> io::Result<T> {
        let running = self
            .0
            .upgrade()
            .ok_or_else(|| io::Error::other("the mesh has ended"))?;
        act(&running).map_err(io::Error::other)
    }
}

impl ProberHook for Hook {
    fn stop(&self, node: &str) -> io::Result<()> {
        self.with(|running| running.kill(&running.prober_name(node)?))
    }

    fn start(&self, node: &str) -> io::Result<()> {
        self.with(|running| running.start_prober(node))
    }

    fn process_id(&self, node: &str) -> io::Result<Option<u32>> {
        self.with(|running| Ok(running.pid(&running.prober_name(node)?)))
    }

    fn pause(&self, node: &str) -> io::Result<()> {
        self.with(|running| running.if_running(&running.prober_name(node)?, Process::pause))
    }

    fn resume(&self, node: &str) -> io::Result<()> {
        self.with(|running| running.if_running(&running.prober_name(node)?, Process::resume))
    }
}
