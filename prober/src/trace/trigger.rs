//! Which failing paths are traced. A trace is worth most right after a failure, and a whole zone that fails is explained by
//! a few of them.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use meshprobe_core::path::ProbeKind;
use meshprobe_core::time::Moment;

use crate::path_id::PathId;
use crate::tracker::Transition;

/// Losses in a row that confirm a failure.
const CONFIRMED: u32 = 4;

/// Time between two traces of one path.
pub const COOLDOWN: Duration = Duration::from_secs(60);

/// Traces under way at once.
pub const MAX_UNDER_WAY: usize = 4;

/// Traces in a minute.
pub const MAX_A_MINUTE: usize = 20;

const MINUTE: Duration = Duration::from_secs(60);

/// Is this a loss that wants a trace? The fourth in a row, then the eighth, the sixteenth and so on: a failure that lasts
/// is looked at again, ever more rarely.
pub const fn is_wanted(kind: ProbeKind, transition: Transition) -> bool {
    match transition {
        Transition::Losing { consecutive } => {
            kind.is_vital() && consecutive >= CONFIRMED && consecutive.is_power_of_two()
        }
        _ => false,
    }
}

/// A path that wants a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which one.
    pub path: PathId,
    /// The source port of the flow that fails; `None`: it fails from any port, or nobody knows.
    pub source_port: Option<u16>,
}

/// The limits.
#[derive(Clone, Debug, Default)]
pub struct Trigger {
    /// When paths were traced, within the cooldown.
    traced: HashMap<PathId, Moment>,
    /// When traces began, within a minute.
    begun: VecDeque<Moment>,
    under_way: usize,
}

impl Trigger {
    /// May this path be traced now? `true` counts as begun.
    pub fn begin(&mut self, path: PathId, now: Moment) -> bool {
        self.traced
            .retain(|_, at| now.saturating_since(*at) < COOLDOWN);
        while self
            .begun
            .front()
            .is_some_and(|at| now.saturating_since(*at) >= MINUTE)
        {
            self.begun.pop_front();
        }
        let refused = self.under_way >= MAX_UNDER_WAY
            || self.begun.len() >= MAX_A_MINUTE
            || self.traced.contains_key(&path);
        if refused {
            return false;
        }
        self.traced.insert(path, now);
        self.begun.push_back(now);
        self.under_way += 1;
        true
    }

    /// A trace has ended.
    pub fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn second(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1_000)
    }

    #[test]
    fn the_fourth_loss_in_a_row_of_a_vital_path_wants_a_trace() {
        let wanted = |kind| -> Vec<u32> {
            (1..70)
                .filter(|n| is_wanted(kind, Transition::Losing { consecutive: *n }))
                .collect()
        };
        assert_eq!(wanted(ProbeKind::Udp), [4, 8, 16, 32, 64]);
        assert_eq!(wanted(ProbeKind::Tcp), [4, 8, 16, 32, 64]);
        assert_eq!(wanted(ProbeKind::Mtu), [0; 0]);
        assert!(!is_wanted(ProbeKind::Udp, Transition::FirstLoss));
    }

    #[test]
    fn a_path_is_traced_once_a_minute() {
        let mut trigger = Trigger::default();
        let path = PathId::for_test(1);
        let begun: Vec<u64> = (0..130)
            .filter(|now| {
                let begins = trigger.begin(path, second(*now));
                if begins {
                    trigger.end();
                }
                begins
            })
            .collect();
        assert_eq!(begun, [0, 60, 120]);
    }

    #[test]
    fn no_more_than_four_are_under_way_and_no_more_than_twenty_begin_in_a_minute() {
        let mut trigger = Trigger::default();
        let begin = |trigger: &mut Trigger, now| {
            (0..100)
                .filter(|slot| trigger.begin(PathId::for_test(*slot), now))
                .count()
        };
        assert_eq!(begin(&mut trigger, second(0)), MAX_UNDER_WAY);
        let mut total = MAX_UNDER_WAY;
        for now in 1..50 {
            for _ in 0..MAX_UNDER_WAY {
                trigger.end();
            }
            total += begin(&mut trigger, second(now));
        }
        assert_eq!(total, MAX_A_MINUTE);
    }
}
