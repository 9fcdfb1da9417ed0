//! The shapes that a failure can have, by their names.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! patterns {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// The shape of a failure: what a finding, an incident and a page of the runbook are called by.
        ///
        /// Those up to `StoreUnwritable` are declared by the dark-node detector and by the aggregator about itself, the
        /// others by the diagnosis. `IngressDead` and `EgressDead` are the detector's words for a node's state; incidents
        /// about them are called by the diagnosis' words, which say where the fault is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Pattern {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl Pattern {
            /// Every pattern.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The pattern's name in incidents, metrics, the runbook and on the screen.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

patterns! {
    /// Nobody reaches it, nobody hears it, it does not report.
    NodeDark = "node-dark",
    /// Most nodes of a zone went dark together.
    ZoneDark = "zone-dark",
    /// Nobody reaches or hears it on any plane; its reports, or its node, still answer.
    Isolated = "isolated",
    /// A node's state: it cannot be reached; its own probes arrive at its peers.
    IngressDead = "ingress-dead",
    /// A node's state: probes reach it; what it sends does not arrive at its peers.
    EgressDead = "egress-dead",
    /// The network is fine; its reports do not arrive.
    ReportsCut = "reports-cut",
    /// The node answers, its prober does not.
    ProberDown = "prober-down",
    /// Too few observers to tell which side is at fault.
    UnreachableUnconfirmed = "unreachable-unconfirmed",
    /// Most probers fell silent together: the aggregator's own network is the likelier cause.
    AggregatorIsolated = "aggregator-isolated",
    /// The aggregator cannot write its store. It says so of itself.
    StoreUnwritable = "store-unwritable",

    /// Packets to a node are lost, all of them or a share, on every plane that is measured.
    NodeIngress = "node-ingress",
    /// Packets from a node are lost, all of them or a share, on every plane that is measured.
    NodeEgress = "node-egress",
    /// Packets to and from a node are lost, a share of them, on every plane that is measured.
    NodeLink = "node-link",
    /// Pod packets to a node are lost; the host network is clean.
    OverlayIngress = "overlay-ingress",
    /// Pod packets from a node are lost; the host network is clean: its routes to the other nodes' pods are gone.
    OverlayEgress = "overlay-egress",
    /// Pod packets to and from a node are lost; the host network is clean.
    OverlayNode = "overlay-node",
    /// The pod network fails between all nodes; the host network is clean.
    Overlay = "overlay",
    /// One way from one node to another.
    Path = "path",
    /// Between two zones, one way or both.
    ZonePair = "zone-pair",
    /// A zone cannot talk to any other zone.
    Zone = "zone",
    /// Loss between all nodes, whatever the plane and the kind.
    Mesh = "mesh",
    /// Some flows (source ports) between two zones or nodes lose everything, the others nothing: a dead member of equal paths.
    Flows = "flows",
    /// One protocol is blocked on a node or everywhere, the others pass.
    Kind = "kind",
    /// One address family is broken on a node or everywhere, the other one works.
    Family = "family",
    /// Packets above a size do not pass.
    Mtu = "mtu",
    /// Round trips take much longer than they used to.
    Slow = "slow",
    /// New flows of a node fail, those that exist live: a full connection table.
    NewFlows = "new-flows",
    /// Two nodes, or two pods, have the same address.
    AddressConflict = "address-conflict",
    /// A node's resolver or links are configured otherwise than those of its peers.
    ConfigDrift = "config-drift",

    /// One DNS server instance does not answer, from everywhere.
    DnsServer = "dns-server",
    /// DNS servers lose a share of the questions, from everywhere: they are starved or overloaded.
    DnsOverloaded = "dns-overloaded",
    /// One node cannot ask DNS servers (port 53), and can do all else.
    DnsBlocked = "dns-blocked",
    /// External names fail on the servers, cluster names work: what they forward to is broken.
    DnsUpstream = "dns-upstream",
    /// One name is answered wrongly, on every server.
    DnsName = "dns-name",
    /// A virtual IP fails, on one node or everywhere, while the addresses behind it answer.
    ServiceVip = "service-vip",
    /// Targets outside the mesh cannot be reached: one target from everywhere, or all from a node or from everywhere.
    External = "external",
    /// A target accepts connections; its certificate is not valid, or the handshake fails.
    Tls = "tls",
    /// A target answers requests with another status or body than the expected one.
    Http = "http",

    /// A prober is starved or drops packets itself: its samples do not count.
    ObserverUnhealthy = "observer-unhealthy",
    /// A node's prober cannot start, and the cluster says why.
    ProberNotRunning = "prober-not-running",
}

impl Pattern {
    /// The pattern with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|p| p.as_str() == name)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_has_one_name_everywhere() {
        for pattern in Pattern::ALL {
            assert_eq!(Pattern::from_name(pattern.as_str()), Some(*pattern));
            let json = serde_json::to_string(pattern).unwrap();
            assert_eq!(json, format!("\"{pattern}\""));
        }
    }
}
