//! Runs of the diagnosis go in, incidents come out.

use std::collections::BTreeSet;
use std::time::Duration;

use meshprobe_core::diagnosis::{Topology, TopologyNode};
use meshprobe_core::finding::{Counted, Finding};
use meshprobe_core::ids::ZoneIndex;
use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::path::ProbeKind;

use super::*;
use crate::pipeline::Now;

/// A book, and a mesh of `x1 x2 x3` in zone x and `y1 y2 y3` in zone y, looked at once a second.
struct World {
    book: IncidentBook,
    topology: Topology,
    declared: BTreeSet<NodeName>,
    quiet: BTreeSet<NodeName>,
    is_blind: bool,
    second: i64,
}

/// What is found opens only what the detector has declared too.
fn two_judges() -> BookConfig {
    BookConfig {
        opens: Opens::Declared,
        ..BookConfig::default()
    }
}

impl World {
    fn new() -> Self {
        let node = |zone: u16, name: &str| {
            Some(TopologyNode {
                name: name_of(name),
                zone: ZoneIndex(zone),
                lifecycle: Lifecycle::Active,
                is_warming_up: false,
                addresses: Vec::new(),
            })
        };
        let mut nodes = vec![None];
        nodes.extend(["x1", "x2", "x3"].map(|name| node(1, name)));
        nodes.extend(["y1", "y2", "y3"].map(|name| node(2, name)));
        Self {
            book: IncidentBook::new(BookConfig::default()),
            topology: Topology {
                nodes,
                zones: vec![String::new(), "x".to_owned(), "y".to_owned()],
            },
            declared: BTreeSet::new(),
            quiet: BTreeSet::new(),
            is_blind: false,
            second: 0,
        }
    }

    fn now(&self) -> Now {
        Now {
            moment: Moment::from_millis(86_400_000 + self.second as u64 * 1_000),
            wall: at(self.second),
        }
    }

    /// One run, a second after the one before.
    fn look(&mut self, findings: &[Finding]) -> Vec<IncidentChange> {
        self.second += 1;
        let now = self.now();
        let look = Look {
            findings,
            topology: &self.topology,
            declared: &self.declared,
            quiet: &self.quiet,
            is_blind: self.is_blind,
        };
        let mut changes = self.book.handle_findings(&look, now);
        changes.extend(self.book.poll(now.wall));
        changes
    }

    /// The same for so many seconds; changes with their second, counted from the first run.
    fn looks(&mut self, seconds: u32, findings: &[Finding]) -> Vec<(u32, IncidentChange)> {
        (1..=seconds)
            .flat_map(|second| {
                let changes = self.look(findings);
                changes.into_iter().map(move |change| (second, change))
            })
            .collect()
    }

    fn open(&self) -> Vec<String> {
        let open = self.book.open_incidents();
        open.map(|one| format!("{} · {}", one.pattern, one.scope))
            .collect()
    }
}

fn finding(pattern: Pattern, scope: Scope) -> Finding {
    Finding::new(pattern, scope, "Something is broken.")
}

fn ingress(node: &str) -> Finding {
    finding(Pattern::NodeIngress, Scope::node(name_of(node)))
}

fn path(from: &str, to: &str) -> Finding {
    finding(Pattern::Path, Scope::path(name_of(from), name_of(to)))
}

fn losing(mut finding: Finding, lost: u64) -> Finding {
    let ratio = lost as f64 / 1_000.0;
    finding.loss = Some(Estimate {
        ratio,
        lower: ratio * 0.9,
        upper: (ratio * 1.1).min(1.0),
        sent: 1_000,
        lost,
    });
    finding
}

#[test]
fn why_a_prober_does_not_run_takes_the_place_of_that_it_does_not() {
    let mut world = World::new();
    world.book.reconfigure(two_judges());
    let down = declared(Pattern::ProberDown, &["x1"]);
    world.book.handle_declared(&down, at(0)).unwrap();
    world.quiet.insert(name_of("x1"));
    let why = finding(Pattern::ProberNotRunning, Scope::node(name_of("x1")));
    let other = finding(Pattern::ProberNotRunning, Scope::node(name_of("x2")));
    let changes = world.looks(10, &[why, other]);
    let told: Vec<_> = changes
        .iter()
        .map(|(_, change)| (change.transition, change.incident.pattern))
        .collect();
    assert_eq!(
        told,
        [
            (Transition::Resolved, Pattern::ProberDown),
            (Transition::Opened, Pattern::ProberNotRunning)
        ],
        "the cluster's word alone opens nothing"
    );
    assert_eq!(world.open(), ["prober-not-running · x1"]);
    assert_eq!(world.book.handle_declared(&down, at(60)), None);
    let gone = name_of("x1");
    world
        .book
        .handle_cleared(Pattern::ProberDown, &[gone], at(61));
    world.quiet.clear();
    world.looks(60, &[]);
    assert!(world.open().is_empty());
}

#[test]
fn two_judges_have_to_agree_where_it_is_so_configured() {
    let mut world = World::new();
    world.book.reconfigure(two_judges());
    let kind = finding(Pattern::Kind, Scope::node(name_of("x1")));
    let found = [ingress("x1"), path("x2", "y1"), kind];
    assert_eq!(world.looks(60, &found), []);
    world.declared.insert(name_of("x1"));
    world.look(&found);
    assert_eq!(world.open(), ["node-ingress · x1"]);
}

#[test]
fn a_declared_node_whose_ways_look_different_for_some_seconds_keeps_its_incident() {
    let mut world = World::new();
    world.declared.insert(name_of("x1"));
    let cut = finding(Pattern::OverlayNode, Scope::node(name_of("x1")));
    let heals = finding(Pattern::OverlayIngress, Scope::node(name_of("x1")));
    assert_eq!(world.look(std::slice::from_ref(&cut)).len(), 1);
    assert_eq!(world.looks(10, std::slice::from_ref(&heals)), []);
    assert_eq!(world.looks(10, std::slice::from_ref(&cut)), []);
    assert_eq!(world.open(), ["overlay-node · x1"]);
    let renamed = world.looks(40, std::slice::from_ref(&heals));
    assert_eq!(world.open(), ["overlay-ingress · x1"], "{renamed:?}");
}

#[test]
fn a_finding_opens_when_it_stood_for_four_seconds_and_ends_after_three_looks_without_it() {
    let mut world = World::new();
    let opened = world.looks(40, &[ingress("x1")]);
    assert_eq!(opened.len(), 1);
    let (second, change) = &opened[0];
    assert_eq!((*second, change.transition), (5, Transition::Opened));
    let incident = &change.incident;
    assert_eq!(
        (incident.nodes.as_slice(), incident.zones.as_slice()),
        ([name_of("x1")].as_slice(), ["x".to_owned()].as_slice())
    );
    assert_eq!(incident.severity, Severity::Critical);
    let actions = &incident.first_actions;
    assert!(
        !actions.is_empty() && actions.iter().all(|line| line.contains("  # ")),
        "{actions:?}"
    );

    let ended = world.looks(40, &[]);
    assert_eq!(ended.len(), 1);
    let (second, change) = &ended[0];
    assert_eq!((*second, change.transition), (16, Transition::Resolved));
    assert_eq!(change.incident.id, incident.id);
    assert!(
        change
            .incident
            .summary
            .starts_with("Node x1 (x): over after")
    );
}

#[test]
fn a_finding_that_is_missing_in_one_run_has_to_stand_anew() {
    let mut world = World::new();
    for _ in 0..5 {
        assert!(world.looks(4, &[ingress("x1")]).is_empty());
        assert!(world.look(&[]).is_empty());
    }
}

#[test]
fn an_incident_is_open_for_half_a_minute_at_least_and_a_finding_that_returns_keeps_it_open() {
    let mut world = World::new();
    world.looks(5, &[ingress("x1")]);
    assert!(world.looks(20, &[]).is_empty());
    assert!(world.looks(30, &[ingress("x1")]).is_empty());
    assert_eq!(world.open(), ["node-ingress · x1"]);
    // It was open long enough: now the looks alone decide.
    assert_eq!(world.looks(16, &[]).len(), 1);
}

#[test]
fn what_the_detector_has_declared_opens_at_once() {
    let mut world = World::new();
    world.declared.insert(name_of("x1"));
    let opened = world.look(&[ingress("x1"), ingress("y1")]);
    assert_eq!(opened.len(), 1);
    assert_eq!(opened[0].incident.nodes, [name_of("x1")]);
}

#[test]
fn another_share_is_no_news_and_one_that_matters_more_is() {
    let mut world = World::new();
    world.looks(9, &[losing(ingress("x1"), 50)]);
    assert!(world.look(&[losing(ingress("x1"), 60)]).is_empty());
    let open: Vec<_> = world.book.open_incidents().collect();
    assert_eq!(open[0].loss.unwrap().lost, 60);
    let worse = world.look(&[losing(ingress("x1"), 1_000)]);
    assert_eq!(
        (worse[0].transition, worse[0].incident.severity),
        (Transition::Updated, Severity::Critical)
    );
    // It is not told again each time the share swings.
    assert!(world.look(&[losing(ingress("x1"), 400)]).is_empty());
    assert!(world.look(&[losing(ingress("x1"), 1_000)]).is_empty());
}

#[test]
fn a_fault_that_grows_is_one_incident_at_a_time() {
    let mut world = World::new();
    world.looks(11, &[path("x1", "y1"), path("x3", "x2")]);
    let zones = finding(Pattern::ZonePair, Scope::zones("x", "y"));
    let grown = world.looks(5, &[zones, path("x3", "x2")]);
    let told: Vec<_> = grown
        .iter()
        .map(|(_, change)| (change.transition, change.incident.pattern))
        .collect();
    assert_eq!(
        told,
        [
            (Transition::Resolved, Pattern::Path),
            (Transition::Opened, Pattern::ZonePair)
        ]
    );
    assert_eq!(
        grown[0].1.incident.summary,
        "x1→y1: the path is part of zone-pair · x↔y, which is told in its place."
    );
    let mut open = world.open();
    open.sort_unstable();
    assert_eq!(open, ["path · x3→x2", "zone-pair · x↔y"]);
}

#[test]
fn a_cause_that_gets_another_name_takes_the_place_of_the_first() {
    let mut world = World::new();
    let node = || Scope::node(name_of("x1"));
    world.looks(5, &[finding(Pattern::OverlayNode, node())]);
    world.looks(10, &[finding(Pattern::NodeLink, node())]);
    assert_eq!(world.open(), ["overlay-node · x1"], "not at once");
    world.looks(10, &[finding(Pattern::NodeLink, node())]);
    assert_eq!(world.open(), ["node-link · x1"]);
}

#[test]
fn a_part_of_an_open_incident_is_opened_when_that_one_has_ended() {
    let mut world = World::new();
    let zone = Scope::of(Place::Zone("x".to_owned()));
    world.looks(
        60,
        &[finding(Pattern::Zone, zone), ingress("x2"), ingress("y2")],
    );
    let mut open = world.open();
    open.sort_unstable();
    assert_eq!(open, ["node-ingress · y2", "zone · zone x"]);
    world.looks(16, &[ingress("x2"), ingress("y2")]);
    world.look(&[ingress("x2"), ingress("y2")]);
    assert_eq!(world.open().len(), 2);
    assert!(world.open().contains(&"node-ingress · x2".to_owned()));
}

#[test]
fn a_part_that_loses_more_than_the_whole_is_a_cause_of_its_own() {
    let mut world = World::new();
    let mesh = losing(finding(Pattern::Mesh, Scope::everywhere()), 100);
    let findings = [
        mesh,
        ingress("x1"),
        losing(ingress("x2"), 90),
        losing(ingress("y1"), 400),
        path("y2", "y3"),
    ];
    world.looks(20, &findings);
    let open = |world: &World| {
        let mut open = world.open();
        open.sort_unstable();
        open
    };
    assert_eq!(open(&world), ["mesh · everywhere", "node-ingress · x1"]);
    // While a fault is young, some of its paths and shares look worse than the whole.
    world.looks(60, &findings);
    assert_eq!(
        open(&world),
        [
            "mesh · everywhere",
            "node-ingress · x1",
            "node-ingress · y1",
            "path · y2→y3"
        ]
    );
}

#[test]
fn pieces_and_shares_stand_longer_before_they_are_told() {
    let mut world = World::new();
    let findings = [path("x1", "y1"), losing(ingress("y2"), 200), ingress("x3")];
    world.looks(6, &findings);
    assert_eq!(world.open(), ["node-ingress · x3"]);
    world.looks(3, &findings);
    assert_eq!(world.open().len(), 2, "a path has to last for ten seconds");
    world.looks(2, &findings);
    assert_eq!(world.open().len(), 3);
}

/// A share of what arrives at x1, of which something was last lost so many seconds ago.
fn lost_at(seconds: u64, world: &World) -> [Finding; 1] {
    let mut finding = losing(ingress("x1"), 110);
    finding.counted = Some(Counted {
        sent: 1_000.0,
        lost: 110.0,
        lost_at: Some(world.now().moment - Duration::from_secs(seconds)),
    });
    [finding]
}

#[test]
fn a_burst_that_is_still_remembered_is_not_told_before_more_is_lost() {
    let mut world = World::new();
    // The burst was a second before it was found, and every look after that is of the same counts.
    for second in 1..30 {
        let found = lost_at(second, &world);
        world.look(&found);
    }
    assert!(world.open().is_empty());
    let found = lost_at(1, &world);
    world.look(&found);
    assert_eq!(world.open(), ["node-ingress · x1"]);
}

#[test]
fn what_is_lost_whole_needs_no_newer_loss() {
    let mut world = World::new();
    let [mut found] = lost_at(1, &world);
    found.loss = losing(ingress("x1"), 1_000).loss;
    world.looks(8, &[found]);
    assert_eq!(world.open(), ["node-ingress · x1"]);
}

#[test]
fn how_long_a_path_has_been_dead_counts_and_not_since_when_that_is_known() {
    let mut world = World::new();
    let known = Finding {
        since: Some(world.now().moment - Duration::from_secs(6)),
        ..path("x1", "y1")
    };
    world.looks(6, std::slice::from_ref(&known));
    assert!(world.open().is_empty(), "it has stood for five seconds");
    world.looks(1, &[known]);
    assert_eq!(world.open().len(), 1);
}

#[test]
fn what_is_known_better_is_shown_now_and_then_and_is_no_news() {
    let mut world = World::new();
    world.looks(10, &[losing(ingress("x1"), 200)]);
    let mut refined = 0;
    for look in 0..20 {
        for (_, change) in world.looks(1, &[losing(ingress("x1"), 200 + look)]) {
            assert_eq!(change.transition, Transition::Refined);
            assert!(change.incident.loss.is_some_and(|loss| loss.lost > 200));
            refined += 1;
        }
    }
    assert!((3..=4).contains(&refined), "{refined}");
}

#[test]
fn what_is_left_of_an_incident_that_is_over_is_not_told_for_a_while() {
    let mut world = World::new();
    let zones = || finding(Pattern::ZonePair, Scope::zones("x", "y"));
    let left = || losing(path("x1", "y1"), 100);
    world.looks(40, &[zones()]);
    let pair = || {
        let ends = Scope::nodes(vec![name_of("x3"), name_of("y3")]);
        losing(finding(Pattern::Path, ends), 100)
    };
    world.looks(20, &[left(), pair()]);
    assert!(world.open().is_empty());
    // Nothing gets through any more: that is no remnant.
    world.looks(11, &[left(), path("x2", "y2")]);
    assert_eq!(world.open(), ["path · x2→y2"]);
    world.looks(90, &[left(), path("x2", "y2")]);
    assert_eq!(world.open().len(), 2);
}

#[test]
fn failures_of_another_kind_stand_beside_each_other() {
    let mut world = World::new();
    let kind = Scope::everywhere().with_kind(ProbeKind::Udp);
    world.looks(
        5,
        &[
            finding(Pattern::Kind, kind),
            finding(Pattern::DnsServer, Scope::target("coredns-1")),
            finding(Pattern::Mtu, Scope::node(name_of("x1"))),
        ],
    );
    assert_eq!(world.open().len(), 3);
}

#[test]
fn nothing_is_opened_about_nodes_that_are_dark_or_leave() {
    let mut world = World::new();
    world.quiet.insert(name_of("x1"));
    let findings = [ingress("x1"), path("y1", "x1"), path("x1", "y2")];
    assert!(world.looks(20, &findings).is_empty());
    world.quiet.extend([name_of("x2"), name_of("x3")]);
    let zones = finding(Pattern::ZonePair, Scope::zones("x", "y"));
    assert!(world.looks(20, &[zones]).is_empty());
    // It stood all the time, and is told as soon as it may be.
    world.quiet.clear();
    assert_eq!(world.looks(5, &findings).len(), 1);
}

#[test]
fn what_is_not_found_while_most_probers_are_silent_is_not_over() {
    let mut world = World::new();
    world.looks(40, &[ingress("x1")]);
    world.is_blind = true;
    assert!(world.looks(60, &[]).is_empty());
    world.is_blind = false;
    assert_eq!(world.looks(16, &[]).len(), 1);
}

#[test]
fn after_a_restart_an_incident_stays_open_until_the_diagnosis_refutes_it() {
    let mut before = World::new();
    before.looks(9, &[ingress("x1"), losing(ingress("y1"), 20)]);
    let mut after = World::new();
    after.second = 60;
    let (incidents, now) = (before.book.open_incidents().cloned(), after.now());
    after.book.restore(incidents, now.moment);
    assert!(after.looks(15, &[]).is_empty());
    let (_, ended) = &after.looks(5, &[])[0];
    assert_eq!(ended.incident.nodes, [name_of("x1")]);
    // What loses a little has to be measured anew first.
    assert!(after.looks(60, &[]).is_empty());
    assert_eq!(after.looks(40, &[]).len(), 1);
}

#[test]
fn a_stored_incident_of_a_former_version_gets_the_scope_that_its_nodes_imply() {
    let json = serde_json::json!({
        "id": "43c21ae5ddbb8461", "pattern": "node-dark", "nodes": ["mesh-3"], "zones": ["z"], "plane": null,
        "state": "open", "severity": "critical", "summary": "", "evidence": [],
        "started_at": "2026-01-01T00:00:00Z", "opened_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z", "resolved_at": null, "reopened": 0,
    });
    let incident: Incident = serde_json::from_value(json).unwrap();
    let incident = incident.completed();
    assert_eq!(incident.scope, Scope::node(name_of("mesh-3")));
    assert_eq!(
        IncidentId::of(incident.pattern, &incident.scope),
        incident.id
    );
    let written = serde_json::to_string(&incident).unwrap();
    assert_eq!(
        serde_json::from_str::<Incident>(&written).unwrap(),
        incident
    );
}
