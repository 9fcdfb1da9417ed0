//! The runbook's pages, so that a link in a notification leads somewhere wherever the aggregator runs.

use meshprobe_core::dark::Pattern;

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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_about_its_pattern() {
        for pattern in Pattern::ALL {
            assert!(
                page(pattern).starts_with(&format!("# {pattern}\n")),
                "{pattern}"
            );
        }
    }
}
