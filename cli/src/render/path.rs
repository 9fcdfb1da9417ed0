//! `meshprobe path A B`.

use jiff::Timestamp;
use meshprobe_core::path::Layer;
use meshprobe_core::verdict::Verdict;
use meshprobe_proto::v1;

use super::style::{BAD, GOOD, UNKNOWN, glyph, of_verdict, paint, words};
use super::table::{Cell, Table};
use super::{detail, outcome, time, trace};
use crate::exit::Health;

/// Healthy: at least one layer has data, and none fails in either direction.
pub fn health(detail: &v1::PathDetail) -> Health {
    let cells = || detail.forward.iter().chain(&detail.reverse);
    let any_healthy = cells().any(|cell| verdict(cell) == Verdict::Healthy);
    Health::unless(!any_healthy || cells().any(|cell| verdict(cell).is_unhealthy()))
}

/// Both directions, the conclusion first.
pub fn render(
    detail: &v1::PathDetail,
    source: &str,
    target: &str,
    wide: bool,
    now: Timestamp,
) -> String {
    let directions = [
        (source, target, &detail.forward, &detail.forward_traces),
        (target, source, &detail.reverse, &detail.reverse_traces),
    ];
    let mut text = String::new();
    for (from, to, cells, _) in &directions {
        text.push_str(&conclusion(from, to, cells));
    }
    for (from, to, cells, traces) in directions {
        text.extend(["\n", from, " -> ", to, "\n"]);
        if cells.is_empty() {
            text.push_str("  no layer has data\n");
        } else {
            text.push_str(&layers(cells, wide, now));
            text.push_str(&found(cells, now));
        }
        for route in traces.iter().filter_map(|trace| trace.route.as_ref()) {
            text.push_str(&trace::render(route));
        }
    }
    text
}

/// What the probes found beside their outcomes, a line for each layer that has something to tell.
fn found(cells: &[v1::Cell], now: Timestamp) -> String {
    let line = |cell: &v1::Cell| {
        let sentence = detail::sentence(cell.detail.as_ref()?, now);
        (!sentence.is_empty()).then(|| format!("  {}: {sentence}\n", layer(cell)))
    };
    let lines: String = cells.iter().filter_map(line).collect();
    if lines.is_empty() {
        lines
    } else {
        format!("\n{lines}")
    }
}

/// "mesh-1 -> mesh-3: 2 of 3 layers healthy; udp/pod/v4 down (timeout)"
fn conclusion(from: &str, to: &str, cells: &[v1::Cell]) -> String {
    let bad: Vec<String> = cells
        .iter()
        .filter(|cell| verdict(cell).is_unhealthy())
        .map(|cell| {
            let why = match failure(cell) {
                "" => String::new(),
                why => format!(" ({why})"),
            };
            format!("{} {}{why}", layer(cell), words(verdict(cell)))
        })
        .collect();
    let healthy = cells
        .iter()
        .filter(|cell| verdict(cell) == Verdict::Healthy)
        .count();
    let share = format!("{healthy} of {} layers healthy", cells.len());
    let sentence = match (cells.len(), bad.as_slice()) {
        (0, _) => paint(UNKNOWN, "not probed"),
        (_, []) if healthy == 0 => paint(UNKNOWN, "no data in any layer"),
        (_, []) => paint(GOOD, &share),
        (_, bad) => paint(BAD, &format!("{share}; {}", bad.join(", "))),
    };
    format!("{from} -> {to}: {sentence}\n")
}

fn layers(cells: &[v1::Cell], wide: bool, now: Timestamp) -> String {
    let mut headings = vec![
        "  LAYER",
        "VERDICT",
        "LOST",
        "ARRIVED",
        "IN A ROW",
        "RTT MIN",
        "MEDIAN",
        "MAX",
        "LAST FAILURE",
    ];
    if wide {
        headings.extend(["BASELINE", "LOSS 95%"]);
    }
    headings.push("UPDATED");
    let mut table = Table::new(&headings);
    for cell in cells {
        let judged = verdict(cell);
        let has_data = cell.sent > 0;
        let mut row = vec![
            Cell::from(format!("  {}", layer(cell))),
            Cell::painted(format!("{} {}", glyph(judged), judged), of_verdict(judged)),
            Cell::from(or_empty(has_data, || {
                format!("{}/{}", cell.sent.saturating_sub(cell.replied), cell.sent)
            })),
            Cell::from(
                cell.received
                    .map_or(String::new(), |received| received.to_string()),
            ),
            Cell::from(or_empty(has_data, || cell.consecutive_losses.to_string())),
            Cell::from(seconds(cell.rtt_min_seconds)),
            Cell::from(seconds(cell.rtt_median_seconds)),
            Cell::from(seconds(cell.rtt_max_seconds)),
            Cell::from(failure(cell)),
        ];
        if wide {
            row.push(Cell::from(seconds(cell.rtt_baseline_seconds)));
            let bounds = || {
                format!(
                    "{:.1}-{:.1} %",
                    cell.loss_lower * 100.0,
                    cell.loss_upper * 100.0
                )
            };
            row.push(Cell::from(or_empty(has_data, bounds)));
        }
        let updated =
            time::timestamp(cell.updated_at).map_or("never".to_owned(), |at| time::ago(at, now));
        row.push(Cell::from(updated));
        table.push(row);
    }
    table.render()
}

fn verdict(cell: &v1::Cell) -> Verdict {
    Verdict::try_from(cell.verdict()).unwrap_or(Verdict::NoData)
}

fn layer(cell: &v1::Cell) -> String {
    let layer = cell
        .layer
        .as_ref()
        .and_then(|layer| Layer::try_from(layer).ok());
    layer.map_or("unknown layer".to_owned(), |layer| layer.to_string())
}

fn seconds(seconds: f64) -> String {
    or_empty(seconds > 0.0, || time::rtt(seconds))
}

fn or_empty(is_known: bool, text: impl FnOnce() -> String) -> String {
    if is_known { text() } else { String::new() }
}

/// How the last failed probe ended, in words.
fn failure(cell: &v1::Cell) -> &'static str {
    outcome::words(cell.last_failure())
}
