//! What is told of nodes, down to incidents: drains, events of the cluster.

use meshprobe_core::dark::NodeState;
use meshprobe_core::diagnosis::ClusterEvent;
use meshprobe_core::finding::Pattern;
use meshprobe_core::lifecycle::Lifecycle;

use super::super::*;
use super::world::World;
use crate::incident::Transition;
use crate::membership::{Drain, NodeEvent};
use crate::pipeline::Told;

const NODES: usize = 6;

fn world() -> World {
    let mut world = World::new(NODES);
    world.connect_all();
    world.run(60_000, None);
    world
}

fn drained(world: &mut World, seconds: u64) -> NodeDetail {
    let lasts = Duration::from_secs(seconds);
    let drain = Drain::new(lasts, "ana", "new disk", world.now.wall).unwrap();
    let told = Told::Drained(drain);
    world.mesh.tell("mesh-5", told, world.now).unwrap()
}

#[test]
fn a_drained_node_goes_without_a_word_and_one_that_does_not_come_back_is_told_after_its_time() {
    let mut world = world();
    let shown = drained(&mut world, 120);
    assert_eq!(shown.row.lifecycle, Lifecycle::Draining);
    assert_eq!(shown.row.state, NodeState::Leaving);
    assert!(
        shown.row.state_reason.ends_with("by ana: new disk"),
        "{}",
        shown.row.state_reason
    );
    world.run(5_000, None);
    world.cut(&[5]);
    let cut_at = world.now.moment;
    world.run(100_000, Some((&[5], cut_at)));
    assert!(world.changes.is_empty(), "{:?}", world.transitions());
    // Its time is over and nobody ended it: it is judged as a node that came lately.
    world.run(40_000, Some((&[5], cut_at)));
    assert_eq!(
        world.transitions(),
        [(Transition::Opened, Pattern::NodeDark)]
    );
}

#[test]
fn a_node_that_is_drained_while_it_is_dark_is_not_dark_any_more() {
    let mut world = world();
    world.cut(&[5]);
    let cut_at = world.now.moment;
    world.run(20_000, Some((&[5], cut_at)));
    drained(&mut world, 900);
    world.run(60_000, Some((&[5], cut_at)));
    assert_eq!(
        world.transitions(),
        [
            (Transition::Opened, Pattern::NodeDark),
            (Transition::Resolved, Pattern::NodeDark)
        ]
    );
}

#[test]
fn a_drain_that_is_ended_and_one_that_lasts_over_a_restart() {
    let mut world = world();
    drained(&mut world, 900);
    let mut after = world.restarted(Duration::from_secs(10));
    after.connect_living();
    after.run(30_000, None);
    assert_eq!(after.state(5), NodeState::Leaving);
    let shown = after.mesh.tell("mesh-5", Told::NotDrained, after.now);
    assert_eq!(shown.unwrap().row.lifecycle, Lifecycle::Active);
    after.run(30_000, None);
    assert_eq!(after.state(5), NodeState::Ok);
    let cut_at = after.now.moment;
    after.cut(&[5]);
    after.run(20_000, Some((&[5], cut_at)));
    assert_eq!(
        after.transitions(),
        [(Transition::Opened, Pattern::NodeDark)]
    );
    assert!(
        after
            .mesh
            .tell("mesh-9", Told::NotDrained, after.now)
            .is_none()
    );
}

#[test]
fn an_event_is_in_the_next_picture_until_the_prober_is_started_anew() {
    let mut world = world();
    let message = "failed to allocate for range 0: no IP addresses available";
    let said = |reason: &str, world: &World| {
        Told::Event(NodeEvent::new(reason, message, None, world.now.wall).unwrap())
    };
    let event = said("FailedCreatePodSandBox", &world);
    world.mesh.tell("mesh-2", event, world.now);
    let at = world.now.moment;
    world.run(5_000, None);
    let events = |world: &World| {
        let picture = &world.diagnosed.as_ref().unwrap().shot.picture;
        picture.nodes[2].events.clone()
    };
    let expected = ClusterEvent {
        at,
        reason: "FailedCreatePodSandBox".to_owned(),
        message: message.to_owned(),
    };
    assert_eq!(events(&world), [expected]);
    let found = |world: &World| world.diagnosed.as_ref().unwrap().diagnosis.findings.len();
    assert_eq!(found(&world), 0, "it reports");
    world.hang_up(2);
    world.probers[2].incarnation = 2;
    world.probers[2].sequence = 0;
    world.connect(2);
    world.run(15_000, None);
    assert_eq!(events(&world), []);
    assert!(world.changes.is_empty(), "{:?}", world.transitions());
}

#[test]
fn a_prober_that_says_goodbye_and_whose_successor_cannot_start_is_not_running() {
    let mut world = world();
    let goodbye = StreamEvent::Goodbye {
        prober: world.key(3),
        stream: world.probers[3].stream,
        goodbye: v1::Goodbye {
            reason: "SIGTERM".to_owned(),
            back_within_seconds: 600,
        },
    };
    world.mesh.handle(goodbye, world.now);
    world.hang_up(3);
    world.cut(&[3]);
    let cut_at = world.now.moment;
    let event = NodeEvent::new("FailedCreatePodSandBox", "no IP", None, world.now.wall).unwrap();
    world.mesh.tell("mesh-3", Told::Event(event), world.now);
    world.run(60_000, Some((&[3], cut_at)));
    let found = world.changes.first().expect("an incident");
    assert_eq!(
        world.transitions(),
        [(Transition::Opened, Pattern::ProberNotRunning)]
    );
    assert_eq!(found.incident.scope.to_string(), "mesh-3");
    assert_eq!(found.incident.evidence[0], "FailedCreatePodSandBox: no IP");
}
