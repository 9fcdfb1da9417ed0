//! How many messages a receiver gets: a token bucket for the urgent ones and another for all others, so that a dark node
//! never waits for what other patterns have used up. Pure: `now` is an argument.

use std::time::{Duration, Instant};

use super::queue::Class;
use crate::config::RateLimit;

/// The buckets of one receiver.
#[derive(Debug)]
pub(super) struct Limiter {
    /// `None`: no limit.
    buckets: Option<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    every: Duration,
    burst: u32,
    urgent: Bucket,
    ordinary: Bucket,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Whole tokens at `at`.
    tokens: u32,
    at: Instant,
}

impl Limiter {
    /// Full buckets.
    pub(super) fn new(limit: Option<RateLimit>, now: Instant) -> Self {
        let buckets = limit.map(|RateLimit { per_minute, burst }| {
            let bucket = Bucket {
                tokens: burst.max(1),
                at: now,
            };
            Buckets {
                every: Duration::from_secs(60) / per_minute.max(1),
                burst: burst.max(1),
                urgent: bucket,
                ordinary: bucket,
            }
        });
        Self { buckets }
    }

    /// The same buckets under another limit; what is in them stays, as far as it fits.
    pub(super) fn set(&mut self, limit: Option<RateLimit>, now: Instant) {
        let mut new = Self::new(limit, now);
        if let (Some(old), Some(new)) = (&mut self.buckets, &mut new.buckets) {
            old.refill(now);
            new.urgent.tokens = new.urgent.tokens.min(old.urgent.tokens);
            new.ordinary.tokens = new.ordinary.tokens.min(old.ordinary.tokens);
        }
        *self = new;
    }

    /// How many messages of this class may leave now.
    pub(super) fn available(&mut self, class: Class, now: Instant) -> u32 {
        let Some(buckets) = &mut self.buckets else {
            return u32::MAX;
        };
        buckets.refill(now);
        match class {
            Class::Urgent => buckets.urgent.tokens,
            Class::Ordinary => buckets.ordinary.tokens,
            Class::Exempt => u32::MAX,
        }
    }

    /// One message leaves.
    pub(super) fn take(&mut self, class: Class) {
        let Some(buckets) = &mut self.buckets else {
            return;
        };
        let bucket = match class {
            Class::Urgent => &mut buckets.urgent,
            Class::Ordinary => &mut buckets.ordinary,
            Class::Exempt => return,
        };
        bucket.tokens = bucket.tokens.saturating_sub(1);
    }

    /// When the next message of this class may leave; `None`: now.
    pub(super) fn next(&self, class: Class) -> Option<Instant> {
        let buckets = self.buckets.as_ref()?;
        let bucket = match class {
            Class::Urgent => &buckets.urgent,
            Class::Ordinary => &buckets.ordinary,
            Class::Exempt => return None,
        };
        (bucket.tokens == 0).then(|| bucket.at + buckets.every)
    }
}

impl Buckets {
    fn refill(&mut self, now: Instant) {
        let (every, burst) = (self.every, self.burst);
        for bucket in [&mut self.urgent, &mut self.ordinary] {
            let passed = now.saturating_duration_since(bucket.at);
            let due =
                u32::try_from(passed.as_nanos() / every.as_nanos().max(1)).unwrap_or(u32::MAX);
            let tokens = bucket.tokens.saturating_add(due);
            if tokens >= burst {
                *bucket = Bucket {
                    tokens: burst,
                    at: now,
                };
            } else {
                // The rest of the time counts for the next token.
                bucket.tokens = tokens;
                bucket.at += every * due;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limiter(per_minute: u32, burst: u32) -> (Limiter, Instant) {
        let now = meshprobe_daemon::clock::now();
        (
            Limiter::new(Some(RateLimit { per_minute, burst }), now),
            now,
        )
    }

    #[test]
    fn a_burst_leaves_at_once_and_the_rest_at_its_pace() {
        let (mut limiter, now) = limiter(30, 3);
        for _ in 0..3 {
            assert!(limiter.available(Class::Ordinary, now) > 0);
            limiter.take(Class::Ordinary);
        }
        assert_eq!(limiter.available(Class::Ordinary, now), 0);
        let next = limiter.next(Class::Ordinary).unwrap();
        assert_eq!(next, now + Duration::from_secs(2));
        assert_eq!(limiter.available(Class::Ordinary, next), 1);
        assert_eq!(limiter.next(Class::Ordinary), None);
    }

    #[test]
    fn what_others_used_up_is_not_missing_to_the_urgent() {
        let (mut limiter, now) = limiter(1, 1);
        limiter.take(Class::Ordinary);
        assert_eq!(limiter.available(Class::Ordinary, now), 0);
        assert_eq!(limiter.available(Class::Urgent, now), 1);
        assert_eq!(limiter.available(Class::Exempt, now), u32::MAX);
    }

    #[test]
    fn without_a_limit_everything_leaves() {
        let now = meshprobe_daemon::clock::now();
        let mut limiter = Limiter::new(None, now);
        limiter.take(Class::Ordinary);
        assert_eq!(limiter.available(Class::Ordinary, now), u32::MAX);
        assert_eq!(limiter.next(Class::Ordinary), None);
    }

    #[test]
    fn another_limit_is_no_new_burst() {
        let (mut limiter, now) = limiter(30, 3);
        for _ in 0..3 {
            limiter.take(Class::Ordinary);
        }
        let limit = RateLimit {
            per_minute: 60,
            burst: 10,
        };
        limiter.set(Some(limit), now);
        assert_eq!(limiter.available(Class::Ordinary, now), 0);
        assert_eq!(
            limiter.available(Class::Ordinary, now + Duration::from_secs(1)),
            1
        );
    }

    proptest! {
        /// No window of time has more than its burst and its pace allow.
        #[test]
        fn never_more_than_burst_and_pace(per_minute in 1_u32..200, burst in 1_u32..20, steps in prop::collection::vec(0_u64..5_000, 1..300)) {
            let (mut limiter, start) = limiter(per_minute, burst);
            let mut now = start;
            let mut left: Vec<Instant> = Vec::new();
            for millis in steps {
                now += Duration::from_millis(millis);
                while limiter.available(Class::Ordinary, now) > 0 {
                    limiter.take(Class::Ordinary);
                    left.push(now);
                }
            }
            for (index, first) in left.iter().enumerate() {
                for (count, last) in left[index..].iter().enumerate() {
                    let passed = last.saturating_duration_since(*first).as_secs_f64();
                    let most = f64::from(burst) + passed * f64::from(per_minute) / 60.0 + 1e-6;
                    prop_assert!((count + 1) as f64 <= most + 1.0, "{} in {passed} s", count + 1);
                }
            }
        }
    }
}
