//! The aggregator's own incident: its store cannot be written. Pure: states and times are handed in.
//!
//! The judge knows the mesh and not the disk, so this one is made here. It goes the same way as every other from then on,
//! and since the notifier sends from memory, it arrives although it cannot be written.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use meshprobe_core::finding::{Pattern, Scope};

use crate::{
    incident::{Incident, IncidentChange, IncidentState, Transition},
    store::StoreState,
};

/// A lock that somebody holds for a moment is nobody's business.
const HOLD: Duration = Duration::from_secs(10);

/// Follows the state of the store.
#[derive(Debug)]
pub(super) struct SelfWatch {
    incident: Option<Incident>,
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    since_wall: Timestamp,
    reason: String,
}

impl SelfWatch {
    /// `known`: the incident as it was left by a former process.
    pub(super) fn new(known: Option<Incident>) -> Self {
        Self {
            incident: known,
            failing: None,
        }
    }

    /// Is this incident made here (and by nobody else)?
    pub(super) fn owns(incident: &Incident) -> bool {
        incident.pattern == Pattern::StoreUnwritable
    }

    /// The store is like this now.
    pub(super) fn on_state(
        &mut self,
        state: &StoreState,
        now: Instant,
        wall: Timestamp,
    ) -> Option<IncidentChange> {
        let Some(reason) = &state.unwritable else {
            self.failing = None;
            return self.resolve(wall);
        };
        match &mut self.failing {
            Some(failing) => failing.reason.clone_from(reason),
            None => {
                self.failing = Some(Failing {
                    since: now,
                    since_wall: wall,
                    reason: reason.clone(),
                });
            }
        }
        None
    }

    /// When [`Self::poll`] has something to say.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let failing = self.failing.as_ref()?;
        (!self.is_open()).then(|| failing.since + HOLD)
    }

    /// Opens the incident when the failure has lasted.
    pub(super) fn poll(&mut self, now: Instant, wall: Timestamp) -> Option<IncidentChange> {
        let failing = self.failing.as_ref()?;
        if self.is_open() || now < failing.since + HOLD {
            return None;
        }
        let before = self.incident.take();
        let transition = match before {
            Some(_) => Transition::Reopened,
            None => Transition::Opened,
        };
        let pattern = Pattern::StoreUnwritable;
        let incident = Incident {
            summary: "The aggregator cannot write its store: changes are kept in memory, and notifications are still sent."
                .to_owned(),
            evidence: vec![format!("SQLite says: {}.", failing.reason)],
            started_at: failing.since_wall,
            reopened: before.map_or(0, |before| before.reopened + 1),
            ..Incident::new(pattern, Scope::everywhere(), wall)
        };
        self.incident = Some(incident.clone());
        Some(IncidentChange {
            transition,
            incident,
        })
    }

    fn resolve(&mut self, wall: Timestamp) -> Option<IncidentChange> {
        let incident = self
            .incident
            .as_mut()
            .filter(|incident| incident.state == IncidentState::Open)?;
        incident.state = IncidentState::Resolved;
        incident.updated_at = wall;
        incident.resolved_at = Some(wall);
        "The store can be written again.".clone_into(&mut incident.summary);
        Some(IncidentChange {
            transition: Transition::Resolved,
            incident: incident.clone(),
        })
    }

    fn is_open(&self) -> bool {
        self.incident
            .as_ref()
            .is_some_and(|incident| incident.state == IncidentState::Open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn full() -> StoreState {
        StoreState {
            unwritable: Some("database or disk is full".to_owned()),
            ..StoreState::default()
        }
    }

    fn start() -> (Instant, Timestamp) {
        (meshprobe_daemon::clock::now(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_full_disk_opens_one_incident_after_its_hold_and_room_ends_it() {
        let (now, wall) = start();
        let mut watch = SelfWatch::new(None);
        assert!(watch.on_state(&full(), now, wall).is_none());
        assert_eq!(watch.next_deadline(), Some(now + HOLD));
        assert!(watch.poll(now + HOLD / 2, wall).is_none());
        let opened = watch.poll(now + HOLD, wall).unwrap();
        assert_eq!(opened.transition, Transition::Opened);
        assert!(opened.incident.evidence[0].contains("disk is full"));
        assert!(watch.poll(now + 2 * HOLD, wall).is_none());
        assert_eq!(watch.next_deadline(), None);
        let resolved = watch.on_state(&StoreState::default(), now, wall).unwrap();
        assert_eq!(resolved.transition, Transition::Resolved);
        assert_eq!(resolved.incident.id, opened.incident.id);
        assert!(watch.on_state(&StoreState::default(), now, wall).is_none());
    }

    #[test]
    fn a_lock_for_a_moment_is_not_told() {
        let (now, wall) = start();
        let mut watch = SelfWatch::new(None);
        watch.on_state(&full(), now, wall);
        assert!(
            watch
                .on_state(&StoreState::default(), now + SECOND, wall)
                .is_none()
        );
        assert!(watch.poll(now + 2 * HOLD, wall).is_none());
    }

    #[test]
    fn an_incident_of_a_former_process_ends_and_opens_again_as_the_same() {
        let (now, wall) = start();
        let mut watch = SelfWatch::new(None);
        watch.on_state(&full(), now, wall);
        let left_open = watch.poll(now + HOLD, wall).unwrap().incident;
        let mut watch = SelfWatch::new(Some(left_open.clone()));
        let resolved = watch.on_state(&StoreState::default(), now, wall).unwrap();
        assert_eq!(resolved.transition, Transition::Resolved);
        watch.on_state(&full(), now, wall);
        let again = watch.poll(now + HOLD, wall).unwrap();
        assert_eq!(
            (again.transition, again.incident.reopened),
            (Transition::Reopened, 1)
        );
        assert_eq!(again.incident.id, left_open.id);
    }
}
