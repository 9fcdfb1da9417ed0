//! How far this prober can be trusted: Lifeguard's local health multiplier.
//!
//! Every second that had a stall, an invalid probe or an overflow of a socket raises it, every clean second lowers it.
//! The aggregator weighs this prober's word with 1 / (1 + local health).

use std::time::Duration;

use meshprobe_core::time::Moment;

use crate::stalls::Stalls;

/// The largest value.
pub const MAX_LOCAL_HEALTH: u8 = 7;

/// A wake-up that is later than this is a stall.
pub const STALL: Duration = Duration::from_millis(20);

/// A stall that makes a second bad. Shorter ones happen on every shared machine and harm no measurement.
const BAD_STALL: Duration = Duration::from_millis(50);

/// A stall that counts double.
const LONG_STALL: Duration = Duration::from_millis(500);

/// Self-observations of the open window, and the multiplier that outlives it.
#[derive(Clone, Debug, Default)]
pub struct LocalHealth {
    score: u8,
    second_ends: Moment,
    badness: u8,
    report: SelfReport,
    stalls: Stalls,
}

/// What a report says about the prober itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfReport {
    /// Lifeguard's multiplier, 0 (well) to 7.
    pub local_health: u8,
    /// Probes that were thrown away.
    pub invalid_probes: u32,
    /// Packets or outcomes that were lost inside this machine.
    pub dropped_samples: u32,
    /// Largest lateness of a send.
    pub max_lateness: Duration,
    /// How long the control group kept this process from running.
    pub throttled: Duration,
    /// Longest time in which this process did not run although it wanted to.
    pub longest_stall: Duration,
    /// Packets that the kernel dropped at an own socket.
    pub socket_overflows: u32,
    /// Sends that the kernel refused for want of buffers.
    pub send_buffer_full: u32,
    /// Probes to itself over loopback that were lost.
    pub loopback_lost: u32,
}

impl LocalHealth {
    /// The engine woke or sent this much after the time that it wanted.
    pub fn handle_lateness(&mut self, lateness: Duration, now: Moment) {
        self.report.max_lateness = self.report.max_lateness.max(lateness);
        self.handle_stall(lateness, now);
        if lateness > LONG_STALL {
            self.worsen(2, now);
        } else if lateness > BAD_STALL {
            self.worsen(1, now);
        }
    }

    /// A task of this process ran so much later than it wanted.
    pub fn handle_stall(&mut self, lateness: Duration, now: Moment) {
        self.report.longest_stall = self.report.longest_stall.max(lateness);
        if lateness > BAD_STALL {
            self.stalls.record(now - lateness, now);
            self.skip(now - lateness, now);
            self.worsen(1, now);
        }
    }

    /// The control group kept this process from running for so long.
    pub fn handle_throttled(&mut self, throttled: Duration, now: Moment) {
        self.report.throttled += throttled;
        if throttled > LONG_STALL {
            self.worsen(2, now);
        } else if throttled > BAD_STALL {
            self.worsen(1, now);
        }
    }

    /// The kernel refused to send for want of buffers.
    pub fn handle_send_buffer_full(&mut self, now: Moment) {
        self.report.send_buffer_full = self.report.send_buffer_full.saturating_add(1);
        self.worsen(1, now);
    }

    /// A probe to itself over loopback was lost: whatever is lost now may be lost inside this node.
    pub fn handle_loopback_lost(&mut self, now: Moment) {
        self.report.loopback_lost = self.report.loopback_lost.saturating_add(1);
        self.worsen(2, now);
    }

    /// Was this process kept from running for a noticeable part of this time? What it measured then is its own doing.
    pub fn was_stalled(&self, from: Moment, to: Moment) -> bool {
        self.stalls.overlap(from, to) > BAD_STALL
    }

    /// Probes were thrown away.
    pub fn handle_invalid(&mut self, count: u32, now: Moment) {
        self.report.invalid_probes = self.report.invalid_probes.saturating_add(count);
        self.worsen(1, now);
    }

    /// Packets were dropped at the own socket.
    pub fn handle_dropped(&mut self, count: u32, now: Moment) {
        self.report.dropped_samples = self.report.dropped_samples.saturating_add(count);
        self.report.socket_overflows = self.report.socket_overflows.saturating_add(count);
        self.worsen(1, now);
    }

    /// The multiplier now.
    pub fn score(&mut self, now: Moment) -> u8 {
        self.roll(now);
        self.score
    }

    /// Closes the window.
    pub fn take(&mut self, now: Moment) -> SelfReport {
        self.roll(now);
        SelfReport {
            local_health: self.score,
            ..std::mem::take(&mut self.report)
        }
    }

    fn worsen(&mut self, by: u8, now: Moment) {
        self.roll(now);
        if by > self.badness {
            // A second counts once, at its worst.
            self.score = (self.score + by - self.badness).min(MAX_LOCAL_HEALTH);
            self.badness = by;
        }
    }

    /// Seconds in which this process did not run are no clean ones.
    fn skip(&mut self, from: Moment, to: Moment) {
        self.roll(from);
        if to >= self.second_ends {
            self.badness = 0;
            self.second_ends = to + Duration::from_secs(1);
        }
    }

    /// Ends the seconds that have passed.
    fn roll(&mut self, now: Moment) {
        if now < self.second_ends {
            return;
        }
        let passed = now.saturating_since(self.second_ends).as_secs();
        let clean = passed + u64::from(self.badness == 0);
        self.score = self
            .score
            .saturating_sub(u8::try_from(clean).unwrap_or(u8::MAX));
        self.badness = 0;
        self.second_ends = now + Duration::from_secs(1);
    }
}

impl SelfReport {
    /// Of two windows together.
    #[must_use]
    pub fn merge(self, later: Self) -> Self {
        Self {
            local_health: self.local_health.max(later.local_health),
            invalid_probes: self.invalid_probes.saturating_add(later.invalid_probes),
            dropped_samples: self.dropped_samples.saturating_add(later.dropped_samples),
            max_lateness: self.max_lateness.max(later.max_lateness),
            throttled: self.throttled.saturating_add(later.throttled),
            longest_stall: self.longest_stall.max(later.longest_stall),
            socket_overflows: self.socket_overflows.saturating_add(later.socket_overflows),
            send_buffer_full: self.send_buffer_full.saturating_add(later.send_buffer_full),
            loopback_lost: self.loopback_lost.saturating_add(later.loopback_lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Moment {
        Moment::from_millis(10_000 + millis)
    }

    #[test]
    fn bad_seconds_raise_it_to_seven_and_clean_ones_lower_it() {
        let mut health = LocalHealth::default();
        for second in 0..20 {
            health.handle_lateness(Duration::from_millis(100), at(second * 1_000));
            health.handle_lateness(Duration::from_millis(100), at(second * 1_000 + 500));
        }
        assert_eq!(health.score(at(19_600)), MAX_LOCAL_HEALTH);
        assert_eq!(health.score(at(60_000)), 0);
    }

    #[test]
    fn a_second_counts_once_at_its_worst() {
        let mut health = LocalHealth::default();
        health.handle_invalid(1, at(0));
        health.handle_lateness(Duration::from_secs(2), at(10));
        health.handle_invalid(5, at(20));
        assert_eq!(health.score(at(30)), 2);
        assert_eq!(health.take(at(40)).invalid_probes, 6);
        assert_eq!(
            health.take(at(50)).invalid_probes,
            0,
            "the window is closed"
        );
    }

    #[test]
    fn what_was_measured_during_a_stall_is_known() {
        let mut health = LocalHealth::default();
        health.handle_stall(Duration::from_millis(200), at(1_200));
        assert!(health.was_stalled(at(900), at(1_300)));
        assert!(health.was_stalled(at(1_100), at(1_160)));
        assert!(!health.was_stalled(at(1_180), at(1_900)), "20 ms of it");
        assert!(!health.was_stalled(at(0), at(1_000)));
        assert_eq!(
            health.take(at(1_300)).longest_stall,
            Duration::from_millis(200)
        );
    }

    #[test]
    fn throttling_and_losses_on_loopback_are_ill_health_and_are_told() {
        let mut health = LocalHealth::default();
        health.handle_throttled(Duration::from_millis(900), at(0));
        assert_eq!(health.score(at(1)), 2);
        health.handle_loopback_lost(at(1_500));
        let report = health.take(at(1_600));
        assert_eq!(report.throttled, Duration::from_millis(900));
        assert_eq!((report.loopback_lost, report.local_health), (1, 4));
    }

    #[test]
    fn seconds_in_which_it_did_not_run_are_no_clean_ones() {
        let mut health = LocalHealth::default();
        for turn in 1..=6 {
            health.handle_stall(Duration::from_secs(3), at(turn * 3_200));
        }
        assert_eq!(health.score(at(19_300)), 6);
    }

    #[test]
    fn short_stalls_of_a_shared_machine_are_not_ill_health() {
        let mut health = LocalHealth::default();
        health.handle_lateness(Duration::from_millis(30), at(0));
        assert_eq!(health.score(at(1)), 0);
        assert_eq!(health.take(at(2)).max_lateness, Duration::from_millis(30));
    }
}
