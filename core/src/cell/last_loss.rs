//! When a path last lost something, and the row of losses that this was the end of, in two octets.
//!
//! Whoever asks seldom fails for a while after something is healed: nobody has asked again. That a failure fell into the time
//! of another one, which is over, is seen by this alone.

use crate::time::Moment;

/// Seconds after which the time would begin anew.
const TURN: u32 = (1 << TIME_BITS) - 1;
const TIME_BITS: u32 = 12;
/// Seconds after which it is forgotten, long before it would look new again.
const FORGOTTEN: u32 = 1_600;
/// Longer rows are not told apart.
const MOST: u32 = 15;

/// See the module; zero: nothing was lost, lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LastLoss(u16);

impl LastLoss {
    pub(super) const NONE: Self = Self(0);

    /// Something was lost in a window that ends now, in tenths of a second since the origin.
    pub(super) fn set(&mut self, now: u32, row: u32) {
        let second = now / 10 % TURN + 1;
        self.0 = ((row.min(MOST) << TIME_BITS) | second) as u16;
    }

    /// Forgets what is too old, before it would look new.
    pub(super) fn forget(&mut self, now: u32) {
        if self.age(now).is_some_and(|age| age >= FORGOTTEN) {
            *self = Self::NONE;
        }
    }

    /// When, and how many losses in a row.
    pub(super) fn get(self, now: u32) -> Option<(Moment, u8)> {
        let age = self.age(now).filter(|age| *age < FORGOTTEN)?;
        let second = u64::from((now / 10).saturating_sub(age));
        Some((
            Moment::from_millis(second * 1_000),
            (self.0 >> TIME_BITS) as u8,
        ))
    }

    fn age(self, now: u32) -> Option<u32> {
        let second = (u32::from(self.0) & TURN).checked_sub(1)?;
        Some((now / 10 % TURN + TURN - second) % TURN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_for_some_time_and_then_forgotten() {
        let mut last = LastLoss::NONE;
        assert_eq!(last.get(50), None);
        for at in [0, 7, 40_949, 40_950, 1_000_000] {
            last.set(at, 20);
            let second = Moment::from_millis(u64::from(at / 10) * 1_000);
            assert_eq!(last.get(at), Some((second, 15)));
            assert_eq!(last.get(at + 9_000), Some((second, 15)));
            let mut old = last;
            old.forget(at + 16_010);
            assert_eq!(old, LastLoss::NONE);
        }
    }
}
