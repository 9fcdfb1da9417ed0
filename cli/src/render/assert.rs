//! `meshprobe assert`.

use std::time::Duration;

use jiff::Timestamp;
use meshprobe_core::verdict::Verdict;
use meshprobe_proto::v1;

use super::finding;
use super::style::{BAD, GOOD, counted, paint};
use super::time;

/// What one look at everything showed.
#[derive(Debug)]
pub struct Look {
    /// In a few numbers.
    pub status: v1::Status,
    /// Every node.
    pub nodes: Vec<v1::Node>,
    /// What is wrong.
    pub findings: v1::ListFindingsResponse,
}

impl Look {
    /// What keeps it from being called healthy, a few words each; empty: nothing.
    pub fn problems(&self) -> Vec<String> {
        let Self {
            status,
            nodes,
            findings,
        } = self;
        let mut problems = Vec::new();
        if !status.judging {
            problems.push(match status.not_judging_reason.as_str() {
                "" => "the aggregator does not judge yet".to_owned(),
                reason => format!(
                    "the aggregator does not judge yet: {}",
                    reason.trim_end_matches('.')
                ),
            });
        }
        let expected = nodes
            .iter()
            .filter(|node| node.lifecycle() == v1::Lifecycle::Active);
        let expected = expected.count() as u64;
        if expected == 0 {
            problems.push("no node is known".to_owned());
        }
        if u64::from(status.nodes_reporting) < expected {
            problems.push(format!(
                "{} of {expected} nodes report",
                status.nodes_reporting
            ));
        }
        let found = findings.findings.len() as u64;
        if found > 0 {
            problems.push(counted(found, "finding"));
        }
        if status.open_incidents > 0 {
            problems.push(counted(u64::from(status.open_incidents), "open incident"));
        }
        let unhealthy: u64 = status
            .paths
            .iter()
            .filter(|count| Verdict::try_from(count.verdict()).is_ok_and(Verdict::is_unhealthy))
            .map(|count| count.count)
            .sum();
        if unhealthy > 0 {
            problems.push(counted(unhealthy, "unhealthy path"));
        }
        problems
    }
}

/// What was found out in the end. `healthy_for`: it was healthy for that long, which is long enough.
pub fn conclusion(
    look: &Look,
    healthy_for: Option<Duration>,
    width: Option<usize>,
    wide: bool,
    now: Timestamp,
) -> String {
    let problems = look.problems();
    if let Some(healthy_for) = healthy_for {
        let lasted = match healthy_for.as_secs() {
            0 => String::new(),
            seconds => format!(" for {}", time::span(seconds.cast_signed())),
        };
        let nodes = counted(u64::from(look.status.nodes_reporting), "node");
        let report = if look.status.nodes_reporting == 1 {
            "reports"
        } else {
            "report"
        };
        return paint(
            GOOD,
            &format!("Healthy{lasted}: {nodes} {report}, nothing is found."),
        ) + "\n";
    }
    let headline = if problems.is_empty() {
        "Not healthy for long enough: the time is over.".to_owned()
    } else {
        format!("Not healthy: {}.", problems.join("; "))
    };
    let headline = paint(BAD, &headline);
    if look.findings.findings.is_empty() {
        return format!("{headline}\n");
    }
    format!(
        "{headline}\n\n{}",
        finding::render(&look.findings, width, wide, now)
    )
}
