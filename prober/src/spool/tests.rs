use proptest::prelude::*;

use super::*;
use crate::report::tests::{closed, row};

const INCARNATION: Incarnation = Incarnation(77);
const BIG: usize = 1 << 20;

fn open(overlay: bool, underlay: bool) -> OpenWays {
    let mut ways = OpenWays::default();
    ways.set(Way::Overlay, overlay);
    ways.set(Way::Underlay, underlay);
    ways
}

const fn ms(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

fn sends(spool: &mut Spool, open: OpenWays, now: Moment) -> Vec<(Way, u64)> {
    std::iter::from_fn(|| spool.poll_transmit(open, now))
        .map(|t| (t.way, t.report.sequence))
        .collect()
}

fn window(second: u64) -> ClosedWindow {
    closed(second, vec![row(1, 1, 1)])
}

#[test]
fn a_normal_report_goes_by_the_overlay_once() {
    let mut spool = Spool::new(INCARNATION, BIG);
    spool.push(window(1));
    let both = open(true, true);
    assert_eq!(sends(&mut spool, both, ms(2_000)), [(Way::Overlay, 1)]);
    assert_eq!(spool.handle_ack(INCARNATION, ReportSequence(1)), 1);
    assert!(spool.is_empty());
    assert_eq!(sends(&mut spool, both, ms(9_000)), []);
}

#[test]
fn an_urgent_report_goes_by_both_ways_at_once() {
    let mut spool = Spool::new(INCARNATION, BIG);
    spool.push(ClosedWindow {
        urgent: true,
        ..window(1)
    });
    assert_eq!(
        sends(&mut spool, open(true, true), ms(2_000)),
        [(Way::Overlay, 1), (Way::Underlay, 1)]
    );
}

#[test]
fn an_urgent_report_does_not_wait_behind_a_backlog() {
    let mut spool = Spool::new(INCARNATION, BIG);
    let both = open(true, true);
    for second in 0..100 {
        spool.push(window(second));
    }
    let waiting = sends(&mut spool, both, ms(100_000)).len();
    assert_eq!(waiting, MAX_SENT - RESERVED);
    spool.push(ClosedWindow {
        urgent: true,
        ..window(100)
    });
    let next = waiting as u64 + 1;
    assert_eq!(
        sends(&mut spool, both, ms(100_001)),
        [(Way::Overlay, next), (Way::Underlay, next)]
    );
    assert_eq!(spool.fill().drafts, 100 - waiting);
}

#[test]
fn an_unacknowledged_report_takes_the_other_way_after_half_a_second() {
    let mut spool = Spool::new(INCARNATION, BIG);
    let both = open(true, true);
    spool.push(window(1));
    sends(&mut spool, both, ms(2_000));
    assert_eq!(spool.next_deadline(both), Some(ms(2_500)));
    assert_eq!(sends(&mut spool, both, ms(2_499)), []);
    assert_eq!(sends(&mut spool, both, ms(2_500)), [(Way::Underlay, 1)]);
    assert_eq!(sends(&mut spool, both, ms(3_000)), []);
}

#[test]
fn without_an_overlay_the_underlay_is_the_primary_way() {
    let mut spool = Spool::new(INCARNATION, BIG);
    spool.push(window(1));
    assert_eq!(sends(&mut spool, open(false, false), ms(2_000)), []);
    assert_eq!(
        sends(&mut spool, open(false, true), ms(2_000)),
        [(Way::Underlay, 1)]
    );
}

#[test]
fn a_new_stream_gets_what_the_old_one_may_have_lost_unchanged_and_in_order() {
    let mut spool = Spool::new(INCARNATION, BIG);
    let overlay = open(true, false);
    spool.push(window(1));
    spool.push(window(2));
    assert_eq!(sends(&mut spool, overlay, ms(3_000)).len(), 2);
    spool.handle_way_closed(Way::Overlay);
    spool.push(window(3));
    assert_eq!(
        sends(&mut spool, overlay, ms(3_100)),
        [(Way::Overlay, 1), (Way::Overlay, 2), (Way::Overlay, 3)]
    );
}

#[test]
fn the_age_counts_from_the_end_of_the_window_to_this_copy() {
    let mut spool = Spool::new(INCARNATION, BIG);
    spool.push(window(1));
    let sent = spool.poll_transmit(open(true, false), ms(12_000)).unwrap();
    assert_eq!(sent.report.age_millis, 10_000);
}

#[test]
fn an_acknowledgement_of_another_incarnation_is_nothing() {
    let mut spool = Spool::new(INCARNATION, BIG);
    spool.push(window(1));
    sends(&mut spool, open(true, false), ms(2_000));
    assert_eq!(spool.handle_ack(Incarnation(1), ReportSequence(9)), 0);
    assert!(!spool.is_empty());
}

#[test]
fn sent_reports_are_limited_and_the_rest_stays_mergeable() {
    let mut spool = Spool::new(INCARNATION, BIG);
    for second in 0..100 {
        spool.push(window(second));
    }
    assert_eq!(
        sends(&mut spool, open(true, false), ms(200_000)).len(),
        MAX_SENT - RESERVED
    );
    assert_eq!(spool.fill().drafts, 100 - (MAX_SENT - RESERVED));
}

proptest! {
    #[test]
    fn a_full_spool_merges_and_keeps_every_count(
        windows in prop::collection::vec(prop::collection::vec((0_u32..20, 0_u32..9, 0_u32..9), 0..20), 1..60),
        budget in 2_000_usize..20_000,
    ) {
        let mut spool = Spool::new(INCARNATION, budget);
        let (mut sent, mut replied) = (0, 0);
        let total = windows.len() as u32;
        for (second, rows) in windows.into_iter().enumerate() {
            let mut by_target = std::collections::BTreeMap::new();
            for (target, a, b) in rows {
                by_target.insert(target, row(target, a + b, a));
            }
            sent += by_target.values().map(|row| row.sent).sum::<u32>();
            replied += by_target.values().map(|row| row.replied).sum::<u32>();
            spool.push(closed(second as u64, by_target.into_values().collect()));
            prop_assert!(spool.fill().octets <= budget || spool.fill().drafts == 1);
        }
        let way = open(true, false);
        let (mut got_sent, mut got_replied, mut got_windows, mut last) = (0, 0, 0, 0);
        let mut now = 1_000_000;
        while !spool.is_empty() {
            now += 1;
            while let Some(t) = spool.poll_transmit(way, ms(now)) {
                prop_assert!(meshprobe_proto::report::admit(&t.report).is_ok());
                prop_assert_eq!(t.report.sequence, last + 1, "gap-free");
                last = t.report.sequence;
                for block in &t.report.blocks {
                    got_sent += block.sent.iter().sum::<u32>();
                    got_replied += block.replied.iter().sum::<u32>();
                }
            }
            got_windows += spool.handle_ack(INCARNATION, ReportSequence(last));
        }
        prop_assert_eq!((got_sent, got_replied), (sent, replied));
        prop_assert_eq!(got_windows, total);
    }
}
