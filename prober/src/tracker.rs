//! What a path's last probes say: losses in a row, since when, and when it last gave a sign of life.
//!
//! Outcomes arrive in the order in which they become known, which is not the order in which probes were sent: a probe
//! that was sent later may be answered before an earlier one times out. A loss that is older than the last answered
//! probe is a loss, but not the beginning of a row of losses.

use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::time::Moment;
use meshprobe_core::window::Failing;

/// What an outcome changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// The path answers as before, or the outcome says nothing about it.
    Steady,
    /// The path answered until now: the first loss of a row.
    FirstLoss,
    /// Another loss in a row.
    Losing {
        /// Losses in a row so far.
        consecutive: u32,
    },
    /// The path answers again.
    Recovered {
        /// Losses in a row before.
        after: u32,
    },
}

/// The recent history of one path.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathTracker {
    consecutive_losses: u32,
    first_loss_at: Option<Moment>,
    last_reply_at: Option<Moment>,
    last_heard_at: Option<Moment>,
    /// When the newest answered probe had been sent.
    answered_up_to: Option<Moment>,
    last_failure: Option<OutcomeClass>,
    /// A report said that it fails; the next one has to say that it does not any more.
    reported_failing: bool,
}

impl PathTracker {
    /// A probe ended. `sent_at` is when it was sent, `at` when its end became known.
    pub fn handle_outcome(
        &mut self,
        class: OutcomeClass,
        sent_at: Moment,
        at: Moment,
    ) -> Transition {
        match class {
            OutcomeClass::Invalid => Transition::Steady,
            OutcomeClass::Reply => self.handle_alive(sent_at, at),
            OutcomeClass::Late => {
                self.last_failure = Some(OutcomeClass::Late);
                self.handle_alive(sent_at, at)
            }
            _ => self.handle_loss(class, sent_at),
        }
    }

    /// The target gave a sign of life in answer to a probe that was sent at `sent_at`, whatever that is worth as a
    /// measurement.
    pub fn handle_alive(&mut self, sent_at: Moment, at: Moment) -> Transition {
        self.last_reply_at = self.last_reply_at.max(Some(at));
        self.answered_up_to = self.answered_up_to.max(Some(sent_at));
        self.first_loss_at = None;
        match std::mem::take(&mut self.consecutive_losses) {
            0 => Transition::Steady,
            after => Transition::Recovered { after },
        }
    }

    /// A probe of the target itself arrived here.
    pub fn handle_heard(&mut self, at: Moment) {
        self.last_heard_at = self.last_heard_at.max(Some(at));
    }

    /// A report that carries [`Self::failing`] is on its way.
    pub fn mark_reported(&mut self) {
        self.reported_failing = self.consecutive_losses > 0;
    }

    /// Does the path lose its probes?
    pub const fn is_failing(&self) -> bool {
        self.consecutive_losses > 0
    }

    /// Losses in a row.
    pub const fn consecutive_losses(&self) -> u32 {
        self.consecutive_losses
    }

    /// When the first probe of the row of losses was sent.
    pub const fn first_loss_at(&self) -> Option<Moment> {
        self.first_loss_at
    }

    /// Has it recovered without a report having said so?
    pub const fn is_recovery_unreported(&self) -> bool {
        self.reported_failing && self.consecutive_losses == 0
    }

    /// What a report that ends at `end` has to say about a failure or its end.
    pub fn failing(&self, end: Moment) -> Option<Failing> {
        (self.consecutive_losses > 0 || self.reported_failing).then(|| self.testimony(end))
    }

    /// All that is known of the path at `end`, whether it fails or not.
    pub fn testimony(&self, end: Moment) -> Failing {
        Failing {
            consecutive_losses: self.consecutive_losses,
            first_loss_age: end.saturating_since(self.first_loss_at.unwrap_or(end)),
            last_reply_age: self.last_reply_at.map(|at| end.saturating_since(at)),
            last_heard_age: self.last_heard_at.map(|at| end.saturating_since(at)),
            last_outcome: match self.last_failure {
                Some(class) if self.consecutive_losses > 0 => class,
                _ => OutcomeClass::Reply,
            },
        }
    }

    fn handle_loss(&mut self, class: OutcomeClass, sent_at: Moment) -> Transition {
        if self
            .answered_up_to
            .is_some_and(|answered| sent_at < answered)
        {
            return Transition::Steady;
        }
        self.last_failure = Some(class);
        self.consecutive_losses = self.consecutive_losses.saturating_add(1);
        let first = self
            .first_loss_at
            .map_or(sent_at, |first| first.min(sent_at));
        self.first_loss_at = Some(first);
        match self.consecutive_losses {
            1 => Transition::FirstLoss,
            consecutive => Transition::Losing { consecutive },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const fn ms(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn a_row_of_losses_has_a_beginning_a_length_and_an_end() {
        let mut path = PathTracker::default();
        assert_eq!(
            path.handle_outcome(OutcomeClass::Reply, ms(0), ms(1)),
            Transition::Steady
        );
        assert_eq!(path.failing(ms(2)), None);
        assert_eq!(
            path.handle_outcome(OutcomeClass::Timeout, ms(1_000), ms(1_050)),
            Transition::FirstLoss
        );
        assert_eq!(
            path.handle_outcome(OutcomeClass::Refused, ms(1_060), ms(1_061)),
            Transition::Losing { consecutive: 2 }
        );
        let failing = path.failing(ms(1_100)).unwrap();
        assert_eq!(failing.consecutive_losses, 2);
        assert_eq!(failing.first_loss_age, Duration::from_millis(100));
        assert_eq!(failing.last_reply_age, Some(Duration::from_millis(1_099)));
        assert_eq!(failing.last_outcome, OutcomeClass::Refused);
        assert_eq!(
            path.handle_outcome(OutcomeClass::Reply, ms(1_110), ms(1_111)),
            Transition::Recovered { after: 2 }
        );
    }

    #[test]
    fn a_recovery_is_told_once_and_only_if_the_failure_was() {
        let mut path = PathTracker::default();
        path.handle_outcome(OutcomeClass::Timeout, ms(0), ms(50));
        path.handle_outcome(OutcomeClass::Reply, ms(60), ms(61));
        assert_eq!(path.failing(ms(70)), None, "nobody heard of it");

        path.handle_outcome(OutcomeClass::Timeout, ms(100), ms(150));
        path.mark_reported();
        path.handle_outcome(OutcomeClass::Reply, ms(160), ms(161));
        assert_eq!(path.failing(ms(170)).unwrap().consecutive_losses, 0);
        path.mark_reported();
        assert_eq!(path.failing(ms(180)), None);
    }

    #[test]
    fn a_loss_older_than_the_last_answered_probe_begins_no_row() {
        let mut path = PathTracker::default();
        path.handle_outcome(OutcomeClass::Reply, ms(100), ms(101));
        assert_eq!(
            path.handle_outcome(OutcomeClass::Timeout, ms(60), ms(110)),
            Transition::Steady
        );
        assert!(!path.is_failing());
    }

    #[test]
    fn a_late_answer_proves_that_the_path_works() {
        let mut path = PathTracker::default();
        path.handle_outcome(OutcomeClass::Timeout, ms(0), ms(50));
        assert_eq!(
            path.handle_outcome(OutcomeClass::Late, ms(0), ms(800)),
            Transition::Recovered { after: 1 }
        );
    }

    #[test]
    fn an_invalid_probe_says_nothing() {
        let mut path = PathTracker::default();
        path.handle_outcome(OutcomeClass::Timeout, ms(0), ms(50));
        assert_eq!(
            path.handle_outcome(OutcomeClass::Invalid, ms(60), ms(61)),
            Transition::Steady
        );
        assert_eq!(path.consecutive_losses(), 1);
    }

    proptest! {
        #[test]
        fn the_row_of_losses_is_what_follows_the_last_answer(answers in prop::collection::vec(any::<bool>(), 1..200)) {
            let mut path = PathTracker::default();
            for (i, answered) in answers.iter().enumerate() {
                let class = if *answered { OutcomeClass::Reply } else { OutcomeClass::Timeout };
                let sent = ms(i as u64 * 100);
                path.handle_outcome(class, sent, sent + Duration::from_millis(50));
            }
            let row = answers.iter().rev().take_while(|answered| !**answered).count();
            prop_assert_eq!(path.consecutive_losses() as usize, row);
            prop_assert_eq!(path.failing(ms(1 << 20)).is_some(), row > 0);
        }
    }
}
