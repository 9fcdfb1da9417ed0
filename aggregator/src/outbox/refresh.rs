//! When a receiver that forgets hears again what stands. Pure.

use std::time::{Duration, Instant};

/// The schedule of one receiver.
#[derive(Debug)]
pub(super) struct Refresh {
    every: Duration,
    due: Instant,
    in_flight: bool,
    failing: bool,
}

/// Whether the way to a receiver changed with an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It worked before and does not now.
    Broke,
    /// It did not work before and does now.
    Mended,
    /// As before.
    Same,
}

impl Refresh {
    /// The first one is due at once: what stood before a restart stands on.
    pub(super) fn new(every: Duration, now: Instant) -> Self {
        Self {
            every,
            due: now,
            in_flight: false,
            failing: false,
        }
    }

    /// Another interval after a reload.
    pub(super) fn set(&mut self, every: Duration, now: Instant) {
        self.every = every;
        self.due = self.due.min(now + every);
    }

    /// Takes the turn, if it is time.
    pub(super) fn take_due(&mut self, now: Instant) -> bool {
        if self.in_flight || self.due > now {
            return false;
        }
        self.in_flight = true;
        true
    }

    /// The turn is over.
    pub(super) fn finished(&mut self, worked: bool, now: Instant) -> Change {
        self.in_flight = false;
        // Sooner after a failure: what stands must not end by itself because one request was lost.
        let wait = if worked { self.every } else { self.every / 4 };
        self.due = now + wait;
        match std::mem::replace(&mut self.failing, !worked) {
            false if !worked => Change::Broke,
            true if worked => Change::Mended,
            _ => Change::Same,
        }
    }

    /// When [`Self::take_due`] has something next; `None`: not before the turn is over.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        (!self.in_flight).then_some(self.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_at_its_interval_and_four_times_as_often_while_it_fails() {
        let now = meshprobe_daemon::clock::now();
        let every = Duration::from_secs(60);
        let mut refresh = Refresh::new(every, now);
        assert!(refresh.take_due(now));
        assert!(!refresh.take_due(now), "one at a time");
        assert_eq!(refresh.next_deadline(), None);
        assert_eq!(refresh.finished(true, now), Change::Same);
        assert!(!refresh.take_due(now + every / 2));
        assert!(refresh.take_due(now + every));
        assert_eq!(refresh.finished(false, now + every), Change::Broke);
        assert_eq!(refresh.next_deadline(), Some(now + every + every / 4));
        assert!(refresh.take_due(now + 2 * every));
        assert_eq!(refresh.finished(true, now + 2 * every), Change::Mended);
    }
}
