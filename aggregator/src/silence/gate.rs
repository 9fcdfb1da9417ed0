//! What is held back while it is silenced, and let go when it no longer is.

use std::collections::BTreeSet;

use super::Mute;
use crate::incident::{Incident, IncidentId, IncidentState};

/// What becomes of a change of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// People are told.
    Open,
    /// Nobody is told; it is remembered that nobody was.
    Held,
    /// It ended, and nobody was ever told that it began.
    Unheard,
}

/// The incidents that people would have been told of. Bounded by the incidents that are open.
#[derive(Debug, Default)]
pub struct Gate {
    held: BTreeSet<IncidentId>,
}

impl Gate {
    /// A gate that remembers what was held before.
    pub fn new(held: impl IntoIterator<Item = IncidentId>) -> Self {
        Self {
            held: held.into_iter().collect(),
        }
    }

    /// Is its present state one that nobody was told of?
    pub fn is_held(&self, id: &IncidentId) -> bool {
        self.held.contains(id)
    }

    /// Those that are held.
    pub fn held(&self) -> impl Iterator<Item = &IncidentId> {
        self.held.iter()
    }

    /// It is as people were told before.
    pub fn forget(&mut self, id: &IncidentId) {
        self.held.remove(id);
    }

    /// An incident is news. `was_told`: people were told that it is open.
    ///
    /// The end of what they were told is told in any case: a page that nobody closes is a lie.
    pub fn pass(&mut self, incident: &Incident, mute: Option<&Mute>, was_told: bool) -> Passage {
        let id = &incident.id;
        match (incident.state, mute) {
            (IncidentState::Open, Some(_)) => {
                self.held.insert(id.clone());
                Passage::Held
            }
            (IncidentState::Open, None) => {
                self.held.remove(id);
                Passage::Open
            }
            (IncidentState::Resolved, _) => {
                let was_held = self.held.remove(id);
                if was_held && !was_told {
                    Passage::Unheard
                } else {
                    Passage::Open
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::notify::tests::incident;

    const MUTE: Mute = Mute {
        by: Vec::new(),
        until: Timestamp::MAX,
    };

    fn open() -> Incident {
        incident("a", Timestamp::UNIX_EPOCH)
    }

    fn resolved() -> Incident {
        Incident {
            state: IncidentState::Resolved,
            ..open()
        }
    }

    #[test]
    fn what_is_still_open_when_the_silence_ends_is_told_once() {
        let mut gate = Gate::default();
        assert_eq!(gate.pass(&open(), Some(&MUTE), false), Passage::Held);
        assert_eq!(gate.pass(&open(), Some(&MUTE), false), Passage::Held);
        // Also after a restart.
        let mut gate = Gate::new(gate.held().cloned());
        assert!(gate.is_held(&open().id));
        assert_eq!(gate.pass(&open(), None, false), Passage::Open);
        assert!(!gate.is_held(&open().id));
    }

    #[test]
    fn what_came_and_went_in_silence_is_never_heard_of() {
        let mut gate = Gate::default();
        gate.pass(&open(), Some(&MUTE), false);
        assert_eq!(gate.pass(&resolved(), Some(&MUTE), false), Passage::Unheard);
        assert_eq!(gate.held().count(), 0);
    }

    #[test]
    fn the_end_of_what_was_told_before_the_silence_is_told() {
        let mut gate = Gate::default();
        assert_eq!(gate.pass(&open(), None, false), Passage::Open);
        assert_eq!(gate.pass(&open(), Some(&MUTE), true), Passage::Held);
        assert_eq!(gate.pass(&resolved(), Some(&MUTE), true), Passage::Open);
        assert_eq!(gate.pass(&resolved(), None, false), Passage::Open);
    }
}
