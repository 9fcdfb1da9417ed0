//! What a picture shows of two probers that count for themselves, at times of their own.

use proptest::prelude::*;

use super::*;
use crate::outcome::OutcomeClass;
use crate::rtt::RttCode;
use crate::verdict::Verdict;
use crate::window::{LostWays, Summary};

fn thresholds() -> Thresholds {
    Thresholds::for_mesh(9_900, 1.0, 10.0)
}

fn at(second: u64) -> Moment {
    Moment::from_millis(second * 1_000)
}

/// What becomes of the probes of one window.
#[derive(Clone, Copy)]
struct Fate {
    sent: u32,
    /// Of those, at the target.
    arrived: u32,
    /// Of those, back.
    answered: u32,
}

const FINE: Fate = Fate {
    sent: 1,
    arrived: 1,
    answered: 1,
};
const LOST_ON_THE_WAY: Fate = Fate {
    arrived: 0,
    answered: 0,
    ..FINE
};
const LOST_ON_THE_WAY_BACK: Fate = Fate {
    answered: 0,
    ..FINE
};

/// A path between two probers that send one probe a second and report each second.
struct Way {
    there: PathCell,
    /// The target's own cell, which counts what arrives.
    back: PathCell,
    own: Coverage,
    theirs: Coverage,
    row: u8,
    /// Of which no reply has told yet.
    untold: LostWays,
    now: u64,
}

impl Way {
    fn new() -> Self {
        Self {
            there: PathCell::EMPTY,
            back: PathCell::EMPTY,
            own: Coverage::default(),
            theirs: Coverage::default(),
            row: 0,
            untold: LostWays::default(),
            now: 1_000,
        }
    }

    fn source(&mut self, fate: Fate) {
        let Fate {
            sent,
            arrived,
            answered,
        } = fate;
        self.untold = self.untold.plus(LostWays {
            out: sent - arrived,
            back: arrived - answered,
        });
        let lost_ways = if answered > 0 {
            std::mem::take(&mut self.untold)
        } else {
            LostWays::default()
        };
        self.row = if answered > 0 {
            0
        } else {
            self.row.saturating_add(sent as u8)
        };
        let rtt = if answered > 0 {
            RttCode::from_nanos(300_000)
        } else {
            RttCode::from_octet(0)
        };
        let summary = Summary {
            window_millis: 1_000,
            sent,
            replied: answered,
            lost_ways,
            rtt_min: rtt,
            rtt_median: rtt,
            rtt_max: rtt,
            consecutive_losses: self.row,
            last_failure: (sent > answered).then_some(OutcomeClass::Timeout),
            ..Summary::default()
        };
        self.there.apply(&summary, at(self.now), &thresholds());
        self.own
            .add(Duration::from_secs(1), at(self.now), &thresholds());
    }

    fn target(&mut self, fate: Fate) {
        if fate.arrived > 0 {
            self.back
                .apply_received(fate.arrived, at(self.now), &thresholds());
        }
        self.theirs
            .add(Duration::from_secs(1), at(self.now), &thresholds());
    }

    fn pass(&mut self, seconds: u64, fate: Fate) -> &mut Self {
        for _ in 0..seconds {
            self.now += 1;
            self.source(fate);
            self.target(fate);
        }
        self
    }

    /// The target does not report.
    fn pass_unheard(&mut self, seconds: u64, fate: Fate) -> &mut Self {
        for _ in 0..seconds {
            self.now += 1;
            self.source(fate);
        }
        self
    }

    fn picture(&self) -> CellPicture {
        self.picture_at(self.now)
    }

    fn picture_at(&self, second: u64) -> CellPicture {
        let heard = Heard {
            cell: Some(&self.back),
            coverage: self.theirs,
        };
        CellPicture::of(
            &self.there,
            &self.own,
            Some(heard),
            at(second),
            &thresholds(),
        )
    }
}

#[test]
fn a_healthy_path_has_all_of_its_probes_at_the_target_and_no_row_of_losses() {
    let mut way = Way::new();
    let picture = way.pass(60, FINE).picture();
    assert_eq!(picture.verdict, Verdict::Healthy);
    assert_eq!((picture.lost, picture.received), (0, Some(picture.sent)));
    assert!(picture.sent >= 10, "{}", picture.sent);
    assert_eq!(picture.long_received, Some(picture.long_sent));
    assert_eq!(
        (picture.consecutive_losses, picture.failing_for),
        (0, Duration::ZERO)
    );
    assert_eq!((picture.arrived_in_row, picture.failure), (None, None));
    assert_eq!((picture.lost_at, picture.lost_in_row), (None, 0));
    let rtt = picture.rtt.unwrap().as_secs_f64();
    assert!((rtt / 300e-6 - 1.0).abs() < 0.05, "{rtt}");
    assert_eq!(picture.reported_at.map(Mark::moment), Some(at(way.now)));
}

#[test]
fn what_no_target_counts_is_not_said_to_have_arrived_or_not() {
    let mut way = Way::new();
    way.pass(60, FINE).pass(10, LOST_ON_THE_WAY);
    let now = at(way.now);
    let picture = CellPicture::of(&way.there, &way.own, None, now, &thresholds());
    assert_eq!(picture.verdict, Verdict::Down);
    assert_eq!((picture.received, picture.long_received), (None, None));
    assert_eq!(picture.arrived_in_row, None);
    assert_eq!(picture.failure, Some(OutcomeClass::Timeout));
}

#[test]
fn the_leg_on_which_everything_is_lost_is_told_by_the_target() {
    let mut there = Way::new();
    let there = there.pass(60, FINE).pass(15, LOST_ON_THE_WAY).picture();
    assert_eq!(there.verdict, Verdict::Down);
    assert_eq!(there.consecutive_losses, 15);
    assert_eq!(there.arrived_in_row, Some(Arrived::Nothing));
    let mut back = Way::new();
    let back = back.pass(60, FINE).pass(15, LOST_ON_THE_WAY_BACK).picture();
    assert_eq!((back.sent, back.lost), (there.sent, there.lost));
    assert_eq!(back.arrived_in_row, Some(Arrived::Most));
    assert_eq!(back.lost_in_row, 15);
    // Which way it is, is not asked of replies that do not come.
    assert_eq!((there.received, back.received), (None, None));
}

#[test]
fn a_target_that_is_late_with_its_report_does_not_look_as_if_it_had_lost_something() {
    let mut way = Way::new();
    way.pass(60, FINE).pass_unheard(5, LOST_ON_THE_WAY);
    let picture = way.picture();
    assert_eq!(picture.lost, 5);
    assert_eq!((picture.received, picture.arrived_in_row), (None, None));
    // Its word comes, and covers the time of the losses.
    way.pass(10, LOST_ON_THE_WAY);
    assert_eq!(way.picture().arrived_in_row, Some(Arrived::Nothing));
}

#[test]
fn heavy_loss_each_way_is_no_outage_of_one_of_them() {
    let ten = |arrived| Fate {
        sent: 10,
        arrived,
        answered: 0,
    };
    let mut way = Way::new();
    way.pass(60, FINE).pass(25, ten(3));
    assert_eq!(way.picture().arrived_in_row, Some(Arrived::Few));
    let mut way = Way::new();
    way.pass(60, FINE).pass(25, ten(9));
    assert_eq!(way.picture().arrived_in_row, Some(Arrived::Most));
}

#[test]
fn the_next_reply_tells_which_way_lost_what_was_lost_before_it_even_if_the_target_does_not_report()
{
    for (lost, missing) in [(LOST_ON_THE_WAY, 2), (LOST_ON_THE_WAY_BACK, 0)] {
        let mut way = Way::new();
        way.pass(60, FINE).pass_unheard(2, lost);
        assert_eq!(way.picture().received, None);
        let picture = way.pass_unheard(1, FINE).picture();
        assert_eq!(picture.lost, 2);
        assert_eq!(picture.received, Some(picture.sent - missing));
    }
}

#[test]
fn what_is_lost_now_does_not_hide_which_way_the_loss_before_it_went() {
    let half = Fate {
        sent: 10,
        arrived: 5,
        answered: 5,
    };
    let mut way = Way::new();
    way.pass(60, half).pass(2, LOST_ON_THE_WAY);
    let picture = way.picture();
    assert_eq!(picture.received, Some(picture.sent - picture.lost));
}

#[test]
fn a_source_that_fell_silent_has_no_data_and_is_not_down() {
    let mut way = Way::new();
    way.pass(60, FINE);
    let picture = way.picture_at(way.now + 60);
    assert_eq!(picture.verdict, Verdict::NoData);
    assert_eq!(picture.consecutive_losses, 0);
}

#[test]
fn a_loss_that_is_over_is_remembered_with_its_row() {
    let mut way = Way::new();
    way.pass(60, FINE).pass(2, LOST_ON_THE_WAY);
    let lost_at = way.now;
    let picture = way.pass(20, FINE).picture();
    assert_eq!(
        (picture.consecutive_losses, picture.arrived_in_row),
        (0, None)
    );
    assert_eq!(picture.lost_at.map(Mark::moment), Some(at(lost_at)));
    assert_eq!(picture.lost_in_row, 2);
    assert_eq!(picture.failing_for, Duration::ZERO);
}

#[test]
fn a_share_that_is_lost_on_the_way_is_missing_at_the_target_and_one_lost_on_the_way_back_is_not() {
    let ten = |arrived, answered| Fate {
        sent: 10,
        arrived,
        answered,
    };
    let mut there = Way::new();
    let there = there.pass(200, ten(7, 7)).picture();
    assert_eq!(there.received, Some(there.sent - there.lost));
    let long = there.long_received.unwrap() / there.long_sent;
    assert!((long - 0.7).abs() < 0.01, "{long}");
    let mut back = Way::new();
    let back = back.pass(200, ten(10, 7)).picture();
    assert_eq!((back.sent, back.lost), (there.sent, there.lost));
    assert_eq!(back.received, Some(back.sent));
}

/// A source and a target with windows of any length, at any moments, and a probe every 400 ms. From `broken` on every answer is
/// lost on the way back.
fn out_of_step(source: (u64, u64), target: (u64, u64), broken: u64, now: u64) -> CellPicture {
    const EVERY: u64 = 400;
    const START: u64 = 1_000_000;
    let (mut there, mut back) = (PathCell::EMPTY, PathCell::EMPTY);
    let (mut own, mut theirs) = (Coverage::default(), Coverage::default());
    let millis = |end: u64| Moment::from_millis(START + end);
    let mut row = 0_u8;
    let (length, phase) = source;
    for end in (phase + length..=now).step_by(length as usize) {
        let sent = (end / EVERY - (end - length) / EVERY) as u32;
        let failed = (end / EVERY).saturating_sub((end - length).max(broken) / EVERY) as u32;
        row = if failed < sent { 0 } else { row } + failed as u8;
        let summary = Summary {
            window_millis: length as u32,
            sent,
            replied: sent - failed,
            consecutive_losses: row,
            last_failure: (failed > 0).then_some(OutcomeClass::Timeout),
            ..Summary::default()
        };
        there.apply(&summary, millis(end), &thresholds());
        own.add(Duration::from_millis(length), millis(end), &thresholds());
    }
    let (length, phase) = target;
    for end in (phase + length..=now).step_by(length as usize) {
        let arrived = (end / EVERY - (end - length) / EVERY) as u32;
        if arrived > 0 {
            back.apply_received(arrived, millis(end), &thresholds());
        }
        theirs.add(Duration::from_millis(length), millis(end), &thresholds());
    }
    let heard = Heard {
        cell: Some(&back),
        coverage: theirs,
    };
    CellPicture::of(&there, &own, Some(heard), millis(now), &thresholds())
}

#[test]
fn that_probes_arrive_while_no_answer_comes_back_is_known_from_then_on() {
    let lengths = [(250, 250), (250, 1_000), (1_000, 250), (1_000, 1_000)];
    let phases = [
        (0, 0),
        (90, 60),
        (170, 240),
        (0, 210),
        (230, 130),
        (810, 60),
        (60, 810),
    ];
    for ((source, target), (phase, other)) in lengths
        .into_iter()
        .flat_map(|lengths| phases.map(|phases| (lengths, phases)))
    {
        for now in (24_000..40_000).step_by(130) {
            let picture = out_of_step((source, phase), (target, other), 20_000, now);
            let after = now - 20_000;
            let case = format!("{source} ms + {phase}, {target} ms + {other}, after {after} ms");
            assert_eq!(picture.arrived_in_row, Some(Arrived::Most), "{case}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever two probers said at whatever times: what was answered has arrived, and no more arrived than was sent.
    #[test]
    fn what_arrived_lies_between_what_was_answered_and_what_was_sent(
        steps in prop::collection::vec((1_u32..6, 0_u32..6, 0_u32..6, any::<bool>(), any::<bool>()), 1..80),
        later in 0_u64..40,
    ) {
        let mut way = Way::new();
        for (sent, arrived, answered, source_reports, target_reports) in steps {
            way.now += 1;
            let arrived = arrived.min(sent);
            let fate = Fate { sent, arrived, answered: answered.min(arrived) };
            if source_reports {
                way.source(fate);
            }
            if target_reports {
                way.target(fate);
            }
        }
        let picture = way.picture_at(way.now + later);
        prop_assert!(picture.lost <= picture.sent);
        if let Some(received) = picture.received {
            prop_assert!(received <= picture.sent);
            prop_assert!(received >= picture.sent - picture.lost);
        }
        if let Some(received) = picture.long_received {
            prop_assert!(received <= picture.long_sent + 1e-3);
            prop_assert!(received >= picture.long_sent - picture.long_lost - 1e-3);
        }
        if picture.consecutive_losses == 0 {
            prop_assert_eq!(picture.arrived_in_row, None);
        }
    }
}
