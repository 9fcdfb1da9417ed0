//! What hosts say that backs a finding: routes that peers have, where traces end, what changed just before, full tables, cluster
//! events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::homes::own_blocks;
use super::route::{Prefix, Route};
use super::{Picture, ProberPicture, traced};
use crate::finding::{Finding, Pattern, Place};
use crate::ids::{NodeIndex, NodeName};
use crate::path::Plane;
use crate::time::Moment;

/// Most sentences of one sort for one finding.
const MOST: usize = 4;
/// A change this long before a finding's beginning, or after it, may have to do with it.
const NEAR: Duration = Duration::from_secs(120);
/// Clusters say things late, and repeat them every few minutes.
const EVENT_NEAR: Duration = Duration::from_secs(900);
/// A connection table this full refuses connections soon, percent.
const FULL: u32 = 90;

/// Adds what the hosts say to each finding that names nodes.
pub(super) fn enrich(picture: &Picture, findings: &mut [Finding]) {
    for finding in findings {
        let names = finding.scope.named_nodes();
        let nodes: Vec<NodeIndex> = (0..picture.topology.nodes.len())
            .map(|index| NodeIndex(index as u32))
            .filter(|node| {
                picture
                    .node(*node)
                    .is_some_and(|known| names.contains(&known.name))
            })
            .collect();
        if is_about_routes(finding.pattern) {
            let sentences = match &finding.scope.place {
                Place::Path { from, to } => {
                    let place = |name: &NodeName| {
                        nodes
                            .iter()
                            .copied()
                            .find(|n| picture.node(*n).is_some_and(|k| k.name == *name))
                    };
                    match (place(from), place(to)) {
                        (Some(from), Some(to)) => routes_apart(picture, from, Some(to)),
                        _ => Vec::new(),
                    }
                }
                _ => nodes
                    .iter()
                    .flat_map(|node| routes_apart(picture, *node, None))
                    .collect(),
            };
            // What names the cause goes before what counts its effects.
            finding.evidence.splice(0..0, sentences);
        }
        finding.evidence.extend(traced::sentences(picture, finding));
        if nodes.is_empty() {
            finding.evidence.extend(shared_changes(picture, finding));
        }
        for node in nodes {
            finding.evidence.extend(of_host(picture, node, finding));
        }
    }
}

/// "on 5 nodes, 12 s before: the MTU of eth0 changed from 1500 to 1400": what changed on several of the nodes that a finding
/// without names is about.
fn shared_changes(picture: &Picture, finding: &Finding) -> Vec<String> {
    let began = finding.since.unwrap_or(picture.now);
    let mut changed: BTreeMap<&str, (BTreeSet<NodeIndex>, Moment)> = BTreeMap::new();
    for (index, state) in picture.nodes.iter().enumerate() {
        let node = NodeIndex(index as u32);
        if !is_in(picture, &finding.scope.place, node) {
            continue;
        }
        let seen = state.probers.iter().flat_map(|prober| &prober.changes);
        for change in seen.filter(|change| is_near(change.at, began)) {
            let first = (BTreeSet::new(), change.at);
            let (nodes, at) = changed.entry(&change.what).or_insert(first);
            nodes.insert(node);
            *at = change.at.min(*at);
        }
    }
    // One host alone may change for a reason of its own.
    changed.retain(|_, (nodes, _)| nodes.len() > 1);
    let mut changed: Vec<_> = changed.into_iter().collect();
    changed.sort_by_key(|(_, (nodes, _))| std::cmp::Reverse(nodes.len()));
    let told = changed.into_iter().take(MOST);
    told.map(|(what, (nodes, at))| {
        let before = before(at, began);
        format!("on {} nodes{before}: {what}", nodes.len())
    })
    .collect()
}

/// Is the node in a place that names no nodes?
fn is_in(picture: &Picture, place: &Place, node: NodeIndex) -> bool {
    let zone = picture.node(node).map(|known| usize::from(known.zone.0));
    let Some(zone) = zone.and_then(|zone| picture.topology.zones.get(zone)) else {
        return false;
    };
    match place {
        Place::Everywhere => true,
        Place::Zone(name) => zone == name,
        Place::ZonePair { from, to, .. } => zone == from || zone == to,
        Place::Nodes(_) | Place::Path { .. } => false,
    }
}

fn is_near(at: Moment, began: Moment) -> bool {
    at + NEAR >= began && at <= began + NEAR
}

/// ", 12 s before"; empty: not before.
fn before(at: Moment, began: Moment) -> String {
    match began.saturating_since(at).as_secs() {
        0 => String::new(),
        seconds => format!(", {seconds} s before"),
    }
}

const fn is_about_routes(pattern: Pattern) -> bool {
    matches!(
        pattern,
        Pattern::OverlayEgress
            | Pattern::OverlayIngress
            | Pattern::OverlayNode
            | Pattern::NodeEgress
            | Pattern::NodeIngress
            | Pattern::NodeLink
            | Pattern::Isolated
            | Pattern::Path
            | Pattern::DnsServer
            | Pattern::AddressConflict
    )
}

/// "mesh-3 has no route to 10.244.1.0/24; 2 of 2 peers have", or has one over another interface than they: as probers on the
/// hosts see it, towards `to` or everybody.
fn routes_apart(picture: &Picture, node: NodeIndex, to: Option<NodeIndex>) -> Vec<String> {
    let Some(routes) = host_routes(picture, node) else {
        return Vec::new();
    };
    let Some(name) = picture.node(node).map(|known| &known.name) else {
        return Vec::new();
    };
    let all = (0..picture.topology.nodes.len()).map(|index| NodeIndex(index as u32));
    let others: Vec<NodeIndex> = all.filter(|other| *other != node).collect();
    let mut sentences = Vec::new();
    for target in others
        .iter()
        .copied()
        .filter(|o| to.is_none_or(|to| to == *o))
    {
        for block in own_blocks(picture, target)
            .into_iter()
            .filter(|block| !block.is_host())
        {
            if sentences.len() >= MOST {
                return sentences;
            }
            let peers: Vec<Option<&str>> = others
                .iter()
                .filter(|peer| **peer != target)
                .filter_map(|peer| Some(device_to(&host_routes(picture, *peer)?, block)))
                .collect();
            let is_most = |count: usize| count > 0 && 2 * count > peers.len();
            let Some(device) = device_to(&routes, block) else {
                let having = peers.iter().flatten().count();
                if is_most(having) {
                    sentences.push(format!(
                        "{name} has no route to {block}; {having} of {} peers have",
                        peers.len()
                    ));
                }
                continue;
            };
            let by = |other: &str| peers.iter().filter(|peer| **peer == Some(other)).count();
            // Who names its interfaces differently does not have the one that the others use.
            let usual = peers
                .iter()
                .flatten()
                .find(|other| **other != device && is_most(by(other)));
            if let Some(usual) = usual.filter(|usual| has_link(picture, node, usual)) {
                sentences.push(format!(
                    "{name} has the route to {block} by dev {device}; {} of {} peers by {usual}",
                    by(usual),
                    peers.len()
                ));
            }
        }
    }
    sentences
}

fn host_prober(picture: &Picture, node: NodeIndex) -> Option<&ProberPicture> {
    let probers = &picture.nodes.get(node.index())?.probers;
    probers.iter().find(|prober| prober.plane == Plane::Host)
}

fn has_link(picture: &Picture, node: NodeIndex, device: &str) -> bool {
    let facts = host_prober(picture, node).and_then(|prober| prober.facts.as_deref());
    facts.is_some_and(|facts| facts.links.iter().any(|(name, _)| name == device))
}

fn host_routes(picture: &Picture, node: NodeIndex) -> Option<Vec<Route<'_>>> {
    let routes = &host_prober(picture, node)?.facts.as_deref()?.routes;
    Some(
        routes
            .iter()
            .filter_map(|text| Route::parse(text))
            .collect(),
    )
}

/// The interface of the closest route to all of a block that is no default route.
fn device_to<'a>(routes: &[Route<'a>], block: Prefix) -> Option<&'a str> {
    let fitting = routes.iter().filter(|route| {
        !route.prefix.is_default() && !route.is_reject && route.prefix.covers(block)
    });
    let closest = fitting.max_by_key(|route| route.prefix.length());
    closest.map(|route| route.device)
}

/// Changes near the finding's beginning, a full connection table, what the cluster said.
fn of_host(picture: &Picture, node: NodeIndex, finding: &Finding) -> Vec<String> {
    let (Some(known), Some(state)) = (picture.node(node), picture.nodes.get(node.index())) else {
        return Vec::new();
    };
    let name = &known.name;
    let began = finding.since.unwrap_or(picture.now);
    let mut sentences = Vec::new();
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for prober in &state.probers {
        let changes = prober.changes.iter().rev();
        // Both probers of a node see the same host.
        let near = changes.filter(|change| is_near(change.at, began) && told.insert(&change.what));
        sentences.extend(
            near.take(MOST)
                .map(|change| format!("{name}{}: {}", before(change.at, began), change.what)),
        );
        sentences.extend(full_table(prober).map(|fill| format!("{name}: {fill}")));
    }
    if finding.pattern != Pattern::ProberNotRunning {
        let events = state.events.iter().rev();
        let events = events
            .filter(|event| event.at + EVENT_NEAR >= began)
            .take(2);
        sentences.extend(events.map(|event| {
            format!(
                "the cluster said of {name}: {}: {}",
                event.reason, event.message
            )
        }));
    }
    sentences
}

fn full_table(prober: &ProberPicture) -> Option<String> {
    let (entries, most) = prober.facts.as_deref()?.conntrack?;
    let percent = u64::from(entries) * 100 / u64::from(most.max(1));
    (percent >= u64::from(FULL))
        .then(|| format!("its connection table is {percent} % full ({entries} of {most})"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diagnosis::sketch::Sketch;
    use crate::diagnosis::{ClusterEvent, FactChange, HostFacts, TopologyNode};
    use crate::finding::Scope;
    use crate::path::Plane;

    /// Four hosts with routes over `flannel.1`, but for those that are `missing`.
    fn picture(missing: &[(usize, usize)]) -> Picture {
        let mut picture = Sketch::of(4, 1).picture();
        let mut topology = (*picture.topology).clone();
        for (index, node) in topology.nodes.iter_mut().enumerate() {
            if let Some(TopologyNode { addresses, .. }) = node {
                addresses.push((Plane::Pod, format!("10.244.{index}.2").parse().unwrap()));
            }
        }
        picture.topology = Arc::new(topology);
        for index in 0..4 {
            let routes = (0..4)
                .filter(|to| !missing.contains(&(index, *to)))
                .map(|to| {
                    if to == index {
                        format!("10.244.{to}.0/24 dev cni0")
                    } else {
                        format!("10.244.{to}.0/24 via 10.244.{to}.0 dev flannel.1")
                    }
                });
            let facts = HostFacts {
                routes: routes
                    .chain(["0.0.0.0/0 via 172.30.1.1 dev eth0".to_owned()])
                    .collect(),
                links: vec![("eth0".to_owned(), 1_500), ("flannel.1".to_owned(), 1_450)],
                conntrack: Some((950, 1_000)),
                ..HostFacts::default()
            };
            picture.nodes[index].probers.push(ProberPicture {
                plane: Plane::Host,
                health: crate::diagnosis::SelfHealth::default(),
                facts: Some(Arc::new(facts)),
                changes: Vec::new(),
            });
        }
        picture
    }

    #[test]
    fn routes_that_peers_have_are_named_by_prefix() {
        let picture = picture(&[(2, 0), (2, 1)]);
        let names: Vec<_> = picture
            .topology
            .nodes
            .iter()
            .flatten()
            .map(|n| n.name.clone())
            .collect();
        let egress = Finding::new(Pattern::OverlayEgress, Scope::node(names[2].clone()), "");
        let path = Scope::path(names[2].clone(), names[1].clone());
        let fine = Scope::path(names[0].clone(), names[1].clone());
        let mut findings = [
            egress,
            Finding::new(Pattern::Path, path, ""),
            Finding::new(Pattern::Path, fine, ""),
        ];
        enrich(&picture, &mut findings);
        assert_eq!(
            findings[0].evidence[..2],
            [
                "n2 has no route to 10.244.0.0/24; 2 of 2 peers have",
                "n2 has no route to 10.244.1.0/24; 2 of 2 peers have"
            ]
        );
        assert_eq!(
            findings[1].evidence[0],
            "n2 has no route to 10.244.1.0/24; 2 of 2 peers have"
        );
        assert!(!findings[2].evidence.iter().any(|e| e.contains("no route")));
        assert!(findings[2].evidence[0].contains("95 % full"));
    }

    #[test]
    fn a_route_over_another_interface_than_the_peers_use_is_named() {
        let mut picture = picture(&[(2, 0)]);
        let names: Vec<_> = picture.topology.nodes.iter().flatten().collect();
        let egress = Finding::new(
            Pattern::OverlayEgress,
            Scope::node(names[2].name.clone()),
            "",
        );
        let facts = picture.nodes[2].probers[0].facts.as_mut().unwrap();
        let facts = Arc::make_mut(facts);
        facts
            .routes
            .push("10.244.0.0/24 via 172.30.1.11 dev eth0".to_owned());
        let said = |picture: &Picture| {
            let mut findings = [egress.clone()];
            enrich(picture, &mut findings);
            findings[0].evidence.clone()
        };
        assert_eq!(
            said(&picture)[0],
            "n2 has the route to 10.244.0.0/24 by dev eth0; 2 of 2 peers by flannel.1"
        );
        // A host whose interfaces have other names.
        let facts = picture.nodes[2].probers[0].facts.as_mut().unwrap();
        Arc::make_mut(facts)
            .links
            .retain(|(name, _)| name != "flannel.1");
        assert!(!said(&picture).iter().any(|e| e.contains("dev eth0")));
    }

    fn change(second: u64, what: &str) -> FactChange {
        FactChange {
            at: Moment::from_millis(second * 1_000),
            what: what.to_owned(),
        }
    }

    #[test]
    fn what_changed_just_before_is_told_once_and_with_how_long_before() {
        let mut picture = picture(&[]);
        let route = "route 10.244.3.0/24 via 10.244.3.0 dev flannel.1 disappeared";
        let host = &mut picture.nodes[2].probers[0];
        host.changes = vec![
            change(500, "long ago"),
            change(888, route),
            change(903, "after it"),
        ];
        let mut pod = host.clone();
        pod.plane = Plane::Pod;
        pod.facts = None;
        pod.changes = vec![change(890, route)];
        picture.nodes[2].probers.push(pod);
        for (second, reason) in [(10, "TooOld"), (899, "NodeNotReady")] {
            picture.nodes[2].events.push(ClusterEvent {
                at: Moment::from_millis(second * 1_000),
                reason: reason.to_owned(),
                message: "said".to_owned(),
            });
        }
        let name = picture.node(NodeIndex(2)).unwrap().name.clone();
        let mut finding = Finding::new(Pattern::OverlayEgress, Scope::node(name), "");
        finding.since = Some(Moment::from_millis(950_000));
        enrich(&picture, std::slice::from_mut(&mut finding));
        assert_eq!(
            finding.evidence,
            [
                "n2, 47 s before: after it".to_owned(),
                format!("n2, 62 s before: {route}"),
                "n2: its connection table is 95 % full (950 of 1000)".to_owned(),
                "the cluster said of n2: NodeNotReady: said".to_owned(),
            ]
        );
    }

    #[test]
    fn what_changed_on_several_hosts_backs_a_finding_that_names_none() {
        let mut picture = picture(&[]);
        let mtu = "the MTU of eth0 changed from 1500 to 1400";
        for (node, second) in [(0, 940), (1, 938), (3, 941)] {
            let changes = &mut picture.nodes[node].probers[0].changes;
            *changes = vec![
                change(second, mtu),
                change(second, &format!("of {node} alone")),
            ];
        }
        let mut everywhere = Finding::new(Pattern::Mtu, Scope::everywhere(), "");
        everywhere.since = Some(Moment::from_millis(950_000));
        enrich(&picture, std::slice::from_mut(&mut everywhere));
        assert_eq!(
            everywhere.evidence,
            [format!("on 3 nodes, 12 s before: {mtu}")]
        );
        let elsewhere = Scope::of(Place::Zone("elsewhere".to_owned()));
        let mut elsewhere = Finding::new(Pattern::Zone, elsewhere, "");
        elsewhere.since = everywhere.since;
        enrich(&picture, std::slice::from_mut(&mut elsewhere));
        assert!(elsewhere.evidence.is_empty(), "{:?}", elsewhere.evidence);
    }
}
