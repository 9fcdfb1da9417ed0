//! What a finding blames.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::NodeName;
use crate::path::{Family, ProbeKind};

/// Where in the mesh.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// From every node, or no place at all.
    Everywhere,
    /// These nodes, by name.
    Nodes(Vec<NodeName>),
    /// All nodes of a zone, towards everybody else.
    Zone(String),
    /// Two zones.
    ZonePair {
        /// The zone that sends; of a pair that is broken both ways, the first by name.
        from: String,
        /// The zone that is sent to.
        to: String,
        /// Both ways.
        both_ways: bool,
    },
    /// From one node to another.
    Path {
        /// The node that sends.
        from: NodeName,
        /// The node that is sent to.
        to: NodeName,
    },
}

/// Everything that a finding blames: a place, and what of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// Where.
    pub place: Place,
    /// Only this kind of probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ProbeKind>,
    /// Only this address family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// This target that is no node: a DNS server, a name, a service, a target outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

impl Scope {
    /// All of a place.
    pub const fn of(place: Place) -> Self {
        Self {
            place,
            kind: None,
            family: None,
            target: None,
        }
    }

    /// From every node.
    pub const fn everywhere() -> Self {
        Self::of(Place::Everywhere)
    }

    /// One node.
    pub fn node(name: NodeName) -> Self {
        Self::of(Place::Nodes(vec![name]))
    }

    /// These nodes.
    pub fn nodes(mut names: Vec<NodeName>) -> Self {
        names.sort_unstable();
        names.dedup();
        Self::of(Place::Nodes(names))
    }

    /// One way from a node to another.
    pub const fn path(from: NodeName, to: NodeName) -> Self {
        Self::of(Place::Path { from, to })
    }

    /// From one zone to another, one way.
    pub fn zone_pair(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self::of(Place::ZonePair {
            from: from.into(),
            to: to.into(),
            both_ways: false,
        })
    }

    /// Between two zones, both ways; the order does not matter.
    pub fn zones(one: impl Into<String>, other: impl Into<String>) -> Self {
        let (one, other) = (one.into(), other.into());
        let (from, to) = if one <= other {
            (one, other)
        } else {
            (other, one)
        };
        Self::of(Place::ZonePair {
            from,
            to,
            both_ways: true,
        })
    }

    /// A target, from everywhere.
    pub fn target(name: impl Into<String>) -> Self {
        Self::everywhere().with_target(name)
    }

    /// The same, for a target alone.
    #[must_use]
    pub fn with_target(mut self, name: impl Into<String>) -> Self {
        self.target = Some(name.into());
        self
    }

    /// The same, for a kind alone.
    #[must_use]
    pub const fn with_kind(mut self, kind: ProbeKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// The same, for a family alone.
    #[must_use]
    pub const fn with_family(mut self, family: Family) -> Self {
        self.family = Some(family);
        self
    }

    /// The nodes that it names.
    pub fn named_nodes(&self) -> Vec<NodeName> {
        match &self.place {
            Place::Nodes(nodes) => nodes.clone(),
            Place::Path { from, to } => vec![from.clone(), to.clone()],
            Place::Everywhere | Place::Zone(_) | Place::ZonePair { .. } => Vec::new(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everywhere => f.write_str("everywhere"),
            Self::Nodes(nodes) => {
                for (i, node) in nodes.iter().enumerate() {
                    let comma = if i == 0 { "" } else { "," };
                    write!(f, "{comma}{node}")?;
                }
                Ok(())
            }
            Self::Zone(zone) => write!(f, "zone {zone}"),
            Self::ZonePair {
                from,
                to,
                both_ways,
            } => {
                let arrow = if *both_ways { '↔' } else { '→' };
                write!(f, "{from}{arrow}{to}")
            }
            Self::Path { from, to } => write!(f, "{from}→{to}"),
        }
    }
}

/// As people, scenario files and the command line write it: `mesh-3`, `mesh-1→mesh-2`, `zone-a↔zone-b`, `everywhere`,
/// `shop`, `mesh-3 udp`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            kind,
            family,
            target,
        } = self;
        match (place, target) {
            (Place::Everywhere, Some(target)) => f.write_str(target)?,
            (place, Some(target)) => write!(f, "{place} {target}")?,
            (place, None) => write!(f, "{place}")?,
        }
        if let Some(kind) = kind {
            write!(f, " {kind}")?;
        }
        if let Some(family) = family {
            write!(f, " {family}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::try_from(text).unwrap()
    }

    #[test]
    fn scopes_read_as_people_write_them() {
        let cases = [
            (Scope::everywhere(), "everywhere"),
            (Scope::node(name("b")), "b"),
            (Scope::nodes(vec![name("b"), name("a"), name("b")]), "a,b"),
            (Scope::path(name("a"), name("b")), "a→b"),
            (Scope::zones("y", "x"), "x↔y"),
            (Scope::zone_pair("y", "x"), "y→x"),
            (Scope::target("shop"), "shop"),
            (Scope::node(name("a")).with_target("shop"), "a shop"),
            (Scope::node(name("a")).with_kind(ProbeKind::Udp), "a udp"),
            (Scope::everywhere().with_family(Family::V6), "everywhere v6"),
        ];
        for (scope, text) in cases {
            assert_eq!(scope.to_string(), text);
            let json = serde_json::to_string(&scope).unwrap();
            assert_eq!(serde_json::from_str::<Scope>(&json).unwrap(), scope);
        }
    }
}
