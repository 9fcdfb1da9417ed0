//! When the open window has to be reported before its time.
//!
//! - A path loses its first probe: at once, so that the aggregator can ask others.
//! - Its row of losses reaches 4 and 5, the levels at which an observer accuses.
//! - Every 250 ms while a path fails, up to 4 s after its first loss.
//! - A path answers again.
//! - A path has become slow (see [`crate::slowness`]): a second later, with what else has by then.
//! - The aggregator asks.
//!
//! Two flushes are at least 10 ms apart: what happens together travels together. A prober that has something to tell
//! all the time (heavy loss on many paths) tells it a dozen times a second: by then nobody waits for a single row.

use std::time::Duration;

use meshprobe_core::time::Moment;

use crate::budget::TokenBucket;
use crate::suspicion::WATCH_TIME;
use crate::tracker::Transition;

/// Least time between two flushes.
pub const COALESCE: Duration = Duration::from_millis(10);

/// Least time between two flushes of a prober that had many.
pub const CROWDED: Duration = Duration::from_millis(100);

/// Early reports in a row before that: a node's failure has fewer.
const BURST: u32 = 30;

/// Time between two flushes while a path fails.
pub const REPEAT: Duration = Duration::from_millis(250);

/// Time for the other paths of a node to show that they have become slow, too: an interval of the vital probes.
const SLOWED_TOGETHER: Duration = Duration::from_secs(1);

/// Rows of losses that are reported at once.
const TELLING_LENGTHS: [u32; 2] = [4, 5];

/// Decides about early reports.
#[derive(Clone, Copy, Debug)]
pub struct FlushPlan {
    wanted_at: Option<Moment>,
    last_flush: Option<Moment>,
    /// Some path is watched until then.
    watch_until: Option<Moment>,
    budget: TokenBucket,
    spacing: Duration,
}

impl Default for FlushPlan {
    fn default() -> Self {
        Self {
            wanted_at: None,
            last_flush: None,
            watch_until: None,
            budget: TokenBucket::new(5, BURST),
            spacing: COALESCE,
        }
    }
}

impl FlushPlan {
    /// A path's state changed; `first_loss_at` is the beginning of its row of losses.
    pub fn handle_transition(
        &mut self,
        transition: Transition,
        first_loss_at: Option<Moment>,
        now: Moment,
    ) {
        match transition {
            Transition::Steady => {}
            Transition::FirstLoss => {
                self.watch_until = self
                    .watch_until
                    .max(first_loss_at.map(|at| at + WATCH_TIME));
                self.request(now);
            }
            Transition::Losing { consecutive } => {
                if TELLING_LENGTHS.contains(&consecutive) {
                    self.request(now);
                }
            }
            Transition::Recovered { .. } => self.request(now),
        }
    }

    /// A path has become slow.
    pub fn handle_slowed(&mut self, now: Moment) {
        self.request(now + SLOWED_TOGETHER);
    }

    /// Somebody wants a report at `now`.
    pub fn request(&mut self, now: Moment) {
        let earliest = self
            .last_flush
            .map_or(now, |last| now.max(last + self.spacing));
        self.wanted_at = Some(
            self.wanted_at
                .map_or(earliest, |wanted| wanted.min(earliest)),
        );
    }

    /// When the window is to be reported early, if at all.
    pub fn next_deadline(&self) -> Option<Moment> {
        let repeat = match (self.watch_until, self.last_flush) {
            (Some(until), Some(last)) => Some(last + REPEAT).filter(|at| *at <= until),
            _ => None,
        };
        match (self.wanted_at, repeat) {
            (Some(wanted), Some(repeat)) => Some(wanted.min(repeat)),
            (wanted, repeat) => wanted.or(repeat),
        }
    }

    /// The window was reported at `now`. `failing`: some path still loses its probes.
    pub fn handle_flushed(&mut self, now: Moment, failing: bool) {
        self.wanted_at = None;
        self.last_flush = Some(now);
        self.spacing = if self.budget.try_take(now) {
            COALESCE
        } else {
            CROWDED
        };
        if !failing || self.watch_until.is_some_and(|until| until <= now) {
            self.watch_until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn a_healthy_prober_is_never_urgent() {
        let mut plan = FlushPlan::default();
        plan.handle_transition(Transition::Steady, None, ms(5));
        plan.handle_flushed(ms(10), false);
        assert_eq!(plan.next_deadline(), None);
    }

    #[test]
    fn the_first_loss_is_told_at_once_and_the_failure_every_quarter_second_for_four_seconds() {
        let mut plan = FlushPlan::default();
        plan.handle_transition(Transition::FirstLoss, Some(ms(950)), ms(1_000));
        let mut flushes = Vec::new();
        while let Some(at) = plan.next_deadline() {
            flushes.push(at.as_millis());
            plan.handle_flushed(at, true);
        }
        assert_eq!(flushes.first(), Some(&1_000));
        assert_eq!(flushes[1] - flushes[0], 250);
        assert_eq!(flushes.last(), Some(&4_750));
    }

    #[test]
    fn the_fourth_and_fifth_loss_and_the_recovery_are_told_at_once() {
        let mut plan = FlushPlan::default();
        plan.handle_transition(Transition::Losing { consecutive: 3 }, Some(ms(0)), ms(100));
        assert_eq!(plan.next_deadline(), None);
        for (transition, at) in [
            (Transition::Losing { consecutive: 4 }, ms(200)),
            (Transition::Losing { consecutive: 5 }, ms(300)),
            (Transition::Recovered { after: 5 }, ms(400)),
        ] {
            plan.handle_transition(transition, Some(ms(0)), at);
            assert_eq!(plan.next_deadline(), Some(at));
            plan.handle_flushed(at, false);
        }
    }

    #[test]
    fn heavy_loss_everywhere_is_told_a_dozen_times_a_second() {
        let mut plan = FlushPlan::default();
        let mut flushes = 0;
        for millis in 0..10_000 {
            let transition = if millis % 2 == 0 {
                Transition::FirstLoss
            } else {
                Transition::Recovered { after: 1 }
            };
            plan.handle_transition(transition, Some(ms(millis)), ms(millis));
            if plan.next_deadline().is_some_and(|at| at <= ms(millis)) {
                plan.handle_flushed(ms(millis), true);
                flushes += 1;
            }
        }
        assert!((100..=200).contains(&flushes), "{flushes}");
    }

    #[test]
    fn paths_that_become_slow_within_a_second_are_told_together() {
        let mut plan = FlushPlan::default();
        plan.handle_slowed(ms(100));
        plan.handle_slowed(ms(900));
        assert_eq!(plan.next_deadline(), Some(ms(1_100)));
        plan.handle_flushed(ms(1_100), false);
        assert_eq!(plan.next_deadline(), None);
    }

    #[test]
    fn flushes_are_coalesced() {
        let mut plan = FlushPlan::default();
        plan.request(ms(100));
        plan.handle_flushed(ms(100), false);
        plan.request(ms(103));
        plan.request(ms(104));
        assert_eq!(plan.next_deadline(), Some(ms(110)));
    }
}
