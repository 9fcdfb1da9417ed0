//! What the matrix task publishes: immutable values that readers keep as long as they like.
//!
//! Two sizes of answer, because a mesh of 5,000 nodes has 25 million paths in each layer:
//!
//! - [`Snapshot`] is O(nodes). The task publishes one at most every 500 ms, when something changed, through a `watch`
//!   channel: the newest one is there without asking.
//! - [`LayerSnapshot`] is O(paths) and [`PathCells`] needs the cells. They are built only for somebody who asks, through
//!   [`crate::pipeline::MeshHandle`]; all who ask for one layer inside 250 ms get the same `Arc`. Nobody watching costs nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use meshprobe_core::dark::NodeState;
use meshprobe_core::ids::NodeName;
use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::{Layer, Plane};
use meshprobe_core::rtt::Rtt;
use meshprobe_core::verdict::Verdict;
use meshprobe_proto::v1;

use crate::membership::{NodeAddress, NodeEvent, WayHome};

/// The mesh at an instant, without its paths.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grows by one with each snapshot of this process.
    pub version: u64,
    /// When it was taken.
    pub at: Timestamp,
    /// Every node that is known and not gone, by name.
    pub nodes: Arc<[NodeRow]>,
    /// Does a failure open an incident now?
    pub judging: Judging,
    /// The layers that have data, in order, each with its paths counted by verdict.
    pub layers: Vec<LayerCensus>,
    /// Incidents that are open.
    pub open_incidents: u32,
}

impl Snapshot {
    /// The snapshot before anything is known.
    pub fn empty(at: Timestamp, judging: Judging) -> Self {
        Self {
            version: 0,
            at,
            nodes: Arc::new([]),
            judging,
            layers: Vec::new(),
            open_incidents: 0,
        }
    }

    /// The node with this name.
    pub fn node(&self, name: &NodeName) -> Option<&NodeRow> {
        let found = self
            .nodes
            .binary_search_by(|row| row.profile.name.cmp(name));
        found.ok().map(|i| &self.nodes[i])
    }

    /// Nodes whose reports are fresh.
    pub fn nodes_reporting(&self) -> usize {
        self.nodes.iter().filter(|row| row.is_reporting).count()
    }

    /// Paths by verdict over all layers.
    pub fn paths(&self) -> VerdictCounts {
        self.layers
            .iter()
            .fold(VerdictCounts::default(), |sum, layer| sum.plus(layer.paths))
    }
}

/// Whether failures open incidents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judging {
    /// Yes.
    Active,
    /// Not yet: the aggregator started lately and too few of the known probers have reported.
    WarmingUp {
        /// Why, as a sentence for people.
        reason: String,
    },
}

impl Judging {
    /// Do failures open incidents?
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Active)
    }

    /// Why not; empty when they do.
    pub fn reason(&self) -> &str {
        match self {
            Self::Active => "",
            Self::WarmingUp { reason } => reason,
        }
    }
}

/// What a node says of itself; changes rarely, so it is shared between snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProfile {
    /// Its name.
    pub name: NodeName,
    /// Failure domain, empty if unknown.
    pub zone: String,
    /// Larger failure domain, empty if unknown.
    pub region: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Where it can be probed.
    pub addresses: Vec<NodeAddress>,
    /// Version of its prober, empty if none ever called.
    pub prober_version: String,
}

/// One node at an instant.
#[derive(Clone, Debug)]
pub struct NodeRow {
    /// Who it is.
    pub profile: Arc<NodeProfile>,
    /// What is known of its future.
    pub lifecycle: Lifecycle,
    /// The truth table's word on it.
    pub state: NodeState,
    /// One sentence on why; empty when it is OK.
    pub state_reason: String,
    /// When its newest report arrived; `None`: never since this aggregator started.
    pub last_report_at: Option<Timestamp>,
    /// Which way that report took.
    pub last_report_way: Option<WayHome>,
    /// Is that report younger than 2.5 report intervals?
    pub is_reporting: bool,
    /// Lifeguard's local health multiplier of its prober, 0 (well) to 7.
    pub local_health: u8,
    /// Paths to it that are judged Down or Suspect, over all layers between nodes.
    pub failing_in: u32,
    /// Paths from it that are judged Down or Suspect, over all layers.
    pub failing_out: u32,
}

/// How many paths have which verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerdictCounts([u64; Verdict::ALL.len() + 1]);

impl VerdictCounts {
    /// Counts one more path with this verdict.
    pub fn add(&mut self, verdict: Verdict) {
        self.0[verdict as usize] += 1;
    }

    /// How many have this verdict.
    pub fn count(&self, verdict: Verdict) -> u64 {
        self.0[verdict as usize]
    }

    /// The counts of both.
    #[must_use]
    pub fn plus(mut self, other: Self) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
        self
    }

    /// Each verdict with its count, in the order of the verdicts.
    pub fn iter(&self) -> impl Iterator<Item = (Verdict, u64)> + '_ {
        Verdict::ALL.into_iter().map(|v| (v, self.count(v)))
    }
}

/// The paths of one layer, counted. At most a few seconds old; the time grows with the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerCensus {
    /// Which layer.
    pub layer: Layer,
    /// Its paths by verdict.
    pub paths: VerdictCounts,
}

/// One end of the paths of a layer: a row's or a column's heading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathEnd {
    /// Name of the node, or of the target as people call it (DNS: `server/name`).
    pub name: String,
    /// Zone of the node; empty if unknown and for targets that are no nodes.
    pub zone: String,
}

/// No data, in [`LayerSnapshot::loss_percent`].
pub const LOSS_NO_DATA: u8 = 255;

/// The matrix of one layer: sources × targets, row by row, in three columns of one byte a path.
#[derive(Clone, Debug)]
pub struct LayerSnapshot {
    /// Which layer.
    pub layer: Layer,
    /// When the last of its rows was read.
    pub at: Timestamp,
    /// Grows when the layer is read and any verdict, row or column differs from the reading before.
    pub version: u64,
    /// The rows: nodes by name.
    pub sources: Arc<[PathEnd]>,
    /// The columns: nodes by name, or the layer's targets.
    pub targets: Arc<[PathEnd]>,
    /// Number of the [`Verdict`].
    pub verdicts: Bytes,
    /// Median round-trip time of the fast window as an [`meshprobe_core::rtt::RttCode`] octet.
    pub rtt_median: Bytes,
    /// Loss in the fast window in percent, or [`LOSS_NO_DATA`].
    pub loss_percent: Bytes,
}

/// Everything that is known between two ends.
#[derive(Clone, Debug)]
pub struct PathCells {
    /// Source to target, each layer with data.
    pub forward: Vec<CellDetail>,
    /// Target to source.
    pub reverse: Vec<CellDetail>,
    /// The newest trace of each layer, source to target.
    pub forward_traces: Vec<Traced>,
    /// Target to source.
    pub reverse_traces: Vec<Traced>,
}

/// What the newest probe of a path found beside its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The finding, checked when it arrived.
    pub detail: v1::Detail,
    /// End of the window that it was reported in.
    pub at: Timestamp,
}

/// Where the packets of a path ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Traced {
    /// The hops, checked when they arrived.
    pub route: v1::TraceRoute,
    /// When it was taken.
    pub at: Timestamp,
}

/// One node with what its probers say of themselves and their host.
#[derive(Clone, Debug)]
pub struct NodeDetail {
    /// What the cluster said of it lately, oldest first.
    pub events: Vec<NodeEvent>,
    /// The node.
    pub row: NodeRow,
    /// Its probers, by plane.
    pub probers: Vec<ProberDetail>,
}

/// One prober.
#[derive(Clone, Debug)]
pub struct ProberDetail {
    /// Where it runs.
    pub plane: Plane,
    /// When its newest report arrived; `None`: never since this aggregator started.
    pub last_report_at: Option<Timestamp>,
    /// What it said of itself in that report.
    pub self_health: Option<v1::SelfHealth>,
    /// What it said of its host, and when that arrived.
    pub facts: Option<(Arc<v1::HostFacts>, Timestamp)>,
}

/// One path in one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct CellDetail {
    /// By what means.
    pub layer: Layer,
    /// The judged state.
    pub verdict: Verdict,
    /// Probes in the fast window.
    pub sent: u32,
    /// Of those, answered in time.
    pub replied: u32,
    /// Probes that the target says arrived in its newest fast window; `None`: it did not say.
    pub received: Option<u32>,
    /// Losses in a row.
    pub consecutive_losses: u32,
    /// Smallest round-trip time of the fast window.
    pub rtt_min: Option<Rtt>,
    /// Median round-trip time of the fast window.
    pub rtt_median: Option<Rtt>,
    /// Largest round-trip time of the fast window.
    pub rtt_max: Option<Rtt>,
    /// Median round-trip time that counts as normal here.
    pub rtt_baseline: Option<Rtt>,
    /// How the last failed probe ended.
    pub last_failure: Option<OutcomeClass>,
    /// End of the newest window that counted.
    pub updated_at: Option<Timestamp>,
    /// Lower Wilson 95 % bound of the loss in the fast window.
    pub loss_lower: f64,
    /// Upper Wilson 95 % bound of the loss in the fast window.
    pub loss_upper: f64,
    /// What its newest probe found beside its outcome; `None`: nothing worth a word.
    pub found: Option<Found>,
}
