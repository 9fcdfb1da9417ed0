//! Stretches of probes that are known to be answered, and need no event each.
//!
//! A path whose probes are answered gives its prober nothing to decide: the tracker notes the time of the last answer,
//! the window counts one more. So a path that is calm (nothing of it under way or under suspicion, no fault on either
//! link) is not simulated probe by probe. What happens to each of its coming turns can be known, because fates are pure
//! functions of path and moment ([`crate::dice`]): the path sleeps until the first turn that does not go smoothly.
//!
//! The run is the same as one without the shortcut, event by event (`tests/exact.rs` compares them):
//!
//! - A path is woken early by a fault, by a request to confirm, or by its prober's stop. It goes on with the same fates
//!   as if it had never slept; an answer that is under way at that moment arrives when it would have.
//! - What the decisions read of an answered probe is when it was sent and answered, and that a window holds an answer.
//!   Before a window is closed, the newest answer of each sleeping path is entered into the real book with its own two
//!   times, and, for a path that fails, the newest probe that arrived from the peer. Only the counts of answered
//!   probes, and with them the quantiles of their round-trip times, are smaller: ten answers of one window are entered as
//!   one. No rule of the dark-node logic reads them.

use std::time::Duration;

use meshprobe_core::time::Moment;

/// The turns of one path that go smoothly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calm {
    /// The first turn that is not in the book.
    next: Moment,
    interval: Duration,
    /// The turn that is simulated again.
    ends_at: Moment,
}

impl Calm {
    /// The turns from `first` on, until that at `ends_at`, which does not belong to them any more.
    pub(crate) fn new(first: Moment, interval: Duration, ends_at: Moment) -> Self {
        Self {
            next: first,
            interval,
            ends_at,
        }
    }

    /// The first turn that is not in the book.
    pub(crate) fn next(&self) -> Moment {
        self.next
    }

    /// The newest turn until `now` that is not in the book.
    pub(crate) fn newest(&self, now: Moment) -> Option<Moment> {
        if now < self.next || self.next >= self.ends_at {
            return None;
        }
        let last = self.ends_at - self.interval;
        let turns = (now.min(last).as_nanos() - self.next.as_nanos()) / self.step();
        Some(Moment::from_nanos(
            self.next.as_nanos() + turns * self.step(),
        ))
    }

    /// The newest turn until `now`, whether it is in the book or not. May be one from before the stretch.
    pub(crate) fn newest_ever(&self, now: Moment) -> Option<Moment> {
        self.newest(now).or_else(|| {
            let behind = self.next.saturating_since(now).as_nanos() as u64;
            let turns = behind.div_ceil(self.step()).max(1);
            let back = turns.checked_mul(self.step())?;
            self.next
                .as_nanos()
                .checked_sub(back)
                .map(Moment::from_nanos)
        })
    }

    /// The turn before `turn`, if it is not in the book either.
    pub(crate) fn before(&self, turn: Moment) -> Option<Moment> {
        Some(turn - self.interval).filter(|turn| *turn >= self.next)
    }

    /// `turn` and all before it are in the book. How many these are.
    pub(crate) fn enter(&mut self, turn: Moment) -> u64 {
        let turns = (turn.as_nanos() - self.next.as_nanos()) / self.step() + 1;
        self.next = turn + self.interval;
        turns
    }

    fn step(&self) -> u64 {
        self.interval.as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    fn calm() -> Calm {
        Calm::new(ms(250), Duration::from_secs(1), ms(3_250))
    }

    #[test]
    fn the_newest_turn_is_not_before_its_time_and_not_the_one_that_ends_it() {
        assert_eq!(calm().newest(ms(249)), None);
        assert_eq!(calm().newest(ms(250)), Some(ms(250)));
        assert_eq!(calm().newest(ms(2_249)), Some(ms(1_250)));
        assert_eq!(calm().newest(ms(100_000)), Some(ms(2_250)));
    }

    #[test]
    fn each_turn_is_entered_once() {
        let mut calm = calm();
        assert_eq!(calm.enter(ms(1_250)), 2);
        assert_eq!(calm.newest(ms(2_249)), None);
        assert_eq!(calm.before(ms(2_250)), None);
        assert_eq!(calm.enter(ms(2_250)), 1);
        assert_eq!(calm.newest(ms(100_000)), None);
    }

    #[test]
    fn a_stretch_may_be_empty() {
        let calm = Calm::new(ms(250), Duration::from_secs(1), ms(250));
        assert_eq!(calm.newest(ms(9_000)), None);
    }
}
