//! The identity of an incident: a hash of its pattern and scope.
//!
//! Nobody hands identities out, so every replica, and the same replica after a restart, gives the same failure the same
//! one. A failure that ends and comes back is the same incident, opened again.

use std::fmt;

use meshprobe_core::finding::{Pattern, Place, Scope};
use meshprobe_core::ids::NodeName;
use serde::{Deserialize, Serialize};

/// Sixteen hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IncidentId(String);

/// Why a text is no incident identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an incident's id is 16 hexadecimal digits in lower case, not {0:?}")]
pub struct IncidentIdError(String);

/// Octets of the hash that are kept: 64 bits tell 10⁶ incidents apart with a chance of 10⁻⁸ that any two are mixed up.
const KEPT: usize = 8;

impl IncidentId {
    /// The identity of what is wrong with a scope.
    pub fn of(pattern: Pattern, scope: &Scope) -> Self {
        let Scope {
            place,
            kind,
            family,
            target,
        } = scope;
        let (word, mut names) = match place {
            Place::Everywhere => ("mesh", Vec::new()),
            Place::Zone(zone) => ("zone", vec![zone.clone()]),
            Place::Nodes(nodes) => ("nodes", nodes.iter().map(ToString::to_string).collect()),
            Place::Path { from, to } => ("path", vec![from.to_string(), to.to_string()]),
            Place::ZonePair {
                from,
                to,
                both_ways: true,
            } => ("zones", vec![from.clone(), to.clone()]),
            Place::ZonePair {
                from,
                to,
                both_ways: false,
            } => ("zone-pair", vec![from.clone(), to.clone()]),
        };
        if matches!(place, Place::Nodes(_)) {
            names.sort_unstable();
        }
        // No node's name has an equals sign; the other places have a fixed number of lines.
        names.extend(kind.map(|kind| format!("kind={kind}")));
        names.extend(family.map(|family| format!("family={family}")));
        names.extend(target.as_ref().map(|target| format!("target={target}")));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        Self::hash(pattern, word, &names)
    }

    /// The identity of a failure of these nodes.
    pub fn of_nodes<'a>(pattern: Pattern, nodes: impl IntoIterator<Item = &'a NodeName>) -> Self {
        let mut names: Vec<&str> = nodes.into_iter().map(NodeName::as_str).collect();
        names.sort_unstable();
        Self::hash(pattern, "nodes", &names)
    }

    /// The identity of a failure of a whole zone.
    pub fn of_zone(pattern: Pattern, zone: &str) -> Self {
        Self::hash(pattern, "zone", &[zone])
    }

    /// The identity of a failure that has no scope but the mesh.
    pub fn of_mesh(pattern: Pattern) -> Self {
        Self::hash(pattern, "mesh", &[])
    }

    /// Scopes are joined by a line feed, which neither node names nor zones nor targets can contain.
    fn hash(pattern: Pattern, scope: &str, names: &[&str]) -> Self {
        let mut text = format!("{pattern}\n{scope}");
        for name in names {
            text.push('\n');
            text.push_str(name);
        }
        let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
        let mut kept = [0; KEPT];
        kept.copy_from_slice(&digest.as_ref()[..KEPT]);
        Self(format!("{:016x}", u64::from_be_bytes(kept)))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for IncidentId {
    type Error = IncidentIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits && text.len() == 2 * KEPT {
            Ok(Self(text))
        } else {
            Err(IncidentIdError(text))
        }
    }
}

impl From<IncidentId> for String {
    fn from(id: IncidentId) -> Self {
        id.0
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use meshprobe_core::path::{Family, ProbeKind};

    use super::*;

    fn name(text: &str) -> NodeName {
        NodeName::try_from(text).unwrap()
    }

    #[test]
    fn the_identity_of_a_failure_never_changes_between_versions() {
        let id = IncidentId::of_nodes(Pattern::NodeDark, [&name("mesh-3")]);
        assert_eq!(id.as_str(), "43c21ae5ddbb8461");
    }

    #[test]
    fn a_scope_without_a_filter_has_the_identity_of_its_nodes_its_zone_or_the_mesh() {
        let (a, b) = (name("a"), name("b"));
        let of = |scope| IncidentId::of(Pattern::NodeDark, &scope);
        assert_eq!(
            of(Scope::nodes(vec![b.clone(), a.clone()])),
            IncidentId::of_nodes(Pattern::NodeDark, [&a, &b])
        );
        assert_eq!(
            of(Scope::of(Place::Zone("z".to_owned()))),
            IncidentId::of_zone(Pattern::NodeDark, "z")
        );
        assert_eq!(
            of(Scope::everywhere()),
            IncidentId::of_mesh(Pattern::NodeDark)
        );
    }

    #[test]
    fn every_part_of_a_scope_counts() {
        let (a, b) = (name("a"), name("b"));
        let scopes = [
            Scope::everywhere(),
            Scope::target("a"),
            Scope::target("nodes"),
            Scope::node(a.clone()),
            Scope::node(a.clone()).with_target("b"),
            Scope::nodes(vec![a.clone(), b.clone()]),
            Scope::path(a.clone(), b.clone()),
            Scope::path(b, a.clone()),
            Scope::zones("a", "b"),
            Scope::zone_pair("a", "b"),
            Scope::zone_pair("b", "a"),
            Scope::of(Place::Zone("a".to_owned())),
            Scope::node(a.clone()).with_kind(ProbeKind::Udp),
            Scope::node(a.clone()).with_kind(ProbeKind::Tcp),
            Scope::node(a).with_family(Family::V6),
        ];
        let ids: std::collections::BTreeSet<_> = scopes
            .iter()
            .map(|scope| IncidentId::of(Pattern::Path, scope))
            .collect();
        assert_eq!(ids.len(), scopes.len());
    }

    #[test]
    fn the_order_of_the_nodes_does_not_matter() {
        let (a, b) = (name("a"), name("b"));
        assert_eq!(
            IncidentId::of_nodes(Pattern::NodeDark, [&a, &b]),
            IncidentId::of_nodes(Pattern::NodeDark, [&b, &a])
        );
    }

    #[test]
    fn another_pattern_or_scope_is_another_incident() {
        let a = name("a");
        let ids = [
            IncidentId::of_nodes(Pattern::NodeDark, [&a]),
            IncidentId::of_nodes(Pattern::Isolated, [&a]),
            IncidentId::of_nodes(Pattern::NodeDark, [&name("b")]),
            IncidentId::of_zone(Pattern::NodeDark, "a"),
            IncidentId::of_mesh(Pattern::NodeDark),
        ];
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    #[test]
    fn only_sixteen_small_hexadecimal_digits_are_an_identity() {
        assert!(IncidentId::try_from("0123456789abcdef".to_owned()).is_ok());
        assert!(IncidentId::try_from("0123456789ABCDEF".to_owned()).is_err());
        assert!(IncidentId::try_from("0123".to_owned()).is_err());
    }
}
