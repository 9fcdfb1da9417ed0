//! A fault as text; `parse` is the way back.

use std::fmt;

use super::{Direction, Fault, LossPlace, duration};

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
            Self::AggregatorIsolated => "aggregator-isolated",
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
            | Self::OverlayPortBlocked { node }
            | Self::UdpBlocked { node }
            | Self::TcpBlocked { node }
            | Self::DnsBlocked { node }
            | Self::VipBroken { node } => write!(f, " {node}"),
            Self::NodeFreeze { node, duration } => {
                write!(f, " {node} {}", duration::format(*duration))
            }
            Self::OverlayOneRoute { node, to } => write!(f, " {node} {to}"),
            Self::PathOneWay { from, to } => write!(f, " {from} {to}"),
            Self::ZonePartition { zone, other } => write!(f, " {zone} {other}"),
            Self::Loss {
                percent,
                at,
                direction,
            } => write!(f, " {percent} {at} {direction}"),
            Self::DnsInstanceDown { instance } => write!(f, " {instance}"),
            Self::AggregatorIsolated => Ok(()),
        }
    }
}

impl fmt::Display for LossPlace {
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

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}
