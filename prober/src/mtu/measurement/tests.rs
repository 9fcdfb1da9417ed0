use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::*;

const FLOOR: u16 = 92;
const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

/// Two ways, each with a limit of its own.
struct Pair {
    forward: u16,
    reverse: u16,
    /// The own interface, and what the routing table says.
    egress: Egress,
    says: Option<u16>,
    /// A size that vanishes although larger ones pass.
    hole: Option<u16>,
    reflector: Reflector,
    loss: f64,
    rng: StdRng,
    packets: usize,
    rounds: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reflector {
    Ours,
    IgnoresControl,
    DropsPadding,
    Dead,
}

impl Pair {
    fn new(forward: u16, reverse: u16) -> Self {
        Self {
            forward,
            reverse,
            egress: Egress {
                interface_mtu: 1500,
                route_mtu: 1500,
                configured: None,
            },
            says: None,
            hole: None,
            reflector: Reflector::Ours,
            loss: 0.0,
            rng: StdRng::seed_from_u64(1),
            packets: 0,
            rounds: 0,
        }
    }

    fn measurement(&self, thorough: bool) -> Measurement {
        let bounds = Bounds {
            smallest: FLOOR,
            largest: self.egress.interface_mtu,
        };
        Measurement::new(Family::V4, bounds, Known::default(), thorough)
    }

    fn run(&mut self) -> Option<Conclusion> {
        let measurement = self.measurement(false);
        self.finish(measurement)
    }

    fn finish(&mut self, mut measurement: Measurement) -> Option<Conclusion> {
        while let Some(round) = measurement.next_round() {
            self.rounds += 1;
            if self.rounds > 40 {
                return None;
            }
            let mut lost = Vec::new();
            let mut answered = false;
            for probe in round {
                self.packets += 1;
                match self.exchange(probe) {
                    Reply::None => lost.push(probe),
                    Reply::TooBig(mtu) => {
                        let by = Refuser::Router(ROUTER);
                        assert!(measurement.handle_refusal(probe, mtu.into(), by));
                    }
                    Reply::Octets(size) => {
                        measurement.handle_reply(probe, size);
                        answered = true;
                    }
                }
            }
            measurement.handle_round(&lost, answered);
        }
        measurement.conclude(self.egress)
    }

    fn exchange(&mut self, probe: SizeProbe) -> Reply {
        let size = match (self.reflector, probe.ask) {
            (Reflector::Dead, _) => return Reply::None,
            (Reflector::Ours, Ask::Short) | (Reflector::DropsPadding, _) => FLOOR - 4,
            (Reflector::Ours, Ask::Same) | (Reflector::IgnoresControl, _) => probe.size,
        };
        if self.rng.random_bool(self.loss) || self.hole == Some(probe.size) {
            return Reply::None;
        }
        if probe.size > self.forward {
            return self.says.map_or(Reply::None, Reply::TooBig);
        }
        if self.rng.random_bool(self.loss) || size > self.reverse {
            return Reply::None;
        }
        Reply::Octets(size)
    }
}

enum Reply {
    None,
    TooBig(u16),
    Octets(u16),
}

#[test]
fn a_healthy_pair_is_settled_by_two_packets() {
    let mut pair = Pair::new(1500, 1500);
    let found = pair.run().unwrap();
    assert_eq!(found.ending, Ending::Passes);
    assert_eq!((found.detail.forward, found.detail.reverse), (1500, 1500));
    assert_eq!(found.detail.forward_limit, MtuLimit::Interface);
    assert_eq!(found.detail.reverse_limit, MtuLimit::Interface);
    assert_eq!((pair.packets, pair.rounds), (2, 1));
}

#[test]
fn a_black_hole_forward_is_told_from_one_in_reverse() {
    let found = Pair::new(1372, 1500).run().unwrap();
    assert_eq!(found.ending, Ending::BlackHole);
    assert_eq!((found.detail.forward, found.detail.reverse), (1372, 1372));
    assert_eq!(found.detail.forward_limit, MtuLimit::BlackHole);
    assert_eq!(found.detail.reverse_limit, MtuLimit::Unknown);

    let found = Pair::new(1500, 1372).run().unwrap();
    assert_eq!(found.ending, Ending::BlackHole);
    assert_eq!((found.detail.forward, found.detail.reverse), (1500, 1372));
    assert_eq!(found.detail.forward_limit, MtuLimit::Interface);
    assert_eq!(found.detail.reverse_limit, MtuLimit::BlackHole);

    let found = Pair::new(1400, 1333).run().unwrap();
    assert_eq!((found.detail.forward, found.detail.reverse), (1400, 1333));
    assert_eq!(found.detail.reverse_limit, MtuLimit::BlackHole);
}

#[test]
fn no_measurement_takes_more_than_fifteen_rounds() {
    for interface in [1500, 9001] {
        for (forward, reverse) in [(1279, 600), (1499, 1281), (700, 699), (interface - 1, 1023)] {
            let mut pair = Pair::new(forward, reverse);
            pair.egress.interface_mtu = interface;
            let found = pair.run().unwrap();
            assert_eq!(
                (found.detail.forward, found.detail.reverse),
                (forward, reverse)
            );
            assert!(
                pair.rounds <= 15,
                "{interface}/{forward}/{reverse}: {}",
                pair.rounds
            );
        }
    }
}

#[test]
fn a_router_that_says_so_makes_it_signalled() {
    let mut pair = Pair::new(1400, 1400);
    pair.says = Some(1400);
    let found = pair.run().unwrap();
    assert_eq!(found.ending, Ending::TooBig { mtu: 1400 });
    assert_eq!(found.detail.forward_limit, MtuLimit::Signalled);
    assert_eq!(found.detail.signalled_mtu, 1400);
    assert_eq!(found.detail.signalled_by, Some(ROUTER));
}

#[test]
fn a_router_that_does_not_say_what_fits_is_believed_that_it_does_not() {
    let mut pair = Pair::new(1400, 1400);
    pair.says = Some(0);
    let found = pair.run().unwrap();
    assert_eq!(found.ending, Ending::TooBig { mtu: 1400 });
    assert_eq!(found.detail.signalled_mtu, 0);
}

#[test]
fn a_message_that_raises_or_goes_below_the_protocols_minimum_is_not_believed() {
    let mut v4 = Pair::new(1500, 1500).measurement(false);
    let probe = |size| SizeProbe {
        size,
        ask: Ask::Short,
    };
    let router = Refuser::Router(ROUTER);
    assert!(!v4.handle_refusal(probe(1400), 1400, router));
    assert!(!v4.handle_refusal(probe(1400), 9000, router));
    assert!(!v4.handle_refusal(probe(1400), 1 << 16, router));
    assert!(!v4.handle_refusal(probe(1400), 67, router));
    assert!(v4.handle_refusal(probe(1400), 68, router));
    let mut v6 = Measurement {
        family: Family::V6,
        ..v4.clone()
    };
    assert!(!v6.handle_refusal(probe(1400), 1279, router));
    assert!(!v6.handle_refusal(probe(1400), 0, router));
    v4.handle_reply(probe(1400), 88);
    assert!(!v4.handle_refusal(probe(1400), 1300, router), "it passed");
}

#[test]
fn a_message_that_the_packets_contradict_is_not_shown() {
    let mut pair = Pair::new(1450, 1450);
    let mut measurement = pair.measurement(false);
    let forged = SizeProbe {
        size: 1500,
        ask: Ask::Same,
    };
    assert!(measurement.handle_refusal(forged, 600, Refuser::Router(ROUTER)));
    let found = pair.finish(measurement).unwrap();
    assert_eq!(found.detail.forward, 1450);
    assert_eq!(found.detail.signalled_mtu, 0);
    assert_eq!(found.detail.signalled_by, None);
}

#[test]
fn what_the_routing_table_limits_is_no_failure() {
    let mut pair = Pair::new(1450, 1450);
    pair.egress.configured = Some(1450);
    pair.egress.route_mtu = 1450;
    let found = pair.run().unwrap();
    assert_eq!(found.ending, Ending::Passes);
    assert_eq!(found.detail.forward_limit, MtuLimit::Local);
}

#[test]
fn a_learned_path_mtu_does_not_hide_a_failure() {
    let mut pair = Pair::new(1400, 1400);
    pair.egress.route_mtu = 1400;
    let found = pair.run().unwrap();
    assert_eq!(found.ending, Ending::BlackHole);
    assert_eq!(found.detail.route_mtu, 1400);
}

#[test]
fn a_kernel_that_refuses_what_the_interface_should_carry_is_local() {
    let mut measurement = Pair::new(1500, 1500).measurement(false);
    let mut pair = Pair::new(1438, 1438);
    let refused = SizeProbe {
        size: 1500,
        ask: Ask::Same,
    };
    assert!(measurement.handle_refusal(refused, 1438, Refuser::Kernel));
    let found = pair.finish(measurement).unwrap();
    assert_eq!(found.ending, Ending::TooBig { mtu: 1438 });
    assert_eq!(found.detail.forward_limit, MtuLimit::Local);
}

#[test]
fn a_peer_that_does_not_answer_has_no_mtu() {
    let mut pair = Pair::new(1500, 1500);
    pair.reflector = Reflector::Dead;
    assert_eq!(pair.run(), None);
    assert_eq!(pair.rounds, OPENING_ROUNDS);
}

#[test]
fn other_reflectors_are_measured_as_far_as_they_can_be() {
    let mut pair = Pair::new(1400, 1500);
    pair.reflector = Reflector::IgnoresControl;
    let found = pair.run().unwrap();
    assert_eq!((found.detail.forward, found.detail.reverse), (1400, 1400));

    let mut pair = Pair::new(1500, 1500);
    pair.reflector = Reflector::DropsPadding;
    let found = pair.run().unwrap();
    assert_eq!(found.ending, Ending::Passes);
    assert_eq!((found.detail.forward, found.detail.reverse), (1500, 0));
}

#[test]
fn a_size_that_vanishes_although_larger_ones_pass_is_found_by_the_thorough_measurement() {
    let mut pair = Pair::new(1500, 1500);
    pair.hole = Some(1420);
    let quick = pair.run().unwrap();
    assert_eq!(quick.ending, Ending::Passes);
    let measurement = pair.measurement(true);
    let found = pair.finish(measurement).unwrap();
    assert_eq!(found.ending, Ending::BlackHole);
    assert_eq!(found.detail.forward, 1410);
    let whole = Pair::new(1500, 1500);
    let measurement = whole.measurement(true);
    let found = Pair::new(1500, 1500).finish(measurement).unwrap();
    assert_eq!(found.ending, Ending::Passes);
}

proptest! {
    /// 10 to 30 % of loss in each direction.
    #[test]
    fn random_loss_does_not_look_like_a_limit(loss in 0.1..0.3_f64, seed: u64, thorough: bool) {
        let mut pair = Pair::new(1500, 1500);
        pair.loss = loss;
        pair.rng = StdRng::seed_from_u64(seed);
        let measurement = pair.measurement(thorough);
        if let Some(found) = pair.finish(measurement) {
            prop_assert_eq!(found.ending, Ending::Passes);
        }
    }

    #[test]
    fn both_limits_are_right_to_the_octet(forward in FLOOR..=1500_u16, reverse in FLOOR..=1500_u16) {
        let found = Pair::new(forward, reverse).run().unwrap();
        prop_assert_eq!(found.detail.forward, forward);
        prop_assert_eq!(found.detail.reverse, reverse.min(forward));
        let passes = forward.min(reverse) == 1500;
        prop_assert_eq!(found.ending == Ending::Passes, passes);
    }
}
