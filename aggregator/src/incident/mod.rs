//! An incident: one failure over time, from its opening to its end, under one stable identity.
//!
//! Pure: the judge feeds declarations in, [`IncidentBook`] returns [`IncidentChange`]s. A change and the notification
//! about it are written in one transaction by the notifier, so neither exists without the other.

mod book;
mod id;
mod sentence;
#[cfg(test)]
mod tests;

use std::fmt;

use jiff::Timestamp;
use meshprobe_core::finding::Pattern;
use meshprobe_core::ids::NodeName;
use meshprobe_core::path::Plane;
use serde::{Deserialize, Serialize};

pub use book::{BookConfig, Declared, DeclaredNode, IncidentBook};
pub use id::{IncidentId, IncidentIdError};

/// Is the failure still there?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IncidentState {
    /// Yes.
    Open,
    /// It ended; the same failure opens the same incident again.
    Resolved,
}

impl IncidentState {
    /// As label and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resolved => "resolved",
        }
    }
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// To be looked at in working hours.
    Warning,
    /// Somebody is woken up.
    Critical,
}

impl Severity {
    /// As label and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// How much this pattern matters.
    ///
    /// Critical is what takes workloads down now; a prober that crashed or a cut way home blinds us but hurts nobody yet.
    pub const fn of(pattern: Pattern) -> Self {
        match pattern {
            Pattern::NodeDark
            | Pattern::ZoneDark
            | Pattern::Isolated
            | Pattern::IngressDead
            | Pattern::EgressDead => Self::Critical,
            _ => Self::Warning,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One failure over time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Stable over updates, restarts and replicas.
    pub id: IncidentId,
    /// Which shape the failure has.
    pub pattern: Pattern,
    /// The nodes that it names, by name. When it is resolved: those that it last named.
    pub nodes: Vec<NodeName>,
    /// The zones of these nodes, by name, without the unknown one.
    pub zones: Vec<String>,
    /// The plane that is broken while another one works; `None`: no plane is known to work.
    pub plane: Option<Plane>,
    /// Open or resolved.
    pub state: IncidentState,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence.
    pub summary: String,
    /// What backs it, a sentence each.
    pub evidence: Vec<String>,
    /// When the failure began, as far as measured.
    pub started_at: Timestamp,
    /// When it was opened (the last time).
    pub opened_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it ended; `None` while it is open.
    pub resolved_at: Option<Timestamp>,
    /// How often it was opened again.
    pub reopened: u32,
}

/// What happened to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transition {
    /// It is new.
    Opened,
    /// It was resolved and is open again.
    Reopened,
    /// It is open and says something else than before.
    Updated,
    /// It ended.
    Resolved,
}

impl Transition {
    /// As label and text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Reopened => "reopened",
            Self::Updated => "updated",
            Self::Resolved => "resolved",
        }
    }
}

/// A change of an incident: what the notifier writes down and tells people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentChange {
    /// What happened.
    pub transition: Transition,
    /// The incident after it.
    pub incident: Incident,
}
