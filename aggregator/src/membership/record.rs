//! What is remembered of a node across restarts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use meshprobe_core::ids::NodeName;
use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::path::Plane;
use serde::{Deserialize, Serialize};

use super::told::{Drain, NodeEvents};

/// Which of the two ways a report took home.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WayHome {
    /// The aggregator's service or pod address.
    Overlay,
    /// A node's address and node port.
    Underlay,
}

/// An address at which a node can be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeAddress {
    /// The plane that this address belongs to.
    pub plane: Plane,
    /// The address.
    pub ip: IpAddr,
    /// UDP port of the STAMP responder; 0: none there.
    pub udp_port: u16,
    /// TCP port of the echo responder. On the host plane a closed port serves too: a reset proves the way.
    pub tcp_port: u16,
    /// UDP port of the QUIC responder; 0: none there. Records of older versions do not have it.
    #[serde(default)]
    pub quic_port: u16,
}

/// A node as the store keeps it. One for each node name; a newer one replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its name.
    pub name: NodeName,
    /// Failure domain, empty if unknown.
    pub zone: String,
    /// Larger failure domain, empty if unknown.
    pub region: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What is known of its future.
    pub lifecycle: Lifecycle,
    /// While it is leaving: when it counts as gone. While it is gone: when it went.
    pub lifecycle_until: Option<Timestamp>,
    /// That it is cordoned or drained. Records of older versions do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
    /// What the cluster said of it.
    #[serde(default, skip_serializing_if = "NodeEvents::is_empty")]
    pub events: NodeEvents,
    /// Its probers, at most one for each plane.
    pub probers: Vec<ProberRecord>,
}

/// A prober of a node as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProberRecord {
    /// The plane that it runs in.
    pub plane: Plane,
    /// Its STAMP session identifier. Never zero, never another prober's.
    pub ssid: u16,
    /// Its version, empty if it never called (a node out of the configuration).
    pub version: String,
    /// Where it says that its node can be probed.
    pub addresses: Vec<NodeAddress>,
}

/// How far the reports of one prober's start have been taken. The store keeps the newest for each (node, plane).
///
/// A report is acknowledged only after the progress that includes it is stored, so after a crash of the aggregator the
/// prober sends again exactly what was not counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Whose reports.
    pub node: NodeName,
    /// The prober's plane.
    pub plane: Plane,
    /// The prober's start.
    pub incarnation: u64,
    /// Every report up to this sequence number was taken or refused for good.
    pub through: u64,
    /// How many reports of this start were taken.
    pub taken: u64,
}

/// What the pipeline wants to be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreChange {
    /// A node is new or changed.
    Node(NodeRecord),
    /// A node that was gone for long is forgotten, with its progress.
    Forget(NodeName),
    /// Reports were taken.
    Progress(Progress),
}

/// What was remembered, handed in at the start.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// Every node record of the store.
    pub nodes: Vec<NodeRecord>,
    /// Every progress record of the store.
    pub progress: Vec<Progress>,
    /// Every incident that is open, and the resolved ones of the last day (they may be opened again).
    pub incidents: Vec<crate::incident::Incident>,
}
