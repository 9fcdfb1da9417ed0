//! The one place that reads a clock.
//!
//! Decisions take `now` as an argument. The tasks around them call [`now`] once for each event that
//! they handle and pass it down, so that everything inside one step agrees on the time. [`now`]
//! follows tokio's clock: a test that pauses or advances the runtime's time moves it too.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock: for intervals, deadlines and ages. It never goes back and says nothing
/// about the date.
///
/// Works inside and outside of a runtime.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The wall clock: for what people and other machines read. It may be stepped at any moment, so no
/// interval is computed from it.
pub fn wall() -> SystemTime {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one reader of the wall clock"
    )]
    SystemTime::now()
}

/// The wall clock as time since 1970-01-01 UTC; zero when the clock stands before that.
pub fn since_epoch() -> Duration {
    wall().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_monotonic_clock_follows_the_paused_runtime() {
        let before = now();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(
            now().saturating_duration_since(before),
            Duration::from_secs(3600)
        );
    }

    #[test]
    fn both_clocks_work_without_a_runtime() {
        let before = now();
        assert!(now() >= before);
        // 2020-01-01: a machine whose clock is older than this program cannot be told apart from a
        // broken reader.
        assert!(since_epoch() > Duration::from_secs(1_577_836_800));
    }
}
