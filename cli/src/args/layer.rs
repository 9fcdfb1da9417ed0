//! Which layer of the matrix.

use clap::{Args, ValueEnum};
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};

/// Which layer.
#[derive(Clone, Copy, Debug, Args)]
pub struct LayerArgs {
    /// What is sent. Default: udp on the pod plane, tcp on the host plane, dns-udp on the service plane.
    #[arg(long, short, value_enum)]
    pub kind: Option<KindArg>,
    /// Where the packets run: the pod network, the nodes' own addresses, or a virtual IP.
    #[arg(long, short, value_enum, default_value_t = PlaneArg::Pod)]
    pub plane: PlaneArg,
    /// Address family.
    #[arg(long, short, value_enum, default_value_t = FamilyArg::V4)]
    pub family: FamilyArg,
}

impl LayerArgs {
    /// The layer that is meant.
    pub fn layer(self) -> Layer {
        let plane = match self.plane {
            PlaneArg::Pod => Plane::Pod,
            PlaneArg::Host => Plane::Host,
            PlaneArg::Service => Plane::Service,
        };
        let kind = match (self.kind, plane) {
            (Some(KindArg::Udp), _) | (None, Plane::Pod) => ProbeKind::Udp,
            (Some(KindArg::Tcp), _) | (None, Plane::Host) => ProbeKind::Tcp,
            (Some(KindArg::DnsUdp), _) | (None, Plane::Service) => ProbeKind::DnsUdp,
            (Some(KindArg::DnsTcp), _) => ProbeKind::DnsTcp,
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
        ] {
            let layer = Line::try_parse_from(line.split_whitespace())
                .expect(line)
                .layer;
            assert_eq!(layer.layer().to_string(), expected, "{line}");
        }
    }
}
