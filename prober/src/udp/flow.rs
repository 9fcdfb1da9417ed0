//! Which source port a probe leaves from.
//!
//! Routers spread flows over equal paths by their five-tuple, of which only the source port is ours to choose. Each
//! family has eight ports that a path visits in turn: four that stay, so that what they see today can be compared with
//! yesterday, and four that are replaced by and by, so that members of a group are covered that none of the four hits.

use std::time::Duration;

use crate::schedule::{Cadence, Turn};
use crate::udp::slot::SLOT;

/// Ports of one family at a time.
pub const FLOWS: u8 = 8;

/// The first ones of them keep their port as long as the prober runs.
pub const FIXED_FLOWS: u8 = 4;

/// One of the other ports is replaced this often. Each of them then lives for 32 s, in which a path that is probed once a
/// second visits it four times: enough to tell a dead flow from a lost packet.
pub const ROTATION: Duration = Duration::from_secs(8);

/// One of the ports of a family, by place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow(u8);

impl Flow {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..FLOWS).map(Self)
    }

    /// Of a path's turn. Paths with the same interval whose turns share a slot share the port, so that their answers can be
    /// taken in one call; a path takes the next port each turn.
    pub fn of_turn(turn: &Turn, cadence: Cadence) -> Self {
        let interval = cadence.interval.as_nanos() as u64;
        let offset = u128::from(interval) * u128::from(cadence.phase) / 65_536;
        let slot = offset as u64 / SLOT.as_nanos() as u64;
        Self((turn.number.wrapping_add(slot) % u64::from(FLOWS)) as u8)
    }

    /// The one after it, for a probe that confirms something: another way if there is one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self((self.0 + 1) % FLOWS)
    }

    /// The port that is replaced in this rotation.
    pub const fn rotating(rotation: u64) -> Self {
        Self(FIXED_FLOWS + (rotation % (FLOWS - FIXED_FLOWS) as u64) as u8)
    }

    /// Its place.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use meshprobe_core::time::Moment;
    use proptest::prelude::*;

    use super::*;
    use crate::path_id::PathId;
    use crate::schedule::Schedule;

    #[test]
    fn rotation_spares_the_fixed_ports_and_comes_to_all_others() {
        let rotated: HashSet<usize> = (0..8).map(|n| Flow::rotating(n).index()).collect();
        assert_eq!(rotated, (4..8).collect());
    }

    proptest! {
        #[test]
        fn a_path_visits_every_port_in_eight_turns(millis in 10_u64..5_000, phase: u16, origin in 0_i64..1 << 60) {
            let cadence = Cadence { interval: Duration::from_millis(millis), phase };
            let mut schedule = Schedule::new(origin);
            schedule.set(PathId::for_test(0), cadence, Moment::ORIGIN);
            let mut visited = HashSet::new();
            for _ in 0..FLOWS {
                let due = schedule.next_deadline().unwrap();
                let turn = schedule.poll_turn(due).unwrap();
                visited.insert(Flow::of_turn(&turn, cadence).index());
            }
            prop_assert_eq!(visited.len(), usize::from(FLOWS));
        }

        #[test]
        fn a_burst_takes_other_ports(start in 0_u8..FLOWS) {
            let mut flow = Flow(start);
            let burst: HashSet<usize> = (0..5).map(|_| { flow = flow.next(); flow.index() }).collect();
            prop_assert_eq!(burst.len(), 5);
            prop_assert!(!burst.contains(&usize::from(start)));
        }
    }
}
