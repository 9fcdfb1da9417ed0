//! Identities: nodes, zones, prober starts, report numbers, STAMP sessions.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest node name: that of a DNS name, which Kubernetes node names are.
pub const NODE_NAME_MAX: usize = 253;

/// A node's name. One to 253 characters out of `a-z 0-9 . -`, as Kubernetes has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(String);

/// Why a text is no node name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeNameError {
    /// The text is empty.
    #[error("a node name must not be empty")]
    Empty,
    /// The text has more than [`NODE_NAME_MAX`] characters.
    #[error("a node name has at most {NODE_NAME_MAX} characters, this one has {0}")]
    TooLong(usize),
    /// The text has a character that node names do not have.
    #[error("a node name has only a-z, 0-9, '.' and '-', this one has {0:?}")]
    Character(char),
}

impl NodeName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for NodeName {
    type Error = NodeNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() {
            return Err(NodeNameError::Empty);
        }
        if text.len() > NODE_NAME_MAX {
            return Err(NodeNameError::TooLong(text.len()));
        }
        let allowed = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-');
        match text.chars().find(|c| !allowed(*c)) {
            Some(c) => Err(NodeNameError::Character(c)),
            None => Ok(Self(text)),
        }
    }
}

impl TryFrom<&str> for NodeName {
    type Error = NodeNameError;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        Self::try_from(text.to_owned())
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A node's row and column number in the aggregator's matrices. Dense, stable while the aggregator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeIndex(pub u32);

impl NodeIndex {
    /// For indexing arrays.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A zone's number in the aggregator's topology. Zone 0 is "unknown".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ZoneIndex(pub u16);

/// A prober's start, in microseconds since the Unix epoch: a restarted prober has a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// Number of a report inside an incarnation: 1, 2, 3, … without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReportSequence(pub u64);

/// STAMP session identifier (RFC 8972 §3) that the aggregator gives each prober. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ssid(pub u16);

/// A prober's own small number for a target (see `Dictionary` on the wire).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetNumber(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_those_of_kubernetes() {
        assert!(NodeName::try_from("mesh-1.example").is_ok());
        assert_eq!(NodeName::try_from(""), Err(NodeNameError::Empty));
        assert_eq!(
            NodeName::try_from("a b"),
            Err(NodeNameError::Character(' '))
        );
        assert_eq!(
            NodeName::try_from("x".repeat(254)),
            Err(NodeNameError::TooLong(254))
        );
    }
}
