//! Which layer of the matrix.

use clap::{Args, ValueEnum};
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};

/// Which layer.
#[derive(Clone, Copy, Debug, Args)]
pub struct LayerArgs {
    /// What is sent. Default: udp on the pod plane, tcp on the host plane, dns-udp on the service plane.
    #[arg(long, short, value_enum)]
    pub kind: Option<KindArg>,
    /// Where the packets run: the pod network, the nodes' own addresses, or a virtual IP. Default: service for the
    /// kind service, else pod.
    #[arg(long, short, value_enum)]
    pub plane: Option<PlaneArg>,
    /// Address family.
    #[arg(long, short, value_enum, default_value_t = FamilyArg::V4)]
    pub family: FamilyArg,
}

impl LayerArgs {
    /// The layer that is meant.
    pub fn layer(self) -> Layer {
        let plane = match (self.plane, self.kind) {
            (Some(PlaneArg::Host), _) => Plane::Host,
            (Some(PlaneArg::Service), _) | (None, Some(KindArg::Service)) => Plane::Service,
            (Some(PlaneArg::Pod) | None, _) => Plane::Pod,
        };
        let kind = match (self.kind, plane) {
            (Some(kind), _) => kind.into(),
            (None, Plane::Pod) => ProbeKind::Udp,
            (None, Plane::Host) => ProbeKind::Tcp,
            (None, Plane::Service) => ProbeKind::DnsUdp,
        };
        let family = match self.family {
            FamilyArg::V4 => Family::V4,
            FamilyArg::V6 => Family::V6,
        };
        Layer {
            kind,
            plane,
            family,
        }
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KindArg {
    /// STAMP packets over UDP.
    Udp,
    /// A TCP connection and an echo.
    Tcp,
    /// DNS queries over UDP.
    DnsUdp,
    /// DNS queries over TCP.
    DnsTcp,
    /// The largest packet that passes, each way.
    Mtu,
    /// QUIC handshakes and datagrams.
    Quic,
    /// ICMP echo.
    Icmp,
    /// Names as an application asks them.
    DnsSearch,
    /// Connections to virtual IPs in front of the probers.
    Service,
    /// TCP connections to targets outside the mesh.
    TcpConnect,
    /// TLS handshakes with targets outside the mesh.
    Tls,
    /// HTTP requests to targets outside the mesh.
    Http,
}

impl From<KindArg> for ProbeKind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Udp => Self::Udp,
            KindArg::Tcp => Self::Tcp,
            KindArg::DnsUdp => Self::DnsUdp,
            KindArg::DnsTcp => Self::DnsTcp,
            KindArg::Mtu => Self::Mtu,
            KindArg::Quic => Self::Quic,
            KindArg::Icmp => Self::Icmp,
            KindArg::DnsSearch => Self::DnsSearch,
            KindArg::Service => Self::Service,
            KindArg::TcpConnect => Self::TcpConnect,
            KindArg::Tls => Self::Tls,
            KindArg::Http => Self::Http,
        }
    }
}

/// Where it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlaneArg {
    /// The pod network (overlay).
    Pod,
    /// The nodes' own addresses (underlay).
    Host,
    /// A virtual IP.
    Service,
}

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FamilyArg {
    /// IPv4.
    #[value(alias = "4", alias = "ipv4")]
    V4,
    /// IPv6.
    #[value(alias = "6", alias = "ipv6")]
    V6,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        layer: LayerArgs,
    }

    #[test]
    fn the_kind_follows_the_plane_unless_it_is_given() {
        for (line, expected) in [
            ("matrix", "udp/pod/v4"),
            ("matrix --plane host", "tcp/host/v4"),
            ("matrix --plane service", "dns-udp/service/v4"),
            ("matrix --kind dns-tcp --family v6", "dns-tcp/pod/v6"),
            ("matrix --kind udp --plane host --family 6", "udp/host/v6"),
            ("matrix --kind service", "service/service/v4"),
            ("matrix --kind http", "http/pod/v4"),
        ] {
            let layer = Line::try_parse_from(line.split_whitespace())
                .expect(line)
                .layer;
            assert_eq!(layer.layer().to_string(), expected, "{line}");
        }
    }
}
