//! When a regular window ends: at whole seconds of the wall clock, each prober at its own one.
//!
//! Windows of all probers begin and end at seconds, so that the aggregator can lay them over each other; which second
//! of the report interval it is, is spread by the node's name, so that a fleet does not report in one wave.

use std::time::Duration;

/// Time from `unix_nanos` to the end of the window.
///
/// Intervals of less than two seconds leave no seconds to spread over: they end at their multiples.
pub fn until_boundary(unix_nanos: i64, interval: Duration, spread: u16) -> Duration {
    let interval_nanos = i128::try_from(interval.as_nanos())
        .unwrap_or(i128::MAX)
        .max(1);
    let seconds = i128::from(interval.as_secs()).max(1);
    let offset = i128::from(spread) % seconds * 1_000_000_000;
    let into = (i128::from(unix_nanos) - offset).rem_euclid(interval_nanos);
    Duration::from_nanos(u64::try_from(interval_nanos - into).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn windows_end_at_whole_seconds_of_the_own_phase() {
        let ten = Duration::from_secs(10);
        for (now, spread, seconds) in [
            (100 * SECOND, 3, 3),
            (103 * SECOND, 3, 10),
            (104 * SECOND, 13, 9),
        ] {
            assert_eq!(
                until_boundary(now, ten, spread),
                Duration::from_secs(seconds)
            );
        }
        let wait = until_boundary(100 * SECOND + 250_000_000, ten, 0);
        assert_eq!(wait, Duration::from_millis(9_750));
    }

    #[test]
    fn short_intervals_end_at_their_multiples() {
        let wait = until_boundary(100 * SECOND + 120_000_000, Duration::from_millis(500), 7);
        assert_eq!(wait, Duration::from_millis(380));
    }
}
