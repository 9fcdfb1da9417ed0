//! How the rest of the process talks to the mesh task.

use std::sync::Arc;

use meshprobe_core::path::Layer;
use tokio::sync::{mpsc, oneshot, watch};

use super::PipelineConfig;
use crate::membership::{JoinError, StoreChange};
use crate::snapshot::{LayerSnapshot, PathCells, Snapshot};

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
    /// No node and no DNS target has that name.
    #[error("no node and no DNS target is called {0:?}")]
    UnknownTarget(String),
    /// The process is shutting down.
    #[error(transparent)]
    Stopped(#[from] MeshStopped),
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
}

/// Asks the mesh task. Cheap to clone.
#[derive(Clone, Debug)]
pub struct MeshHandle {
    pub(crate) requests: mpsc::Sender<MeshRequest>,
    pub(crate) snapshots: watch::Receiver<Arc<Snapshot>>,
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

    /// Everything that is known between a node and another node or a DNS target (`server/name`).
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
}
