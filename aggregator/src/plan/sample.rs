//! Which peers a prober probes by QUIC: a few, the same ones for a long time, and every node by as many.
//!
//! The nodes lie on a ring by a hash of their names; each probes the next ones on it. So every node has exactly as many
//! observers as subjects (with independent choices some nodes would have none), neighbours on the ring have nothing to do
//! with each other, and a node that joins or leaves changes one peer of those just before it and nobody else's.

use meshprobe_core::ids::{NodeIndex, NodeName};
use meshprobe_core::path::Plane;

use crate::membership::Member;

/// Another seed is another ring.
const SEED: u64 = 0x5153_4150_4c45_0001;

/// Nodes by the hash of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ring {
    seats: Vec<(u64, NodeIndex)>,
}

impl Ring {
    /// The nodes that have a QUIC responder in this plane.
    pub(crate) fn of_quic<'a>(
        nodes: impl Iterator<Item = (NodeIndex, &'a Member)>,
        plane: Plane,
    ) -> Self {
        let has_quic = |member: &Member| {
            let addresses = &member.profile.addresses;
            addresses
                .iter()
                .any(|address| address.plane == plane && address.quic_port != 0)
        };
        Self::of(
            nodes
                .filter(|(_, member)| has_quic(member))
                .map(|(node, member)| (node, &member.profile.name)),
        )
    }

    fn of<'a>(nodes: impl Iterator<Item = (NodeIndex, &'a NodeName)>) -> Self {
        let mut seats: Vec<_> = nodes.map(|(node, name)| (place(name), node)).collect();
        seats.sort_unstable();
        Self { seats }
    }

    /// The `size` nodes after this one, itself left out; all others, if there are fewer.
    pub(crate) fn after(
        &self,
        name: &NodeName,
        size: usize,
    ) -> impl Iterator<Item = NodeIndex> + '_ {
        let own = place(name);
        let next = self.seats.partition_point(|(place, _)| *place <= own);
        let (before, after) = self.seats.split_at(next);
        after
            .iter()
            .chain(before)
            .filter(move |(place, _)| *place != own)
            .map(|(_, node)| *node)
            .take(size)
    }
}

/// A hash that is the same in every build (FNV-1a), its bits mixed (`MurmurHash3`'s finaliser): names that differ in their
/// last character must not be neighbours.
fn place(name: &NodeName) -> u64 {
    let fnv = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
    let mut hash = name.as_str().bytes().fold(SEED, fnv);
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn name(node: u32) -> NodeName {
        NodeName::try_from(format!("node-{node}")).unwrap()
    }

    fn ring(nodes: std::ops::Range<u32>) -> (Ring, Vec<NodeName>) {
        let names: Vec<NodeName> = nodes.map(name).collect();
        let listed = names.iter().enumerate();
        let ring = Ring::of(listed.map(|(node, name)| (NodeIndex(node as u32), name)));
        (ring, names)
    }

    #[test]
    fn everybody_observes_as_many_as_observe_it() {
        for nodes in [2, 3, 10, 11, 12, 100, 512] {
            let (ring, names) = ring(0..nodes);
            let expected = 10.min(nodes as usize - 1);
            let mut observers: BTreeMap<NodeIndex, usize> = BTreeMap::new();
            for (own, name) in names.iter().enumerate() {
                let sample: Vec<NodeIndex> = ring.after(name, 10).collect();
                assert_eq!(sample.len(), expected);
                assert!(!sample.contains(&NodeIndex(own as u32)));
                for node in sample {
                    *observers.entry(node).or_default() += 1;
                }
            }
            assert_eq!(observers.len(), nodes as usize);
            assert!(observers.values().all(|count| *count == expected));
        }
    }

    #[test]
    fn a_join_changes_at_most_one_peer_of_ten_nodes() {
        let (before, names) = ring(0..100);
        let (after, _) = ring(0..101);
        let mut changed = 0;
        for name in &names {
            let old: Vec<NodeIndex> = before.after(name, 10).collect();
            let new: Vec<NodeIndex> = after.after(name, 10).collect();
            let gone = old.iter().filter(|node| !new.contains(node)).count();
            assert!(gone <= 1);
            changed += gone;
        }
        assert_eq!(changed, 10);
    }

    #[test]
    fn who_has_no_quic_responder_still_probes_those_that_have() {
        let (ring, _) = ring(0..5);
        assert_eq!(ring.after(&name(77), 10).count(), 5);
        assert_eq!(Ring::default().after(&name(1), 10).count(), 0);
    }
}
