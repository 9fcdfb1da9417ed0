//! The 64-bit timestamps of STAMP: NTP 32.32 and truncated PTP version 2 (RFC 8762 §4.2.1, RFC 8877).
//!
//! Both formats hold 32 bits of seconds and wrap: NTP on 2036-02-07, PTP in 2106. A difference of two
//! timestamps is right across a wrap by itself; an absolute time needs to know roughly when it was, so
//! the reader passes a time nearby (its own clock will do: anything within 68 years).

use super::TimestampFormat;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Seconds from the NTP epoch (1900) to the Unix epoch (1970).
const NTP_TO_UNIX_SECONDS: i64 = 2_208_988_800;

/// A timestamp as it travels. Which format it has is said by the error estimate beside it.
///
/// Not ordered: a wrapped timestamp is newer than a larger number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// All zero: not known.
    pub const UNSET: Self = Self(0);

    /// The timestamp for a time in nanoseconds since the Unix epoch, rounded to the nearest unit
    /// (0.23 ns in NTP format). PTP's seconds are taken from the same clock, without leap seconds.
    #[inline]
    pub const fn from_unix_nanos(unix_nanos: i64, format: TimestampFormat) -> Self {
        let seconds = unix_nanos.div_euclid(NANOS_PER_SECOND);
        let nanos = unix_nanos.rem_euclid(NANOS_PER_SECOND) as u64;
        let (seconds, fraction) = match format {
            // 999,999,999 ns become 2^32 − 4: rounding never carries into the seconds.
            TimestampFormat::Ntp => (
                seconds + NTP_TO_UNIX_SECONDS,
                ((nanos << 32) + NANOS_PER_SECOND as u64 / 2) / NANOS_PER_SECOND as u64,
            ),
            TimestampFormat::Ptp => (seconds, nanos),
        };
        Self(((seconds as u64) << 32) | fraction)
    }

    /// Nanoseconds since the Unix epoch, in the era that lies nearest to `near` (the reader's own
    /// clock, in nanoseconds since the Unix epoch).
    ///
    /// `None` if the result does not fit, or if a PTP timestamp holds a full second or more of nanoseconds.
    pub fn to_unix_nanos(self, format: TimestampFormat, near: i64) -> Option<i64> {
        let offset = match format {
            TimestampFormat::Ntp => NTP_TO_UNIX_SECONDS,
            TimestampFormat::Ptp => 0,
        };
        let nanos = self.nanos_of_second(format)?;
        let near = near.div_euclid(NANOS_PER_SECOND) + offset;
        let ahead = self.seconds().wrapping_sub(near as u32) as i32;
        (near + i64::from(ahead) - offset)
            .checked_mul(NANOS_PER_SECOND)?
            .checked_add(nanos)
    }

    /// Nanoseconds from `earlier` to this timestamp, negative if it is the earlier one; right across a
    /// wrap as long as the two are less than 68 years apart.
    ///
    /// `None` if a PTP timestamp holds a full second or more of nanoseconds.
    #[inline]
    pub fn nanos_since(self, earlier: Self, format: TimestampFormat) -> Option<i64> {
        let nanos = self.nanos_of_second(format)? - earlier.nanos_of_second(format)?;
        let seconds = i64::from(self.seconds().wrapping_sub(earlier.seconds()) as i32);
        // |seconds| ≤ 2^31 and |nanos| ≤ 10^9: fits.
        Some(seconds * NANOS_PER_SECOND + nanos)
    }

    /// Whether the field was left empty.
    pub const fn is_unset(self) -> bool {
        self.0 == 0
    }

    /// The upper half: whole seconds in either format.
    #[inline]
    pub(super) const fn seconds(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The lower half in nanoseconds; an NTP fraction may round up to a full second.
    #[inline]
    fn nanos_of_second(self, format: TimestampFormat) -> Option<i64> {
        let fraction = self.0 & 0xffff_ffff;
        match format {
            TimestampFormat::Ntp => {
                Some(((fraction * NANOS_PER_SECOND as u64 + (1 << 31)) >> 32) as i64)
            }
            TimestampFormat::Ptp => (fraction < NANOS_PER_SECOND as u64).then_some(fraction as i64),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: [TimestampFormat; 2] = [TimestampFormat::Ntp, TimestampFormat::Ptp];

    #[test]
    fn known_times_have_known_octets() {
        use TimestampFormat::{Ntp, Ptp};
        // The Unix epoch, and half a second before it.
        assert_eq!(Timestamp::from_unix_nanos(0, Ntp).0, 0x83aa_7e80_0000_0000);
        assert_eq!(
            Timestamp::from_unix_nanos(-500_000_000, Ntp).0,
            0x83aa_7e7f_8000_0000
        );
        assert_eq!(
            Timestamp::from_unix_nanos(1_000_000_001, Ptp).0,
            0x0000_0001_0000_0001
        );
        // The last and the first second of NTP's eras: 2036-02-07 06:28:15 and :16 UTC.
        let wrap = 2_085_978_496 * NANOS_PER_SECOND;
        assert_eq!(
            Timestamp::from_unix_nanos(wrap - 1, Ntp).0,
            0xffff_ffff_ffff_fffc
        );
        assert_eq!(Timestamp::from_unix_nanos(wrap, Ntp).0, 0);
    }

    #[test]
    fn differences_are_right_across_the_end_of_an_era() {
        let wrap = 2_085_978_496 * NANOS_PER_SECOND;
        let before = Timestamp::from_unix_nanos(wrap - 300, TimestampFormat::Ntp);
        let after = Timestamp::from_unix_nanos(wrap + 700, TimestampFormat::Ntp);
        assert_eq!(after.nanos_since(before, TimestampFormat::Ntp), Some(1_000));
        assert_eq!(
            before.nanos_since(after, TimestampFormat::Ntp),
            Some(-1_000)
        );
    }

    #[test]
    fn a_ptp_timestamp_with_too_many_nanoseconds_is_no_time() {
        let bad = Timestamp(1_000_000_000);
        assert_eq!(bad.to_unix_nanos(TimestampFormat::Ptp, 0), None);
        assert_eq!(bad.nanos_since(Timestamp(0), TimestampFormat::Ptp), None);
        assert!(bad.to_unix_nanos(TimestampFormat::Ntp, 0).is_some());
    }

    proptest! {
        #[test]
        fn nanoseconds_survive_the_round_trip_in_any_era(
            time in -5_000_000_000_000_000_000_i64..9_000_000_000_000_000_000,
            skew in -2_000_000_000_000_000_000_i64..2_000_000_000_000_000_000,
        ) {
            for format in BOTH {
                let near = time.saturating_add(skew);
                let stamp = Timestamp::from_unix_nanos(time, format);
                prop_assert_eq!(stamp.to_unix_nanos(format, near), Some(time));
            }
        }

        #[test]
        fn no_input_panics(a in any::<u64>(), b in any::<u64>(), near in any::<i64>()) {
            for format in BOTH {
                let (a, b) = (Timestamp(a), Timestamp(b));
                let there = a.nanos_since(b, format);
                let back = b.nanos_since(a, format);
                prop_assert_eq!(there.is_some(), back.is_some());
                // Either may be outside i64 for a `near` at its ends; neither may panic.
                let absolute = a.to_unix_nanos(format, near);
                prop_assert!(absolute.is_none() || a.nanos_since(a, format) == Some(0));
                let encoded = Timestamp::from_unix_nanos(near, format);
                prop_assert_eq!(encoded.nanos_since(encoded, format), Some(0));
            }
        }

        #[test]
        fn a_difference_is_that_of_the_times(
            start in 0_i64..4_000_000_000_000_000_000,
            elapsed in -1_000_000_000_000_i64..1_000_000_000_000,
        ) {
            for format in BOTH {
                let earlier = Timestamp::from_unix_nanos(start, format);
                let later = Timestamp::from_unix_nanos(start + elapsed, format);
                prop_assert_eq!(later.nanos_since(earlier, format), Some(elapsed));
            }
        }
    }
}
