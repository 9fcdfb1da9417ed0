//! What people ask of the outbox: a test of the way, and one more attempt.

use meshprobe_daemon::clock;
use tokio::sync::oneshot;
use tracing::info;

use super::{Outbox, Retried, Tested, fresh, progress};
use crate::{
    receiver::{Message, Test},
    store::{NotificationState, Operation},
    wall,
};

impl Outbox {
    /// Sends a test: the way of every notification, with one attempt.
    pub(super) fn test(&mut self, receiver: String, tested_tx: oneshot::Sender<Tested>) {
        if !self.routes.contains_key(&receiver) {
            // The dropped end says that there is no such receiver.
            return;
        }
        let wall_millis = wall::millis();
        let id = format!("test.{wall_millis}.{}", self.testers.len());
        let message = Message::Test(Test { at: wall::now() });
        let notification = fresh(id, &receiver, message, wall_millis);
        self.submit(
            vec![Operation::Notify(Box::new(notification.clone()))],
            &notification.id,
        );
        self.testers
            .insert((receiver, notification.id.clone()), tested_tx);
        self.accept(vec![notification]);
    }

    pub(super) fn retry(&mut self, receiver: &str, id: &str) -> Retried {
        let Some(record) = self.ledger.one(receiver, id) else {
            return Retried::Unknown;
        };
        let Some(lane) = self.routes.get_mut(receiver) else {
            return Retried::NoReceiver;
        };
        match record.state {
            NotificationState::Delivered | NotificationState::Digested => Retried::Done,
            NotificationState::Pending => {
                if lane.queue.hurry(id, clock::now()) {
                    Retried::Now
                } else {
                    Retried::InFlight
                }
            }
            NotificationState::Dead => {
                let wall_millis = wall::millis();
                let mut notification = record.notification;
                notification.attempts = 0;
                notification.queued_at_millis = wall_millis;
                notification.next_attempt_millis = wall_millis;
                info!(
                    receiver,
                    id, "A notification that was given up is tried again"
                );
                self.metrics.revived();
                let state = NotificationState::Pending;
                self.submit(vec![progress(&notification, state, wall_millis)], id);
                self.accept(vec![notification]);
                Retried::Now
            }
        }
    }
}
