//! One receiver's part of the outbox, and the small change of notifications.

use std::time::{Duration, Instant};

use super::{Route, limit::Limiter, queue::Queue, refresh::Refresh};
use crate::{
    notify::Standings,
    receiver::{Message, News},
    store::{Notification, NotificationState, Operation},
};

/// While messages wait for a receiver that is down, one of them is tried so often, however long they have to wait each:
/// when the receiver is back, everything follows within this time.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A receiver with everything that waits for it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) route: Route,
    pub(super) queue: Queue,
    pub(super) limiter: Limiter,
    pub(super) refresh: Option<Refresh>,
    pub(super) last_attempt: Instant,
}

impl Lane {
    /// When one of the messages that wait is to find out whether the receiver is back.
    pub(super) fn look_at(&self) -> Option<Instant> {
        let waits = self.queue.has_hopeful();
        waits.then(|| self.last_attempt + LOOK_EVERY)
    }
}

/// What stands for one receiver.
pub(super) fn standing_of(standings: &Standings, receiver: &str) -> Vec<News> {
    standings
        .iter()
        .filter(|standing| standing.receivers.iter().any(|name| name == receiver))
        .map(|standing| standing.news.clone())
        .collect()
}

pub(super) fn fresh(
    id: String,
    receiver: &str,
    message: Message,
    wall_millis: i64,
) -> Notification {
    Notification {
        id,
        receiver: receiver.to_owned(),
        message,
        created_at_millis: wall_millis,
        queued_at_millis: wall_millis,
        attempts: 0,
        next_attempt_millis: wall_millis,
        last_answer: None,
    }
}

pub(super) fn progress(
    notification: &Notification,
    state: NotificationState,
    at_millis: i64,
) -> Operation {
    Operation::Progress {
        receiver: notification.receiver.clone(),
        id: notification.id.clone(),
        state,
        attempts: notification.attempts,
        next_attempt_millis: notification.next_attempt_millis,
        queued_at_millis: notification.queued_at_millis,
        last_answer: notification.last_answer.clone(),
        at_millis,
    }
}
