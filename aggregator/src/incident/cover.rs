//! Which scope is part of which other one, and which failure may be part of which other one.

use meshprobe_core::finding::{Pattern, Place, Scope};
use meshprobe_core::ids::NodeName;

/// What a pattern is about. A failure is never taken for a part of one that is about something else: the diagnosis has
/// already left out what a lower layer explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Domain {
    /// Packets between nodes are lost.
    Ways,
    /// Large packets are.
    Size,
    /// They take long.
    Time,
    /// Names are not resolved.
    Names,
    /// Virtual IPs do not answer.
    Services,
    /// Targets outside do not.
    Outside,
    /// What nodes, probers and the aggregator are themselves.
    Own,
}

impl Domain {
    pub(super) const fn of(pattern: Pattern) -> Self {
        match pattern {
            Pattern::NodeDark
            | Pattern::ZoneDark
            | Pattern::Isolated
            | Pattern::IngressDead
            | Pattern::EgressDead
            | Pattern::UnreachableUnconfirmed
            | Pattern::NodeIngress
            | Pattern::NodeEgress
            | Pattern::NodeLink
            | Pattern::OverlayIngress
            | Pattern::OverlayEgress
            | Pattern::OverlayNode
            | Pattern::Overlay
            | Pattern::Path
            | Pattern::ZonePair
            | Pattern::Zone
            | Pattern::Mesh
            | Pattern::Flows
            | Pattern::Kind
            | Pattern::Family
            | Pattern::NewFlows => Self::Ways,
            Pattern::Mtu => Self::Size,
            Pattern::Slow => Self::Time,
            Pattern::DnsServer
            | Pattern::DnsOverloaded
            | Pattern::DnsBlocked
            | Pattern::DnsUpstream
            | Pattern::DnsName => Self::Names,
            Pattern::ServiceVip => Self::Services,
            Pattern::External | Pattern::Tls | Pattern::Http => Self::Outside,
            Pattern::ReportsCut
            | Pattern::ProberDown
            | Pattern::AggregatorIsolated
            | Pattern::StoreUnwritable
            | Pattern::AddressConflict
            | Pattern::ConfigDrift
            | Pattern::ObserverUnhealthy
            | Pattern::ProberNotRunning => Self::Own,
        }
    }
}

/// Is what a failure of this pattern and scope is about a part of `whole`? Two nodes that a failure between nodes names are the
/// ways between them, and part of whatever one of these ways is part of.
pub(super) fn covers(
    whole: &Scope,
    pattern: Pattern,
    part: &Scope,
    zone_of: impl Fn(&NodeName) -> Option<String>,
) -> bool {
    let is_way = matches!(
        Domain::of(pattern),
        Domain::Ways | Domain::Size | Domain::Time
    );
    let is_on_a_way = match &part.place {
        Place::Nodes(nodes) if is_way && nodes.len() == 2 => {
            let way = |from: usize, to: usize| Scope {
                place: Place::Path {
                    from: nodes[from].clone(),
                    to: nodes[to].clone(),
                },
                ..part.clone()
            };
            contains(whole, &way(0, 1), &zone_of) || contains(whole, &way(1, 0), &zone_of)
        }
        _ => false,
    };
    is_on_a_way || contains(whole, part, &zone_of)
}

/// Is every path of `part` one of `whole`, as far as names and zones tell? A scope is part of itself.
fn contains(whole: &Scope, part: &Scope, zone_of: impl Fn(&NodeName) -> Option<String>) -> bool {
    let narrows = |whole: bool, same: bool| !whole || same;
    narrows(whole.kind.is_some(), whole.kind == part.kind)
        && narrows(whole.family.is_some(), whole.family == part.family)
        && narrows(whole.target.is_some(), whole.target == part.target)
        && has_place(&whole.place, &part.place, zone_of)
}

fn has_place(whole: &Place, part: &Place, zone_of: impl Fn(&NodeName) -> Option<String>) -> bool {
    let is_in = |node: &NodeName, zone: &str| zone_of(node).is_some_and(|its| its == zone);
    match (whole, part) {
        (Place::Everywhere, _) => true,
        (Place::Zone(zone), Place::Zone(other)) => zone == other,
        (Place::Zone(zone), Place::Nodes(nodes)) => nodes.iter().all(|node| is_in(node, zone)),
        (Place::Zone(zone), Place::Path { from, to }) => is_in(from, zone) || is_in(to, zone),
        (Place::Zone(zone), Place::ZonePair { from, to, .. }) => zone == from || zone == to,
        (Place::Nodes(all), Place::Nodes(some)) => some.iter().all(|node| all.contains(node)),
        (Place::Nodes(all), Place::Path { from, to }) => all.contains(from) || all.contains(to),
        (
            Place::ZonePair {
                from,
                to,
                both_ways,
            },
            Place::Path {
                from: source,
                to: target,
            },
        ) => {
            (is_in(source, from) && is_in(target, to))
                || (*both_ways && is_in(source, to) && is_in(target, from))
        }
        (
            Place::ZonePair {
                from,
                to,
                both_ways,
            },
            Place::ZonePair {
                from: source,
                to: target,
                both_ways: part_both_ways,
            },
        ) => {
            (from, to) == (source, target) && (*both_ways || !part_both_ways)
                || (*both_ways && (to, from) == (source, target))
        }
        (Place::Path { .. }, Place::Path { .. }) => whole == part,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::path::{Family, ProbeKind};

    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::try_from(text).unwrap()
    }

    /// The zone of `x1` is `x`.
    fn has(whole: &Scope, part: &Scope) -> bool {
        contains(whole, part, |node| {
            node.as_str().get(..1).map(str::to_owned)
        })
    }

    #[test]
    fn larger_places_contain_smaller_ones_and_never_the_other_way_round() {
        let path = Scope::path(name("x1"), name("y1"));
        let zone = Scope::of(Place::Zone("x".to_owned()));
        let ladder = [
            vec![
                Scope::everywhere(),
                zone.clone(),
                Scope::node(name("x1")),
                path.clone(),
            ],
            vec![
                Scope::everywhere(),
                Scope::zones("x", "y"),
                Scope::zone_pair("x", "y"),
                path.clone(),
            ],
            vec![
                zone,
                Scope::zone_pair("y", "x"),
                Scope::path(name("y2"), name("x2")),
            ],
            vec![
                Scope::nodes(vec![name("x1"), name("x2")]),
                Scope::node(name("x2")),
            ],
            vec![Scope::node(name("y1")), path],
        ];
        for ladder in ladder {
            for (i, whole) in ladder.iter().enumerate() {
                for (j, part) in ladder.iter().enumerate() {
                    assert_eq!(has(whole, part), i <= j, "{whole} contains {part}");
                }
            }
        }
        assert!(!has(&Scope::zones("x", "y"), &Scope::node(name("x1"))));
        assert!(!has(
            &Scope::zone_pair("x", "y"),
            &Scope::path(name("y1"), name("x1"))
        ));
        assert!(has(
            &Scope::zones("x", "y"),
            &Scope::path(name("y1"), name("x1"))
        ));
    }

    #[test]
    fn two_nodes_are_the_ways_between_them_or_both_of_them() {
        let zone_of = |node: &NodeName| node.as_str().get(..1).map(str::to_owned);
        let pair = Scope::nodes(vec![name("x1"), name("y1")]);
        let part_of = |whole: &Scope, pattern| covers(whole, pattern, &pair, zone_of);
        assert!(part_of(&Scope::node(name("x1")), Pattern::Path));
        assert!(part_of(&Scope::zone_pair("y", "x"), Pattern::Kind));
        assert!(!part_of(&Scope::node(name("x2")), Pattern::Path));
        assert!(!part_of(&Scope::node(name("x1")), Pattern::AddressConflict));
    }

    #[test]
    fn a_filter_makes_a_scope_smaller() {
        let node = Scope::node(name("x1"));
        let udp = node.clone().with_kind(ProbeKind::Udp);
        let everywhere = Scope::everywhere().with_kind(ProbeKind::Udp);
        assert!(has(&node, &udp) && !has(&udp, &node));
        assert!(has(&everywhere, &udp) && !has(&everywhere, &node));
        assert!(!has(&udp, &node.clone().with_kind(ProbeKind::Tcp)));
        assert!(!has(&udp, &node.clone().with_family(Family::V6)));
        assert!(has(&node, &node.clone().with_target("shop")));
        assert!(!has(&Scope::target("shop"), &Scope::target("bank")));
    }
}
