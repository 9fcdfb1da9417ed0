//! From the reports of a real fault to incidents: matrix, pictures, diagnosis and book together.

use meshprobe_core::dark::NodeState;
use meshprobe_core::finding::Pattern;
use meshprobe_core::verdict::Verdict;

use super::super::*;
use super::world::{UDP, World};
use crate::incident::{IncidentId, Transition};

const NODES: usize = 6;

fn world() -> World {
    let mut world = World::new(NODES);
    world.connect_all();
    world.run(60_000, None);
    assert!(world.changes.is_empty(), "{:?}", world.transitions());
    world
}

/// When each change came, counted from `since`, in seconds.
fn told(world: &World, since: jiff::Timestamp) -> Vec<(Transition, String, i64)> {
    let told = world.changes.iter().map(|change| {
        let incident = &change.incident;
        let name = format!("{} · {}", incident.pattern, incident.scope);
        let after = incident.updated_at.duration_since(since).as_secs();
        (change.transition, name, after)
    });
    told.collect()
}

#[test]
fn a_healthy_mesh_is_looked_at_when_somebody_has_reported_and_nothing_is_found() {
    let mut world = World::new(NODES);
    world.connect_all();
    world.run(5_000, None);
    let first = world.diagnosed.as_ref().map_or(0, |one| one.shot.number);
    world.run(60_000, None);
    let newest = world.diagnosed.as_ref().unwrap();
    let looks = newest.shot.number - first;
    // All of them report at once, every ten seconds, and there is a look in between.
    assert!((12..=14).contains(&looks), "{looks}");
    assert!(newest.diagnosis.findings.is_empty());
    let picture = &newest.shot.picture;
    let udp = picture.layer(UDP).unwrap();
    let cells = udp.rows.iter().flatten().flat_map(|row| row.iter());
    let healthy = cells.filter(|(_, cell)| cell.verdict == Verdict::Healthy);
    assert_eq!(healthy.count(), NODES * (NODES - 1));
    assert_eq!(picture.node(NodeIndex(3)).unwrap().name.as_str(), "mesh-3");
    assert!(picture.nodes.iter().all(|node| node.is_reporting));
}

#[test]
fn when_nobody_reports_anything_new_a_picture_is_made_now_and_then() {
    let mut world = world();
    world.idle(2_000);
    let before = world.diagnosed.as_ref().unwrap().shot.number;
    world.idle(2_000);
    assert_eq!(world.diagnosed.as_ref().unwrap().shot.number, before);
    world.idle(18_000);
    let looks = world.diagnosed.as_ref().unwrap().shot.number - before;
    assert!((3..=5).contains(&looks), "{looks}");
}

#[test]
fn a_node_that_nothing_reaches_is_one_incident_in_time_and_ends_with_the_fault() {
    let mut world = world();
    let begun = world.now.wall;
    for node in (0..NODES).filter(|node| *node != 3) {
        world.broken.insert((node, 3));
    }
    world.run(40_000, None);
    assert_eq!(world.state(3), NodeState::Failed(Pattern::IngressDead));
    let opened = told(&world, begun);
    let [(Transition::Opened, name, after)] = opened.as_slice() else {
        panic!("{opened:?}");
    };
    assert_eq!(name, "node-ingress · mesh-3");
    assert!(*after <= 15, "{after}");
    let incident = world.changes[0].incident.clone();
    let id = IncidentId::of(incident.pattern, &incident.scope);
    assert_eq!(incident.id, id);
    assert_eq!(incident.severity, crate::incident::Severity::Critical);

    let healed = world.now.wall;
    world.changes.clear();
    world.broken.clear();
    world.run(90_000, None);
    let ended = told(&world, healed);
    let [(Transition::Resolved, _, after)] = ended.as_slice() else {
        panic!("{ended:?}");
    };
    assert!(*after <= 60, "{after}");
}

#[test]
fn one_way_between_two_nodes_is_one_incident_of_that_way() {
    let mut world = world();
    let begun = world.now.wall;
    world.broken.insert((1, 4));
    world.run(40_000, None);
    let opened = told(&world, begun);
    let [(Transition::Opened, name, after)] = opened.as_slice() else {
        panic!("{opened:?}");
    };
    assert_eq!(name, "path · mesh-1→mesh-4");
    assert!(*after <= 15, "{after}");
}

#[test]
fn a_fault_that_comes_and_goes_is_one_incident() {
    let mut world = world();
    for _ in 0..5 {
        for node in (0..NODES).filter(|node| *node != 2) {
            world.broken.insert((2, node));
        }
        world.run(20_000, None);
        world.broken.clear();
        world.run(20_000, None);
    }
    let ids: std::collections::BTreeSet<_> = world
        .changes
        .iter()
        .map(|c| c.incident.id.clone())
        .collect();
    assert_eq!(ids.len(), 1, "{:?}", world.transitions());
}

#[test]
fn after_a_restart_a_finding_stays_open_while_it_is_true_and_ends_when_it_is_refuted() {
    let mut world = world();
    for node in (0..NODES).filter(|node| *node != 3) {
        world.broken.insert((3, node));
    }
    world.run(40_000, None);
    assert_eq!(
        world.transitions(),
        [(Transition::Opened, Pattern::NodeEgress)]
    );
    let mut after = world.restarted(Duration::from_secs(30));
    after.broken.clone_from(&world.broken);
    after.connect_living();
    after.run(120_000, None);
    assert!(after.changes.is_empty(), "{:?}", after.transitions());
    after.broken.clear();
    after.run(60_000, None);
    assert_eq!(
        after.transitions(),
        [(Transition::Resolved, Pattern::NodeEgress)]
    );
}

#[test]
fn nothing_is_found_about_a_node_that_is_dark_nor_right_after_it() {
    let mut world = world();
    world.cut(&[5]);
    let cut_at = world.now.moment;
    world.run(40_000, Some((&[5], cut_at)));
    world.probers[5].is_alive = true;
    world.run(90_000, None);
    assert_eq!(
        world.transitions(),
        [
            (Transition::Opened, Pattern::NodeDark),
            (Transition::Resolved, Pattern::NodeDark)
        ]
    );
}
