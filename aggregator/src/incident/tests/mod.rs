mod findings;

use std::time::Duration;

use meshprobe_core::time::Moment;

use super::*;

pub(super) fn declared(pattern: Pattern, nodes: &[&str]) -> Declared {
    Declared {
        pattern,
        nodes: nodes
            .iter()
            .map(|name| DeclaredNode {
                name: name_of(name),
                zone: "zone-b".to_owned(),
            })
            .collect(),
        zone: None,
        plane: None,
        since: at(0),
        accusers: 9,
        observers: 9,
        few_observers: false,
        evidence: vec!["9 of 9 peers lost 4 probes in a row.".to_owned()],
    }
}

fn name_of(text: &str) -> NodeName {
    NodeName::try_from(text).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn book() -> IncidentBook {
    IncidentBook::new(BookConfig::default())
}

#[test]
fn a_dark_node_opens_resolves_and_reopens_one_incident() {
    let mut book = book();
    let dark = declared(Pattern::NodeDark, &["mesh-3"]);
    let opened = book.handle_declared(&dark, at(1)).unwrap();
    assert_eq!(opened.transition, Transition::Opened);
    assert_eq!(opened.incident.started_at, at(0));

    let resolved = book.handle_cleared(Pattern::NodeDark, &[name_of("mesh-3")], at(5));
    assert_eq!(resolved.len(), 1);
    assert_eq!(resolved[0].transition, Transition::Resolved);
    assert_eq!(resolved[0].incident.resolved_at, Some(at(5)));
    assert_eq!(book.open_incidents().count(), 0);

    let again = book.handle_declared(&dark, at(60)).unwrap();
    assert_eq!(again.transition, Transition::Reopened);
    assert_eq!(again.incident.id, opened.incident.id);
    assert_eq!(again.incident.reopened, 1);
    assert_eq!(again.incident.resolved_at, None);
}

#[test]
fn more_dark_nodes_extend_the_open_incident_under_its_identity() {
    let mut book = book();
    let first = book
        .handle_declared(&declared(Pattern::NodeDark, &["a"]), at(1))
        .unwrap();
    let both = declared(Pattern::NodeDark, &["a", "b"]);
    let second = book.handle_declared(&both, at(2)).unwrap();
    assert_eq!(second.transition, Transition::Updated);
    assert_eq!(second.incident.id, first.incident.id);
    assert_eq!(second.incident.nodes.len(), 2);
    assert_eq!(book.open_incidents().count(), 1);
}

#[test]
fn the_same_words_again_are_no_news() {
    let mut book = book();
    let dark = declared(Pattern::NodeDark, &["a"]);
    book.handle_declared(&dark, at(1));
    let more_votes = Declared {
        accusers: 11,
        observers: 11,
        ..dark
    };
    assert_eq!(book.handle_declared(&more_votes, at(2)), None);
    let open: Vec<_> = book.open_incidents().collect();
    assert!(open[0].summary.contains("11 of 11"), "{}", open[0].summary);
}

#[test]
fn one_of_two_nodes_that_comes_back_leaves_the_other_in_the_incident() {
    let mut book = book();
    book.handle_declared(&declared(Pattern::NodeDark, &["a", "b"]), at(1));
    let change = &book.handle_cleared(Pattern::NodeDark, &[name_of("a")], at(9))[0];
    assert_eq!(change.transition, Transition::Updated);
    assert_eq!(change.incident.nodes, [name_of("b")]);
    let end = &book.handle_cleared(Pattern::NodeDark, &[name_of("b")], at(12))[0];
    assert_eq!(end.transition, Transition::Resolved);
    assert_eq!(end.incident.nodes, [name_of("b")]);
}

#[test]
fn other_patterns_stay_open_for_the_minimum_time() {
    let mut book = book();
    let cut = declared(Pattern::ReportsCut, &["a"]);
    book.handle_declared(&cut, at(0));
    assert!(
        book.handle_cleared(Pattern::ReportsCut, &[name_of("a")], at(10))
            .is_empty()
    );
    assert!(book.poll(at(29)).is_empty());
    let ended = book.poll(at(30));
    assert_eq!(ended[0].transition, Transition::Resolved);
}

#[test]
fn a_failure_that_returns_before_the_minimum_time_never_ended() {
    let mut book = book();
    let cut = declared(Pattern::ReportsCut, &["a"]);
    book.handle_declared(&cut, at(0));
    book.handle_cleared(Pattern::ReportsCut, &[name_of("a")], at(10));
    assert_eq!(book.handle_declared(&cut, at(12)), None);
    assert!(book.poll(at(60)).is_empty());
    assert_eq!(book.open_incidents().count(), 1);
}

#[test]
fn an_open_incident_survives_a_restart_and_is_not_opened_twice() {
    let mut before = book();
    let dark = declared(Pattern::NodeDark, &["a"]);
    let opened = before.handle_declared(&dark, at(1)).unwrap();
    let mut after = book();
    after.restore([opened.incident.clone()], Moment::ORIGIN);
    assert_eq!(after.handle_declared(&dark, at(30)), None);
    let ended = after.handle_cleared(Pattern::NodeDark, &[name_of("a")], at(40));
    assert_eq!(ended[0].incident.id, opened.incident.id);
    assert_eq!(
        ended[0].incident.summary,
        "Node a (zone-b): back after 40 s in the dark."
    );
}

#[test]
fn the_aggregators_own_failure_has_no_nodes_and_ends_like_any_other() {
    let mut book = book();
    let isolated = declared(Pattern::AggregatorIsolated, &[]);
    book.handle_declared(&isolated, at(0));
    assert!(
        book.handle_cleared(Pattern::AggregatorIsolated, &[name_of("a")], at(50))
            .is_empty()
    );
    let ended = book.handle_cleared(Pattern::AggregatorIsolated, &[], at(50));
    assert_eq!(ended.len(), 1);
}

#[test]
fn a_failure_of_another_day_is_a_new_opening() {
    let mut book = book();
    let dark = declared(Pattern::NodeDark, &["a"]);
    book.handle_declared(&dark, at(0));
    book.handle_cleared(Pattern::NodeDark, &[name_of("a")], at(5));
    let next_day = at(5) + jiff::SignedDuration::from_secs(86_401);
    assert!(book.poll(next_day).is_empty());
    let change = book.handle_declared(&dark, next_day).unwrap();
    assert_eq!(change.transition, Transition::Opened);
}

#[test]
fn time_going_backwards_never_panics() {
    let mut book = book();
    let dark = declared(Pattern::IngressDead, &["a"]);
    book.handle_declared(&dark, at(100));
    book.handle_cleared(Pattern::IngressDead, &[name_of("a")], at(0));
    assert!(book.poll(at(0)).is_empty());
    let ended = book.poll(at(100) + Duration::from_secs(30));
    assert_eq!(ended.len(), 1);
}
