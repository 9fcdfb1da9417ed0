//! The step `node`: what a node's prober says about itself.
//!
//! ```yaml
//! - node:
//!     within: 40s
//!     name: victim
//!     plane: pod                   # of which prober; the default
//!     state: ok
//!     self_health: {invalid_probes: {at_least: 1}}
//! ```
//!
//! What a report says of itself is of its own window, so the numbers are the largest that were seen while this was waited for.

use meshprobe_core::path::Plane;
use meshprobe_daemon::config::HumanDuration;
use meshprobe_proto::v1;
use serde::Deserialize;

use super::value::{Comparing, NumberClaim};

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeClaim {
    /// From the last thing that was broken or healed.
    pub within: HumanDuration,
    /// A role.
    pub name: String,
    #[serde(default = "pod")]
    pub plane: Plane,
    /// `ok`, `prober-down`: the judged state of the node as a whole.
    #[serde(default)]
    pub state: Option<StateName>,
    #[serde(default)]
    pub self_health: Option<SelfHealthClaim>,
}

fn pod() -> Plane {
    Plane::Pod
}

/// See [`v1::SelfHealth`].
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelfHealthClaim {
    pub local_health: Option<NumberClaim>,
    pub invalid_probes: Option<NumberClaim>,
    pub dropped_samples: Option<NumberClaim>,
    pub max_lateness_micros: Option<NumberClaim>,
}

/// A state by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct StateName(v1::NodeState);

const PREFIX: &str = "NODE_STATE_";

fn name_of(state: v1::NodeState) -> String {
    let name = state.as_str_name();
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    name.to_lowercase().replace('_', "-")
}

impl TryFrom<String> for StateName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let name = format!("{PREFIX}{}", text.to_uppercase().replace('-', "_"));
        v1::NodeState::from_str_name(&name)
            .map(Self)
            .ok_or_else(|| {
                format!("`{text}` is no state of a node: write for example ok, dark or prober-down")
            })
    }
}

/// The largest numbers that were seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Peak {
    local_health: u32,
    invalid_probes: u32,
    dropped_samples: u32,
    max_lateness_micros: u32,
    is_measured: bool,
}

impl Peak {
    /// Takes what the newest report says.
    pub fn take(&mut self, health: &v1::SelfHealth) {
        self.is_measured = true;
        for (peak, found) in [
            (&mut self.local_health, health.local_health),
            (&mut self.invalid_probes, health.invalid_probes),
            (&mut self.dropped_samples, health.dropped_samples),
            (&mut self.max_lateness_micros, health.max_lateness_micros),
        ] {
            *peak = (*peak).max(found);
        }
    }
}

impl NodeClaim {
    /// What is not as it should be, given what was seen before.
    pub fn differences(&self, found: &v1::NodeDetail, peak: &mut Peak) -> Vec<String> {
        let mut compare = Comparing::default();
        if let Some(StateName(wanted)) = self.state {
            let node = found.node.as_ref();
            let found = node.map_or(v1::NodeState::Unknown, v1::Node::state);
            compare.require(found == wanted, || {
                format!("its state is {}, not {}", name_of(found), name_of(wanted))
            });
        }
        let plane = v1::Plane::from(self.plane);
        let mut probers = found.probers.iter();
        let prober = probers.find(|prober| prober.plane() == plane);
        if let Some(health) = prober.and_then(|prober| prober.self_health.as_ref()) {
            peak.take(health);
        }
        if let Some(wanted) = &self.self_health {
            for (name, wanted, found) in [
                ("local_health", wanted.local_health, peak.local_health),
                ("invalid_probes", wanted.invalid_probes, peak.invalid_probes),
                (
                    "dropped_samples",
                    wanted.dropped_samples,
                    peak.dropped_samples,
                ),
                (
                    "max_lateness_micros",
                    wanted.max_lateness_micros,
                    peak.max_lateness_micros,
                ),
            ] {
                compare.number(name, wanted, peak.is_measured.then(|| found.into()));
            }
        }
        compare.into_differences()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Result<NodeClaim, String> {
        let text = format!("within: 40s\nname: victim\n{text}\n");
        meshprobe_daemon::config::parse(&text, Path::new("claim")).map_err(|e| e.to_string())
    }

    fn node(invalid_probes: u32) -> v1::NodeDetail {
        v1::NodeDetail {
            events: Vec::new(),
            node: Some(v1::Node {
                state: v1::NodeState::Ok.into(),
                ..v1::Node::default()
            }),
            probers: vec![v1::ProberDetail {
                plane: v1::Plane::Pod.into(),
                self_health: Some(v1::SelfHealth {
                    invalid_probes,
                    ..v1::SelfHealth::default()
                }),
                ..v1::ProberDetail::default()
            }],
        }
    }

    #[test]
    fn the_largest_number_that_was_seen_counts() {
        let claim = parse("self_health: {invalid_probes: {at_least: 5}}").expect("a claim");
        let mut peak = Peak::default();
        assert_eq!(claim.differences(&node(3), &mut peak).len(), 1);
        assert_eq!(claim.differences(&node(7), &mut peak), [""; 0]);
        assert_eq!(claim.differences(&node(0), &mut peak), [""; 0]);
    }

    #[test]
    fn a_prober_that_says_nothing_and_another_state_are_told() {
        let claim = parse("plane: host\nstate: prober-down\nself_health: {local_health: 0}");
        let found = claim
            .expect("a claim")
            .differences(&node(0), &mut Peak::default());
        assert_eq!(
            found,
            [
                "its state is ok, not prober-down",
                "local_health was not measured, should be 0"
            ]
        );
        assert!(
            parse("state: fine")
                .expect_err("no state")
                .contains("claim:3")
        );
    }
}
