//! Windows and what is known of one path in one window.

use std::time::Duration;

use crate::outcome::OutcomeClass;
use crate::rtt::RttCode;

/// Shortest time that a window covers: sub-windows are aligned to whole seconds of the wall clock.
pub const SUB_WINDOW: Duration = Duration::from_secs(1);

/// An interval of a prober's wall clock in which samples are summarised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Start, milliseconds since the Unix epoch.
    pub start_unix_millis: u64,
    /// Length in milliseconds.
    pub length_millis: u32,
}

impl Window {
    /// End, milliseconds since the Unix epoch.
    pub const fn end_unix_millis(self) -> u64 {
        self.start_unix_millis
            .saturating_add(self.length_millis as u64)
    }

    /// The smallest window that covers both.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let start = self.start_unix_millis.min(other.start_unix_millis);
        let end = self.end_unix_millis().max(other.end_unix_millis());
        Self {
            start_unix_millis: start,
            length_millis: u32::try_from(end - start).unwrap_or(u32::MAX),
        }
    }
}

/// The newest word on a path that fails, that answers again, or whose target fails by another path.
/// Ages count back from the end of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Losses in a row up to the end of the window. Zero: it answers (again).
    pub consecutive_losses: u32,
    /// Since the first probe of that row of losses was sent.
    pub first_loss_age: Duration,
    /// Since the last answer; `None`: it never answered in this incarnation.
    pub last_reply_age: Option<Duration>,
    /// Since the last probe arrived from that peer; `None`: none did in this incarnation.
    pub last_heard_age: Option<Duration>,
    /// How the last probe ended.
    pub last_outcome: OutcomeClass,
}

/// Which way lost the probes that were not answered, as far as it is known.
///
/// A stateful Session-Reflector numbers its replies for itself (RFC 8762 §4). What its number grew by from one reply to the next
/// is how many probes have arrived in between: the others were lost on the way out, and of those that arrived, the replies that
/// are missing on the way back. Where no reply comes back nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LostWays {
    /// Probes that did not arrive.
    pub out: u32,
    /// Probes that arrived, and whose replies did not.
    pub back: u32,
}

impl LostWays {
    /// Does it say nothing?
    pub const fn is_empty(self) -> bool {
        self.out == 0 && self.back == 0
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            out: self.out.saturating_add(other.out),
            back: self.back.saturating_add(other.back),
        }
    }
}

/// What is known of one path in one window. Counts are exact and add up over windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Length of the window in milliseconds.
    pub window_millis: u32,
    /// Probes whose outcome became known in this window, the invalid ones not counted.
    pub sent: u32,
    /// Of those, how many were answered in time.
    pub replied: u32,
    /// Answers that came after the timeout.
    pub late: u32,
    /// Probes that the prober threw away because it was itself at fault.
    pub invalid: u32,
    /// Probes that arrived from the target, on the way back: what its own probes are worth.
    pub received: u32,
    /// Which way lost what was lost, in this window or in one before it.
    pub lost_ways: LostWays,
    /// Smallest round-trip time.
    pub rtt_min: RttCode,
    /// Median round-trip time.
    pub rtt_median: RttCode,
    /// Largest round-trip time.
    pub rtt_max: RttCode,
    /// Losses in a row at the end of the window; saturates.
    pub consecutive_losses: u8,
    /// How the last failed probe ended, if one did.
    pub last_failure: Option<OutcomeClass>,
}

impl Summary {
    /// Probes that were not answered in time.
    pub const fn lost(&self) -> u32 {
        self.sent.saturating_sub(self.replied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_windows_cover_both() {
        let a = Window {
            start_unix_millis: 1_000,
            length_millis: 1_000,
        };
        let b = Window {
            start_unix_millis: 5_000,
            length_millis: 500,
        };
        assert_eq!(
            a.merge(b),
            Window {
                start_unix_millis: 1_000,
                length_millis: 4_500
            }
        );
        assert_eq!(a.merge(b), b.merge(a));
    }
}
