//! Silence without accusation (reports cut, or the aggregator itself), and the end of failures.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::detector::{Action, Detector, Judged, NodeEntry, Opened};
use super::electorate::Electorate;
use super::state::Declaration;
use crate::finding::Pattern;
use crate::ids::NodeIndex;
use crate::time::Moment;

/// Once the network is whole again a prober has its stream back by then: it tries every two seconds at least, and its
/// handshake has two.
const COMES_BACK: Duration = Duration::from_secs(5);

impl Detector {
    /// Nodes that peers reach and that do not report; or, if there are too many of them, the aggregator itself.
    pub(super) fn judge_silence(
        &mut self,
        electorate: &Electorate,
        judged: &BTreeMap<NodeIndex, Judged>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        // Whoever is cut off from a part of the mesh, the aggregator's, is silent for that reason: the matrix says so.
        let silent = self
            .nodes
            .iter()
            .filter(|(_, e)| e.silent_for(now).is_some());
        let divided: Vec<NodeIndex> = silent
            .map(|(node, _)| *node)
            .filter(|node| electorate.is_divided_on(self, *node))
            .collect();
        for node in divided {
            if let Some(entry) = self.nodes.get_mut(&node) {
                entry.divided_at = Some(now);
            }
        }
        let explained = |node: &NodeIndex, entry: &NodeEntry| {
            judged.contains_key(node)
                || self.cases.get(node).is_some_and(|c| c.declared.is_some())
                || entry
                    .divided_at
                    .is_some_and(|at| now.saturating_since(at) < COMES_BACK)
        };
        let reporters = self
            .nodes
            .values()
            .filter(|e| e.is_judged(now) && e.last_report_at.is_some())
            .count();
        let silent: Vec<(NodeIndex, Duration)> = self
            .nodes
            .iter()
            .filter(|(node, entry)| entry.is_judged(now) && !explained(node, entry))
            .filter_map(|(node, entry)| Some((*node, entry.silent_for(now)?)))
            .collect();
        let too_many = silent.len() >= 2
            && silent.len() as f64 > self.config.isolated_share * reporters as f64;
        match (too_many, self.isolated_since) {
            (true, None) => {
                let newest = silent.iter().map(|s| s.1).min().unwrap_or_default();
                let oldest = silent.iter().map(|s| s.1).max().unwrap_or_default();
                if newest >= Duration::from_millis(500) || oldest >= self.config.silent_after {
                    self.isolated_since = Some(now);
                    self.isolated_clear = 0;
                    let declaration = isolated(silent.len(), reporters, now - oldest);
                    self.opened.push(Opened {
                        declaration: declaration.clone(),
                        members: BTreeSet::new(),
                    });
                    actions.push(Action::Open(declaration));
                }
                return;
            }
            (true, Some(_)) => {
                self.isolated_clear = 0;
                return;
            }
            (false, Some(_)) => return,
            (false, None) => {}
        }
        for (node, silent_for) in silent {
            let vouched = electorate.vouches_for(self, node);
            let cut = silent_for >= self.config.silent_after && vouched > 0;
            if !cut || self.cut.contains(&node) {
                continue;
            }
            self.cut.insert(node);
            let declaration = Declaration {
                pattern: Pattern::ReportsCut,
                nodes: vec![node],
                zone: None,
                plane: None,
                since: now - silent_for,
                accusers: vouched,
                observers: electorate.credible.len() as u32,
                few_observers: false,
                evidence: vec![
                    format!("{vouched} peers reach it"),
                    format!(
                        "it has had no stream to the aggregator for {:.1} s, by neither way",
                        silent_for.as_secs_f64()
                    ),
                ],
            };
            self.opened.push(Opened {
                declaration: declaration.clone(),
                members: BTreeSet::from([node]),
            });
            actions.push(Action::Open(declaration));
        }
    }

    /// Ends what has been clear for long enough. Called once a second.
    pub(super) fn clear(
        &mut self,
        electorate: &Electorate,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let needed = self.config.clear_evaluations;
        if self.isolated_since.is_some() {
            self.isolated_clear += 1;
            if self.isolated_clear > needed {
                self.isolated_since = None;
                self.close(Pattern::AggregatorIsolated, &[], actions);
            }
        }
        for node in self.cut.clone() {
            let back = self.nodes.get_mut(&node).is_none_or(|entry| {
                let back = entry.streams > 0 || !entry.facts.lifecycle.is_judged();
                entry.silence_clear = if back { entry.silence_clear + 1 } else { 0 };
                entry.silence_clear >= needed
            });
            if back {
                self.cut.remove(&node);
                self.close(Pattern::ReportsCut, &[node], actions);
            }
        }
        let declared: Vec<NodeIndex> = self
            .cases
            .iter()
            .filter(|(_, case)| case.declared.is_some())
            .map(|(node, _)| *node)
            .collect();
        for node in declared {
            let leaving = self
                .nodes
                .get(&node)
                .is_none_or(|entry| !entry.facts.lifecycle.is_judged());
            let clear = leaving || self.is_clear(node, electorate, now);
            let Some(case) = self.cases.get_mut(&node) else {
                continue;
            };
            case.clear = if clear { case.clear + 1 } else { 0 };
            case.clear_at = now;
            if leaving || case.clear >= needed {
                case.declared = None;
                case.candidate = None;
                self.leave(node, actions);
            }
        }
    }

    /// At least half of the observers reach it again, and it reports.
    fn is_clear(&self, node: NodeIndex, electorate: &Electorate, now: Moment) -> bool {
        let Some(case) = self.cases.get(&node) else {
            return true;
        };
        let Some(entry) = self.nodes.get(&node) else {
            return true;
        };
        let reports = entry.streams > 0
            && entry
                .last_report_at
                .is_some_and(|at| now.saturating_since(at) <= self.config.report_fresh);
        let observers: Vec<NodeIndex> = electorate
            .fresh
            .iter()
            .copied()
            .filter(|o| *o != node)
            .collect();
        let failing = observers.iter().filter(|o| case.accused_by(**o, 1)).count();
        reports && !observers.is_empty() && 2 * failing <= observers.len()
    }
}

fn isolated(silent: usize, reporters: usize, since: Moment) -> Declaration {
    Declaration {
        pattern: Pattern::AggregatorIsolated,
        nodes: Vec::new(),
        zone: None,
        plane: None,
        since,
        accusers: silent as u32,
        observers: reporters as u32,
        few_observers: false,
        evidence: vec![format!(
            "{silent} of {reporters} probers fell silent together, and no peer that still reports confirms that they failed"
        )],
    }
}
