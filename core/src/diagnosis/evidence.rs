//! What hosts say that backs a finding: routes that peers have, what changed just before, full tables, cluster events.

use std::time::Duration;

use super::homes::own_blocks;
use super::route::{Prefix, Route};
use super::{Picture, ProberPicture};
use crate::finding::{Finding, Pattern, Place};
use crate::ids::{NodeIndex, NodeName};
use crate::path::Plane;

/// Most sentences of one sort for one finding.
const MOST: usize = 4;
/// A change this long before a finding's beginning, or after it, may have to do with it.
const NEAR: Duration = Duration::from_secs(120);
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
                        (Some(from), Some(to)) => missing_routes(picture, from, Some(to)),
                        _ => Vec::new(),
                    }
                }
                _ => nodes
                    .iter()
                    .flat_map(|node| missing_routes(picture, *node, None))
                    .collect(),
            };
            // What names the cause goes before what counts its effects.
            finding.evidence.splice(0..0, sentences);
        }
        for node in nodes {
            finding.evidence.extend(of_host(picture, node, finding));
        }
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

/// "mesh-3 has no route to 10.244.1.0/24; 2 of 2 peers have": as probers on the hosts see it, towards `to` or everybody.
fn missing_routes(picture: &Picture, node: NodeIndex, to: Option<NodeIndex>) -> Vec<String> {
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
            let peers: Vec<bool> = others
                .iter()
                .filter(|peer| **peer != target)
                .filter_map(|peer| Some(leads_to(&host_routes(picture, *peer)?, block)))
                .collect();
            let having = peers.iter().filter(|has| **has).count();
            if !leads_to(&routes, block) && having > 0 && 2 * having > peers.len() {
                sentences.push(format!(
                    "{name} has no route to {block}; {having} of {} peers have",
                    peers.len()
                ));
            }
        }
    }
    sentences
}

fn host_routes(picture: &Picture, node: NodeIndex) -> Option<Vec<Route<'_>>> {
    let probers = &picture.nodes.get(node.index())?.probers;
    let host = probers.iter().find(|prober| prober.plane == Plane::Host)?;
    let routes = &host.facts.as_deref()?.routes;
    Some(
        routes
            .iter()
            .filter_map(|text| Route::parse(text))
            .collect(),
    )
}

fn leads_to(routes: &[Route<'_>], block: Prefix) -> bool {
    let mut fitting = routes
        .iter()
        .filter(|route| !route.prefix.is_default() && !route.is_reject);
    fitting.any(|route| route.prefix.covers(block))
}

/// Changes near the finding's beginning, a full connection table, what the cluster said.
fn of_host(picture: &Picture, node: NodeIndex, finding: &Finding) -> Vec<String> {
    let (Some(known), Some(state)) = (picture.node(node), picture.nodes.get(node.index())) else {
        return Vec::new();
    };
    let name = &known.name;
    let began = finding.since.unwrap_or(picture.now);
    let mut sentences = Vec::new();
    for prober in &state.probers {
        let near = prober
            .changes
            .iter()
            .rev()
            .filter(|change| change.at + NEAR >= began && change.at <= began + NEAR);
        sentences.extend(near.take(MOST).map(|change| {
            let before = began.saturating_since(change.at).as_secs();
            if before == 0 {
                format!("{name}: {}", change.what)
            } else {
                format!("{name}, {before} s before: {}", change.what)
            }
        }));
        sentences.extend(full_table(prober).map(|fill| format!("{name}: {fill}")));
    }
    if finding.pattern != Pattern::ProberNotRunning {
        let events = state.events.iter().rev().take(2);
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
    use crate::diagnosis::{HostFacts, TopologyNode};
    use crate::finding::Scope;
    use crate::path::Plane;

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
}
