//! What opens, what ends, and what does neither.

use meshprobe_core::dark::NodeState;
use meshprobe_core::finding::Pattern;
use meshprobe_core::verdict::Thresholds;
use tokio::sync::mpsc;

use super::super::*;
use super::world::{UDP, World};
use crate::incident::Transition;
use crate::membership::StoreChange;
use crate::snapshot::Judging;

#[test]
fn a_healthy_mesh_opens_nothing() {
    let mut world = World::new(6);
    world.connect_all();
    world.run(60_000, None);
    assert!(world.changes.is_empty(), "{:?}", world.transitions());
    assert!((0..6).all(|node| world.state(node) == NodeState::Ok));
    let snapshot = world.mesh.snapshots().borrow().clone();
    assert_eq!(snapshot.judging, Judging::Active);
    assert_eq!(snapshot.nodes_reporting(), 6);
    assert_eq!(
        snapshot
            .paths()
            .count(meshprobe_core::verdict::Verdict::Healthy),
        30
    );
}

#[test]
fn three_nodes_probe_twice_a_second_until_a_fourth_one_joins() {
    let mut world = World::new(4);
    let intervals = |world: &World| {
        let roster = world.mesh.rosters().borrow().clone();
        let name = NodeName::try_from("mesh-0").unwrap();
        let assignment = crate::plan::assignment(&roster.plan, &roster, &name, Plane::Pod).unwrap();
        let udp = i32::from(v1::ProbeKind::Udp);
        let schedules = assignment
            .schedules
            .iter()
            .filter(|s| s.kind == udp && s.interval_millis > 0);
        let assigned: Vec<u32> = schedules.map(|s| s.interval_millis).collect();
        let cells = world.mesh.matrix.layer(UDP).unwrap();
        (assigned, *cells.thresholds())
    };
    for node in 0..3 {
        world.connect(node);
    }
    world.run(12_000, None);
    let (assigned, small) = intervals(&world);
    assert_eq!(assigned, [500]);
    world.connect(3);
    world.run(12_000, None);
    let (assigned, large) = intervals(&world);
    assert_eq!(assigned, [1_000]);
    let expected = |nodes: u64, interval| Thresholds::for_mesh(nodes * (nodes - 1), interval, 10.0);
    assert_eq!(small, expected(3, 0.5));
    assert_eq!(large, expected(4, 1.0));
}

#[test]
fn a_dark_node_is_announced_once_within_two_seconds_and_resolved_when_it_is_back() {
    let mut world = World::new(6);
    world.connect_all();
    world.run(30_000, None);
    let cut_at = world.now.moment;
    world.probers[3].is_alive = false;
    world.run(2_000, Some((&[3], cut_at)));
    assert_eq!(
        world.transitions(),
        [(Transition::Opened, Pattern::NodeDark)]
    );
    assert!(world.confirms > 0, "others were asked to confirm");
    let incident = &world.changes[0].incident;
    assert_eq!(incident.nodes[0].as_str(), "mesh-3");
    assert_eq!(incident.zones, ["zone-b"]);
    assert!(
        incident
            .summary
            .starts_with("Node mesh-3 (zone-b) is dark: 5 of 5 peers"),
        "{}",
        incident.summary
    );
    world.run(20_000, Some((&[3], cut_at)));
    assert_eq!(world.changes.len(), 1, "{:?}", world.transitions());
    assert_eq!(world.state(3), NodeState::Failed(Pattern::NodeDark));

    world.probers[3].is_alive = true;
    world.run(30_000, None);
    assert_eq!(
        world.transitions()[1..],
        [(Transition::Resolved, Pattern::NodeDark)]
    );
    assert_eq!(world.state(3), NodeState::Ok);
}

#[test]
fn a_node_that_said_goodbye_is_leaving_and_nobody_is_paged() {
    let mut world = World::new(6);
    world.connect_all();
    world.run(30_000, None);
    let goodbye = StreamEvent::Goodbye {
        prober: world.key(3),
        stream: world.probers[3].stream,
        goodbye: v1::Goodbye {
            reason: "SIGTERM".to_owned(),
            back_within_seconds: 120,
        },
    };
    world.mesh.handle(goodbye, world.now);
    let closed = StreamEvent::Closed {
        prober: world.key(3),
        stream: world.probers[3].stream,
    };
    world.mesh.handle(closed, world.now);
    world.probers[3].is_alive = false;
    let left_at = world.now.moment;
    world.run(60_000, Some((&[3], left_at)));
    assert_eq!(world.state(3), NodeState::Leaving);
    world.run(90_000, Some((&[3], left_at)));
    assert!(world.changes.is_empty(), "{:?}", world.transitions());
    assert_eq!(world.mesh.snapshots().borrow().nodes.len(), 5, "gone");
}

#[test]
fn a_cut_stream_of_a_healthy_node_is_reports_cut() {
    let mut world = World::new(6);
    world.connect_all();
    world.run(30_000, None);
    world.hang_up(2);
    world.run(15_000, None);
    assert_eq!(
        world.transitions(),
        [(Transition::Opened, Pattern::ReportsCut)]
    );
    world.connect(2);
    world.run(60_000, None);
    assert_eq!(
        world.transitions()[1..],
        [(Transition::Resolved, Pattern::ReportsCut)]
    );
}

#[test]
fn joins_are_coalesced_into_few_rosters() {
    let mut world = World::new(100);
    let rosters = world.mesh.rosters();
    let mut generations = std::collections::BTreeSet::new();
    for node in 0..100 {
        world.connect(node);
        world.run(10, None);
        generations.insert(rosters.borrow().generation);
    }
    world.run(300, None);
    assert!(
        generations.len() <= 7,
        "{} rosters in a second",
        generations.len()
    );
    assert_eq!(rosters.borrow().nodes().len(), 100);
    let settled = rosters.borrow().generation;
    world.run(60_000, None);
    assert_eq!(rosters.borrow().generation, settled, "no change, no roster");
}

#[test]
fn a_late_report_is_counted_and_judges_nothing() {
    let mut world = World::new(3);
    world.connect_all();
    world.run(20_000, None);
    let before = world.mesh.path("mesh-0", "mesh-1", world.now).unwrap();
    world.report_late(0, Duration::from_secs(3_600));
    let after = world.mesh.path("mesh-0", "mesh-1", world.now).unwrap();
    assert_eq!(after.forward, before.forward);
    assert_eq!(world.mesh.metrics.reports("late"), 1);
    let batch = world.mesh.take_batch().unwrap();
    let StoreChange::Progress(progress) = &batch.changes[0] else {
        panic!("{:?}", batch.changes);
    };
    assert_eq!(progress.through, world.probers[0].sequence);
}

#[test]
fn a_confirm_that_nobody_reads_is_dropped_and_counted() {
    let mut world = World::new(2);
    world.connect_all();
    let question = Question {
        node: NodeIndex(0),
        subjects: [NodeIndex(1)].into(),
    };
    for _ in 0..20 {
        world.mesh.ask(&question);
    }
    let admitted = world.probers[0].admitted.as_mut().unwrap();
    let confirms: &mut mpsc::Receiver<v1::Confirm> = &mut admitted.confirms;
    let first = confirms.try_recv().unwrap();
    assert_eq!(first.peer_ssid, [2]);
    let mut queued = 1;
    while confirms.try_recv().is_ok() {
        queued += 1;
    }
    assert_eq!(queued, crate::ingest::session::CONFIRM_QUEUE);
}
