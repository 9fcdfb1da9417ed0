//! What happens when: events in the order of virtual time, those of one moment in the order in which they were planned.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use meshprobe_core::time::Moment;

/// Planned events.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    heap: BinaryHeap<Planned<E>>,
    planned: u64,
}

#[derive(Debug)]
struct Planned<E> {
    at: Moment,
    number: u64,
    event: E,
}

impl<E> Agenda<E> {
    /// Nothing is planned.
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            planned: 0,
        }
    }

    /// Plans an event.
    pub(crate) fn plan(&mut self, at: Moment, event: E) {
        self.planned += 1;
        self.heap.push(Planned {
            at,
            number: self.planned,
            event,
        });
    }

    /// Takes out the next event that happens before `end`.
    pub(crate) fn next_before(&mut self, end: Moment) -> Option<(Moment, E)> {
        if self.heap.peek()?.at >= end {
            return None;
        }
        self.heap.pop().map(|planned| (planned.at, planned.event))
    }
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self::new()
    }
}

// Reversed: the heap gives its largest element first.
impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Planned<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_moment_keep_the_order_in_which_they_were_planned() {
        let mut agenda = Agenda::new();
        for (at, name) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            agenda.plan(Moment::from_millis(at), name);
        }
        let end = Moment::from_millis(6);
        let order: String = std::iter::from_fn(|| agenda.next_before(end))
            .map(|(_, name)| name)
            .collect();
        assert_eq!(order, "abcd");
    }

    #[test]
    fn what_lies_beyond_the_end_stays_planned() {
        let mut agenda = Agenda::new();
        agenda.plan(Moment::from_millis(5), ());
        assert!(agenda.next_before(Moment::from_millis(5)).is_none());
        assert!(agenda.next_before(Moment::from_millis(6)).is_some());
    }
}
