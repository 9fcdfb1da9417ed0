//! What a scenario expects, and the comparison with what was found: exactly these, no others.

use std::collections::BTreeSet;
use std::fmt;

use meshprobe_core::finding::Pattern;
use meshprobe_core::path::Plane;
use serde::{Deserialize, Serialize, Serializer};

use super::cast::{Cast, CastError};

/// An incident as a scenario file names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedIncident {
    pub pattern: Pattern,
    /// The roles of the nodes that it names; none for an incident about the aggregator itself.
    #[serde(default)]
    pub nodes: Vec<String>,
    /// The broken plane; absent: either is right.
    #[serde(default)]
    pub plane: Option<Plane>,
    /// Words that its evidence must have.
    #[serde(default)]
    pub evidence: Vec<String>,
}

impl ExpectedIncident {
    /// With nodes in the place of roles.
    pub fn resolve(&self, cast: &Cast) -> Result<Expected, CastError> {
        let nodes: Result<BTreeSet<String>, CastError> = self
            .nodes
            .iter()
            .map(|role| cast.node(role).map(str::to_owned))
            .collect();
        Ok(Expected {
            what: What {
                pattern: self.pattern.as_str().to_owned(),
                nodes: nodes?,
            },
            plane: self.plane,
            evidence: self.evidence.clone(),
        })
    }
}

/// A pattern and the nodes that it names: what makes two incidents the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct What {
    pub pattern: String,
    pub nodes: BTreeSet<String>,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<&str> = self.nodes.iter().map(String::as_str).collect();
        write!(f, "{} {}", self.pattern, nodes.join(","))?;
        Ok(())
    }
}

impl Serialize for What {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.to_string().trim_end())
    }
}

/// An incident that is expected in this cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    pub what: What,
    pub plane: Option<Plane>,
    pub evidence: Vec<String>,
}

/// An opening of an incident, as the API tells it. An incident that was opened again is two of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub what: What,
    pub plane: Option<Plane>,
    pub evidence: Vec<String>,
    /// One sentence.
    pub summary: String,
}

/// What is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Comparison {
    /// Expected, and not there.
    pub missing: Vec<String>,
    /// There, and not expected.
    pub extra: Vec<String>,
    /// There as expected, but with another plane or without the evidence.
    pub different: Vec<String>,
}

impl Comparison {
    /// Whether everything is there, and nothing else.
    pub fn is_exact(&self) -> bool {
        let Self {
            missing,
            extra,
            different,
        } = self;
        missing.is_empty() && extra.is_empty() && different.is_empty()
    }

    /// One sentence for each difference.
    pub fn differences(&self) -> Vec<String> {
        let missing = self.missing.iter().map(|what| format!("missing: {what}"));
        let extra = self
            .extra
            .iter()
            .map(|what| format!("not expected: {what}"));
        missing
            .chain(extra)
            .chain(self.different.iter().cloned())
            .collect()
    }
}

/// Each expected incident has to be found once; nothing else may be.
pub fn compare(expected: &[Expected], found: &[Found]) -> Comparison {
    let mut comparison = Comparison::default();
    let mut rest: Vec<&Found> = found.iter().collect();
    for expected in expected {
        match rest.iter().position(|found| found.what == expected.what) {
            None => comparison.missing.push(expected.what.to_string()),
            Some(place) => comparison
                .different
                .extend(difference(expected, rest.remove(place))),
        }
    }
    let extra = rest
        .iter()
        .map(|found| format!("{} ({})", found.what, found.summary));
    comparison.extra.extend(extra);
    comparison
}

fn difference(expected: &Expected, found: &Found) -> Option<String> {
    let what = &expected.what;
    if let Some(plane) = expected.plane
        && found.plane != Some(plane)
    {
        let blamed = found
            .plane
            .map_or("no plane".to_owned(), |plane| plane.to_string());
        return Some(format!("{what}: blames {blamed}, not {plane}"));
    }
    let has = |words: &&String| {
        found
            .evidence
            .iter()
            .any(|evidence| evidence.contains(*words))
    };
    let lacking = expected.evidence.iter().find(|words| !has(words))?;
    Some(format!(
        "{what}: no evidence says `{lacking}`, only {:?}",
        found.evidence
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(pattern: &str, nodes: &[&str]) -> What {
        What {
            pattern: pattern.to_owned(),
            nodes: nodes.iter().map(|node| (*node).to_owned()).collect(),
        }
    }

    fn expected(pattern: &str, nodes: &[&str]) -> Expected {
        Expected {
            what: what(pattern, nodes),
            plane: None,
            evidence: Vec::new(),
        }
    }

    fn found(pattern: &str, nodes: &[&str]) -> Found {
        Found {
            what: what(pattern, nodes),
            plane: Some(Plane::Pod),
            evidence: vec!["5 of 5 peers cannot reach it".to_owned()],
            summary: "it is so".to_owned(),
        }
    }

    #[test]
    fn the_expected_incident_and_no_other_is_exact() {
        let two = [
            found("node-dark", &["mesh-3"]),
            found("reports-cut", &["mesh-4"]),
        ];
        let wanted = [
            expected("reports-cut", &["mesh-4"]),
            expected("node-dark", &["mesh-3"]),
        ];
        assert!(compare(&wanted, &two).is_exact());
        assert!(compare(&[], &[]).is_exact());
    }

    #[test]
    fn a_missing_incident_fails() {
        let comparison = compare(&[expected("node-dark", &["mesh-3"])], &[]);
        assert!(!comparison.is_exact());
        assert_eq!(comparison.differences(), ["missing: node-dark mesh-3"]);
    }

    #[test]
    fn an_extra_incident_fails() {
        let both = [
            found("node-dark", &["mesh-3"]),
            found("prober-down", &["mesh-3"]),
        ];
        let comparison = compare(&[expected("node-dark", &["mesh-3"])], &both);
        assert!(!comparison.is_exact());
        assert_eq!(
            comparison.differences(),
            ["not expected: prober-down mesh-3 (it is so)"]
        );
    }

    #[test]
    fn an_incident_that_opened_twice_is_one_too_many() {
        let twice = [
            found("node-dark", &["mesh-3"]),
            found("node-dark", &["mesh-3"]),
        ];
        let comparison = compare(&[expected("node-dark", &["mesh-3"])], &twice);
        assert_eq!(comparison.extra.len(), 1);
    }

    #[test]
    fn another_node_or_another_pattern_is_another_incident() {
        for wrong in [
            found("node-dark", &["mesh-4"]),
            found("isolated", &["mesh-3"]),
            found("node-dark", &["mesh-3", "mesh-4"]),
        ] {
            let comparison = compare(&[expected("node-dark", &["mesh-3"])], &[wrong]);
            assert_eq!((comparison.missing.len(), comparison.extra.len()), (1, 1));
        }
    }

    #[test]
    fn one_incident_that_names_two_nodes_is_not_two_incidents() {
        let wanted = [expected("node-dark", &["mesh-4", "mesh-3"])];
        assert!(compare(&wanted, &[found("node-dark", &["mesh-3", "mesh-4"])]).is_exact());
        let apart = [
            found("node-dark", &["mesh-3"]),
            found("node-dark", &["mesh-4"]),
        ];
        assert!(!compare(&wanted, &apart).is_exact());
    }

    #[test]
    fn the_plane_and_the_evidence_are_compared_where_they_are_given() {
        let mut wanted = expected("egress-dead", &["mesh-3"]);
        wanted.plane = Some(Plane::Pod);
        wanted.evidence = vec!["5 of 5 peers".to_owned()];
        let found = found("egress-dead", &["mesh-3"]);
        assert!(compare(std::slice::from_ref(&wanted), std::slice::from_ref(&found)).is_exact());
        let mut other = wanted.clone();
        other.plane = Some(Plane::Host);
        let differences = compare(&[other], std::slice::from_ref(&found)).differences();
        assert_eq!(differences, ["egress-dead mesh-3: blames pod, not host"]);
        wanted.evidence = vec!["no route".to_owned()];
        assert_eq!(compare(&[wanted], &[found]).different.len(), 1);
    }
}
