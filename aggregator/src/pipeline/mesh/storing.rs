//! What has to reach the store, and the acknowledgements that wait for it.
//!
//! Changes are gathered and written as one batch every 100 ms, one batch at a time. A report is acknowledged when the
//! batch with its progress is stored. If the store cannot be written, its changes wait (bounded by the number of probers),
//! the matrix and the judge go on, and the probers keep what was not acknowledged.

use std::collections::{BTreeSet, HashMap};

use meshprobe_core::ids::NodeName;
use meshprobe_core::path::Plane;

use super::{Mesh, progress_of};
use crate::ingest::session::ProberKey;
use crate::membership::{Progress, StoreChange};

/// What was handed to the store as one transaction.
#[derive(Debug)]
pub(in crate::pipeline) struct Batch {
    pub(in crate::pipeline) changes: Vec<StoreChange>,
    /// Whose progress is in it, of which start, and how far.
    acknowledges: Vec<(ProberKey, u64, u64)>,
}

/// What waits for the store.
#[derive(Debug)]
pub(super) struct Storing {
    /// What the store has.
    stored: HashMap<(NodeName, Plane), Progress>,
    /// Whose progress moved since it was stored.
    moved: BTreeSet<ProberKey>,
}

impl Storing {
    pub(super) fn new(stored: Vec<Progress>) -> Self {
        let stored = stored.into_iter().map(|p| ((p.node.clone(), p.plane), p));
        Self {
            stored: stored.collect(),
            moved: BTreeSet::new(),
        }
    }

    /// What is stored of a prober.
    pub(super) fn progress(&self, node: &NodeName, plane: Plane) -> Option<&Progress> {
        self.stored.get(&(node.clone(), plane))
    }

    /// This prober's progress has to be stored, or its acknowledgement repeated.
    pub(super) fn mark(&mut self, prober: ProberKey) {
        self.moved.insert(prober);
    }
}

impl Mesh {
    /// Is there anything to store?
    pub(in crate::pipeline) fn has_batch(&self) -> bool {
        !self.storing.moved.is_empty() || self.membership.has_changed()
    }

    /// What has to be stored now; `None`: nothing.
    pub(in crate::pipeline) fn take_batch(&mut self) -> Option<Batch> {
        let mut changes = self.membership.take_changed();
        let mut acknowledges = Vec::new();
        for prober in std::mem::take(&mut self.storing.moved) {
            let name = self.membership.get(prober.node).map(|m| &m.profile.name);
            let (Some(name), Some(session)) = (name, self.sessions.get(&prober)) else {
                continue;
            };
            let progress = progress_of(name, prober, session);
            acknowledges.push((prober, progress.incarnation, progress.through));
            changes.push(StoreChange::Progress(progress));
        }
        (!changes.is_empty()).then_some(Batch {
            changes,
            acknowledges,
        })
    }

    /// The batch is on disk.
    pub(in crate::pipeline) fn handle_stored(&mut self, batch: Batch) {
        self.metrics.count_store_batch("stored");
        for change in batch.changes {
            match change {
                StoreChange::Progress(progress) => {
                    let key = (progress.node.clone(), progress.plane);
                    self.storing.stored.insert(key, progress);
                }
                StoreChange::Forget(node) => {
                    self.storing.stored.retain(|(name, _), _| *name != node);
                }
                StoreChange::Node(_) => {}
            }
        }
        for (prober, incarnation, through) in batch.acknowledges {
            let session = self.sessions.get(&prober);
            if let Some(session) = session.filter(|s| s.incarnation.0 == incarnation) {
                session.acknowledge(through);
            }
        }
    }

    /// The batch could not be written: its changes wait for the next one.
    pub(in crate::pipeline) fn handle_not_stored(&mut self, batch: Batch) {
        self.metrics.count_store_batch("failed");
        let probers = batch.acknowledges.iter().map(|(prober, _, _)| *prober);
        self.storing.moved.extend(probers);
        self.membership.give_back(batch.changes);
    }
}
