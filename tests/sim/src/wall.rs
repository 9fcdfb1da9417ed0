//! A prober's wall clock, which may be stepped, and what its engine makes of that.
//!
//! The engine reads both clocks at the end of each slot and asks [`ClockSteps`] which epoch of the wall clock it is in. Here
//! the real [`ClockSteps`] reads the clocks at the ends of the slots before and after each step; between two steps it would
//! say the same at every slot.

use std::time::Duration;

use meshprobe_core::time::Moment;
use meshprobe_prober::clock::{ClockSteps, Reading};
use meshprobe_prober::udp::slot::SLOT;

/// See the module.
#[derive(Debug)]
pub(crate) struct WallClock {
    /// Nanoseconds since the Unix epoch at the origin of moments, before any step.
    origin_unix_nanos: i64,
    /// When it was stepped, and by how much altogether since the start.
    steps: Vec<(Moment, i64)>,
    detector: ClockSteps,
    /// Ends of slots from which another epoch is in force.
    epochs: Vec<(Moment, u32)>,
}

impl WallClock {
    /// A clock that nobody has stepped.
    pub(crate) fn new(origin_unix_nanos: i64) -> Self {
        Self {
            origin_unix_nanos,
            steps: Vec::new(),
            detector: ClockSteps::default(),
            epochs: Vec::new(),
        }
    }

    /// The wall clock at a moment, nanoseconds since the Unix epoch.
    #[inline]
    pub(crate) fn unix_nanos(&self, at: Moment) -> i64 {
        let step = self.steps.iter().rev().find(|(from, _)| *from <= at);
        self.origin_unix_nanos + at.as_nanos() as i64 + step.map_or(0, |(_, total)| *total)
    }

    /// Steps the clock at `now`, which lies between the ends of two slots.
    pub(crate) fn step(&mut self, nanos: i64, now: Moment, slot_end: Moment) {
        self.observe(slot_end - SLOT);
        let total = self.steps.last().map_or(0, |(_, total)| *total) + nanos;
        self.steps.push((now, total));
        let epoch = self.observe(slot_end);
        self.epochs.push((slot_end, epoch));
    }

    /// The epoch that the engine is in at the end of a slot.
    #[inline]
    pub(crate) fn epoch(&self, slot_end: Moment) -> u32 {
        let epoch = self.epochs.iter().rev().find(|(from, _)| *from <= slot_end);
        epoch.map_or(0, |(_, epoch)| *epoch)
    }

    /// T3 − T2 of a reply that left at the end of a slot. `None`: the engine noticed in that slot that the clock was
    /// stepped, so it does not say when the probe arrived.
    pub(crate) fn turnaround(&self, received_at: Moment, slot_end: Moment) -> Option<i64> {
        let usable = self.epoch(slot_end) == self.epoch(slot_end - SLOT);
        usable.then(|| self.unix_nanos(slot_end) - self.unix_nanos(received_at))
    }

    fn observe(&mut self, at: Moment) -> u32 {
        self.detector.observe(Reading {
            now: at,
            unix_nanos: self.unix_nanos(at),
            uncertainty: Duration::ZERO,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn a_step_counts_from_its_moment_and_is_noticed_at_the_end_of_its_slot() {
        let mut wall = WallClock::new(1_000_000);
        wall.step(3_600_000_000_000, ms(25), ms(30));
        assert_eq!(wall.unix_nanos(ms(24)), 25_000_000);
        assert_eq!(wall.unix_nanos(ms(25)), 3_600_026_000_000);
        assert_eq!((wall.epoch(ms(20)), wall.epoch(ms(30))), (0, 1));
        wall.step(-3_600_000_000_000, ms(1_025), ms(1_030));
        assert_eq!(wall.unix_nanos(ms(1_025)), 1_026_000_000);
        assert_eq!((wall.epoch(ms(1_020)), wall.epoch(ms(1_030))), (1, 2));
    }

    #[test]
    fn only_the_slot_of_the_step_has_no_turnaround() {
        let mut wall = WallClock::new(0);
        wall.step(4_000_000, ms(25), ms(30));
        assert_eq!(wall.turnaround(ms(12), ms(20)), Some(8_000_000));
        assert_eq!(wall.turnaround(ms(22), ms(30)), None);
        assert_eq!(wall.turnaround(ms(32), ms(40)), Some(8_000_000));
    }
}
