//! From a change of an incident to messages: what is told, to whom, and in which order things happen.
//!
//! 1. Memory: the API shows the change at once.
//! 2. Policy: is it told? Openings, reopenings and ends are; an update only if it names other nodes or matters more or
//!    less; what flaps is damped (`damping`).
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
    outbox::OutboxHandle,
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
    told: HashMap<IncidentId, Told>,
}

impl Notifier {
    /// A notifier that knows what was told before.
    pub fn new(
        known: Vec<Incident>,
        changes_rx: mpsc::Receiver<IncidentChange>,
        audience_rx: watch::Receiver<Arc<Audience>>,
        store: StoreHandle,
        outbox: OutboxHandle,
    ) -> (Self, Incidents) {
        let told = known
            .iter()
            .filter(|incident| incident.state == IncidentState::Open)
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
            told,
        };
        (notifier, incidents)
    }

    /// Runs until the pipeline has ended.
    pub async fn run(mut self) {
        self.look_at_store().await;
        loop {
            let deadline = [
                self.damping.next_deadline(),
                self.self_watch.next_deadline(),
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
                () = until(deadline) => {
                    let own = self.self_watch.poll(clock::now(), wall::now());
                    self.handle_own(own).await;
                    self.tell_released().await;
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
                    notifications.extend(self.messages(&change, None));
                }
                Tell::AsFlapping { changes } => {
                    warn!(incident = %change.incident.id, changes, "Incident is flapping; its changes are not told until it calms down");
                    notifications.extend(self.messages(&change, Some(changes)));
                }
                Tell::Yes | Tell::No => {}
            }
            operations.push(Operation::Incident(Box::new(change)));
        }
        operations.extend(
            notifications
                .iter()
                .cloned()
                .map(|one| Operation::Notify(Box::new(one))),
        );
        self.send(operations, notifications).await;
    }

    /// Incidents that have calmed down: their present state, if it is another one than was told.
    async fn tell_released(&mut self) {
        let mut notifications = Vec::new();
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
                notifications.extend(self.messages(&change, None));
            }
        }
        let operations = notifications
            .iter()
            .cloned()
            .map(|one| Operation::Notify(Box::new(one)))
            .collect();
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
