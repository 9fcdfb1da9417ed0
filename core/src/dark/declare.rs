//! From evidence that stands to what is declared: one failure for one cut.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::detector::{Action, Detector, Judged, Opened};
use super::state::Declaration;
use crate::finding::Pattern;
use crate::ids::{NodeIndex, ZoneIndex};
use crate::time::Moment;

/// Nodes of one cut are noticed one after the other, each when the next turn of one of its observers comes: in a small
/// mesh up to an interval apart. What is noticed inside the hold belongs together; without a hold, what is inside this.
const LEAST_REACH: Duration = Duration::from_millis(300);

impl Detector {
    /// Opens what has stood long enough; everything of one cut together.
    pub(super) fn declare(
        &mut self,
        judged: &BTreeMap<NodeIndex, Judged>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let (dark_hold, pattern_hold) = (self.config.dark_hold, self.config.pattern_hold);
        let hold = |pattern: Pattern| match pattern {
            Pattern::NodeDark => dark_hold,
            _ => pattern_hold,
        };
        let mut ready: BTreeMap<Pattern, Vec<NodeIndex>> = BTreeMap::new();
        let mut unrenewed = BTreeSet::new();
        for (node, j) in judged {
            let declared = self.cases.get(node).and_then(|case| case.declared);
            let same = declared.is_some_and(|d| {
                d == j.pattern || (d == Pattern::ZoneDark && j.pattern == Pattern::NodeDark)
            });
            if same {
                continue;
            }
            let stands = now.saturating_since(j.since);
            // A pattern that was declared turns into another one only on evidence that stands.
            let hold = if declared.is_some() {
                hold(j.pattern).max(self.config.pattern_hold)
            } else {
                hold(j.pattern)
            };
            if stands < hold {
                continue;
            }
            let silent = self.unrenewed(*node, j, hold);
            if silent.is_empty() {
                ready.entry(j.pattern).or_default().push(*node);
            } else {
                unrenewed.extend(silent);
            }
        }
        for accuser in unrenewed {
            self.ask_report(accuser, now, actions);
        }
        for (pattern, nodes) in ready {
            // Siblings of the cut whose evidence is almost there are waited for, but not for long.
            let oldest = nodes.iter().map(|n| judged[n].since).min().unwrap_or(now);
            let overdue = now.saturating_since(oldest) >= hold(pattern) + self.config.sibling_wait;
            if !overdue && self.has_sibling(judged, &nodes, pattern) {
                continue;
            }
            let mut group = nodes;
            let reach = self.config.sibling_wait + hold(pattern).max(LEAST_REACH);
            group.extend(self.siblings(judged, &group, pattern, oldest + reach));
            group.sort_unstable();
            self.open_group(pattern, &group, judged, actions);
        }
    }

    /// Accusers that have not said it again while the quorum stood.
    ///
    /// A hold proves something only if the evidence is renewed in it, and probers do that every quarter second. Where
    /// reports are lost as well, one accuser's last word may stand for seconds because the next one, which takes it back, is
    /// under way. Among many accusers that does not matter; two of them make a quorum by it every few days at 30 %, whatever
    /// shape it has. Nothing real is told later for it: who does not say it again is asked, and answers in a round trip.
    fn unrenewed(&self, node: NodeIndex, judged: &Judged, hold: Duration) -> Vec<NodeIndex> {
        if !judged.few || hold.is_zero() {
            return Vec::new();
        }
        let votes = self.cases.get(&node).map(|case| &case.votes);
        let renewed = |accuser: &&NodeIndex| {
            let vote = votes.and_then(|votes| votes.get(*accuser));
            vote.is_some_and(|vote| vote.spoke_since(judged.since))
        };
        let accusers = judged.tally.accusers.iter();
        accusers
            .filter(|accuser| !renewed(accuser))
            .copied()
            .collect()
    }

    /// Other nodes with the same pattern whose evidence began before `latest`.
    fn siblings(
        &self,
        judged: &BTreeMap<NodeIndex, Judged>,
        group: &[NodeIndex],
        pattern: Pattern,
        latest: Moment,
    ) -> Vec<NodeIndex> {
        judged
            .iter()
            .filter(|(node, j)| {
                j.pattern == pattern
                    && !group.contains(node)
                    && self.cases.get(node).is_some_and(|c| c.declared.is_none())
                    && j.since <= latest
            })
            .map(|(node, _)| *node)
            .collect()
    }

    /// Is there an undeclared case that may still become part of this cut?
    fn has_sibling(
        &self,
        judged: &BTreeMap<NodeIndex, Judged>,
        group: &[NodeIndex],
        pattern: Pattern,
    ) -> bool {
        self.cases.iter().any(|(node, case)| {
            let undeclared = case.declared.is_none() && !group.contains(node);
            if !undeclared {
                return false;
            }
            if let Some(j) = judged.get(node) {
                return j.pattern == pattern;
            }
            let is_judged = self
                .nodes
                .get(node)
                .is_some_and(|e| e.facts.lifecycle.is_judged());
            let observers = self.nodes.len().saturating_sub(1 + group.len()).max(1);
            let accusing = case.votes.values().filter(|v| v.suspects()).count();
            is_judged && accusing as f64 >= self.config.low_share * observers as f64
        })
    }

    fn open_group(
        &mut self,
        pattern: Pattern,
        group: &[NodeIndex],
        judged: &BTreeMap<NodeIndex, Judged>,
        actions: &mut Vec<Action>,
    ) {
        for node in group {
            self.withdraw(*node, actions);
        }
        let mut rest: Vec<NodeIndex> = group.to_vec();
        if pattern == Pattern::NodeDark {
            for zone in self.dark_zones(group, judged) {
                let members = self.zone_members(zone, group);
                for node in &members {
                    self.withdraw(*node, actions);
                }
                rest.retain(|node| !members.contains(node));
                self.open(Pattern::ZoneDark, &members, Some(zone), judged, actions);
            }
        }
        if matches!(pattern, Pattern::NodeDark | Pattern::UnreachableUnconfirmed) {
            if !rest.is_empty() {
                self.open(pattern, &rest, None, judged, actions);
            }
        } else {
            for node in rest {
                self.open(pattern, &[node], None, judged, actions);
            }
        }
    }

    /// Zones of which so many nodes went dark, so close together, that the zone is the better name for it.
    fn dark_zones(
        &self,
        group: &[NodeIndex],
        judged: &BTreeMap<NodeIndex, Judged>,
    ) -> Vec<ZoneIndex> {
        let zones: BTreeSet<ZoneIndex> = group
            .iter()
            .filter_map(|n| self.nodes.get(n))
            .map(|e| e.facts.zone)
            .collect();
        let newest = group
            .iter()
            .filter_map(|n| judged.get(n))
            .map(|j| j.since)
            .max();
        zones
            .into_iter()
            .filter(|zone| {
                let all = self
                    .nodes
                    .values()
                    .filter(|e| e.facts.zone == *zone && e.facts.lifecycle.is_judged());
                let total = all.count();
                let close = |node: &NodeIndex| {
                    let since = self.cases.get(node).and_then(|c| c.candidate).map(|c| c.1);
                    match (since, newest) {
                        (Some(since), Some(newest)) => {
                            newest.saturating_since(since) <= self.config.zone_within
                        }
                        _ => false,
                    }
                };
                let dark = self
                    .zone_members(*zone, group)
                    .iter()
                    .filter(|n| close(n))
                    .count();
                // A mesh of one zone has no zone that could fail among others.
                let others = self.nodes.values().any(|e| e.facts.zone != *zone);
                others
                    && dark >= self.config.zone_min_nodes
                    && dark as f64 >= self.config.zone_share * total as f64
            })
            .collect()
    }

    fn zone_members(&self, zone: ZoneIndex, group: &[NodeIndex]) -> Vec<NodeIndex> {
        let dark = |node: &NodeIndex| {
            group.contains(node)
                || self.cases.get(node).is_some_and(|case| {
                    matches!(case.declared, Some(Pattern::NodeDark | Pattern::ZoneDark))
                })
        };
        self.nodes
            .iter()
            .filter(|(node, entry)| entry.facts.zone == zone && dark(node))
            .map(|(node, _)| *node)
            .collect()
    }

    pub(super) fn open(
        &mut self,
        pattern: Pattern,
        nodes: &[NodeIndex],
        zone: Option<ZoneIndex>,
        judged: &BTreeMap<NodeIndex, Judged>,
        actions: &mut Vec<Action>,
    ) {
        let words: Vec<&Judged> = nodes.iter().filter_map(|n| judged.get(n)).collect();
        let Some(first) = words.first() else {
            return;
        };
        let mut planes = words.iter().map(|j| j.plane);
        let plane = first
            .plane
            .filter(|p| planes.all(|other| other == Some(*p)));
        let declaration = Declaration {
            pattern,
            nodes: nodes.to_vec(),
            zone,
            plane,
            since: words
                .iter()
                .filter_map(|j| j.tally.since)
                .min()
                .unwrap_or(first.since),
            accusers: words
                .iter()
                .map(|j| j.tally.accusers.len() as u32)
                .min()
                .unwrap_or(0),
            observers: words.iter().map(|j| j.tally.observers).max().unwrap_or(0),
            few_observers: words.iter().any(|j| j.few),
            evidence: first.tally.evidence(pattern, first.own),
        };
        for node in nodes {
            if let Some(case) = self.cases.get_mut(node) {
                case.declared = Some(pattern);
                case.clear = 0;
            }
            // One failure of a node at a time: what explains its silence replaces the silence.
            if self.cut.remove(node) {
                self.close(Pattern::ReportsCut, &[*node], actions);
            }
        }
        self.opened.push(Opened {
            declaration: declaration.clone(),
            members: nodes.iter().copied().collect(),
        });
        actions.push(Action::Open(declaration));
    }

    /// Takes a node out of what was declared of it before.
    pub(super) fn withdraw(&mut self, node: NodeIndex, actions: &mut Vec<Action>) {
        let Some(case) = self.cases.get_mut(&node) else {
            return;
        };
        case.declared = None;
        self.leave(node, actions);
    }

    /// A node is no longer part of its failure; the failure ends with its last member.
    pub(super) fn leave(&mut self, node: NodeIndex, actions: &mut Vec<Action>) {
        self.opened.retain_mut(|opened| {
            if opened.declaration.pattern == Pattern::ReportsCut || !opened.members.remove(&node) {
                return true;
            }
            if opened.members.is_empty() {
                actions.push(Action::Close {
                    pattern: opened.declaration.pattern,
                    nodes: opened.declaration.nodes.clone(),
                });
            }
            !opened.members.is_empty()
        });
    }

    pub(super) fn close(
        &mut self,
        pattern: Pattern,
        nodes: &[NodeIndex],
        actions: &mut Vec<Action>,
    ) {
        self.opened
            .retain(|o| o.declaration.pattern != pattern || o.declaration.nodes != nodes);
        actions.push(Action::Close {
            pattern,
            nodes: nodes.to_vec(),
        });
    }
}
