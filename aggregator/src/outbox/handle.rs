//! What the rest of the process asks of the outbox.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{mpsc, oneshot};

use super::Route;
use crate::store::Notification;

/// A demand on the task.
#[derive(Debug)]
pub(super) enum Command {
    Deliver(Vec<Notification>),
    Routes(Vec<Route>),
    Test {
        receiver: String,
        tested_tx: oneshot::Sender<Tested>,
    },
    Retry {
        receiver: String,
        id: String,
        retried_tx: oneshot::Sender<Retried>,
    },
}

/// What a test found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// The key of the test.
    pub id: String,
    /// Whether the receiver took it.
    pub delivered: bool,
    /// What the receiver said, or why it could not be asked.
    pub answer: String,
}

/// What became of the wish to try a notification again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It is tried now.
    Now,
    /// It is being tried at this moment.
    InFlight,
    /// Its receiver took it already, or it is part of a digest.
    Done,
    /// Its receiver is no longer configured.
    NoReceiver,
    /// There is no such notification.
    Unknown,
}

/// Hands messages to the task.
#[derive(Clone, Debug)]
pub struct OutboxHandle {
    pub(super) commands_tx: mpsc::Sender<Command>,
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

    /// Sends a test the way of every notification and waits for the receiver's answer. One attempt is made. `None`: there
    /// is no such receiver, or the task has ended.
    pub async fn test(&self, receiver: String) -> Option<Tested> {
        let (tested_tx, tested_rx) = oneshot::channel();
        self.send(Command::Test {
            receiver,
            tested_tx,
        })
        .await;
        tested_rx.await.ok()
    }

    /// Tries a notification now that waits or was given up.
    pub async fn retry(&self, receiver: String, id: String) -> Retried {
        let (retried_tx, retried_rx) = oneshot::channel();
        self.send(Command::Retry {
            receiver,
            id,
            retried_tx,
        })
        .await;
        retried_rx.await.unwrap_or(Retried::Unknown)
    }

    async fn send(&self, command: Command) {
        // The task outlives every handle.
        self.commands_tx.send(command).await.ok();
    }

    /// The same, without keeping the task alive: for who only asks.
    pub fn downgrade(&self) -> WeakOutbox {
        WeakOutbox(self.commands_tx.downgrade())
    }
}

/// A handle that does not keep the task from ending.
#[derive(Clone, Debug)]
pub struct WeakOutbox(mpsc::WeakSender<Command>);

impl WeakOutbox {
    /// A handle to a task that has ended.
    #[cfg(test)]
    pub(crate) fn gone() -> Self {
        Self(mpsc::channel(1).0.downgrade())
    }

    /// A handle for one question; `None`: the task is about to end.
    pub fn upgrade(&self) -> Option<OutboxHandle> {
        let commands_tx = self.0.upgrade()?;
        Some(OutboxHandle { commands_tx })
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

    pub(super) fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }
}
