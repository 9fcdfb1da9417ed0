//! The extra probes that follow a first loss, or a request to confirm.
//!
//! Four probes 50 ms apart settle whether one packet was lost or the path is gone; while it stays gone the path is
//! probed every 100 ms until 4 s after the first loss, which covers the time in which somebody decides about it.
//! The first answer ends it.

use std::time::Duration;

use meshprobe_core::time::Moment;

/// Probes of the confirming burst.
pub const BURST_PROBES: u32 = 4;

/// Probes of a burst that somebody asked for: as many as a first loss and the burst after it, so that an observer
/// that is asked has the same to say as the one that noticed.
const REQUESTED_PROBES: u32 = BURST_PROBES + 1;

/// Time between two of them.
pub const BURST_SPACING: Duration = Duration::from_millis(50);

/// Time between two probes after the burst.
pub const WATCH_SPACING: Duration = Duration::from_millis(100);

/// How long after the first loss a failing path is watched closely.
pub const WATCH_TIME: Duration = Duration::from_secs(4);

/// A path under suspicion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspicion {
    /// Probes of the burst that are still to come.
    burst_left: u32,
    next_at: Moment,
    watch_until: Option<Moment>,
}

impl Suspicion {
    /// Somebody asked: one burst.
    pub const fn on_request(now: Moment) -> Self {
        Self {
            burst_left: REQUESTED_PROBES,
            next_at: now,
            watch_until: None,
        }
    }

    /// A probe that was sent at `first_loss_at` was lost: a burst, then a close watch.
    pub fn on_loss(first_loss_at: Moment, now: Moment) -> Self {
        Self {
            burst_left: BURST_PROBES,
            next_at: now,
            watch_until: Some(first_loss_at + WATCH_TIME),
        }
    }

    /// The burst that was asked for found a loss: it goes on as a watch, it does not begin again.
    #[must_use]
    pub fn extended(self, first_loss_at: Moment) -> Self {
        Self {
            watch_until: Some(first_loss_at + WATCH_TIME),
            ..self
        }
    }

    /// When the next extra probe is due.
    pub const fn next_at(self) -> Moment {
        self.next_at
    }

    /// After a probe at `now` (sent, or refused by the budget): what is left, `None` at the end.
    #[must_use]
    pub fn after_probe(self, now: Moment) -> Option<Self> {
        let burst_left = self.burst_left.saturating_sub(1);
        let spacing = if burst_left > 0 {
            BURST_SPACING
        } else {
            WATCH_SPACING
        };
        let next_at = now.max(self.next_at) + spacing;
        let is_watched = self.watch_until.is_some_and(|until| next_at <= until);
        (burst_left > 0 || is_watched).then_some(Self {
            burst_left,
            next_at,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(mut suspicion: Suspicion) -> Vec<u64> {
        let mut sent = Vec::new();
        loop {
            let at = suspicion.next_at();
            sent.push(at.as_millis());
            match suspicion.after_probe(at) {
                Some(next) => suspicion = next,
                None => return sent,
            }
        }
    }

    #[test]
    fn a_request_is_five_probes_in_200_ms() {
        let sent = moments(Suspicion::on_request(Moment::from_millis(1_000)));
        assert_eq!(sent, [1_000, 1_050, 1_100, 1_150, 1_200]);
    }

    #[test]
    fn after_a_loss_the_burst_is_followed_by_a_watch_of_four_seconds() {
        let sent = moments(Suspicion::on_loss(
            Moment::from_millis(950),
            Moment::from_millis(1_000),
        ));
        assert_eq!(sent[..6], [1_000, 1_050, 1_100, 1_150, 1_250, 1_350]);
        assert_eq!(sent.last(), Some(&4_950));
        assert_eq!(sent.len(), 42);
    }

    #[test]
    fn a_stall_makes_no_burst_of_its_own() {
        let suspicion = Suspicion::on_loss(Moment::ORIGIN, Moment::ORIGIN);
        let next = suspicion.after_probe(Moment::from_millis(900)).unwrap();
        assert_eq!(next.next_at(), Moment::from_millis(950));
    }

    #[test]
    fn a_requested_burst_that_finds_a_loss_goes_on_and_does_not_begin_again() {
        let now = Moment::from_millis(1_000);
        let asked = Suspicion::on_request(now).after_probe(now).unwrap();
        let extended = asked.extended(now);
        assert_eq!(extended.next_at(), asked.next_at());
        assert_eq!(moments(extended).last(), Some(&5_000));
    }
}
