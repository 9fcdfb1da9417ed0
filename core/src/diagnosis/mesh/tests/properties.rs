//! Promises that hold for any single fault.

use proptest::prelude::*;

use super::super::super::sketch::Sketch;
use super::named;
use crate::path::Layer;

fn fault(kind: u8, node: usize, loss: f64) -> impl Fn(Layer, usize, usize) -> f64 {
    move |_, from, to| {
        let hit = match kind {
            0 => to == node,
            1 => from == node,
            _ => to == node || from == node,
        };
        if hit { loss } else { 0.0 }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_single_fault_of_a_node_is_exactly_one_finding(
        nodes in 3usize..=12,
        kind in 0u8..3,
        node in 0usize..3,
        percent in prop_oneof![20u32..=85, Just(100)],
        seed in 0u64..1_000_000,
    ) {
        let loss = f64::from(percent) / 100.0;
        let look = |seed| {
            named(&Sketch::of(nodes, 1).seed(seed).fault(300.0, fault(kind, node, loss)).picture())
        };
        let expected = match kind {
            0 => format!("node-ingress · n{node}"),
            1 => format!("node-egress · n{node}"),
            _ if percent == 100 => format!("isolated · n{node}"),
            _ => format!("node-link · n{node}"),
        };
        let mut found = look(seed);
        if found.is_empty() {
            // Once in some thousand looks all paths of a small mesh have been quiet for so long that the fault seems to be over.
            found = look(seed + 1_000_000);
        }
        prop_assert_eq!(found, vec![expected]);
    }
}
