//! Where the packets of failing paths end, as the traces of those paths show it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::{Columns, Picture, TraceHop, TracePicture};
use crate::finding::{Finding, Pattern, Place};
use crate::icmp;
use crate::ids::NodeIndex;
use crate::path::{Family, ProbeKind};

/// Most sentences for one finding: a fault has few ends.
const MOST: usize = 2;
/// Paths that a sentence names; more are counted.
const NAMED: usize = 3;
/// A trace this long before the beginning, as far as that is measured, is of the failure.
const BEFORE: Duration = Duration::from_secs(5);

/// Where the traces of one finding end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// A router or the host itself says that it goes no further, and why.
    Said(IpAddr, String),
    /// The last one who answered, at this hop.
    After(IpAddr, u8),
    /// Nobody answered at all.
    Nowhere,
    /// UDP packets to the same port reach the target, TCP does not.
    Reached,
}

/// "The trace of n0→n2 ends after 172.30.1.1 (hop 2)": a sentence for each end, the one with the most paths first.
pub(super) fn sentences(picture: &Picture, finding: &Finding) -> Vec<String> {
    let mut ends: BTreeMap<End, Vec<String>> = BTreeMap::new();
    let began = finding.since;
    for trace in &picture.traces {
        let is_of_it = began.is_none_or(|began| trace.at + BEFORE >= began);
        let Some((from, to)) = names(picture, trace).filter(|_| is_of_it) else {
            continue;
        };
        if !belongs(picture, finding, trace, (&from, &to)) {
            continue;
        }
        if let Some(end) = end(trace) {
            let way = format!("{from}→{to}");
            let ways = ends.entry(end).or_default();
            if !ways.contains(&way) {
                ways.push(way);
            }
        }
    }
    let mut ends: Vec<(End, Vec<String>)> = ends.into_iter().collect();
    ends.sort_by_key(|(_, ways)| std::cmp::Reverse(ways.len()));
    let said = ends.into_iter().take(MOST);
    said.map(|(end, ways)| sentence(picture, &end, &ways))
        .collect()
}

fn end(trace: &TracePicture) -> Option<End> {
    let family = trace.layer.family;
    if trace.reached {
        // Traces of TCP paths are UDP packets to the same port; of other kinds the trace came after the failure.
        return (trace.layer.kind == ProbeKind::Tcp).then_some(End::Reached);
    }
    let mut answers = trace.hops.iter().rev();
    let last = answers.find_map(|hop| Some((hop, hop.address?)));
    Some(match last {
        None => End::Nowhere,
        Some((hop, address)) => match refusal(hop, family) {
            Some(why) => End::Said(address, why),
            None => End::After(address, hop.ttl),
        },
    })
}

/// What a hop says that is more than that the hop limit was used up.
fn refusal(hop: &TraceHop, family: Family) -> Option<String> {
    let (kind, code) = hop.icmp?;
    (!icmp::is_hop_limit(kind, family)).then(|| icmp::meaning(kind, code, family))
}

fn sentence(picture: &Picture, end: &End, ways: &[String]) -> String {
    let more = match ways.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = ways[..ways.len().min(NAMED)].join(", ");
    let (traces, s) = if ways.len() == 1 {
        ("the trace", "s")
    } else {
        ("the traces", "")
    };
    let whose = |address: &IpAddr| match owner(picture, *address) {
        Some(node) => format!("{address} ({node})"),
        None => address.to_string(),
    };
    match end {
        End::Said(address, why) => {
            let at = whose(address);
            format!("{traces} of {named}{more} end{s} at {at}, which says: {why}")
        }
        End::After(address, hop) => {
            let after = whose(address);
            format!("{traces} of {named}{more} end{s} after {after} (hop {hop})")
        }
        End::Nowhere => {
            format!("{traces} of {named}{more} find{s} nobody: no hop answers")
        }
        End::Reached => format!(
            "{traces} of {named}{more} reach{} the target by UDP to the same port; TCP does not",
            if s.is_empty() { "" } else { "es" }
        ),
    }
}

/// The node that answers at this address.
fn owner(picture: &Picture, address: IpAddr) -> Option<&str> {
    let mut nodes = picture.topology.nodes.iter().flatten();
    let node = nodes.find(|node| node.addresses.iter().any(|(_, ip)| *ip == address))?;
    Some(node.name.as_str())
}

/// The ends of a traced path, by name.
fn names(picture: &Picture, trace: &TracePicture) -> Option<(String, String)> {
    let from = picture.node(trace.source)?.name.to_string();
    let to = match &picture.layer(trace.layer)?.columns {
        Columns::Nodes => picture.node(NodeIndex(trace.column))?.name.to_string(),
        Columns::Targets(targets) => targets.get(trace.column as usize)?.heading.clone(),
    };
    Some((from, to))
}

/// Is the traced path one that the finding explains?
fn belongs(
    picture: &Picture,
    finding: &Finding,
    trace: &TracePicture,
    (from, to): (&str, &str),
) -> bool {
    let is_named = |path: &crate::finding::NamedPath| {
        path.source == from && path.target == to && path.layer == trace.layer
    };
    if finding.paths.iter().any(is_named) {
        return true;
    }
    let scope = &finding.scope;
    let is_between_nodes = trace.layer.kind.is_between_nodes();
    let narrows = scope.kind.is_none_or(|kind| kind == trace.layer.kind)
        && scope
            .family
            .is_none_or(|family| family == trace.layer.family)
        && finding.plane.is_none_or(|plane| plane == trace.layer.plane);
    // What is about targets names its paths; of a place every traced path is one that fails.
    if !is_between_nodes || scope.target.is_some() || !narrows || !is_of_ways(finding.pattern) {
        return false;
    }
    let zone = |node: NodeIndex| {
        let zone = picture.node(node)?.zone;
        picture.topology.zones.get(usize::from(zone.0))
    };
    let (from_zone, to_zone) = (zone(trace.source), zone(NodeIndex(trace.column)));
    match &scope.place {
        Place::Everywhere => true,
        Place::Path { from: f, to: t } => f.as_str() == from && t.as_str() == to,
        Place::Nodes(nodes) => {
            let has = |name: &str| nodes.iter().any(|node| node.as_str() == name);
            match finding.pattern {
                Pattern::NodeIngress | Pattern::OverlayIngress => has(to),
                Pattern::NodeEgress | Pattern::OverlayEgress => has(from),
                _ => has(from) || has(to),
            }
        }
        Place::Zone(name) => (from_zone == Some(name)) != (to_zone == Some(name)),
        Place::ZonePair {
            from: f,
            to: t,
            both_ways,
        } => {
            let is = |f, t| from_zone == Some(f) && to_zone == Some(t);
            is(f, t) || (*both_ways && is(t, f))
        }
    }
}

/// Is it about packets between nodes that do not arrive?
const fn is_of_ways(pattern: Pattern) -> bool {
    matches!(
        pattern,
        Pattern::NodeIngress
            | Pattern::NodeEgress
            | Pattern::NodeLink
            | Pattern::Isolated
            | Pattern::OverlayIngress
            | Pattern::OverlayEgress
            | Pattern::OverlayNode
            | Pattern::Overlay
            | Pattern::Path
            | Pattern::ZonePair
            | Pattern::Zone
            | Pattern::Mesh
            | Pattern::Kind
            | Pattern::Family
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diagnosis::sketch::{Sketch, TCP, UDP};
    use crate::finding::{NamedPath, Scope};
    use crate::ids::NodeName;
    use crate::path::{Layer, Plane};
    use crate::time::Moment;

    /// Seconds after the beginning of the picture's clock.
    fn at(second: u64) -> Moment {
        Moment::from_millis(second * 1_000)
    }

    fn name(node: usize) -> NodeName {
        NodeName::try_from(format!("n{node}")).unwrap()
    }

    fn hop(ttl: u8, address: &str, icmp: Option<(u8, u8)>) -> TraceHop {
        TraceHop {
            ttl,
            address: address.parse().ok(),
            icmp,
        }
    }

    fn trace(layer: Layer, (from, to): (u32, u32), second: u64, hops: &[TraceHop]) -> TracePicture {
        TracePicture {
            layer,
            source: NodeIndex(from),
            column: to,
            at: at(second),
            hops: hops.to_vec(),
            reached: false,
        }
    }

    /// Six nodes in two zones, by turns; n3 answers at 10.244.3.1.
    fn picture(traces: Vec<TracePicture>) -> Picture {
        let mut picture = Sketch::of(6, 2).picture();
        let mut topology = (*picture.topology).clone();
        let node = topology.nodes[3].as_mut().unwrap();
        node.addresses
            .push((Plane::Pod, "10.244.3.1".parse().unwrap()));
        picture.topology = Arc::new(topology);
        picture.traces = traces;
        picture
    }

    fn finding(pattern: Pattern, scope: Scope) -> Finding {
        Finding {
            since: Some(at(900)),
            ..Finding::new(pattern, scope, "")
        }
    }

    #[test]
    fn a_path_says_where_its_trace_ends_and_what_was_said_there() {
        let path = finding(Pattern::Path, Scope::path(name(0), name(2)));
        let router = hop(1, "172.30.1.1", Some((11, 0)));
        let silent = hop(2, "", None);
        let ends = picture(vec![
            trace(UDP, (0, 2), 905, &[router, silent]),
            trace(UDP, (2, 0), 905, &[]),
            trace(UDP, (0, 3), 905, &[]),
        ]);
        assert_eq!(
            sentences(&ends, &path),
            ["the trace of n0→n2 ends after 172.30.1.1 (hop 1)"]
        );
        let refused = hop(2, "10.244.3.1", Some((3, 13)));
        let said = picture(vec![trace(UDP, (0, 2), 905, &[router, refused])]);
        assert_eq!(
            sentences(&said, &path),
            ["the trace of n0→n2 ends at 10.244.3.1 (n3), which says: administratively prohibited"]
        );
        let nobody = picture(vec![trace(UDP, (0, 2), 905, &[silent])]);
        assert_eq!(
            sentences(&nobody, &path),
            ["the trace of n0→n2 finds nobody: no hop answers"]
        );
    }

    #[test]
    fn a_trace_of_another_time_or_one_that_arrived_says_nothing() {
        let path = finding(Pattern::Path, Scope::path(name(0), name(2)));
        let old = trace(UDP, (0, 2), 800, &[]);
        let arrived = TracePicture {
            reached: true,
            ..trace(UDP, (0, 2), 905, &[])
        };
        assert!(sentences(&picture(vec![old, arrived.clone()]), &path).is_empty());
        let kind = finding(
            Pattern::Kind,
            Scope::node(name(2)).with_kind(ProbeKind::Tcp),
        );
        let tcp = TracePicture {
            layer: TCP,
            ..arrived
        };
        assert_eq!(
            sentences(&picture(vec![tcp]), &kind),
            ["the trace of n0→n2 reaches the target by UDP to the same port; TCP does not"]
        );
    }

    #[test]
    fn a_node_and_a_pair_of_zones_take_the_traces_of_their_ways_and_no_others() {
        let end = hop(1, "172.30.1.1", Some((11, 0)));
        let far = hop(3, "172.30.9.9", Some((3, 1)));
        let mut traces: Vec<TracePicture> = [1, 2, 3, 4, 5]
            .map(|from| trace(UDP, (from, 0), 905, &[end]))
            .to_vec();
        traces.push(trace(UDP, (0, 1), 905, &[far]));
        let picture = picture(traces);
        let ingress = finding(Pattern::NodeIngress, Scope::node(name(0)));
        assert_eq!(
            sentences(&picture, &ingress),
            ["the traces of n1→n0, n2→n0, n3→n0 and 2 more end after 172.30.1.1 (hop 1)"]
        );
        let egress = finding(Pattern::NodeEgress, Scope::node(name(0)));
        assert_eq!(
            sentences(&picture, &egress),
            ["the trace of n0→n1 ends at 172.30.9.9, which says: host unreachable"]
        );
        // n1, n3 and n5 are in z1, n0 is in z0.
        let pair = finding(
            Pattern::ZonePair,
            Scope::of(Place::ZonePair {
                from: "z1".to_owned(),
                to: "z0".to_owned(),
                both_ways: false,
            }),
        );
        assert_eq!(
            sentences(&picture, &pair),
            ["the traces of n1→n0, n3→n0, n5→n0 end after 172.30.1.1 (hop 1)"]
        );
        let slow = finding(Pattern::Slow, Scope::node(name(0)));
        assert!(sentences(&picture, &slow).is_empty());
        let mut named = slow;
        named.paths = vec![NamedPath {
            source: "n0".to_owned(),
            target: "n1".to_owned(),
            layer: UDP,
        }];
        assert_eq!(sentences(&picture, &named).len(), 1);
    }
}
