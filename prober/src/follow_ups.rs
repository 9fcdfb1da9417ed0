//! The extra probes of slow kinds after a first loss: a lost packet or a dead path?

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use meshprobe_core::time::Moment;

use crate::path_id::PathId;
use crate::tracker::Transition;

/// Time between the end of a lost probe and the one that follows it.
pub const SPACING: Duration = Duration::from_millis(250);

/// Which paths are probed again, and when.
#[derive(Clone, Debug)]
pub struct FollowUps {
    probes: u8,
    left: HashMap<PathId, u8>,
    due: BTreeSet<(Moment, PathId)>,
}

impl FollowUps {
    /// At most `probes` follow a first loss.
    pub fn new(probes: u8) -> Self {
        Self {
            probes,
            left: HashMap::new(),
            due: BTreeSet::new(),
        }
    }

    /// A probe of the path changed this. An answer ends the suspicion; a further loss uses up one follow-up.
    pub fn handle(&mut self, path: PathId, transition: Transition, now: Moment) {
        match transition {
            Transition::FirstLoss => {
                self.left.insert(path, self.probes);
                self.next(path, now);
            }
            Transition::Losing { .. } => self.next(path, now),
            Transition::Recovered { .. } => self.forget(path),
            Transition::Steady => {}
        }
    }

    fn next(&mut self, path: PathId, now: Moment) {
        if self.due.iter().any(|(_, waiting)| *waiting == path) {
            return;
        }
        match self.left.get_mut(&path) {
            Some(left) if *left > 0 => {
                *left -= 1;
                self.due.insert((now + SPACING, path));
            }
            _ => {
                self.left.remove(&path);
            }
        }
    }

    /// The path is gone, or answers.
    pub fn forget(&mut self, path: PathId) {
        if self.left.remove(&path).is_some() {
            self.due.retain(|(_, waiting)| *waiting != path);
        }
    }

    /// Takes out a path whose follow-up is due.
    pub fn pop_due(&mut self, now: Moment) -> Option<PathId> {
        let first = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.due.remove(&first);
        Some(first.1)
    }

    /// When the first one is due.
    pub fn next_due(&self) -> Option<Moment> {
        self.due.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn a_first_loss_is_followed_up_three_times_and_no_more() {
        let path = PathId::new(0, 0);
        let mut follow_ups = FollowUps::new(3);
        follow_ups.handle(path, Transition::FirstLoss, ms(0));
        let mut probes = 0;
        let mut now = ms(0);
        while let Some(due) = follow_ups.next_due() {
            now = due;
            assert_eq!(follow_ups.pop_due(now), Some(path));
            probes += 1;
            let consecutive = probes + 1;
            follow_ups.handle(path, Transition::Losing { consecutive }, now);
        }
        assert_eq!((probes, now), (3, ms(750)));
        follow_ups.handle(path, Transition::Losing { consecutive: 5 }, now);
        assert_eq!(follow_ups.next_due(), None);
    }

    #[test]
    fn an_answer_ends_it() {
        let path = PathId::new(0, 0);
        let mut follow_ups = FollowUps::new(3);
        follow_ups.handle(path, Transition::FirstLoss, ms(0));
        follow_ups.handle(path, Transition::Recovered { after: 1 }, ms(10));
        assert_eq!(follow_ups.next_due(), None);
        assert_eq!(follow_ups.pop_due(ms(1_000)), None);
    }

    #[test]
    fn a_kind_that_confirms_itself_is_not_followed_up() {
        let mut follow_ups = FollowUps::new(0);
        follow_ups.handle(PathId::new(0, 0), Transition::FirstLoss, ms(0));
        assert_eq!(follow_ups.next_due(), None);
    }
}
