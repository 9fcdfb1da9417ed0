//! What is told and what is not, against a real store and a receiver that counts.

use jiff::Timestamp;
use meshprobe_core::{
    finding::{Pattern, Scope},
    ids::NodeName,
};

use crate::incident::Incident;

/// An open node-dark incident of one node.
pub(crate) fn incident(node: &str, opened_at: Timestamp) -> Incident {
    let scope = Scope::node(NodeName::try_from(node).unwrap());
    Incident {
        zones: vec!["z1".to_owned()],
        summary: format!("{node} is dark"),
        evidence: vec!["no peer reaches it".to_owned()],
        ..Incident::new(Pattern::NodeDark, scope, opened_at)
    }
}
