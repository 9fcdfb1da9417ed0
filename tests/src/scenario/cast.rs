//! Which node plays which role.

use std::collections::BTreeMap;

use meshprobe_lab::fault::CATALOGUE;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

/// The role of the node that the aggregator runs on; every scenario has it.
pub const AGGREGATOR_NODE: &str = "aggregator-node";
/// Words that a role's name would hide.
const RESERVED: [&str; 9] = [
    AGGREGATOR_NODE,
    "aggregator",
    "prober",
    "all",
    "in",
    "out",
    "both",
    "one-way",
    "service",
];
/// What the names of the lab's own things begin with.
const RESERVED_BEGINNINGS: [&str; 3] = ["zone-", "dns-", "mesh-"];

/// So many of the nodes, drawn with `seed`; never the first one, which is the aggregator's.
pub fn draw(nodes: &[String], count: usize, seed: u64) -> Vec<String> {
    let mut free: Vec<String> = nodes.iter().skip(1).cloned().collect();
    free.shuffle(&mut StdRng::seed_from_u64(seed));
    free.truncate(count);
    free
}

/// Roles and their nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cast {
    nodes: BTreeMap<String, String>,
}

/// The roles cannot be played, or a word is none of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CastError {
    #[error("`{0}` cannot be a role: the word means something else in a step")]
    Reserved(String),
    #[error("the role `{0}` is named twice")]
    Twice(String),
    #[error("{roles} roles cannot be played by {nodes} nodes beside the aggregator's")]
    TooFewNodes { roles: usize, nodes: usize },
    #[error("`{name}` is no role; the roles are {known}")]
    Unknown { name: String, known: String },
}

impl Cast {
    /// Gives each role a node of its own, drawn with `seed`. The first of `nodes` is the aggregator's and plays no other role.
    pub fn assign(roles: &[String], nodes: &[String], seed: u64) -> Result<Self, CastError> {
        Self::assign_apart(roles, nodes, &[], seed)
    }

    /// The same, without the nodes of `taken`.
    pub fn assign_apart(
        roles: &[String],
        nodes: &[String],
        taken: &[String],
        seed: u64,
    ) -> Result<Self, CastError> {
        let mut free: Vec<&String> = nodes.iter().skip(1).collect();
        free.retain(|node| !taken.contains(node));
        if roles.len() > free.len() {
            return Err(CastError::TooFewNodes {
                roles: roles.len(),
                nodes: free.len(),
            });
        }
        free.shuffle(&mut StdRng::seed_from_u64(seed));
        let mut played = BTreeMap::new();
        for (role, node) in roles.iter().zip(free) {
            let is_fault = CATALOGUE.iter().any(|info| info.name == role);
            let is_thing = RESERVED_BEGINNINGS
                .iter()
                .any(|name| role.starts_with(name));
            if is_fault || is_thing || RESERVED.contains(&role.as_str()) {
                return Err(CastError::Reserved(role.clone()));
            }
            if played.insert(role.clone(), node.clone()).is_some() {
                return Err(CastError::Twice(role.clone()));
            }
        }
        if let Some(first) = nodes.first() {
            played.insert(AGGREGATOR_NODE.to_owned(), first.clone());
        }
        Ok(Self { nodes: played })
    }

    /// The node that plays this role.
    pub fn node(&self, role: &str) -> Result<&str, CastError> {
        self.nodes.get(role).map(String::as_str).ok_or_else(|| {
            let known: Vec<&str> = self.nodes.keys().map(String::as_str).collect();
            CastError::Unknown {
                name: role.to_owned(),
                known: known.join(", "),
            }
        })
    }

    /// A text in which each word that is a role becomes its node's name.
    pub fn fill_in(&self, text: &str) -> String {
        let words: Vec<&str> = text
            .split_whitespace()
            .map(|word| self.nodes.get(word).map_or(word, String::as_str))
            .collect();
        words.join(" ")
    }

    /// Every role with its node.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.nodes
            .iter()
            .map(|(role, node)| (role.as_str(), node.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn nodes(count: usize) -> Vec<String> {
        (1..=count).map(|n| format!("mesh-{n}")).collect()
    }

    fn roles(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn roles_are_played_by_different_nodes_and_never_by_the_aggregators() {
        for seed in 0..200 {
            let cast = Cast::assign(&roles(&["victim", "other"]), &nodes(3), seed).expect("a cast");
            let played = BTreeSet::from([
                cast.node("victim").expect("a node"),
                cast.node("other").expect("a node"),
            ]);
            assert_eq!(played, BTreeSet::from(["mesh-2", "mesh-3"]));
            assert_eq!(cast.node(AGGREGATOR_NODE), Ok("mesh-1"));
        }
    }

    #[test]
    fn a_node_that_is_taken_plays_no_role() {
        for seed in 0..50 {
            let taken = ["mesh-2".to_owned()];
            let cast = Cast::assign_apart(&roles(&["victim"]), &nodes(3), &taken, seed);
            assert_eq!(cast.expect("a cast").node("victim"), Ok("mesh-3"));
        }
        let none = Cast::assign_apart(&roles(&["victim"]), &nodes(2), &nodes(2), 1);
        assert_eq!(none, Err(CastError::TooFewNodes { roles: 1, nodes: 0 }));
    }

    #[test]
    fn a_share_of_the_nodes_is_drawn_without_the_aggregators() {
        for seed in 0..50 {
            let drawn = draw(&nodes(6), 2, seed);
            assert_eq!(drawn.len(), 2);
            assert!(!drawn.contains(&"mesh-1".to_owned()) && drawn[0] != drawn[1]);
        }
    }

    #[test]
    fn the_seed_decides_and_the_same_seed_decides_the_same() {
        let victim = |seed| {
            let cast = Cast::assign(&roles(&["victim"]), &nodes(12), seed).expect("a cast");
            cast.node("victim").map(str::to_owned)
        };
        assert_eq!(victim(7), victim(7));
        let all: BTreeSet<_> = (0..200).filter_map(|seed| victim(seed).ok()).collect();
        assert_eq!(
            all.len(),
            11,
            "every node but the aggregator's has its turn"
        );
    }

    #[test]
    fn whole_words_are_replaced() {
        let cast = Cast::assign(&roles(&["a"]), &nodes(2), 1).expect("a cast");
        assert_eq!(
            cast.fill_in("path-one-way a aggregator-node"),
            "path-one-way mesh-2 mesh-1"
        );
        assert_eq!(cast.fill_in("a-b zone-a"), "a-b zone-a");
    }

    #[test]
    fn roles_that_cannot_be_played_are_refused() {
        let error = |names: &[&str], count| {
            Cast::assign(&roles(names), &nodes(count), 1).expect_err("refused")
        };
        assert_eq!(
            error(&["a", "b"], 2),
            CastError::TooFewNodes { roles: 2, nodes: 1 }
        );
        assert_eq!(error(&["a", "a"], 3), CastError::Twice("a".to_owned()));
        assert_eq!(
            error(&["prober"], 3),
            CastError::Reserved("prober".to_owned())
        );
        assert_eq!(
            error(&["node-dark"], 3),
            CastError::Reserved("node-dark".to_owned())
        );
    }
}
