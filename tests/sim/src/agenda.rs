//! What happens when: events in the order of virtual time. Of those of one moment the early ones come first (a slot of a
//! prober's engine: what arrived in it is known to everything else that happens at its end), then the others, each in the
//! order in which they were planned.
//!
//! A calendar: the events of each of the next thousand milliseconds are kept unordered in one place each, and ordered when
//! their millisecond comes. A heap of all of them would be walked through for every event, in memory that is not at
//! hand.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use meshprobe_core::time::Moment;

/// A day of the calendar: 2^20 ns, about a millisecond.
const DAY_BITS: u32 = 20;
/// Days that have a place of their own. A power of two.
const DAYS: u64 = 1_024;

/// Planned events.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    /// The day that is being worked off.
    today: u64,
    /// What is left of today, and what was planned for it or for days before it meanwhile.
    now: BinaryHeap<Planned<E>>,
    /// Days after today, each at its number modulo [`DAYS`].
    days: Vec<Vec<Planned<E>>>,
    /// Events in `days`.
    near: usize,
    /// Days beyond those.
    far: BinaryHeap<Planned<E>>,
    planned: u64,
}

#[derive(Debug)]
struct Planned<E> {
    at: Moment,
    order: u64,
    event: E,
}

/// Added to the order of those that are not early.
const LATE: u64 = 1 << 63;

impl<E> Agenda<E> {
    /// Nothing is planned.
    pub(crate) fn new() -> Self {
        Self {
            today: 0,
            now: BinaryHeap::new(),
            days: std::iter::repeat_with(Vec::new)
                .take(DAYS as usize)
                .collect(),
            near: 0,
            far: BinaryHeap::new(),
            planned: 0,
        }
    }

    /// Plans an event.
    pub(crate) fn plan(&mut self, at: Moment, event: E) {
        let order = LATE + self.planned;
        self.insert(Planned { at, order, event });
    }

    /// Plans an event that comes before the others of its moment.
    pub(crate) fn plan_early(&mut self, at: Moment, event: E) {
        let order = self.planned;
        self.insert(Planned { at, order, event });
    }

    fn insert(&mut self, planned: Planned<E>) {
        self.planned += 1;
        let day = day(planned.at);
        if day <= self.today {
            self.now.push(planned);
        } else if day < self.today + DAYS {
            self.days[(day % DAYS) as usize].push(planned);
            self.near += 1;
        } else {
            self.far.push(planned);
        }
    }

    /// Takes out the next event that happens before `end`.
    pub(crate) fn next_before(&mut self, end: Moment) -> Option<(Moment, E)> {
        while self.now.is_empty() {
            if self.near == 0 {
                // Nothing for a second: to the next day that has something.
                let next = day(self.far.peek()?.at);
                self.today = next.max(self.today + 1) - 1;
            }
            if self.today >= day(end) {
                return None;
            }
            self.today += 1;
            while self
                .far
                .peek()
                .is_some_and(|first| day(first.at) < self.today + DAYS)
            {
                let Some(planned) = self.far.pop() else { break };
                self.days[(day(planned.at) % DAYS) as usize].push(planned);
                self.near += 1;
            }
            let events = &mut self.days[(self.today % DAYS) as usize];
            self.near -= events.len();
            self.now.extend(events.drain(..));
        }
        if self.now.peek()?.at >= end {
            return None;
        }
        self.now.pop().map(|planned| (planned.at, planned.event))
    }
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self::new()
    }
}

const fn day(at: Moment) -> u64 {
    at.as_nanos() >> DAY_BITS
}

// Reversed: the heap gives its largest element first.
impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
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
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;
    use crate::chance::Chance;

    #[test]
    fn events_of_one_moment_keep_their_order_and_the_early_ones_come_first() {
        let mut agenda = Agenda::new();
        for (at, name) in [(5, 'd'), (1, 'a'), (5, 'e'), (1, 'b')] {
            agenda.plan(Moment::from_millis(at), name);
        }
        agenda.plan_early(Moment::from_millis(5), 'c');
        let end = Moment::from_millis(6);
        let order: String = std::iter::from_fn(|| agenda.next_before(end))
            .map(|(_, name)| name)
            .collect();
        assert_eq!(order, "abcde");
    }

    #[test]
    fn what_lies_beyond_the_end_stays_planned() {
        let mut agenda = Agenda::new();
        agenda.plan(Moment::from_millis(5), ());
        assert!(agenda.next_before(Moment::from_millis(5)).is_none());
        assert!(agenda.next_before(Moment::from_millis(6)).is_some());
    }

    #[test]
    fn it_agrees_with_a_sorted_table_over_milliseconds_and_hours() {
        let mut agenda = Agenda::new();
        let mut table = BTreeSet::new();
        let mut chance = Chance::new(5);
        let (mut now, mut number) = (Moment::ORIGIN, 0_u64);
        for round in 0..20_000_u64 {
            let spans = [0, 3, 300, 2_000, 20_000, 7_200_000].map(Duration::from_millis);
            for _ in 0..chance.index(4) {
                let span = spans[chance.index(spans.len())];
                let at = now + chance.within(span);
                agenda.plan(at, number);
                table.insert((at, number));
                number += 1;
            }
            let span = spans[chance.index(5)];
            let end = now + chance.within(span);
            while let Some((at, event)) = agenda.next_before(end) {
                assert_eq!(table.pop_first(), Some((at, event)), "{round}");
            }
            assert!(table.first().is_none_or(|(at, _)| *at >= end), "{round}");
            now = end;
        }
        assert!(number > 20_000);
    }
}
