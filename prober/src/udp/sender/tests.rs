use std::collections::HashMap as Counts;

use meshprobe_core::path::{Layer, Plane, ProbeKind};
use meshprobe_core::stamp::Timestamp;
use meshprobe_core::window::LostWays;
use proptest::prelude::*;

use super::*;
use crate::book::Book;
use crate::schedule::Cadence;

const LAYER: Layer = Layer {
    kind: ProbeKind::Udp,
    plane: Plane::Pod,
    family: Family::V4,
};

#[path = "flow_tests.rs"]
mod flows;

/// The first of the eight ports that probes leave from.
const PORT: u16 = 40_000;

const fn ms(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

/// A sender with its book, one path for each target, and a network that the test plays.
struct Bench {
    sender: Sender,
    book: Book,
    paths: Vec<PathId>,
    wire: Vec<(Probe, Departure)>,
}

impl Bench {
    fn new(targets: u32) -> Self {
        let mut book = Book::new(Moment::ORIGIN);
        let paths: Vec<PathId> = (0..targets)
            .map(|number| book.open_path(LAYER, TargetNumber(number)))
            .collect();
        let mut bench = Self {
            sender: Sender::new(0),
            book,
            paths,
            wire: Vec::new(),
        };
        let configs: Vec<UdpTarget> = (0..targets).map(|number| bench.config(number)).collect();
        bench.sender.set_targets(&configs, Moment::ORIGIN);
        bench
    }

    fn config(&self, number: u32) -> UdpTarget {
        UdpTarget {
            path: self.paths[number as usize],
            target: TargetNumber(number),
            peer: Some(Ssid(number as u16 + 1)),
            address: SocketAddr::from(([10, 0, 0, number as u8 + 1], 4862)),
            cadence: Cadence {
                interval: Duration::from_secs(1),
                phase: 0,
            },
            timeout: Duration::from_secs(1),
        }
    }

    fn send_due(&mut self, now: Moment) -> usize {
        let mut sent = 0;
        while let Some(probe) = self.sender.poll_probe(now) {
            let unix_nanos = now.as_nanos() as i64;
            let departure = Departure {
                stamp: Timestamp(now.as_nanos() << 8 | u64::from(probe.sequence.0 & 0xff)),
                unix_nanos,
                at: now,
                epoch: 0,
                preempted: false,
                port: PORT + probe.flow.index() as u16,
            };
            assert_eq!(self.sender.handle_sent(&probe, departure), None);
            self.wire.push((probe, departure));
            sent += 1;
        }
        sent
    }

    fn arrival(&self, which: usize, now: Moment) -> Arrival {
        let (probe, departure) = self.wire[which];
        Arrival {
            source: probe.destination,
            sequence: probe.sequence,
            stamp: departure.stamp,
            turnaround_nanos: Some(0),
            unix_nanos: now.as_nanos() as i64,
            now,
            epoch: 0,
            ttl: Some(64),
            dscp: None,
            number: None,
            responder: None,
        }
    }

    fn outcome(&mut self, arrival: &Arrival) -> Option<Outcome> {
        match self.sender.handle_arrival(arrival) {
            Heard::Sample { sample, .. } => {
                self.note(&sample, arrival.now);
                Some(sample.outcome)
            }
            Heard::Duplicate | Heard::Unknown => None,
        }
    }

    fn note(&mut self, sample: &Sample, now: Moment) {
        if let Some(recorded) = self.book.record(sample, now) {
            self.sender.handle_transition(
                sample.path,
                recorded.transition,
                recorded.first_loss_at,
                now,
            );
        }
    }

    fn expire(&mut self, now: Moment) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while let Some(sample) = self.sender.poll_expired(now) {
            self.note(&sample, now);
            outcomes.push(sample.outcome);
        }
        outcomes
    }
}

#[test]
fn the_responders_delay_is_no_part_of_the_round_trip() {
    let mut bench = Bench::new(1);
    bench.send_due(ms(1_000));
    let arrival = Arrival {
        turnaround_nanos: Some(9_000_000),
        ..bench.arrival(0, ms(1_010))
    };
    let rtt = Duration::from_millis(1);
    assert_eq!(bench.outcome(&arrival), Some(Outcome::Reply { rtt }));
}

#[test]
fn a_clock_step_makes_the_sample_invalid_and_the_path_stays_alive() {
    let mut bench = Bench::new(1);
    bench.send_due(ms(1_000));
    let stepped = Arrival {
        epoch: 1,
        ..bench.arrival(0, ms(1_001))
    };
    let Heard::Sample { sample, .. } = bench.sender.handle_arrival(&stepped) else {
        panic!("it answers the probe");
    };
    assert_eq!((sample.outcome, sample.alive), (Outcome::Invalid, true));
}

#[test]
fn a_step_that_nobody_noticed_gives_no_round_trip_longer_than_the_wait() {
    let mut bench = Bench::new(1);
    bench.send_due(ms(1_000));
    let stepped = Arrival {
        now: ms(1_001),
        ..bench.arrival(0, ms(4_000))
    };
    assert_eq!(bench.outcome(&stepped), Some(Outcome::Invalid));
}

#[test]
fn a_preempted_send_is_no_measurement_but_its_loss_is_a_loss() {
    let mut bench = Bench::new(1);
    let preempted = |bench: &mut Bench, now: Moment| {
        let probe = bench.sender.poll_probe(now).unwrap();
        let departure = Departure {
            stamp: Timestamp(now.as_nanos()),
            unix_nanos: now.as_nanos() as i64,
            at: now,
            epoch: 0,
            preempted: true,
            port: PORT,
        };
        bench.sender.handle_sent(&probe, departure);
        bench.wire.push((probe, departure));
    };
    preempted(&mut bench, ms(1_000));
    let arrival = bench.arrival(0, ms(1_001));
    assert_eq!(bench.outcome(&arrival), Some(Outcome::Invalid));
    preempted(&mut bench, ms(2_000));
    assert_eq!(bench.expire(ms(2_900)), [Outcome::Timeout]);
}

#[test]
fn a_first_loss_is_followed_by_a_burst_and_an_answer_ends_it() {
    let mut bench = Bench::new(1);
    bench.send_due(ms(0));
    let arrival = bench.arrival(0, ms(1));
    bench.outcome(&arrival);
    bench.send_due(ms(1_000));
    assert_eq!(bench.expire(ms(1_050)), [Outcome::Timeout]);
    let mut at = Vec::new();
    for millis in (1_050..1_300).step_by(10) {
        if bench.send_due(ms(millis)) > 0 {
            at.push(millis);
        }
    }
    assert_eq!(at, [1_050, 1_100, 1_150, 1_200]);
    let last = bench.arrival(bench.wire.len() - 1, ms(1_220));
    assert!(matches!(bench.outcome(&last), Some(Outcome::Reply { .. })));
    assert_eq!(bench.send_due(ms(1_400)), 0);
}

#[test]
fn a_confirmation_is_five_probes_without_any_loss() {
    let mut bench = Bench::new(2);
    bench.send_due(ms(0));
    bench.sender.confirm(TargetNumber(1), ms(100));
    let sent: usize = (100..900)
        .step_by(10)
        .map(|millis| bench.send_due(ms(millis)))
        .sum();
    assert_eq!(sent, 5);
}

#[test]
fn an_isolated_prober_keeps_to_its_budget() {
    let mut bench = Bench::new(200);
    let mut extra = 0;
    for millis in (0..5_000).step_by(10) {
        bench.expire(ms(millis));
        while let Some(probe) = bench.sender.poll_probe(ms(millis)) {
            extra += usize::from(probe.extra);
            let departure = Departure {
                stamp: Timestamp(millis),
                unix_nanos: ms(millis).as_nanos() as i64,
                at: ms(millis),
                epoch: 0,
                preempted: false,
                port: PORT + probe.flow.index() as u16,
            };
            bench.sender.handle_sent(&probe, departure);
        }
    }
    assert!(extra > 1_500, "{extra}");
    assert!(extra <= 5 * EXTRA_PER_SECOND as usize + 100, "{extra}");
}

#[test]
fn a_paused_prober_does_not_call_its_peers_dead() {
    let mut bench = Bench::new(1);
    bench.send_due(ms(1_000));
    // It is paused for 800 ms; the answer arrived after 1 ms and lies in the socket.
    bench.sender.handle_stall(ms(1_010), ms(1_810));
    let arrival = Arrival {
        unix_nanos: ms(1_001).as_nanos() as i64,
        ..bench.arrival(0, ms(1_810))
    };
    let rtt = Duration::from_millis(1);
    assert_eq!(bench.outcome(&arrival), Some(Outcome::Reply { rtt }));
    assert_eq!(bench.expire(ms(1_810)), []);
    // The same without an answer: it may have been lost by the pause.
    bench.send_due(ms(2_000));
    bench.sender.handle_stall(ms(2_010), ms(2_810));
    assert_eq!(bench.expire(ms(2_810)), [Outcome::Invalid]);
}

#[test]
fn a_short_stall_gives_one_more_look_before_the_judgement() {
    let mut bench = Bench::new(1);
    bench.send_due(ms(0));
    let answer = bench.arrival(0, ms(1));
    bench.outcome(&answer);
    bench.send_due(ms(1_000));
    bench.sender.handle_stall(ms(1_010), ms(1_060));
    assert_eq!(bench.expire(ms(1_060)), []);
    assert_eq!(bench.expire(ms(1_070)), [Outcome::Timeout]);
}

#[test]
fn a_late_answer_is_late_and_teaches_patience() {
    let mut bench = Bench::new(1);
    bench.send_due(ms(0));
    let first = bench.arrival(0, ms(1));
    bench.outcome(&first);
    bench.send_due(ms(1_000));
    assert_eq!(bench.expire(ms(1_100)), [Outcome::Timeout]);
    let late = bench.arrival(1, ms(1_200));
    assert_eq!(bench.outcome(&late), Some(Outcome::Late));
    bench.send_due(ms(2_000));
    assert_eq!(
        bench.expire(ms(2_500)),
        [],
        "four times 200 ms are waited for now"
    );
}

#[test]
fn the_next_reply_tells_which_way_lost_a_probe() {
    for (number, lost_ways) in [
        (101, LostWays { out: 1, back: 0 }),
        (102, LostWays { out: 0, back: 1 }),
        // It counts anew.
        (0, LostWays::default()),
    ] {
        let mut bench = Bench::new(1);
        let ways = |bench: &mut Bench, which, now, number| {
            let arrival = Arrival {
                number: Some(Sequence(number)),
                ..bench.arrival(which, now)
            };
            match bench.sender.handle_arrival(&arrival) {
                Heard::Sample { sample, .. } => sample.lost_ways,
                other => panic!("{other:?}"),
            }
        };
        bench.send_due(ms(0));
        assert!(ways(&mut bench, 0, ms(1), 100).is_empty());
        bench.send_due(ms(1_000));
        assert_eq!(bench.expire(ms(2_100)), [Outcome::Timeout]);
        bench.send_due(ms(2_200));
        assert_eq!(ways(&mut bench, 2, ms(2_201), number), lost_ways);
    }
}

#[test]
fn an_icmp_error_ends_exactly_its_probe() {
    let mut bench = Bench::new(2);
    bench.send_due(ms(0));
    let (probe, _) = bench.wire[1];
    let failure = Failure {
        destination: probe.destination,
        sequence: Some(probe.sequence),
        outcome: Outcome::Refused,
    };
    let sample = bench.sender.handle_failure(&failure).unwrap();
    assert_eq!(
        (sample.path, sample.outcome),
        (probe.path, Outcome::Refused)
    );
    assert_eq!(bench.sender.handle_failure(&failure), None);
    let late = bench.arrival(1, ms(1));
    assert_eq!(bench.outcome(&late), Some(Outcome::Late));
}

#[test]
fn a_target_that_is_gone_is_neither_probed_nor_judged() {
    let mut bench = Bench::new(2);
    bench.send_due(ms(0));
    let kept = bench.config(0);
    bench.sender.set_targets(&[kept], ms(10));
    assert_eq!(bench.sender.pending_count(), 1);
    let gone = bench.arrival(1, ms(20));
    assert_eq!(bench.sender.handle_arrival(&gone), Heard::Unknown);
    assert_eq!(bench.expire(ms(900)).len(), 1);
    let before = bench.wire.len();
    bench.send_due(ms(1_000));
    assert!(bench.wire.len() > before);
    let kept = bench.paths[0];
    assert!(
        bench.wire[before..]
            .iter()
            .all(|(probe, _)| probe.path == kept)
    );
}

proptest! {
    #[test]
    fn every_probe_has_exactly_one_outcome(
        fates in prop::collection::vec((0_u64..400, any::<bool>(), any::<bool>()), 1..60),
    ) {
        let mut bench = Bench::new(3);
        // A regular and an extra probe of one path may leave at the same moment.
        let mut outcomes: Counts<(PathId, Moment), i32> = Counts::new();
        let mut planned: Vec<(u64, usize)> = Vec::new();
        let mut next_fate = fates.iter().cycle();
        for millis in (0..4_000).step_by(10) {
            let now = ms(millis);
            let due: Vec<usize> = planned.iter().filter(|(at, _)| *at <= millis).map(|(_, i)| *i).collect();
            planned.retain(|(at, _)| *at > millis);
            for which in due {
                let arrival = bench.arrival(which, now);
                if let Heard::Sample { sample, .. } = bench.sender.handle_arrival(&arrival) {
                    if sample.outcome != Outcome::Late {
                        *outcomes.entry((sample.path, sample.sent_at)).or_default() += 1;
                    }
                    bench.note(&sample, now);
                }
            }
            while let Some(sample) = bench.sender.poll_expired(now) {
                *outcomes.entry((sample.path, sample.sent_at)).or_default() += 1;
                bench.note(&sample, now);
            }
            let before = bench.wire.len();
            bench.send_due(now);
            for which in before..bench.wire.len() {
                let (probe, departure) = bench.wire[which];
                *outcomes.entry((probe.path, departure.at)).or_default() -= 1;
                let (delay, answered, doubled) = next_fate.next().copied().unwrap_or((1, true, false));
                if answered {
                    planned.push((millis + delay, which));
                }
                if answered && doubled {
                    planned.push((millis + delay + 30, which));
                }
            }
        }
        bench.sender.stop();
        while let Some(sample) = bench.sender.poll_expired(ms(10_000)) {
            *outcomes.entry((sample.path, sample.sent_at)).or_default() += 1;
        }
        prop_assert!(outcomes.values().all(|count| *count == 0));
    }
}
