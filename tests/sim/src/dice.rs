//! Chance that depends on nothing but what it decides about.
//!
//! Whether a probe is lost, and how long it takes, is a pure function of the run's seed, the path and the moment. So it
//! does not matter in which order, or how often, the simulator asks: a stretch of turns can be looked at in advance
//! ([`crate::calm`]), and two runs with the same seed meet the same fates even if one of them skips what the other
//! simulates. The generator is `SplitMix64` (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).

use std::time::Duration;

use meshprobe_core::time::Moment;

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The finaliser of `SplitMix64`: every bit of the input changes every bit of the output with probability ½.
#[inline]
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// What is decided about: the run, narrowed down step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subject(u64);

impl Subject {
    /// Everything in the run with this seed.
    pub(crate) const fn run(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(GOLDEN)))
    }

    /// A part of it.
    #[inline]
    pub(crate) const fn part(self, number: u64) -> Self {
        Self(mix(self
            .0
            .wrapping_add(number.wrapping_add(1).wrapping_mul(GOLDEN))))
    }

    /// The dice that are thrown about it at a moment.
    #[inline]
    pub(crate) const fn dice(self, at: Moment) -> Dice {
        Dice(self.part(at.as_nanos()).0)
    }
}

/// A stream of random numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(u64);

/// A probability, ready to be compared with a random number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Odds(u64);

impl Odds {
    /// Never.
    pub(crate) const ZERO: Self = Self(0);

    /// This probability.
    pub(crate) fn new(probability: f64) -> Self {
        // Saturates: what is certain fails once in 2^64.
        Self((probability.clamp(0.0, 1.0) * 2.0_f64.powi(64)) as u64)
    }
}

impl Dice {
    #[inline]
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// Does something happen that has these odds? Takes one number out of the stream, whatever the odds.
    #[inline]
    pub(crate) const fn happens(&mut self, odds: Odds) -> bool {
        self.next() < odds.0
    }

    /// Leaves numbers out.
    #[inline]
    pub(crate) const fn skip(&mut self, numbers: u64) {
        self.0 = self.0.wrapping_add(GOLDEN.wrapping_mul(numbers));
    }

    /// Exponentially distributed with this mean.
    #[inline]
    pub(crate) fn exponential(&mut self, mean: Duration) -> Duration {
        // 53 bits, in (0, 1].
        let unit = ((self.next() >> 11) + 1) as f64 * 2.0_f64.powi(-53);
        Duration::from_nanos((mean.as_nanos() as f64 * -unit.ln()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject::run(1).part(7)
    }

    #[test]
    fn the_same_subject_at_the_same_moment_has_the_same_fate_however_often_one_asks() {
        let throw = |subject: Subject, nanos| subject.dice(Moment::from_nanos(nanos)).next();
        assert_eq!(throw(subject(), 5), throw(subject(), 5));
        assert_ne!(throw(subject(), 5), throw(subject(), 6));
        assert_ne!(throw(subject(), 5), throw(Subject::run(1).part(8), 5));
        assert_ne!(throw(subject(), 5), throw(Subject::run(2).part(7), 5));
    }

    #[test]
    fn turns_of_a_path_and_paths_of_a_turn_are_lost_independently_with_the_given_odds() {
        let odds = Odds::new(0.1);
        let lost = |path: u64, turn: u64| {
            let at = Moment::from_nanos(3_600_000_000_000 + turn * 1_000_000_000);
            Subject::run(3).part(path).dice(at).happens(odds)
        };
        let count = |fates: &mut dyn Iterator<Item = bool>| fates.filter(|lost| *lost).count();
        let n = 100_000;
        // Five deviations of the binomial distribution: n · 0.1 ± 5 √(n · 0.1 · 0.9).
        for lost_ones in [
            count(&mut (0..n).map(|turn| lost(0, turn))),
            count(&mut (0..n).map(|path| lost(path, 0))),
        ] {
            assert!((9_526..=10_474).contains(&lost_ones), "{lost_ones}");
        }
        // Two turns in a row, and a turn on two paths in a row: 1 % of them.
        for both in [
            count(&mut (0..n).map(|turn| lost(0, turn) && lost(0, turn + 1))),
            count(&mut (0..n).map(|path| lost(path, 0) && lost(path + 1, 0))),
        ] {
            assert!((800..=1_200).contains(&both), "{both}");
        }
    }

    #[test]
    fn what_is_impossible_never_happens_and_what_is_certain_always() {
        let mut dice = subject().dice(Moment::ORIGIN);
        assert!((0..10_000).all(|_| !dice.happens(Odds::ZERO)));
        assert!((0..10_000).all(|_| dice.happens(Odds::new(1.0))));
    }

    #[test]
    fn delays_have_the_given_mean() {
        let mut dice = subject().dice(Moment::ORIGIN);
        let mean = Duration::from_micros(60);
        let n = 100_000;
        let sum: Duration = (0..n).map(|_| dice.exponential(mean)).sum();
        let off = (sum / n).abs_diff(mean);
        assert!(off < Duration::from_micros(1), "{:?}", sum / n);
    }
}
