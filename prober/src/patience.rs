//! How long to wait for the answer on one path: Tmax = max(50 ms, 4 × p99.9 of its recent RTTs), capped.
//!
//! A path has fewer than a thousand samples in the time that counts as recent, so its p99.9 is its largest RTT. The
//! largest of the current and of the previous minute is kept, as two one-byte codes.
//!
//! At the end of an outage come the answers to probes that queues on the way had kept (for an unresolved neighbour, for a
//! link without carrier): they took as long as the queue stood, and say nothing about the path. What is measured until
//! the path has settled counts only until then.

use std::time::Duration;

use meshprobe_core::rtt::{Rtt, RttCode};
use meshprobe_core::time::Moment;

/// No path is given less: a scheduler's hiccup is no loss.
pub const MIN_PATIENCE: Duration = Duration::from_millis(50);

/// No path is given more.
pub const MAX_PATIENCE: Duration = Duration::from_secs(1);

/// How long an RTT counts as recent, at least.
const PERIOD: Duration = Duration::from_secs(60);

/// Patience before anything is known about a path: the confirmation must not wait for a second, a cold ARP cache and
/// a far zone must not look like loss.
const FIRST_PATIENCE: Duration = Duration::from_millis(250);

/// After the first answer that follows an outage. A neighbour is asked for once a second, on both ends of the path.
const SETTLE_TIME: Duration = Duration::from_secs(3);

/// The recent largest RTT of one path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    current: RttCode,
    previous: RttCode,
    period_ends: Moment,
    in_outage: bool,
    /// The path answers again, and has settled at this time.
    settles_at: Moment,
    /// The largest RTT before that.
    unsettled: RttCode,
}

impl Patience {
    /// The path has lost its probes for so long that it counts as down.
    pub fn handle_outage(&mut self) {
        self.in_outage = true;
    }

    /// An answer took this long, in time or late.
    pub fn handle_rtt(&mut self, rtt: Rtt, now: Moment) {
        if std::mem::take(&mut self.in_outage) {
            self.settles_at = now + SETTLE_TIME;
        }
        if now < self.settles_at {
            self.unsettled = self.unsettled.max(rtt.code());
        } else {
            self.unsettled = RttCode::NONE;
            self.learn(rtt, now);
        }
    }

    fn learn(&mut self, rtt: Rtt, now: Moment) {
        if now >= self.period_ends {
            let fresh = now.saturating_since(self.period_ends) < PERIOD;
            self.previous = if fresh { self.current } else { RttCode::NONE };
            self.current = RttCode::NONE;
            self.period_ends = now + PERIOD;
        }
        self.current = self.current.max(rtt.code());
    }

    /// How long to wait for the next answer, at most `cap`.
    pub fn tmax(&self, cap: Duration) -> Duration {
        let largest = self.current.max(self.previous).max(self.unsettled);
        let wanted = match largest.rtt() {
            Some(largest) => largest.as_duration() * 4,
            None => FIRST_PATIENCE,
        };
        wanted.max(MIN_PATIENCE).min(cap).min(MAX_PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience_after(rtts: &[(u64, u64)]) -> Duration {
        let mut patience = Patience::default();
        for (at_seconds, rtt_micros) in rtts {
            patience.handle_rtt(
                Rtt::from_nanos(rtt_micros * 1_000),
                Moment::from_millis(at_seconds * 1_000),
            );
        }
        patience.tmax(MAX_PATIENCE)
    }

    #[test]
    fn short_paths_get_the_minimum_and_long_ones_four_times_their_largest() {
        assert_eq!(patience_after(&[(1, 300)]), MIN_PATIENCE);
        let far = patience_after(&[(1, 80_000), (2, 100_000), (3, 90_000)]);
        assert!(
            far > Duration::from_millis(380) && far < Duration::from_millis(420),
            "{far:?}"
        );
    }

    #[test]
    fn it_is_capped_and_an_outlier_is_forgotten() {
        assert_eq!(patience_after(&[(1, 900_000)]), MAX_PATIENCE);
        assert_eq!(
            patience_after(&[(1, 900_000), (70, 300), (140, 300)]),
            MIN_PATIENCE
        );
        assert_eq!(
            Patience::default().tmax(Duration::from_millis(100)),
            Duration::from_millis(100),
            "the assignment's timeout is a cap"
        );
    }

    const QUICK: Rtt = Rtt::from_nanos(300_000);
    const QUEUED: Rtt = Rtt::from_nanos(300_000_000);

    #[test]
    fn what_queues_kept_in_an_outage_is_forgotten_when_the_path_has_settled() {
        let mut patience = Patience::default();
        patience.handle_rtt(QUICK, Moment::from_millis(1_000));
        patience.handle_outage();
        patience.handle_rtt(QUEUED, Moment::from_millis(9_000));
        patience.handle_rtt(QUICK, Moment::from_millis(9_100));
        let waited = patience.tmax(MAX_PATIENCE);
        assert_eq!(waited, MAX_PATIENCE, "the path may really have become slow");
        patience.handle_rtt(QUICK, Moment::from_millis(12_100));
        assert_eq!(patience.tmax(MAX_PATIENCE), MIN_PATIENCE);
    }

    #[test]
    fn a_path_that_is_slow_after_an_outage_stays_waited_for() {
        let mut patience = Patience::default();
        patience.handle_rtt(QUICK, Moment::from_millis(1_000));
        patience.handle_outage();
        for at in [9_000, 10_000, 11_000, 12_000, 13_000] {
            patience.handle_rtt(QUEUED, Moment::from_millis(at));
            assert_eq!(patience.tmax(MAX_PATIENCE), MAX_PATIENCE, "at {at}");
        }
    }

    #[test]
    fn a_slow_answer_without_an_outage_is_remembered() {
        let mut patience = Patience::default();
        patience.handle_rtt(QUEUED, Moment::from_millis(1_000));
        patience.handle_rtt(QUICK, Moment::from_millis(9_000));
        assert_eq!(patience.tmax(MAX_PATIENCE), MAX_PATIENCE);
    }
}
