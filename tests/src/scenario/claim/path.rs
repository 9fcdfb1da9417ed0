//! The step `path`: what is known of some paths of one layer.
//!
//! ```yaml
//! - path:
//!     within: 40s
//!     layer: mtu/pod/v4
//!     from: victim                 # and/or `to`, `target`, as in `matrix`; without any of them all paths of the layer
//!     which: every                 # or `some`: one of them is enough
//!     verdict: down
//!     failure: timeout             # how the last probe that failed ended
//!     detail: {mtu: {forward: 1400, forward_limit: black-hole, reverse: {at_least: 1390}}}
//!     trace: {reached: false, hops: {at_least: 1}}
//! ```

use meshprobe_core::detail::Detail;
use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::Layer;
use meshprobe_core::verdict::Verdict;
use meshprobe_daemon::config::HumanDuration;
use meshprobe_proto::v1;
use serde::Deserialize;

use super::cells::Cells;
use super::detail::{DetailClaim, Setting};
use super::layers::OneLayer;
use super::value::{Comparing, NumberClaim};

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathClaim {
    /// From the last thing that was broken or healed.
    pub within: HumanDuration,
    pub layer: OneLayer,
    #[serde(default)]
    pub from: Option<String>,
    #[serde(default)]
    pub to: Option<String>,
    #[serde(default)]
    pub target: Option<String>,
    #[serde(default)]
    pub which: Which,
    #[serde(default)]
    pub verdict: Option<VerdictName>,
    #[serde(default)]
    pub failure: Option<OutcomeName>,
    #[serde(default)]
    pub detail: Option<DetailClaim>,
    #[serde(default)]
    pub trace: Option<TraceClaim>,
}

/// Of how many of the named paths it has to be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    #[default]
    Every,
    Some,
}

/// What the newest trace of a path has to show.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TraceClaim {
    pub reached: Option<bool>,
    /// Hops that answered.
    pub hops: Option<NumberClaim>,
}

/// A verdict by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct VerdictName(pub Verdict);

impl TryFrom<String> for VerdictName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let named = |verdict: &Verdict| verdict.as_str() == text;
        Verdict::ALL
            .into_iter()
            .find(named)
            .map(Self)
            .ok_or_else(|| {
                let known: Vec<&str> = Verdict::ALL.iter().map(|one| one.as_str()).collect();
                format!("`{text}` is no verdict: write one of {}", known.join(", "))
            })
    }
}

/// How a probe ends, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct OutcomeName(pub OutcomeClass);

impl TryFrom<String> for OutcomeName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let named = |class: &OutcomeClass| class.as_str() == text;
        OutcomeClass::ALL
            .into_iter()
            .find(named)
            .map(Self)
            .ok_or_else(|| {
                let known: Vec<&str> = OutcomeClass::ALL.iter().map(|one| one.as_str()).collect();
                format!("`{text}` is no outcome: write one of {}", known.join(", "))
            })
    }
}

impl PathClaim {
    /// Which paths.
    pub fn cells(&self) -> Cells {
        Cells {
            from: self.from.clone(),
            to: self.to.clone(),
            target: self.target.clone(),
        }
    }

    /// Whether it says anything at all.
    pub fn says_something(&self) -> bool {
        self.verdict.is_some()
            || self.failure.is_some()
            || self.detail.is_some()
            || self.trace.is_some()
    }

    /// What is not as it should be on one path, from its source to its target.
    pub fn differences(&self, path: &v1::PathDetail, setting: Setting<'_>) -> Vec<String> {
        let layer = self.layer.0;
        let is_of_layer = |wire: Option<&v1::Layer>| {
            wire.is_some_and(|wire| Layer::try_from(wire).is_ok_and(|own| own == layer))
        };
        let mut cells = path.forward.iter();
        let Some(cell) = cells.find(|cell| is_of_layer(cell.layer.as_ref())) else {
            return vec!["the API knows nothing of it".to_owned()];
        };
        let mut compare = Comparing::default();
        if let Some(VerdictName(wanted)) = self.verdict {
            let found = v1::Verdict::from(wanted) == cell.verdict();
            compare.require(found, || {
                format!("it is {}, not {wanted}", cell.verdict().as_str_name())
            });
        }
        if let Some(OutcomeName(wanted)) = self.failure {
            let found = v1::OutcomeClass::from(wanted) == cell.last_failure();
            compare.require(found, || {
                let found = cell.last_failure().as_str_name();
                format!("the last failure is {found}, not {}", wanted.as_str())
            });
        }
        if let Some(wanted) = &self.trace {
            let mut traces = path.forward_traces.iter();
            let route = traces.find_map(|trace| {
                let route = trace.route.as_ref()?;
                let own = v1::Layer {
                    kind: route.kind,
                    plane: route.plane,
                    family: route.family,
                };
                is_of_layer(Some(&own)).then_some(route)
            });
            trace(&mut compare, wanted, route);
        }
        let mut differences = compare.into_differences();
        if let Some(wanted) = &self.detail {
            match cell.detail.as_ref().map(Detail::try_from) {
                None => differences.push("it has no detail".to_owned()),
                Some(Err(error)) => differences.push(error.to_string()),
                Some(Ok(found)) => differences.extend(wanted.differences(&found, setting)),
            }
        }
        differences
    }
}

fn trace(compare: &mut Comparing, wanted: &TraceClaim, found: Option<&v1::TraceRoute>) {
    let Some(found) = found else {
        compare.require(false, || "it was not traced".to_owned());
        return;
    };
    compare.same("trace.reached", wanted.reached, &found.reached);
    let answered = found.hops.iter().filter(|hop| !hop.address.is_empty());
    compare.number("trace.hops", wanted.hops, Some(answered.count() as f64));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::ground;
    use super::*;
    use crate::scenario::cast::Cast;

    fn parse(text: &str) -> Result<PathClaim, String> {
        let text = format!("within: 40s\nlayer: mtu/pod/v4\n{text}\n");
        meshprobe_daemon::config::parse(&text, Path::new("claim")).map_err(|e| e.to_string())
    }

    fn differences(claim: &str, path: &v1::PathDetail) -> Vec<String> {
        let cast = Cast::assign(&[], &["a".to_owned()], 1).expect("a cast");
        let setting = Setting {
            cast: &cast,
            ground: &ground::tests::three(),
            now: 0,
        };
        parse(claim).expect(claim).differences(path, setting)
    }

    fn path(kind: v1::ProbeKind) -> v1::PathDetail {
        v1::PathDetail {
            forward: vec![v1::Cell {
                layer: Some(v1::Layer {
                    kind: kind.into(),
                    plane: v1::Plane::Pod.into(),
                    family: v1::Family::V4.into(),
                }),
                verdict: v1::Verdict::Down.into(),
                last_failure: v1::OutcomeClass::Timeout.into(),
                ..v1::Cell::default()
            }],
            ..v1::PathDetail::default()
        }
    }

    #[test]
    fn verdict_failure_and_detail_are_those_of_the_layer() {
        let mtu = path(v1::ProbeKind::Mtu);
        assert_eq!(
            differences("verdict: down\nfailure: timeout", &mtu),
            [""; 0]
        );
        assert_eq!(
            differences("verdict: lossy\nfailure: refused", &mtu),
            [
                "it is VERDICT_DOWN, not lossy",
                "the last failure is OUTCOME_CLASS_TIMEOUT, not refused"
            ]
        );
        assert_eq!(
            differences("detail: {mtu: {forward: 1400}}", &mtu),
            ["it has no detail"]
        );
        assert_eq!(
            differences("trace: {reached: false}", &mtu),
            ["it was not traced"]
        );
        assert_eq!(
            differences("verdict: down", &path(v1::ProbeKind::Udp)),
            ["the API knows nothing of it"]
        );
    }

    #[test]
    fn names_that_do_not_exist_are_refused_with_those_that_do() {
        for (text, part) in [
            ("verdict: dead", "not-sampled, no-data, healthy"),
            ("failure: timed-out", "reply, late, timeout"),
            ("which: most", "which"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(part) && error.contains("claim:3"), "{error}");
        }
    }
}
