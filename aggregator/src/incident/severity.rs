//! How much an incident matters.

use std::fmt;

use meshprobe_core::finding::{Estimate, Pattern};
use serde::{Deserialize, Serialize};

/// Lower bound of the loss from which on a way counts as broken and not as lossy, as with a path's verdict `Down`.
const BROKEN: f64 = 0.5;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// To be looked at in working hours.
    Warning,
    /// Somebody is woken up.
    Critical,
}

impl Severity {
    /// As label and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// How much this pattern matters with so much loss; `None`: it is not about a share, or all is lost.
    pub fn of(pattern: Pattern, loss: Option<&Estimate>) -> Self {
        match Weight::of(pattern) {
            Weight::Outage => Self::Critical,
            Weight::BySize if loss.is_none_or(|loss| loss.lower >= BROKEN) => Self::Critical,
            Weight::BySize | Weight::Trouble => Self::Warning,
        }
    }
}

/// What a pattern does to those who use the network.
enum Weight {
    /// It takes workloads down, always.
    Outage,
    /// It takes workloads down where all is lost; retries get over a share.
    BySize,
    /// Something is wrong; most that use the network go on.
    Trouble,
}

impl Weight {
    fn of(pattern: Pattern) -> Self {
        match pattern {
            Pattern::NodeDark | Pattern::ZoneDark | Pattern::Isolated => Self::Outage,
            // A node, a zone or everything is cut off, as a whole or for one protocol.
            Pattern::IngressDead
            | Pattern::EgressDead
            | Pattern::NodeIngress
            | Pattern::NodeEgress
            | Pattern::NodeLink
            | Pattern::OverlayIngress
            | Pattern::OverlayEgress
            | Pattern::OverlayNode
            | Pattern::Overlay
            | Pattern::ZonePair
            | Pattern::Zone
            | Pattern::Mesh
            | Pattern::Kind
            // What a node needs for any new work: names, services, new connections, the way out.
            | Pattern::DnsBlocked
            | Pattern::DnsUpstream
            | Pattern::ServiceVip
            | Pattern::External
            | Pattern::NewFlows => Self::BySize,
            // One way of many, one flow of many, one server of several, one name.
            Pattern::Path
            | Pattern::Flows
            | Pattern::DnsServer
            | Pattern::DnsOverloaded
            | Pattern::DnsName
            // The other family, or smaller packets, still pass; slow is not down.
            | Pattern::Family
            | Pattern::Mtu
            | Pattern::Slow
            // The target's own; whoever runs it is told.
            | Pattern::Tls
            | Pattern::Http
            // It may hurt later, or hurts few.
            | Pattern::AddressConflict
            | Pattern::ConfigDrift
            // We see less; the network works.
            | Pattern::ReportsCut
            | Pattern::ProberDown
            | Pattern::UnreachableUnconfirmed
            | Pattern::AggregatorIsolated
            | Pattern::StoreUnwritable
            | Pattern::ObserverUnhealthy
            | Pattern::ProberNotRunning => Self::Trouble,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(ratio: f64) -> Estimate {
        Estimate {
            ratio,
            lower: ratio - 0.02,
            upper: (ratio + 0.02).min(1.0),
            sent: 1_000,
            lost: (ratio * 1_000.0) as u64,
        }
    }

    #[test]
    fn a_node_that_is_cut_off_wakes_somebody_and_one_that_loses_a_share_does_not() {
        for pattern in [Pattern::NodeIngress, Pattern::ZonePair, Pattern::DnsBlocked] {
            assert_eq!(Severity::of(pattern, None), Severity::Critical);
            assert_eq!(Severity::of(pattern, Some(&lost(1.0))), Severity::Critical);
            assert_eq!(Severity::of(pattern, Some(&lost(0.05))), Severity::Warning);
        }
    }

    #[test]
    fn a_dark_node_wakes_somebody_and_a_single_path_never_does() {
        assert_eq!(Severity::of(Pattern::NodeDark, None), Severity::Critical);
        for pattern in [Pattern::Path, Pattern::Mtu, Pattern::ObserverUnhealthy] {
            assert_eq!(
                Severity::of(pattern, Some(&lost(1.0))),
                Severity::Warning,
                "{pattern}"
            );
        }
    }
}
