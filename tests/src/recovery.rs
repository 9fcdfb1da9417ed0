//! Whether a mesh has come back after a failure.
//!
//! Every node reports and every path answers. A path that is still called lossy or slow may be: what was lost in the failure
//! counts until enough probes have refuted it, which takes minutes where probes are rare.

use meshprobe_lab::mesh::{Api, ApiError};
use meshprobe_proto::v1;

/// Verdicts of a path that nothing comes through, or nothing is known of.
const FAILING: [v1::Verdict; 3] = [v1::Verdict::Down, v1::Verdict::Suspect, v1::Verdict::NoData];

/// What is missing; `None`: it has come back.
pub fn missing(api: &Api) -> Result<Option<String>, ApiError> {
    Ok(missing_in(&api.status()?))
}

fn missing_in(status: &v1::Status) -> Option<String> {
    let silent = status.nodes.saturating_sub(status.nodes_reporting);
    let mut missing: Vec<String> = status
        .paths
        .iter()
        .filter(|paths| paths.count > 0 && FAILING.contains(&paths.verdict()))
        .map(|paths| format!("{} paths are {}", paths.count, name(paths.verdict())))
        .collect();
    if silent > 0 {
        missing.push(format!("{silent} nodes do not report"));
    }
    (!missing.is_empty()).then(|| missing.join(", "))
}

fn name(verdict: v1::Verdict) -> String {
    let name = verdict.as_str_name();
    name.trim_start_matches("VERDICT_")
        .to_lowercase()
        .replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(verdict: v1::Verdict, nodes_reporting: u32) -> v1::Status {
        v1::Status {
            nodes: 3,
            nodes_reporting,
            paths: vec![v1::VerdictCount {
                verdict: verdict.into(),
                count: 2,
            }],
            ..v1::Status::default()
        }
    }

    #[test]
    fn paths_that_answer_have_recovered_even_if_they_lost_something() {
        for verdict in [
            v1::Verdict::Healthy,
            v1::Verdict::Lossy,
            v1::Verdict::Slow,
            v1::Verdict::NotSampled,
        ] {
            assert_eq!(missing_in(&status(verdict, 3)), None);
        }
    }

    #[test]
    fn a_silent_node_or_a_path_that_does_not_answer_has_not() {
        let silent = missing_in(&status(v1::Verdict::Healthy, 2));
        assert_eq!(silent.as_deref(), Some("1 nodes do not report"));
        for verdict in FAILING {
            assert!(missing_in(&status(verdict, 3)).is_some(), "{verdict:?}");
        }
        let unknown = missing_in(&status(v1::Verdict::NoData, 3));
        assert_eq!(unknown.as_deref(), Some("2 paths are no data"));
    }
}
