//! Exponential backoff with full jitter: how long to wait before trying again.
//!
//! Each failure doubles the ceiling, up to the cap; the delay is drawn evenly from zero to the
//! ceiling, so that a thousand clients that lost the same server do not come back in one wave.
//! Pure: the random numbers and the time are handed in.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt as _};

/// The state of one retry loop.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// `first` is the longest delay after the first failure, `cap` the longest after any number of
    /// them.
    ///
    /// A `cap` below `first` counts as `first`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap: cap.max(first),
            failures: 0,
        }
    }

    /// Records a failure and returns how long to wait before the next attempt.
    pub fn next_delay(&mut self, rng: &mut impl Rng) -> Duration {
        let ceiling = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(rng.random_range(0..=nanos))
    }

    /// Records a failure at `now` and returns the moment of the next attempt.
    pub fn next_attempt(&mut self, now: Instant, rng: &mut impl Rng) -> Instant {
        now + self.next_delay(rng)
    }

    /// Forgets the failures: call it after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How many failures there were since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The longest delay that the next failure can cause.
    pub fn ceiling(&self) -> Duration {
        // 2^31 times anything useful is beyond every cap; the bound keeps the shift defined.
        let factor = 1_u32 << self.failures.min(31);
        self.first.saturating_mul(factor).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(5);

    #[test]
    fn the_ceiling_doubles_until_the_cap_and_stays_there() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(FIRST, CAP);
        let mut ceilings = Vec::new();
        for _ in 0..8 {
            ceilings.push(backoff.ceiling().as_millis());
            let _ = backoff.next_delay(&mut rng);
        }
        assert_eq!(ceilings, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn no_delay_is_ever_longer_than_its_ceiling() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut backoff = Backoff::new(FIRST, CAP);
        for _ in 0..10_000 {
            let ceiling = backoff.ceiling();
            assert!(backoff.next_delay(&mut rng) <= ceiling);
            assert!(ceiling <= CAP);
        }
    }

    #[test]
    fn the_jitter_uses_the_whole_range() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut backoff = Backoff::new(CAP, CAP);
        let delays: Vec<Duration> = (0..1000).map(|_| backoff.next_delay(&mut rng)).collect();
        assert!(delays.iter().any(|delay| *delay < CAP / 10));
        assert!(delays.iter().any(|delay| *delay > CAP * 9 / 10));
    }

    #[test]
    fn a_success_starts_again_at_the_first_ceiling() {
        let mut rng = StdRng::seed_from_u64(4);
        let mut backoff = Backoff::new(FIRST, CAP);
        for _ in 0..20 {
            let _ = backoff.next_delay(&mut rng);
        }
        assert_eq!(backoff.failures(), 20);
        backoff.reset();
        assert_eq!(backoff.ceiling(), FIRST);
    }

    #[test]
    fn a_cap_below_the_first_delay_is_raised_to_it() {
        assert_eq!(Backoff::new(CAP, FIRST).ceiling(), CAP);
    }
}
