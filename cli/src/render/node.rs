//! `meshprobe nodes`.

use jiff::Timestamp;
use meshprobe_proto::v1;

use super::order::natural;
use super::style::{BAD, DIM, PLAIN, counted, of_node};
use super::table::{Cell, Table};
use super::time;
use crate::exit::Health;

/// Healthy: every node is fine or leaves on purpose.
pub fn health(nodes: &[v1::Node]) -> Health {
    let is_fine =
        |node: &v1::Node| matches!(node.state(), v1::NodeState::Ok | v1::NodeState::Leaving);
    Health::unless(nodes.is_empty() || !nodes.iter().all(is_fine))
}

/// The nodes by zone and name, the conclusion first. Without a width: everything that is known of them.
pub fn render(nodes: &[v1::Node], width: Option<usize>, now: Timestamp) -> String {
    let wide = width.is_none();
    let mut nodes: Vec<&v1::Node> = nodes.iter().collect();
    nodes.sort_by(|a, b| natural(&a.zone, &b.zone).then_with(|| natural(&a.name, &b.name)));
    let mut headings = vec![
        "NODE",
        "ZONE",
        "STATE",
        "LAST REPORT",
        "WAY",
        "FAILING IN",
        "FAILING OUT",
    ];
    if wide {
        headings.extend([
            "REGION",
            "LIFECYCLE",
            "LOCAL HEALTH",
            "VERSION",
            "ADDRESSES",
            "LABELS",
        ]);
    }
    headings.push("REASON");
    let mut table = Table::new(&headings);
    for node in &nodes {
        table.push(row(node, wide, now));
    }
    if let Some(width) = width {
        table.fit(headings.len() - 1, width);
    }
    let conclusion = conclusion(&nodes);
    if nodes.is_empty() {
        return format!("{conclusion}\n");
    }
    format!("{conclusion}\n\n{}", table.render())
}

/// "6 nodes: 5 ok, 1 dark."
fn conclusion(nodes: &[&v1::Node]) -> String {
    let mut states: Vec<(&str, u64)> = Vec::new();
    for node in nodes {
        let (word, _) = of_node(node.state());
        match states.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => states.push((word, 1)),
        }
    }
    states.sort_by_key(|(word, _)| *word != "ok");
    let parts: Vec<String> = states
        .iter()
        .map(|(word, count)| format!("{count} {word}"))
        .collect();
    match parts.as_slice() {
        [] => "No node is known yet. A node appears when its prober connects.".to_owned(),
        parts => format!(
            "{}: {}.",
            counted(nodes.len() as u64, "node"),
            parts.join(", ")
        ),
    }
}

fn row(node: &v1::Node, wide: bool, now: Timestamp) -> Vec<Cell> {
    let (state, style) = of_node(node.state());
    let last_report =
        time::timestamp(node.last_report_at).map_or("never".to_owned(), |at| time::ago(at, now));
    let way = match node.last_report_way() {
        v1::WayHome::Overlay => "overlay",
        v1::WayHome::Underlay => "underlay",
        v1::WayHome::Unspecified => "",
    };
    let failing =
        |count: u32| Cell::painted(count.to_string(), if count > 0 { BAD } else { PLAIN });
    let mut row = vec![
        Cell::from(node.name.as_str()),
        Cell::from(node.zone.as_str()),
        Cell::painted(state, style),
        Cell::from(last_report),
        Cell::from(way),
        failing(node.failing_in),
        failing(node.failing_out),
    ];
    if wide {
        let mut labels: Vec<String> = node
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        labels.sort();
        let lifecycle = node
            .lifecycle()
            .as_str_name()
            .trim_start_matches("LIFECYCLE_")
            .to_lowercase();
        row.extend([
            Cell::from(node.region.as_str()),
            Cell::from(lifecycle),
            Cell::from(node.local_health.to_string()),
            Cell::from(node.prober_version.as_str()),
            Cell::from(node.addresses.join(",")),
            Cell::from(labels.join(",")),
        ]);
    }
    row.push(Cell::painted(
        node.state_reason.as_str(),
        if node.state_reason.is_empty() {
            DIM
        } else {
            PLAIN
        },
    ));
    row
}
