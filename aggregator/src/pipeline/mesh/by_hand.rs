//! The mesh without its task: for the simulator and the benches, which bring their own clock and their own streams.
//!
//! What decides is the same code; what is left out is what only readers want (snapshots, the census), the diagnosis, and the store,
//! which always succeeds.

use jiff::Timestamp;
use meshprobe_core::dark::Accusation;
use meshprobe_core::finding::Pattern;
use meshprobe_core::ids::{NodeIndex, NodeName};
use meshprobe_core::time::Moment;
use meshprobe_proto::v1;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};

use super::Mesh;
use crate::incident::{IncidentChange, is_found};
use crate::ingest::Refusal;
use crate::ingest::event::StreamEvent;
use crate::ingest::session::{Admitted, ProberKey, StreamId};
use crate::membership::{Announcement, JoinError, Remembered};
use crate::pipeline::metrics::PipelineMetrics;
use crate::pipeline::{Now, PipelineConfig};
use crate::plan;

/// See the module.
#[derive(Debug)]
pub struct MeshByHand {
    mesh: Mesh,
    next_stream: u64,
}

/// A stream that was admitted.
#[derive(Debug)]
pub struct StreamByHand {
    prober: ProberKey,
    id: StreamId,
    node: NodeName,
    confirms: mpsc::Receiver<v1::Confirm>,
    /// Nobody asks for probes by hand here; the end is kept so that the stream does not look ended.
    _runs: mpsc::Receiver<v1::RunProbe>,
    acks: watch::Receiver<v1::Ack>,
}

impl StreamByHand {
    /// The number of its node.
    pub fn node(&self) -> NodeIndex {
        self.prober.node
    }

    /// The next request to confirm, or to report.
    pub fn take_confirm(&mut self) -> Option<v1::Confirm> {
        self.confirms.try_recv().ok()
    }

    /// The newest acknowledgement, if there is a new one.
    pub fn take_ack(&mut self) -> Option<v1::Ack> {
        let is_news = self.acks.has_changed().unwrap_or(false);
        is_news.then(|| *self.acks.borrow_and_update())
    }
}

impl MeshByHand {
    /// A mesh that remembers nothing.
    pub fn new(config: PipelineConfig, now: Now) -> Result<Self, JoinError> {
        let metrics = PipelineMetrics::register(&mut Registry::default());
        let remembered = Remembered {
            nodes: Vec::new(),
            progress: Vec::new(),
            incidents: Vec::new(),
        };
        Ok(Self {
            mesh: Mesh::new(config, remembered, metrics, now)?,
            next_stream: 1,
        })
    }

    /// A prober calls.
    pub fn open(&mut self, hello: &Announcement, now: Now) -> Result<StreamByHand, Refusal> {
        let id = StreamId(self.next_stream);
        self.next_stream += 1;
        let admitted = self.mesh.open(id, hello, now)?;
        let Admitted {
            prober,
            confirms,
            runs,
            acks,
        } = admitted;
        Ok(StreamByHand {
            prober,
            id,
            node: hello.node.clone(),
            confirms,
            _runs: runs,
            acks,
        })
    }

    /// What the prober of this stream has to do, by the newest roster.
    pub fn assignment(&self, stream: &StreamByHand) -> Option<v1::Assignment> {
        let roster = self.mesh.rosters().borrow().clone();
        let planned = plan::assignment(&roster.plan, &roster, &stream.node, stream.prober.plane)?;
        Some(v1::Assignment {
            generation: roster.generation,
            ..planned
        })
    }

    /// New numbers of targets.
    pub fn handle_dictionary(
        &mut self,
        stream: &StreamByHand,
        dictionary: v1::Dictionary,
        now: Now,
    ) {
        let event = StreamEvent::Dictionary {
            prober: stream.prober,
            stream: stream.id,
            dictionary,
        };
        self.mesh.handle(event, now);
    }

    /// A report arrived.
    pub fn handle_report(&mut self, stream: &StreamByHand, report: &v1::Report, now: Moment) {
        self.mesh
            .handle_report(stream.prober, stream.id, report, now);
    }

    /// The prober says that it stops.
    pub fn handle_goodbye(&mut self, stream: &StreamByHand, goodbye: v1::Goodbye, now: Now) {
        let event = StreamEvent::Goodbye {
            prober: stream.prober,
            stream: stream.id,
            goodbye,
        };
        self.mesh.handle(event, now);
    }

    /// The stream ended.
    pub fn close(&mut self, stream: &StreamByHand, now: Now) {
        let event = StreamEvent::Closed {
            prober: stream.prober,
            stream: stream.id,
        };
        self.mesh.handle(event, now);
    }

    /// When [`Self::poll`] has something to do.
    pub fn next_deadline(&self, now: Now) -> Moment {
        let membership = self.mesh.membership.next_deadline();
        let roster = self.mesh.published.next_roster();
        let deadlines = [membership.map(|at| now.moment_at(at)), roster];
        let judge = self.mesh.judge.next_deadline();
        deadlines.into_iter().flatten().fold(judge, Moment::min)
    }

    /// Does what is due. The changes of incidents.
    pub fn poll(&mut self, now: Now) -> Vec<IncidentChange> {
        self.mesh.publish_due_roster(now);
        self.mesh.poll_decisions(now)
    }

    /// What the detector has declared of nodes and leaves to the diagnosis to explain: isolated, ingress dead, egress dead.
    pub fn states(&self) -> Vec<(Pattern, Vec<NodeName>)> {
        let declared = self.mesh.judge.declarations();
        declared
            .filter(|declaration| is_found(declaration.pattern))
            .map(|declaration| {
                let nodes = declaration.nodes.iter();
                let members = nodes.filter_map(|node| self.mesh.membership.get(*node));
                let names = members.map(|member| member.profile.name.clone());
                (declaration.pattern, names.collect())
            })
            .collect()
    }

    /// How much of its observers accused each node under suspicion when [`Self::poll`] judged last.
    pub fn accusations(&self) -> &[Accusation] {
        self.mesh.judge.accusations()
    }

    /// How many reports ended so: `taken`, `late`, `duplicate` or `rejected`.
    pub fn count_reports(&self, result: &'static str) -> u64 {
        self.mesh.metrics.reports(result)
    }

    /// Is there anything to store?
    pub fn has_batch(&self) -> bool {
        self.mesh.has_batch()
    }

    /// Stores what there is, which acknowledges it.
    pub fn store(&mut self) {
        if let Some(batch) = self.mesh.take_batch() {
            self.mesh.handle_stored(batch);
        }
    }

    /// Octets of the matrix.
    pub fn cell_bytes(&self) -> usize {
        self.mesh.matrix.cell_bytes()
    }
}

/// An instant of a clock of one's own: `origin` is the wall clock at [`Moment::ORIGIN`].
pub fn now_by_hand(moment: Moment, origin: Timestamp) -> Now {
    let since = moment.saturating_since(Moment::ORIGIN);
    Now {
        moment,
        wall: origin.saturating_add(since).unwrap_or(Timestamp::MAX),
    }
}
