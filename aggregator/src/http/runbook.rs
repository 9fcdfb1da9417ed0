//! The runbook's pages, so that a link in a notification leads somewhere wherever the aggregator runs.

use meshprobe_core::finding::Pattern;

/// The page about a pattern, Markdown that reads well as it is.
pub(super) const fn page(pattern: Pattern) -> &'static str {
    match pattern {
        Pattern::NodeDark => include_str!("../../../docs/runbook/node-dark.md"),
        Pattern::ZoneDark => include_str!("../../../docs/runbook/zone-dark.md"),
        Pattern::Isolated => include_str!("../../../docs/runbook/isolated.md"),
        Pattern::IngressDead => include_str!("../../../docs/runbook/ingress-dead.md"),
        Pattern::EgressDead => include_str!("../../../docs/runbook/egress-dead.md"),
        Pattern::ReportsCut => include_str!("../../../docs/runbook/reports-cut.md"),
        Pattern::ProberDown => include_str!("../../../docs/runbook/prober-down.md"),
        Pattern::UnreachableUnconfirmed => {
            include_str!("../../../docs/runbook/unreachable-unconfirmed.md")
        }
        Pattern::AggregatorIsolated => include_str!("../../../docs/runbook/aggregator-isolated.md"),
        Pattern::StoreUnwritable => include_str!("../../../docs/runbook/store-unwritable.md"),
        Pattern::NodeIngress => include_str!("../../../docs/runbook/node-ingress.md"),
        Pattern::NodeEgress => include_str!("../../../docs/runbook/node-egress.md"),
        Pattern::NodeLink => include_str!("../../../docs/runbook/node-link.md"),
        Pattern::OverlayIngress => include_str!("../../../docs/runbook/overlay-ingress.md"),
        Pattern::OverlayEgress => include_str!("../../../docs/runbook/overlay-egress.md"),
        Pattern::OverlayNode => include_str!("../../../docs/runbook/overlay-node.md"),
        Pattern::Overlay => include_str!("../../../docs/runbook/overlay.md"),
        Pattern::Path => include_str!("../../../docs/runbook/path.md"),
        Pattern::ZonePair => include_str!("../../../docs/runbook/zone-pair.md"),
        Pattern::Zone => include_str!("../../../docs/runbook/zone.md"),
        Pattern::Mesh => include_str!("../../../docs/runbook/mesh.md"),
        Pattern::Flows => include_str!("../../../docs/runbook/flows.md"),
        Pattern::Kind => include_str!("../../../docs/runbook/kind.md"),
        Pattern::Family => include_str!("../../../docs/runbook/family.md"),
        Pattern::Mtu => include_str!("../../../docs/runbook/mtu.md"),
        Pattern::Slow => include_str!("../../../docs/runbook/slow.md"),
        Pattern::NewFlows => include_str!("../../../docs/runbook/new-flows.md"),
        Pattern::AddressConflict => include_str!("../../../docs/runbook/address-conflict.md"),
        Pattern::ConfigDrift => include_str!("../../../docs/runbook/config-drift.md"),
        Pattern::DnsServer => include_str!("../../../docs/runbook/dns-server.md"),
        Pattern::DnsOverloaded => include_str!("../../../docs/runbook/dns-overloaded.md"),
        Pattern::DnsBlocked => include_str!("../../../docs/runbook/dns-blocked.md"),
        Pattern::DnsUpstream => include_str!("../../../docs/runbook/dns-upstream.md"),
        Pattern::DnsName => include_str!("../../../docs/runbook/dns-name.md"),
        Pattern::ServiceVip => include_str!("../../../docs/runbook/service-vip.md"),
        Pattern::External => include_str!("../../../docs/runbook/external.md"),
        Pattern::Tls => include_str!("../../../docs/runbook/tls.md"),
        Pattern::Http => include_str!("../../../docs/runbook/http.md"),
        Pattern::ObserverUnhealthy => include_str!("../../../docs/runbook/observer-unhealthy.md"),
        Pattern::ProberNotRunning => include_str!("../../../docs/runbook/prober-not-running.md"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_about_its_pattern() {
        for pattern in Pattern::ALL {
            assert!(
                page(*pattern).starts_with(&format!("# {pattern}\n")),
                "{pattern}"
            );
        }
    }
}
