use proptest::prelude::*;

use super::*;

fn of(samples: &[u64]) -> Histogram {
    let mut histogram = Histogram::new();
    for nanos in samples {
        histogram.record(Rtt::from_nanos(*nanos));
    }
    histogram
}

/// Nanoseconds over the whole scale and beyond both of its ends.
fn nanos() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => (0.0_f64..44.0).prop_map(|exponent| exponent.exp2() as u64),
        1 => Just(0),
        1 => Just(u64::MAX),
    ]
}

fn samples() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(nanos(), 0..60)
}

#[test]
fn an_upper_edge_belongs_to_its_bucket_and_the_next_value_to_the_next() {
    // The buckets of Prometheus' schema 3: (2^(-1/8) s, 1 s] is bucket 0, (1 s, 2^(1/8) s] is bucket 1.
    assert_eq!(bucket_index(Rtt::from_nanos(1_000_000_000)), Some(0));
    assert_eq!(bucket_index(Rtt::from_nanos(1_000_000_001)), Some(1));
    assert_eq!(bucket_index(Rtt::from_nanos(1_090_507_732)), Some(1));
    assert_eq!(bucket_index(Rtt::from_nanos(1_090_507_733)), Some(2));
    assert_eq!(bucket_index(Rtt::from_nanos(2_000_000_000)), Some(8));
    assert_eq!(bucket_index(Rtt::from_nanos(500_000_000)), Some(-8));
    assert_eq!(bucket_index(Rtt::from_nanos(1_953_125)), Some(-72));
    assert_eq!(bucket_index(Rtt::from_nanos(953)), None);
    assert_eq!(bucket_index(Rtt::from_nanos(954)), Some(MIN_INDEX));
    assert_eq!(bucket_index(Rtt::from_nanos(u64::MAX)), Some(MAX_INDEX));
}

#[test]
fn bucket_bounds_are_powers_of_the_eighth_root_of_two() {
    assert!((upper_bound_seconds(0) - 1.0).abs() < 1e-15);
    assert!((upper_bound_seconds(8) - 2.0).abs() < 1e-15);
    assert!((upper_bound_seconds(MIN_INDEX - 1) - ZERO_THRESHOLD_SECONDS).abs() < 1e-20);
}

#[test]
fn quantiles_walk_the_samples_in_order() {
    let histogram = of(&[100, 1_000_000, 2_000_000, 4_000_000]);
    assert_eq!(histogram.quantile(0.0), Some(Rtt::ZERO));
    assert_eq!(histogram.quantile(0.25), Some(Rtt::ZERO));
    let median = histogram.quantile(0.5).unwrap().as_nanos();
    assert!((957_000..1_043_000).contains(&median), "{median}");
    let top = histogram.quantile(1.0).unwrap().as_nanos();
    assert!((3_828_000..4_172_000).contains(&top), "{top}");
    assert_eq!(histogram.quantile(f64::NAN), None);
    assert_eq!(histogram.quantile(7.0), histogram.quantile(1.0));
}

#[test]
fn an_empty_histogram_has_no_quantile_and_no_memory() {
    let empty = Histogram::new();
    assert_eq!(empty.quantile(0.5), None);
    assert_eq!(empty.heap_octets(), 0);
    assert_eq!(empty.dense(), (0, &[][..]));
    assert_eq!(empty.buckets().count(), 0);
}

#[test]
fn parts_outside_the_scale_are_refused() {
    assert!(Histogram::from_parts(0, MIN_INDEX, &[1; MAX_BUCKETS], 0).is_ok());
    assert!(Histogram::from_parts(0, MIN_INDEX - 1, &[1], 0).is_err());
    assert!(Histogram::from_parts(0, MAX_INDEX, &[1, 1], 0).is_err());
    assert!(Histogram::from_parts(0, i32::MAX, &[1], 0).is_err());
    assert!(Histogram::from_parts(3, i32::MIN, &[], 0).is_ok());
}

#[test]
fn counters_saturate() {
    let mut histogram = Histogram::new();
    histogram.record_n(Rtt::from_nanos(5_000), u64::MAX);
    histogram.record(Rtt::from_nanos(5_000));
    histogram.record(Rtt::from_nanos(50_000));
    assert_eq!(histogram.count(), u64::MAX);
    assert!(histogram.quantile(1.0).is_some());
}

proptest! {
    #[test]
    fn merging_is_the_histogram_of_all_samples(a in samples(), b in samples()) {
        let mut merged = of(&a);
        merged.merge(&of(&b));
        let all: Vec<u64> = a.iter().chain(&b).copied().collect();
        prop_assert_eq!(merged, of(&all));
    }

    #[test]
    fn merging_is_commutative_and_associative(a in samples(), b in samples(), c in samples()) {
        let (a, b, c) = (of(&a), of(&b), of(&c));
        let mut ab_c = a.clone();
        ab_c.merge(&b);
        ab_c.merge(&c);
        let mut cb = c.clone();
        cb.merge(&b);
        cb.merge(&a);
        prop_assert_eq!(ab_c, cb);
    }

    #[test]
    fn subtracting_undoes_merging(a in samples(), b in samples()) {
        let (a, b) = (of(&a), of(&b));
        let mut both = a.clone();
        both.merge(&b);
        prop_assert_eq!(both.checked_sub(&b), Some(a.clone()));
        prop_assert!(b.is_empty() || a.checked_sub(&both).is_none());
    }

    #[test]
    fn a_quantile_is_within_the_promised_error(
        mut samples in prop::collection::vec(1_000_u64..3_600_000_000_000, 1..80),
        q in 0.0_f64..=1.0,
    ) {
        let answer = of(&samples).quantile(q).unwrap().as_nanos() as f64;
        samples.sort_unstable();
        let rank = ((q * samples.len() as f64).ceil() as usize).max(1);
        let truth = samples[rank - 1] as f64;
        prop_assert!((answer - truth).abs() <= truth * 0.0443 + 1.0, "{} for {}", answer, truth);
    }

    #[test]
    fn parts_rebuild_the_histogram(samples in samples()) {
        let histogram = of(&samples);
        let (first, counts) = histogram.dense();
        let rebuilt =
            Histogram::from_parts(histogram.zero_count(), first, counts, histogram.sum_nanos());
        prop_assert_eq!(rebuilt, Ok(histogram));
    }

    #[test]
    fn count_and_memory_are_exact_and_bounded(samples in prop::collection::vec(nanos(), 0..400)) {
        let histogram = of(&samples);
        prop_assert_eq!(histogram.count(), samples.len() as u64);
        let in_buckets: u64 = histogram.buckets().map(|(_, count)| count).sum();
        prop_assert_eq!(in_buckets + histogram.zero_count(), samples.len() as u64);
        prop_assert!(histogram.dense().1.len() <= MAX_BUCKETS);
        let sum: u128 = samples.iter().map(|nanos| u128::from(*nanos)).sum();
        prop_assert_eq!(histogram.sum_nanos(), sum);
    }
}
