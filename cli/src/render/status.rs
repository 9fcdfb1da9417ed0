//! `meshprobe status`.

use jiff::Timestamp;
use meshprobe_core::path::Layer;
use meshprobe_core::verdict::Verdict;
use meshprobe_proto::v1;

use super::style::{BAD, GOOD, HEADING, WARNING, counted, glyph, of_verdict, paint, words};
use super::{table, time};
use crate::exit::Health;

/// Healthy: judged, no incident, nobody silent, nothing failing, the store writable.
pub fn health(status: &v1::Status) -> Health {
    Health::unless(headline_problem(status).is_some())
}

/// The first of the things that keep the mesh from being called healthy.
fn headline_problem(status: &v1::Status) -> Option<String> {
    let failing: u64 = counts(status)
        .filter(|(verdict, _)| verdict.is_unhealthy())
        .map(|(_, count)| count)
        .sum();
    if status.open_incidents > 0 {
        Some(counted(u64::from(status.open_incidents), "open incident"))
    } else if status.findings > 0 {
        Some(format!(
            "{}, no incident (yet)",
            counted(u64::from(status.findings), "finding")
        ))
    } else if !status.judging {
        Some(match status.not_judging_reason.as_str() {
            "" => "the aggregator does not judge yet".to_owned(),
            reason => format!("the aggregator does not judge yet: {reason}"),
        })
    } else if status.nodes == 0 {
        Some("no node has reported yet".to_owned())
    } else if failing > 0 {
        Some(format!(
            "{} failing, no incident (yet)",
            counted(failing, "path")
        ))
    } else if !status.store_writable {
        Some("the aggregator cannot write its store (disk full?)".to_owned())
    } else {
        None
    }
}

fn counts(status: &v1::Status) -> impl Iterator<Item = (Verdict, u64)> {
    status.paths.iter().filter_map(|count| {
        let verdict = Verdict::try_from(count.verdict()).ok()?;
        Some((verdict, count.count))
    })
}

/// The answer as text; the first line is the conclusion.
pub fn render(status: &v1::Status, server: &str, now: Timestamp) -> String {
    let headline = match headline_problem(status) {
        None => paint(GOOD, "Healthy: no open incident, no failing path."),
        Some(problem) if status.open_incidents > 0 => paint(BAD, &format!("Unhealthy: {problem}.")),
        Some(problem) => paint(WARNING, &format!("Not healthy: {problem}.")),
    };
    let up = time::timestamp(status.started_at)
        .map(|started| format!(", up {}", time::span(now.as_second() - started.as_second())))
        .unwrap_or_default();
    let judging = match (status.judging, status.not_judging_reason.as_str()) {
        (true, _) => "yes".to_owned(),
        (false, "") => "not yet".to_owned(),
        (false, reason) => format!("not yet: {reason}"),
    };
    let paths: Vec<String> = counts(status)
        .filter(|(_, count)| *count > 0)
        .map(|(verdict, count)| {
            let text = format!("{} {count} {}", glyph(verdict), words(verdict));
            paint(of_verdict(verdict), &text)
        })
        .collect();
    let layers: Vec<String> = status
        .layers
        .iter()
        .filter_map(|layer| Layer::try_from(layer).ok())
        .map(|layer| layer.to_string())
        .collect();
    let store = if status.store_writable {
        "writable".to_owned()
    } else {
        paint(BAD, "cannot be written: history has a gap until it can")
    };
    let incidents = match status.silenced_incidents {
        0 => format!("{} open", status.open_incidents),
        silenced => format!(
            "{} open, {silenced} of them silenced",
            status.open_incidents
        ),
    };
    let facts = [
        (
            "aggregator",
            format!("{server}, version {}{up}", status.version),
        ),
        ("judging", judging),
        (
            "nodes",
            format!("{}, {} reporting", status.nodes, status.nodes_reporting),
        ),
        ("paths", none_if_empty(paths.join("   "))),
        ("layers", none_if_empty(layers.join("  "))),
        ("findings", none_if_zero(status.findings)),
        ("incidents", incidents),
        (
            "notifications",
            format!("{} waiting for delivery", status.notifications_pending),
        ),
        ("store", store),
    ];
    let advice = if status.open_incidents > 0 || status.findings > 0 {
        format!(
            "\n{}\n",
            paint(
                HEADING,
                "Next: meshprobe findings, meshprobe incidents, meshprobe matrix"
            )
        )
    } else {
        String::new()
    };
    format!("{headline}\n\n{}{advice}", table::facts(&facts))
}

fn none_if_zero(count: u32) -> String {
    match count {
        0 => "none".to_owned(),
        count => count.to_string(),
    }
}

fn none_if_empty(text: String) -> String {
    if text.is_empty() {
        "none".to_owned()
    } else {
        text
    }
}
