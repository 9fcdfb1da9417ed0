//! The heat table: one layer of the matrix, sources in rows, targets in columns, grouped by zone.
//!
//! The first line is the conclusion; then comes the densest layout that still fits: cells with round-trip times
//! (`full`), one or two characters a cell (`compact`), or, when there are more columns than the terminal has, zones
//! instead of nodes and a list of the nodes that fail (`zones`).

mod blame;
mod compact;
mod frame;
mod full;
mod heat;
mod zones;

#[cfg(test)]
mod tests;

use jiff::Timestamp;
use meshprobe_core::path::{Layer, ProbeKind};
use meshprobe_core::verdict::Verdict;
use meshprobe_proto::v1;

use super::incident;
use super::style::{BAD, DIM, GOOD, OWN_GLYPH, UNKNOWN, counted, glyph, of_verdict, paint, words};
use super::time;
use crate::exit::Health;

use blame::Blame;

pub use heat::{HeatTable, MalformedMatrix};

/// What the table is printed with.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// Columns to fit into; `None`: every cell with its number, however wide.
    pub width: Option<usize>,
    /// The open incidents, for the conclusion.
    pub open_incidents: &'a [v1::Incident],
    /// The layers that have data: a hint where this one has none.
    pub layers: &'a [v1::Layer],
    /// Why the aggregator does not judge yet, if it does not.
    pub not_judging: Option<&'a str>,
    /// The time.
    pub now: Timestamp,
}

/// Healthy: judged, no open incident, something healthy and nothing failing in this layer.
pub fn health(heat: &HeatTable, around: &Surroundings<'_>) -> Health {
    let counts = heat.counts();
    Health::unless(
        around.not_judging.is_some()
            || !around.open_incidents.is_empty()
            || counts.failing() > 0
            || counts.of(Verdict::Healthy) == 0,
    )
}

/// The whole text.
pub fn render(heat: &HeatTable, around: &Surroundings<'_>) -> String {
    let mut text = conclusion(heat, around);
    text.push_str(&subtitle(heat, around));
    if heat.sources.is_empty() || heat.targets.is_empty() {
        return text;
    }
    text.push('\n');
    let blame = Blame::of(heat);
    let body = match around.width {
        None => full::render(heat, &blame, usize::MAX),
        Some(width) => {
            full::render(heat, &blame, width).or_else(|| compact::render(heat, &blame, width))
        }
    };
    let body =
        body.unwrap_or_else(|| zones::render(heat, &blame, around.width.unwrap_or(usize::MAX)));
    body.lines()
        .for_each(|line| text.push_str(&frame::trimmed(line)));
    text.push('\n');
    text.push_str(&legend(heat));
    text
}

/// "6 nodes, 30 paths: 20 healthy, 10 down. 1 open incident: node-dark mesh-3"
fn conclusion(heat: &HeatTable, around: &Surroundings<'_>) -> String {
    let nodes = counted(heat.sources.len() as u64, "node");
    let who = if heat.is_square {
        nodes
    } else {
        format!(
            "{nodes}, {}",
            counted(heat.targets.len() as u64, target_noun(heat.layer.kind))
        )
    };
    let counts = heat.counts();
    let paths = counts.total();
    let breakdown: Vec<String> = [
        Verdict::Healthy,
        Verdict::Down,
        Verdict::Suspect,
        Verdict::Lossy,
        Verdict::Slow,
        Verdict::NoData,
        Verdict::NotSampled,
    ]
    .into_iter()
    .filter(|verdict| counts.of(*verdict) > 0)
    .map(|verdict| format!("{} {}", counts.of(verdict), words(verdict)))
    .collect();
    let mesh = if paths == 0 {
        format!(
            "Nobody has reported in {} yet.{}",
            heat.layer,
            layers_with_data(around.layers)
        )
    } else {
        format!(
            "{who}, {}: {}.",
            counted(paths, "path"),
            breakdown.join(", ")
        )
    };
    let mesh_style = match (counts.failing(), counts.of(Verdict::Healthy)) {
        (0, 0) => UNKNOWN,
        (0, _) => GOOD,
        _ => BAD,
    };
    let open: Vec<&v1::Incident> = around.open_incidents.iter().collect();
    let incidents_style = if open.is_empty() { GOOD } else { BAD };
    let incidents = paint(incidents_style, &incident::conclusion(&open));
    let warning = match around.not_judging {
        None => String::new(),
        Some("") => format!("{}\n", paint(UNKNOWN, "The aggregator does not judge yet.")),
        Some(reason) => format!(
            "{}\n",
            paint(
                UNKNOWN,
                &format!("The aggregator does not judge yet: {reason}.")
            )
        ),
    };
    format!("{} {incidents}\n{warning}", paint(mesh_style, &mesh))
}

/// What the columns of a matrix are called that are no nodes.
const fn target_noun(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::DnsUdp | ProbeKind::DnsTcp => "DNS target",
        ProbeKind::DnsSearch => "name",
        ProbeKind::Service => "service",
        _ => "external target",
    }
}

/// " Layers with data: udp/pod/v4, tcp/host/v4."
fn layers_with_data(layers: &[v1::Layer]) -> String {
    let names: Vec<String> = layers
        .iter()
        .filter_map(|layer| Layer::try_from(layer).ok())
        .map(|layer| layer.to_string())
        .collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!(" Layers with data: {}.", names.join(", ")),
    }
}

fn subtitle(heat: &HeatTable, around: &Surroundings<'_>) -> String {
    let at = heat
        .at
        .map(|at| format!(" at {}", time::clock(at, around.now)))
        .unwrap_or_default();
    paint(
        DIM,
        &format!("{}{at}; rows send, columns answer", heat.layer),
    ) + "\n"
}

fn legend(heat: &HeatTable) -> String {
    let mut entries: Vec<String> = [
        (Verdict::Healthy, "healthy"),
        (Verdict::Slow, "slow"),
        (Verdict::Lossy, "lossy"),
        (Verdict::Suspect, "suspect"),
        (Verdict::Down, "down"),
        (Verdict::NoData, "no data"),
        (Verdict::NotSampled, "not sampled"),
    ]
    .into_iter()
    .map(|(verdict, word)| {
        format!(
            "{} {word}",
            paint(of_verdict(verdict), &glyph(verdict).to_string())
        )
    })
    .collect();
    if heat.is_square {
        entries.push(paint(DIM, &format!("{OWN_GLYPH} itself")));
    }
    entries.join("   ") + "\n"
}
