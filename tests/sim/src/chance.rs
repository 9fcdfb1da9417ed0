//! Where chance comes from: one generator, one seed, the same run on every machine.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

/// A seeded source of random decisions. The algorithm is named, so that a seed means the same run for ever.
#[derive(Clone, Debug)]
pub(crate) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    /// The source with this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(seed))
    }

    /// An independent source, for another part of the run.
    #[must_use]
    pub(crate) fn split(&mut self) -> Self {
        Self::new(self.0.random())
    }

    /// Does something happen that has this probability?
    #[inline]
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// Independent trials that fail before the first success, each with this probability of success.
    /// `None`: it never succeeds.
    pub(crate) fn trials_before(&mut self, probability: f64) -> Option<u64> {
        if probability <= 0.0 {
            return None;
        }
        if probability >= 1.0 {
            return Some(0);
        }
        // Inversion: P(n failures or more) = (1 − p)^n.
        let trials = (1.0 - self.unit()).ln() / (1.0 - probability).ln();
        // Beyond any simulated time: 2^53 trials, one a millisecond, are 285,000 years.
        (trials < 9e15).then_some(trials as u64)
    }

    /// A moment in `0..length`.
    pub(crate) fn within(&mut self, length: Duration) -> Duration {
        length.mul_f64(self.unit())
    }

    /// Exponentially distributed with this mean.
    pub(crate) fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.unit()).ln())
    }

    /// One of `0..count`. `count` must not be zero.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    /// Uniform in `[0, 1)`.
    #[inline]
    fn unit(&mut self) -> f64 {
        self.0.random()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            (0..50).map(|_| chance.index(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn skipping_to_the_next_success_has_the_distribution_of_trying_one_by_one() {
        let (p, runs) = (0.2, 40_000);
        let mut skipping = Chance::new(1);
        let mut trying = Chance::new(2);
        let mut counts = [[0_u32; 8]; 2];
        for _ in 0..runs {
            let skipped = skipping.trials_before(p).unwrap();
            let mut tried = 0;
            while !trying.happens(p) {
                tried += 1;
            }
            counts[0][skipped.min(7) as usize] += 1;
            counts[1][tried.min(7)] += 1;
        }
        for n in 0..8 {
            let exact = if n == 7 {
                0.8_f64.powi(7)
            } else {
                0.8_f64.powi(n) * p
            };
            let deviation = (f64::from(runs) * exact * (1.0 - exact)).sqrt();
            for count in counts {
                let off = (f64::from(count[n as usize]) - f64::from(runs) * exact).abs();
                assert!(
                    off < 5.0 * deviation,
                    "{n}: {off} is more than five deviations of {deviation}"
                );
            }
        }
    }

    #[test]
    fn what_is_impossible_never_happens_and_what_is_certain_happens_at_once() {
        let mut chance = Chance::new(3);
        assert_eq!(chance.trials_before(0.0), None);
        assert_eq!(chance.trials_before(1.0), Some(0));
        assert!(!chance.happens(0.0));
    }
}
