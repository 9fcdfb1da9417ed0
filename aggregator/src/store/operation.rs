//! What can be written. Each operation is an upsert by its key: doing it twice is doing it once.

use meshprobe_core::path::Plane;

use crate::{
    incident::{IncidentChange, IncidentId, Transition},
    membership::StoreChange,
    silence::{Silence, SilenceId},
};

/// How far a notification got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotificationState {
    /// It will be tried (again).
    Pending,
    /// The receiver took it.
    Delivered,
    /// Given up; kept for people.
    Dead,
}

impl NotificationState {
    /// As it stands in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Delivered, Self::Dead]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// One message to one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The idempotency key: the same on every attempt and after every restart.
    pub id: String,
    /// The configured name of the receiver.
    pub receiver: String,
    /// What it is about. Messages about one incident stay in order.
    pub incident: IncidentId,
    /// What happened to the incident.
    pub transition: Transition,
    /// The exact bytes to send.
    pub body: Vec<u8>,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_at_millis: i64,
    /// Attempts so far.
    pub attempts: u32,
    /// Not to be tried before, milliseconds since the Unix epoch.
    pub next_attempt_millis: i64,
    /// How the last attempt failed.
    pub last_error: Option<String>,
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
        /// How the last attempt failed.
        last_error: Option<String>,
        /// When this was, milliseconds since the Unix epoch.
        at_millis: i64,
    },
    /// The mesh changed: a node, or how far its reports were taken.
    Mesh(StoreChange),
    /// A silence was made or ended.
    Silence(Box<Silence>),
    /// Nobody is told of an open incident, because it is silenced.
    Hold(IncidentId),
    /// People were told of it, or it ended unheard.
    Release(IncidentId),
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
    /// Whether an incident is held back.
    Held(IncidentId),
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
            Self::Hold(id) | Self::Release(id) => Some(Key::Held(id.clone())),
            Self::Incident(_) | Self::Notify(_) => None,
        }
    }
}
