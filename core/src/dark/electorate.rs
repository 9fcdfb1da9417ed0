//! Whose votes count: no observer is believed alone, and none that is itself accused.

use std::collections::{BTreeMap, BTreeSet};

use super::detector::Detector;
use crate::ids::NodeIndex;
use crate::time::Moment;

/// Whose votes count in one evaluation.
#[derive(Debug)]
pub(super) struct Electorate {
    /// Nodes whose reports are fresh.
    pub(super) fresh: BTreeSet<NodeIndex>,
    /// Those of them that are not accused themselves and not alone with what they say, with their weight.
    pub(super) credible: BTreeMap<NodeIndex, f64>,
}

impl Electorate {
    pub(super) fn elect(detector: &Detector, now: Moment) -> Self {
        let config = &detector.config;
        let fresh: BTreeSet<NodeIndex> = detector
            .nodes
            .iter()
            .filter(|(_, entry)| {
                entry.is_judged(now)
                    && entry
                        .last_report_at
                        .is_some_and(|at| now.saturating_since(at) <= config.report_fresh)
            })
            .map(|(node, _)| *node)
            .collect();
        let after = config.accuse_after;
        let accused = Self::accused(detector, &fresh, after);
        let judged_nodes = detector
            .nodes
            .values()
            .filter(|e| e.facts.lifecycle.is_judged())
            .count();
        let credible = fresh
            .iter()
            .filter(|node| !accused.contains(node) || judged_nodes == 2)
            .filter(|node| {
                judged_nodes == 2 || Self::is_credible(detector, **node, &fresh, &accused, after)
            })
            .filter_map(|node| Some((*node, detector.nodes.get(node)?.weight())))
            .collect();
        Self { fresh, credible }
    }

    /// The nodes that a good part of the others accuses, worst first; whoever is on the list loses its own vote, so
    /// that one isolated node does not drag its peers along.
    fn accused(
        detector: &Detector,
        fresh: &BTreeSet<NodeIndex>,
        after: u32,
    ) -> BTreeSet<NodeIndex> {
        let mut accused = BTreeSet::new();
        let mut accusations: BTreeMap<NodeIndex, BTreeSet<NodeIndex>> = detector
            .cases
            .iter()
            .map(|(subject, case)| {
                let accusers = case
                    .votes
                    .iter()
                    .filter(|(o, vote)| fresh.contains(o) && vote.accuses(after));
                (*subject, accusers.map(|(o, _)| *o).collect())
            })
            .collect();
        loop {
            let voters = fresh.difference(&accused).count();
            let worst = accusations
                .iter()
                .filter(|(subject, _)| !accused.contains(*subject))
                .map(|(subject, accusers)| {
                    let others = voters - usize::from(fresh.contains(subject));
                    (accusers.len() as f64 / others.max(1) as f64, *subject)
                })
                .max_by(|a, b| a.0.total_cmp(&b.0));
            match worst {
                Some((share, subject)) if share >= detector.config.low_share => {
                    accused.insert(subject);
                    for accusers in accusations.values_mut() {
                        accusers.remove(&subject);
                    }
                }
                _ => return accused,
            }
        }
    }

    /// An observer is believed if most of its targets answer it, or if others agree with what it says.
    fn is_credible(
        detector: &Detector,
        node: NodeIndex,
        fresh: &BTreeSet<NodeIndex>,
        accused: &BTreeSet<NodeIndex>,
        after: u32,
    ) -> bool {
        let targets = detector.nodes.get(&node).map_or(0, |e| e.facts.targets);
        let others: Vec<NodeIndex> = fresh
            .difference(accused)
            .copied()
            .filter(|o| *o != node)
            .collect();
        let (mut says, mut agreed) = (0_u32, 0_u32);
        for case in detector.cases.values() {
            if !case.accused_by(node, after) {
                continue;
            }
            says += 1;
            let agreeing = others.iter().filter(|o| case.accused_by(**o, 1)).count();
            agreed += u32::from(agreeing > 0 && 2 * agreeing >= others.len());
        }
        2 * says <= targets.max(1) || 2 * agreed >= says
    }

    /// How many credible observers have nothing against this node.
    pub(super) fn vouches_for(&self, detector: &Detector, node: NodeIndex) -> u32 {
        let case = detector.cases.get(&node);
        self.credible
            .keys()
            .filter(|o| **o != node && case.is_none_or(|c| !c.accused_by(**o, 1)))
            .count() as u32
    }
}
