//! Paths: who probes whom, by which kind, on which plane, in which address family.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::NodeIndex;

/// What is sent to find out whether a path works (MEASUREMENT.md §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeKind {
    /// STAMP over UDP.
    Udp,
    /// TCP connect and echo; on the host plane the connect alone.
    Tcp,
    /// One DNS query over UDP to one server address.
    DnsUdp,
    /// One DNS query over TCP to one server address.
    DnsTcp,
    /// The largest packet that passes, each way.
    Mtu,
    /// QUIC handshake and datagram echo, beside a long-lived connection.
    Quic,
    /// ICMP echo.
    Icmp,
    /// A name as an application asks it, by the node's resolv.conf.
    DnsSearch,
    /// A connection to a virtual IP in front of the responders.
    Service,
    /// TCP connect to a target outside the mesh.
    TcpConnect,
    /// TLS handshake with a target outside the mesh.
    Tls,
    /// HTTP request to a target outside the mesh.
    Http,
}

impl ProbeKind {
    /// Every kind, in the order of the enum.
    pub const ALL: [Self; 12] = [
        Self::Udp,
        Self::Tcp,
        Self::DnsUdp,
        Self::DnsTcp,
        Self::Mtu,
        Self::Quic,
        Self::Icmp,
        Self::DnsSearch,
        Self::Service,
        Self::TcpConnect,
        Self::Tls,
        Self::Http,
    ];

    /// Does this kind go from node to node (and not to a server)?
    pub const fn is_between_nodes(self) -> bool {
        matches!(
            self,
            Self::Udp | Self::Tcp | Self::Mtu | Self::Quic | Self::Icmp
        )
    }

    /// Does this kind say that a node or its prober is alive, and fast enough to judge it by? The slow kinds measure
    /// other things: a black hole for large packets is no dead node.
    pub const fn is_vital(self) -> bool {
        matches!(self, Self::Udp | Self::Tcp)
    }
}

impl fmt::Display for ProbeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::DnsUdp => "dns-udp",
            Self::DnsTcp => "dns-tcp",
            Self::Mtu => "mtu",
            Self::Quic => "quic",
            Self::Icmp => "icmp",
            Self::DnsSearch => "dns-search",
            Self::Service => "service",
            Self::TcpConnect => "tcp-connect",
            Self::Tls => "tls",
            Self::Http => "http",
        })
    }
}

/// Where the packets run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plane {
    /// The pod network (overlay).
    Pod,
    /// The nodes' own addresses (underlay).
    Host,
    /// A virtual IP.
    Service,
}

impl fmt::Display for Plane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pod => "pod",
            Self::Host => "host",
            Self::Service => "service",
        })
    }
}

/// Address family. The two are separate paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    pub const fn of(ip: std::net::IpAddr) -> Self {
        match ip {
            std::net::IpAddr::V4(_) => Self::V4,
            std::net::IpAddr::V6(_) => Self::V6,
        }
    }

    /// Its place in an array with one of each.
    pub const fn index(self) -> usize {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "v4",
            Self::V6 => "v6",
        })
    }
}

/// Everything of a path but its two ends. One matrix each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Layer {
    /// What is sent.
    pub kind: ProbeKind,
    /// Where it runs.
    pub plane: Plane,
    /// In which address family.
    pub family: Family,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            plane,
            family,
        } = self;
        write!(f, "{kind}/{plane}/{family}")
    }
}

/// An ordered pair of nodes in one layer: a→b and b→a are two paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// Who sends the probes.
    pub source: NodeIndex,
    /// Who answers them.
    pub target: NodeIndex,
    /// By what means.
    pub layer: Layer,
}

impl Path {
    /// The path in the other direction.
    #[must_use]
    pub const fn reverse(self) -> Self {
        Self {
            source: self.target,
            target: self.source,
            layer: self.layer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_reads_like_a_path_of_its_parts() {
        let layer = Layer {
            kind: ProbeKind::DnsUdp,
            plane: Plane::Service,
            family: Family::V4,
        };
        assert_eq!(layer.to_string(), "dns-udp/service/v4");
    }
}
