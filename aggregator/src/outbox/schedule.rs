//! When a notification is tried again. Pure: random numbers and times are handed in.

use std::time::Duration;

use rand::{Rng, RngExt as _};

use crate::receiver::Attempt;

/// Waits after the first, second, … failed attempt; the last one repeats.
const WAITS: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(300),
    Duration::from_secs(900),
    Duration::from_secs(1800),
    Duration::from_secs(3600),
];

/// A receiver that says no this often means it: eight minutes are enough to mend a wrong token, and for ever is noise.
const MAX_REFUSALS: u32 = 5;

/// What to do after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The receiver has it.
    Done,
    /// Try again after this time.
    Retry(Duration),
    /// Stop trying; the text says why.
    GiveUp(String),
}

/// Decides after attempt number `attempts` (1, 2, …) of a notification that is `age` old; `refusals` of them were
/// refusals, this one included.
pub(super) fn after(
    attempt: &Attempt,
    attempts: u32,
    refusals: u32,
    age: Duration,
    give_up_after: Duration,
    rng: &mut impl Rng,
) -> Next {
    let (reason, asked) = match attempt {
        Attempt::Delivered { .. } => return Next::Done,
        Attempt::Refused { reason } if refusals >= MAX_REFUSALS => {
            return Next::GiveUp(format!("refused {refusals} times: {reason}"));
        }
        Attempt::Refused { reason } => (reason, None),
        Attempt::Later { reason, after } => (reason, *after),
    };
    let planned = wait(attempts, rng);
    let wait = asked.map_or(planned, |asked| asked.max(planned));
    if age + wait > give_up_after {
        return Next::GiveUp(format!("no success within {give_up_after:?}: {reason}"));
    }
    Next::Retry(wait)
}

/// Up to a fifth shorter, so that the messages that failed together do not come back together.
fn wait(attempts: u32, rng: &mut impl Rng) -> Duration {
    let index = (attempts.max(1) as usize - 1).min(WAITS.len() - 1);
    WAITS[index].mul_f64(rng.random_range(0.8..=1.0))
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn later(after: Option<Duration>) -> Attempt {
        Attempt::Later {
            reason: "503".to_owned(),
            after,
        }
    }

    fn decide(attempt: &Attempt, attempts: u32, age: Duration) -> Next {
        let refusals = if matches!(attempt, Attempt::Refused { .. }) {
            attempts
        } else {
            0
        };
        after(
            attempt,
            attempts,
            refusals,
            age,
            DAY,
            &mut StdRng::seed_from_u64(1),
        )
    }

    #[test]
    fn waits_grow_to_an_hour_and_stay_there() {
        for (attempts, most) in [(1, 5), (2, 30), (3, 120), (4, 300), (7, 3600), (50, 3600)] {
            let Next::Retry(wait) = decide(&later(None), attempts, Duration::ZERO) else {
                panic!("attempt {attempts}")
            };
            let most = Duration::from_secs(most);
            assert!(
                wait <= most && wait >= most.mul_f64(0.8),
                "attempt {attempts}: {wait:?}"
            );
        }
    }

    #[test]
    fn a_receiver_that_asks_for_more_time_gets_it_and_less_changes_nothing() {
        let minute = Duration::from_secs(60);
        assert_eq!(
            decide(&later(Some(minute)), 1, Duration::ZERO),
            Next::Retry(minute)
        );
        let Next::Retry(wait) = decide(&later(Some(Duration::from_secs(1))), 2, Duration::ZERO)
        else {
            panic!()
        };
        assert!(wait >= Duration::from_secs(24));
    }

    #[test]
    fn a_refusal_is_believed_after_five_tries_and_an_outage_only_after_its_time() {
        let refused = Attempt::Refused {
            reason: "401".to_owned(),
        };
        assert!(matches!(
            decide(&refused, 4, Duration::ZERO),
            Next::Retry(_)
        ));
        assert_eq!(
            decide(&refused, 5, Duration::ZERO),
            Next::GiveUp("refused 5 times: 401".to_owned())
        );
        assert!(matches!(decide(&later(None), 500, DAY / 2), Next::Retry(_)));
        assert!(matches!(decide(&later(None), 500, DAY), Next::GiveUp(_)));
    }

    #[test]
    fn a_success_ends_it() {
        let delivered = Attempt::Delivered {
            answer: "200 OK".to_owned(),
        };
        assert_eq!(decide(&delivered, 1, Duration::ZERO), Next::Done);
    }
}
