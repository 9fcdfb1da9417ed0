//! How the rest of the process talks to the mesh task.

use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::ids::NodeName;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_proto::v1;
use tokio::sync::{mpsc, oneshot, watch};

use super::PipelineConfig;
use super::diagnosis::{Diagnosed, Shot};
use super::metrics::PipelineMetrics;
use crate::membership::{Drain, JoinError, NodeEvent, StoreChange};
use crate::snapshot::{LayerSnapshot, NodeDetail, PathCells, Snapshot};

/// What the pipeline hands to the store: changes that belong into one transaction.
#[derive(Debug)]
pub struct StoreBatch {
    /// What changed, oldest first.
    pub changes: Vec<StoreChange>,
    /// Tell here when it is on disk (`Ok`) or cannot be written (`Err`). Dropping it counts as an error.
    pub done: oneshot::Sender<Result<(), StoreUnavailable>>,
}

/// The store cannot be written now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the store cannot be written")]
pub struct StoreUnavailable;

/// The mesh task ended: the process is shutting down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the aggregator is shutting down")]
pub struct MeshStopped;

/// Why there is no answer about a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No node has that name.
    #[error("no node is called {0:?}")]
    UnknownSource(String),
    /// No node and no target has that name.
    #[error("no node and no target is called {0:?}")]
    UnknownTarget(String),
    /// The process is shutting down.
    #[error(transparent)]
    Stopped(#[from] MeshStopped),
}

/// Why a probe on demand has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// No node or target has that name.
    #[error("{0}")]
    Unknown(String),
    /// The prober that would make it is not connected.
    #[error("the {plane}-plane prober of {node} is not connected to this aggregator")]
    NotConnected {
        /// Its node.
        node: NodeName,
        /// Its plane.
        plane: Plane,
    },
    /// Too many at once.
    #[error("{0}")]
    Busy(String),
    /// The prober did not make it.
    #[error("the prober of {node} refused: {reason}")]
    Refused {
        /// Its node.
        node: String,
        /// What it said.
        reason: String,
    },
    /// No result came in time.
    #[error("the prober of {node} gave no result within {} s", timeout.as_secs())]
    Timeout {
        /// Its node.
        node: String,
        /// How long it was waited for.
        timeout: Duration,
    },
    /// The prober hung up before the result came, or sent what is none.
    #[error("the prober of {0} was disconnected, or started anew, before it had a result")]
    Gone(String),
    /// The process is shutting down.
    #[error(transparent)]
    Stopped(#[from] MeshStopped),
}

/// A probe that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Name of the node that probes.
    pub source: String,
    /// A node, or a target as the matrix names its column.
    pub target: String,
    /// What is sent.
    pub kind: ProbeKind,
    /// Where it runs; `None`: that of the target; between nodes the pod plane, or the host's without a prober there.
    pub plane: Option<Plane>,
    /// By which family; `None`: IPv4, or that of the target.
    pub family: Option<Family>,
    /// Followed by a trace of the path.
    pub trace: bool,
}

/// A probe under way.
#[derive(Debug)]
pub(crate) struct Asked {
    /// How it ended. Dropped: its prober has gone.
    pub(crate) result: oneshot::Receiver<v1::ProbeResult>,
    /// Longest wait for it.
    pub(crate) timeout: Duration,
}

/// What somebody says of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is cordoned or drained.
    Drained(Drain),
    /// It is not drained any more.
    NotDrained,
    /// The cluster reported something about it.
    Event(NodeEvent),
}

/// Why another configuration was not taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReconfigureError {
    /// Its nodes do not fit.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The process is shutting down.
    #[error(transparent)]
    Stopped(#[from] MeshStopped),
}

/// A question to the mesh task.
#[derive(Debug)]
pub(crate) enum MeshRequest {
    Layer {
        layer: Layer,
        answer: oneshot::Sender<Option<Arc<LayerSnapshot>>>,
    },
    Reconfigure {
        config: Box<PipelineConfig>,
        answer: oneshot::Sender<Result<(), JoinError>>,
    },
    Path {
        source: String,
        target: String,
        answer: oneshot::Sender<Result<PathCells, PathError>>,
    },
    Node {
        name: String,
        answer: oneshot::Sender<Option<NodeDetail>>,
    },
    Tell {
        node: String,
        told: Box<Told>,
        answer: oneshot::Sender<Option<NodeDetail>>,
    },
    RunProbe {
        demand: Box<Demand>,
        answer: oneshot::Sender<Result<Asked, ProbeError>>,
    },
}

/// Asks the mesh task. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MeshHandle {
    pub(crate) requests: mpsc::Sender<MeshRequest>,
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
    pub(crate) shots: watch::Receiver<Option<Shot>>,
    pub(crate) diagnosed: watch::Receiver<Option<Diagnosed>>,
    pub(crate) metrics: PipelineMetrics,
}

impl MeshHandle {
    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// The newest snapshot and each later one.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshots.clone()
    }

    /// What the newest run of the diagnosis found; `None`: there was none since the start, which a warm-up delays.
    pub fn findings(&self) -> Option<Diagnosed> {
        self.diagnosed.borrow().clone()
    }

    /// The same and each later run, at most one a second.
    pub fn watch_findings(&self) -> watch::Receiver<Option<Diagnosed>> {
        self.diagnosed.clone()
    }

    /// The newest picture of the mesh and each later one, at most one a second; `None` as for [`Self::findings`].
    pub fn watch_pictures(&self) -> watch::Receiver<Option<Shot>> {
        self.shots.clone()
    }

    /// The matrix of one layer, at most 250 ms old; `None`: the layer has no data.
    pub async fn layer(&self, layer: Layer) -> Result<Option<Arc<LayerSnapshot>>, MeshStopped> {
        let (answer, reply) = oneshot::channel();
        let request = MeshRequest::Layer { layer, answer };
        self.requests.send(request).await.map_err(|_| MeshStopped)?;
        reply.await.map_err(|_| MeshStopped)
    }

    /// Takes over what can change while running; on an error nothing has changed.
    pub async fn reconfigure(&self, config: PipelineConfig) -> Result<(), ReconfigureError> {
        let (answer, reply) = oneshot::channel();
        let config = Box::new(config);
        let request = MeshRequest::Reconfigure { config, answer };
        self.requests.send(request).await.map_err(|_| MeshStopped)?;
        Ok(reply.await.map_err(|_| MeshStopped)??)
    }

    /// Everything that is known between a node and another node or a target as the matrix names its column.
    pub async fn path(&self, source: &str, target: &str) -> Result<PathCells, PathError> {
        let (answer, reply) = oneshot::channel();
        let request = MeshRequest::Path {
            source: source.to_owned(),
            target: target.to_owned(),
            answer,
        };
        self.requests.send(request).await.map_err(|_| MeshStopped)?;
        reply.await.map_err(|_| MeshStopped)?
    }

    /// One node, with what its probers say of themselves and their host; `None`: no node has that name.
    pub async fn node(&self, name: &str) -> Result<Option<NodeDetail>, MeshStopped> {
        let (answer, reply) = oneshot::channel();
        let name = name.to_owned();
        let request = MeshRequest::Node { name, answer };
        self.requests.send(request).await.map_err(|_| MeshStopped)?;
        reply.await.map_err(|_| MeshStopped)
    }

    /// Says something of a node, and gives it back as it is then; `None`: no node has that name.
    pub async fn tell(&self, node: &str, told: Told) -> Result<Option<NodeDetail>, MeshStopped> {
        let (answer, reply) = oneshot::channel();
        let request = MeshRequest::Tell {
            node: node.to_owned(),
            told: Box::new(told),
            answer,
        };
        self.requests.send(request).await.map_err(|_| MeshStopped)?;
        reply.await.map_err(|_| MeshStopped)
    }

    /// Has one probe made now, and waits for its end. Giving up the wait gives up the result.
    pub async fn run_probe(&self, demand: Demand) -> Result<v1::ProbeResult, ProbeError> {
        let node = demand.source.clone();
        let result = self.ask_probe(demand, node).await;
        self.metrics.count_on_demand(match &result {
            Ok(_) => "answered",
            Err(ProbeError::Timeout { .. }) => "timeout",
            Err(ProbeError::Gone(_) | ProbeError::Stopped(_)) => "gone",
            Err(_) => "refused",
        });
        result
    }

    async fn ask_probe(&self, demand: Demand, node: String) -> Result<v1::ProbeResult, ProbeError> {
        let (answer, reply) = oneshot::channel();
        let demand = Box::new(demand);
        let request = MeshRequest::RunProbe { demand, answer };
        self.requests.send(request).await.map_err(|_| MeshStopped)?;
        let Asked { result, timeout } = reply.await.map_err(|_| MeshStopped)??;
        match tokio::time::timeout(timeout, result).await {
            Err(_) => Err(ProbeError::Timeout { node, timeout }),
            Ok(Err(_)) => Err(ProbeError::Gone(node)),
            Ok(Ok(result)) if !result.refused.is_empty() => Err(ProbeError::Refused {
                node,
                reason: result.refused,
            }),
            Ok(Ok(result)) => Ok(result),
        }
    }
}
