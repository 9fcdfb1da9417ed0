//! Whom to probe, whom to answer, how often, with which keys.
//!
//! An assignment comes from the aggregator ([`wire`]) or from a file ([`mod@file`]); both are checked here once and become
//! a [`TargetSet`], and nothing past it can be malformed.

pub mod external;
pub mod file;
pub mod force;
pub mod wire;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use meshprobe_core::ids::{NodeName, NodeNameError, Ssid};
use meshprobe_core::path::{Plane, ProbeKind};
use meshprobe_core::stamp::{KeyError, Keys};
use meshprobe_proto::convert::UnknownNumber;

use self::external::ExternalTarget;
use crate::spool::Way;

/// Peers of one prober. The plan samples meshes that are larger.
pub const MAX_PEERS: usize = 16_384;

/// DNS targets of one prober.
pub const MAX_DNS_TARGETS: usize = 4_096;

/// Names that are asked as an application asks them.
pub const MAX_SEARCH_NAMES: usize = 64;

/// Services behind virtual IPs.
pub const MAX_SERVICES: usize = 256;

/// Targets outside the mesh.
pub const MAX_EXTERNAL_TARGETS: usize = 256;

/// Addresses of one peer.
pub const MAX_ADDRESSES: usize = 8;

/// A path is probed at most so often.
pub const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// A path is probed at least so often.
pub const MAX_INTERVAL: Duration = Duration::from_secs(3_600);

/// No answer is waited for longer.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// Bounds of the report interval.
pub const REPORT_INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(300);

/// A checked assignment.
#[derive(Clone, Debug)]
pub struct TargetSet {
    /// Grows with each change.
    pub generation: u64,
    /// The STAMP session identifier of this prober.
    pub ssid: Ssid,
    /// Whom to probe and to answer.
    pub peers: Vec<Peer>,
    /// DNS servers and names.
    pub dns: Vec<DnsTarget>,
    /// Names as an application asks them.
    pub search: Vec<SearchTarget>,
    /// Virtual IPs in front of the responders.
    pub services: Vec<ServiceTarget>,
    /// Targets outside the mesh.
    pub external: Vec<ExternalTarget>,
    /// How often, for each kind and plane that differs from the default; `None`: not at all.
    pub timings: BTreeMap<(ProbeKind, Plane), Option<Timing>>,
    /// When all is well, one report in this time.
    pub report_interval: Duration,
    /// Secrets of authenticated STAMP; `None`: unauthenticated mode.
    pub stamp_keys: Option<Keys>,
    /// Where else reports can go.
    pub aggregators: Vec<AggregatorAddress>,
}

/// A node to probe and to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub node: NodeName,
    /// The STAMP session identifier in its probes.
    pub ssid: Ssid,
    /// Where it is.
    pub addresses: Vec<PeerAddress>,
    /// Where in the interval its probes are sent, in 1/65,536.
    pub phase: u16,
    /// Answered, but not probed.
    pub answer_only: bool,
    /// In the sample that is probed by QUIC.
    pub quic: bool,
}

/// An address of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Where it is.
    pub plane: Plane,
    /// The address.
    pub ip: IpAddr,
    /// Port of its STAMP responder, if there is one.
    pub udp_port: Option<NonZeroU16>,
    /// Port for TCP connects, if there is one.
    pub tcp_port: Option<NonZeroU16>,
    /// Port of its QUIC responder, if there is one.
    pub quic_port: Option<NonZeroU16>,
}

/// One name asked of one DNS server address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsTarget {
    /// Name of the server instance for people.
    pub server: String,
    /// Its address.
    pub address: SocketAddr,
    /// The fully qualified name.
    pub name: String,
    /// The response code that is right for this name.
    pub expected_rcode: u8,
    /// What the address is.
    pub plane: Plane,
}

/// A name as an application asks it, by the node's resolv.conf.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SearchTarget {
    /// As an application would write it.
    pub name: String,
}

/// A virtual IP in front of the responders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceTarget {
    /// For people.
    pub name: String,
    /// Where it is.
    pub address: SocketAddr,
}

/// Where reports can go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AggregatorAddress {
    /// Which way it is.
    pub way: Way,
    /// `host:port`.
    pub address: String,
}

/// How often a kind is sent and how long its answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Time between two probes of one path.
    pub interval: Duration,
    /// Longest wait for an answer.
    pub timeout: Duration,
}

impl Timing {
    /// What MEASUREMENT.md §2 says.
    pub const fn default_of(kind: ProbeKind) -> Self {
        let seconds = match kind {
            ProbeKind::Udp | ProbeKind::Service => 1,
            ProbeKind::Tcp | ProbeKind::Icmp | ProbeKind::DnsUdp | ProbeKind::DnsTcp => 5,
            ProbeKind::TcpConnect | ProbeKind::Tls | ProbeKind::Http => 10,
            ProbeKind::Quic | ProbeKind::DnsSearch => 30,
            ProbeKind::Mtu => 60,
        };
        let timeout = match kind {
            ProbeKind::Mtu => 6,
            ProbeKind::DnsSearch | ProbeKind::Tls | ProbeKind::TcpConnect => 5,
            ProbeKind::Http => 10,
            _ => 1,
        };
        Self {
            interval: Duration::from_secs(seconds),
            timeout: Duration::from_secs(timeout),
        }
    }

    fn check(self, kind: ProbeKind) -> Result<Self, AssignmentError> {
        if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&self.interval) {
            return Err(AssignmentError::Interval {
                kind,
                interval: self.interval,
            });
        }
        if self.timeout.is_zero() || self.timeout > MAX_TIMEOUT {
            return Err(AssignmentError::Timeout {
                kind,
                timeout: self.timeout,
            });
        }
        Ok(self)
    }
}

/// Why an assignment is refused. The one in force stays.
#[derive(Debug, thiserror::Error)]
pub enum AssignmentError {
    /// A session identifier that is none.
    #[error("{who}: session identifier {ssid} is not in 1..=65535")]
    Ssid {
        /// Whose.
        who: String,
        /// What was assigned.
        ssid: u32,
    },
    /// Two nodes with the same session identifier.
    #[error("{node}: session identifier {} belongs to another node already", ssid.0)]
    DuplicateSsid {
        /// The second one.
        node: NodeName,
        /// The identifier.
        ssid: Ssid,
    },
    /// A node twice.
    #[error("{0}: listed twice")]
    DuplicateNode(NodeName),
    /// A node name that is none.
    #[error("node name {text:?}")]
    Node {
        /// What was assigned.
        text: String,
        /// What is wrong with it.
        #[source]
        source: NodeNameError,
    },
    /// An address that is none.
    #[error("{who}: {text:?} is not {expected}")]
    Address {
        /// Whose.
        who: String,
        /// What was assigned.
        text: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A port that is none.
    #[error("{who}: port {port} is not in 0..=65535")]
    Port {
        /// Whose.
        who: String,
        /// What was assigned.
        port: u32,
    },
    /// More than this prober takes.
    #[error("{count} {what}; at most {limit} are taken")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: usize,
        /// How many are taken.
        limit: usize,
    },
    /// An interval out of bounds.
    #[error("{kind}: interval {interval:?} is not in {MIN_INTERVAL:?}..={MAX_INTERVAL:?}")]
    Interval {
        /// Of which kind.
        kind: ProbeKind,
        /// What was assigned.
        interval: Duration,
    },
    /// A timeout out of bounds.
    #[error("{kind}: timeout {timeout:?} is not in 1ms..={MAX_TIMEOUT:?}")]
    Timeout {
        /// Of which kind.
        kind: ProbeKind,
        /// What was assigned.
        timeout: Duration,
    },
    /// A report interval out of bounds.
    #[error("report interval {0:?} is not in 100ms..=5m")]
    ReportInterval(Duration),
    /// A DNS name that is none.
    #[error("{server}: {name:?} is not a DNS name: {reason}")]
    DnsName {
        /// Of which server.
        server: String,
        /// What was assigned.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A response code that does not exist.
    #[error("{server}: response code {rcode} is not in 0..=23")]
    Rcode {
        /// Of which server.
        server: String,
        /// What was assigned.
        rcode: u32,
    },
    /// A key that is none.
    #[error("STAMP key {index}")]
    Key {
        /// Which one.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: KeyError,
    },
    /// A name that is asked as an application asks it, and is none.
    #[error("search name {0:?}: not a DNS name")]
    SearchName(String),
    /// A name for people that is empty, too long or has control characters.
    #[error("{what} name {name:?}: 1 to 253 printable characters are taken")]
    Label {
        /// Of what.
        what: &'static str,
        /// What was assigned.
        name: String,
    },
    /// A target outside the mesh that cannot be probed.
    #[error("external target {name:?}: {reason}")]
    External {
        /// Which one.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A number that names nothing here.
    #[error(transparent)]
    Unknown(#[from] UnknownNumber),
}

impl TargetSet {
    /// How often and how long; `None`: this kind is not sent on this plane. ICMP is sent only where it is asked for.
    pub fn timing(&self, kind: ProbeKind, plane: Plane) -> Option<Timing> {
        let default = (kind != ProbeKind::Icmp).then(|| Timing::default_of(kind));
        self.timings.get(&(kind, plane)).copied().unwrap_or(default)
    }

    /// What only the whole can get wrong.
    fn check(self) -> Result<Self, AssignmentError> {
        let too_many = |what, count, limit| AssignmentError::TooMany { what, count, limit };
        if self.peers.len() > MAX_PEERS {
            return Err(too_many("peers", self.peers.len(), MAX_PEERS));
        }
        if self.dns.len() > MAX_DNS_TARGETS {
            return Err(too_many("DNS targets", self.dns.len(), MAX_DNS_TARGETS));
        }
        for (what, count, limit) in [
            ("search names", self.search.len(), MAX_SEARCH_NAMES),
            ("services", self.services.len(), MAX_SERVICES),
            (
                "external targets",
                self.external.len(),
                MAX_EXTERNAL_TARGETS,
            ),
        ] {
            if count > limit {
                return Err(too_many(what, count, limit));
            }
        }
        let mut nodes = std::collections::HashSet::new();
        let mut ssids = std::collections::HashSet::from([self.ssid]);
        for peer in &self.peers {
            if !nodes.insert(&peer.node) {
                return Err(AssignmentError::DuplicateNode(peer.node.clone()));
            }
            if !ssids.insert(peer.ssid) {
                return Err(AssignmentError::DuplicateSsid {
                    node: peer.node.clone(),
                    ssid: peer.ssid,
                });
            }
            if peer.addresses.len() > MAX_ADDRESSES {
                return Err(too_many(
                    "addresses of one peer",
                    peer.addresses.len(),
                    MAX_ADDRESSES,
                ));
            }
        }
        for ((kind, _), timing) in &self.timings {
            timing.map(|timing| timing.check(*kind)).transpose()?;
        }
        if !REPORT_INTERVALS.contains(&self.report_interval) {
            return Err(AssignmentError::ReportInterval(self.report_interval));
        }
        for target in &self.dns {
            target.check()?;
        }
        for target in &self.search {
            if hickory_proto::rr::Name::from_ascii(&target.name).is_err() {
                return Err(AssignmentError::SearchName(target.name.clone()));
            }
        }
        for service in &self.services {
            label("service", &service.name)?;
        }
        Ok(self)
    }
}

impl DnsTarget {
    fn check(&self) -> Result<(), AssignmentError> {
        if self.expected_rcode > 23 {
            return Err(AssignmentError::Rcode {
                server: self.server.clone(),
                rcode: self.expected_rcode.into(),
            });
        }
        hickory_proto::rr::Name::from_ascii(&self.name)
            .map(|_| ())
            .map_err(|error| AssignmentError::DnsName {
                server: self.server.clone(),
                name: self.name.clone(),
                reason: error.to_string(),
            })
    }
}

/// A name for people.
fn label(what: &'static str, name: &str) -> Result<(), AssignmentError> {
    let bad = name.is_empty() || name.len() > 253 || name.chars().any(char::is_control);
    if bad {
        let name = name.chars().take(64).collect();
        return Err(AssignmentError::Label { what, name });
    }
    Ok(())
}

fn ssid(who: &str, number: u32) -> Result<Ssid, AssignmentError> {
    match u16::try_from(number) {
        Ok(number) if number != 0 => Ok(Ssid(number)),
        _ => Err(AssignmentError::Ssid {
            who: who.to_owned(),
            ssid: number,
        }),
    }
}

fn port(who: &str, number: u32) -> Result<Option<NonZeroU16>, AssignmentError> {
    u16::try_from(number)
        .map(NonZeroU16::new)
        .map_err(|_| AssignmentError::Port {
            who: who.to_owned(),
            port: number,
        })
}

fn node(text: &str) -> Result<NodeName, AssignmentError> {
    NodeName::try_from(text).map_err(|source| AssignmentError::Node {
        text: text.to_owned(),
        source,
    })
}
