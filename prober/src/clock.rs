//! The prober's two clocks, read at the edge, and the detection of steps of the wall clock.
//!
//! Decisions run on [`Moment`]s of the monotonic clock. STAMP packets and kernel receive stamps carry wall-clock time,
//! which may be stepped at any moment; [`ClockSteps`] notices that from the distance of the two clocks, so that a
//! stamp from before a step is never subtracted from one after it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use meshprobe_core::time::Moment;

/// Reads both clocks. Copies share the origin of their moments.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

/// Both clocks at (as good as) the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The monotonic clock.
    pub now: Moment,
    /// The wall clock, nanoseconds since the Unix epoch.
    pub unix_nanos: i64,
    /// How far apart the two were read at most.
    pub uncertainty: Duration,
}

impl Clock {
    /// A clock whose origin is now.
    pub fn new() -> Self {
        Self { origin: instant() }
    }

    /// The monotonic clock.
    #[inline]
    pub fn now(&self) -> Moment {
        self.moment(instant())
    }

    /// An instant as a moment of this clock.
    pub fn moment(&self, instant: Instant) -> Moment {
        let since = instant.saturating_duration_since(self.origin);
        Moment::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// A moment as an instant, for timers of the runtime.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.origin + Duration::from_nanos(moment.as_nanos())
    }

    /// The wall clock, nanoseconds since the Unix epoch.
    #[inline]
    pub fn unix_nanos(&self) -> i64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "STAMP timestamps are wall-clock time, read right before the send call"
        )]
        let wall = SystemTime::now();
        wall.duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_nanos() as i64)
    }

    /// Both clocks. The monotonic one is read on both sides of the wall clock.
    pub fn read(&self) -> Reading {
        let before = self.now();
        let unix_nanos = self.unix_nanos();
        let now = self.now();
        Reading {
            now,
            unix_nanos,
            uncertainty: now.saturating_since(before),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

fn instant() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "the engine reads the clock around each send; everything else takes `now`"
    )]
    Instant::now()
}

/// Readings that took longer than this say nothing about a step: the thread was preempted between the two clocks.
const MAX_UNCERTAINTY: Duration = Duration::from_micros(200);

/// A change of the clocks' distance beyond this, plus what slewing explains, is a step.
const STEP_NANOS: i64 = 1_000_000;

/// Slewing that is no step: `adjtime` slews by 500 ppm, some daemons by more.
const SLEW_PER_MILLION: i64 = 1_000;

/// Counts the steps of the wall clock. Two stamps are comparable only if the epoch is the same at both.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClockSteps {
    previous: Option<Reading>,
    epoch: u32,
}

impl ClockSteps {
    /// Takes a reading and returns the epoch that it belongs to.
    pub fn observe(&mut self, reading: Reading) -> u32 {
        if reading.uncertainty > MAX_UNCERTAINTY {
            return self.epoch;
        }
        if let Some(previous) = self.previous {
            let elapsed = reading.now.saturating_since(previous.now).as_nanos() as i64;
            let drift = (reading.unix_nanos - previous.unix_nanos) - elapsed;
            if drift.abs() > STEP_NANOS + elapsed / 1_000_000 * SLEW_PER_MILLION {
                self.epoch = self.epoch.wrapping_add(1);
            }
        }
        self.previous = Some(reading);
        self.epoch
    }

    /// The epoch of the last reading.
    pub const fn epoch(&self) -> u32 {
        self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(now_millis: u64, unix_nanos: i64) -> Reading {
        Reading {
            now: Moment::from_millis(now_millis),
            unix_nanos,
            uncertainty: Duration::ZERO,
        }
    }

    #[test]
    fn a_step_in_either_direction_begins_an_epoch() {
        let mut steps = ClockSteps::default();
        assert_eq!(steps.observe(reading(0, 0)), 0);
        assert_eq!(steps.observe(reading(10, 10_000_000)), 0);
        assert_eq!(steps.observe(reading(20, 25_000_000)), 1, "forward");
        assert_eq!(steps.observe(reading(30, 35_000_000)), 1);
        assert_eq!(steps.observe(reading(40, -1_000_000_000)), 2, "back");
    }

    #[test]
    fn slewing_is_no_step() {
        let mut steps = ClockSteps::default();
        steps.observe(reading(0, 0));
        // 500 ppm over ten seconds.
        assert_eq!(steps.observe(reading(10_000, 10_005_000_000)), 0);
    }

    #[test]
    fn a_reading_that_was_preempted_says_nothing() {
        let mut steps = ClockSteps::default();
        steps.observe(reading(0, 0));
        let torn = Reading {
            uncertainty: Duration::from_millis(5),
            ..reading(10, 15_000_000)
        };
        assert_eq!(steps.observe(torn), 0);
        assert_eq!(steps.observe(reading(20, 20_000_000)), 0);
    }

    #[test]
    fn moments_and_instants_convert_both_ways() {
        let clock = Clock::new();
        let moment = Moment::from_millis(1_500);
        assert_eq!(clock.moment(clock.instant(moment)), moment);
    }
}
