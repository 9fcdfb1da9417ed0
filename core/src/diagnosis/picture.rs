//! What the diagnosis looks at: everything that is known of the mesh at one moment, in arrays by number.
//!
//! Rows are shared: a row that no report has changed since the picture before is the same allocation, so a picture of a
//! thousand nodes costs what has changed, and the diagnosis may keep what it summed up of a row.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::KnownFindings;
use crate::dark::{Declaration, NodeState};
use crate::detail::Detail;
use crate::ids::{NodeIndex, NodeName, ZoneIndex};
use crate::lifecycle::Lifecycle;
use crate::outcome::OutcomeClass;
use crate::path::{Family, Layer, Plane, ProbeKind};
use crate::time::{Mark, Moment};
use crate::verdict::Verdict;

/// The mesh at one moment.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Picture {
    /// The moment.
    pub now: Moment,
    /// What was found before. A [`super::Diagnoser`] fills it in; a picture that is kept does not have it.
    #[serde(skip)]
    pub known: Arc<KnownFindings>,
    /// Who is there. Numbers below are places in its lists.
    pub topology: Arc<Topology>,
    /// By layer, in order.
    pub layers: Vec<LayerPicture>,
    /// What is known of each node, by number.
    pub nodes: Vec<NodePicture>,
    /// The newest traces of paths that failed lately: evidence, nothing is decided by them.
    #[serde(default)]
    pub traces: Vec<TracePicture>,
}

/// Where the packets of one path end: a sweep of hop limits that was made when it failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePicture {
    /// In which layer.
    pub layer: Layer,
    /// Who sent it.
    pub source: NodeIndex,
    /// The column of the layer that it leads to.
    pub column: u32,
    /// When it was taken.
    pub at: Moment,
    /// Who answered, by ascending hop limit. Hop limits that nobody answered are in it.
    pub hops: Vec<TraceHop>,
    /// The target itself answered.
    pub reached: bool,
}

/// What came back for one hop limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceHop {
    /// The hop limit.
    pub ttl: u8,
    /// Who answered; `None`: nobody.
    pub address: Option<IpAddr>,
    /// Type and code of the ICMP message that answered; `None`: the target's own answer, or none.
    pub icmp: Option<(u8, u8)>,
}

/// Who is there; changes rarely.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// By [`NodeIndex`]; `None`: nobody has this number.
    pub nodes: Vec<Option<TopologyNode>>,
    /// Names by [`ZoneIndex`]; 0 is "unknown" and empty.
    pub zones: Vec<String>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopologyNode {
    /// Its name.
    pub name: NodeName,
    /// Its failure domain.
    pub zone: ZoneIndex,
    /// What is known of its future.
    pub lifecycle: Lifecycle,
    /// It joined too lately to be judged.
    pub is_warming_up: bool,
    /// Where its probers answer.
    pub addresses: Vec<(Plane, IpAddr)>,
}

/// The paths of one layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LayerPicture {
    /// Which layer.
    pub layer: Layer,
    /// Time between two probes of one path.
    pub interval: Duration,
    /// What its columns are.
    pub columns: Columns,
    /// By source; `None`: it never reported in this layer.
    pub rows: Vec<Option<Arc<RowPicture>>>,
}

/// What the columns of a layer are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Columns {
    /// Nodes, by number.
    Nodes,
    /// Targets that are no nodes.
    Targets(Arc<[Target]>),
}

/// All paths of one source in one layer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RowPicture {
    /// The columns that `cells` are about, ascending; `None`: all of them, one cell each, from column 0 on. A sampled mesh
    /// of thousands of nodes names the few that are probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<Arc<[u32]>>,
    /// By column. A node's own column is [`CellPicture::NOT_SAMPLED`].
    pub cells: Vec<CellPicture>,
    /// What the newest probes found beside their outcomes, by column, ascending.
    pub details: Vec<(u32, Detail)>,
}

impl RowPicture {
    /// A row with a cell for each column.
    pub const fn dense(cells: Vec<CellPicture>, details: Vec<(u32, Detail)>) -> Self {
        Self {
            columns: None,
            cells,
            details,
        }
    }

    /// The cell of a column; not sampled if there is none.
    pub fn cell(&self, column: usize) -> &CellPicture {
        let place = match &self.columns {
            None => Some(column),
            Some(columns) => columns.binary_search(&(column as u32)).ok(),
        };
        place
            .and_then(|place| self.cells.get(place))
            .unwrap_or(&CellPicture::NOT_SAMPLED)
    }

    /// Every cell with its column, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &CellPicture)> {
        let columns = self.columns.as_deref();
        self.cells.iter().enumerate().map(move |(place, cell)| {
            let column = columns.and_then(|columns| columns.get(place));
            (column.map_or(place, |column| *column as usize), cell)
        })
    }

    /// What the newest probe of a column found beside its outcome.
    pub fn detail(&self, column: usize) -> Option<&Detail> {
        let found = self
            .details
            .binary_search_by_key(&(column as u32), |(column, _)| *column);
        found.ok().map(|place| &self.details[place].1)
    }
}

/// How much of a row of losses arrived at the target, as the target says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrived {
    /// Nothing.
    Nothing,
    /// Less than half: each way loses a share.
    Few,
    /// Half at least.
    Most,
}

/// One path. Counts are of round trips but for `received`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellPicture {
    /// The judged state; already [`Verdict::NoData`] where the last word is too old.
    pub verdict: Verdict,
    /// How the last failed probe ended.
    pub failure: Option<OutcomeClass>,
    /// Losses in a row at the end of the newest window.
    pub consecutive_losses: u8,
    /// Replies since the end of the newest window with a loss in it; saturates. Zero: the newest window has one.
    #[serde(default)]
    pub consecutive_replies: u8,
    /// How long the row of losses at its end has lasted, whole seconds, at most 255; zero: there is none.
    #[serde(default)]
    pub failing_for: Duration,
    /// How much of that row arrived at the target; `None`: there is no row, or the target has not yet said.
    #[serde(default)]
    pub arrived_in_row: Option<Arrived>,
    /// Valid probes in the fast window (10 to 20 s; longer for kinds that are sent rarely).
    pub sent: u16,
    /// Of those, not answered in time.
    pub lost: u16,
    /// Valid probes by slot, as `slot_lost`.
    #[serde(default)]
    pub slot_sent: [u16; 2],
    /// Losses in the newest slot of the fast window (10 s; longer for kinds that are sent rarely) and in the whole slot
    /// before it: a burst is in one of them, what goes on is in both.
    #[serde(default)]
    pub slot_lost: [u16; 2],
    /// Of those, arrived at the target, by the numbers of the replies ([`crate::window::LostWays`]); `None`: it is not known
    /// (no responder of ours, or no reply since the losses). Of what is lost now, where no reply comes, see `arrived_in_row`.
    pub received: Option<u16>,
    /// The same over a longer time, for small loss: counts that fade with a time constant of some 80 s.
    pub long_sent: f32,
    /// See `long_sent`.
    pub long_lost: f32,
    /// See `long_sent`.
    pub long_received: Option<f32>,
    /// Median round-trip time of the newest window.
    pub rtt: Option<Duration>,
    /// Median that counts as normal here.
    pub rtt_baseline: Option<Duration>,
    /// End of the newest window. Where nothing fails, something was sent in it.
    #[serde(default)]
    pub reported_at: Option<Mark>,
    /// End of the newest window with a loss in it; `None`: nothing was lost for long.
    #[serde(default)]
    pub lost_at: Option<Mark>,
    /// Losses in a row that the newest loss is the end of, at most 15: an outage, or chance.
    #[serde(default)]
    pub lost_in_row: u8,
}

impl CellPicture {
    /// A path that nobody probes.
    pub const NOT_SAMPLED: Self = Self {
        verdict: Verdict::NotSampled,
        failure: None,
        consecutive_losses: 0,
        consecutive_replies: 0,
        failing_for: Duration::ZERO,
        arrived_in_row: None,
        sent: 0,
        lost: 0,
        slot_sent: [0; 2],
        slot_lost: [0; 2],
        received: None,
        long_sent: 0.0,
        long_lost: 0.0,
        long_received: None,
        rtt: None,
        rtt_baseline: None,
        reported_at: None,
        lost_at: None,
        lost_in_row: 0,
    };
}

/// A target that is no node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// As the matrix heads its column.
    pub heading: String,
    /// What it is.
    pub name: TargetName,
}

/// What a target is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetName {
    /// A name that is asked of one DNS server.
    Dns {
        /// The server, as configured: an instance, the virtual IP, a node-local cache.
        server: String,
        /// Its address.
        address: SocketAddr,
        /// The name.
        name: String,
        /// The response code that is right.
        expected_rcode: u8,
        /// Where the server's address is.
        plane: Plane,
    },
    /// A name as an application asks it.
    Search {
        /// The name.
        name: String,
    },
    /// A virtual IP in front of the responders.
    Service {
        /// Its name.
        name: String,
        /// Its address.
        address: SocketAddr,
    },
    /// A target outside the mesh.
    External {
        /// Its name.
        name: String,
        /// How it is probed.
        kind: ProbeKind,
        /// By which family.
        family: Family,
        /// Where it is as configured, `host:port`; empty: nobody knows. Targets of one host share what befalls it.
        #[serde(default)]
        endpoint: String,
    },
}

/// What is known of one node beside its paths.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodePicture {
    /// The dark-node detector's word.
    pub state: NodeState,
    /// What it declared, if it declared something that is still open.
    pub declaration: Option<Arc<Declaration>>,
    /// Is its newest report fresh?
    pub is_reporting: bool,
    /// Its probers.
    pub probers: Vec<ProberPicture>,
    /// What the cluster said of it lately, newest last.
    pub events: Vec<ClusterEvent>,
}

impl NodePicture {
    /// Nothing is known.
    pub const UNKNOWN: Self = Self {
        state: NodeState::Unknown,
        declaration: None,
        is_reporting: false,
        probers: Vec::new(),
        events: Vec::new(),
    };
}

/// One prober's word on itself and on its host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProberPicture {
    /// Where it runs.
    pub plane: Plane,
    /// Of its newest report.
    pub health: SelfHealth,
    /// What it said of its host.
    pub facts: Option<Arc<HostFacts>>,
    /// What changed in its facts lately, newest last.
    pub changes: Vec<FactChange>,
}

/// What a prober knows about its own trustworthiness, in its reports of the last ten to twenty seconds (see `SelfHealth` on the wire
/// and [`super::RecentHealth`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfHealth {
    /// Lifeguard's local health multiplier, 0 (well) to 7.
    pub local_health: u8,
    /// The largest of that time: what was lost then is in counts still.
    #[serde(default)]
    pub worst_local_health: u8,
    /// Probes that were thrown away because the prober was late, throttled or out of buffers.
    pub invalid_probes: u32,
    /// Time in which the control group kept it from running.
    pub throttled: Duration,
    /// The lesser of this time in the last two spans of ten seconds.
    #[serde(default)]
    pub throttled_always: Duration,
    /// Longest time in which it did not run although it wanted to.
    pub longest_stall: Duration,
    /// Packets that the kernel dropped at an own socket.
    pub socket_overflows: u32,
    /// Sends that the kernel refused for want of buffers.
    pub send_buffer_full: u32,
    /// Probes to itself over loopback that were lost.
    pub loopback_lost: u32,
}

/// Facts about a host that help to explain a failure (see `HostFacts` on the wire). Unknown ones are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// MTU of each interface, by name.
    pub links: Vec<(String, u32)>,
    /// Routes as "prefix via gateway dev name".
    pub routes: Vec<String>,
    /// Name servers of resolv.conf, in order.
    pub nameservers: Vec<String>,
    /// Search domains of resolv.conf, in order.
    pub search: Vec<String>,
    /// Options of resolv.conf.
    pub resolver_options: Vec<String>,
    /// Connections in the connection table, and how many fit.
    pub conntrack: Option<(u32, u32)>,
    /// Entries of the neighbour table, and the number at which new ones are refused.
    pub neighbours: Option<(u32, u32)>,
    /// Packets that the kernel dropped since its start, by place.
    pub kernel_drops: Vec<(String, u64)>,
}

/// A change of a host's facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactChange {
    /// When it was seen.
    pub at: Moment,
    /// What changed, for people: "route 10.244.3.0/24 via 10.244.3.0 dev flannel.1 disappeared".
    pub what: String,
}

/// Something that the cluster said about a node: a Kubernetes event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterEvent {
    /// When it was seen.
    pub at: Moment,
    /// Its reason: `FailedCreatePodSandBox`.
    pub reason: String,
    /// Its message.
    pub message: String,
}

impl Picture {
    /// The node with this number.
    pub fn node(&self, node: NodeIndex) -> Option<&TopologyNode> {
        self.topology.nodes.get(node.index())?.as_ref()
    }

    /// The paths of a layer.
    pub fn layer(&self, layer: Layer) -> Option<&LayerPicture> {
        self.layers.iter().find(|picture| picture.layer == layer)
    }
}
