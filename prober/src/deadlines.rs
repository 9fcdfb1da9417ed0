//! When probes time out: a wheel of short buckets.
//!
//! Nearly every probe is answered before its time, so nothing is ever taken out early: an entry is looked at when its
//! bucket is due, and whoever asks knows by then whether the probe was answered. Adding costs a push.

use std::collections::VecDeque;

use meshprobe_core::stamp::Sequence;
use meshprobe_core::time::Moment;

use crate::path_id::PathId;

/// Time of one bucket: what is due within it is due at its end.
const BUCKET_NANOS: u64 = 10_000_000;

/// Nothing is put further away than this: the longest wait for an answer, and a stall's grace.
const MAX_BUCKETS: u64 = 500;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Deadlines {
    /// Number of the first bucket, in buckets since the origin.
    first: u64,
    buckets: VecDeque<Vec<(PathId, Sequence)>>,
    /// Entries in all buckets.
    length: usize,
    /// Emptied buckets, to be used again.
    spare: Vec<Vec<(PathId, Sequence)>>,
}

impl Deadlines {
    /// No probe is under way.
    pub fn new() -> Self {
        Self::default()
    }

    /// A probe is to be looked at when `deadline` is over.
    pub fn push(&mut self, path: PathId, sequence: Sequence, deadline: Moment) {
        let number = deadline.as_nanos().div_ceil(BUCKET_NANOS);
        if self.buckets.is_empty() {
            self.first = number;
        }
        while number < self.first && (self.buckets.len() as u64) < MAX_BUCKETS {
            self.buckets
                .push_front(self.spare.pop().unwrap_or_default());
            self.first -= 1;
        }
        // Too far away: the nearest one there is.
        let index = number.saturating_sub(self.first).min(MAX_BUCKETS) as usize;
        while self.buckets.len() <= index {
            self.buckets.push_back(self.spare.pop().unwrap_or_default());
        }
        self.buckets[index].push((path, sequence));
        self.length += 1;
    }

    /// The next probe whose time is over.
    pub fn pop_due(&mut self, now: Moment) -> Option<(PathId, Sequence)> {
        while let Some(bucket) = self.buckets.front_mut()
            && self.first <= now.as_nanos() / BUCKET_NANOS
        {
            if let Some(entry) = bucket.pop() {
                self.length -= 1;
                return Some(entry);
            }
            self.spare.extend(self.buckets.pop_front());
            self.first += 1;
        }
        None
    }

    /// When the next probe has to be looked at.
    pub fn next_due(&self) -> Option<Moment> {
        let ahead = self.buckets.iter().position(|bucket| !bucket.is_empty())? as u64;
        Some(Moment::from_nanos((self.first + ahead) * BUCKET_NANOS))
    }

    /// Entries, answered or not.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Is there nothing to look at?
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_due_before_its_time_and_everything_is_at_the_end_of_its_bucket() {
        let mut deadlines = Deadlines::new();
        let path = PathId::for_test(1);
        deadlines.push(path, Sequence(1), Moment::from_millis(55));
        assert_eq!(deadlines.next_due(), Some(Moment::from_millis(60)));
        assert_eq!(deadlines.pop_due(Moment::from_millis(59)), None);
        assert_eq!(
            deadlines.pop_due(Moment::from_millis(60)),
            Some((path, Sequence(1)))
        );
        assert_eq!(deadlines.next_due(), None);
        assert!(deadlines.is_empty());
    }

    proptest! {
        #[test]
        fn every_entry_comes_out_once_and_not_early(waits in prop::collection::vec((0_u64..30, 0_u64..2_000), 1..300)) {
            let mut deadlines = Deadlines::new();
            let mut now = 0;
            let mut open = std::collections::BTreeMap::new();
            for (number, (pause, wait)) in waits.into_iter().enumerate() {
                now += pause;
                deadlines.push(PathId::for_test(0), Sequence(number as u32), Moment::from_millis(now + wait));
                open.insert(number as u32, now + wait);
                while let Some((_, sequence)) = deadlines.pop_due(Moment::from_millis(now)) {
                    let due = open.remove(&sequence.0);
                    prop_assert!(due.is_some_and(|due| due <= now));
                }
                prop_assert_eq!(deadlines.len(), open.len());
                prop_assert!(open.values().all(|due| due + 10 > now));
            }
            let rest = std::iter::from_fn(|| deadlines.pop_due(Moment::from_millis(now + 10_000))).count();
            prop_assert_eq!(rest, open.len());
        }
    }
}
