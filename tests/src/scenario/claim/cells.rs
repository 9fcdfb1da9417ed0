//! Cells of a matrix by their ends: `{from: victim}`, `{from: zone-a, to: zone-b}`, `{from: victim, target: "dns-1/*"}`.
//!
//! `from` and `to` are a role or a zone. Where the columns are no nodes, `to` means the servers that run there. `target` is
//! a column's name, in which `*` stands for anything. What is not written is any.

use std::fmt;

use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::grid::Grid;
use super::ground::Ground;
use crate::scenario::cast::Cast;

/// A word is neither a role nor a zone.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is no role and no zone; the roles are {roles}, the zones {zones}")]
pub struct UnknownEnd {
    word: String,
    roles: String,
    zones: String,
}

/// Some cells of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cells {
    pub from: Option<String>,
    pub to: Option<String>,
    pub target: Option<String>,
}

/// A list of [`Cells`], or `all`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CellList(pub Vec<Cells>);

impl<'de> Deserialize<'de> for CellList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrAll;

        impl<'de> Visitor<'de> for ListOrAll {
            type Value = CellList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`all`, or a list such as [{from: victim}, {to: victim}]")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<CellList, E> {
                if text == "all" {
                    return Ok(CellList(vec![Cells::default()]));
                }
                Err(E::custom(format!(
                    "`{text}` names no cells: write `all`, or a list such as [{{from: victim}}, {{to: victim}}]"
                )))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<CellList, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(CellList)
            }
        }

        deserializer.deserialize_any(ListOrAll)
    }
}

/// One end, with a node in the place of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Node(String),
    Zone(String),
}

impl End {
    fn resolve(word: &str, cast: &Cast, ground: &Ground) -> Result<Self, UnknownEnd> {
        if let Ok(node) = cast.node(word) {
            return Ok(Self::Node(node.to_owned()));
        }
        if ground.zones.iter().any(|zone| zone == word) {
            return Ok(Self::Zone(word.to_owned()));
        }
        let roles: Vec<&str> = cast.iter().map(|(role, _)| role).collect();
        Err(UnknownEnd {
            word: word.to_owned(),
            roles: roles.join(", "),
            zones: ground.zones.join(", "),
        })
    }

    fn is(&self, node: &str, zone: &str) -> bool {
        match self {
            Self::Node(wanted) => wanted == node,
            Self::Zone(wanted) => wanted == zone,
        }
    }
}

/// Some cells, with nodes in the place of roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedCells {
    from: Option<End>,
    to: Option<End>,
    target: Option<String>,
    text: String,
}

impl Cells {
    /// With nodes in the place of roles.
    pub fn resolve(&self, cast: &Cast, ground: &Ground) -> Result<ResolvedCells, UnknownEnd> {
        let end = |word: &Option<String>| {
            word.as_deref()
                .map(|word| End::resolve(word, cast, ground))
                .transpose()
        };
        Ok(ResolvedCells {
            from: end(&self.from)?,
            to: end(&self.to)?,
            target: self.target.clone(),
            text: self.to_string(),
        })
    }
}

impl fmt::Display for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("from", &self.from),
            ("to", &self.to),
            ("target", &self.target),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name}: {}", value.as_ref()?)))
            .collect();
        write!(f, "{{{}}}", parts.join(", "))
    }
}

impl ResolvedCells {
    /// Whether it names this cell.
    pub fn name(&self, grid: &Grid, row: usize, column: usize) -> bool {
        let (source, target) = (&grid.sources[row], &grid.targets[column]);
        let is = |end: &Option<End>, node: &str, zone: &str| {
            end.as_ref().is_none_or(|end| end.is(node, zone))
        };
        is(&self.from, &source.name, &source.zone)
            && is(&self.to, &target.node, &target.zone)
            && self
                .target
                .as_ref()
                .is_none_or(|pattern| is_like(pattern, &target.name))
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Whether a name is this pattern, in which `*` stands for anything.
pub fn is_like(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((beginning, rest)) => name.strip_prefix(beginning).is_some_and(|name| {
            (0..=name.len())
                .filter(|at| name.is_char_boundary(*at))
                .any(|at| is_like(rest, &name[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_also_for_nothing() {
        assert!(is_like("dns-1/*", "dns-1/www.example.com."));
        assert!(is_like("*/www.*", "dns-1/www.example.com."));
        assert!(is_like("vip*", "vip"));
        assert!(is_like("*", "é"));
        assert!(!is_like("dns-1", "dns-1/www.example.com."));
        assert!(!is_like("*.org", "www.example.com"));
    }

    #[test]
    fn a_word_that_is_nothing_is_refused_with_what_there_is() {
        let nodes: Vec<String> = ["a", "b"].map(str::to_owned).to_vec();
        let cast = Cast::assign(&["victim".to_owned()], &nodes, 1).expect("a cast");
        let ground = Ground::on_paper(2);
        let cells = |from: &str| Cells {
            from: Some(from.to_owned()),
            ..Cells::default()
        };
        assert!(cells("victim").resolve(&cast, &ground).is_ok());
        assert!(cells("zone-b").resolve(&cast, &ground).is_ok());
        let error = cells("vicitm").resolve(&cast, &ground).expect_err("a typo");
        assert_eq!(
            error.to_string(),
            "`vicitm` is no role and no zone; the roles are aggregator-node, victim, the zones zone-a, zone-b"
        );
    }
}
