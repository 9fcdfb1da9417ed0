//! What nodes and probers say of themselves: starved observers, probers that cannot start, addresses and settings that
//! do not fit together.

mod conflict;
mod drift;
mod not_running;
mod observer;
#[cfg(test)]
mod tests;

pub(super) use conflict::OtherResponders;
pub use not_running::keeps_prober_from_running;
pub(super) use observer::is_doubtful;

use super::{Picture, TopologyNode};
use crate::finding::Finding;
use crate::ids::{NodeIndex, NodeName};

/// Causes that lie in a node's own state.
pub(super) fn findings(picture: &Picture, others: &mut OtherResponders) -> Vec<Finding> {
    let mut findings = observer::findings(picture);
    findings.extend(not_running::findings(picture));
    findings.extend(conflict::findings(picture, others));
    findings.extend(drift::findings(picture));
    findings
}

/// Nodes that are meant to be there.
fn judged(picture: &Picture) -> impl Iterator<Item = (NodeIndex, &TopologyNode)> {
    let nodes = picture.topology.nodes.iter().enumerate();
    nodes.filter_map(|(index, node)| {
        let node = node.as_ref()?;
        let is_judged = node.lifecycle.is_judged() && !node.is_warming_up;
        is_judged.then_some((NodeIndex(index as u32), node))
    })
}

fn name(picture: &Picture, node: NodeIndex) -> Option<&NodeName> {
    picture.node(node).map(|known| &known.name)
}
