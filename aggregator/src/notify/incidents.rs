//! Incidents for readers: pages of them, and each change as it happens.

use std::{collections::BTreeMap, sync::Arc};

use meshprobe_core::finding::Pattern;
use parking_lot::RwLock;
use tokio::sync::broadcast;

use super::index::{Index, Place};
use crate::incident::{Incident, IncidentId};

/// Changes that a slow watcher may be behind; beyond it, it is told that it lagged and reads the list again.
const WATCH_DEPTH: usize = 256;

/// Reads incidents from anywhere. Cheap to clone; only the notifier writes.
#[derive(Clone, Debug)]
pub struct Incidents {
    index: Arc<RwLock<Index>>,
    changes_tx: broadcast::Sender<Incident>,
}

impl Incidents {
    pub(crate) fn new(known: Vec<Incident>) -> Self {
        let mut index = Index::default();
        for incident in known {
            index.put(incident);
        }
        Self {
            index: Arc::new(RwLock::new(index)),
            changes_tx: broadcast::Sender::new(WATCH_DEPTH),
        }
    }

    pub(crate) fn put(&self, incident: Incident) {
        // Both under the lock: who subscribes and reads sees each change once, in the list or in the stream.
        let mut index = self.index.write();
        index.put(incident.clone());
        // Nobody watching is not an error.
        self.changes_tx.send(incident).ok();
    }

    /// An open incident is known better: lists show it, watchers are not woken.
    pub(crate) fn refine(&self, incident: Incident) {
        self.index.write().put(incident);
    }

    /// The incident with this identity.
    pub fn one(&self, id: &IncidentId) -> Option<Incident> {
        self.index.read().one(id).cloned()
    }

    /// At most `most` incidents, newest first, from behind `after` on.
    pub fn page(
        &self,
        after: Option<&Place>,
        include_resolved: bool,
        most: usize,
    ) -> Vec<Incident> {
        self.index.read().page(after, include_resolved, most)
    }

    /// Those that are open.
    pub fn open(&self) -> Vec<Incident> {
        self.index.read().open().cloned().collect()
    }

    /// How many are open.
    pub fn open_count(&self) -> usize {
        self.index.read().open().count()
    }

    /// How many are open, by pattern; every pattern is there.
    pub fn open_by_pattern(&self) -> BTreeMap<Pattern, u64> {
        let mut counts: BTreeMap<Pattern, u64> =
            Pattern::ALL.iter().map(|pattern| (*pattern, 0)).collect();
        for incident in self.index.read().open() {
            *counts.entry(incident.pattern).or_default() += 1;
        }
        counts
    }

    /// The open incidents, and every change after this moment.
    pub fn watch(&self) -> (Vec<Incident>, broadcast::Receiver<Incident>) {
        let index = self.index.read();
        let changes_rx = self.changes_tx.subscribe();
        let mut open: Vec<Incident> = index.open().cloned().collect();
        open.sort_by(|a, b| (a.opened_at, &a.id).cmp(&(b.opened_at, &b.id)));
        (open, changes_rx)
    }
}
