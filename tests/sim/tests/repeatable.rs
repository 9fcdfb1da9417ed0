//! A run can be repeated by its seed, and the shortcut for calm paths changes no distribution.

use std::time::Duration;

use meshprobe_sim::mesh::{Fault, Mesh, Spec, WARM};

fn spec(seed: u64) -> Spec {
    Spec {
        nodes: 6,
        zones: 2,
        loss: 0.02,
        seed,
        dark_hold: None,
        aggregator_on: None,
    }
}

fn story(seed: u64) -> (u64, String) {
    let mut mesh = Mesh::new(&spec(seed));
    mesh.run_for(WARM);
    mesh.inject(Fault::NodeDark(2));
    mesh.run_for(Duration::from_secs(20));
    mesh.heal(Fault::NodeDark(2));
    mesh.run_for(Duration::from_secs(20));
    let told = format!("{:?}", mesh.take_announcements());
    (mesh.events(), told)
}

#[test]
fn the_same_seed_tells_the_same_story() {
    assert_eq!(story(7), story(7));
    assert_ne!(story(7).0, story(8).0);
}

#[test]
fn skipped_turns_lose_as_many_probes_as_simulated_ones() {
    let losses = |skip: bool| {
        let mut mesh = Mesh::new(&spec(3));
        mesh.set_skipping(skip);
        mesh.run_for(WARM);
        let before = mesh.losses();
        mesh.run_for(Duration::from_secs(1_200));
        (mesh.losses() - before, mesh.events())
    };
    let (skipped, few_events) = losses(true);
    let (simulated, many_events) = losses(false);
    assert!(
        few_events < many_events,
        "{few_events} of {many_events} events"
    );
    // 30 paths, one probe a second, 3.96 % of the round trips: 1,426 first losses and some more in bursts.
    let expected = f64::from(simulated);
    let off = (f64::from(skipped) - expected).abs();
    assert!(
        off < 5.0 * (2.0 * expected).sqrt(),
        "{skipped} losses with the shortcut, {simulated} without"
    );
}
