//! The shortcut for calm paths changes nothing: the same seed gives the same run with it and without it, event by event.
//!
//! What is compared is everything that anybody decides: each first loss, each further one and each recovery of every path,
//! each question of the aggregator, each report with its age and the number of failing paths in it, each stream, and all
//! that people are told, each at the same nanosecond.

use std::time::Duration;

use meshprobe_sim::Announced;
use meshprobe_sim::mesh::{Fault, Mesh, START, Spec, WARM};

struct Story {
    trace: Vec<String>,
    told: Vec<Announced>,
    events: u64,
    skipped: u64,
    probes: u64,
}

fn story(nodes: usize, loss: f64, seed: u64, skipping: bool, script: fn(&mut Mesh)) -> Story {
    let mut mesh = Mesh::new(&Spec {
        nodes,
        zones: 2,
        loss,
        seed,
        dark_hold: None,
        aggregator_on: None,
        udp_interval: None,
    });
    mesh.set_skipping(skipping);
    mesh.run_for(WARM);
    script(&mut mesh);
    let trace = mesh.trace().about(&[], START, mesh.now(), usize::MAX);
    Story {
        trace: trace.lines().map(str::to_owned).collect(),
        told: mesh.take_announcements(),
        events: mesh.events(),
        skipped: mesh.tally().skipped_probes,
        probes: mesh.tally().udp_probes + mesh.tally().tcp_probes,
    }
}

fn assert_same(nodes: usize, loss: f64, seed: u64, script: fn(&mut Mesh)) {
    let short = story(nodes, loss, seed, true, script);
    let long = story(nodes, loss, seed, false, script);
    let about = format!("{nodes} nodes, loss {loss}, seed {seed}");
    for (number, (a, b)) in short.trace.iter().zip(&long.trace).enumerate() {
        let before = short.trace[number.saturating_sub(10)..number].join("\n");
        assert_eq!(a, b, "{about}, line {number}, after\n{before}");
    }
    assert_eq!(short.trace.len(), long.trace.len(), "{about}");
    assert_eq!(short.told, long.told, "{about}");
    assert_eq!(long.skipped, 0, "{about}");
    assert!(short.skipped > 0, "{about}: nothing was skipped");
    assert!(short.events < long.events, "{about}");
    // Turns since the last window of a path that still sleeps are in no book yet: one window of all paths at most.
    let paths = (nodes * (nodes - 1)) as u64;
    let missing = long.probes.abs_diff(short.probes);
    assert!(
        missing <= paths * 10 * 3,
        "{about}: {missing} probes are missing"
    );
}

fn nothing_but_loss(mesh: &mut Mesh) {
    mesh.run_for(Duration::from_secs(60));
}

/// Every fault, one after the other, each beginning and ending at odd moments, and a restart.
fn everything(mesh: &mut Mesh) {
    let faults = [
        Fault::NodeDark(1),
        Fault::PodNetwork(2),
        Fault::PodIngress(0),
        Fault::PodEgress(2),
        Fault::Aggregator,
    ];
    for fault in faults {
        let length = mesh.random_within(Duration::from_secs(20));
        mesh.run_for(length);
        mesh.inject(fault);
        mesh.run_for(Duration::from_millis(12_345));
        mesh.heal(fault);
    }
    mesh.run_for(Duration::from_millis(7_654));
    mesh.stop_prober(1, Duration::from_secs(120));
    mesh.run_for(Duration::from_millis(5_432));
    mesh.start_prober(1);
    mesh.run_for(Duration::from_secs(40));
}

#[test]
fn loss_alone_is_the_same_with_and_without_the_shortcut() {
    for (nodes, loss) in [
        (2, 0.01),
        (3, 0.1),
        (6, 0.0),
        (6, 0.01),
        (6, 0.3),
        (12, 0.02),
    ] {
        assert_same(nodes, loss, 1, nothing_but_loss);
    }
}

#[test]
fn faults_and_restarts_are_the_same_with_and_without_the_shortcut() {
    for (nodes, loss) in [(3, 0.0), (3, 0.05), (6, 0.0), (6, 0.02)] {
        for seed in 1..=2 {
            assert_same(nodes, loss, seed, everything);
        }
    }
}
