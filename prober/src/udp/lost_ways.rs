//! Which way lost a probe: the numbers that the responder gives to its replies, set against the own ones.
//!
//! A stateful Session-Reflector numbers its replies for itself (RFC 8762 §4). From one reply to the next that number grows by one
//! for each probe that has arrived, so it tells how many of the probes in between did: the others were lost on the way out, and
//! of those that arrived it is the reply that was lost. That is exact, and known as soon as one more reply comes back.

use meshprobe_core::stamp::Sequence;
use meshprobe_core::window::LostWays;

/// A number that is so much smaller than the one before is no reply that was overtaken: the responder counts anew.
const ANEW: i32 = -64;

/// The count of one path. Its probes are told in the order in which they were sent, each once it has ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct LostWaysCount {
    /// The largest number of a reply so far.
    newest: Option<Sequence>,
    /// Probes without an answer since then.
    lost: u32,
    /// Of the replies since then, those that came after the probe had been told as lost.
    late: u32,
    /// Of something since then it is not known whether it was lost.
    is_unclear: bool,
}

impl LostWaysCount {
    /// The next probe was lost.
    pub const fn handle_lost(&mut self) {
        self.lost = self.lost.saturating_add(1);
    }

    /// One that was told as lost was answered after all.
    pub const fn handle_late(&mut self) {
        if self.lost > 0 {
            self.lost -= 1;
            self.late = self.late.saturating_add(1);
        }
    }

    /// What became of the next probe is not known.
    pub const fn handle_unclear(&mut self) {
        self.is_unclear = true;
    }

    /// The next probe was answered, by a reply of this number; `None`: the responder does not count. Which way the probes were
    /// lost that were told since the answer before.
    pub fn handle_answered(&mut self, number: Option<Sequence>) -> LostWays {
        let Some(number) = number else {
            *self = Self::default();
            return LostWays::default();
        };
        let step = self.newest.map(|newest| number.distance_from(newest));
        if step.is_some_and(|step| (ANEW..0).contains(&step)) {
            // It was overtaken on the way out; it has been counted by the one that overtook it.
            return LostWays::default();
        }
        let before = std::mem::replace(
            self,
            Self {
                newest: Some(number),
                ..Self::default()
            },
        );
        let Some(step) = step.filter(|_| before.lost > 0 && !before.is_unclear) else {
            return LostWays::default();
        };
        let arrived = i64::from(step) - 1 - i64::from(before.late);
        match u32::try_from(arrived) {
            Ok(back) if back <= before.lost => LostWays {
                out: before.lost - back,
                back,
            },
            // It counts anew, or somebody else's probes as well.
            _ => LostWays::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answered(count: &mut LostWaysCount, number: u32) -> (u32, u32) {
        let LostWays { out, back } = count.handle_answered(Some(Sequence(number)));
        (out, back)
    }

    #[test]
    fn what_the_number_did_not_grow_by_was_lost_on_the_way_out() {
        let mut count = LostWaysCount::default();
        assert_eq!(answered(&mut count, 7), (0, 0));
        (0..3).for_each(|_| count.handle_lost());
        assert_eq!(answered(&mut count, 9), (2, 1));
        assert_eq!(answered(&mut count, 10), (0, 0));
        count.handle_lost();
        assert_eq!(answered(&mut count, 12), (0, 1));
        count.handle_lost();
        assert_eq!(answered(&mut count, 13), (1, 0));
    }

    #[test]
    fn it_goes_on_where_the_number_begins_anew() {
        let mut count = LostWaysCount::default();
        answered(&mut count, u32::MAX);
        count.handle_lost();
        assert_eq!(answered(&mut count, 0), (1, 0));
    }

    #[test]
    fn a_responder_that_starts_again_says_nothing_of_the_time_before() {
        let mut count = LostWaysCount::default();
        answered(&mut count, 50_000);
        count.handle_lost();
        assert_eq!(answered(&mut count, 0), (0, 0));
        count.handle_lost();
        assert_eq!(answered(&mut count, 1), (1, 0));
    }

    #[test]
    fn what_is_not_known_to_be_lost_is_lost_on_neither_way() {
        let mut count = LostWaysCount::default();
        answered(&mut count, 1);
        count.handle_lost();
        count.handle_unclear();
        assert_eq!(answered(&mut count, 3), (0, 0));
        // Answers of a measurement on demand have numbers as well.
        count.handle_lost();
        assert_eq!(answered(&mut count, 40), (0, 0));
        // The answer came after the probe had been given up.
        count.handle_lost();
        count.handle_lost();
        count.handle_late();
        assert_eq!(answered(&mut count, 42), (1, 0));
        assert_eq!(count.handle_answered(None), LostWays::default());
    }

    #[test]
    fn a_probe_that_was_overtaken_is_not_lost() {
        let mut count = LostWaysCount::default();
        for number in [1, 3, 2, 4] {
            assert_eq!(answered(&mut count, number), (0, 0));
        }
        count.handle_lost();
        assert_eq!(answered(&mut count, 6), (0, 1));
    }

    proptest! {
        /// Whatever is lost, either way: all of it is told, up to the last answer.
        #[test]
        fn every_loss_is_told_with_its_way(fates in prop::collection::vec(0_u8..5, 0..200)) {
            let mut count = LostWaysCount::default();
            let mut number = 9;
            count.handle_answered(Some(Sequence(number)));
            let (mut told, mut lost) = (LostWays::default(), LostWays::default());
            for fate in fates {
                match fate {
                    0 => {
                        lost.out += 1;
                        count.handle_lost();
                    }
                    1 => {
                        number += 1;
                        lost.back += 1;
                        count.handle_lost();
                    }
                    _ => {
                        number += 1;
                        told = told.plus(count.handle_answered(Some(Sequence(number))));
                        prop_assert_eq!(told, lost);
                    }
                }
            }
        }
    }
}
