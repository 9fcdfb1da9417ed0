//! `meshprobe findings`, and what a finding and an incident have in common.

use jiff::Timestamp;
use meshprobe_core::path::Layer;
use meshprobe_proto::v1;

use super::style::{BAD, DIM, GOOD, HEADING, PLAIN, UNKNOWN, WARNING, counted, of_severity, paint};
use super::table::{Cell, Table};
use super::time;
use super::window;
use super::wrap::wrapped;

/// "overlay-egress mesh-3"
pub fn title(finding: &v1::Finding) -> String {
    format!("{} {}", finding.pattern, finding.scope)
}

/// "2 findings: overlay-egress mesh-3; dns-server coredns-1"
pub fn conclusion(findings: &[v1::Finding]) -> String {
    /// More are in the table below.
    const NAMED: usize = 4;
    let named: Vec<String> = findings.iter().take(NAMED).map(title).collect();
    let more = match findings.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let count = counted(findings.len() as u64, "finding");
    format!("{count}: {}{more}", named.join("; "))
}

/// A row for each cause with its sentence below; `wide`: with all that backs it.
pub fn render(
    found: &v1::ListFindingsResponse,
    width: Option<usize>,
    wide: bool,
    now: Timestamp,
) -> String {
    let findings = &found.findings;
    // Of the past everything is as old as it was then.
    let end = found.window.as_ref().and_then(|w| time::timestamp(w.end));
    let now = end.unwrap_or(now);
    let mut text = window::line(found.window.as_ref());
    if findings.is_empty() {
        text += &match (found.at, &found.window) {
            (_, Some(_)) => paint(GOOD, "Nothing was found."),
            (Some(_), None) => paint(GOOD, "Nothing is found."),
            (None, None) => paint(UNKNOWN, "The diagnosis has not run yet."),
        };
        return text + "\n";
    }
    let mut table = Table::new(&["SEVERITY", "PATTERN", "SCOPE", "LOSS", "SINCE", "CAUSE IS"]);
    for finding in findings {
        let (severity, severity_style) = of_severity(finding.severity());
        let since = time::timestamp(finding.since);
        let since = since.map_or(String::new(), |at| {
            time::span(now.as_second() - at.as_second())
        });
        let (sure, sure_style) = confidence(finding.confidence());
        table.push(vec![
            Cell::painted(severity, severity_style),
            Cell::from(finding.pattern.as_str()),
            Cell::from(finding.scope.as_str()),
            Cell::from(finding.loss.as_ref().map_or(String::new(), share)),
            Cell::from(since),
            Cell::painted(sure, sure_style),
        ]);
    }
    let table = table.render();
    let mut rows = table.lines();
    text.extend([&*paint(BAD, &conclusion(findings)), "\n\n"]);
    text.extend([rows.next().unwrap_or_default(), "\n"]);
    for (row, finding) in rows.zip(findings) {
        text.extend([row, "\n"]);
        text.push_str(&wrapped(&finding.summary, width, 2, 0));
        if let Some(mute) = &finding.mute {
            text.push_str(&paint(DIM, &wrapped(&silenced(mute, now), width, 2, 0)));
        }
        if wide {
            text.push_str(&backing(finding));
        }
    }
    if !found.incomplete_reason.is_empty() {
        text.extend(["\n", &*paint(WARNING, &found.incomplete_reason), "\n"]);
    }
    if !wide && found.window.is_none() {
        let next = "Next: meshprobe findings -o wide, meshprobe explain A B";
        text.extend(["\n", &paint(HEADING, next), "\n"]);
    }
    text
}

/// What backs it, what speaks against it, what else it could be, what to do.
fn backing(finding: &v1::Finding) -> String {
    let mut text = String::new();
    text.push_str(&list("Evidence", &finding.evidence));
    text.push_str(&list("Against it", &finding.counter_examples));
    text.push_str(&list(
        "It could also be",
        &alternatives(&finding.alternatives),
    ));
    if finding.judged > 0 {
        let paths: Vec<String> = finding.paths.iter().map(path).collect();
        let heading = format!("{} of {} paths fail", finding.failing, finding.judged);
        text.push_str(&list(&heading, &paths));
    }
    text.push_str(&list("First actions", &finding.first_actions));
    let facts = [("runbook", &finding.runbook_url), ("id", &finding.id)];
    for (what, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        text.extend(["  ", &paint(HEADING, what), ": ", value, "\n"]);
    }
    text + "\n"
}

fn list(heading: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = lines.iter().map(|line| format!("    - {line}\n")).collect();
    format!("  {}\n{}", paint(HEADING, heading), lines.concat())
}

/// "node-ingress mesh-3"
pub fn alternatives(alternatives: &[v1::Alternative]) -> Vec<String> {
    let named = alternatives.iter();
    named
        .map(|one| format!("{} {}", one.pattern, one.scope))
        .collect()
}

/// "mesh-1 → mesh-3 udp/pod/v4"
pub fn path(path: &v1::NamedPath) -> String {
    let layer = path
        .layer
        .as_ref()
        .and_then(|layer| Layer::try_from(layer).ok());
    let layer = layer.map_or(String::new(), |layer| format!(" {layer}"));
    format!("{} → {}{layer}", path.source, path.target)
}

/// "5.1 % (4.2 to 6.1)"
pub fn share(estimate: &v1::Estimate) -> String {
    let percent = |ratio: f64| {
        let percent = ratio * 100.0;
        if (0.05..99.95).contains(&percent) {
            format!("{percent:.1}")
        } else {
            format!("{percent:.0}")
        }
    };
    let v1::Estimate {
        ratio,
        lower,
        upper,
        ..
    } = estimate;
    format!(
        "{} % ({} to {})",
        percent(*ratio),
        percent(*lower),
        percent(*upper)
    )
}

/// How sure the cause is, in a word.
pub const fn confidence(confidence: v1::Confidence) -> (&'static str, anstyle::Style) {
    match confidence {
        v1::Confidence::Certain => ("certain", PLAIN),
        v1::Confidence::Likely => ("likely", PLAIN),
        v1::Confidence::Suspected => ("suspected", WARNING),
        v1::Confidence::Unspecified => ("", PLAIN),
    }
}

/// "Silenced by 00c0ffee00c0ffee for 1h50m: nobody is told."
pub fn silenced(mute: &v1::Mute, now: Timestamp) -> String {
    let by: Vec<String> = mute
        .silences
        .iter()
        .cloned()
        .chain(mute.draining.iter().map(|node| format!("draining {node}")))
        .collect();
    let until = time::timestamp(mute.until);
    let left = until.map_or(String::new(), |until| {
        format!(" for {}", time::span(until.as_second() - now.as_second()))
    });
    format!("Silenced by {}{left}: nobody is told.", by.join(", "))
}

/// One line of `watch findings`, without its end. `is_gone`: it is not found any more.
pub fn watch_line(finding: &v1::Finding, is_gone: bool, now: Timestamp) -> String {
    let at = time::clock(now, now);
    if is_gone {
        return format!("{at} {} {}", paint(GOOD, "GONE "), title(finding));
    }
    let summary = &finding.summary;
    format!("{at} {} {}: {summary}", paint(BAD, "FOUND"), title(finding))
}
