//! A run can be repeated by its seed.

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
        udp_interval: None,
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
