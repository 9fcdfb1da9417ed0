//! Whose votes count: no observer is believed alone, and none that is itself accused.

use std::collections::{BTreeMap, BTreeSet};

use super::case::Case;
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
        let agreement = Agreement::count(detector, &fresh, &accused);
        let credible = fresh
            .iter()
            .filter(|node| !accused.contains(node) || judged_nodes == 2)
            .filter(|node| judged_nodes == 2 || agreement.is_credible(detector, **node, after))
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

    /// Is it the network between this node and some of the observers that is cut, and not the node? At least two credible ones
    /// accuse it, and another one reaches it. Asked for each silent node, so it goes over the votes about that node alone.
    pub(super) fn is_divided_on(&self, detector: &Detector, node: NodeIndex) -> bool {
        let Some(case) = detector.cases.get(&node) else {
            return false;
        };
        let credible = || {
            let votes = case.votes.iter();
            votes.filter(|(o, _)| **o != node && self.credible.contains_key(o))
        };
        let after = detector.config.accuse_after;
        let accusers = credible().filter(|(_, vote)| vote.accuses(after)).count();
        let losers = credible().filter(|(_, vote)| vote.accuses(1)).count();
        let others = self.credible.len() - usize::from(self.credible.contains_key(&node));
        accusers >= 2 && losers < others
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

/// How many of the observers that are not accused themselves have lost anything to each suspect. Counted once for an
/// evaluation: asked for by each of thousands of observers, it would cost their square.
struct Agreement {
    observers: usize,
    by_suspect: BTreeMap<NodeIndex, usize>,
}

impl Agreement {
    fn count(
        detector: &Detector,
        fresh: &BTreeSet<NodeIndex>,
        accused: &BTreeSet<NodeIndex>,
    ) -> Self {
        let observers = || fresh.difference(accused);
        let count = |case: &Case| observers().filter(|o| case.accused_by(**o, 1)).count();
        let cases = detector.cases.iter();
        Self {
            observers: observers().count(),
            by_suspect: cases
                .map(|(suspect, case)| (*suspect, count(case)))
                .collect(),
        }
    }

    /// An observer that is not accused itself is believed if most of its targets answer it, or if others agree with what
    /// it says.
    fn is_credible(&self, detector: &Detector, node: NodeIndex, after: u32) -> bool {
        let targets = detector.nodes.get(&node).map_or(0, |e| e.facts.targets);
        let others = self.observers.saturating_sub(1);
        let (mut says, mut agreed) = (0_u32, 0_u32);
        for (suspect, case) in &detector.cases {
            if !case.accused_by(node, after) {
                continue;
            }
            says += 1;
            // Who accuses has lost something, so its own word is among those that were counted.
            let agreeing = self
                .by_suspect
                .get(suspect)
                .map_or(0, |count| count.saturating_sub(1));
            agreed += u32::from(agreeing > 0 && 2 * agreeing >= others);
        }
        2 * says <= targets.max(1) || 2 * agreed >= says
    }
}
