//! A fault as text; `parse` is the way back.

use std::fmt;

use super::{Direction, Drift, Fault, Place, TargetDown, Ways, duration};

impl Fault {
    /// The first word of the text form, which is the name in the catalogue.
    pub fn name(&self) -> &'static str {
        match self {
            Self::NodeDark { .. } => "node-dark",
            Self::NodeFreeze { .. } => "node-freeze",
            Self::ProberDown { .. } => "prober-down",
            Self::ReportsCut { .. } => "reports-cut",
            Self::IngressDead { .. } => "ingress-dead",
            Self::EgressDead { .. } => "egress-dead",
            Self::OverlayRoutesMissing { .. } => "overlay-routes-missing",
            Self::OverlayOneRoute { .. } => "overlay-one-route",
            Self::OverlayPortBlocked { .. } => "overlay-port-blocked",
            Self::PathOneWay { .. } => "path-one-way",
            Self::ZonePartition { .. } => "zone-partition",
            Self::Loss { .. } => "loss",
            Self::UdpBlocked { .. } => "udp-blocked",
            Self::TcpBlocked { .. } => "tcp-blocked",
            Self::DnsInstanceDown { .. } => "dns-instance-down",
            Self::DnsBlocked { .. } => "dns-blocked",
            Self::VipBroken { .. } => "vip-broken",
            Self::DnsServfail => "dns-servfail",
            Self::DnsNxdomain { .. } => "dns-nxdomain",
            Self::DnsThrottled { .. } => "dns-throttled",
            Self::DnsVip { .. } => "dns-vip",
            Self::DnsConfigDrift { .. } => "dns-config-drift",
            Self::VipStaleEndpoint => "vip-stale-endpoint",
            Self::ExternalTargetDown { .. } => "external-target-down",
            Self::TlsExpired { .. } => "tls-expired",
            Self::TlsHandshake { .. } => "tls-handshake",
            Self::HttpStatus { .. } => "http-status",
            Self::ExternalNode { .. } => "external-node",
            Self::ExternalAll => "external-all",
            Self::AggregatorIsolated => "aggregator-isolated",
            Self::MtuBlackhole { .. } => "mtu-blackhole",
            Self::MtuSignalled { .. } => "mtu-signalled",
            Self::MtuOverlayTooBig { .. } => "mtu-overlay-too-big",
            Self::EcmpMember { .. } => "ecmp-member",
            Self::ZoneLossy { .. } => "zone-lossy",
            Self::SlowNode { .. } => "slow-node",
            Self::ConntrackFull { .. } => "conntrack-full",
            Self::V6Dead { .. } => "v6-dead",
            Self::ThrottledProber { .. } => "throttled-prober",
            Self::AddressConflict { .. } => "address-conflict",
            Self::OverlayBackendMix { .. } => "overlay-backend-mix",
            Self::Flapping { .. } => "flapping",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::NodeDark { node }
            | Self::ProberDown { node }
            | Self::ReportsCut { node }
            | Self::IngressDead { node }
            | Self::EgressDead { node }
            | Self::OverlayRoutesMissing { node }
            | Self::DnsBlocked { node }
            | Self::DnsVip { node }
            | Self::ExternalNode { node }
            | Self::VipBroken { node }
            | Self::SlowNode { node }
            | Self::ConntrackFull { node }
            | Self::OverlayBackendMix { node } => write!(f, " {node}"),
            Self::NodeFreeze { node, duration } => {
                write!(f, " {node} {}", duration::format(*duration))
            }
            Self::OverlayOneRoute { node, to } => write!(f, " {node} {to}"),
            Self::PathOneWay { from, to } => write!(f, " {from} {to}"),
            Self::ZonePartition { zone, other } => write!(f, " {zone} {other}"),
            Self::MtuBlackhole {
                node,
                bytes,
                direction,
            } => write!(f, " {node} {bytes} {direction}"),
            Self::MtuSignalled { node, bytes } => write!(f, " {node} {bytes}"),
            Self::MtuOverlayTooBig { bytes } => write!(f, " {bytes}"),
            Self::EcmpMember {
                zone,
                other,
                failing,
                ways,
            } => write!(f, " {zone} {other} {failing} {ways}"),
            Self::ZoneLossy {
                percent,
                zone,
                other,
            } => write!(f, " {percent} {zone} {other}"),
            Self::OverlayPortBlocked { at }
            | Self::UdpBlocked { at }
            | Self::TcpBlocked { at }
            | Self::V6Dead { at } => write!(f, " {at}"),
            Self::ThrottledProber { node, percent } => write!(f, " {node} {percent}"),
            Self::AddressConflict { node, other } => write!(f, " {node} {other}"),
            Self::Flapping { node, period } => write!(f, " {node} {}", duration::format(*period)),
            Self::Loss {
                percent,
                at,
                direction,
            } => write!(f, " {percent} {at} {direction}"),
            Self::DnsInstanceDown { instance } => write!(f, " {instance}"),
            Self::DnsNxdomain { name } => write!(f, " {name}"),
            Self::DnsThrottled { percent, instance } => match instance {
                Some(instance) => write!(f, " {percent} {instance}"),
                None => write!(f, " {percent}"),
            },
            Self::DnsConfigDrift { node, drift } => write!(f, " {node} {drift}"),
            Self::ExternalTargetDown { target, how } => write!(f, " {target} {how}"),
            Self::TlsExpired { target } | Self::TlsHandshake { target } => write!(f, " {target}"),
            Self::HttpStatus { target, status } => write!(f, " {target} {status}"),
            Self::DnsServfail
            | Self::VipStaleEndpoint
            | Self::ExternalAll
            | Self::AggregatorIsolated => Ok(()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => f.write_str(node),
            Self::Everywhere => f.write_str("all"),
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "both",
        })
    }
}

impl fmt::Display for Ways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneWay => "one-way",
            Self::Both => "both",
        })
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Search => "search",
            Self::Nameserver => "nameserver",
        })
    }
}

impl fmt::Display for TargetDown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Silent => "silent",
        })
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}
