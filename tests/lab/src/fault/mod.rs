//! What can be broken, and healed again.
//!
//! A fault is a value: it has one text form (`path-one-way mesh-1 mesh-2`), which the command line, scenario files and logs share.
//! [`Fault::inject`] breaks the cluster and returns an [`Injected`]; healing it, or dropping it, restores what was there.
//!
//! # Faults combine
//!
//! A fault that drops packets is an nft table of its own, with a name that no other has: several on one node do not know
//! each other. A fault that takes something away (a link, a route, a DNS server) *holds* it, and what two faults hold comes back
//! when the last of them is healed; see `hold`.
//!
//! # What "dropped" leaves alone
//!
//! The tables filter IP packets, not ARP: a node that is dead for packets in one direction keeps its neighbours' link addresses, so
//! that the other direction goes on working for as long as the fault lasts, as behind a broken firewall or a one-way fibre.

mod catalogue;
mod duration;
pub(crate) mod hold;
mod inject;
mod parse;
mod percent;
mod rules;
mod text;

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use catalogue::{CATALOGUE, FaultInfo};
pub use inject::{FaultError, Injected};
pub use parse::ParseFaultError;
pub use percent::{Percent, PercentError};

/// One thing that breaks in the cluster. Node, zone and instance names are the lab's (`mesh-1`, `zone-a`, `dns-1`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Fault {
    /// The node's link is down at the switch: nothing in, nothing out.
    NodeDark { node: String },
    /// The node neither receives nor sends for a moment, and then goes on by itself.
    NodeFreeze { node: String, duration: Duration },
    /// The prober is killed, the node is fine. Healing starts it again.
    ProberDown { node: String },
    /// The node's pods and host reach everything but the aggregator, by both ways home.
    ReportsCut { node: String },
    /// Whatever is sent to the node is lost.
    IngressDead { node: String },
    /// Whatever the node sends is lost, except on the underlay way to the aggregator.
    EgressDead { node: String },
    /// The routes to all other nodes' pods are gone on the node.
    OverlayRoutesMissing { node: String },
    /// The route to one other node's pods is gone on the node.
    OverlayOneRoute { node: String, to: String },
    /// A firewall on the node drops VXLAN, in and out.
    OverlayPortBlocked { node: String },
    /// Whatever one node sends to the other is lost; the way back works.
    PathOneWay { from: String, to: String },
    /// Two zones cannot reach each other.
    ZonePartition { zone: String, other: String },
    /// Packets are lost at random.
    Loss {
        percent: Percent,
        at: LossPlace,
        direction: Direction,
    },
    /// A firewall on the node drops UDP, except the overlay's own.
    UdpBlocked { node: String },
    /// A firewall on the node drops TCP, except to the aggregator.
    TcpBlocked { node: String },
    /// A DNS server is killed. Healing starts it again.
    DnsInstanceDown { instance: String },
    /// A network policy on the node forgets port 53: its pods' questions are dropped.
    DnsBlocked { node: String },
    /// The virtual IPs and the node port do not exist on the node, as if kube-proxy had never run.
    VipBroken { node: String },
    /// The link of the aggregator's own node is down.
    AggregatorIsolated,
}

/// Where packets are lost at random.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LossPlace {
    /// At one node's link.
    Node(String),
    /// At every node's link. A packet from node to node passes two of them.
    Everywhere,
}

/// Which packets, as the node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
    Both,
}

/// How to kill and restart a prober: the processes are the caller's.
///
/// Called from the thread that injects or heals, which waits; a hook must not inject or heal itself.
pub trait ProberHook: Debug + Send + Sync {
    /// Kills the prober of a node, as `kill -9` does.
    fn stop(&self, node: &str) -> io::Result<()>;
    /// Starts it again.
    fn start(&self, node: &str) -> io::Result<()>;
}
