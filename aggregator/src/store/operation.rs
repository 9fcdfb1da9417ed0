//! What can be written. Each operation is an upsert by its key: doing it twice is doing it once.

use meshprobe_core::path::Plane;

use crate::{
    incident::{IncidentChange, IncidentId},
    membership::StoreChange,
    notify::ToldRecord,
    receiver::Message,
    silence::{Silence, SilenceId},
};

/// How far a notification got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotificationState {
    /// It will be tried (again).
    Pending,
    /// The receiver took it.
    Delivered,
    /// Its receiver's limit was used up; what it says is part of another one.
    Digested,
    /// Given up; kept for people.
    Dead,
}

impl NotificationState {
    /// As it stands in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Digested => "digested",
            Self::Dead => "dead",
        }
    }

    /// The state that stands in the table so.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Pending, Self::Delivered, Self::Digested, Self::Dead];
        all.into_iter().find(|state| state.as_str() == name)
    }
}

/// One message to one receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Notification {
    /// The idempotency key: the same on every attempt and after every restart.
    pub id: String,
    /// The configured name of the receiver.
    pub receiver: String,
    /// What is said. Messages about one incident stay in order.
    pub message: Message,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_millis: i64,
    /// From when on its time without success counts: when it was made, or tried again by hand.
    pub queued_at_millis: i64,
    /// Attempts so far.
    pub attempts: u32,
    /// Not to be tried before, milliseconds since the Unix epoch.
    pub next_attempt_millis: i64,
    /// How the last attempt failed; of a delivered one, what the receiver answered.
    pub last_answer: Option<String>,
}

/// A notification that is done with.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// The notification.
    pub notification: Notification,
    /// How it ended.
    pub state: NotificationState,
    /// When, milliseconds since the Unix epoch.
    pub at_millis: i64,
}

/// One change of the store.
#[derive(Clone, Debug)]
pub enum Operation {
    /// An incident changed: its row and a line of its timeline.
    Incident(Box<IncidentChange>),
    /// A notification was made.
    Notify(Box<Notification>),
    /// A notification was tried, delivered or given up.
    Progress {
        /// Whose it is.
        receiver: String,
        /// Its idempotency key.
        id: String,
        /// How far it got.
        state: NotificationState,
        /// Attempts so far.
        attempts: u32,
        /// Not to be tried before, milliseconds since the Unix epoch.
        next_attempt_millis: i64,
        /// From when on its time without success counts, milliseconds since the Unix epoch.
        queued_at_millis: i64,
        /// How the last attempt failed, or what the receiver answered.
        last_answer: Option<String>,
        /// When this was, milliseconds since the Unix epoch.
        at_millis: i64,
    },
    /// What people know of an incident changed; `None`: they know nothing that has to be remembered.
    Told {
        /// Which incident.
        incident: IncidentId,
        /// What is remembered.
        record: Option<Box<ToldRecord>>,
    },
    /// The mesh changed: a node, or how far its reports were taken.
    Mesh(StoreChange),
    /// A silence was made or ended.
    Silence(Box<Silence>),
}

/// What an operation replaces when both wait in memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The last word on a node.
    Node(String),
    /// The last word on a prober's reports.
    Reports { node: String, plane: Plane },
    /// The last word on a notification.
    Progress { receiver: String, id: String },
    /// The last word on a silence.
    Silence(SilenceId),
    /// The last word on what people know.
    Told(IncidentId),
}

impl Operation {
    /// `None`: it replaces nothing, every one of them counts.
    pub(super) fn key(&self) -> Option<Key> {
        match self {
            Self::Mesh(StoreChange::Node(record)) => Some(Key::Node(record.name.to_string())),
            Self::Mesh(StoreChange::Forget(name)) => Some(Key::Node(name.to_string())),
            Self::Mesh(StoreChange::Progress(progress)) => Some(Key::Reports {
                node: progress.node.to_string(),
                plane: progress.plane,
            }),
            Self::Progress { receiver, id, .. } => Some(Key::Progress {
                receiver: receiver.clone(),
                id: id.clone(),
            }),
            Self::Silence(silence) => Some(Key::Silence(silence.id.clone())),
            Self::Told { incident, .. } => Some(Key::Told(incident.clone())),
            Self::Incident(_) | Self::Notify(_) => None,
        }
    }
}
