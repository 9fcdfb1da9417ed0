//! Moments on one process's monotonic clock.
//!
//! Decisions take `now` as an argument, so the same code runs in production (driven by the system's monotonic
//! clock), in unit tests and in the virtual-time simulator. A `Moment` is a distance from an origin that the driver
//! chose once; two moments of different origins must not be compared.

use std::num::NonZeroU32;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A point on a monotonic clock, in nanoseconds since the driver's origin.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Moment(u64);

impl Moment {
    /// The driver's origin.
    pub const ORIGIN: Self = Self(0);

    /// A moment `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// A moment `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the origin.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later. Never panics, unlike the standard clock.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A moment to a tenth of a second, in four octets: for what is kept of each path of a large mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark(NonZeroU32);

impl Mark {
    /// The tenth of a second that a moment is in.
    pub fn new(moment: Moment) -> Self {
        Self::from_number(moment.as_millis() / 100 + 1).unwrap_or(Self(NonZeroU32::MAX))
    }

    /// The moment in which that tenth begins.
    pub fn moment(self) -> Moment {
        Moment::from_millis((u64::from(self.0.get()) - 1) * 100)
    }

    /// As a number that is not zero, to be written down.
    pub fn number(self) -> u64 {
        self.0.get().into()
    }

    /// From such a number.
    pub fn from_number(number: u64) -> Option<Self> {
        u32::try_from(number)
            .ok()
            .and_then(NonZeroU32::new)
            .map(Self)
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_to_a_later_moment_is_zero_and_not_a_panic() {
        let early = Moment::from_millis(5);
        let late = early + Duration::from_secs(1);
        assert_eq!(late.saturating_since(early), Duration::from_secs(1));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
        assert_eq!(early - Duration::from_secs(9), Moment::ORIGIN);
    }
}
