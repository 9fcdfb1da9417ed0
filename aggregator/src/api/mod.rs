//! The public API: one set of answers, served over gRPC (`grpc`) and as JSON ([`crate::http`]).
//!
//! It reads what others own: snapshots of the mesh, the list of incidents, the state of the store. It holds no lock
//! while it waits and keeps nothing alive: when the mesh task ends, answers become [`ApiError::Stopping`].

mod error;
mod explain;
mod findings;
mod grpc;
mod incidents;
mod notifications;
mod page;
mod past;
#[cfg(test)]
mod past_tests;
mod silences;
#[cfg(test)]
mod tests;
mod told;
mod views;
mod watch;
mod watchers;

use std::sync::Arc;

use jiff::Timestamp;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_daemon::shutdown::Shutdown;
use meshprobe_proto::{convert, v1};
use tokio::sync::watch as tokio_watch;

pub use error::ApiError;
pub use grpc::MeshApiService;
pub use past::BUNDLE_CHUNK;
pub use watchers::{Watchers, Watching};

use crate::{
    history::HistoryHandle,
    notify::{Audience, Incidents},
    outbox::{Ledger, Pending, WeakOutbox},
    pipeline::{Demand, MeshHandle},
    silence::Silences,
    store::{StoreHandle, StoreReader, StoreState},
    wall,
};

/// Answers questions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api {
    /// Nodes and paths.
    pub mesh: MeshHandle,
    /// Incidents.
    pub incidents: Incidents,
    /// Silences and maintenance windows.
    pub silences: Silences,
    /// Where they are written down.
    pub writes: StoreHandle,
    /// What became of incidents.
    pub reader: StoreReader,
    /// The past.
    pub history: HistoryHandle,
    /// Whether the store can be written.
    pub store: tokio_watch::Receiver<StoreState>,
    /// Messages that wait for delivery.
    pub pending: Pending,
    /// Sends tests, tries again.
    pub outbox: WeakOutbox,
    /// What became of notifications.
    pub ledger: Ledger,
    /// Where links lead.
    pub audience: tokio_watch::Receiver<Arc<Audience>>,
    /// Streams to clients.
    pub watchers: Watchers,
    /// When this process started.
    pub started_at: Timestamp,
    /// Ends the streams.
    pub shutdown: Shutdown,
}

impl Api {
    /// How the mesh and the aggregator are doing.
    pub fn status(&self) -> v1::Status {
        let snapshot = self.mesh.snapshot();
        let now = wall::now();
        let silenced = self.incidents.open().into_iter();
        let silenced = silenced.filter(|one| self.silences.mute(one, &snapshot, now).is_some());
        v1::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: Some(views::timestamp(self.started_at)),
            judging: snapshot.judging.is_active(),
            not_judging_reason: snapshot.judging.reason().to_owned(),
            nodes: snapshot.nodes.len() as u32,
            nodes_reporting: snapshot.nodes_reporting() as u32,
            open_incidents: self.incidents.open_count() as u32,
            paths: views::verdict_counts(snapshot.paths()),
            layers: snapshot
                .layers
                .iter()
                .map(|census| census.layer.into())
                .collect(),
            notifications_pending: self.pending.count(),
            store_writable: self.store.borrow().is_writable(),
            findings: self.current().1.len() as u32,
            silenced_incidents: silenced.count() as u32,
        }
    }

    /// Every node that is known.
    pub fn nodes(&self) -> v1::ListNodesResponse {
        v1::ListNodesResponse {
            nodes: self.mesh.snapshot().nodes.iter().map(views::node).collect(),
            window: None,
        }
    }

    /// The matrix of one layer; without data it is empty, and says which layer it would be.
    pub async fn matrix(&self, layer: Layer) -> Result<v1::Matrix, ApiError> {
        match self.mesh.layer(layer).await? {
            Some(snapshot) => Ok(views::matrix(&snapshot)),
            None => Ok(v1::Matrix {
                layer: Some(layer.into()),
                at: Some(views::timestamp(self.mesh.snapshot().at)),
                ..v1::Matrix::default()
            }),
        }
    }

    /// Everything that is known between two ends.
    pub async fn path(&self, source: &str, target: &str) -> Result<v1::PathDetail, ApiError> {
        require_ends(source, target)?;
        Ok(views::path(&self.mesh.path(source, target).await?))
    }

    /// One node, with what its probers say of themselves and their host.
    pub async fn node(&self, name: &str) -> Result<v1::NodeDetail, ApiError> {
        if name.is_empty() {
            return Err(ApiError::Invalid(
                "name is missing: write the name of a node".to_owned(),
            ));
        }
        match self.mesh.node(name).await? {
            Some(detail) => Ok(views::node_detail(&detail)),
            None => Err(ApiError::NotFound(format!("no node is called {name:?}"))),
        }
    }

    /// Makes one probe now and waits for its end.
    pub async fn run_probe(
        &self,
        request: v1::RunProbeRequest,
    ) -> Result<v1::RunProbeResponse, ApiError> {
        let demand = demand(request)?;
        Ok(views::probe_result(self.mesh.run_probe(demand).await?))
    }
}

fn require_ends(source: &str, target: &str) -> Result<(), ApiError> {
    for (field, value) in [("source", source), ("target", target)] {
        if value.is_empty() {
            return Err(ApiError::Invalid(format!(
                "{field} is missing: write the name of a node"
            )));
        }
    }
    Ok(())
}

/// The probe that a request means. What it does not say of the layer is left to the target.
fn demand(request: v1::RunProbeRequest) -> Result<Demand, ApiError> {
    let v1::RunProbeRequest {
        source,
        target,
        kind,
        plane,
        family,
        trace,
    } = request;
    for (field, value) in [("source", &source), ("target", &target)] {
        if value.is_empty() {
            return Err(ApiError::Invalid(format!("{field} is missing")));
        }
    }
    let invalid = |error: convert::UnknownNumber| ApiError::Invalid(error.to_string());
    let said = |number: i32| (number != 0).then_some(number);
    let kind = said(kind).map(convert::probe_kind).transpose();
    let plane = said(plane).map(convert::plane).transpose();
    let family = said(family).map(convert::family).transpose();
    Ok(Demand {
        source,
        target,
        kind: kind.map_err(invalid)?.unwrap_or(ProbeKind::Udp),
        plane: plane.map_err(invalid)?,
        family: family.map_err(invalid)?,
        trace,
    })
}

/// The layer that a request means; what it does not say is UDP, pod, IPv4.
pub fn wanted_layer(request: &v1::GetMatrixRequest) -> Result<Layer, ApiError> {
    let v1::GetMatrixRequest {
        kind,
        plane,
        family,
        at: _,
    } = *request;
    let invalid = |error: convert::UnknownNumber| ApiError::Invalid(error.to_string());
    Ok(Layer {
        kind: if kind == 0 {
            ProbeKind::Udp
        } else {
            convert::probe_kind(kind).map_err(invalid)?
        },
        plane: if plane == 0 {
            Plane::Pod
        } else {
            convert::plane(plane).map_err(invalid)?
        },
        family: if family == 0 {
            Family::V4
        } else {
            convert::family(family).map_err(invalid)?
        },
    })
}
