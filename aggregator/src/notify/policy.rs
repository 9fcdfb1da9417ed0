//! Is it told? Every change of an incident passes here, and nothing else decides. Pure: time is an argument.
//!
//! The rule is one: a receiver is told when what it would see differs from what it was told last. What follows from it:
//!
//! - An opening is told at once, and so is everything that makes it worse: another node, a higher severity.
//! - An end is kept back for a while ([`Policy::new`]'s hold). A failure that comes back in that time was never told to
//!   be over, so nothing has to be told. Each reopening that is still remembered doubles the hold, up to eight times it.
//! - What flaps (`damping`) is told once as flapping; its changes are not told until it has calmed down. Then its state is
//!   told, if it is another one. A node that joins is told even so.
//! - Who was told of the beginning is told of the end, wherever routes lead by then.
//! - What is silenced is not told. When the silence ends and the failure is still there, it is told then. An end is told
//!   all the same to whom the beginning was told: it closes what is open at the receiver.
//!
//! What people know is stored beside the notifications that told them, so a restart neither repeats nor forgets.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use meshprobe_core::ids::NodeName;
use serde::{Deserialize, Serialize};

use super::{
    damping::{Damping, Flap, FlapRecord},
    routing::Routed,
};
use crate::{
    incident::{Incident, IncidentChange, IncidentId, IncidentState, Severity, Transition},
    receiver::{Labels, News, labels},
};

/// The hold of an incident that comes and goes grows up to this many times.
const MAX_HOLD_FACTOR: u32 = 8;

/// What people know of an incident that they were told of and whose end they were not told of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Told {
    severity: Severity,
    nodes: Vec<NodeName>,
    zones: Vec<String>,
    labels: Labels,
    /// Who was told, and whether they want to hear the end.
    receivers: Routed,
}

/// What has to survive a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToldRecord {
    incident: IncidentId,
    told: Option<Told>,
    flap: Option<FlapRecord>,
}

impl ToldRecord {
    /// Which incident it is about.
    pub fn incident(&self) -> &IncidentId {
        &self.incident
    }
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Say {
    pub(super) news: News,
    pub(super) receivers: Vec<String>,
}

/// An incident that receivers believe to be open.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Believed {
    pub(super) labels: Labels,
    pub(super) receivers: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Policy {
    hold: Duration,
    damping: Damping,
    told: BTreeMap<IncidentId, Told>,
    /// Ends that are kept back, until when.
    ends: BTreeMap<IncidentId, Instant>,
    /// Open incidents that are not told because they are silenced.
    silenced: BTreeSet<IncidentId>,
    /// What has to be written.
    touched: BTreeSet<IncidentId>,
}

impl Policy {
    /// Nobody knows anything. The end of an incident is kept back for `hold`.
    pub(super) fn new(hold: Duration) -> Self {
        Self {
            hold,
            damping: Damping::default(),
            told: BTreeMap::new(),
            ends: BTreeMap::new(),
            silenced: BTreeSet::new(),
            touched: BTreeSet::new(),
        }
    }

    /// Another hold, from the next end on.
    pub(super) fn set_hold(&mut self, hold: Duration) {
        self.hold = hold;
    }

    /// Takes over what a former process remembered. `ended` says of an incident how long ago it ended; `None`: it is open.
    pub(super) fn restore(
        &mut self,
        records: impl IntoIterator<Item = ToldRecord>,
        ended: impl Fn(&IncidentId) -> Option<Duration>,
        now: Instant,
        now_millis: i64,
    ) {
        for record in records {
            let ToldRecord {
                incident,
                told,
                flap,
            } = record;
            if let Some(flap) = flap {
                self.damping.restore(&incident, flap, now, now_millis);
            }
            if let Some(told) = told {
                if let Some(ago) = ended(&incident)
                    && !self.damping.is_suppressed(&incident)
                {
                    let hold = self.hold_of(&incident, now);
                    self.ends
                        .insert(incident.clone(), now + hold.saturating_sub(ago));
                }
                self.told.insert(incident, told);
            }
        }
    }

    /// An incident changed. `routed` is who it is for; `silenced`, whether somebody asked not to hear of it now.
    pub(super) fn on_change(
        &mut self,
        change: &IncidentChange,
        routed: &Routed,
        silenced: bool,
        now: Instant,
    ) -> Option<Say> {
        let id = &change.incident.id;
        let flap = if change.transition == Transition::Reopened {
            self.touched.insert(id.clone());
            self.damping.on_reopened(id, now)
        } else if self.damping.is_suppressed(id) {
            Flap::GoesOn
        } else {
            Flap::Calm
        };
        match change.incident.state {
            IncidentState::Open => self.on_open(change, routed, silenced, flap),
            IncidentState::Resolved => self.on_resolved(change, now),
        }
    }

    fn on_open(
        &mut self,
        change: &IncidentChange,
        routed: &Routed,
        silenced: bool,
        flap: Flap,
    ) -> Option<Say> {
        let incident = &change.incident;
        self.ends.remove(&incident.id);
        if silenced {
            self.silenced.insert(incident.id.clone());
            return None;
        }
        self.silenced.remove(&incident.id);
        let known = self.told.get(&incident.id);
        let (tell, flapping) = match (known, flap) {
            (_, Flap::Begins { times }) => (true, Some(times)),
            (None, _) => (true, None),
            (Some(known), Flap::Calm) => (known.differs(incident), None),
            (Some(known), Flap::GoesOn) => (known.is_worse_now(incident), None),
        };
        if !tell {
            return None;
        }
        let labels = match known {
            Some(known) if known.severity == incident.severity => known.labels.clone(),
            _ => labels(incident),
        };
        let transition = match (known, change.transition) {
            (None, Transition::Updated) => Transition::Opened,
            (Some(_), Transition::Reopened) if flapping.is_none() => Transition::Updated,
            (_, as_it_is) => as_it_is,
        };
        let mut receivers = known
            .map(|known| known.receivers.clone())
            .unwrap_or_default();
        receivers.extend(routed.iter().map(|(name, wants)| (name.clone(), *wants)));
        if receivers.is_empty() {
            return None;
        }
        let names = receivers.keys().cloned().collect();
        let told = Told {
            severity: incident.severity,
            nodes: incident.nodes.clone(),
            zones: incident.zones.clone(),
            labels: labels.clone(),
            receivers,
        };
        self.told.insert(incident.id.clone(), told);
        self.touched.insert(incident.id.clone());
        Some(Say {
            news: News {
                change: IncidentChange {
                    transition,
                    incident: incident.clone(),
                },
                labels,
                flapping,
            },
            receivers: names,
        })
    }

    fn on_resolved(&mut self, change: &IncidentChange, now: Instant) -> Option<Say> {
        let id = &change.incident.id;
        self.silenced.remove(id);
        if !self.told.contains_key(id) || self.damping.is_suppressed(id) {
            return None;
        }
        let hold = self.hold_of(id, now);
        if hold.is_zero() {
            return self.end(&change.incident);
        }
        self.ends.insert(id.clone(), now + hold);
        None
    }

    fn hold_of(&self, id: &IncidentId, now: Instant) -> Duration {
        let doublings = self.damping.recent_reopenings(id, now).min(16);
        self.hold * (1_u32 << doublings).min(MAX_HOLD_FACTOR)
    }

    fn end(&mut self, incident: &Incident) -> Option<Say> {
        let told = self.told.remove(&incident.id)?;
        self.ends.remove(&incident.id);
        self.touched.insert(incident.id.clone());
        let receivers: Vec<String> = told
            .receivers
            .into_iter()
            .filter(|(_, wants)| *wants)
            .map(|(name, _)| name)
            .collect();
        (!receivers.is_empty()).then(|| Say {
            news: News {
                change: IncidentChange {
                    transition: Transition::Resolved,
                    incident: incident.clone(),
                },
                labels: told.labels,
                flapping: None,
            },
            receivers,
        })
    }

    /// Incidents whose time has come: an end was kept back long enough, or it has calmed down. [`Self::settle`] is to be
    /// called for each of them.
    pub(super) fn due(&mut self, now: Instant) -> Vec<IncidentId> {
        let mut due: BTreeSet<IncidentId> = self.damping.released(now).into_iter().collect();
        self.touched.extend(due.iter().cloned());
        due.extend(
            self.ends
                .iter()
                .filter(|(_, at)| **at <= now)
                .map(|(id, _)| id.clone()),
        );
        due.into_iter().collect()
    }

    /// Tells the present state of an incident, if it is another one than people know.
    pub(super) fn settle(
        &mut self,
        incident: &Incident,
        routed: &Routed,
        silenced: bool,
    ) -> Option<Say> {
        match incident.state {
            IncidentState::Resolved => self.end(incident),
            IncidentState::Open => {
                let change = IncidentChange {
                    transition: Transition::Updated,
                    incident: incident.clone(),
                };
                self.on_open(&change, routed, silenced, Flap::Calm)
            }
        }
    }

    /// Incidents that are open at the start: whoever was not told of one, because it was silenced, is told when it is
    /// looked at again.
    pub(super) fn reconsider(&mut self, open: impl IntoIterator<Item = IncidentId>) {
        self.silenced.extend(open);
    }

    /// Is nobody told of it because it is silenced?
    pub(super) fn is_silenced(&self, id: &IncidentId) -> bool {
        self.silenced.contains(id)
    }

    /// Open incidents that nobody hears of because they are silenced; a silence that ends is to be followed by
    /// [`Self::settle`].
    pub(super) fn silenced(&self) -> Vec<IncidentId> {
        self.silenced.iter().cloned().collect()
    }

    /// When [`Self::due`] has something next.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let ends = self.ends.values().min().copied();
        ends.into_iter().chain(self.damping.next_deadline()).min()
    }

    /// What people believe to be open.
    pub(super) fn believed(&self) -> impl Iterator<Item = (&IncidentId, Believed)> {
        self.told.iter().map(|(id, told)| {
            let believed = Believed {
                labels: told.labels.clone(),
                receivers: told.receivers.keys().cloned().collect(),
            };
            (id, believed)
        })
    }

    /// What changed since the last call and has to be written; `None`: nothing has to be remembered any more.
    pub(super) fn take_records(
        &mut self,
        now: Instant,
        now_millis: i64,
    ) -> Vec<(IncidentId, Option<ToldRecord>)> {
        let touched = std::mem::take(&mut self.touched);
        let record = |id: IncidentId| {
            let told = self.told.get(&id).cloned();
            let flap = self.damping.record(&id, now, now_millis);
            let record = (told.is_some() || flap.is_some()).then(|| ToldRecord {
                incident: id.clone(),
                told,
                flap,
            });
            (id, record)
        };
        touched.into_iter().map(record).collect()
    }
}

impl Told {
    fn differs(&self, incident: &Incident) -> bool {
        (self.severity, &self.nodes, &self.zones)
            != (incident.severity, &incident.nodes, &incident.zones)
    }

    /// More nodes, or it matters more.
    fn is_worse_now(&self, incident: &Incident) -> bool {
        incident.severity > self.severity
            || incident.nodes.iter().any(|node| !self.nodes.contains(node))
    }
}

#[cfg(test)]
mod tests;
