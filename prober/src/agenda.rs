//! Paths with a due time: the next one first, any of them movable or removable.
//!
//! A heap whose stale entries are skipped, not removed: moving a path costs a push. The table beside it says which
//! entry of a path counts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use meshprobe_core::time::Moment;

use crate::path_id::PathId;

/// Stale entries that are put up with beside the valid ones.
const SLACK: usize = 64;

/// What is due when. Each path is there at most once.
#[derive(Clone, Debug, Default)]
pub struct Agenda {
    // Invariants: the first entry of `heap` is valid, that is, in `dues`; every entry of `dues` is in `heap`.
    heap: BinaryHeap<Reverse<(Moment, PathId)>>,
    dues: Vec<Option<(Moment, PathId)>>,
    length: usize,
}

impl Agenda {
    /// Nothing is due.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `path` at `due`, wherever it was before.
    pub fn set(&mut self, path: PathId, due: Moment) {
        if self.dues.len() <= path.slot() {
            self.dues.resize(path.slot() + 1, None);
        }
        let place = &mut self.dues[path.slot()];
        self.length += usize::from(place.is_none());
        *place = Some((due, path));
        self.heap.push(Reverse((due, path)));
        self.tidy();
    }

    /// Takes `path` out, if it is there.
    pub fn remove(&mut self, path: PathId) {
        let Some(place) = self.dues.get_mut(path.slot()) else {
            return;
        };
        if place.is_some_and(|(_, known)| known == path) {
            *place = None;
            self.length -= 1;
            self.tidy();
        }
    }

    /// Takes out the first path that is due at `now`.
    pub fn pop_due(&mut self, now: Moment) -> Option<(Moment, PathId)> {
        let (due, path) = self.heap.peek()?.0;
        if due > now {
            return None;
        }
        self.heap.pop();
        self.dues[path.slot()] = None;
        self.length -= 1;
        self.tidy();
        Some((due, path))
    }

    /// When the first path is due.
    pub fn next_due(&self) -> Option<Moment> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }

    /// Is nothing due, ever?
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Restores the invariant that the first entry counts, and keeps the stale ones in bounds.
    fn tidy(&mut self) {
        while let Some(Reverse(entry)) = self.heap.peek()
            && self.dues[entry.1.slot()] != Some(*entry)
        {
            self.heap.pop();
        }
        if self.heap.len() > 2 * self.length + SLACK {
            self.heap = self
                .dues
                .iter()
                .flatten()
                .map(|entry| Reverse(*entry))
                .collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn path(number: u32) -> PathId {
        PathId::for_test(number)
    }

    #[test]
    fn a_moved_path_is_due_once_and_at_its_new_time() {
        let mut agenda = Agenda::new();
        agenda.set(path(1), Moment::from_millis(10));
        agenda.set(path(2), Moment::from_millis(20));
        agenda.set(path(1), Moment::from_millis(30));
        assert_eq!(agenda.next_due(), Some(Moment::from_millis(20)));
        let now = Moment::from_millis(40);
        assert_eq!(agenda.pop_due(now).map(|(_, path)| path), Some(path(2)));
        assert_eq!(agenda.pop_due(now).map(|(_, path)| path), Some(path(1)));
        assert_eq!(agenda.pop_due(now), None);
        assert!(agenda.is_empty());
    }

    #[test]
    fn a_path_in_the_slot_of_one_that_is_gone_is_another_one() {
        let mut agenda = Agenda::new();
        agenda.set(PathId::new(1, 0), Moment::from_millis(10));
        agenda.set(PathId::new(1, 1), Moment::from_millis(20));
        agenda.remove(PathId::new(1, 0));
        assert_eq!(agenda.next_due(), Some(Moment::from_millis(20)));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_table(events in prop::collection::vec((0_u32..8, 0_u64..100, 0_u8..4), 1..500)) {
            let mut agenda = Agenda::new();
            let mut table: BTreeMap<u32, u64> = BTreeMap::new();
            for (number, millis, event) in events {
                match event {
                    0 | 1 => {
                        agenda.set(path(number), Moment::from_millis(millis));
                        table.insert(number, millis);
                    }
                    2 => {
                        agenda.remove(path(number));
                        table.remove(&number);
                    }
                    _ => {
                        let first = table.iter().map(|(n, at)| (*at, *n)).min().filter(|(at, _)| *at <= millis);
                        let popped = agenda.pop_due(Moment::from_millis(millis));
                        prop_assert_eq!(popped, first.map(|(at, n)| (Moment::from_millis(at), path(n))));
                        if let Some((_, n)) = first {
                            table.remove(&n);
                        }
                    }
                }
                let next = table.values().min().copied().map(Moment::from_millis);
                prop_assert_eq!(agenda.next_due(), next);
                prop_assert_eq!(agenda.is_empty(), table.is_empty());
                prop_assert!(agenda.heap.len() <= 2 * table.len() + SLACK);
            }
        }
    }
}
