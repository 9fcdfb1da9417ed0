//! `meshprobe incidents`, `incidents show` and the lines of `watch`.

use jiff::Timestamp;
use meshprobe_proto::v1;

use super::finding;
use super::style::{BAD, DIM, GOOD, HEADING, WARNING, counted, of_severity, paint};
use super::table::{Cell, Table, facts};
use super::time;

/// Characters of an id that a list shows; any unique beginning is understood.
const SHORT_ID: usize = 16;
/// The column of sentences in the list.
const WHAT: usize = 4;

/// Is it open?
pub fn is_open(incident: &v1::Incident) -> bool {
    incident.state() != v1::IncidentState::Resolved
}

/// "node-dark mesh-3"
pub fn title(incident: &v1::Incident) -> String {
    if !incident.scope.is_empty() {
        return format!("{} {}", incident.pattern, incident.scope);
    }
    // An aggregator that is older does not say the scope.
    let scope = if incident.nodes.is_empty() {
        &incident.zones
    } else {
        &incident.nodes
    };
    if scope.is_empty() {
        incident.pattern.clone()
    } else {
        format!("{} {}", incident.pattern, scope.join(", "))
    }
}

/// "1 open incident: node-dark mesh-3"
pub fn conclusion(open: &[&v1::Incident]) -> String {
    /// More are listed by `meshprobe incidents`.
    const NAMED: usize = 5;
    if open.is_empty() {
        return "No open incident.".to_owned();
    }
    let named: Vec<String> = open
        .iter()
        .take(NAMED)
        .map(|incident| title(incident))
        .collect();
    let more = match open.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "{}: {}{more}",
        counted(open.len() as u64, "open incident"),
        named.join("; ")
    )
}

/// The list, the conclusion first; sentences are cut where they do not fit into `width`.
pub fn render(incidents: &[v1::Incident], width: Option<usize>, now: Timestamp) -> String {
    let open: Vec<&v1::Incident> = incidents
        .iter()
        .filter(|incident| is_open(incident))
        .collect();
    let style = if open.is_empty() { GOOD } else { BAD };
    let headline = paint(style, &conclusion(&open));
    if incidents.is_empty() {
        return format!("{headline}\n");
    }
    let mut table = Table::new(&["OPENED", "STATE", "SEVERITY", "INCIDENT", "WHAT", "ID"]);
    for incident in incidents {
        let opened =
            time::timestamp(incident.opened_at).map_or(String::new(), |at| time::ago(at, now));
        let (severity, severity_style) = of_severity(incident.severity());
        let (state, state_style) = state(incident);
        table.push(vec![
            Cell::from(opened),
            Cell::painted(state, state_style),
            Cell::painted(severity, severity_style),
            Cell::from(title(incident)),
            Cell::from(incident.summary.as_str()),
            Cell::painted(incident.id.chars().take(SHORT_ID).collect::<String>(), DIM),
        ]);
    }
    if let Some(width) = width {
        table.fit(WHAT, width);
    }
    format!("{headline}\n\n{}", table.render())
}

fn state(incident: &v1::Incident) -> (String, anstyle::Style) {
    if is_open(incident) {
        return match incident.mute {
            Some(_) => ("silenced".to_owned(), WARNING),
            None => ("open".to_owned(), BAD),
        };
    }
    let lasted = duration(incident).map_or(String::new(), |lasted| format!(" after {lasted}"));
    (format!("resolved{lasted}"), GOOD)
}

fn duration(incident: &v1::Incident) -> Option<String> {
    let opened = time::timestamp(incident.opened_at)?;
    let resolved = time::timestamp(incident.resolved_at)?;
    Some(time::span(resolved.as_second() - opened.as_second()))
}

/// Everything about one.
pub fn detail(incident: &v1::Incident, now: Timestamp) -> String {
    let (severity, severity_style) = of_severity(incident.severity());
    let (state, state_style) = state(incident);
    let when = |wire| {
        time::timestamp(wire).map(|at| format!("{} ({})", time::clock(at, now), time::ago(at, now)))
    };
    let plane = match incident.plane() {
        v1::Plane::Unspecified => "all",
        v1::Plane::Pod => "pod",
        v1::Plane::Host => "host",
        v1::Plane::Service => "service",
    };
    let rows = [
        ("state", Some(paint(state_style, &state))),
        ("severity", Some(paint(severity_style, severity))),
        ("scope", Some(incident.scope.clone())),
        ("loss", incident.loss.as_ref().map(finding::share)),
        (
            "cause is",
            Some(finding::confidence(incident.confidence()).0.to_owned()),
        ),
        ("nodes", Some(incident.nodes.join(", "))),
        ("zones", Some(incident.zones.join(", "))),
        ("plane", Some(plane.to_owned())),
        ("failing since", when(incident.started_at)),
        ("opened", when(incident.opened_at)),
        ("updated", when(incident.updated_at)),
        ("resolved", when(incident.resolved_at)),
        (
            "reopened",
            (incident.reopened > 0).then(|| format!("{} times", incident.reopened)),
        ),
        ("runbook", Some(incident.runbook_url.clone())),
        ("id", Some(incident.id.clone())),
    ];
    let shown: Vec<(&str, String)> = rows
        .into_iter()
        .filter_map(|(what, value)| Some((what, value.filter(|value| !value.is_empty())?)))
        .collect();
    let silenced = incident.mute.as_ref().map_or(String::new(), |mute| {
        paint(WARNING, &finding::silenced(mute, now)) + "\n"
    });
    let paths: Vec<String> = incident.paths.iter().map(finding::path).collect();
    format!(
        "{}\n{}\n{silenced}\n{}{}{}{}{}{}",
        paint(HEADING, &title(incident)),
        incident.summary,
        facts(&shown),
        list("Evidence", "- ", &incident.evidence),
        list("Against it", "- ", &incident.counter_examples),
        list(
            "It could also be",
            "- ",
            &finding::alternatives(&incident.alternatives)
        ),
        list("Failing paths", "", &paths),
        list("First actions", "$ ", &incident.first_actions),
    )
}

fn list(heading: &str, bullet: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("  {bullet}{line}\n"))
        .collect();
    format!("\n{}\n{}", paint(HEADING, heading), lines.concat())
}

/// The same, with what happened to it and what people were told.
pub fn history(detailed: &v1::IncidentDetail, now: Timestamp) -> String {
    let incident = detailed.incident.as_ref();
    let mut text = incident.map_or(String::new(), |incident| detail(incident, now));
    let clock =
        |wire| time::timestamp(wire).map_or("unknown".to_owned(), |at| time::clock(at, now));
    if !detailed.timeline.is_empty() {
        let mut table = Table::new(&["  TIMELINE", "", "WHAT"]);
        for event in &detailed.timeline {
            table.push(vec![
                Cell::from(format!("  {}", clock(event.at))),
                Cell::from(transition(event.transition())),
                Cell::from(event.summary.as_str()),
            ]);
        }
        text.extend(["\n", &table.render()]);
    }
    if !detailed.notifications.is_empty() {
        let mut table = Table::new(&["  TOLD", "WHOM", "OF", "STATE", "ATTEMPTS", "LAST ERROR"]);
        for told in &detailed.notifications {
            let (state, style) = match told.state() {
                v1::NotificationState::Delivered => ("delivered", GOOD),
                v1::NotificationState::Pending => ("waiting", WARNING),
                v1::NotificationState::Dead => ("given up", BAD),
                v1::NotificationState::Digested => ("in a digest", DIM),
                v1::NotificationState::Unspecified => ("", DIM),
            };
            table.push(vec![
                Cell::from(format!("  {}", clock(told.created_at))),
                Cell::from(told.receiver.as_str()),
                Cell::from(transition(told.transition())),
                Cell::painted(state, style),
                Cell::from(told.attempts.to_string()),
                Cell::from(told.last_error.as_str()),
            ]);
        }
        text.extend(["\n", &table.render()]);
    }
    if !detailed.incomplete_reason.is_empty() {
        let reason = paint(WARNING, &detailed.incomplete_reason);
        text.extend(["\nIncomplete: ", &reason, "\n"]);
    }
    text
}

const fn transition(transition: v1::IncidentTransition) -> &'static str {
    match transition {
        v1::IncidentTransition::Opened => "opened",
        v1::IncidentTransition::Reopened => "reopened",
        v1::IncidentTransition::Updated => "updated",
        v1::IncidentTransition::Resolved => "resolved",
        v1::IncidentTransition::Unspecified => "",
    }
}

/// One line of `watch`, without its end.
pub fn watch_line(incident: &v1::Incident, now: Timestamp) -> String {
    let at = if is_open(incident) {
        incident.opened_at
    } else {
        incident.resolved_at
    };
    let at = time::timestamp(at).unwrap_or(now);
    let (word, style) = match (is_open(incident), incident.reopened) {
        (true, 0) => ("OPEN", BAD),
        (true, _) => ("REOPENED", BAD),
        (false, _) => ("RESOLVED", GOOD),
    };
    let tail = if is_open(incident) {
        format!(": {}", incident.summary)
    } else {
        duration(incident).map_or(String::new(), |lasted| format!(" after {lasted}"))
    };
    format!(
        "{} {} {}{tail}",
        time::clock(at, now),
        paint(style, &format!("{word:8}")),
        title(incident)
    )
}
