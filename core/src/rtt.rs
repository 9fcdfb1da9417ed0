//! Round-trip times: the exact value and the one-byte code that travels and is stored.
//!
//! A cell of the matrix and a column of a report cannot afford eight octets for each RTT, and nobody
//! needs nanoseconds at 40 ms. [`RttCode`] is a bucket number of the same base-2 exponential scale that
//! [`crate::histogram`] uses (schema 3: each bucket is 2^(1/8) ≈ 9 % wide), so a decoded code is at most
//! 4.5 % away from what was measured and codes can be counted into a histogram without a second rounding.
//!
//! Bucket edges are powers of 2^(1/8) of a *second*, as Prometheus and OpenTelemetry want them. All
//! arithmetic is on integers: the edges are computed at compile time, exact to the nanosecond, and a
//! look-up is one table read and one comparison.

use std::fmt;
use std::time::Duration;

/// T1 and T3 say when a packet is going to pass the interface, which is a forecast: on a path of some microseconds two of them
/// may lie beyond the arrival by so much.
pub const STAMP_ERROR_NANOS: i64 = 50_000;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// 2^(k/16) in fixed point with 63 fractional bits, rounded down.
///
/// The closest that any bucket edge comes to a whole nanosecond is 1.8e-4 ns, the error of these
/// constants moves an edge by less than 1e-6 ns: no edge is ever rounded to the wrong side.
const SIXTEENTH_ROOTS: [u64; 16] = [
    9_223_372_036_854_775_808,
    9_631_725_603_661_576_980,
    10_058_158_527_438_640_870,
    10_503_471_249_702_896_438,
    10_968_499_650_544_839_023,
    11_454_116_617_628_225_965,
    11_961_233_684_655_323_370,
    12_490_802_742_373_206_726,
    13_043_817_825_332_782_212,
    13_621_316_977_754_388_158,
    14_224_384_202_002_324_189,
    14_854_151_493_325_717_731,
    15_511_800_964_685_064_948,
    16_198_567_065_652_879_633,
    16_915_738_899_553_466_670,
    17_664_662_643_191_237_676,
];

/// Code 1 is the schema-3 bucket with index −159; the index of a code is `code − INDEX_OFFSET`.
pub(crate) const INDEX_OFFSET: i32 = 160;

/// `floor(2^(sixteenths/16) s)` in nanoseconds.
const fn power_of_two_nanos(sixteenths: i32) -> u64 {
    let octave = sixteenths.div_euclid(16);
    let root = SIXTEENTH_ROOTS[sixteenths.rem_euclid(16) as usize];
    // octave is −20..=11 here, so the shift stays within 52..=83 and the product within 94 bits.
    ((NANOS_PER_SECOND as u128 * root as u128) >> (63 - octave)) as u64
}

/// Largest nanosecond value that belongs to each code; entry 0 is the lower edge of code 1.
pub(crate) const UPPER_NANOS: [u64; 256] = {
    let mut upper = [0; 256];
    let mut code = 0;
    while code < 256 {
        upper[code] = power_of_two_nanos(2 * (code as i32 - INDEX_OFFSET));
        code += 1;
    }
    upper
};

/// Geometric middle of each code's bucket in nanoseconds; entry 0 is unused.
const MIDDLE_NANOS: [u64; 256] = {
    let mut middle = [0; 256];
    let mut code = 1;
    while code < 256 {
        middle[code] = power_of_two_nanos(2 * (code as i32 - INDEX_OFFSET) - 1);
        code += 1;
    }
    middle
};

/// Highest bit of the smallest value that needs the table (1,040 ns) and of the largest (3,444 s).
const FIRST_OCTAVE: u32 = 10;
const LAST_OCTAVE: u32 = 41;
const OCTAVES: usize = (LAST_OCTAVE - FIRST_OCTAVE + 1) as usize;

/// Code of the smallest value whose highest bit and next four bits are given.
///
/// A sixteenth of an octave is at most 0.7 of a bucket wide, so a value that shares these five bits has
/// this code or the next one.
const CELL_CODE: [[u8; 16]; OCTAVES] = {
    let mut table = [[1; 16]; OCTAVES];
    let mut code = 1;
    let mut octave = 0;
    while octave < OCTAVES {
        let mut cell = 0;
        while cell < 16 {
            let smallest = (16 + cell as u64) << (octave as u32 + FIRST_OCTAVE - 4);
            while code < 255 && UPPER_NANOS[code] < smallest {
                code += 1;
            }
            table[octave][cell] = code as u8;
            cell += 1;
        }
        octave += 1;
    }
    table
};

/// A measured round-trip time (RFC 2681), non-negative, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rtt(u64);

impl Rtt {
    /// No time at all; the identity of comparisons, not a missing value.
    pub const ZERO: Self = Self(0);

    /// A round-trip time of so many nanoseconds.
    #[inline]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A round-trip time from a duration; saturates after 584 years.
    pub fn from_duration(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
    }

    /// (T4 − T1) − (T3 − T2): the time on the network, without the responder's own delay.
    ///
    /// `sent` is T1 and `received` T4 on the prober's clock, `turnaround` is T3 − T2 on the responder's
    /// clock, all in nanoseconds. `None` when the result would be negative by more than the stamps' own error
    /// ([`STAMP_ERROR_NANOS`]): then a clock was stepped between two stamps (or the responder reports nonsense) and there is
    /// no measurement.
    #[inline]
    pub fn from_stamps(sent: i64, received: i64, turnaround: i64) -> Option<Self> {
        if turnaround < 0 {
            return None;
        }
        let elapsed = received.checked_sub(sent)?.checked_sub(turnaround)?;
        (elapsed >= -STAMP_ERROR_NANOS).then(|| Self(elapsed.max(0) as u64))
    }

    /// Nanoseconds.
    #[inline]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds, for metrics.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / NANOS_PER_SECOND as f64
    }

    /// The same as a [`Duration`].
    pub const fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// The one-byte form.
    #[inline]
    pub fn code(self) -> RttCode {
        RttCode::from_nanos(self.0)
    }
}

impl fmt::Display for Rtt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_duration(), f)
    }
}

/// A round-trip time in one octet, on a logarithmic scale; 0 means "none".
///
/// Code c ≥ 1 stands for the times in (2^((c−161)/8) s, 2^((c−160)/8) s]: 1 µs is code 1, 1 ms is code 81,
/// 1 s is code 160, the last code ends at 3,756 s. Shorter times are code 1, longer ones code 255.
/// Codes order as the times do, and [`RttCode::NONE`] is smaller than all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct RttCode(u8);

/// Slower than so many times what is normal, and by more than [`SLOW_BY`], is slow (DETECTION.md §1).
const SLOW_TIMES: u32 = 3;
/// Slower by less is never slow.
pub const SLOW_BY: Duration = Duration::from_millis(1);

/// Is a round-trip time far above what is normal: more than three times that, and more than 1 ms above it?
pub fn is_slow(rtt: Duration, normal: Duration) -> bool {
    rtt > (SLOW_TIMES * normal).max(normal + SLOW_BY)
}

impl RttCode {
    /// Nothing was measured.
    pub const NONE: Self = Self(0);
    /// The shortest time, 1 µs and less.
    pub const MIN: Self = Self(1);
    /// The longest time, from 3,444 s up.
    pub const MAX: Self = Self(255);

    /// The code as it travels. Every octet is a valid code.
    #[inline]
    pub const fn from_octet(octet: u8) -> Self {
        Self(octet)
    }

    /// The octet that travels.
    #[inline]
    pub const fn as_octet(self) -> u8 {
        self.0
    }

    /// The code of a time in nanoseconds; never [`RttCode::NONE`].
    #[inline]
    pub fn from_nanos(nanos: u64) -> Self {
        if nanos <= UPPER_NANOS[1] {
            return Self::MIN;
        }
        if nanos > UPPER_NANOS[254] {
            return Self::MAX;
        }
        let highest_bit = nanos.ilog2();
        let octave = (highest_bit - FIRST_OCTAVE) as usize;
        let cell = (nanos >> (highest_bit - 4)) as usize & 15;
        let code = CELL_CODE[octave][cell];
        Self(code + u8::from(nanos > UPPER_NANOS[usize::from(code)]))
    }

    /// The geometric middle of the bucket in nanoseconds; `None` for [`RttCode::NONE`].
    #[inline]
    pub fn to_nanos(self) -> Option<u64> {
        (self.0 != 0).then(|| MIDDLE_NANOS[usize::from(self.0)])
    }

    /// The same as an [`Rtt`].
    pub fn rtt(self) -> Option<Rtt> {
        self.to_nanos().map(Rtt)
    }

    /// [`is_slow`] of the times that both stand for; not without either.
    pub fn is_slow(self, normal: Self) -> bool {
        match (self.rtt(), normal.rtt()) {
            (Some(rtt), Some(normal)) => is_slow(rtt.as_duration(), normal.as_duration()),
            _ => false,
        }
    }

    /// Whether anything was measured.
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl From<Rtt> for RttCode {
    fn from(rtt: Rtt) -> Self {
        rtt.code()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition in floating point: the bucket index is ceil(8 · log2(seconds)).
    fn code_by_definition(nanos: u64) -> u8 {
        let index = (8.0 * (nanos as f64 / 1e9).log2()).ceil();
        (index + f64::from(INDEX_OFFSET)).clamp(1.0, 255.0) as u8
    }

    #[test]
    fn codes_of_round_times_are_fixed_for_ever() {
        for (nanos, code) in [
            (0, 1),
            (953, 1),
            (1_000, 1),
            (1_039, 1),
            (1_040, 2),
            (1_000_000, 81),
            (10_000_000, 107),
            (1_000_000_000, 160),
            (60_000_000_000, 208),
            (u64::MAX, 255),
        ] {
            assert_eq!(RttCode::from_nanos(nanos).as_octet(), code, "{nanos} ns");
        }
    }

    #[test]
    fn every_upper_edge_is_inclusive() {
        for code in 1..=254_u8 {
            let edge = UPPER_NANOS[usize::from(code)];
            assert_eq!(RttCode::from_nanos(edge).as_octet(), code, "{edge} ns");
            assert_eq!(
                RttCode::from_nanos(edge + 1).as_octet(),
                code + 1,
                "{edge} + 1 ns"
            );
        }
    }

    #[test]
    fn edges_at_whole_octaves_are_exact() {
        assert_eq!(UPPER_NANOS[160], 1_000_000_000);
        assert_eq!(UPPER_NANOS[168], 2_000_000_000);
        assert_eq!(UPPER_NANOS[152], 500_000_000);
        assert_eq!(UPPER_NANOS[160 - 72], 1_953_125);
    }

    #[test]
    fn a_decoded_code_encodes_to_itself() {
        for octet in 1..=255 {
            let nanos = RttCode::from_octet(octet).to_nanos().unwrap();
            assert_eq!(RttCode::from_nanos(nanos).as_octet(), octet);
        }
        assert_eq!(RttCode::NONE.to_nanos(), None);
    }

    #[test]
    fn a_clock_step_gives_no_round_trip() {
        assert_eq!(Rtt::from_stamps(100, 350, 50), Some(Rtt::from_nanos(200)));
        assert_eq!(
            Rtt::from_stamps(100_000, 90_000, 0),
            Some(Rtt::from_nanos(0))
        );
        assert!(!Rtt::from_nanos(0).code().is_none(), "measured, and short");
        assert_eq!(Rtt::from_stamps(200_000, 90_000, 0), None);
        assert_eq!(Rtt::from_stamps(100, 200, 101_000), None);
        assert_eq!(Rtt::from_stamps(100, 200, -1), None);
        assert_eq!(Rtt::from_stamps(i64::MIN, i64::MAX, 0), None);
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_the_definition(exponent in 0.0_f64..43.0) {
            let nanos = exponent.exp2() as u64;
            let code = RttCode::from_nanos(nanos).as_octet();
            // Within a nanosecond of an edge the definition in f64 is not the better judge.
            let near_edge = UPPER_NANOS.iter().any(|edge| edge.abs_diff(nanos) <= 1);
            prop_assert!(near_edge || code == code_by_definition(nanos));
        }

        #[test]
        fn order_is_kept(a in any::<u64>(), b in any::<u64>(), shift in 0_u32..60) {
            let (a, b) = (a >> shift, b >> shift);
            prop_assert_eq!(a.min(b) == a, Rtt::from_nanos(a) <= Rtt::from_nanos(b));
            prop_assert!(RttCode::from_nanos(a.min(b)) <= RttCode::from_nanos(a.max(b)));
        }

        #[test]
        fn a_decoded_time_is_within_the_promised_error(nanos in 1_000_u64..3_700_000_000_000) {
            let decoded = RttCode::from_nanos(nanos).to_nanos().unwrap() as f64;
            // 2^(1/16) − 1 = 4.43 %, and up to a nanosecond of rounding.
            prop_assert!((decoded - nanos as f64).abs() <= nanos as f64 * 0.0443 + 1.0);
        }
    }
}
