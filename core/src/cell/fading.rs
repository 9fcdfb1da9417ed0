//! Counts that fade with a time constant of 80 s, in two octets each.
//!
//! 80 s is long enough for one loss in a hundred to show on a row of a mesh, and short enough that a fault which is over
//! does not look like one for minutes. A count is a floating-point number of 5 + 11 bits: relative steps of 1/4096 keep
//! fading exact (a fixed-point count would stop to fade near its last digit), from 2⁻¹⁰ to 4 million.

use std::time::Duration;

/// Time constant.
pub const LONG_FADING: Duration = Duration::from_secs(80);
/// The same in tenths of a second.
const TAU: f64 = 10.0 * LONG_FADING.as_secs() as f64;
/// e^(−1/TAU).
const TENTH: f64 = 1.0 - 1.0 / TAU + 1.0 / (2.0 * TAU * TAU) - 1.0 / (6.0 * TAU * TAU * TAU);

/// Exponents below this one (of an `f32`) are zero.
const LEAST_EXPONENT: u32 = 127 - 10;
const MANTISSA: u32 = 11;
const SHIFT: u32 = 23 - MANTISSA;
const LEAST: u32 = LEAST_EXPONENT << MANTISSA;

/// What is left after 0, 1, 2, … tenths of a second.
static FINE: [f32; 256] = powers(TENTH);
/// What is left after 0, 256, 512, … tenths of a second.
static COARSE: [f32; 256] = powers(power(TENTH, 256));

const fn power(base: f64, times: usize) -> f64 {
    let (mut product, mut i) = (1.0, 0);
    while i < times {
        product *= base;
        i += 1;
    }
    product
}

const fn powers(base: f64) -> [f32; 256] {
    let (mut powers, mut product, mut i) = ([0.0; 256], 1.0, 0);
    while i < 256 {
        powers[i] = product as f32;
        product *= base;
        i += 1;
    }
    powers
}

/// The share that is left after so many tenths of a second.
#[inline]
pub(super) fn fade(tenths: u32) -> f32 {
    match COARSE.get(tenths as usize >> 8) {
        Some(coarse) => coarse * FINE[tenths as usize & 0xff],
        None => 0.0,
    }
}

/// One count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fading(u16);

impl Fading {
    pub(super) const ZERO: Self = Self(0);

    #[inline]
    pub(super) fn get(self) -> f32 {
        match self.0 {
            0 => 0.0,
            bits => f32::from_bits((u32::from(bits) + LEAST) << SHIFT),
        }
    }

    #[inline]
    pub(super) fn add(&mut self, count: f32) {
        *self = Self::from(self.get() + count);
    }

    /// Leaves this share of it.
    #[inline]
    pub(super) fn fade(&mut self, share: f32) {
        *self = Self::from(self.get() * share);
    }
}

impl From<f32> for Fading {
    /// The nearest count; none for what is too small, the largest for what is too large.
    #[inline]
    fn from(count: f32) -> Self {
        let rounded = (count.max(0.0).to_bits() + (1 << (SHIFT - 1))) >> SHIFT;
        Self(rounded.saturating_sub(LEAST).min(u32::from(u16::MAX)) as u16)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_left_follows_the_exponential() {
        for tenths in [0, 1, 100, 255, 256, 800, 12_345, 65_535] {
            let exact = (-f64::from(tenths) / TAU).exp();
            let error = (f64::from(fade(tenths)) - exact).abs();
            assert!(error <= exact * 1e-4 + 1e-9, "{tenths}: {error}");
        }
        assert!(fade(65_536) < 1e-30 && fade(u32::MAX) < 1e-30);
    }

    #[test]
    fn a_count_fades_away_and_does_not_stop_before_zero() {
        let mut count = Fading::from(80.0);
        for _ in 0..1_000 {
            count.fade(fade(10));
        }
        assert_eq!(count, Fading::ZERO);
    }

    proptest! {
        #[test]
        fn a_count_is_kept_to_a_four_thousandth(count in 0.01_f32..3_000_000.0) {
            let kept = Fading::from(count).get();
            prop_assert!((kept - count).abs() <= count / 4_000.0, "{count} {kept}");
        }

        #[test]
        fn every_number_is_some_count(count in any::<f32>()) {
            let kept = Fading::from(count).get();
            prop_assert!(kept >= 0.0 && kept.is_finite());
        }
    }
}
