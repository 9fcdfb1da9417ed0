//! Slots of the engine's time: it wakes up at their ends only.

use std::time::Duration;

use meshprobe_core::time::Moment;

/// Length of a slot.
pub const SLOT: Duration = Duration::from_millis(10);

/// The end of the slot that `moment` lies in, or `moment` itself if it is one.
pub fn slot_of(moment: Moment) -> Moment {
    let slot = SLOT.as_nanos() as u64;
    Moment::from_nanos(moment.as_nanos().div_ceil(slot) * slot)
}

/// The first end of a slot after `moment`.
pub fn next_slot(moment: Moment) -> Moment {
    slot_of(moment + Duration::from_nanos(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_inside_a_slot_is_done_at_its_end() {
        let nanos = Moment::from_nanos;
        assert_eq!(slot_of(nanos(10_000_000)), nanos(10_000_000));
        assert_eq!(slot_of(nanos(10_000_001)), nanos(20_000_000));
        assert_eq!(next_slot(nanos(10_000_000)), nanos(20_000_000));
        assert_eq!(next_slot(nanos(9_999_999)), nanos(10_000_000));
    }
}
