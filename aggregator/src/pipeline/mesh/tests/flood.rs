//! Spools that empty after an outage: history is taken and acknowledged, and changes nothing about now.

use meshprobe_core::dark::NodeState;
use meshprobe_core::finding::Pattern;

use super::super::*;
use super::world::World;
use crate::incident::Transition;

const LATE: u64 = 200;

#[test]
fn a_flood_of_late_reports_opens_nothing_and_is_acknowledged() {
    let mut world = World::new(12);
    world.connect_all();
    world.run(30_000, None);
    for node in 0..12 {
        for n in 0..LATE {
            // Every one of them says that all peers were dead then.
            let age = Duration::from_secs(11 + 10 * (LATE - n));
            world.report_late(node, age);
        }
    }
    world.run(30_000, None);
    assert!(world.changes.is_empty(), "{:?}", world.transitions());
    assert!((0..12).all(|node| world.state(node) == NodeState::Ok));
    assert_eq!(world.mesh.metrics.reports("late"), 12 * LATE);
    for node in 0..12 {
        let acks = &world.probers[node].admitted.as_ref().unwrap().acks;
        assert_eq!(acks.borrow().sequence, world.probers[node].sequence);
    }
}

#[test]
fn late_reports_are_no_word_on_who_is_reached_now() {
    let mut world = World::new(6);
    world.connect_all();
    world.run(30_000, None);
    let cut_at = world.now.moment;
    world.run(6_000, Some((&[3], cut_at)));
    assert_eq!(
        world.transitions(),
        [(Transition::Opened, Pattern::Isolated)]
    );
    world.changes.clear();
    // All probers lose their way home for longer than a vote lasts.
    for node in 0..6 {
        world.hang_up(node);
    }
    world.run(40_000, Some((&[3], cut_at)));
    for node in 0..6 {
        world.connect(node);
        world.probers[node].reported_at = world.now.moment;
    }
    // What comes first is what they kept meanwhile.
    for _ in 0..60 {
        for node in 0..6 {
            world.report_late(node, Duration::from_secs(20));
        }
        world.idle(100);
    }
    world.run(30_000, Some((&[3], cut_at)));
    let about_node: Vec<Transition> = world
        .changes
        .iter()
        .filter(|change| change.incident.pattern == Pattern::Isolated)
        .map(|change| change.transition)
        .collect();
    assert_eq!(about_node, [], "{:?}", world.transitions());
    assert_eq!(world.state(3), NodeState::Failed(Pattern::Isolated));
}
