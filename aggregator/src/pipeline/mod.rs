//! The way of a measurement through the aggregator, put together: streams, the mesh task, and the handle for the API.
//!
//! ```text
//! ProberService ─ stream tasks ─ mpsc(256) ─► mesh task ─ watch ─► snapshots, rosters
//!        ▲             ▲                        │  │  └── mpsc ──► notifier (incident changes)
//!        │             └── watch: roster, acks ─┘  │ └── mpsc ─► store (nodes, progress), answers when it is on disk
//!                                                  │
//!                         diagnosis task ◄─ watch ─┘ pictures; its findings go back by another watch
//! ```
//!
//! [`Pipeline::build`] wires everything and starts nothing; [`Pipeline::spawn`] starts the long-lived tasks.

mod diagnosis;
mod handle;
mod mesh;
mod metrics;
mod now;
mod task;

#[cfg(test)]
mod tests;

use meshprobe_core::diagnosis::Diagnoser;
use meshprobe_daemon::shutdown::Shutdown;
use meshprobe_daemon::tasks::Tasks;
use meshprobe_proto::v1::prober_service_server::ProberServiceServer;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};

use crate::incident::IncidentChange;
use crate::ingest::event::EVENT_QUEUE;
use crate::ingest::{IngestConfig, ProberStreams, Shared, Supervisor};
use crate::judge::JudgeConfig;
use crate::membership::{JoinError, MembershipConfig, Remembered};
use crate::plan::PlanConfig;
use diagnosis::DiagnosisTask;
use mesh::Mesh;
use task::MeshTask;

pub use diagnosis::{Diagnosed, Shot};
#[cfg(test)]
pub(crate) use handle::MeshRequest;
pub use handle::{
    Demand, MeshHandle, MeshStopped, PathError, ProbeError, ReconfigureError, StoreBatch,
    StoreUnavailable, Told,
};
pub use mesh::{MeshByHand, StreamByHand, now_by_hand};
pub(crate) use metrics::PipelineMetrics;
pub use now::{Clock, Now};

/// Questions that wait for the mesh task. Each is answered in microseconds, or waits for a reading that all share.
const REQUEST_QUEUE: usize = 64;

/// Everything that can be configured in the pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelineConfig {
    /// Who belongs to the mesh.
    pub membership: MembershipConfig,
    /// Who probes whom, how often.
    pub plan: PlanConfig,
    /// When something is broken.
    pub judge: JudgeConfig,
    /// Limits of the streams.
    pub ingest: IngestConfig,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        let plan = PlanConfig::default();
        Self {
            membership: MembershipConfig::default(),
            judge: JudgeConfig::for_report_interval(plan.report_interval),
            plan,
            ingest: IngestConfig::default(),
        }
    }
}

/// Where the pipeline hands things on to.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// The store. It answers each batch.
    pub store: mpsc::Sender<StoreBatch>,
    /// The notifier. A change that was sent is its responsibility.
    pub incidents: mpsc::Sender<IncidentChange>,
}

/// The pipeline, put together and not yet running.
#[derive(Debug)]
pub struct Pipeline {
    task: MeshTask,
    diagnosis: DiagnosisTask,
    supervisor: Supervisor,
    service: ProberStreams,
    handle: MeshHandle,
    max_message_bytes: usize,
}

impl Pipeline {
    /// Puts everything together. `registry` has the prefix `meshprobe_aggregator`.
    pub fn build(
        config: PipelineConfig,
        remembered: Remembered,
        outputs: Outputs,
        registry: &mut Registry,
    ) -> Result<Self, JoinError> {
        let metrics = PipelineMetrics::register(registry);
        Self::assemble(config, remembered, outputs, metrics)
    }

    fn assemble(
        config: PipelineConfig,
        remembered: Remembered,
        outputs: Outputs,
        metrics: PipelineMetrics,
    ) -> Result<Self, JoinError> {
        let clock = Clock::start();
        let ingest = config.ingest;
        let mesh = Mesh::new(config, remembered, metrics.clone(), clock.now())?;
        let (events_tx, events) = mpsc::channel(EVENT_QUEUE);
        let (requests_tx, requests) = mpsc::channel(REQUEST_QUEUE);
        let shared = Shared {
            config: ingest,
            rosters: mesh.rosters(),
            events: events_tx,
            metrics: metrics.clone(),
            clock,
        };
        let (service, supervisor) = Supervisor::new(shared);
        let (diagnosed_tx, diagnosed) = watch::channel(None);
        let handle = MeshHandle {
            requests: requests_tx,
            snapshots: mesh.snapshots(),
            shots: mesh.shots(),
            diagnosed: diagnosed.clone(),
            metrics: metrics.clone(),
        };
        let diagnosis = DiagnosisTask {
            diagnoser: Diagnoser::default(),
            shots: mesh.shots(),
            diagnosed: diagnosed_tx,
            metrics,
        };
        let Outputs { store, incidents } = outputs;
        let task = MeshTask {
            mesh,
            clock,
            events,
            requests,
            diagnosed,
            store,
            incidents,
        };
        Ok(Self {
            task,
            diagnosis,
            supervisor,
            service,
            handle,
            max_message_bytes: ingest.max_message_bytes,
        })
    }

    /// Answers questions about the mesh.
    pub fn handle(&self) -> MeshHandle {
        self.handle.clone()
    }

    /// The gRPC service for probers. HTTP/2 keep-alive belongs to the server that it is added to.
    pub fn service(&self) -> ProberServiceServer<ProberStreams> {
        ProberServiceServer::new(self.service.clone())
            .max_decoding_message_size(self.max_message_bytes)
    }

    /// Starts the tasks. The notifier and the store must outlive them.
    pub fn spawn(self, tasks: &mut Tasks, shutdown: &Shutdown) {
        let Self {
            task,
            diagnosis,
            supervisor,
            service,
            handle,
            max_message_bytes: _,
        } = self;
        drop((service, handle));
        tasks.spawn("mesh", task.run(shutdown.clone()));
        tasks.spawn("diagnosis", diagnosis.run(shutdown.clone()));
        tasks.spawn("prober-streams", supervisor.run(shutdown.clone()));
    }
}
