//! What can be broken, and healed again.
//!
//! A fault is a value: it has one text form (`path-one-way mesh-1 mesh-2`), which the command line, scenario files and logs share.
//! [`Fault::inject`] breaks the cluster and returns an [`Injected`]; healing it, or dropping it, restores what was there.
//!
//! # Faults combine
//!
//! A fault that drops packets is an nft table of its own, with a name that no other has: several on one node do not know
//! each other. A fault that takes something away (a link, a queue, a DNS server) *holds* it, and what two faults hold comes back
//! when the last of them is healed; see `hold`. Routes are computed from all faults that change them; see `routes`. What a fault
//! does for as long as it lasts runs on a thread of its own; see `background`.
//!
//! # What "dropped" leaves alone
//!
//! The tables filter IP packets, not ARP, and let IPv6's neighbour discovery pass: a node that is dead for packets in one direction keeps its neighbours' link addresses, so
//! that the other direction goes on working for as long as the fault lasts, as behind a broken firewall or a one-way fibre.

mod background;
mod buckets;
mod catalogue;
mod congestion;
mod duration;
pub(crate) mod hold;
mod inject;
mod packet_size;
mod parse;
mod percent;
mod quota;
pub(crate) mod routes;
mod rules;
mod text;

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use buckets::{Buckets, BucketsError};
pub use catalogue::{CATALOGUE, FaultInfo};
pub use inject::{FaultError, Injected};
pub use packet_size::{PacketSize, PacketSizeError};
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
    /// A firewall on the node, or on every node, drops VXLAN, in and out.
    OverlayPortBlocked { at: Place },
    /// Whatever one node sends to the other is lost; the way back works.
    PathOneWay { from: String, to: String },
    /// Two zones cannot reach each other.
    ZonePartition { zone: String, other: String },
    /// Packets are lost at random.
    Loss {
        percent: Percent,
        at: Place,
        direction: Direction,
    },
    /// A firewall on the node, or on every node, drops UDP, except the overlay's own.
    UdpBlocked { at: Place },
    /// A firewall on the node, or on every node, drops TCP, except to the aggregator.
    TcpBlocked { at: Place },
    /// A DNS server is killed. Healing starts it again.
    DnsInstanceDown { instance: String },
    /// A network policy on the node forgets port 53: its pods' questions are dropped.
    DnsBlocked { node: String },
    /// The virtual IPs and the node port do not exist on the node, as if kube-proxy had never run.
    VipBroken { node: String },
    /// What the cluster's DNS servers forward to fails on every question: they answer server failures for external names.
    DnsServfail,
    /// A name is missing in the cluster's DNS, on all servers.
    DnsNxdomain { name: String },
    /// DNS servers lose a share of the questions; all servers, if none is named.
    DnsThrottled {
        percent: Percent,
        instance: Option<String>,
    },
    /// The virtual IP of the DNS does not exist on the node; the other virtual IPs do.
    DnsVip { node: String },
    /// The prober's pod on the node has another `resolv.conf` than those on other nodes.
    DnsConfigDrift { node: String, drift: Drift },
    /// One backend behind the responders' virtual IP is gone, and every node still sends it its share.
    VipStaleEndpoint,
    /// An external target does not serve.
    ExternalTargetDown { target: String, how: TargetDown },
    /// An external target serves a certificate that has expired.
    TlsExpired { target: String },
    /// An external target accepts connections, and every TLS handshake fails.
    TlsHandshake { target: String },
    /// An external target answers every request with a status.
    HttpStatus { target: String, status: u16 },
    /// The node's pods and host do not reach the internet; the pods of DNS servers and of the aggregator still do.
    ExternalNode { node: String },
    /// The router translates no more: nothing on the internet answers, except the webhook receiver.
    ExternalAll,
    /// The link of the aggregator's own node is down.
    AggregatorIsolated,
    /// Overlay packets above a size vanish at the node; the size is that of the pods' own packet.
    MtuBlackhole {
        node: String,
        bytes: PacketSize,
        direction: Direction,
    },
    /// The node forwards pod packets up to a size and answers larger ones with an ICMP error that names it.
    MtuSignalled { node: String, bytes: PacketSize },
    /// The fabric carries less from node to node than the overlay needs, and says nothing.
    MtuOverlayTooBig { bytes: PacketSize },
    /// Some of the equal paths between two zones are dead.
    EcmpMember {
        zone: String,
        other: String,
        failing: Buckets,
        ways: Ways,
    },
    /// Packets between two zones are lost at random.
    ZoneLossy {
        percent: Percent,
        zone: String,
        other: String,
    },
    /// What the node sends waits in the queue of a congested link.
    SlowNode { node: String },
    /// The node's connection table takes no new entry.
    ConntrackFull { node: String },
    /// IPv6 is lost at the node's links; IPv4 is fine.
    V6Dead { at: Place },
    /// The prober gets a small share of one processor.
    ThrottledProber { node: String, percent: Percent },
    /// The address of one node's prober pod is on another node's too, and all others' routes lead there.
    AddressConflict { node: String, other: String },
    /// The node's routes to other nodes' pods are direct ones; the others take pod packets by the overlay only.
    OverlayBackendMix { node: String },
    /// The node's link goes down and up, half of the period each, until it is healed.
    Flapping { node: String, period: Duration },
}

/// One node, or all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// At one node's links.
    Node(String),
    /// At every node's links. A packet from node to node passes two of them.
    Everywhere,
}

/// What of a `resolv.conf` is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drift {
    /// The search list lacks the cluster's domains.
    Search,
    /// The server is not the cluster's.
    Nameserver,
}

/// How an external target is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetDown {
    /// Its server is killed: connections are refused.
    Refused,
    /// Its address answers nothing.
    Silent,
}

/// Which packets, as the node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
    Both,
}

/// Between two places: from the first to the second only, or there and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ways {
    OneWay,
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
    /// Its process number, if it runs.
    fn process_id(&self, node: &str) -> io::Result<Option<u32>>;
    /// SIGSTOP; nothing if it does not run.
    fn pause(&self, node: &str) -> io::Result<()>;
    /// SIGCONT; nothing if it does not run.
    fn resume(&self, node: &str) -> io::Result<()>;
}
