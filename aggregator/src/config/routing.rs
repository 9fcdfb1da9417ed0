//! What is told to whom.

use std::{collections::BTreeMap, fmt};

use meshprobe_daemon::config::{HumanDuration, Spanned};
use serde::{Deserialize, Serialize};

use crate::incident::Severity;

/// Routes from incidents to receivers, and how long an end is kept back.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notifications {
    /// In this order; the first that fits decides, unless it says `continue`.
    pub routes: Vec<RouteConfig>,
    /// Who is told what no route fits. Left out: every receiver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_receivers: Option<Vec<Spanned<String>>>,
    /// How long the end of an incident is kept back. A failure that comes back within this time was never told to be
    /// over, so it is not told again: what goes up and down is one message and not one for each time.
    pub resolve_hold: HumanDuration,
}

impl Default for Notifications {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            default_receivers: None,
            resolve_hold: HumanDuration::from_secs(30),
        }
    }
}

/// One route.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// What it is for; left out: everything.
    #[serde(default)]
    pub r#match: MatchConfig,
    /// Incidents that matter less do not fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_severity: Option<Severity>,
    /// Who is told; nobody, if it is empty.
    pub receivers: Vec<Spanned<String>>,
    /// Whether the end is told as well; left out: as the receiver says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_resolved: Option<bool>,
    /// Go on with the routes below.
    #[serde(default)]
    pub r#continue: bool,
}

/// Every key that is given has to fit; of a key's values one has to.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MatchConfig {
    /// Patterns, for example `node-dark` or `dns-*`.
    pub pattern: Vec<Spanned<Glob>>,
    /// Severities.
    pub severity: Vec<Severity>,
    /// Zones; one of the incident's has to fit.
    pub zone: Vec<Glob>,
    /// Nodes; one of the incident's has to fit.
    pub node: Vec<Glob>,
    /// Labels of nodes; one of the incident's nodes has to have it.
    pub label: BTreeMap<String, Vec<Glob>>,
    /// Targets that are no nodes: DNS servers, names, services, targets outside.
    pub target: Vec<Glob>,
}

/// A text in which `*` stands for anything.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Glob(pub String);

impl Glob {
    /// Does `text` fit?
    pub fn fits(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            // No star at all.
            return rest.is_empty();
        };
        for part in parts {
            match rest.find(part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_the_rest_for_itself() {
        let fits = |glob: &str, text: &str| Glob(glob.to_owned()).fits(text);
        for (glob, text) in [
            ("db-1", "db-1"),
            ("*", ""),
            ("*", "anything"),
            ("db-*", "db-1"),
            ("*-1", "db-1"),
            ("d*-*1", "db-cache-1"),
            ("**", "x"),
            ("a*b*b", "abb"),
        ] {
            assert!(fits(glob, text), "{glob} {text}");
        }
        for (glob, text) in [
            ("db-1", "db-10"),
            ("db-1", "xdb-1"),
            ("db-*", "dc-1"),
            ("a*a", "a"),
            ("a*b*b", "ab"),
            ("", "x"),
        ] {
            assert!(!fits(glob, text), "{glob} {text}");
        }
    }
}
