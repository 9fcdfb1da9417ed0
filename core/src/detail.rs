//! What a probe found beside its outcome: sizes, certificates, backends, flows.
//!
//! An outcome says whether a path works, a detail what exactly was seen. A report carries the newest detail of a path in
//! its window; the aggregator keeps the newest one of each path. No verdict follows from a detail: it is evidence.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::path::ProbeKind;

/// Longest text in a detail, octets.
pub const MAX_TEXT: usize = 256;
/// Most entries of a list in a detail.
pub const MAX_ENTRIES: usize = 64;

/// What the newest probe of a path found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Detail {
    /// Of [`ProbeKind::Udp`].
    Udp(UdpDetail),
    /// Of [`ProbeKind::Mtu`].
    Mtu(MtuDetail),
    /// Of [`ProbeKind::Quic`].
    Quic(QuicDetail),
    /// Of [`ProbeKind::Icmp`].
    Icmp(IcmpDetail),
    /// Of [`ProbeKind::DnsUdp`] and [`ProbeKind::DnsTcp`].
    Dns(DnsDetail),
    /// Of [`ProbeKind::DnsSearch`].
    Search(SearchDetail),
    /// Of [`ProbeKind::Service`].
    Service(ServiceDetail),
    /// Of [`ProbeKind::TcpConnect`], [`ProbeKind::Tls`] and [`ProbeKind::Http`].
    External(ExternalDetail),
}

impl Detail {
    /// Can a probe of this kind find this?
    pub const fn fits(&self, kind: ProbeKind) -> bool {
        matches!(
            (self, kind),
            (Self::Udp(_), ProbeKind::Udp)
                | (Self::Mtu(_), ProbeKind::Mtu)
                | (Self::Quic(_), ProbeKind::Quic)
                | (Self::Icmp(_), ProbeKind::Icmp)
                | (Self::Dns(_), ProbeKind::DnsUdp | ProbeKind::DnsTcp)
                | (Self::Search(_), ProbeKind::DnsSearch)
                | (Self::Service(_), ProbeKind::Service)
                | (
                    Self::External(_),
                    ProbeKind::TcpConnect | ProbeKind::Tls | ProbeKind::Http
                )
        )
    }
}

impl Detail {
    /// Memory that it takes, about.
    pub fn octets(&self) -> usize {
        let texts = match self {
            Self::Udp(udp) => {
                let flows = udp.flows.as_ref();
                udp.answered_by.len() + flows.map_or(0, |f| 2 * f.failing_ports.len())
            }
            Self::Mtu(_) | Self::Icmp(_) | Self::Dns(_) => 0,
            Self::Quic(quic) => quic.failure.len(),
            Self::Search(search) => search.answered_name.len() + search.failure.len(),
            Self::Service(service) => service
                .backends
                .iter()
                .map(|count| size_of::<BackendCount>() + count.backend.len())
                .sum(),
            Self::External(external) => {
                external.proxy.len()
                    + external.tls_version.len()
                    + external.certificate_subject.len()
                    + external.certificate_issuer.len()
                    + external.failure.len()
            }
        };
        size_of::<Self>() + texts
    }
}

/// What STAMP saw beside loss and time, in one window, and the flows of a path that is lossy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpDetail {
    /// Replies that arrived after a later one (RFC 4737).
    pub reordered: u32,
    /// Replies that arrived twice (RFC 5560).
    pub duplicated: u32,
    /// TTL or hop limit with which probes arrived at the peer; `None`: it did not say.
    pub ttl: Option<u8>,
    /// The TTL changed inside the window: the route did.
    pub ttl_changed: bool,
    /// DSCP with which probes arrived, where it differs from what was sent.
    pub dscp_changed_to: Option<u8>,
    /// Packet delay variation (RFC 5481): largest round-trip time over the smallest.
    pub delay_variation: Duration,
    /// Loss by flow; present while the path is lossy.
    pub flows: Option<FlowLoss>,
    /// Who answered instead of the target, by its node name; empty: nobody did, or it is not known.
    #[serde(default)]
    pub answered_by: String,
}

/// Loss by flow (source port): a dead member of an ECMP group takes some flows and spares the others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowLoss {
    /// Flows with enough probes to judge.
    pub tested: u32,
    /// Of those, flows of which every probe was lost.
    pub failing: u32,
    /// Source ports of failing flows, at most [`MAX_ENTRIES`].
    pub failing_ports: Vec<u16>,
    /// Probes of the judged flows that do not fail. Where a member of a group is dead, these lose nothing; where each packet
    /// is lost with the same chance, these lose as well.
    #[serde(default)]
    pub living_sent: u32,
    /// Of those, lost.
    #[serde(default)]
    pub living_lost: u32,
}

/// Why no larger packet passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
pub enum MtuLimit {
    /// Not measured.
    #[default]
    Unknown = 0,
    /// The interface's own MTU passes: nothing on the way limits it.
    Interface = 1,
    /// Larger packets vanish without a word.
    BlackHole = 2,
    /// A router said so (ICMP fragmentation needed, packet too big).
    Signalled = 3,
    /// The own kernel refuses larger packets: the route or the path MTU cache says less than the interface.
    Local = 4,
}

impl MtuLimit {
    /// Every limit.
    pub const ALL: [Self; 5] = [
        Self::Unknown,
        Self::Interface,
        Self::BlackHole,
        Self::Signalled,
        Self::Local,
    ];

    /// The limit with this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|limit| *limit as u8 == number)
    }

    /// As text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Interface => "interface",
            Self::BlackHole => "black-hole",
            Self::Signalled => "signalled",
            Self::Local => "local",
        }
    }
}

/// The largest packets that pass. Sizes are IP packets, octets; zero: not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MtuDetail {
    /// Source to target: a request of that size with a small reply came through.
    pub forward: u16,
    /// Why none larger.
    pub forward_limit: MtuLimit,
    /// Target to source: a reply of that size came back. Never above `forward`, for a reply is no longer than its
    /// request; the target's own measurement of the reverse path has the rest.
    pub reverse: u16,
    /// Why none larger; [`MtuLimit::Unknown`] where `forward` is what limits it.
    pub reverse_limit: MtuLimit,
    /// What the ICMP message allows.
    pub signalled_mtu: u16,
    /// Who sent it.
    pub signalled_by: Option<IpAddr>,
    /// MTU of the interface that the packets leave by.
    pub interface_mtu: u16,
    /// What the kernel thinks that the route carries (`IP_MTU`).
    pub route_mtu: u16,
}

/// What QUIC saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuicDetail {
    /// Time of the newest complete handshake.
    pub handshake: Option<Duration>,
    /// Age of the long-lived connection; `None`: there is none.
    pub long_flow_age: Option<Duration>,
    /// How often a long-lived connection broke since the prober started.
    pub long_flow_breaks: u32,
    /// Black holes that the connection's own path MTU discovery met (RFC 8899).
    pub black_holes_detected: u32,
    /// Largest UDP payload that the long-lived connection uses.
    pub mtu: u16,
    /// Why the newest failed handshake or connection ended; empty: none did.
    pub failure: String,
}

/// What ICMP echo saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IcmpDetail {
    /// TTL or hop limit of the reply; `None`: the kernel did not say.
    pub ttl: Option<u8>,
}

/// What a DNS server answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsDetail {
    /// Response code of the newest answer; `None`: there was none.
    pub rcode: Option<u8>,
    /// The answer did not fit (TC).
    pub truncated: bool,
    /// Records in the answer section.
    pub answers: u16,
    /// Answers with a wrong id, question or source since the prober started.
    pub wrong_answers: u32,
}

/// What the resolver of an application does with a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchDetail {
    /// Queries that the answer cost.
    pub queries: u32,
    /// The name that was answered, after the search list.
    pub answered_name: String,
    /// Which server answered.
    pub server: Option<SocketAddr>,
    /// Why there was no answer; empty: there was one.
    pub failure: String,
}

/// Who answered behind a virtual IP, over the last connections of this source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceDetail {
    /// Connections that were tried.
    pub tried: u32,
    /// Of those, failed.
    pub failed: u32,
    /// How many were answered by whom, by name.
    pub backends: Vec<BackendCount>,
}

/// Connections that one backend answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendCount {
    /// Node name of the backend, or its address.
    pub backend: String,
    /// Connections.
    pub connections: u32,
}

/// What a target outside the mesh did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalDetail {
    /// Where it was reached.
    pub address: Option<SocketAddr>,
    /// Through this proxy, `host:port`; empty: directly.
    pub proxy: String,
    /// Time of each phase that was completed.
    pub phases: Phases,
    /// Status of the last HTTP response.
    pub status: Option<u16>,
    /// Redirects that were followed.
    pub redirects: u8,
    /// Did the body have what was expected? `None`: nothing was, or there was no body.
    pub body_matched: Option<bool>,
    /// TLS version; empty: no handshake.
    pub tls_version: String,
    /// End of the certificate's validity, seconds since the Unix epoch.
    pub certificate_not_after: Option<i64>,
    /// Subject of the certificate.
    pub certificate_subject: String,
    /// Issuer of the certificate.
    pub certificate_issuer: String,
    /// Why it failed, for people; empty: it did not.
    pub failure: String,
}

/// Times of the phases of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// Name to address.
    pub dns: Option<Duration>,
    /// TCP handshake.
    pub connect: Option<Duration>,
    /// TLS handshake.
    pub tls: Option<Duration>,
    /// Request to the first octet of the response.
    pub first_byte: Option<Duration>,
    /// All of it.
    pub total: Option<Duration>,
}

/// Cuts a text at [`MAX_TEXT`] octets, at a character boundary.
pub fn bounded_text(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_belongs_to_its_kind() {
        let detail = Detail::Mtu(MtuDetail::default());
        let kinds = ProbeKind::ALL.into_iter().filter(|kind| detail.fits(*kind));
        assert_eq!(kinds.collect::<Vec<_>>(), [ProbeKind::Mtu]);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "é".repeat(200);
        assert_eq!(bounded_text(&text).len(), MAX_TEXT);
        assert_eq!(bounded_text("short"), "short");
        assert_eq!(bounded_text(&format!("x{text}")).len(), MAX_TEXT - 1);
    }
}
