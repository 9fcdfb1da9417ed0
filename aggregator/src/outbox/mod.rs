//! Delivery of notifications: every one is written before it is sent, and tried until the receiver has it.
//!
//! Memory is the truth while the process runs, the store's outbox table its copy: what the table holds at the start is
//! queued again under the same idempotency key. One task owns all queues; attempts run in a `JoinSet` and report back,
//! so nothing here blocks on a receiver. The first attempt starts in the same turn in which the message arrives.
//!
//! A receiver can have a limit (`limit`). What is beyond it is put together into a digest, which is written in the place
//! of what it stands for, in one transaction; nothing is dropped. Dark nodes have a limit of their own.
//!
//! A receiver that forgets what it is not told again (Alertmanager) hears all that stands at its interval (`refresh`).
//!
//! At least once: a crash between the receiver's answer and its record makes one more delivery, with the same
//! `webhook-id`.
//!
//! The task ends when the last handle is dropped: it waits for attempts in flight, and makes the first attempt of what was
//! never tried. The rest stays in the store.

mod by_hand;
mod handle;
mod lane;
mod ledger;
mod limit;
mod queue;
mod refresh;
mod schedule;

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use meshprobe_daemon::clock;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tracing::{debug, info, warn};

pub use handle::{OutboxHandle, Pending, Retried, Tested, WeakOutbox};
pub use ledger::{Ledger, Record};

use self::{
    handle::Command,
    lane::{Lane, fresh, progress, standing_of},
    limit::Limiter,
    queue::{Class, Queue, Waiting},
    refresh::{Change, Refresh},
    schedule::Next,
};
use crate::{
    config::RateLimit,
    deadline::until,
    metrics::NotificationMetrics,
    notify::Standings,
    receiver::{Attempt, Digest, Message, News, Receiver},
    store::{Finished, Notification, NotificationState, Operation, StoreHandle},
    wall,
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
    /// Most messages; `None`: any number.
    pub rate_limit: Option<RateLimit>,
}

/// What a former process left behind.
#[derive(Debug, Default)]
pub struct LeftBehind {
    /// Neither delivered nor given up, oldest first.
    pub pending: Vec<Notification>,
    /// The newest that are done with, oldest first.
    pub finished: Vec<Finished>,
}

/// The task that owns the queues.
#[derive(Debug)]
pub struct Outbox {
    routes: BTreeMap<String, Lane>,
    store: StoreHandle,
    metrics: NotificationMetrics,
    pending: Pending,
    ledger: Ledger,
    commands_rx: mpsc::Receiver<Command>,
    standings_rx: watch::Receiver<Standings>,
    attempts: JoinSet<Ended>,
    /// Who waits for the end of a test, by receiver and key.
    testers: HashMap<(String, String), oneshot::Sender<Tested>>,
    digests: u64,
}

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every one of them is a message"
)]
enum Ended {
    Message { message: Waiting, attempt: Attempt },
    Refresh { receiver: String, attempt: Attempt },
}

/// The outbox and what others hold of it.
#[derive(Debug)]
pub struct Built {
    /// The task.
    pub outbox: Outbox,
    /// Hands it messages.
    pub handle: OutboxHandle,
    /// How much waits.
    pub pending: Pending,
    /// What became of notifications.
    pub ledger: Ledger,
}

impl Outbox {
    /// A task that begins with what a former process left behind.
    pub fn build(
        routes: Vec<Route>,
        left_behind: LeftBehind,
        store: StoreHandle,
        standings_rx: watch::Receiver<Standings>,
        metrics: NotificationMetrics,
    ) -> Built {
        let (commands_tx, commands_rx) = mpsc::channel(QUEUE_DEPTH);
        let pending = Pending::default();
        let ledger = Ledger::new(left_behind.finished);
        let mut outbox = Self {
            routes: BTreeMap::new(),
            store,
            metrics,
            pending: pending.clone(),
            ledger: ledger.clone(),
            commands_rx,
            standings_rx,
            attempts: JoinSet::new(),
            testers: HashMap::new(),
            digests: 0,
        };
        outbox.set_routes(routes);
        if !left_behind.pending.is_empty() {
            info!(
                notifications = left_behind.pending.len(),
                "Undelivered notifications were left behind; sending them"
            );
        }
        outbox.accept(left_behind.pending);
        Built {
            outbox,
            handle: OutboxHandle { commands_tx },
            pending,
            ledger,
        }
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
            if !closing {
                self.start_refreshes(now);
            }
            let deadline = self.next_deadline(closing);
            tokio::select! {
                command = self.commands_rx.recv(), if !closing => match command {
                    Some(command) => self.handle(command),
                    None => closing = true,
                },
                Some(ended) = self.attempts.join_next(), if !self.attempts.is_empty() => match ended {
                    Ok(Ended::Message { message, attempt }) => self.handle_ended(message, attempt),
                    Ok(Ended::Refresh { receiver, attempt }) => self.handle_refreshed(&receiver, attempt),
                    // An attempt has no way to be cancelled but the end of this task.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                },
                () = until(deadline), if deadline.is_some() => {}
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

    fn handle(&mut self, command: Command) {
        match command {
            Command::Deliver(notifications) => self.accept(notifications),
            Command::Routes(routes) => self.set_routes(routes),
            Command::Test {
                receiver,
                tested_tx,
            } => self.test(receiver, tested_tx),
            Command::Retry {
                receiver,
                id,
                retried_tx,
            } => {
                // Who asked may have gone.
                retried_tx.send(self.retry(&receiver, &id)).ok();
            }
        }
    }

    fn set_routes(&mut self, routes: Vec<Route>) {
        let now = clock::now();
        let mut old = std::mem::take(&mut self.routes);
        for route in routes {
            let name = route.receiver.name().to_owned();
            let mut lane = old.remove(&name).unwrap_or_else(|| Lane {
                queue: Queue::default(),
                limiter: Limiter::new(route.rate_limit, now),
                refresh: None,
                last_attempt: now,
                route: route.clone(),
            });
            lane.limiter.set(route.rate_limit, now);
            lane.refresh = match (lane.refresh.take(), route.receiver.resend()) {
                (Some(mut refresh), Some(every)) => {
                    refresh.set(every, now);
                    Some(refresh)
                }
                (None, Some(every)) => Some(Refresh::new(every, now)),
                (_, None) => None,
            };
            lane.route = route;
            self.metrics.create(&name);
            self.routes.insert(name, lane);
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
                continue;
            }
            self.ledger
                .put(&notification, NotificationState::Pending, None);
        }
    }

    fn start_due(&mut self, now: Instant) {
        let names: Vec<String> = self.routes.keys().cloned().collect();
        for name in names {
            if let Some(lane) = self.routes.get_mut(&name)
                && lane.look_at().is_some_and(|at| at <= now)
            {
                lane.queue.try_one(now);
                // Also when it cannot start yet: a deadline that has passed would be waited for in circles.
                lane.last_attempt = now;
            }
            for class in Class::ALL {
                self.start_due_of(&name, class, now);
            }
        }
    }

    /// Starts what its limit lets through. The last message that it lets through stands for all others that wait.
    fn start_due_of(&mut self, name: &str, class: Class, now: Instant) {
        while let Some(lane) = self.routes.get_mut(name) {
            let due = lane.queue.due_count(class, now);
            let available = lane.limiter.available(class, now);
            if due == 0 || available == 0 {
                return;
            }
            if available == 1 && due > 1 {
                lane.limiter.take(class);
                let together = lane.queue.take_all_due(class, now);
                self.put_together(name, together);
                continue;
            }
            let Some(message) = lane.queue.take_due(class, now) else {
                return;
            };
            lane.limiter.take(class);
            lane.last_attempt = now;
            let receiver = lane.route.receiver.clone();
            self.attempts.spawn(async move {
                let notification = &message.notification;
                let attempt = receiver
                    .attempt(&notification.id, &notification.message, wall::now())
                    .await;
                Ended::Message { message, attempt }
            });
        }
    }

    /// One message in the place of many.
    fn put_together(&mut self, receiver: &str, together: Vec<(Notification, News)>) {
        let wall_millis = wall::millis();
        self.digests += 1;
        let id = format!("digest.{wall_millis}.{}", self.digests);
        let (originals, news): (Vec<Notification>, Vec<News>) = together.into_iter().unzip();
        let digest = Digest::of(&news);
        info!(
            receiver,
            messages = digest.messages,
            "The limit of this receiver is used up; the messages that wait are put together"
        );
        let notification = fresh(id, receiver, Message::Digest(digest), wall_millis);
        let mut operations = vec![Operation::Notify(Box::new(notification.clone()))];
        for mut original in originals {
            self.metrics.digested(receiver);
            original.last_answer = Some(format!("part of {}", notification.id));
            let state = NotificationState::Digested;
            self.ledger.put(&original, state, Some(wall_millis));
            operations.push(progress(&original, state, wall_millis));
        }
        self.submit(operations, &notification.id);
        self.accept(vec![notification]);
    }

    fn start_refreshes(&mut self, now: Instant) {
        for (name, lane) in &mut self.routes {
            let Some(refresh) = &mut lane.refresh else {
                continue;
            };
            if !refresh.take_due(now) {
                continue;
            }
            let (name, receiver) = (name.clone(), lane.route.receiver.clone());
            let standings_rx = self.standings_rx.clone();
            self.attempts.spawn(async move {
                let current = || standing_of(&standings_rx.borrow(), &name);
                let attempt = receiver.refresh(current, wall::now()).await;
                Ended::Refresh {
                    receiver: name,
                    attempt,
                }
            });
        }
    }

    fn handle_refreshed(&mut self, receiver: &str, attempt: Attempt) {
        self.metrics.refreshed(receiver, &attempt);
        let Some(refresh) = self
            .routes
            .get_mut(receiver)
            .and_then(|lane| lane.refresh.as_mut())
        else {
            return;
        };
        let worked = attempt.is_delivered();
        let change = refresh.finished(worked, clock::now());
        let answer = attempt.answer();
        match change {
            Change::Broke => warn!(receiver, error = answer, "Cannot say again what stands"),
            Change::Mended => info!(receiver, answer, "What stands is said again"),
            Change::Same => debug!(receiver, answer, "Said again what stands"),
        }
    }

    fn handle_ended(&mut self, mut message: Waiting, attempt: Attempt) {
        let (now, wall_millis) = (clock::now(), wall::millis());
        message.notification.attempts += 1;
        message.refusals += u32::from(matches!(attempt, Attempt::Refused { .. }));
        let name = message.notification.receiver.clone();
        self.metrics.attempt(&name, &attempt);
        let key = (name.clone(), message.notification.id.clone());
        let asked = self.testers.remove(&key);
        let is_test = matches!(message.notification.message, Message::Test(_));
        if let Some(asked) = asked {
            let tested = Tested {
                id: key.1,
                delivered: attempt.is_delivered(),
                answer: attempt.clone().answer(),
            };
            // Who asked may have gone.
            asked.send(tested).ok();
        }
        let Some(lane) = self.routes.get_mut(&name) else {
            let reason = format!("the receiver {name} is no longer configured");
            if attempt.is_delivered() {
                self.record_delivered(message.notification, attempt.answer());
            } else {
                self.give_up(message.notification, reason);
            }
            return;
        };
        let age = Duration::from_millis(
            u64::try_from(wall_millis - message.notification.queued_at_millis).unwrap_or(0),
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
                lane.queue.finished(&message.notification);
                lane.queue.receiver_is_back(now, CATCH_UP);
                self.record_delivered(message.notification, attempt.answer());
            }
            Next::Retry(_) if is_test => {
                // Somebody watches: the answer counts, and a late success would only puzzle.
                lane.queue.finished(&message.notification);
                self.give_up(message.notification, attempt.answer());
            }
            Next::Retry(wait) => {
                let hopeful = matches!(attempt, Attempt::Later { after: None, .. });
                let reason = attempt.answer();
                let notification = &mut message.notification;
                if notification.attempts == 1 {
                    warn!(
                        receiver = name,
                        what = notification.message.title(),
                        error = reason,
                        ?wait,
                        "A notification was not delivered; trying again"
                    );
                }
                notification.next_attempt_millis =
                    wall_millis.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
                notification.last_answer = Some(reason);
                let (state, id) = (NotificationState::Pending, notification.id.clone());
                self.ledger.put(notification, state, None);
                let operation = progress(notification, state, wall_millis);
                lane.queue.again(message, now + wait, hopeful);
                self.submit(vec![operation], &id);
            }
            Next::GiveUp(reason) => {
                lane.queue.finished(&message.notification);
                self.give_up(message.notification, reason);
            }
        }
    }

    fn record_delivered(&mut self, mut notification: Notification, answer: String) {
        let wall_millis = wall::millis();
        debug!(
            receiver = notification.receiver,
            what = notification.message.title(),
            id = notification.id,
            "Notification delivered"
        );
        self.metrics
            .delivered(wall_millis - notification.created_at_millis);
        notification.last_answer = Some(answer);
        self.finish(&notification, NotificationState::Delivered, wall_millis);
    }

    fn give_up(&mut self, mut notification: Notification, reason: String) {
        warn!(
            receiver = notification.receiver,
            what = notification.message.title(),
            id = notification.id,
            reason,
            "A notification is given up"
        );
        self.metrics.dead();
        notification.last_answer = Some(reason);
        self.finish(&notification, NotificationState::Dead, wall::millis());
    }

    fn finish(&self, notification: &Notification, state: NotificationState, wall_millis: i64) {
        self.ledger.put(notification, state, Some(wall_millis));
        self.submit(
            vec![progress(notification, state, wall_millis)],
            &notification.id,
        );
    }

    /// Without waiting: a record that the store has no room for costs at most one more delivery with the same key after a
    /// restart.
    fn submit(&self, operations: Vec<Operation>, id: &str) {
        if !self.store.try_submit(operations) {
            warn!(
                id,
                "The store is too busy to record a delivery; after a restart it may be sent again"
            );
        }
    }

    fn count_pending(&self) {
        let mut total = 0;
        for (name, lane) in &self.routes {
            let waiting = lane.queue.len() as u64;
            self.metrics.pending(name, waiting);
            total += waiting;
        }
        self.pending.set(total);
    }

    /// When something may start next. While it closes, only what its limit holds up is waited for.
    fn next_deadline(&self, closing: bool) -> Option<Instant> {
        let now = clock::now();
        let of_lane = |lane: &Lane| {
            let messages = Class::ALL.into_iter().filter_map(|class| {
                if closing && !lane.queue.has_untried(class, now) {
                    return None;
                }
                let due = lane.queue.next_deadline(class)?;
                Some(lane.limiter.next(class).map_or(due, |next| next.max(due)))
            });
            let refresh = lane.refresh.as_ref().filter(|_| !closing);
            messages
                .chain(refresh.and_then(Refresh::next_deadline))
                .chain(lane.look_at().filter(|_| !closing))
                .min()
        };
        self.routes.values().filter_map(of_lane).min()
    }

    fn has_untried(&self, now: Instant) -> bool {
        let mut lanes = self.routes.values();
        lanes.any(|lane| {
            Class::ALL
                .into_iter()
                .any(|class| lane.queue.has_untried(class, now))
        })
    }
}
