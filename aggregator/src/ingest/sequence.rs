//! Which reports of one prober's start were taken: each exactly once, in whatever order they arrive.
//!
//! Reports come in order on one stream; on two streams, and after a reconnect, they come twice and out of order. What is
//! kept is the end of the gap-free beginning, and the few ranges past it.

/// Most ranges past the gap-free beginning. A prober that leaves more gaps than that numbers its reports wrongly.
const MAX_RANGES: usize = 256;

/// The sequence number cannot be kept: there are too many gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyGaps;

/// Sequence numbers that were taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct SequenceSet {
    /// Everything up to here counts as taken; `None`: nothing is known yet.
    base: Option<u64>,
    /// Was everything up to the base really taken? If not, this process first met the prober in the middle of its
    /// numbers, and a smaller number that is not in the ranges is new.
    is_exact: bool,
    /// Disjoint, ascending, not adjacent.
    ranges: Vec<(u64, u64)>,
}

impl SequenceSet {
    /// Goes on where a former process stopped: everything up to `through` was taken.
    pub(crate) fn resume(through: u64) -> Self {
        Self {
            base: Some(through),
            is_exact: true,
            ranges: Vec::new(),
        }
    }

    /// Was this one taken?
    pub(crate) fn contains(&self, sequence: u64) -> bool {
        let below = self.is_exact && self.base.is_some_and(|base| sequence <= base);
        below || self.position(sequence).is_ok()
    }

    /// Takes one that was not taken before.
    pub(crate) fn take(&mut self, sequence: u64) -> Result<(), TooManyGaps> {
        if self.base.is_none() {
            self.base = Some(sequence.saturating_sub(1));
            self.is_exact = sequence <= 1;
        }
        if self.contains(sequence) {
            return Ok(());
        }
        let next = self.ranges.partition_point(|(start, _)| *start <= sequence);
        let joins_left = next > 0 && self.ranges[next - 1].1.checked_add(1) == Some(sequence);
        let joins_right = self
            .ranges
            .get(next)
            .is_some_and(|r| Some(r.0) == sequence.checked_add(1));
        match (joins_left, joins_right) {
            (true, true) => {
                self.ranges[next - 1].1 = self.ranges[next].1;
                self.ranges.remove(next);
            }
            (true, false) => self.ranges[next - 1].1 = sequence,
            (false, true) => self.ranges[next].0 = sequence,
            (false, false) if self.ranges.len() >= MAX_RANGES && !self.follows_base(sequence) => {
                return Err(TooManyGaps);
            }
            (false, false) => self.ranges.insert(next, (sequence, sequence)),
        }
        self.compact();
        Ok(())
    }

    /// The end of the gap-free beginning: what can be acknowledged.
    pub(crate) fn through(&self) -> u64 {
        let base = self.base.unwrap_or(0);
        let following = base.checked_add(1).map(|next| self.position(next));
        match following {
            Some(Ok(index)) => self.ranges[index].1,
            Some(Err(())) | None => base,
        }
    }

    fn follows_base(&self, sequence: u64) -> bool {
        self.base
            .is_some_and(|base| base.checked_add(1) == Some(sequence))
    }

    /// The range that has this number.
    fn position(&self, sequence: u64) -> Result<usize, ()> {
        let next = self.ranges.partition_point(|(start, _)| *start <= sequence);
        let index = next.checked_sub(1).ok_or(())?;
        (sequence <= self.ranges[index].1)
            .then_some(index)
            .ok_or(())
    }

    fn compact(&mut self) {
        let through = self.through();
        if self.is_exact && self.base.is_some_and(|base| base < through) {
            self.base = Some(through);
            self.ranges.retain(|(start, _)| *start > through);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn in_order_numbers_leave_no_ranges_behind() {
        let mut set = SequenceSet::default();
        for sequence in 1..=10_000 {
            assert!(!set.contains(sequence));
            set.take(sequence).unwrap();
        }
        assert_eq!(set.through(), 10_000);
        assert!(set.ranges.is_empty());
        assert!(set.contains(1) && set.contains(10_000) && !set.contains(10_001));
    }

    #[test]
    fn an_acknowledgement_never_covers_a_gap() {
        let mut set = SequenceSet::default();
        set.take(1).unwrap();
        set.take(3).unwrap();
        assert_eq!(set.through(), 1);
        set.take(2).unwrap();
        assert_eq!(set.through(), 3);
    }

    #[test]
    fn a_prober_that_is_met_in_the_middle_loses_no_report_that_comes_late() {
        let mut set = SequenceSet::default();
        set.take(58).unwrap();
        assert_eq!(set.through(), 58);
        assert!(!set.contains(57));
        set.take(57).unwrap();
        assert!(set.contains(57));
        assert_eq!(set.through(), 58);
    }

    #[test]
    fn after_a_restart_what_was_stored_is_a_duplicate() {
        let set = SequenceSet::resume(41);
        assert!(set.contains(41) && !set.contains(42));
        assert_eq!(set.through(), 41);
    }

    #[test]
    fn the_largest_number_is_a_number_like_any_other() {
        let mut set = SequenceSet::resume(u64::MAX - 1);
        set.take(u64::MAX).unwrap();
        assert_eq!(set.through(), u64::MAX);
        assert!(set.contains(u64::MAX));
    }

    #[test]
    fn endless_gaps_are_refused_but_the_missing_number_is_not() {
        let mut set = SequenceSet::resume(0);
        for n in 0..MAX_RANGES as u64 {
            set.take(3 + 2 * n).unwrap();
        }
        assert_eq!(set.take(1_000_001), Err(TooManyGaps));
        set.take(1).unwrap();
        assert_eq!(set.through(), 1);
        set.take(2).unwrap();
        assert_eq!(set.through(), 3);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_set(sequences in proptest::collection::vec(1_u64..60, 1..200)) {
            let mut set = SequenceSet::resume(0);
            let mut model = BTreeSet::new();
            for sequence in sequences {
                prop_assert_eq!(set.contains(sequence), model.contains(&sequence));
                set.take(sequence).unwrap();
                model.insert(sequence);
                let through = (1..=60).take_while(|n| model.contains(n)).last().unwrap_or(0);
                prop_assert_eq!(set.through(), through);
            }
        }
    }
}
