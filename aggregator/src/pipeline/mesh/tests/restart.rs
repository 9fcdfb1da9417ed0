//! The aggregator is killed and comes back with what its store has: what was open stays open, what is over ends once.

use meshprobe_core::dark::NodeState;
use meshprobe_core::finding::Pattern;

use super::super::*;
use super::world::World;
use crate::incident::Transition;
use crate::snapshot::Judging;

/// Between the kill and the start.
const DOWN: Duration = Duration::from_secs(5);

/// A mesh in which these nodes have been dark for three seconds.
fn dark(nodes: usize, dark: &[usize]) -> World {
    let mut world = World::new(nodes);
    world.connect_all();
    world.run(30_000, None);
    world.cut(dark);
    let cut_at = world.now.moment;
    world.run(3_000, Some((dark, cut_at)));
    world
}

/// The same mesh after a kill: those who live have called again, and report what they still see.
fn restarted(world: &World, dark: &[usize]) -> (World, Moment) {
    let mut after = world.restarted(DOWN);
    let cut_at = after.now.moment - DOWN - Duration::from_secs(3);
    after.run(1_000, Some((dark, cut_at)));
    after.connect_living();
    (after, cut_at)
}

fn comes_back(world: &mut World, node: usize) {
    world.probers[node].is_alive = true;
    world.probers[node].incarnation += 1;
    world.connect(node);
}

#[test]
fn after_a_restart_open_incidents_stay_open_and_nothing_opens_before_the_probers_were_heard() {
    let world = dark(6, &[3]);
    let mut after = world.restarted(DOWN);
    after.run(5_000, None);
    let judging = after.mesh.snapshots().borrow().judging.clone();
    assert!(
        judging.reason().contains("0 of 5 known nodes"),
        "{}",
        judging.reason()
    );
    let (mut after, cut_at) = restarted(&world, &[3]);
    after.run(90_000, Some((&[3], cut_at)));
    assert!(after.changes.is_empty(), "{:?}", after.transitions());
    assert_eq!(after.mesh.snapshots().borrow().judging, Judging::Active);
    assert_eq!(after.state(3), NodeState::Failed(Pattern::NodeDark));

    comes_back(&mut after, 3);
    after.run(30_000, None);
    assert_eq!(
        after.transitions(),
        [(Transition::Resolved, Pattern::NodeDark)]
    );
}

#[test]
fn a_node_that_was_known_to_be_dark_is_not_waited_for() {
    let world = dark(4, &[1]);
    let (mut after, cut_at) = restarted(&world, &[1]);
    after.run(35_000, Some((&[1], cut_at)));
    assert_eq!(after.mesh.snapshots().borrow().judging, Judging::Active);
    assert!(after.changes.is_empty(), "{:?}", after.transitions());
}

#[test]
fn an_incident_of_two_nodes_stays_one_and_ends_with_the_last_of_them() {
    let world = dark(8, &[2, 3]);
    assert_eq!(
        world.transitions(),
        [(Transition::Opened, Pattern::NodeDark)]
    );
    let opened = &world.changes[0].incident;
    assert_eq!(opened.nodes.len(), 2);
    let (mut after, cut_at) = restarted(&world, &[2, 3]);
    after.run(90_000, Some((&[2, 3], cut_at)));
    assert!(after.changes.is_empty(), "{:?}", after.transitions());

    comes_back(&mut after, 2);
    after.run(20_000, Some((&[3], cut_at)));
    assert!(
        after
            .changes
            .iter()
            .all(|c| c.transition == Transition::Updated),
        "{:?}",
        after.transitions()
    );
    after.changes.clear();
    comes_back(&mut after, 3);
    after.run(30_000, None);
    assert_eq!(
        after.transitions(),
        [(Transition::Resolved, Pattern::NodeDark)]
    );
    assert_eq!(after.changes[0].incident.id, opened.id);
}

#[test]
fn a_dark_zone_stays_one_incident_and_ends_once() {
    let zone = [1, 3, 5, 7];
    let world = dark(8, &zone);
    assert_eq!(
        world.transitions(),
        [(Transition::Opened, Pattern::ZoneDark)]
    );
    let (mut after, cut_at) = restarted(&world, &zone);
    after.run(90_000, Some((&zone, cut_at)));
    assert!(after.changes.is_empty(), "{:?}", after.transitions());
    for node in zone {
        assert_eq!(after.state(node), NodeState::Failed(Pattern::ZoneDark));
        comes_back(&mut after, node);
    }
    after.run(40_000, None);
    assert_eq!(
        after.transitions(),
        [(Transition::Resolved, Pattern::ZoneDark)]
    );
    assert_eq!(after.changes[0].incident.id, world.changes[0].incident.id);
}

#[test]
fn a_second_kill_during_the_warm_up_changes_nothing() {
    let world = dark(8, &[2, 3]);
    let (mut once, cut_at) = restarted(&world, &[2, 3]);
    once.run(7_000, Some((&[2, 3], cut_at)));
    assert_ne!(once.mesh.snapshots().borrow().judging, Judging::Active);
    let (mut twice, cut_at) = restarted(&once, &[2, 3]);
    twice.run(90_000, Some((&[2, 3], cut_at)));
    assert!(twice.changes.is_empty(), "{:?}", twice.transitions());
    assert_eq!(twice.state(2), NodeState::Failed(Pattern::NodeDark));
}

#[test]
fn a_node_that_came_back_while_the_aggregator_was_down_is_resolved_once() {
    let world = dark(6, &[3]);
    let mut after = world.restarted(DOWN);
    after.probers[3].is_alive = true;
    after.connect_living();
    after.run(90_000, None);
    assert_eq!(
        after.transitions(),
        [(Transition::Resolved, Pattern::NodeDark)]
    );
    assert_eq!(after.state(3), NodeState::Ok);
}

#[test]
fn a_node_that_nobody_reaches_but_that_reports_stays_isolated() {
    let mut world = World::new(6);
    world.connect_all();
    world.run(30_000, None);
    let cut_at = world.now.moment;
    world.run(6_000, Some((&[3], cut_at)));
    assert_eq!(
        world.transitions(),
        [(Transition::Opened, Pattern::Isolated)]
    );
    let mut after = world.restarted(DOWN);
    let cut_at = after.now.moment - DOWN - Duration::from_secs(6);
    after.connect_living();
    after.run(90_000, Some((&[3], cut_at)));
    assert!(after.changes.is_empty(), "{:?}", after.transitions());
}

#[test]
fn a_node_whose_reports_are_cut_stays_so_until_it_calls() {
    let mut world = World::new(6);
    world.connect_all();
    world.run(30_000, None);
    world.hang_up(2);
    world.run(15_000, None);
    assert_eq!(
        world.transitions(),
        [(Transition::Opened, Pattern::ReportsCut)]
    );
    let mut after = world.restarted(DOWN);
    for node in [0, 1, 3, 4, 5] {
        after.connect(node);
    }
    after.run(90_000, None);
    assert!(after.changes.is_empty(), "{:?}", after.transitions());
    after.connect(2);
    after.run(20_000, None);
    assert_eq!(
        after.transitions(),
        [(Transition::Resolved, Pattern::ReportsCut)]
    );
}
