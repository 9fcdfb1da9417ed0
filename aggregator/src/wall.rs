//! The wall clock, as it is written down: for people, for the store, in messages. It may be stepped at any moment, so
//! intervals of a running process are never measured with it.

use std::time::Duration;

use jiff::Timestamp;
use meshprobe_daemon::clock;

/// The time of day; the epoch when the clock shows what no calendar has.
pub(crate) fn now() -> Timestamp {
    Timestamp::try_from(clock::wall()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Milliseconds since the epoch, as the store's tables have them.
pub(crate) fn millis() -> i64 {
    i64::try_from(clock::since_epoch().as_millis()).unwrap_or(i64::MAX)
}

/// So much after `at`; the end of time when there is no such time.
pub(crate) fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}
