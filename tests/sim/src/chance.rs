//! Chance for whoever drives a run: at which moment, which node. One generator, one seed, the same run on every machine.
//! What happens to packets is decided by [`crate::dice`].

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

    /// A moment in `0..length`.
    pub(crate) fn within(&mut self, length: Duration) -> Duration {
        length.mul_f64(self.unit())
    }

    /// One of `0..count`. `count` must not be zero.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    /// Does something with this probability happen?
    #[inline]
    pub(crate) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// How many things with this probability do not happen before the next one does.
    #[inline]
    pub(crate) fn until(&mut self, probability: f64) -> u64 {
        ((1.0 - self.unit()).ln() / (-probability).ln_1p()) as u64
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
    fn what_is_skipped_leaves_as_much_as_what_is_thrown() {
        let mut chance = Chance::new(5);
        let (mut thrown, mut happened) = (0_u64, 0_u64);
        while thrown < 1_000_000 {
            thrown += chance.until(0.01) + 1;
            happened += 1;
        }
        // Five deviations of the binomial distribution: 10,000 ± 5 √9,900.
        assert!((9_502..=10_498).contains(&happened), "{happened}");
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let draw = |seed| {
            let mut chance = Chance::new(seed);
            (0..50).map(|_| chance.index(1_000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
