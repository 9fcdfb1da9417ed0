//! What is told and what is not, against a real store and a receiver that counts.

use jiff::Timestamp;
use meshprobe_core::{finding::Pattern, ids::NodeName};

use crate::incident::{Incident, IncidentId, IncidentState, Severity};

/// An open node-dark incident of one node.
pub(crate) fn incident(node: &str, opened_at: Timestamp) -> Incident {
    let nodes = vec![NodeName::try_from(node).unwrap()];
    Incident {
        id: IncidentId::of_nodes(Pattern::NodeDark, &nodes),
        pattern: Pattern::NodeDark,
        nodes,
        zones: vec!["z1".to_owned()],
        plane: None,
        state: IncidentState::Open,
        severity: Severity::Critical,
        summary: format!("{node} is dark"),
        evidence: vec!["no peer reaches it".to_owned()],
        started_at: opened_at,
        opened_at,
        updated_at: opened_at,
        resolved_at: None,
        reopened: 0,
    }
}
