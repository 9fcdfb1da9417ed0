//! From a change of an incident to messages: what is told, to whom, and in which order things happen.
//!
//! 1. Memory: the API shows the change at once.
//! 2. Policy: is it told? Openings, reopenings and ends are; an update only if it names other nodes or matters more or
//!    less; what flaps is damped (`damping`); what is silenced is held back until it no longer is ([`crate::silence`]).
//! 3. Store: the incident and its messages in one transaction.
//! 4. Outbox: the messages leave.
//!
//! Step 4 waits for step 3, but never longer than `STORE_PATIENCE`: a disk that hangs must not hold up an alert. The
//! messages are then sent from memory, and the store catches up.
//!
//! The task ends when the pipeline has dropped its end of the channel and everything in it is told.

mod damping;
mod incidents;
mod index;
mod self_watch;

#[cfg(test)]
pub(crate) mod tests;

use std::{collections::HashMap, sync::Arc, time::Duration};

use meshprobe_core::ids::NodeName;
use meshprobe_daemon::clock;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{info, warn};

pub use incidents::Incidents;
pub use index::Place;

use self::{
    damping::{Damping, Tell},
    self_watch::SelfWatch,
};
use crate::{
    deadline::until,
    incident::{Incident, IncidentChange, IncidentId, IncidentState, Severity, Transition},
    metrics::SilenceMetrics,
    outbox::OutboxHandle,
    silence::{Gate, Passage, Silences},
    snapshot::Snapshot,
    store::{Notification, Operation, StoreHandle, StoreState, Written},
    wall,
    webhook::{Links, notification_id, render},
};

/// Longest wait for the disk before a message leaves from memory. A healthy disk needs 5 to 30 ms.
const STORE_PATIENCE: Duration = Duration::from_millis(250);
/// Changes that share a transaction at most.
const GROUP: usize = 64;

/// Who is told, and where links lead. Replaced as a whole on a reload.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    /// The receivers.
    pub receivers: Vec<Listener>,
    /// For links.
    pub links: Links,
}

/// A receiver as the notifier sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Does it want to hear the end of an incident?
    pub send_resolved: bool,
}

/// What was last told of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    state: IncidentState,
    severity: Severity,
    nodes: Vec<NodeName>,
}

impl Told {
    fn of(incident: &Incident) -> Self {
        Self {
            state: incident.state,
            severity: incident.severity,
            nodes: incident.nodes.clone(),
        }
    }
}

/// The task between the judge and the outbox.
#[derive(Debug)]
pub struct Notifier {
    changes_rx: mpsc::Receiver<IncidentChange>,
    audience_rx: watch::Receiver<Arc<Audience>>,
    incidents: Incidents,
    store: StoreHandle,
    outbox: OutboxHandle,
    store_rx: watch::Receiver<StoreState>,
    self_watch: SelfWatch,
    damping: Damping,
    quiet: Quiet,
    told: HashMap<IncidentId, Told>,
}

/// What keeps changes from being told, and what is needed to know.
#[derive(Debug)]
pub struct Quiet {
    /// The silences.
    pub silences: Silences,
    /// What they hold back.
    pub gate: Gate,
    /// Zones, labels and lifecycles of nodes.
    pub mesh: watch::Receiver<Arc<Snapshot>>,
    /// How often they were heeded.
    pub metrics: SilenceMetrics,
}

impl Quiet {
    /// May people be told of this? `was_told`: they know that it is open.
    fn pass(&mut self, incident: &Incident, was_told: bool) -> Passage {
        let mute = self
            .silences
            .mute(incident, &self.mesh.borrow(), wall::now());
        let was_held = self.gate.is_held(&incident.id);
        let passage = self.gate.pass(incident, mute.as_ref(), was_told);
        if let (Passage::Held, false, Some(mute)) = (passage, was_held, &mute) {
            info!(incident = %incident.id, by = ?mute.by, until = %mute.until, "Incident is silenced; nobody is told");
            self.metrics.held(mute);
        }
        passage
    }

    /// When something may be let go without anybody doing anything; `None`: nothing is held.
    fn next_deadline(&self) -> Option<std::time::Instant> {
        self.gate.held().next()?;
        let now = wall::now();
        let wait = self.silences.next_change(now)?.duration_since(now);
        Some(clock::now() + Duration::try_from(wait).unwrap_or_default())
    }
}

impl Notifier {
    /// A notifier that knows what was told before.
    pub fn new(
        known: Vec<Incident>,
        quiet: Quiet,
        changes_rx: mpsc::Receiver<IncidentChange>,
        audience_rx: watch::Receiver<Arc<Audience>>,
        store: StoreHandle,
        outbox: OutboxHandle,
    ) -> (Self, Incidents) {
        let told = known
            .iter()
            .filter(|incident| incident.state == IncidentState::Open)
            .filter(|incident| !quiet.gate.is_held(&incident.id))
            .map(|incident| (incident.id.clone(), Told::of(incident)))
            .collect();
        let self_watch = SelfWatch::new(known.iter().find(|one| SelfWatch::owns(one)).cloned());
        let incidents = Incidents::new(known);
        let notifier = Self {
            changes_rx,
            audience_rx,
            incidents: incidents.clone(),
            store_rx: store.watch_state(),
            store,
            outbox,
            self_watch,
            damping: Damping::default(),
            quiet,
            told,
        };
        (notifier, incidents)
    }

    /// Runs until the pipeline has ended.
    pub async fn run(mut self) {
        self.look_at_store().await;
        let mut silences_rx = self.quiet.silences.watch();
        // What was silenced when the former process ended may no longer be.
        silences_rx.mark_changed();
        let mut mesh_rx = self.quiet.mesh.clone();
        loop {
            let deadline = [
                self.damping.next_deadline(),
                self.self_watch.next_deadline(),
                self.quiet.next_deadline(),
            ];
            let deadline = deadline.into_iter().flatten().min();
            tokio::select! {
                change = self.changes_rx.recv() => match change {
                    Some(change) => {
                        let mut changes = vec![change];
                        while changes.len() < GROUP && let Ok(change) = self.changes_rx.try_recv() {
                            changes.push(change);
                        }
                        self.handle(changes).await;
                    }
                    None => return,
                },
                Ok(()) = self.store_rx.changed() => self.look_at_store().await,
                Ok(()) = silences_rx.changed() => self.tell_held().await,
                Ok(()) = mesh_rx.changed() => {
                    let snapshot = mesh_rx.borrow_and_update().clone();
                    self.quiet.silences.follow(&snapshot, wall::now());
                }
                () = until(deadline) => {
                    let own = self.self_watch.poll(clock::now(), wall::now());
                    self.handle_own(own).await;
                    self.tell_released().await;
                    self.tell_held().await;
                }
            }
        }
    }

    async fn look_at_store(&mut self) {
        let state = self.store_rx.borrow_and_update().clone();
        let change = self.self_watch.on_state(&state, clock::now(), wall::now());
        self.handle_own(change).await;
    }

    /// The aggregator's own incident, which no judge has logged.
    async fn handle_own(&mut self, change: Option<IncidentChange>) {
        if let Some(change) = change {
            let Incident {
                id,
                pattern,
                summary,
                ..
            } = &change.incident;
            let transition = change.transition.as_str();
            match change.incident.state {
                IncidentState::Open => warn!(incident = %id, %pattern, transition, "{summary}"),
                IncidentState::Resolved => info!(incident = %id, %pattern, transition, "{summary}"),
            }
            self.handle(vec![change]).await;
        }
    }

    async fn handle(&mut self, changes: Vec<IncidentChange>) {
        let now = clock::now();
        let mut operations = Vec::new();
        let mut notifications = Vec::new();
        for change in changes {
            self.incidents.put(change.incident.clone());
            match self
                .damping
                .on_change(&change.incident.id, change.transition, now)
            {
                Tell::Yes if self.is_news(&change) => {
                    notifications.extend(self.let_through(&change, None, &mut operations));
                }
                Tell::AsFlapping { changes } => {
                    warn!(incident = %change.incident.id, changes, "Incident is flapping; its changes are not told until it calms down");
                    notifications.extend(self.let_through(&change, Some(changes), &mut operations));
                }
                Tell::Yes | Tell::No => {}
            }
            operations.push(Operation::Incident(Box::new(change)));
        }
        self.write_and_send(operations, notifications).await;
    }

    /// Incidents that have calmed down: their present state, if it is another one than was told.
    async fn tell_released(&mut self) {
        let (mut operations, mut notifications) = (Vec::new(), Vec::new());
        for id in self.damping.released(clock::now()) {
            let Some(incident) = self.incidents.one(&id) else {
                continue;
            };
            let transition = match incident.state {
                IncidentState::Open => Transition::Updated,
                IncidentState::Resolved => Transition::Resolved,
            };
            let change = IncidentChange {
                transition,
                incident,
            };
            if self.is_news(&change) {
                notifications.extend(self.let_through(&change, None, &mut operations));
            }
        }
        self.write_and_send(operations, notifications).await;
    }

    /// Incidents that were held back and are silenced no more: their present state.
    async fn tell_held(&mut self) {
        let (mut operations, mut notifications) = (Vec::new(), Vec::new());
        let held: Vec<IncidentId> = self.quiet.gate.held().cloned().collect();
        for id in held {
            let change = self.incidents.one(&id).map(|incident| IncidentChange {
                transition: match (incident.state, self.told.contains_key(&id)) {
                    (IncidentState::Resolved, _) => Transition::Resolved,
                    (IncidentState::Open, true) => Transition::Updated,
                    (IncidentState::Open, false) if incident.reopened > 0 => Transition::Reopened,
                    (IncidentState::Open, false) => Transition::Opened,
                },
                incident,
            });
            if let Some(change) = change.filter(|change| self.is_news(change)) {
                notifications.extend(self.let_through(&change, None, &mut operations));
            } else {
                // It is as people were told before the silence.
                self.quiet.gate.forget(&id);
                operations.push(Operation::Release(id));
            }
        }
        self.write_and_send(operations, notifications).await;
    }

    /// The messages about a change, unless it is silenced. What is to be remembered of that goes to `operations`.
    fn let_through(
        &mut self,
        change: &IncidentChange,
        flapping: Option<u32>,
        operations: &mut Vec<Operation>,
    ) -> Vec<Notification> {
        let id = &change.incident.id;
        let (was_told, was_held) = (self.told.contains_key(id), self.quiet.gate.is_held(id));
        let passage = self.quiet.pass(&change.incident, was_told);
        match (was_held, self.quiet.gate.is_held(id)) {
            (false, true) => operations.push(Operation::Hold(id.clone())),
            (true, false) => operations.push(Operation::Release(id.clone())),
            _ => {}
        }
        match passage {
            Passage::Open => self.messages(change, flapping),
            Passage::Held | Passage::Unheard => Vec::new(),
        }
    }

    async fn write_and_send(
        &self,
        mut operations: Vec<Operation>,
        notifications: Vec<Notification>,
    ) {
        let notify = notifications.iter().cloned();
        operations.extend(notify.map(|one| Operation::Notify(Box::new(one))));
        self.send(operations, notifications).await;
    }

    /// Written, then sent.
    async fn send(&self, operations: Vec<Operation>, notifications: Vec<Notification>) {
        if operations.is_empty() {
            return;
        }
        match timeout(STORE_PATIENCE, self.store.write(operations)).await {
            Ok(Written::Durable | Written::Kept) => {}
            Err(_elapsed) => warn!("The store is slow; sending notifications from memory"),
        }
        if !notifications.is_empty() {
            self.outbox.deliver(notifications).await;
        }
    }

    fn is_news(&self, change: &IncidentChange) -> bool {
        let told = self.told.get(&change.incident.id);
        match change.transition {
            Transition::Opened | Transition::Reopened => true,
            Transition::Updated => told != Some(&Told::of(&change.incident)),
            Transition::Resolved => told.is_none_or(|told| told.state == IncidentState::Open),
        }
    }

    /// One message for each receiver that wants it.
    fn messages(&mut self, change: &IncidentChange, flapping: Option<u32>) -> Vec<Notification> {
        let IncidentChange {
            transition,
            incident,
        } = change;
        match incident.state {
            IncidentState::Open => self.told.insert(incident.id.clone(), Told::of(incident)),
            IncidentState::Resolved => self.told.remove(&incident.id),
        };
        let created_at_millis = wall::millis();
        let audience = self.audience_rx.borrow();
        audience
            .receivers
            .iter()
            .filter(|listener| listener.send_resolved || *transition != Transition::Resolved)
            .map(|listener| Notification {
                id: notification_id(change),
                receiver: listener.name.clone(),
                incident: incident.id.clone(),
                transition: *transition,
                body: render(change, &listener.name, &audience.links, flapping),
                created_at_millis,
                attempts: 0,
                next_attempt_millis: created_at_millis,
                last_error: None,
            })
            .collect()
    }
}
