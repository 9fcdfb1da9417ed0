//! What the API said about incidents over time. Pure: it takes what was listed and when.

use std::collections::BTreeMap;
use std::time::Instant;

use meshprobe_core::path::Plane;
use meshprobe_proto::v1;

use super::expected::{Found, What};

/// Every incident that was ever listed, and what happened to it.
#[derive(Debug, Clone, Default)]
pub struct Journal {
    incidents: BTreeMap<String, History>,
    /// Incidents that the API had told and then forgot.
    forgotten: Vec<String>,
}

/// One incident over time.
#[derive(Debug, Clone)]
pub struct History {
    /// As it was listed last.
    pub found: Found,
    pub is_open: bool,
    /// When each opening was first listed.
    pub opened_at: Vec<Instant>,
    /// When each end was first listed.
    pub resolved_at: Vec<Instant>,
}

/// A line of the story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: String,
    pub what: What,
    pub kind: EventKind,
}

/// What happened to an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Opened,
    Resolved,
    /// Open as before, with other nodes.
    Renamed,
    /// It is not in the list any more.
    Forgotten,
}

impl Journal {
    /// Takes a list with all incidents, the resolved ones included. What is new in it.
    pub fn observe(&mut self, at: Instant, listed: &[v1::Incident]) -> Vec<Event> {
        let mut events = Vec::new();
        for incident in listed {
            self.observe_one(at, incident, &mut events);
        }
        let is_listed = |id: &String| listed.iter().any(|incident| incident.id == *id);
        for (id, history) in &self.incidents {
            if !is_listed(id) && !self.forgotten.contains(id) {
                self.forgotten.push(id.clone());
                events.push(Event {
                    id: id.clone(),
                    what: history.found.what.clone(),
                    kind: EventKind::Forgotten,
                });
            }
        }
        events
    }

    fn observe_one(&mut self, at: Instant, incident: &v1::Incident, events: &mut Vec<Event>) {
        let found = found(incident);
        let is_open = incident.state() == v1::IncidentState::Open;
        let openings = 1 + incident.reopened as usize;
        let what = found.what.clone();
        let mut happened = |kind| {
            events.push(Event {
                id: incident.id.clone(),
                what: what.clone(),
                kind,
            });
        };
        let history = self
            .incidents
            .entry(incident.id.clone())
            .or_insert_with(|| History {
                found: found.clone(),
                is_open: false,
                opened_at: Vec::new(),
                resolved_at: Vec::new(),
            });
        if history.found.what != found.what {
            happened(EventKind::Renamed);
        }
        // What an incident says while it is open is known better and better, and after its end the facts are others.
        let said = std::mem::replace(&mut history.found, found);
        history.found.remember(said);
        let ends = openings - usize::from(is_open);
        // An end between two looks is seen by the next opening only.
        while history.opened_at.len() < openings || history.resolved_at.len() < ends {
            if history.opened_at.len() > history.resolved_at.len() {
                history.resolved_at.push(at);
                happened(EventKind::Resolved);
            } else {
                history.opened_at.push(at);
                happened(EventKind::Opened);
            }
        }
        history.is_open = is_open;
    }

    /// Every incident by its identity.
    pub fn incidents(&self) -> &BTreeMap<String, History> {
        &self.incidents
    }

    /// Every opening of every incident.
    pub fn openings(&self) -> Vec<Found> {
        let each = |history: &History| vec![history.found.clone(); history.opened_at.len()];
        self.incidents.values().flat_map(each).collect()
    }

    /// What is open.
    pub fn open(&self) -> Vec<Found> {
        let open = self.incidents.values().filter(|history| history.is_open);
        open.map(|history| history.found.clone()).collect()
    }

    /// The incident of this kind, if there is one.
    pub fn find(&self, what: &What) -> Option<(&str, &History)> {
        let mut all = self.incidents.iter();
        all.find(|(_, history)| history.found.what == *what)
            .map(|(id, history)| (id.as_str(), history))
    }

    /// Incidents that the API had told and then forgot.
    pub fn forgotten(&self) -> &[String] {
        &self.forgotten
    }
}

fn found(incident: &v1::Incident) -> Found {
    let plane = match incident.plane() {
        v1::Plane::Unspecified => None,
        v1::Plane::Pod => Some(Plane::Pod),
        v1::Plane::Host => Some(Plane::Host),
        v1::Plane::Service => Some(Plane::Service),
    };
    Found {
        what: What {
            pattern: incident.pattern.clone(),
            scope: incident.scope.clone(),
        },
        plane,
        evidence: incident.evidence.clone(),
        loss_percent: incident.loss.as_ref().map(|loss| loss.ratio * 100.0),
        summary: incident.summary.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshprobe_daemon::clock;

    use super::*;

    fn incident(id: &str, state: v1::IncidentState, reopened: u32) -> v1::Incident {
        v1::Incident {
            id: id.to_owned(),
            pattern: "node-dark".to_owned(),
            scope: "mesh-3".to_owned(),
            state: state.into(),
            reopened,
            ..v1::Incident::default()
        }
    }

    fn kinds(events: &[Event]) -> Vec<EventKind> {
        events.iter().map(|event| event.kind).collect()
    }

    const OPEN: v1::IncidentState = v1::IncidentState::Open;
    const RESOLVED: v1::IncidentState = v1::IncidentState::Resolved;

    #[test]
    fn openings_and_ends_are_told_once() {
        let (mut journal, start) = (Journal::default(), clock::now());
        let opened = journal.observe(start, &[incident("a", OPEN, 0)]);
        assert_eq!(kinds(&opened), [EventKind::Opened]);
        assert!(journal.observe(start, &[incident("a", OPEN, 0)]).is_empty());
        let later = start + Duration::from_secs(1);
        let ended = journal.observe(later, &[incident("a", RESOLVED, 0)]);
        assert_eq!(kinds(&ended), [EventKind::Resolved]);
        assert!(journal.open().is_empty());
        assert_eq!(journal.incidents()["a"].resolved_at, [later]);
    }

    #[test]
    fn an_incident_that_opens_again_counts_twice() {
        let (mut journal, now) = (Journal::default(), clock::now());
        journal.observe(now, &[incident("a", OPEN, 0)]);
        // Its end and its next beginning fell between two looks.
        let events = journal.observe(now, &[incident("a", OPEN, 1)]);
        assert_eq!(kinds(&events), [EventKind::Resolved, EventKind::Opened]);
        assert_eq!(journal.openings().len(), 2);
        assert_eq!(journal.open().len(), 1);
    }

    #[test]
    fn an_incident_that_came_and_went_between_two_looks_is_not_missed() {
        let (mut journal, now) = (Journal::default(), clock::now());
        let events = journal.observe(now, &[incident("a", RESOLVED, 0)]);
        assert_eq!(kinds(&events), [EventKind::Opened, EventKind::Resolved]);
        assert_eq!(journal.openings().len(), 1);
    }

    #[test]
    fn an_incident_that_is_forgotten_is_told() {
        let (mut journal, now) = (Journal::default(), clock::now());
        journal.observe(now, &[incident("a", OPEN, 0)]);
        assert_eq!(kinds(&journal.observe(now, &[])), [EventKind::Forgotten]);
        assert!(journal.observe(now, &[]).is_empty());
        assert_eq!(journal.forgotten(), ["a"]);
        assert_eq!(journal.openings().len(), 1, "it was there");
    }
}
