//! What the runners do: paths with everything that one probe needs to know.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::ids::{NodeName, Ssid, TargetNumber};
use meshprobe_core::stamp::Keys;

use crate::assignment::external::ExternalTarget;
use crate::assignment::{DnsTarget, SearchTarget, ServiceTarget};
use crate::path_id::PathId;
use crate::schedule::Cadence;

/// What the runners do. Complete; replaces the previous one.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The assignment's generation.
    pub generation: u64,
    /// The own session identifier; `None`: no assignment yet.
    pub ssid: Option<Ssid>,
    /// Keys of authenticated STAMP.
    pub keys: Option<Keys>,
    /// Paths that are probed by UDP.
    pub udp: Vec<UdpTarget>,
    /// Paths that are probed by TCP.
    pub tcp: Vec<TcpTarget>,
    /// Paths that are probed by DNS queries.
    pub dns: Vec<DnsQueryTarget>,
    /// Paths whose largest packet is looked for.
    pub mtu: Vec<PeerTarget>,
    /// Paths that are probed by QUIC.
    pub quic: Vec<PeerTarget>,
    /// Paths that are probed by ICMP echo.
    pub icmp: Vec<PeerTarget>,
    /// Names that are asked as an application asks them.
    pub search: Vec<SearchProbe>,
    /// Virtual IPs in front of the responders.
    pub services: Vec<ServiceProbe>,
    /// Targets outside the mesh.
    pub external: Vec<ExternalProbe>,
    /// Whose probes are answered.
    pub answered: Vec<AnsweredPeer>,
    /// Who names itself by which session identifier: the peers.
    pub names: Vec<(Ssid, NodeName)>,
    /// Ports of all responders of the mesh: nothing that comes from one of them is answered.
    pub responder_ports: Vec<u16>,
}

/// A path that is probed by UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpTarget {
    /// The path.
    pub path: PathId,
    /// The peer.
    pub target: TargetNumber,
    /// The session identifier by which its responder names itself; `None`: not known.
    pub peer: Option<Ssid>,
    /// Its responder.
    pub address: SocketAddr,
    /// How often.
    pub cadence: Cadence,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// A path to a peer that is probed by another kind than UDP and TCP.
#[derive(Clone, Debug)]
pub struct PeerTarget {
    /// The path.
    pub path: PathId,
    /// The peer.
    pub target: TargetNumber,
    /// Its responder.
    pub address: SocketAddr,
    /// The peer's session identifier.
    pub peer: Ssid,
    /// The own session identifier.
    pub own: Ssid,
    /// Keys of authenticated STAMP.
    pub keys: Option<Keys>,
    /// How often.
    pub cadence: Cadence,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// A name that is asked as an application asks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchProbe {
    /// The path.
    pub path: PathId,
    /// The name.
    pub target: TargetNumber,
    /// What is asked.
    pub name: SearchTarget,
    /// How often.
    pub cadence: Cadence,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// A virtual IP in front of the responders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceProbe {
    /// The path.
    pub path: PathId,
    /// The service.
    pub target: TargetNumber,
    /// Where it is.
    pub service: ServiceTarget,
    /// How often.
    pub cadence: Cadence,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// A target outside the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalProbe {
    /// The path.
    pub path: PathId,
    /// The target.
    pub target: TargetNumber,
    /// What is asked of it.
    pub external: Arc<ExternalTarget>,
    /// How often.
    pub cadence: Cadence,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// What a TCP probe expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Our responder: it returns what it is sent.
    Echo,
    /// Any sign of life: an accepted connection or a reset.
    Contact,
}

/// A path that is probed by TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpTarget {
    /// The path.
    pub path: PathId,
    /// The peer.
    pub target: TargetNumber,
    /// Where to connect to.
    pub address: SocketAddr,
    /// What for.
    pub expectation: Expectation,
    /// How often.
    pub cadence: Cadence,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// How a DNS query travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A connection.
    Tcp,
}

/// A path that is probed by DNS queries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsQueryTarget {
    /// The path.
    pub path: PathId,
    /// The server and the name.
    pub target: TargetNumber,
    /// What is asked of whom.
    pub question: Arc<DnsTarget>,
    /// How.
    pub transport: Transport,
    /// How often.
    pub cadence: Cadence,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

/// A peer whose probes are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnsweredPeer {
    /// What its probes carry.
    pub ssid: Ssid,
    /// Which peer.
    pub target: TargetNumber,
    /// The path that its IPv4 probes are counted on.
    pub heard_v4: Option<PathId>,
    /// The same for IPv6.
    pub heard_v6: Option<PathId>,
    /// From where it is expected. Behind NAT it comes from elsewhere.
    pub addresses: Vec<IpAddr>,
}
