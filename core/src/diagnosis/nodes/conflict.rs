//! Two nodes with the same address: somebody else answers, two announce it, or two hosts claim the same pods.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use super::{judged, name};
use crate::detail::Detail;
use crate::diagnosis::homes::is_bridge;
use crate::diagnosis::per_row::PerRow;
use crate::diagnosis::route::{Prefix, Route};
use crate::diagnosis::{CellPicture, Columns, LayerPicture, Picture, RowPicture};
use crate::finding::{Confidence, Finding, NamedPath, Pattern, Scope};
use crate::ids::{NodeIndex, NodeName};
use crate::outcome::OutcomeClass;
use crate::path::{Layer, Plane, ProbeKind};

/// Answers of somebody else, in a row, that are no accident of a moment.
const LEAST_LOSSES: u8 = 3;

/// In which rows it is somebody else who answers, as far as they were in the picture before.
#[derive(Clone, Debug, Default)]
pub(in crate::diagnosis) struct OtherResponders {
    /// Columns, ascending.
    layers: HashMap<Layer, PerRow<Vec<u32>>>,
}

pub(super) fn findings(picture: &Picture, others: &mut OtherResponders) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let found = answered_by_other(picture, others)
        .into_iter()
        .chain(announced_twice(picture))
        .chain(claimed_twice(picture));
    for finding in found {
        let nodes = finding.scope.named_nodes();
        // One pair of nodes is one conflict, however many addresses it is about.
        let known = findings.iter_mut().find(|known| {
            let other = known.scope.named_nodes();
            nodes.iter().all(|node| other.contains(node))
                || other.iter().all(|node| nodes.contains(node))
        });
        match known {
            Some(known) => {
                if nodes.len() > known.scope.named_nodes().len() {
                    known.scope = finding.scope;
                    known.summary = finding.summary;
                }
                known.evidence.extend(finding.evidence);
            }
            None => findings.push(finding),
        }
    }
    findings
}

impl OtherResponders {
    fn update<'a>(&mut self, layers: impl Iterator<Item = &'a LayerPicture>) {
        let mut before = std::mem::take(&mut self.layers);
        for layer in layers {
            let before = before.remove(&layer.layer).unwrap_or_default();
            let rows = before.renewed(layer, answered_columns);
            self.layers.insert(layer.layer, rows);
        }
    }
}

/// The columns of a row that somebody else answers for.
fn answered_columns(row: &RowPicture) -> Vec<u32> {
    let is_other = |cell: &CellPicture| {
        cell.failure == Some(OutcomeClass::AnsweredByOther)
            && cell.consecutive_losses >= LEAST_LOSSES
            && cell.verdict.is_unhealthy()
    };
    let others = row.iter().filter(|(_, cell)| is_other(cell));
    others.map(|(column, _)| column as u32).collect()
}

/// Probes to a node are answered by another one.
fn answered_by_other(picture: &Picture, known: &mut OtherResponders) -> Vec<Finding> {
    let mut accused: BTreeMap<NodeIndex, BTreeMap<NodeIndex, NamedPath>> = BTreeMap::new();
    let mut others: BTreeMap<NodeIndex, BTreeMap<&str, u32>> = BTreeMap::new();
    let between = |layer: &&LayerPicture| {
        matches!(layer.layer.kind, ProbeKind::Udp | ProbeKind::Mtu)
            && matches!(layer.columns, Columns::Nodes)
    };
    let layers = picture.layers.iter().filter(between);
    known.update(layers.clone());
    for layer in layers {
        let Some(rows) = known.layers.get(&layer.layer) else {
            continue;
        };
        for (source, row, columns) in rows.iter() {
            let source = NodeIndex(source as u32);
            for &column in columns {
                let target = NodeIndex(column);
                let (Some(from), Some(to)) = (name(picture, source), name(picture, target)) else {
                    continue;
                };
                let path = NamedPath {
                    source: from.to_string(),
                    target: to.to_string(),
                    layer: layer.layer,
                };
                accused.entry(target).or_default().insert(source, path);
                if let Some(Detail::Udp(udp)) = row.detail(column as usize)
                    && !udp.answered_by.is_empty()
                {
                    *others
                        .entry(target)
                        .or_default()
                        .entry(&udp.answered_by)
                        .or_default() += 1;
                }
            }
        }
    }
    let mut findings = Vec::new();
    for (target, paths) in accused {
        let Some(victim) = name(picture, target) else {
            continue;
        };
        let named = others
            .get(&target)
            .and_then(|names| names.iter().max_by_key(|(_, count)| **count))
            .and_then(|(name, _)| NodeName::try_from(*name).ok())
            .or_else(|| by_routes(picture, target));
        let (scope, who) = match &named {
            Some(other) => (
                Scope::nodes(vec![victim.clone(), other.clone()]),
                format!("node {other}"),
            ),
            None => (Scope::node(victim.clone()), "somebody else".to_owned()),
        };
        let mut finding = Finding::new(
            Pattern::AddressConflict,
            scope,
            format!(
                "Probes to {victim} are answered by {who}: the address is there twice, or routes lead to the wrong one"
            ),
        );
        finding.confidence = if named.is_some() && paths.len() > 1 {
            Confidence::Certain
        } else {
            Confidence::Likely
        };
        finding.evidence.push(format!(
            "{} nodes get answers that name another responder than {victim}",
            paths.len()
        ));
        finding.failing = paths.len() as u32;
        finding.judged = paths.len() as u32;
        finding.paths = paths.into_values().take(Finding::MAX_PATHS).collect();
        findings.push(finding);
    }
    findings
}

/// The node whose host leads an address of another node to its own pods.
fn by_routes(picture: &Picture, victim: NodeIndex) -> Option<NodeName> {
    let own: Vec<IpAddr> = picture
        .node(victim)?
        .addresses
        .iter()
        .map(|(_, ip)| *ip)
        .collect();
    let claims = |node: NodeIndex| {
        let mut blocks = bridged(picture, node).into_iter();
        blocks.any(|block| own.iter().any(|ip| block.contains(*ip)))
    };
    let mut claiming = judged(picture).filter(|(node, _)| *node != victim && claims(*node));
    let (_, other) = claiming.next()?;
    claiming.next().is_none().then(|| other.name.clone())
}

/// Two nodes say that they have the same address.
fn announced_twice(picture: &Picture) -> Vec<Finding> {
    let mut owners: BTreeMap<(IpAddr, Plane), BTreeSet<&NodeName>> = BTreeMap::new();
    for (_, node) in judged(picture) {
        for (plane, ip) in &node.addresses {
            owners.entry((*ip, *plane)).or_default().insert(&node.name);
        }
    }
    owners
        .into_iter()
        .filter(|(_, names)| names.len() > 1)
        .map(|((ip, plane), names)| {
            let names: Vec<NodeName> = names.into_iter().cloned().collect();
            let told = names
                .iter()
                .map(NodeName::as_str)
                .collect::<Vec<_>>()
                .join(" and ");
            let mut finding = Finding::new(
                Pattern::AddressConflict,
                Scope::nodes(names),
                format!("{told} have the same address {ip}"),
            );
            finding.confidence = Confidence::Certain;
            finding.evidence.push(format!(
                "{told} both announce {ip} as their address on the {plane} plane"
            ));
            finding
        })
        .collect()
}

/// Two hosts lead the same block of addresses to their own pods.
fn claimed_twice(picture: &Picture) -> Vec<Finding> {
    let mut claims: Vec<(Prefix, NodeIndex)> = Vec::new();
    let mut nodes = 0;
    for (node, _) in judged(picture) {
        let blocks = bridged(picture, node);
        nodes += usize::from(!blocks.is_empty());
        claims.extend(blocks.into_iter().map(|block| (block, node)));
    }
    claims.sort_unstable();
    let mut pairs: BTreeMap<(NodeIndex, NodeIndex), Prefix> = BTreeMap::new();
    for (place, (block, node)) in claims.iter().enumerate() {
        // Sorted by address, so what a block covers follows it.
        for (inner, other) in claims[place + 1..]
            .iter()
            .take_while(|(b, _)| block.covers(*b))
        {
            if node != other {
                let pair = ((*node).min(*other), (*node).max(*other));
                pairs.entry(pair).or_insert(*inner);
            }
        }
    }
    // Where many share a block it is meant so: one network for all pods.
    if nodes < 3 || pairs.len() * 2 > nodes {
        return Vec::new();
    }
    let finding = |((one, other), block): (_, Prefix)| {
        let (one, other) = (name(picture, one)?, name(picture, other)?);
        let mut finding = Finding::new(
            Pattern::AddressConflict,
            Scope::nodes(vec![one.clone(), other.clone()]),
            format!("{one} and {other} both have pods in {block}"),
        );
        finding.confidence = Confidence::Certain;
        finding.evidence.push(format!(
            "the hosts of {one} and of {other} both lead {block} to their own pods"
        ));
        Some(finding)
    };
    pairs.into_iter().filter_map(finding).collect()
}

/// Blocks that a host leads to its own pods, as a prober on the host sees it.
fn bridged(picture: &Picture, node: NodeIndex) -> Vec<Prefix> {
    let probers = picture.nodes.get(node.index()).map(|node| &node.probers);
    let hosts = probers
        .into_iter()
        .flatten()
        .filter(|p| p.plane == Plane::Host);
    let routes = hosts
        .filter_map(|p| p.facts.as_deref())
        .flat_map(|facts| &facts.routes);
    routes
        .filter(|text| !text.contains(" via "))
        .filter_map(|text| Route::parse(text))
        .filter(|route| is_bridge(route.device) && !route.is_reject && !route.prefix.is_default())
        .map(|route| route.prefix)
        .filter(|prefix| !is_link_local(prefix.address()))
        .collect()
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_multicast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_multicast(),
    }
}
