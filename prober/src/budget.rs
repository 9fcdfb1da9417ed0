//! A token bucket: so many events a second on average, so many at once.
//!
//! The generic cell rate algorithm (ITU-T I.371): one moment of state instead of a counter and a timer.

use std::time::Duration;

use meshprobe_core::time::Moment;

/// A budget of events. `now` is an argument, the state is one moment.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// Time that one event costs.
    cost: Duration,
    /// How far the account may be overdrawn: the burst.
    tolerance: Duration,
    /// When the bucket would be full again.
    full_at: Moment,
}

impl TokenBucket {
    /// `per_second` events a second, at most `burst` at once. Zero counts as one.
    pub fn new(per_second: u32, burst: u32) -> Self {
        let cost = Duration::from_secs(1) / per_second.max(1);
        Self {
            cost,
            tolerance: cost * burst.max(1),
            full_at: Moment::ORIGIN,
        }
    }

    /// Takes one event out of the budget, if it is there.
    pub fn try_take(&mut self, now: Moment) -> bool {
        let full_at = self.full_at.max(now) + self.cost;
        let granted = full_at.saturating_since(now) <= self.tolerance;
        if granted {
            self.full_at = full_at;
        }
        granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_granted_then_the_rate() {
        let mut bucket = TokenBucket::new(100, 5);
        let start = Moment::from_millis(1_000);
        let at_once = (0..20).filter(|_| bucket.try_take(start)).count();
        assert_eq!(at_once, 5);
        let in_a_second = (1..=1_000)
            .filter(|ms| bucket.try_take(start + Duration::from_millis(*ms)))
            .count();
        assert_eq!(in_a_second, 100);
    }

    #[test]
    fn an_idle_bucket_holds_no_more_than_its_burst() {
        let mut bucket = TokenBucket::new(10, 3);
        let late = Moment::from_millis(3_600_000);
        assert_eq!((0..10).filter(|_| bucket.try_take(late)).count(), 3);
    }
}
