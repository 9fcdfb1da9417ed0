//! An incident: one failure over time, from its opening to its end, under one stable identity.
//!
//! Pure: the judge feeds in what the dark-node detector declares and what the diagnosis finds, [`IncidentBook`] returns
//! [`IncidentChange`]s. A change and the notification about it are written in one transaction by the notifier, so neither
//! exists without the other.

mod book;
mod cover;
mod findings;
mod id;
mod sentence;
mod severity;
mod statement;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use meshprobe_core::finding::{
    Alternative, Confidence, Estimate, Finding, NamedPath, Pattern, Place, Scope,
};
use meshprobe_core::ids::NodeName;
use meshprobe_core::path::Plane;
use serde::{Deserialize, Serialize};

pub use book::{BookConfig, Declared, DeclaredNode, IncidentBook, Opens};
pub use findings::Look;
pub(crate) use findings::is_found;
pub use id::{IncidentId, IncidentIdError};
pub use severity::Severity;
pub(crate) use statement::actions;

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

/// One failure over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Stable over updates, restarts and replicas.
    pub id: IncidentId,
    /// Which shape the failure has.
    pub pattern: Pattern,
    /// What it blames. Of an incident that a former version stored: [`Scope::everywhere`] until it is [completed](Self::completed).
    #[serde(default = "Scope::everywhere")]
    pub scope: Scope,
    /// The nodes that it names, by name. When it is resolved: those that it last named.
    pub nodes: Vec<NodeName>,
    /// The zones of these nodes and those that it names itself, by name, without the unknown one.
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
    /// The share that is lost (or slow, or refused); `None`: it is not about a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Estimate>,
    /// How sure the cause is.
    #[serde(default = "likely")]
    pub confidence: Confidence,
    /// What else it could be.
    #[serde(default)]
    pub alternatives: Vec<Alternative>,
    /// What speaks against it, a sentence each.
    #[serde(default)]
    pub counter_examples: Vec<String>,
    /// What to do first, a line each.
    #[serde(default)]
    pub first_actions: Vec<String>,
    /// Some of the paths that fail.
    #[serde(default)]
    pub paths: Vec<NamedPath>,
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

const fn likely() -> Confidence {
    Confidence::Likely
}

impl Incident {
    /// An open incident with nothing but its identity.
    pub fn new(pattern: Pattern, scope: Scope, opened_at: Timestamp) -> Self {
        Self {
            id: IncidentId::of(pattern, &scope),
            pattern,
            nodes: scope.named_nodes(),
            scope,
            zones: Vec::new(),
            plane: None,
            state: IncidentState::Open,
            severity: Severity::of(pattern, None),
            summary: String::new(),
            evidence: Vec::new(),
            loss: None,
            confidence: Confidence::Certain,
            alternatives: Vec::new(),
            counter_examples: Vec::new(),
            first_actions: Vec::new(),
            paths: Vec::new(),
            started_at: opened_at,
            opened_at,
            updated_at: opened_at,
            resolved_at: None,
            reopened: 0,
        }
    }

    /// What it says, as a finding without its beginning.
    pub fn as_finding(&self) -> Finding {
        Finding {
            plane: self.plane,
            loss: self.loss,
            confidence: self.confidence,
            alternatives: self.alternatives.clone(),
            evidence: self.evidence.clone(),
            counter_examples: self.counter_examples.clone(),
            paths: self.paths.clone(),
            ..Finding::new(self.pattern, self.scope.clone(), self.summary.clone())
        }
    }

    /// The same with the scope that its other fields imply, if it was stored without one.
    #[must_use]
    pub fn completed(mut self) -> Self {
        if self.scope == Scope::everywhere() {
            self.scope = match (self.pattern, self.zones.as_slice()) {
                (Pattern::ZoneDark, [zone]) => Scope::of(Place::Zone(zone.clone())),
                _ if self.nodes.is_empty() => Scope::everywhere(),
                _ => Scope::nodes(self.nodes.clone()),
            };
        }
        self
    }
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
    /// It is open and what is measured of it is known better: its estimate, its evidence. Lists show that; nobody is told.
    Refined,
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
            Self::Refined => "refined",
            Self::Resolved => "resolved",
        }
    }
}

/// A change of an incident: what the notifier writes down and tells people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentChange {
    /// What happened.
    pub transition: Transition,
    /// The incident after it.
    pub incident: Incident,
}
