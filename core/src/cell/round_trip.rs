//! Round-trip times of a path: what is normal, and what is slow.

use super::PathCell;
use crate::rtt::{RttCode, SLOW_BY};
use crate::window::Summary;

/// Octaves of 1/8 that make a factor of three: log2(3) × 8, in 1/256 steps.
const THREE_TIMES: u32 = 3_246;
/// Octaves of 1/8 that make a factor of five, in 1/256 steps.
const FIVE_TIMES: u32 = 4_755;
/// Windows that a baseline needs before it is a measure.
const BASELINE_WINDOWS: u8 = 6;
/// An outlier is never below 5 ms.
const TAIL_FLOOR_NANOS: u64 = 5_000_000;
const SLOW_FLOOR_NANOS: u64 = SLOW_BY.as_nanos() as u64;
const WARM_SHIFT: u8 = 5;
/// Windows with an outlier, of the last six (60 s), that make a tail: one alone may be chance.
const TAIL_WINDOWS: u32 = 2;

impl PathCell {
    /// Far above what is normal here, in the newest window or in the tail of several?
    pub(super) fn is_slow(&self) -> bool {
        let warm = self.warm() >= BASELINE_WINDOWS;
        warm && (self.median_is_slow() || self.tail_bits.count_ones() >= TAIL_WINDOWS)
    }

    /// Smallest, median and largest round-trip time of the newest window that had one.
    pub const fn rtt(&self) -> (RttCode, RttCode, RttCode) {
        (
            RttCode::from_octet(self.rtt_min),
            RttCode::from_octet(self.rtt_median),
            RttCode::from_octet(self.rtt_max),
        )
    }

    /// The median that counts as normal here; none before it is learnt.
    pub fn rtt_baseline(&self) -> RttCode {
        if self.warm() < BASELINE_WINDOWS {
            return RttCode::from_octet(0);
        }
        RttCode::from_octet(((u32::from(self.baseline) + 128) / 256).min(255) as u8)
    }

    fn warm(&self) -> u8 {
        self.flags >> WARM_SHIFT
    }

    pub(super) fn learn_rtt(&mut self, summary: &Summary) {
        self.rtt_min = summary.rtt_min.as_octet();
        self.rtt_median = summary.rtt_median.as_octet();
        self.rtt_max = summary.rtt_max.as_octet();
        let warm = self.warm() >= BASELINE_WINDOWS;
        let tail = warm && self.tail_is_long();
        self.tail_bits = ((self.tail_bits << 1) | u8::from(tail)) & 0b0011_1111;
        if warm && self.median_is_slow() {
            // Slow must not become the new normal: the baseline follows at a tenth of its usual pace.
            self.baseline = follow(self.baseline, self.rtt_median, 640);
            return;
        }
        let pace = if warm { 64 } else { 3 };
        self.baseline = follow(self.baseline, self.rtt_median, pace);
        if !tail {
            self.tail_baseline = follow(self.tail_baseline, self.rtt_max, pace);
        }
        if !warm {
            self.flags += 1 << WARM_SHIFT;
        }
    }

    fn median_is_slow(&self) -> bool {
        let factor = u32::from(self.rtt_median) * 256 > u32::from(self.baseline) + THREE_TIMES;
        factor && nanos(self.rtt_median) > nanos((self.baseline / 256) as u8) + SLOW_FLOOR_NANOS
    }

    fn tail_is_long(&self) -> bool {
        let factor = u32::from(self.rtt_max) * 256 > u32::from(self.tail_baseline) + FIVE_TIMES;
        factor && nanos(self.rtt_max) > TAIL_FLOOR_NANOS
    }
}

/// Moves a mean (in 1/256 of a code) towards a code; the first value is taken as it is.
fn follow(mean: u16, code: u8, pace: i32) -> u16 {
    let value = i32::from(code) * 256;
    if mean == 0 {
        return value as u16;
    }
    let difference = value - i32::from(mean);
    // Rounded away from zero, so that a small difference still moves it.
    let step = if difference == 0 {
        0
    } else {
        difference / pace + difference.signum()
    };
    (i32::from(mean) + step).clamp(1, i32::from(u16::MAX)) as u16
}

fn nanos(code: u8) -> u64 {
    RttCode::from_octet(code).to_nanos().unwrap_or(0)
}
