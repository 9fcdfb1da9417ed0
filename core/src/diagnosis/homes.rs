//! On which node an address lives, as far as the hosts' own facts tell.
//!
//! A backend or a DNS server is known by its address alone. Its node is the one that has the address itself, or whose pods are
//! in the block that the address is in: a route of the prober's pod to its own block, or a route of the host to its bridge or
//! to a single pod. Blocks in which pods of several nodes are tell nothing.
//!
//! A node that has said nothing since the aggregator started, because it is dark, has a block as large as those of all others
//! have: clusters give each node one of a fixed size (`--node-cidr-mask-size` of kube-controller-manager).

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use super::Picture;
use super::route::{Prefix, Route};
use crate::ids::NodeIndex;
use crate::path::{Family, Plane};

/// Where addresses live.
#[derive(Debug, Default)]
pub(super) struct Homes {
    addresses: HashMap<IpAddr, NodeIndex>,
    /// Blocks of one node each, the smallest first.
    blocks: Vec<(Prefix, NodeIndex)>,
}

impl Homes {
    /// Of all nodes that say something.
    pub(super) fn new(picture: &Picture) -> Self {
        let mut addresses = HashMap::new();
        let mut pods = Vec::new();
        for (node, known) in nodes(picture) {
            for (plane, ip) in &known.addresses {
                addresses.insert(*ip, node);
                if *plane == Plane::Pod {
                    pods.push((*ip, node));
                }
            }
        }
        let is_shared = |block: Prefix, node| {
            let mut others = pods.iter().filter(|(_, other)| *other != node);
            others.any(|(ip, _)| block.contains(*ip))
        };
        let mut blocks = Vec::new();
        let mut lengths: [BTreeSet<u8>; 2] = Default::default();
        let mut silent = Vec::new();
        for (node, known) in nodes(picture) {
            let own_pods = known.addresses.iter().filter(|(p, _)| *p == Plane::Pod);
            let own_pods = own_pods.map(|(_, ip)| *ip);
            if !has_said_anything(picture, node) {
                silent.extend(own_pods.map(|ip| (ip, node)));
                continue;
            }
            for block in own_blocks(picture, node) {
                if is_shared(block, node) {
                    continue;
                }
                blocks.push((block, node));
                if !block.is_host() && own_pods.clone().any(|ip| block.contains(ip)) {
                    let family = Family::of(block.address());
                    lengths[family.index()].insert(block.length());
                }
            }
        }
        for (ip, node) in silent {
            let lengths = &lengths[Family::of(ip).index()];
            let usual = lengths.first().filter(|_| lengths.len() == 1);
            let block = usual.and_then(|length| Prefix::around(ip, *length));
            let block = block.filter(|block| !is_shared(*block, node));
            blocks.extend(block.map(|block| (block, node)));
        }
        blocks.sort_unstable_by_key(|(block, node)| (std::cmp::Reverse(block.length()), *node));
        blocks.dedup();
        Self { addresses, blocks }
    }

    /// The node that an address lives on; `None`: outside the mesh, on several, or nobody knows.
    pub(super) fn of(&self, ip: IpAddr) -> Option<NodeIndex> {
        if let Some(node) = self.addresses.get(&ip) {
            return Some(*node);
        }
        let mut fitting = self.blocks.iter().filter(|(block, _)| block.contains(ip));
        let (block, node) = fitting.next()?;
        let is_claimed_twice = fitting
            .take_while(|(other, _)| other.length() == block.length())
            .any(|(_, other)| other != node);
        (!is_claimed_twice).then_some(*node)
    }
}

/// Has a prober of the node told of its host since the aggregator started?
fn has_said_anything(picture: &Picture, node: NodeIndex) -> bool {
    let probers = picture.nodes.get(node.index()).map(|n| &n.probers);
    let mut probers = probers.into_iter().flatten();
    probers.any(|prober| prober.facts.is_some())
}

fn nodes(picture: &Picture) -> impl Iterator<Item = (NodeIndex, &super::TopologyNode)> {
    let nodes = picture.topology.nodes.iter().enumerate();
    nodes.filter_map(|(index, node)| Some((NodeIndex(index as u32), node.as_ref()?)))
}

/// The blocks that a node says its own pods are in.
pub(super) fn own_blocks(picture: &Picture, node: NodeIndex) -> Vec<Prefix> {
    let Some(known) = picture.node(node) else {
        return Vec::new();
    };
    let own = |plane: Plane| {
        let addresses = known.addresses.iter();
        addresses
            .filter(move |(p, _)| *p == plane)
            .map(|(_, ip)| *ip)
    };
    let probers = picture.nodes.get(node.index()).map(|n| &n.probers);
    let mut blocks = Vec::new();
    for prober in probers.into_iter().flatten() {
        let routes = prober.facts.as_deref().map(|facts| &facts.routes);
        for text in routes.into_iter().flatten() {
            // Most routes of a host lead elsewhere.
            if prober.plane == Plane::Host && text.contains(" via ") {
                continue;
            }
            let Some(route) = Route::parse(text).filter(|r| !r.prefix.is_default() && !r.is_reject)
            else {
                continue;
            };
            let prefix = route.prefix;
            let is_own = if prober.plane == Plane::Host {
                let is_pods = own(Plane::Pod).any(|ip| prefix.contains(ip));
                let is_underlay = own(Plane::Host).any(|ip| prefix.contains(ip));
                is_pods || (!is_underlay && (prefix.is_host() || is_bridge(route.device)))
            } else {
                !prefix.is_host() && own(prober.plane).any(|ip| prefix.contains(ip))
            };
            if is_own && !is_special(prefix.address()) {
                blocks.push(prefix);
            }
        }
    }
    blocks.sort_unstable();
    blocks.dedup();
    blocks
}

/// Interfaces behind which a node's own pods are.
pub(super) fn is_bridge(device: &str) -> bool {
    [
        "cni",
        "cbr",
        "kube-bridge",
        "veth",
        "cali",
        "lxc",
        "eni",
        "azv",
        "weave",
    ]
    .iter()
    .any(|prefix| device.starts_with(prefix))
}

/// Link-local, loopback and multicast blocks are on every node.
fn is_special(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local() || ip.is_multicast(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_multicast(),
    }
}
