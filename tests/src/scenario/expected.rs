//! What a scenario expects, and the comparison with what was found: exactly these, no others.

use std::fmt;

use meshprobe_core::finding::{Pattern, Scope};
use meshprobe_core::path::Plane;
use meshprobe_daemon::config::HumanDuration;
use serde::{Deserialize, Serialize, Serializer};

/// How much an incident says is lost, and by when it has to say so for five seconds.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareExpected {
    pub percent: f64,
    /// Points in either direction.
    pub tolerance: f64,
    /// From the last thing that was broken.
    pub within: HumanDuration,
}

/// A pattern and its scope: what makes two incidents the same one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct What {
    pub pattern: String,
    /// As [`Scope`] is written.
    pub scope: String,
}

impl What {
    /// Of a finding.
    pub fn of(pattern: Pattern, scope: &Scope) -> Self {
        Self {
            pattern: pattern.as_str().to_owned(),
            scope: scope.to_string(),
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pattern, self.scope)
    }
}

impl Serialize for What {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An incident that is expected in this cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    pub what: What,
    pub plane: Option<Plane>,
    pub evidence: Vec<String>,
    pub loss: Option<ShareExpected>,
    pub may_reopen: bool,
}

/// An opening of an incident, as the API tells it. An incident that was opened again is two of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub what: What,
    pub plane: Option<Plane>,
    /// What backed it at any time.
    pub evidence: Vec<String>,
    /// The share that it says is lost, in percent.
    pub loss_percent: Option<f64>,
    /// One sentence.
    pub summary: String,
}

impl Found {
    /// Sentences of an incident that are kept.
    const MAX_EVIDENCE: usize = 256;

    /// It said this before.
    pub fn remember(&mut self, before: Self) {
        for sentence in before.evidence.into_iter().chain([before.summary]) {
            if self.evidence.len() < Self::MAX_EVIDENCE && !self.evidence.contains(&sentence) {
                self.evidence.push(sentence);
            }
        }
    }
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
        if expected.may_reopen {
            rest.retain(|found| found.what != expected.what);
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
        let mut said = found.evidence.iter().chain([&found.summary]);
        said.any(|sentence| sentence.contains(*words))
    };
    let lacking = expected.evidence.iter().find(|words| !has(words))?;
    Some(format!(
        "{what}: nothing says `{lacking}`, only {:?} and {:?}",
        found.summary, found.evidence
    ))
}

/// What the open incidents say wrongly about how much is lost, one sentence each. An incident that is not there says nothing.
pub fn wrong_estimates(expected: &[Expected], open: &[Found]) -> Vec<String> {
    let each = expected.iter().filter_map(|expected| {
        let wanted = expected.loss?;
        let found = open.iter().find(|found| found.what == expected.what)?;
        let what = &expected.what;
        match found.loss_percent {
            None => Some(format!("{what}: it does not say how much is lost")),
            Some(found) if (found - wanted.percent).abs() <= wanted.tolerance => None,
            Some(found) => Some(format!(
                "{what}: says that {found:.1} % are lost, not {} ± {}",
                wanted.percent, wanted.tolerance
            )),
        }
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(pattern: &str, nodes: &[&str]) -> What {
        What {
            pattern: pattern.to_owned(),
            scope: nodes.join(","),
        }
    }

    fn expected(pattern: &str, nodes: &[&str]) -> Expected {
        Expected {
            what: what(pattern, nodes),
            plane: None,
            evidence: Vec::new(),
            loss: None,
            may_reopen: false,
        }
    }

    fn found(pattern: &str, nodes: &[&str]) -> Found {
        Found {
            what: what(pattern, nodes),
            plane: Some(Plane::Pod),
            evidence: vec!["5 of 5 peers cannot reach it".to_owned()],
            loss_percent: None,
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
        let wanted = [expected("node-dark", &["mesh-3", "mesh-4"])];
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

    #[test]
    fn what_comes_and_goes_may_open_again_and_has_to_be_there() {
        let mut wanted = expected("node-dark", &["mesh-3"]);
        wanted.may_reopen = true;
        let wanted = [wanted];
        let thrice = vec![found("node-dark", &["mesh-3"]); 3];
        assert!(compare(&wanted, &thrice).is_exact());
        assert!(!compare(&wanted, &[]).is_exact());
        let other = [thrice, vec![found("path", &["mesh-3"])]].concat();
        assert_eq!(compare(&wanted, &other).extra.len(), 1);
    }

    #[test]
    fn an_estimate_is_right_inside_its_tolerance_only() {
        let mut wanted = expected("zone-pair", &["a↔b"]);
        wanted.loss = Some(ShareExpected {
            percent: 5.0,
            tolerance: 1.0,
            within: HumanDuration::from_secs(60),
        });
        let wrong = |percent: Option<f64>| {
            let mut found = found("zone-pair", &["a↔b"]);
            found.loss_percent = percent;
            wrong_estimates(std::slice::from_ref(&wanted), &[found])
        };
        assert!(wrong(Some(5.9)).is_empty() && wrong(Some(4.1)).is_empty());
        assert_eq!(
            wrong(Some(6.1)),
            ["zone-pair a↔b: says that 6.1 % are lost, not 5 ± 1"]
        );
        assert_eq!(wrong(None).len(), 1);
        assert!(wrong_estimates(&[wanted.clone()], &[]).is_empty());
    }
}
