use proptest::prelude::*;

use super::*;
use crate::rtt::RttCode;
use crate::window::LostWays;

fn thresholds() -> Thresholds {
    Thresholds::for_mesh(9_900, 1.0, 10.0)
}

fn window(millis: u32, sent: u32, replied: u32, consecutive_losses: u8) -> Summary {
    let code = if replied > 0 {
        RttCode::from_nanos(300_000)
    } else {
        RttCode::from_octet(0)
    };
    Summary {
        window_millis: millis,
        sent,
        replied,
        rtt_min: code,
        rtt_median: code,
        rtt_max: code,
        consecutive_losses,
        last_failure: (sent > replied).then_some(OutcomeClass::Timeout),
        ..Summary::default()
    }
}

fn seconds(s: u64) -> Moment {
    Moment::from_millis(s * 1_000)
}

fn feed(cell: &mut PathCell, from: u64, windows: u64, summary: &Summary) -> u64 {
    for n in 0..windows {
        cell.apply(summary, seconds(from + n * 10), &thresholds());
    }
    from + windows * 10
}

#[test]
fn silence_is_no_data_and_never_failure() {
    let mut cell = PathCell::EMPTY;
    assert_eq!(cell.verdict(seconds(1), &thresholds()), Verdict::NoData);
    feed(&mut cell, 10, 1, &window(10_000, 10, 10, 0));
    assert_eq!(cell.verdict(seconds(11), &thresholds()), Verdict::Healthy);
    assert_eq!(cell.verdict(seconds(60), &thresholds()), Verdict::NoData);
    let unplanned = PathCell::NOT_SAMPLED;
    assert_eq!(
        unplanned.verdict(seconds(1), &thresholds()),
        Verdict::NotSampled
    );
}

#[test]
fn an_outage_is_remembered_when_it_is_over() {
    let mut cell = PathCell::EMPTY;
    let mut at = feed(&mut cell, 10, 3, &window(10_000, 10, 10, 0));
    assert_eq!(cell.last_loss(), None);
    at = feed(&mut cell, at, 2, &window(10_000, 10, 0, 12));
    feed(&mut cell, at, 30, &window(10_000, 10, 10, 0));
    assert_eq!(cell.last_loss(), Some((seconds(at - 10), 15)));
    // One loss between answers is a row of one.
    cell.apply(&window(10_000, 10, 9, 0), seconds(400), &thresholds());
    assert_eq!(cell.last_loss(), Some((seconds(400), 1)));
}

#[test]
fn three_samples_are_too_few() {
    let mut cell = PathCell::EMPTY;
    cell.apply(&window(3_000, 3, 3, 0), seconds(3), &thresholds());
    assert_eq!(cell.verdict(seconds(3), &thresholds()), Verdict::NoData);
}

#[test]
fn losses_in_a_row_are_suspect_then_down_then_healthy_again() {
    let mut cell = PathCell::EMPTY;
    let t = feed(&mut cell, 10, 3, &window(10_000, 10, 10, 0));
    let change = cell.apply(&window(200, 1, 0, 1), seconds(t), &thresholds());
    assert_eq!(change, Some((Verdict::Healthy, Verdict::Suspect)));
    let change = cell.apply(&window(200, 4, 0, 5), seconds(t), &thresholds());
    assert_eq!(change, Some((Verdict::Suspect, Verdict::Down)));
    let t = feed(&mut cell, t + 10, 3, &window(10_000, 20, 0, 120));
    assert_eq!(cell.verdict(seconds(t), &thresholds()), Verdict::Down);
    cell.apply(&window(200, 1, 1, 0), seconds(t), &thresholds());
    assert_eq!(cell.verdict(seconds(t), &thresholds()), Verdict::Suspect);
    cell.apply(&window(10_000, 10, 10, 0), seconds(t + 9), &thresholds());
    assert_eq!(
        cell.verdict(seconds(t + 9), &thresholds()),
        Verdict::Healthy
    );
}

#[test]
fn a_late_loss_at_the_end_of_an_outage_does_not_make_the_path_lossy() {
    let mut cell = PathCell::EMPTY;
    let t = feed(&mut cell, 10, 3, &window(10_000, 10, 10, 0));
    let t = feed(&mut cell, t, 6, &window(10_000, 20, 0, 120));
    cell.apply(&window(400, 4, 2, 1), seconds(t), &thresholds());
    let t = feed(&mut cell, t + 1, 2, &window(10_000, 10, 10, 0));
    assert_eq!(cell.verdict(seconds(t), &thresholds()), Verdict::Healthy);
}

#[test]
fn a_short_outage_of_a_kind_that_is_probed_seldom_leaves_no_lossy_path() {
    let seldom = Thresholds::for_mesh(2, 5.0, 10.0);
    let mut cell = PathCell::EMPTY;
    let mut apply = |t: u64, summary: &Summary| {
        cell.apply(summary, seconds(t), &seldom);
        cell.verdict(seconds(t), &seldom)
    };
    for t in [10, 20, 30] {
        apply(t, &window(10_000, 2, 2, 0));
    }
    apply(40, &window(10_000, 2, 1, 1));
    apply(50, &window(10_000, 2, 0, 3));
    assert_eq!(apply(60, &window(10_000, 2, 0, 5)), Verdict::Down);
    apply(70, &window(10_000, 2, 1, 0));
    for t in [80, 90, 100] {
        assert_ne!(apply(t, &window(10_000, 2, 2, 0)), Verdict::Lossy);
    }
}

#[test]
fn rows_of_losses_that_chance_makes_do_not_hide_heavy_loss() {
    let mut cell = PathCell::EMPTY;
    let mut t = 10;
    for n in 0..20 {
        let row = if n % 3 == 0 { 5 } else { 0 };
        t = feed(&mut cell, t, 1, &window(10_000, 10, 4, row));
        if n > 3 {
            assert!(cell.verdict(seconds(t), &thresholds()).is_unhealthy());
        }
    }
}

#[test]
fn most_probes_lost_is_down_even_without_a_row() {
    let mut cell = PathCell::EMPTY;
    cell.apply(&window(10_000, 10, 1, 0), seconds(10), &thresholds());
    assert_eq!(cell.verdict(seconds(10), &thresholds()), Verdict::Down);
}

#[test]
fn five_percent_loss_is_lossy_and_refuted_by_seventy_three_replies() {
    let mut cell = PathCell::EMPTY;
    let mut t = 10;
    for n in 0..30 {
        let replied = if n % 2 == 0 { 9 } else { 10 };
        t = feed(&mut cell, t, 1, &window(10_000, 10, replied, 0));
    }
    assert_eq!(cell.verdict(seconds(t), &thresholds()), Verdict::Lossy);
    // The last window of the loop had ten replies already.
    t = feed(&mut cell, t, 6, &window(10_000, 10, 10, 0));
    assert_eq!(cell.verdict(seconds(t), &thresholds()), Verdict::Lossy);
    t = feed(&mut cell, t, 1, &window(10_000, 10, 10, 0));
    assert_eq!(cell.verdict(seconds(t), &thresholds()), Verdict::Healthy);
}

#[test]
fn a_burst_inside_one_second_is_one_event() {
    let mut cell = PathCell::EMPTY;
    let t = feed(&mut cell, 10, 2, &window(10_000, 10, 10, 0));
    cell.apply(&window(900, 40, 20, 0), seconds(t), &thresholds());
    let t = feed(&mut cell, t + 10, 2, &window(10_000, 10, 10, 0));
    assert_eq!(cell.verdict(seconds(t), &thresholds()), Verdict::Healthy);
}

#[test]
fn slow_needs_three_times_the_baseline_and_a_millisecond() {
    let at = |micros: u64| Summary {
        rtt_min: RttCode::from_nanos(micros * 1_000),
        rtt_median: RttCode::from_nanos(micros * 1_000),
        rtt_max: RttCode::from_nanos(micros * 1_000),
        ..window(10_000, 10, 10, 0)
    };
    let verdict_at = |normal: u64, then: u64| {
        let mut cell = PathCell::EMPTY;
        let t = feed(&mut cell, 10, 10, &at(normal));
        let t = feed(&mut cell, t, 1, &at(then));
        cell.verdict(seconds(t), &thresholds())
    };
    assert_eq!(verdict_at(300, 900), Verdict::Healthy);
    assert_eq!(verdict_at(300, 1_700), Verdict::Slow);
    assert_eq!(verdict_at(2_000, 5_000), Verdict::Healthy);
    assert_eq!(verdict_at(2_000, 8_000), Verdict::Slow);
}

#[test]
fn one_outlier_is_chance_and_two_in_a_minute_are_a_tail() {
    let spike = Summary {
        rtt_max: RttCode::from_nanos(40_000_000),
        ..window(10_000, 10, 10, 0)
    };
    let mut cell = PathCell::EMPTY;
    let t = feed(&mut cell, 10, 10, &window(10_000, 10, 10, 0));
    let t = feed(&mut cell, t, 1, &spike);
    assert_eq!(cell.verdict(seconds(t), &thresholds()), Verdict::Healthy);
    let t = feed(&mut cell, t, 1, &spike);
    assert_eq!(cell.verdict(seconds(t), &thresholds()), Verdict::Slow);
}

#[test]
fn what_the_target_received_is_absent_until_it_says_so() {
    let mut cell = PathCell::EMPTY;
    feed(&mut cell, 10, 1, &window(10_000, 10, 0, 10));
    assert_eq!(cell.fast_window(seconds(10), &thresholds()).received, None);
    cell.apply_received(9, seconds(10), &thresholds());
    assert_eq!(
        cell.fast_window(seconds(11), &thresholds()).received,
        Some(9)
    );
    assert_eq!(cell.fast_window(seconds(40), &thresholds()).received, None);
}

proptest! {
    #[test]
    fn invalid_samples_alone_never_make_a_path_fail(invalid in proptest::collection::vec(0_u32..50, 1..60)) {
        let mut cell = PathCell::EMPTY;
        for (n, invalid) in invalid.iter().enumerate() {
            let summary = Summary { window_millis: 10_000, invalid: *invalid, ..Summary::default() };
            cell.apply(&summary, seconds(n as u64 * 10), &thresholds());
            prop_assert_eq!(cell.verdict(seconds(n as u64 * 10), &thresholds()), Verdict::NoData);
        }
    }

    #[test]
    fn any_sequence_keeps_counts_consistent(windows in proptest::collection::vec((1_u32..20_000, 0_u32..70_000, 0_u32..70_000, any::<u8>(), 0_u64..30), 1..80)) {
        let mut cell = PathCell::EMPTY;
        let mut t = 1;
        for (millis, a, b, row, wait) in windows {
            t += wait;
            cell.apply(&window(millis, a.max(b), a.min(b), row), seconds(t), &thresholds());
            let fast = cell.fast_window(seconds(t), &thresholds());
            prop_assert!(fast.lost <= fast.sent);
            prop_assert!(fast.loss_lower <= fast.loss_upper);
        }
    }
}

#[test]
fn a_kind_that_is_sent_once_a_minute_has_a_verdict_all_the_time() {
    let thresholds = Thresholds::for_mesh(9_900, 60.0, 10.0);
    let mut cell = PathCell::EMPTY;
    let judged = |cell: &PathCell, t: u64| cell.verdict(seconds(t), &thresholds);
    for minute in 0..5 {
        let probed = 60 * minute + 10;
        cell.apply(&window(10_000, 1, 1, 0), seconds(probed), &thresholds);
        for later in [0, 20, 40] {
            // Reports in between that have nothing to say about this path.
            cell.apply(
                &window(10_000, 0, 0, 0),
                seconds(probed + later),
                &thresholds,
            );
            assert_eq!(judged(&cell, probed + later + 9), Verdict::Healthy);
        }
    }
    assert_eq!(cell.fast_window(seconds(300), &thresholds).lost, 0);
    assert!(cell.fast_window(seconds(300), &thresholds).sent >= 2);
    cell.apply(&window(10_000, 1, 0, 1), seconds(310), &thresholds);
    assert_eq!(judged(&cell, 369), Verdict::Suspect);
    assert_eq!(judged(&cell, 470), Verdict::NoData, "and not for ever");
}

#[test]
fn a_window_of_another_length_begins_empty() {
    let mut cell = PathCell::EMPTY;
    cell.apply(&window(10_000, 10, 5, 0), seconds(1_000), &thresholds());
    cell.restart_window();
    let slow = Thresholds::for_mesh(9_900, 60.0, 10.0);
    cell.apply(&window(10_000, 1, 1, 0), seconds(1_010), &slow);
    let fast = cell.fast_window(seconds(1_010), &slow);
    assert_eq!((fast.sent, fast.lost), (1, 0));
}

proptest! {
    /// The sums are those of the definition, whatever the windows are.
    #[test]
    fn long_counts_are_the_faded_sums_of_all_windows(
        windows in proptest::collection::vec((1_u64..600, 0_u32..40, 0_u32..3), 1..60),
    ) {
        let (mut cell, mut now) = (PathCell::EMPTY, 1_000_u64);
        let mut told = Vec::new();
        for (tenths, replied, lost) in windows {
            now += tenths;
            let millis = (tenths * 100) as u32;
            let row = if replied > 0 { 0 } else { lost as u8 };
            let summary = window(millis, replied + lost, replied, row);
            let end = Moment::from_millis(now * 100);
            // Rows of ten losses are an outage, which begins the sums anew.
            prop_assume!(cell.consecutive_losses < OUTAGE);
            // The reply after next tells of them, so they belong to windows before.
            let lost_ways = LostWays { out: replied / 8, back: lost };
            cell.apply(&Summary { lost_ways, ..summary }, end, &thresholds());
            told.push((now as f64 - tenths as f64 / 2.0, f64::from(replied + lost), f64::from(lost), f64::from(replied / 8)));
        }
        let sum = |of: fn(&(f64, f64, f64, f64)) -> f64| -> f64 {
            told.iter().map(|one| of(one) * (-(now as f64 - one.0) / 800.0).exp()).sum()
        };
        let close = |kept: f32, exact: f64| (f64::from(kept) - exact).abs() <= exact * 0.01 + 0.02;
        let end = Moment::from_millis(now * 100);
        let long = cell.long_counts(end);
        prop_assert!(close(long.sent, sum(|o| o.1)), "{} {}", long.sent, sum(|o| o.1));
        prop_assert!(close(long.lost, sum(|o| o.2)), "{} {}", long.lost, sum(|o| o.2));
        prop_assert!(close(long.back, sum(|o| o.2)), "{} {}", long.back, sum(|o| o.2));
        prop_assert!(close(long.out, sum(|o| o.3)), "{} {}", long.out, sum(|o| o.3));
    }
}

#[test]
fn an_outage_leaves_no_loss_in_the_long_counts() {
    let mut cell = PathCell::EMPTY;
    let t = feed(&mut cell, 10, 10, &window(10_000, 10, 10, 0));
    let t = feed(&mut cell, t, 6, &window(10_000, 20, 0, 120));
    assert!(cell.long_counts(seconds(t - 10)).lost > 60.0);
    feed(&mut cell, t, 1, &window(10_000, 10, 10, 0));
    let LongCounts { sent, lost, .. } = cell.long_counts(seconds(t));
    assert!(lost < 1e-9);
    assert!((20.0..60.0).contains(&sent), "{sent}");
}

#[test]
fn which_way_lost_the_probes_of_an_outage_is_no_news_once_it_is_over() {
    let mut cell = PathCell::EMPTY;
    let t = feed(&mut cell, 10, 10, &window(10_000, 10, 10, 0));
    let t = feed(&mut cell, t, 6, &window(10_000, 20, 0, 120));
    let healed = Summary {
        lost_ways: LostWays { out: 120, back: 0 },
        ..window(10_000, 10, 10, 0)
    };
    let t = feed(&mut cell, t, 1, &healed);
    let long = cell.long_counts(seconds(t));
    assert_eq!((long.out, long.back), (0.0, 0.0));
}

#[test]
fn heavy_loss_keeps_its_share_although_it_makes_long_rows() {
    let mut cell = PathCell::EMPTY;
    let mut t = feed(&mut cell, 10, 10, &window(10_000, 10, 10, 0));
    // Four of five are lost, in rows of four and now and then of twelve.
    for turn in 0..120 {
        t = if turn % 4 == 3 {
            let t = feed(&mut cell, t, 1, &window(1_000, 12, 0, 12));
            feed(&mut cell, t, 1, &window(1_000, 3, 3, 0))
        } else {
            feed(&mut cell, t, 1, &window(1_000, 5, 1, 4))
        };
    }
    let LongCounts { sent, lost, .. } = cell.long_counts(seconds(t));
    assert!((0.75..0.85).contains(&(lost / sent)), "{lost} of {sent}");
}

#[test]
fn a_target_that_was_silent_for_most_of_a_day_does_not_look_as_if_it_had_just_received_something() {
    let mut cell = PathCell::EMPTY;
    cell.apply_received(10, seconds(100), &thresholds());
    let later = 100 + u64::from(RECEIVED_TURN);
    cell.apply(
        &window(10_000, 10, 10, 0),
        seconds(later - 30_000),
        &thresholds(),
    );
    cell.apply(&window(10_000, 10, 10, 0), seconds(later), &thresholds());
    let fast = cell.fast_window(seconds(later), &thresholds());
    assert_eq!(fast.received, None);
}

#[test]
fn nothing_that_arrives_is_seen_in_what_was_received() {
    let mut cell = PathCell::EMPTY;
    let mut t = 10;
    for _ in 0..20 {
        cell.apply(&window(10_000, 10, 10, 0), seconds(t), &thresholds());
        cell.apply_received(10, seconds(t), &thresholds());
        t += 10;
    }
    let end = seconds(t - 10);
    assert_eq!(cell.newest_slots(end, &thresholds()), (20, 20));
    t = feed(&mut cell, t, 8, &window(10_000, 10, 10, 0));
    let end = seconds(t - 10);
    assert_eq!(cell.newest_slots(end, &thresholds()), (20, 0));
}
