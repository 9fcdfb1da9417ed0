//! The texts of the commands other than `matrix`, without colours.

use jiff::Timestamp;
use meshprobe_proto::v1;

use super::*;
use crate::exit::Health;
use crate::samples::{self, NOW};

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn a_healthy_status() {
    let status = samples::status();
    assert_eq!(status::health(&status), Health::Healthy);
    insta::assert_snapshot!(plain(&status::render(&status, "127.0.0.1:4860", now())));
}

#[test]
fn a_status_with_an_incident_names_the_next_step() {
    let status = v1::Status {
        open_incidents: 1,
        notifications_pending: 2,
        ..samples::status()
    };
    assert_eq!(status::health(&status), Health::Unhealthy);
    insta::assert_snapshot!(plain(&status::render(&status, "127.0.0.1:4860", now())));
}

#[test]
fn an_aggregator_that_does_not_judge_is_not_called_healthy() {
    let status = v1::Status {
        judging: false,
        not_judging_reason: "1 of 3 probers reported".to_owned(),
        ..samples::status()
    };
    assert_eq!(status::health(&status), Health::Unhealthy);
    let text = plain(&status::render(&status, "a:1", now()));
    assert!(
        text.starts_with(
            "Not healthy: the aggregator does not judge yet: 1 of 3 probers reported."
        ),
        "{text}"
    );
}

#[test]
fn nodes_by_zone_and_number() {
    let nodes = samples::nodes();
    assert_eq!(node::health(&nodes), Health::Unhealthy);
    insta::assert_snapshot!("nodes", plain(&node::render(&nodes, Some(100), now())));
    insta::assert_snapshot!("nodes_wide", plain(&node::render(&nodes, None, now())));
}

#[test]
fn a_node_that_leaves_on_purpose_is_not_unhealthy() {
    let nodes: Vec<v1::Node> = samples::nodes()
        .into_iter()
        .filter(|node| node.name != "mesh-3")
        .collect();
    assert_eq!(node::health(&nodes), Health::Healthy);
    assert_eq!(
        node::health(&[]),
        Health::Unhealthy,
        "nothing is known of an empty mesh"
    );
}

#[test]
fn a_path_in_both_directions() {
    let detail = samples::path();
    assert_eq!(path::health(&detail), Health::Unhealthy);
    insta::assert_snapshot!(
        "path",
        plain(&path::render(&detail, "mesh-1", "mesh-3", false, now()))
    );
    insta::assert_snapshot!(
        "path_wide",
        plain(&path::render(&detail, "mesh-1", "mesh-3", true, now()))
    );
}

#[test]
fn a_path_that_nobody_probes_is_not_healthy() {
    let detail = v1::PathDetail::default();
    assert_eq!(path::health(&detail), Health::Unhealthy);
    insta::assert_snapshot!(plain(&path::render(&detail, "a", "b", false, now())));
}

#[test]
fn incidents_with_the_open_ones_in_the_conclusion() {
    let incidents = [samples::node_dark("mesh-3"), samples::resolved("mesh-5")];
    insta::assert_snapshot!(
        "incidents",
        plain(&incident::render(&incidents, None, now()))
    );
    insta::assert_snapshot!("no_incidents", plain(&incident::render(&[], None, now())));
    insta::assert_snapshot!("incident", plain(&incident::detail(&incidents[0], now())));
    let lines = incidents
        .map(|each| plain(&incident::watch_line(&each, now())))
        .join("\n");
    insta::assert_snapshot!("watch_lines", lines);
}

#[test]
fn findings_stand_with_their_sentences_and_fit_eighty_columns() {
    let found = v1::ListFindingsResponse {
        at: samples::status().started_at,
        findings: vec![
            samples::finding_of(&samples::node_dark("mesh-3")),
            samples::lossy_zones(),
        ],
        ..v1::ListFindingsResponse::default()
    };
    let text = plain(&finding::render(&found, Some(80), false, now()));
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    insta::assert_snapshot!("findings", text);
    insta::assert_snapshot!(
        "findings_wide",
        plain(&finding::render(&found, None, true, now()))
    );
    let lines = [
        finding::watch_line(&found.findings[0], false, now()),
        finding::watch_line(&found.findings[0], true, now()),
    ];
    insta::assert_snapshot!("watch_findings", plain(&lines.join("\n")));
    let nothing = v1::ListFindingsResponse::default();
    let text = plain(&finding::render(&nothing, Some(80), false, now()));
    assert_eq!(text, "The diagnosis has not run yet.\n");
}

#[test]
fn findings_of_the_past_are_as_old_as_they_were_then() {
    let dark = samples::finding_of(&samples::node_dark("mesh-3"));
    let since = dark.since.unwrap().seconds;
    let at = |second| {
        Some(prost_types::Timestamp {
            seconds: since + second,
            nanos: 0,
        })
    };
    let mut past = v1::ListFindingsResponse {
        at: at(95),
        findings: vec![dark],
        window: Some(v1::HistoryWindow {
            start: at(85),
            end: at(95),
            resolution_seconds: 10,
            recorded_seconds: 10,
        }),
        incomplete_reason: "more findings stood".to_owned(),
        ..v1::ListFindingsResponse::default()
    };
    let later = now() + jiff::SignedDuration::from_hours(30);
    let text = plain(&finding::render(&past, Some(100), false, later));
    assert!(text.starts_with("As it was from "), "{text}");
    assert!(text.contains(" 1m35s "), "{text}");
    assert!(text.contains("more findings stood"), "{text}");
    assert!(!text.contains("Next:"), "{text}");
    past.findings.clear();
    let text = plain(&finding::render(&past, Some(100), false, later));
    assert!(text.ends_with("Nothing was found.\n"), "{text}");
}

#[test]
fn an_explanation_goes_from_the_answer_to_the_layers() {
    let explanation = samples::explanation();
    assert_eq!(explain::health(&explanation), Health::Unhealthy);
    let text = plain(&explain::render(&explanation, Some(100), now()));
    insta::assert_snapshot!("explanation", text);
    let narrow = plain(&explain::render(&explanation, Some(80), now()));
    assert!(
        narrow.lines().all(|line| line.chars().count() <= 80),
        "{narrow}"
    );
    insta::assert_snapshot!("explanation_narrow", narrow);
}

#[test]
fn an_incident_has_its_timeline_and_who_was_told() {
    let incident = v1::Incident {
        scope: "mesh-3".to_owned(),
        confidence: v1::Confidence::Likely.into(),
        counter_examples: vec!["mesh-2 still hears it".to_owned()],
        first_actions: vec!["ssh mesh-3 uptime".to_owned()],
        mute: samples::lossy_zones().mute,
        ..samples::node_dark("mesh-3")
    };
    let mut detail = samples::incident_detail(&incident);
    detail.incomplete_reason = "the store cannot be written now".to_owned();
    insta::assert_snapshot!(
        "incident_history",
        plain(&incident::history(&detail, now()))
    );
}

#[test]
fn silences_with_what_is_left_of_them() {
    let silences = [samples::silence(), samples::expired()];
    insta::assert_snapshot!(
        "silences",
        plain(&silence::render(&silences, Some(100), now()))
    );
    insta::assert_snapshot!("silence_made", plain(&silence::made(&silences[0], now())));
    assert_eq!(
        plain(&silence::render(&[], None, now())),
        "Nothing is silenced.\n"
    );
}

#[test]
fn a_list_fits_the_terminal_by_cutting_sentences_and_nothing_else() {
    let incidents = [samples::node_dark("mesh-3"), samples::resolved("mesh-5")];
    for width in [106, 120, 130] {
        let text = plain(&incident::render(&incidents, Some(width), now()));
        assert!(
            text.lines().all(|line| line.chars().count() <= width),
            "{text}"
        );
        assert!(
            text.contains("7c1f0a94e2b86d35") && text.contains('…'),
            "{text}"
        );
    }
}

#[test]
fn many_open_incidents_are_counted_and_not_all_named() {
    let open: Vec<v1::Incident> = (1..=8)
        .map(|n| samples::node_dark(&format!("mesh-{n}")))
        .collect();
    let text = incident::conclusion(&open.iter().collect::<Vec<_>>());
    assert!(
        text.starts_with("8 open incidents: node-dark mesh-1; "),
        "{text}"
    );
    assert!(text.ends_with("node-dark mesh-5 and 3 more"), "{text}");
}

#[test]
fn notifications_begin_with_what_was_given_up() {
    let now = Timestamp::UNIX_EPOCH;
    let text = plain(&notification::render(&samples::notifications(), None, now));
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("1 notification given up, 1 waiting."));
    let failed = lines.find(|line| line.contains("failed")).unwrap();
    for words in [
        "pager",
        "opened node-dark mesh-3",
        "401: who are you",
        "n.1",
    ] {
        assert!(failed.contains(words), "{failed}");
    }
    let none = plain(&notification::render(&[], None, now));
    assert_eq!(none, "No notification waits, none was given up.\n");
}
