use proptest::prelude::*;

use super::*;

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
    let t = feed(&mut cell, t + 10, 3, &window(10_000, 20, 0, 60));
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
    let t = feed(&mut cell, t, 6, &window(10_000, 20, 0, 60));
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
