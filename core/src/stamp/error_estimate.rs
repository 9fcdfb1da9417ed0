//! The error estimate: how good a timestamp is, and which format it has (RFC 4656 §4.1.2, RFC 8762 §4.2.1).

use std::time::Duration;

const SYNCHRONISED: u16 = 0x8000;
const PTP: u16 = 0x4000;

/// The S bit: whether the clock follows an external source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Synchronisation {
    /// Nobody corrects the clock, or it is not known.
    #[default]
    Unsynchronised,
    /// The clock is synchronised to UTC by an external source.
    Synchronised,
}

/// The Z bit: the format of the timestamps that the estimate belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TimestampFormat {
    /// 32 bits of seconds since 1900 and 32 bits of fraction.
    #[default]
    Ntp,
    /// 32 bits of seconds since 1970 and 32 bits of nanoseconds (PTP version 2, truncated).
    Ptp,
}

/// `S(1) Z(1) Scale(6) Multiplier(8)`: the error is multiplier · 2^(scale − 32) seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorEstimate {
    /// Whether the clock is synchronised.
    pub synchronisation: Synchronisation,
    /// Format of the timestamps beside it.
    pub format: TimestampFormat,
    /// Power of two, 0 to 63; only the low six bits travel.
    pub scale: u8,
    /// Multiplier; 0 is not allowed by RFC 4656 and means that the sender did not fill the field in.
    pub multiplier: u8,
}

impl Default for ErrorEstimate {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl ErrorEstimate {
    /// An unsynchronised clock with NTP timestamps that may be off by a second: what a process can say
    /// that knows nothing of its clock's discipline. Round trips do not depend on it.
    pub const UNKNOWN: Self = Self {
        synchronisation: Synchronisation::Unsynchronised,
        format: TimestampFormat::Ntp,
        scale: 32,
        multiplier: 1,
    };

    /// The smallest estimate that is not below `error`; saturates at 255 · 2^31 seconds.
    pub fn new(synchronisation: Synchronisation, format: TimestampFormat, error: Duration) -> Self {
        // In units of 2^−32 s, rounded up; at most 2^94 · 1.0, far inside 128 bits.
        let units = ((error.as_nanos() << 32).div_ceil(1_000_000_000)).max(1);
        let scale = (128 - units.leading_zeros()).saturating_sub(8);
        let multiplier = (units + ((1_u128 << scale) - 1)) >> scale;
        // Rounding up may carry into a ninth bit: 256 · 2^s is 128 · 2^(s+1).
        let (scale, multiplier) = if multiplier > 255 {
            (scale + 1, multiplier.div_ceil(2))
        } else {
            (scale, multiplier)
        };
        let (scale, multiplier) = if scale > 63 {
            (63, 255)
        } else {
            (scale as u8, multiplier as u8)
        };
        Self {
            synchronisation,
            format,
            scale,
            multiplier,
        }
    }

    /// The estimated error; `None` when the multiplier is 0, which RFC 4656 forbids.
    pub fn error(self) -> Option<Duration> {
        if self.multiplier == 0 {
            return None;
        }
        let units = u128::from(self.multiplier) << (self.scale & 63);
        let fraction = ((units & 0xffff_ffff) * 1_000_000_000) >> 32;
        Some(Duration::new((units >> 32) as u64, fraction as u32))
    }

    /// The field as it travels.
    #[inline]
    pub const fn to_bits(self) -> u16 {
        let synchronised = match self.synchronisation {
            Synchronisation::Unsynchronised => 0,
            Synchronisation::Synchronised => SYNCHRONISED,
        };
        let format = match self.format {
            TimestampFormat::Ntp => 0,
            TimestampFormat::Ptp => PTP,
        };
        synchronised | format | ((self.scale as u16 & 63) << 8) | self.multiplier as u16
    }

    /// The field as received; every value means something.
    #[inline]
    pub const fn from_bits(bits: u16) -> Self {
        Self {
            synchronisation: if bits & SYNCHRONISED == 0 {
                Synchronisation::Unsynchronised
            } else {
                Synchronisation::Synchronised
            },
            format: if bits & PTP == 0 {
                TimestampFormat::Ntp
            } else {
                TimestampFormat::Ptp
            },
            scale: (bits >> 8) as u8 & 63,
            multiplier: bits as u8,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_value_of_the_field_survives_the_round_trip() {
        for bits in 0..=u16::MAX {
            assert_eq!(ErrorEstimate::from_bits(bits).to_bits(), bits);
        }
    }

    #[test]
    fn bits_are_where_rfc_4656_puts_them() {
        let estimate = ErrorEstimate {
            synchronisation: Synchronisation::Synchronised,
            format: TimestampFormat::Ptp,
            scale: 0b01_0001,
            multiplier: 0xa5,
        };
        // S=1 Z=1 scale=010001 multiplier=10100101
        assert_eq!(estimate.to_bits(), 0b1101_0001_1010_0101);
        assert_eq!(ErrorEstimate::UNKNOWN.to_bits(), 0x2001);
        assert_eq!(ErrorEstimate::UNKNOWN.error(), Some(Duration::from_secs(1)));
        assert_eq!(ErrorEstimate::from_bits(0).error(), None);
    }

    #[test]
    fn the_largest_error_saturates() {
        let estimate = ErrorEstimate::new(
            Synchronisation::Unsynchronised,
            TimestampFormat::Ntp,
            Duration::MAX,
        );
        assert_eq!((estimate.scale, estimate.multiplier), (63, 255));
        assert_eq!(estimate.error(), Some(Duration::from_secs(255 << 31)));
    }

    proptest! {
        #[test]
        fn an_estimate_is_never_too_optimistic_and_within_one_percent(
            nanos in 1_u64..500_000_000_000_000_000,
        ) {
            let error = Duration::from_nanos(nanos);
            let estimate = ErrorEstimate::new(
                Synchronisation::Synchronised,
                TimestampFormat::Ntp,
                error,
            );
            let told = estimate.error().unwrap();
            prop_assert!(told >= error);
            prop_assert!(told <= error + error / 100 + Duration::from_nanos(1));
        }
    }
}
