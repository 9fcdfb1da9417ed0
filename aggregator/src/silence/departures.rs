//! Nodes that are cordoned or drained: expected to go, for a while.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use meshprobe_core::{ids::NodeName, lifecycle::Lifecycle};

use crate::snapshot::Snapshot;

/// Who drains a node restarts it within this time, or forgot it.
const EXPECTED: SignedDuration = SignedDuration::from_mins(15);

/// Since when which node is draining. Bounded by the nodes of the mesh.
#[derive(Debug, Default)]
pub struct Departures {
    since: BTreeMap<NodeName, Timestamp>,
}

impl Departures {
    /// The mesh is like this now. Says whether anything is another way than before.
    pub fn follow(&mut self, snapshot: &Snapshot, now: Timestamp) -> bool {
        let is_draining = |name: &NodeName| {
            let row = snapshot.node(name);
            row.is_some_and(|row| row.lifecycle == Lifecycle::Draining)
        };
        let before = self.since.len();
        self.since.retain(|name, _| is_draining(name));
        let mut is_news = self.since.len() != before;
        let rows = snapshot.nodes.iter();
        for row in rows.filter(|row| row.lifecycle == Lifecycle::Draining) {
            if !self.since.contains_key(&row.profile.name) {
                self.since.insert(row.profile.name.clone(), now);
                is_news = true;
            }
        }
        is_news
    }

    /// Until when this node is expected to go; `None`: it is not.
    pub fn expected_until(&self, node: &NodeName) -> Option<Timestamp> {
        self.since.get(node)?.checked_add(EXPECTED).ok()
    }

    /// When this time is over next for one of them.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let ends = self
            .since
            .keys()
            .filter_map(|node| self.expected_until(node));
        ends.filter(|at| *at > now).min()
    }
}
