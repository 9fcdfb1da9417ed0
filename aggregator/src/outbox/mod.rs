//! Delivery of notifications: every one is written before it is sent, and tried until the receiver has it.
//!
//! Memory is the truth while the process runs, the store's outbox table its copy: what the table holds at the start is
//! queued again under the same idempotency key. One task owns all queues; attempts run in a `JoinSet` and report back,
//! so nothing here blocks on a receiver. The first attempt starts in the same turn in which the message arrives.
//!
//! At least once: a crash between the receiver's answer and its record makes one more delivery, with the same
//! `webhook-id`.
//!
//! The task ends when the last handle is dropped: it waits for attempts in flight, and makes the first attempt of what was
//! never tried. The rest stays in the store.

mod queue;
mod schedule;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use meshprobe_daemon::clock;
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{debug, info, warn};

use self::{
    queue::{Queue, Waiting},
    schedule::Next,
};
use crate::{
    deadline::until,
    metrics::NotificationMetrics,
    store::{Notification, NotificationState, Operation, StoreHandle},
    wall,
    webhook::{Attempt, Receiver},
};

/// Hand-overs that wait for the task, which never blocks for long; a notifier that finds it full waits.
const QUEUE_DEPTH: usize = 256;
/// When a receiver is back, the messages that waited for it follow within this time.
const CATCH_UP: Duration = Duration::from_secs(2);
/// A wait that was stored by a process whose clock was wrong is not believed beyond this.
const MAX_STORED_WAIT: Duration = Duration::from_secs(3600);

/// A receiver with its policy.
#[derive(Clone, Debug)]
pub struct Route {
    /// Where to send.
    pub receiver: Receiver,
    /// When to stop trying.
    pub give_up_after: Duration,
}

enum Command {
    Deliver(Vec<Notification>),
    Routes(Vec<Route>),
}

/// Hands messages to the task.
#[derive(Clone, Debug)]
pub struct OutboxHandle {
    commands_tx: mpsc::Sender<Command>,
}

impl OutboxHandle {
    /// Takes over written messages. Returns when they are handed over, not when they are delivered.
    pub async fn deliver(&self, notifications: Vec<Notification>) {
        self.send(Command::Deliver(notifications)).await;
    }

    /// Replaces the receivers. What waits for one that is gone is given up.
    pub async fn replace_routes(&self, routes: Vec<Route>) {
        self.send(Command::Routes(routes)).await;
    }

    async fn send(&self, command: Command) {
        // The task outlives every handle.
        self.commands_tx.send(command).await.ok();
    }
}

/// How much waits, for the API.
#[derive(Clone, Debug, Default)]
pub struct Pending(Arc<AtomicU64>);

impl Pending {
    /// Messages that are not delivered yet.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The task that owns the queues.
#[derive(Debug)]
pub struct Outbox {
    routes: BTreeMap<String, Lane>,
    store: StoreHandle,
    metrics: NotificationMetrics,
    pending: Pending,
    commands_rx: mpsc::Receiver<Command>,
    attempts: JoinSet<Ended>,
}

#[derive(Debug)]
struct Lane {
    route: Route,
    queue: Queue,
}

#[derive(Debug)]
struct Ended {
    message: Waiting,
    attempt: Attempt,
}

impl Outbox {
    /// A task that begins with what a former process left behind.
    pub fn new(
        routes: Vec<Route>,
        left_behind: Vec<Notification>,
        store: StoreHandle,
        metrics: NotificationMetrics,
    ) -> (Self, OutboxHandle, Pending) {
        let (commands_tx, commands_rx) = mpsc::channel(QUEUE_DEPTH);
        let pending = Pending::default();
        let mut outbox = Self {
            routes: BTreeMap::new(),
            store,
            metrics,
            pending: pending.clone(),
            commands_rx,
            attempts: JoinSet::new(),
        };
        outbox.set_routes(routes);
        if !left_behind.is_empty() {
            info!(
                notifications = left_behind.len(),
                "Undelivered notifications were left behind; sending them"
            );
        }
        outbox.accept(left_behind);
        (outbox, OutboxHandle { commands_tx }, pending)
    }

    /// Runs until the last handle is dropped, then ends the attempts in flight.
    pub async fn run(mut self) {
        let mut closing = false;
        loop {
            let now = clock::now();
            self.start_due(now);
            self.count_pending();
            if closing && self.attempts.is_empty() && !self.has_untried(now) {
                break;
            }
            let deadline = self.next_deadline();
            tokio::select! {
                command = self.commands_rx.recv(), if !closing => match command {
                    Some(Command::Deliver(notifications)) => self.accept(notifications),
                    Some(Command::Routes(routes)) => self.set_routes(routes),
                    None => closing = true,
                },
                Some(ended) = self.attempts.join_next(), if !self.attempts.is_empty() => match ended {
                    Ok(ended) => self.handle_ended(ended),
                    // An attempt has no way to be cancelled but the end of this task.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = until(deadline), if deadline.is_some() && !closing => {}
            }
        }
        let waiting = self.pending.count();
        if waiting > 0 {
            info!(
                waiting,
                "Undelivered notifications stay in the store for the next start"
            );
        }
    }

    fn set_routes(&mut self, routes: Vec<Route>) {
        let mut old = std::mem::take(&mut self.routes);
        for route in routes {
            let name = route.receiver.name().to_owned();
            let queue = old.remove(&name).map(|lane| lane.queue).unwrap_or_default();
            self.metrics.create(&name);
            self.routes.insert(name, Lane { route, queue });
        }
        for (name, mut lane) in old {
            self.metrics.remove(&name);
            for message in lane.queue.drain() {
                self.give_up(
                    message.notification,
                    format!("the receiver {name} is no longer configured"),
                );
            }
        }
    }

    fn accept(&mut self, notifications: Vec<Notification>) {
        let (now, wall_millis) = (clock::now(), wall::millis());
        for notification in notifications {
            let Some(lane) = self.routes.get_mut(&notification.receiver) else {
                let reason = format!("the receiver {} is not configured", notification.receiver);
                self.give_up(notification, reason);
                continue;
            };
            let wait = u64::try_from(notification.next_attempt_millis - wall_millis).unwrap_or(0);
            let due = now + Duration::from_millis(wait).min(MAX_STORED_WAIT);
            if lane.queue.push(notification.clone(), due).is_err() {
                self.give_up(
                    notification,
                    "too many notifications wait for this receiver".to_owned(),
                );
            }
        }
    }

    fn start_due(&mut self, now: Instant) {
        for lane in self.routes.values_mut() {
            while let Some(message) = lane.queue.take_due(now) {
                let receiver = lane.route.receiver.clone();
                self.attempts.spawn(async move {
                    let notification = &message.notification;
                    let attempt = receiver
                        .attempt(&notification.id, &notification.body, wall::now())
                        .await;
                    Ended { message, attempt }
                });
            }
        }
    }

    fn handle_ended(
        &mut self,
        Ended {
            mut message,
            attempt,
        }: Ended,
    ) {
        let (now, wall_millis) = (clock::now(), wall::millis());
        message.notification.attempts += 1;
        message.refusals += u32::from(matches!(attempt, Attempt::Refused { .. }));
        let name = message.notification.receiver.clone();
        self.metrics.attempt(&name, &attempt);
        let Some(lane) = self.routes.get_mut(&name) else {
            let reason = format!("the receiver {name} is no longer configured");
            if attempt == Attempt::Delivered {
                self.record_delivered(&message.notification);
            } else {
                self.give_up(message.notification, reason);
            }
            return;
        };
        let age = Duration::from_millis(
            u64::try_from(wall_millis - message.notification.created_at_millis).unwrap_or(0),
        );
        let next = schedule::after(
            &attempt,
            message.notification.attempts,
            message.refusals,
            age,
            lane.route.give_up_after,
            &mut rand::rng(),
        );
        match next {
            Next::Done => {
                lane.queue.finished(&message.notification.incident);
                lane.queue.receiver_is_back(now, CATCH_UP);
                self.record_delivered(&message.notification);
            }
            Next::Retry(wait) => {
                let (reason, hopeful) = match attempt {
                    Attempt::Later { reason, after } => (reason, after.is_none()),
                    Attempt::Refused { reason } => (reason, false),
                    Attempt::Delivered => (String::new(), false),
                };
                let notification = &mut message.notification;
                if notification.attempts == 1 {
                    warn!(receiver = name, incident = %notification.incident, error = reason, ?wait, "A notification was not delivered; trying again");
                }
                notification.next_attempt_millis =
                    wall_millis.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
                notification.last_error = Some(reason);
                record(
                    &self.store,
                    notification,
                    NotificationState::Pending,
                    wall_millis,
                );
                lane.queue.again(message, now + wait, hopeful);
            }
            Next::GiveUp(reason) => {
                lane.queue.finished(&message.notification.incident);
                self.give_up(message.notification, reason);
            }
        }
    }

    fn record_delivered(&self, notification: &Notification) {
        let wall_millis = wall::millis();
        debug!(receiver = notification.receiver, incident = %notification.incident, id = notification.id, "Notification delivered");
        self.metrics
            .delivered(wall_millis - notification.created_at_millis);
        record(
            &self.store,
            notification,
            NotificationState::Delivered,
            wall_millis,
        );
    }

    fn give_up(&mut self, mut notification: Notification, reason: String) {
        warn!(receiver = notification.receiver, incident = %notification.incident, id = notification.id, reason, "A notification is given up");
        self.metrics.dead();
        notification.last_error = Some(reason);
        record(
            &self.store,
            &notification,
            NotificationState::Dead,
            wall::millis(),
        );
    }

    fn count_pending(&self) {
        let mut total = 0;
        for (name, lane) in &self.routes {
            let waiting = lane.queue.len() as u64;
            self.metrics.pending(name, waiting);
            total += waiting;
        }
        self.pending.0.store(total, Ordering::Relaxed);
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.routes
            .values()
            .filter_map(|lane| lane.queue.next_deadline())
            .min()
    }

    fn has_untried(&self, now: Instant) -> bool {
        self.routes.values().any(|lane| lane.queue.has_untried(now))
    }
}

/// Without waiting: a record that the store has no room for costs at most one more delivery with the same key after a
/// restart.
fn record(
    store: &StoreHandle,
    notification: &Notification,
    state: NotificationState,
    at_millis: i64,
) {
    let operation = Operation::Progress {
        receiver: notification.receiver.clone(),
        id: notification.id.clone(),
        state,
        attempts: notification.attempts,
        next_attempt_millis: notification.next_attempt_millis,
        last_error: notification.last_error.clone(),
        at_millis,
    };
    if !store.try_submit(vec![operation]) {
        warn!(
            id = notification.id,
            "The store is too busy to record a delivery; after a restart it may be sent again"
        );
    }
}
