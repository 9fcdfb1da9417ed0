//! Ports, names and troubles of the own machine.

use super::*;

#[test]
fn a_burst_leaves_from_other_ports_than_the_probe_that_was_lost() {
    let mut bench = Bench::new(1);
    bench.send_due(ms(0));
    let first = bench.arrival(0, ms(1));
    bench.outcome(&first);
    bench.send_due(ms(1_000));
    assert_eq!(bench.expire(ms(1_050)), [Outcome::Timeout]);
    for millis in (1_050..1_300).step_by(10) {
        bench.send_due(ms(millis));
    }
    let burst: Vec<Flow> = bench.wire[1..]
        .iter()
        .map(|(probe, _)| probe.flow)
        .collect();
    assert_eq!(burst.len(), 5);
    for (i, flow) in burst.iter().enumerate() {
        assert!(!burst[..i].contains(flow), "{burst:?}");
    }
}

#[test]
fn a_path_visits_all_ports_and_only_those_with_probes_under_way_are_waited_for() {
    let mut bench = Bench::new(1);
    let mut visited = Vec::new();
    for second in 0..8 {
        bench.send_due(ms(second * 1_000));
        let (probe, _) = *bench.wire.last().unwrap();
        let waiting: Vec<Flow> = Flow::all()
            .filter(|flow| bench.sender.pending_from(Family::V4, *flow) > 0)
            .collect();
        assert_eq!(waiting, [probe.flow]);
        assert_eq!(bench.sender.pending_from(Family::V6, probe.flow), 0);
        visited.push(probe.flow.index());
        let arrival = bench.arrival(bench.wire.len() - 1, ms(second * 1_000 + 1));
        bench.outcome(&arrival);
        assert_eq!(bench.sender.pending_from(Family::V4, probe.flow), 0);
    }
    visited.sort_unstable();
    assert_eq!(visited, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_dead_flow_is_told_by_its_port_while_the_path_is_lossy() {
    let mut bench = Bench::new(1);
    let mut told = None;
    for second in 0..40 {
        for millis in (second * 1_000..(second + 1) * 1_000).step_by(10) {
            let before = bench.wire.len();
            bench.send_due(ms(millis));
            for which in before..bench.wire.len() {
                if bench.wire[which].1.port != PORT + 3 {
                    let arrival = bench.arrival(which, ms(millis + 1));
                    bench.outcome(&arrival);
                }
            }
            bench.expire(ms(millis));
        }
        if let Some(detail) = bench.sender.take_detail(bench.paths[0])
            && let Detail::Udp(detail) = *detail
        {
            told = detail.flows;
        }
    }
    let told = told.unwrap();
    assert_eq!((told.tested, told.failing), (8, 1));
    assert_eq!(told.failing_ports, [PORT + 3]);
}

#[test]
fn an_answer_by_somebody_else_is_no_sign_of_the_peers_life() {
    let mut bench = Bench::new(1);
    let named = |bench: &Bench, which, at, ssid| Arrival {
        responder: Some(Ssid(ssid)),
        ..bench.arrival(which, at)
    };
    let other = NodeName::try_from("other").unwrap();
    bench.sender.set_names(&[(Ssid(77), other)]);
    bench.send_due(ms(1_000));
    let right = named(&bench, 0, ms(1_001), 1);
    assert!(matches!(bench.outcome(&right), Some(Outcome::Reply { .. })));
    bench.send_due(ms(2_000));
    let wrong = named(&bench, 1, ms(2_001), 77);
    let Heard::Sample { sample, .. } = bench.sender.handle_arrival(&wrong) else {
        panic!("it ends the probe");
    };
    assert_eq!(
        (sample.outcome, sample.alive),
        (Outcome::AnsweredByOther, false)
    );
    let Some(Detail::Udp(detail)) = bench.sender.take_detail(bench.paths[0]).map(|d| *d) else {
        panic!("it is told who it was");
    };
    assert_eq!(detail.answered_by, "other");
    // The peer's own answer to the same probe comes second.
    let right = named(&bench, 1, ms(2_002), 1);
    assert_eq!(bench.sender.handle_arrival(&right), Heard::Duplicate);
    // Too late it says nothing at all.
    bench.send_due(ms(3_000));
    assert_eq!(bench.expire(ms(3_500)), [Outcome::Timeout]);
    let late = named(&bench, 2, ms(3_600), 77);
    assert_eq!(bench.sender.handle_arrival(&late), Heard::Unknown);
}

#[test]
fn losses_of_a_deaf_machine_or_a_full_socket_are_not_the_networks() {
    let mut bench = Bench::new(1);
    bench.send_due(ms(1_000));
    bench.sender.handle_blind(ms(500), ms(1_040));
    bench.sender.handle_blind(ms(500), ms(1_050));
    assert_eq!(bench.expire(ms(1_400)), [Outcome::Invalid]);
    bench.send_due(ms(2_000));
    let (probe, _) = bench.wire[1];
    bench
        .sender
        .handle_overflow(Family::V4, probe.flow, ms(2_010));
    assert_eq!(bench.expire(ms(2_400)), [Outcome::Invalid]);
    // Another port's overflow, and one before the probe, are not its own.
    bench.send_due(ms(3_000));
    bench
        .sender
        .handle_overflow(Family::V4, probe.flow, ms(3_010));
    assert_eq!(bench.expire(ms(3_400)), [Outcome::Timeout]);
}

#[test]
fn times_of_a_machine_whose_packets_wait_are_no_measurements() {
    let mut bench = Bench::new(1);
    bench.send_due(ms(1_000));
    bench.sender.set_slow(true);
    let arrival = bench.arrival(0, ms(1_001));
    let Heard::Sample { sample, .. } = bench.sender.handle_arrival(&arrival) else {
        panic!("it answers the probe");
    };
    assert_eq!((sample.outcome, sample.alive), (Outcome::Invalid, true));
    bench.sender.set_slow(false);
    bench.send_due(ms(2_000));
    let arrival = bench.arrival(1, ms(2_001));
    assert!(matches!(
        bench.outcome(&arrival),
        Some(Outcome::Reply { .. })
    ));
}

#[test]
fn doubles_overtaking_and_another_route_are_told_with_their_window() {
    let mut bench = Bench::new(1);
    bench.sender.set_window(ms(500));
    bench.send_due(ms(1_000));
    bench.send_due(ms(2_000));
    for which in [1, 0, 0] {
        let arrival = bench.arrival(which, ms(2_001));
        bench.sender.handle_arrival(&arrival);
    }
    let path = bench.paths[0];
    let told = |bench: &mut Bench| match bench.sender.take_detail(path).as_deref() {
        Some(Detail::Udp(detail)) => Some(detail.clone()),
        _ => None,
    };
    let detail = told(&mut bench).unwrap();
    assert_eq!((detail.reordered, detail.duplicated), (1, 1));
    assert_eq!((detail.ttl, detail.ttl_changed), (Some(64), false));
    assert_eq!(told(&mut bench), None, "nothing new");
    bench.sender.set_window(ms(2_500));
    bench.send_due(ms(3_000));
    let arrival = Arrival {
        ttl: Some(62),
        ..bench.arrival(2, ms(3_001))
    };
    bench.sender.handle_arrival(&arrival);
    let detail = told(&mut bench).unwrap();
    assert_eq!((detail.reordered, detail.duplicated), (0, 0));
    assert!(detail.ttl_changed);
}
