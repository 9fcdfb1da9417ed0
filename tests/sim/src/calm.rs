//! Stretches of probes that are known to be answered, and need no event each.
//!
//! A path whose probes are answered gives its prober nothing to decide: the tracker notes the time of the last answer,
//! the window counts one more. So a path that is calm (no loss, no suspicion, nothing under way, no fault on either
//! link) is not simulated probe by probe. The number of turns until the next one that does not go smoothly is drawn
//! from the geometric distribution, which is the distribution of the number of independent trials before the first
//! success; the path sleeps until that turn, and that turn goes wrong, in a way that is drawn from what can go wrong.
//!
//! Why the run has the same distribution as one without the shortcut:
//!
//! - Turns lie on a fixed grid and their fates are independent, so "n smooth turns, then one that is not" has the
//!   probability (1 − q)ⁿ q either way.
//! - A path is woken early by a fault, by a request to confirm, or by its prober's stop: by things that do not depend on
//!   what was drawn for it. The rest of the stretch is then drawn anew, which changes nothing, because the geometric
//!   distribution has no memory.
//! - What the decisions read of an answered probe is when it was sent and answered, and that a window holds an answer.
//!   Before a window is closed, the newest answer of each sleeping path is entered into the real book (and, for a path
//!   that fails, the newest probe that arrived from the peer), so every report says the same times as it would. Only
//!   the counts of answered probes in it are smaller: ten answers of one window are entered as one. No rule of the
//!   dark-node logic reads them.

use std::time::Duration;

use meshprobe_core::time::Moment;

/// The turns of one path that go smoothly, and when they end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calm {
    first: Moment,
    interval: Duration,
    /// Smooth turns; `None`: all that come.
    smooth: Option<u64>,
    /// How many are in the book.
    entered: u64,
}

impl Calm {
    /// From the turn at `first` on: `smooth` turns are answered at once, then comes one that is not.
    pub(crate) fn new(first: Moment, interval: Duration, smooth: Option<u64>) -> Self {
        Self {
            first,
            interval,
            smooth,
            entered: 0,
        }
    }

    /// The turn that does not go smoothly.
    pub(crate) fn ends_at(&self) -> Option<Moment> {
        self.smooth.map(|turns| self.turn(turns))
    }

    /// The newest turn before `now`, if there was one since the last time that this was asked.
    pub(crate) fn enter_newest(&mut self, now: Moment) -> Option<Moment> {
        let turns = self.turns_before(now);
        if turns <= self.entered {
            return None;
        }
        self.entered = turns;
        Some(self.turn(turns - 1))
    }

    /// The newest smooth turn before `now`.
    pub(crate) fn newest(&self, now: Moment) -> Option<Moment> {
        self.turns_before(now)
            .checked_sub(1)
            .map(|turn| self.turn(turn))
    }

    fn turns_before(&self, now: Moment) -> u64 {
        if now <= self.first {
            return 0;
        }
        let passed = now.as_nanos() - self.first.as_nanos();
        let turns = passed.div_ceil(self.interval.as_nanos() as u64);
        self.smooth.map_or(turns, |smooth| turns.min(smooth))
    }

    fn turn(&self, number: u64) -> Moment {
        Moment::from_nanos(self.first.as_nanos() + number * self.interval.as_nanos() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn it_ends_with_the_turn_after_the_smooth_ones() {
        let calm = Calm::new(ms(250), Duration::from_secs(1), Some(3));
        assert_eq!(calm.ends_at(), Some(ms(3_250)));
        assert_eq!(calm.newest(ms(100_000)), Some(ms(2_250)));
        assert_eq!(
            Calm::new(ms(0), Duration::from_secs(1), None).ends_at(),
            None
        );
    }

    #[test]
    fn each_turn_is_entered_once_and_only_after_its_time() {
        let mut calm = Calm::new(ms(250), Duration::from_secs(1), None);
        assert_eq!(calm.enter_newest(ms(250)), None);
        assert_eq!(calm.enter_newest(ms(251)), Some(ms(250)));
        assert_eq!(calm.enter_newest(ms(1_250)), None);
        assert_eq!(calm.enter_newest(ms(5_300)), Some(ms(5_250)));
        assert_eq!(calm.enter_newest(ms(5_400)), None);
        assert_eq!(calm.newest(ms(5_400)), Some(ms(5_250)));
    }
}
