//! The two clocks, read together.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use meshprobe_core::time::Moment;
use meshprobe_daemon::clock;

use crate::wall;

/// Moments begin a day before the process, so that what happened before the start has a moment too.
const BEFORE_START: Duration = Duration::from_secs(86_400);

/// One instant on the monotonic clock, for decisions, and on the wall clock, for people and the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// For decisions.
    pub moment: Moment,
    /// For people.
    pub wall: Timestamp,
}

impl Now {
    /// The wall clock's time at another moment, as the wall clock goes now.
    pub fn wall_at(self, moment: Moment) -> Timestamp {
        let ago = self.moment.saturating_since(moment);
        let ahead = moment.saturating_since(self.moment);
        let past = self.wall.saturating_sub(ago).unwrap_or(Timestamp::MIN);
        wall::later(past, ahead)
    }

    /// The moment at which the wall clock shows `wall`, as it goes now.
    pub fn moment_at(self, wall: Timestamp) -> Moment {
        let ahead = wall.duration_since(self.wall);
        match Duration::try_from(ahead) {
            Ok(ahead) => self.moment + ahead,
            Err(_) => self.moment - ahead.unsigned_abs(),
        }
    }
}

/// Reads both clocks. All that compare moments share one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Moments count from now on.
    pub fn start() -> Self {
        Self {
            origin: clock::now(),
        }
    }

    /// The instant.
    pub fn now(self) -> Now {
        Now {
            moment: self.moment(),
            wall: wall::now(),
        }
    }

    /// The monotonic half alone.
    pub fn moment(self) -> Moment {
        let since = clock::now().saturating_duration_since(self.origin);
        Moment::ORIGIN + BEFORE_START + since
    }

    /// The tokio instant of a moment, for timers.
    pub fn instant(self, moment: Moment) -> tokio::time::Instant {
        let since = moment.saturating_since(Moment::ORIGIN + BEFORE_START);
        (self.origin + since).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_wall_times_are_converted_both_ways() {
        let now = Now {
            moment: Moment::from_millis(100_000),
            wall: Timestamp::from_second(1_700_000_000).unwrap(),
        };
        for millis in [0, 99_999, 100_000, 250_000] {
            let moment = Moment::from_millis(millis);
            assert_eq!(now.moment_at(now.wall_at(moment)), moment);
        }
        assert_eq!(
            now.wall_at(Moment::from_millis(99_000)).as_second(),
            1_699_999_999
        );
    }

    #[test]
    fn what_happened_before_the_start_has_a_moment() {
        let moment = Clock::start().moment();
        assert!(moment.saturating_since(Moment::ORIGIN) >= BEFORE_START);
    }
}
