//! `meshprobe explain A B`.

use jiff::Timestamp;
use meshprobe_core::verdict::Verdict;
use meshprobe_proto::v1;

use super::style::{BAD, GOOD, HEADING, PLAIN, UNKNOWN, WARNING, glyph, of_verdict, paint};
use super::table::{Cell, Table};
use super::wrap::wrapped;
use super::{detail, finding, outcome, time, trace};
use crate::exit::Health;

/// The column that may be cut.
const NOTE: usize = 5;
/// Below this width some columns are left out.
const NARROW: usize = 100;

/// Healthy: everything that is measured works.
pub fn health(explanation: &v1::Explanation) -> Health {
    Health::unless(explanation.conclusion() != v1::Conclusion::Works)
}

/// The answer first, then the cause, then every layer.
pub fn render(explanation: &v1::Explanation, width: Option<usize>, now: Timestamp) -> String {
    let style = match explanation.conclusion() {
        v1::Conclusion::Works => GOOD,
        v1::Conclusion::Fails => BAD,
        v1::Conclusion::Partly | v1::Conclusion::Degraded => WARNING,
        v1::Conclusion::Unknown | v1::Conclusion::Unspecified => UNKNOWN,
    };
    let mut text = paint(
        style,
        wrapped(&explanation.sentence, width, 0, 0).trim_end(),
    );
    text.push_str("\n\n");
    text.push_str(&cause(explanation, width));
    text.push_str(&layers(explanation, width));
    let failing = explanation.first_failing.map(|index| index as usize);
    if let Some(step) = failing.and_then(|index| explanation.steps.get(index)) {
        text.push_str(&found(step, now));
    }
    text
}

fn cause(explanation: &v1::Explanation, width: Option<usize>) -> String {
    let Some(cause) = &explanation.cause else {
        return match explanation.first_failing {
            Some(_) => format!(
                "{} nothing that is found explains it (yet).\n\n",
                paint(HEADING, "Cause:")
            ),
            None => String::new(),
        };
    };
    let (sure, sure_style) = finding::confidence(cause.confidence());
    let sure = match sure {
        "" => String::new(),
        sure => format!(" ({})", paint(sure_style, sure)),
    };
    let mut text = format!(
        "{} {} {}{sure}\n",
        paint(HEADING, "Cause:"),
        cause.pattern,
        cause.scope
    );
    text.push_str(&wrapped(&cause.summary, width, 2, 0));
    for action in &cause.first_actions {
        text.extend(["  $ ", action, "\n"]);
    }
    if cause.has_incident {
        text.extend(["  meshprobe incidents show ", &cause.incident_id, "\n"]);
    }
    if !cause.runbook_url.is_empty() {
        text.extend(["  ", &cause.runbook_url, "\n"]);
    }
    text + "\n"
}

fn layers(explanation: &v1::Explanation, width: Option<usize>) -> String {
    // The ends stand in the sentence above; a narrow screen has no room to repeat them.
    let is_narrow = width.is_some_and(|width| width < NARROW);
    let mut table = if is_narrow {
        Table::new(&["  LAYER", "WAY", "VERDICT", "LOST", "NOTE"])
    } else {
        Table::new(&["  LAYER", "WAY", "VERDICT", "LOST", "RTT", "NOTE"])
    };
    for (index, step) in explanation.steps.iter().enumerate() {
        let is_first = explanation.first_failing == u32::try_from(index).ok();
        let judged = Verdict::try_from(step.verdict()).unwrap_or(Verdict::NoData);
        let cell = step.cell.as_ref().filter(|cell| cell.sent > 0);
        let lost = cell.map_or(String::new(), |cell| {
            format!("{}/{}", cell.sent.saturating_sub(cell.replied), cell.sent)
        });
        let rtt = cell.filter(|cell| cell.rtt_median_seconds > 0.0);
        let rtt = rtt.map_or(String::new(), |cell| time::rtt(cell.rtt_median_seconds));
        let way = match (is_narrow, step.target.as_str()) {
            (true, _) if step.source == explanation.source => "there".to_owned(),
            (true, _) => "back".to_owned(),
            (false, "") => format!("{} → any", step.source),
            (false, target) => format!("{} → {target}", step.source),
        };
        let mark = if is_first { "▶ " } else { "  " };
        let mut row = vec![
            Cell::painted(
                format!("{mark}{}", layer(step)),
                if is_first { BAD } else { PLAIN },
            ),
            Cell::from(way),
            Cell::painted(format!("{} {judged}", glyph(judged)), of_verdict(judged)),
            Cell::from(lost),
        ];
        if !is_narrow {
            row.push(Cell::from(rtt));
        }
        row.push(Cell::from(note(step)));
        table.push(row);
    }
    if let Some(width) = width {
        table.fit(if is_narrow { NOTE - 1 } else { NOTE }, width);
    }
    table.render()
}

/// "host network v4", "udp pod v6"
fn layer(step: &v1::ExplainStep) -> String {
    let rung = match step.rung() {
        v1::Rung::Unspecified => "layer",
        v1::Rung::HostNetwork => "host network",
        v1::Rung::PodNetwork => "pod network",
        v1::Rung::Protocol => "",
        v1::Rung::PacketSize => "largest packet",
        v1::Rung::Dns => "DNS servers",
        v1::Rung::DnsVip => "DNS virtual IP",
        v1::Rung::Name => "name",
        v1::Rung::Service => "virtual IP",
        v1::Rung::Connect => "connect",
        v1::Rung::Tls => "TLS",
        v1::Rung::Http => "HTTP",
    };
    let kind = short(step.kind().as_str_name(), "PROBE_KIND_");
    let plane = short(step.plane().as_str_name(), "PLANE_");
    let family = short(step.family().as_str_name(), "FAMILY_");
    let parts = match step.rung() {
        v1::Rung::Protocol => [kind, plane, family],
        v1::Rung::PacketSize => [rung.to_owned(), plane, family],
        v1::Rung::HostNetwork | v1::Rung::PodNetwork => [rung.to_owned(), String::new(), family],
        _ => [rung.to_owned(), String::new(), String::new()],
    };
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ")
}

/// `PROBE_KIND_DNS_UDP` → `dns-udp`; what is unspecified is nothing.
fn short(name: &str, prefix: &str) -> String {
    let name = name.trim_start_matches(prefix);
    if name == "UNSPECIFIED" {
        return String::new();
    }
    name.to_ascii_lowercase().replace('_', "-")
}

fn note(step: &v1::ExplainStep) -> String {
    let verdict = Verdict::try_from(step.verdict()).unwrap_or(Verdict::NoData);
    let failure = step.cell.as_ref().filter(|_| verdict.is_unhealthy());
    let failure = failure.map_or("", |cell| outcome::words(cell.last_failure()));
    let parts = [step.note.as_str(), failure];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("; ")
}

/// What the probes of the failing step found, and where its packets ended.
fn found(step: &v1::ExplainStep, now: Timestamp) -> String {
    let detail = step.cell.as_ref().and_then(|cell| cell.detail.as_ref());
    let sentence = detail.map_or(String::new(), |detail| detail::sentence(detail, now));
    let mut text = String::new();
    if !sentence.is_empty() {
        text.extend(["\n", &paint(HEADING, "Seen:"), " ", &sentence, "\n"]);
    }
    let route = step.trace.as_ref().and_then(|trace| trace.route.as_ref());
    if let Some(route) = route {
        text.push('\n');
        text.push_str(&trace::render(route));
    }
    text
}
