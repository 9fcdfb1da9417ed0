//! Who is judged: the nodes that take part in the search, by dense numbers.

use crate::dark::NodeState;
use crate::diagnosis::Picture;
use crate::diagnosis::nodes::is_doubtful;
use crate::finding::{Finding, Pattern};
use crate::ids::{NodeIndex, NodeName};

/// A place that is not in the search.
const NOBODY: u32 = u32::MAX;

/// The nodes of the search. A node that is dark, leaves, warms up or cannot be believed is in nobody's row or column.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    pub(super) picture: &'a Picture,
    /// Node number of each judged node, ascending.
    judged: Vec<NodeIndex>,
    /// Place in `judged` by node number.
    places: Vec<u32>,
    /// Dense zone number of each judged node.
    zones: Vec<u16>,
    /// Name and number of judged nodes of each dense zone. The nameless zone of nodes whose zone is unknown is one of them.
    zone_list: Vec<(String, u32)>,
    /// By node number: nothing that is sent there can arrive.
    dark: Vec<bool>,
}

impl<'a> Ground<'a> {
    pub(super) fn of(picture: &'a Picture, earlier: &[Finding]) -> Self {
        let size = picture.topology.nodes.len();
        let mut ground = Self {
            picture,
            judged: Vec::with_capacity(size),
            places: vec![NOBODY; size],
            zones: Vec::with_capacity(size),
            zone_list: Vec::new(),
            dark: vec![false; size],
        };
        for (number, node) in picture.topology.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            let index = NodeIndex(number as u32);
            ground.dark[number] = is_dark(picture, number);
            let is_judged = node.lifecycle.is_judged()
                && !node.is_warming_up
                && !ground.dark[number]
                && is_credible(picture, number)
                && !shares_its_address(earlier, &node.name);
            if !is_judged {
                continue;
            }
            let zone = picture.topology.zones.get(usize::from(node.zone.0));
            let zone = zone.map_or("", String::as_str);
            ground.places[number] = ground.judged.len() as u32;
            ground.judged.push(index);
            let dense = ground.zone_list.iter().position(|(name, _)| name == zone);
            let dense = dense.unwrap_or_else(|| {
                ground.zone_list.push((zone.to_owned(), 0));
                ground.zone_list.len() - 1
            });
            ground.zone_list[dense].1 += 1;
            ground.zones.push(dense as u16);
        }
        ground
    }

    /// How many nodes are judged.
    pub(super) fn len(&self) -> usize {
        self.judged.len()
    }

    /// How many zones they are in.
    pub(super) fn zone_count(&self) -> usize {
        self.zone_list.len()
    }

    /// How many judged nodes a zone has.
    pub(super) fn zone_size(&self, zone: usize) -> usize {
        self.zone_list[zone].1 as usize
    }

    /// The name of a zone; empty: unknown.
    pub(super) fn zone_name(&self, zone: usize) -> &str {
        &self.zone_list[zone].0
    }

    /// The zone of a judged node.
    pub(super) fn zone(&self, place: usize) -> usize {
        usize::from(self.zones[place])
    }

    /// The place of a node among those that are judged.
    pub(super) fn place(&self, node: usize) -> Option<usize> {
        match self.places.get(node) {
            Some(&place) if place != NOBODY => Some(place as usize),
            _ => None,
        }
    }

    /// The zone of each node, by number; `None`: it is not judged.
    pub(super) fn seats(&self) -> Vec<Option<u16>> {
        let nodes = 0..self.places.len();
        nodes
            .map(|node| Some(self.zones[self.place(node)?]))
            .collect()
    }

    /// The node at a place.
    pub(super) fn node(&self, place: usize) -> NodeIndex {
        self.judged[place]
    }

    /// The name of the node at a place.
    pub(super) fn name(&self, place: usize) -> NodeName {
        let node = self.picture.node(self.judged[place]);
        // Only nodes that the topology has are judged.
        node.map_or_else(
            || unreachable!("a judged node is in the topology"),
            |node| node.name.clone(),
        )
    }

    /// Is nothing to be expected of this node?
    pub(super) fn is_dark(&self, node: NodeIndex) -> bool {
        self.dark.get(node.index()).copied().unwrap_or(false)
    }
}

/// Does the detector say that the node or its prober as a whole does not answer? That is its finding, not ours.
fn is_dark(picture: &Picture, number: usize) -> bool {
    let state = picture.nodes.get(number).map(|node| node.state);
    matches!(
        state,
        Some(NodeState::Failed(
            Pattern::NodeDark
                | Pattern::ZoneDark
                | Pattern::ProberDown
                | Pattern::UnreachableUnconfirmed
        ))
    )
}

/// May the node's own rows, and its answers, be taken for the network's?
fn is_credible(picture: &Picture, number: usize) -> bool {
    let Some(node) = picture.nodes.get(number) else {
        return true;
    };
    match node.state {
        NodeState::Leaving => return false,
        NodeState::Unknown => return has_row(picture, number),
        NodeState::Ok | NodeState::Suspect | NodeState::Failed(_) => {}
    }
    !node.probers.iter().any(is_doubtful)
}

/// Is another node found to have one of its addresses? Then its packets go astray, and its paths say nothing of the network.
fn shares_its_address(earlier: &[Finding], node: &NodeName) -> bool {
    earlier.iter().any(|finding| {
        finding.pattern == Pattern::AddressConflict && finding.scope.named_nodes().contains(node)
    })
}

fn has_row(picture: &Picture, number: usize) -> bool {
    let mut layers = picture.layers.iter();
    layers.any(|layer| layer.rows.get(number).is_some_and(Option::is_some))
}
