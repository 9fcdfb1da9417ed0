//! From a change of an incident to messages: what is told, to whom, and in which order things happen.
//!
//! 1. Memory: the API shows the change at once.
//! 2. Policy (`policy`): is it told, and to whom (`routing`)? Ends are kept back for a while, what flaps is damped
//!    (`damping`), what is silenced ([`crate::silence`]) is told when it no longer is.
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
mod policy;
mod routing;
mod self_watch;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use meshprobe_core::ids::NodeName;
use meshprobe_daemon::clock;
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{info, warn};

pub use incidents::Incidents;
pub use index::Place;
pub use policy::ToldRecord;
pub use routing::Routing;

use self::{
    policy::{Believed, Policy, Say},
    routing::Routed,
    self_watch::SelfWatch,
};
use crate::{
    deadline::until,
    incident::{Incident, IncidentChange, IncidentId, IncidentState, Transition},
    metrics::SilenceMetrics,
    outbox::OutboxHandle,
    receiver::{Links, Message, News, notification_id},
    silence::Silences,
    snapshot::Snapshot,
    store::{Notification, Operation, StoreHandle, StoreState, Written},
    wall,
};

/// Longest wait for the disk before a message leaves from memory. A healthy disk needs 5 to 30 ms.
const STORE_PATIENCE: Duration = Duration::from_millis(250);
/// Changes that share a transaction at most.
const GROUP: usize = 64;
/// For how long an end is said again to receivers that forget. As Prometheus has it.
const SAY_ENDED_FOR: Duration = Duration::from_secs(15 * 60);
/// Ends that are said again at most.
const MAX_ENDED: usize = 1_000;

/// Who is told, and where links lead. Replaced as a whole on a reload.
#[derive(Clone, Debug, Default)]
pub struct Audience {
    /// Every receiver, by name.
    pub receivers: Vec<String>,
    /// Which of them an incident is for.
    pub routing: Routing,
    /// How long ends are kept back.
    pub resolve_hold: Duration,
    /// For links.
    pub links: Links,
}

/// An incident as receivers believe it to be: what is said again to those that forget.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The incident under the labels that were told, open or just ended.
    pub news: News,
    /// Who was told.
    pub receivers: Vec<String>,
}

/// Everything that stands, and what ended lately.
pub type Standings = Arc<Vec<Standing>>;

/// The task between the judge and the outbox.
#[derive(Debug)]
pub struct Notifier {
    changes_rx: mpsc::Receiver<IncidentChange>,
    audience_rx: watch::Receiver<Arc<Audience>>,
    incidents: Incidents,
    store: StoreHandle,
    outbox: OutboxHandle,
    store_rx: watch::Receiver<StoreState>,
    quiet: Quiet,
    standings_tx: watch::Sender<Standings>,
    self_watch: SelfWatch,
    policy: Policy,
    /// Ends that are still said to receivers that forget.
    ended: VecDeque<(Instant, Standing)>,
}

/// What keeps changes from being told, and what is needed to know.
#[derive(Debug)]
pub struct Quiet {
    /// The silences.
    pub silences: Silences,
    /// Zones, labels and lifecycles of nodes.
    pub mesh: watch::Receiver<Arc<Snapshot>>,
    /// How often they were heeded.
    pub metrics: SilenceMetrics,
}

/// What the notifier is connected with.
#[derive(Debug)]
pub struct Connections {
    /// Changes of incidents.
    pub changes_rx: mpsc::Receiver<IncidentChange>,
    /// Who is told.
    pub audience_rx: watch::Receiver<Arc<Audience>>,
    /// What is silenced, and the nodes with their labels.
    pub quiet: Quiet,
    /// Where it is written.
    pub store: StoreHandle,
    /// Where messages leave.
    pub outbox: OutboxHandle,
    /// What receivers believe, for those that have to hear it again.
    pub standings_tx: watch::Sender<Standings>,
}

impl Notifier {
    /// A notifier that knows what was told before.
    pub fn new(
        known: Vec<Incident>,
        told: Vec<ToldRecord>,
        connections: Connections,
    ) -> (Self, Incidents) {
        let Connections {
            changes_rx,
            audience_rx,
            quiet,
            store,
            outbox,
            standings_tx,
        } = connections;
        let wall = wall::now();
        let mut policy = Policy::new(audience_rx.borrow().resolve_hold);
        let ended: HashMap<&IncidentId, Duration> = known
            .iter()
            .filter_map(|incident| {
                let ago = wall.duration_since(incident.resolved_at?);
                Some((&incident.id, Duration::try_from(ago).unwrap_or_default()))
            })
            .collect();
        let is_known: HashSet<&IncidentId> = known.iter().map(|incident| &incident.id).collect();
        // An incident that was deleted meanwhile has nothing left to tell.
        let told = told
            .into_iter()
            .filter(|record| is_known.contains(record.incident()));
        policy.restore(
            told,
            |id| ended.get(id).copied(),
            clock::now(),
            wall::millis(),
        );
        let open = known
            .iter()
            .filter(|incident| incident.state == IncidentState::Open);
        policy.reconsider(open.map(|incident| incident.id.clone()));
        let self_watch = SelfWatch::new(known.iter().find(|one| SelfWatch::owns(one)).cloned());
        let incidents = Incidents::new(known);
        let mut notifier = Self {
            changes_rx,
            audience_rx,
            incidents: incidents.clone(),
            store_rx: store.watch_state(),
            store,
            outbox,
            quiet,
            standings_tx,
            self_watch,
            policy,
            ended: VecDeque::new(),
        };
        notifier.publish_standings();
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
                self.policy.next_deadline(),
                self.self_watch.next_deadline(),
                self.next_silence_change(),
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
                Ok(()) = silences_rx.changed() => self.tell_silenced().await,
                Ok(()) = mesh_rx.changed() => {
                    let snapshot = mesh_rx.borrow_and_update().clone();
                    self.quiet.silences.follow(&snapshot, wall::now());
                }
                () = until(deadline) => {
                    let own = self.self_watch.poll(clock::now(), wall::now());
                    self.handle_own(own).await;
                    self.tell_due().await;
                    self.tell_silenced().await;
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
        self.policy.set_hold(self.audience_rx.borrow().resolve_hold);
        let mut operations = Vec::new();
        let mut notifications = Vec::new();
        for change in changes {
            let incident = &change.incident;
            if change.transition == Transition::Refined {
                self.incidents.refine(incident.clone());
                continue;
            }
            self.incidents.put(incident.clone());
            let (routed, silenced) = (self.routed(incident), self.is_silenced(incident));
            if let Some(say) = self.policy.on_change(&change, &routed, silenced, now) {
                if let Some(times) = say.news.flapping {
                    warn!(incident = %incident.id, times, "Incident is flapping; its changes are not told until it calms down");
                }
                notifications.extend(self.notifications(say));
            }
            operations.push(Operation::Incident(Box::new(change)));
        }
        self.send(operations, notifications).await;
    }

    /// Ends that were kept back long enough, and incidents that have calmed down: their present state, if it is another
    /// one than was told.
    async fn tell_due(&mut self) {
        let due = self.policy.due(clock::now());
        self.settle(due).await;
    }

    /// Incidents that were silenced and may no longer be: their present state.
    async fn tell_silenced(&mut self) {
        let silenced = self.policy.silenced();
        if !silenced.is_empty() {
            self.settle(silenced).await;
        }
    }

    /// When something may be told again without anybody doing anything; `None`: nothing is silenced.
    fn next_silence_change(&self) -> Option<Instant> {
        if self.policy.silenced().is_empty() {
            return None;
        }
        let now = wall::now();
        let wait = self.quiet.silences.next_change(now)?.duration_since(now);
        Some(clock::now() + Duration::try_from(wait).unwrap_or_default())
    }

    /// Did somebody ask not to hear of this incident now?
    fn is_silenced(&self, incident: &Incident) -> bool {
        let snapshot = self.quiet.mesh.borrow().clone();
        let Some(mute) = self.quiet.silences.mute(incident, &snapshot, wall::now()) else {
            return false;
        };
        if incident.state == IncidentState::Open && !self.policy.is_silenced(&incident.id) {
            info!(incident = %incident.id, by = ?mute.by, until = %mute.until, "Incident is silenced; nobody is told");
            self.quiet.metrics.held(&mute);
        }
        true
    }

    async fn settle(&mut self, due: Vec<IncidentId>) {
        let mut notifications = Vec::new();
        for id in due {
            let Some(incident) = self.incidents.one(&id) else {
                continue;
            };
            let (routed, silenced) = (self.routed(&incident), self.is_silenced(&incident));
            if let Some(say) = self.policy.settle(&incident, &routed, silenced) {
                notifications.extend(self.notifications(say));
            }
        }
        self.send(Vec::new(), notifications).await;
    }

    fn routed(&self, incident: &Incident) -> Routed {
        let snapshot = self.quiet.mesh.borrow().clone();
        let labels = |name: &NodeName| {
            let row = snapshot.node(name);
            row.map(|row| row.profile.labels.clone())
                .unwrap_or_default()
        };
        self.audience_rx
            .borrow()
            .routing
            .of_incident(incident, &labels)
    }

    /// Written, then sent: the changes, what people know after this, and the messages, in one transaction.
    async fn send(&mut self, mut operations: Vec<Operation>, notifications: Vec<Notification>) {
        let records = self.policy.take_records(clock::now(), wall::millis());
        operations.extend(
            records
                .into_iter()
                .map(|(incident, record)| Operation::Told {
                    incident,
                    record: record.map(Box::new),
                }),
        );
        operations.extend(
            notifications
                .iter()
                .cloned()
                .map(|one| Operation::Notify(Box::new(one))),
        );
        if operations.is_empty() {
            return;
        }
        match timeout(STORE_PATIENCE, self.store.write(operations)).await {
            Ok(Written::Durable | Written::Kept) => {}
            Err(_elapsed) => warn!("The store is slow; sending notifications from memory"),
        }
        // Before the messages: what is said again must not contradict them.
        self.publish_standings();
        if !notifications.is_empty() {
            self.outbox.deliver(notifications).await;
        }
    }

    /// One message for each receiver.
    fn notifications(&mut self, say: Say) -> Vec<Notification> {
        let Say { news, receivers } = say;
        if !news.is_firing() {
            let standing = Standing {
                news: news.clone(),
                receivers: receivers.clone(),
            };
            self.ended.push_back((clock::now(), standing));
            if self.ended.len() > MAX_ENDED {
                self.ended.pop_front();
            }
        }
        let id = notification_id(&news.change);
        let millis = wall::millis();
        receivers
            .into_iter()
            .map(|receiver| Notification {
                id: id.clone(),
                receiver,
                message: Message::Change(news.clone()),
                created_at_millis: millis,
                queued_at_millis: millis,
                attempts: 0,
                next_attempt_millis: millis,
                last_answer: None,
            })
            .collect()
    }

    /// What receivers believe: an end that is kept back or damped still stands.
    fn publish_standings(&mut self) {
        let now = clock::now();
        while self
            .ended
            .front()
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) > SAY_ENDED_FOR)
        {
            self.ended.pop_front();
        }
        let mut standing = BTreeSet::new();
        let mut standings: Vec<Standing> = Vec::new();
        for (id, Believed { labels, receivers }) in self.policy.believed() {
            let Some(mut incident) = self.incidents.one(id) else {
                continue;
            };
            incident.state = IncidentState::Open;
            incident.resolved_at = None;
            standing.insert(labels.clone());
            standings.push(Standing {
                news: News {
                    change: IncidentChange {
                        transition: Transition::Updated,
                        incident,
                    },
                    labels,
                    flapping: None,
                },
                receivers,
            });
        }
        let over = self.ended.iter().map(|(_, standing)| standing);
        standings.extend(
            over.filter(|over| !standing.contains(&over.news.labels))
                .cloned(),
        );
        self.standings_tx.send_replace(Arc::new(standings));
    }
}
