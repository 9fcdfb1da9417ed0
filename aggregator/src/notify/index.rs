//! Incidents in memory: what the API shows, also while the store cannot be written.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::incident::{Incident, IncidentId, IncidentState};

/// Resolved incidents that are kept; older ones are in the store's file only.
const MAX_RESOLVED: usize = 10_000;

/// A place in the list: newest first by opening, then by identity.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When the incident was opened.
    pub opened_at: Timestamp,
    /// Which incident.
    pub id: IncidentId,
}

/// All incidents that the API knows.
#[derive(Debug, Default)]
pub(super) struct Index {
    incidents: BTreeMap<IncidentId, Incident>,
    // Invariant: exactly one place for each incident.
    places: BTreeSet<Place>,
    resolved: usize,
}

fn place(incident: &Incident) -> Place {
    Place {
        opened_at: incident.opened_at,
        id: incident.id.clone(),
    }
}

impl Index {
    pub(super) fn put(&mut self, incident: Incident) {
        if let Some(old) = self.incidents.get(&incident.id) {
            self.places.remove(&place(old));
            self.resolved -= usize::from(old.state == IncidentState::Resolved);
        }
        self.places.insert(place(&incident));
        self.resolved += usize::from(incident.state == IncidentState::Resolved);
        self.incidents.insert(incident.id.clone(), incident);
        while self.resolved > MAX_RESOLVED {
            let oldest = self.places.iter().find(|place| {
                self.incidents
                    .get(&place.id)
                    .is_some_and(|found| found.state == IncidentState::Resolved)
            });
            let Some(oldest) = oldest.cloned() else {
                return;
            };
            self.places.remove(&oldest);
            self.incidents.remove(&oldest.id);
            self.resolved -= 1;
        }
    }

    pub(super) fn one(&self, id: &IncidentId) -> Option<&Incident> {
        self.incidents.get(id)
    }

    /// Newest first, from behind `after` on.
    pub(super) fn page(
        &self,
        after: Option<&Place>,
        include_resolved: bool,
        most: usize,
    ) -> Vec<Incident> {
        let wanted =
            |incident: &&Incident| include_resolved || incident.state == IncidentState::Open;
        self.places
            .iter()
            .rev()
            .skip_while(|place| after.is_some_and(|after| *place >= after))
            .filter_map(|place| self.incidents.get(&place.id))
            .filter(wanted)
            .take(most)
            .cloned()
            .collect()
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Incident> {
        self.incidents
            .values()
            .filter(|incident| incident.state == IncidentState::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tests::incident;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn pages_are_newest_first_and_meet_without_gap_or_overlap() {
        let mut index = Index::default();
        for number in 0..10 {
            // Pairs share a second: the identity has to break the tie.
            index.put(incident(&format!("n{number}"), at(number / 2)));
        }
        let all = index.page(None, true, 100);
        assert!(all.is_sorted_by(|a, b| place(a) > place(b)));
        let mut collected = Vec::new();
        let mut after = None;
        loop {
            let page = index.page(after.as_ref(), true, 3);
            let Some(last) = page.last() else { break };
            after = Some(place(last));
            collected.extend(page);
        }
        assert_eq!(collected, all);
    }

    #[test]
    fn an_incident_that_is_opened_again_moves_and_is_there_once() {
        let mut index = Index::default();
        index.put(incident("a", at(1)));
        index.put(incident("b", at(2)));
        let mut again = incident("a", at(3));
        again.state = IncidentState::Resolved;
        index.put(again);
        let ids: Vec<i64> = index
            .page(None, true, 10)
            .iter()
            .map(|i| i.opened_at.as_second())
            .collect();
        assert_eq!(ids, [3, 2]);
        assert_eq!(index.page(None, false, 10).len(), 1);
        assert_eq!(index.open().count(), 1);
    }

    #[test]
    fn open_incidents_are_never_dropped_for_resolved_ones() {
        let mut index = Index::default();
        index.put(incident("open", at(0)));
        for number in 0..=MAX_RESOLVED {
            let mut resolved = incident(&format!("n{number}"), at(number as i64 + 1));
            resolved.state = IncidentState::Resolved;
            index.put(resolved);
        }
        assert_eq!(index.page(None, true, usize::MAX).len(), MAX_RESOLVED + 1);
        assert_eq!(index.open().count(), 1);
    }
}
