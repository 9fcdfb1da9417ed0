//! Nodes that are configured otherwise than their peers: resolver and links.

use std::collections::BTreeMap;

use super::judged;
use crate::diagnosis::homes::Homes;
use crate::diagnosis::{HostFacts, Picture};
use crate::finding::{Confidence, Finding, Pattern, Scope};
use crate::ids::NodeIndex;
use crate::path::Plane;

/// Fewer nodes have no majority.
const LEAST_NODES: usize = 3;
/// Interfaces that are there for good, by how their names begin: those of single pods come and go.
const LASTING: [&str; 15] = [
    "eth",
    "en",
    "bond",
    "team",
    "flannel",
    "cni0",
    "cbr0",
    "cilium_",
    "vxlan",
    "geneve",
    "genev_",
    "wg",
    "tunl0",
    "kube-bridge",
    "ib",
];

/// What is compared: its name, and its value on a node.
type Setting = (String, String);

pub(super) fn findings(picture: &Picture) -> Vec<Finding> {
    let mut differences: BTreeMap<NodeIndex, Vec<String>> = BTreeMap::new();
    // Most meshes have no drift; where addresses live is asked only about what differs.
    let mut homes: Option<Homes> = None;
    for plane in [Plane::Pod, Plane::Host] {
        let mut settings: BTreeMap<String, Vec<(NodeIndex, String)>> = BTreeMap::new();
        for (node, facts) in facts(picture, plane) {
            for (setting, value) in settings_of(facts) {
                settings.entry(setting).or_default().push((node, value));
            }
        }
        for (setting, values) in settings {
            let Some(usual) = majority(&values) else {
                continue;
            };
            let agreeing = values.iter().filter(|(_, value)| *value == usual).count();
            for (node, value) in values.iter().filter(|(_, value)| *value != usual) {
                let homes = homes.get_or_insert_with(|| Homes::new(picture));
                if is_of_the_node(homes, *node, value) {
                    continue;
                }
                differences.entry(*node).or_default().push(format!(
                    "{setting}: {}; {agreeing} of {} other nodes have {}",
                    or_none(value),
                    values.len() - 1,
                    or_none(&usual)
                ));
            }
        }
    }
    let finding = |(node, evidence): (NodeIndex, Vec<String>)| {
        let name = &picture.node(node)?.name;
        let mut finding = Finding::new(
            Pattern::ConfigDrift,
            Scope::node(name.clone()),
            format!(
                "{name} is configured otherwise than its peers: {}",
                evidence.first()?
            ),
        );
        finding.confidence = Confidence::Certain;
        finding.since = newest_change(picture, node);
        finding.evidence = evidence;
        Some(finding)
    };
    differences.into_iter().filter_map(finding).collect()
}

fn facts(picture: &Picture, plane: Plane) -> impl Iterator<Item = (NodeIndex, &HostFacts)> {
    judged(picture).filter_map(move |(node, _)| {
        let known = picture.nodes.get(node.index()).filter(|n| n.is_reporting)?;
        let prober = known.probers.iter().find(|p| p.plane == plane)?;
        Some((node, prober.facts.as_deref()?))
    })
}

fn settings_of(facts: &HostFacts) -> Vec<Setting> {
    let mut options = facts.resolver_options.clone();
    options.sort_unstable();
    let mut settings = Vec::new();
    // A host without resolv.conf says nothing about it.
    if !facts.nameservers.is_empty() {
        settings.push(("nameserver".to_owned(), facts.nameservers.join(" ")));
        settings.push(("search".to_owned(), facts.search.join(" ")));
        settings.push(("options".to_owned(), options.join(" ")));
    }
    let lasting = |name: &str| LASTING.iter().any(|prefix| name.starts_with(prefix));
    let links = facts.links.iter().filter(|(name, _)| lasting(name));
    settings.extend(links.map(|(name, mtu)| (format!("MTU of {name}"), mtu.to_string())));
    settings
}

/// What two thirds of the nodes have, of those that have it at all.
fn majority(values: &[(NodeIndex, String)]) -> Option<String> {
    if values.len() < LEAST_NODES {
        return None;
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, value) in values {
        *counts.entry(value).or_default() += 1;
    }
    let (value, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    (3 * count >= 2 * values.len() && count < values.len()).then(|| value.to_owned())
}

/// A value that names the node itself differs on each node by its nature: a cache on the node, its own gateway.
fn is_of_the_node(homes: &Homes, node: NodeIndex, value: &str) -> bool {
    let addresses = value
        .split_whitespace()
        .filter_map(|word| word.parse().ok());
    let mut addresses = addresses.peekable();
    addresses.peek().is_some() && addresses.all(|ip| homes.of(ip) == Some(node))
}

fn or_none(value: &str) -> &str {
    if value.is_empty() { "nothing" } else { value }
}

fn newest_change(picture: &Picture, node: NodeIndex) -> Option<crate::time::Moment> {
    let probers = &picture.nodes.get(node.index())?.probers;
    let changes = probers.iter().flat_map(|prober| &prober.changes);
    changes.map(|change| change.at).max()
}
