//! When each path's turn comes: every path at its own phase of its interval, paced, without drift.
//!
//! Turns lie on a grid: `unix time ≡ phase × interval (mod interval)`, with the wall clock as it stood when the
//! schedule was made. Phases come with the assignment so that the observers of one target are spread evenly over the
//! interval; on a grid of the wall clock that holds across probers, as far as their clocks agree. A later step of the
//! wall clock moves nothing.
//!
//! A path whose turn comes once a minute would be unknown for up to a minute. So a new one has a first turn ahead of its
//! grid, within ten seconds, and as evenly spread over these.
//!
//! After a stall the turns that were missed are skipped and counted, never made up for in a burst.

use std::time::Duration;

use meshprobe_core::time::Moment;

use crate::agenda::Agenda;
use crate::path_id::{PathId, PathTable};

/// A new path has its first turn within this, however long its interval.
const FIRST_TURN_WITHIN: Duration = Duration::from_secs(10);

/// How often, and where in the interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// Time between two turns. Never zero.
    pub interval: Duration,
    /// Where in the interval, in 1/65,536.
    pub phase: u16,
}

/// A path's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Whose turn it is.
    pub path: PathId,
    /// When it should have been.
    pub due: Moment,
    /// Turns of this path that were skipped because nobody asked in time.
    pub missed: u32,
    /// Its number on the grid of the wall clock: the same for all paths with this interval, and one more each turn.
    pub number: u64,
}

/// The turns of many paths.
#[derive(Clone, Debug)]
pub struct Schedule {
    origin_unix_nanos: i64,
    cadences: PathTable<Cadence>,
    agenda: Agenda,
}

impl Schedule {
    /// No paths yet. `origin_unix_nanos` is the wall clock at [`Moment::ORIGIN`].
    pub fn new(origin_unix_nanos: i64) -> Self {
        Self {
            origin_unix_nanos,
            cadences: PathTable::new(),
            agenda: Agenda::new(),
        }
    }

    /// Adds a path or changes its cadence. A path whose cadence is the same keeps its next turn.
    pub fn set(&mut self, path: PathId, cadence: Cadence, now: Moment) {
        let grid = match self.cadences.insert(path, cadence) {
            Some(known) if known == cadence => return,
            Some(_) => cadence,
            None => Cadence {
                interval: cadence.interval.min(FIRST_TURN_WITHIN),
                ..cadence
            },
        };
        self.agenda.set(path, self.first_turn(grid, now));
    }

    /// A path's next turn is the first one of its grid at or after `until`: those before it are skipped, and not counted
    /// as missed.
    pub fn skip_until(&mut self, path: PathId, until: Moment) {
        if let Some(cadence) = self.cadences.get(path) {
            self.agenda.set(path, self.first_turn(*cadence, until));
        }
    }

    /// Takes a path out.
    pub fn remove(&mut self, path: PathId) {
        self.cadences.remove(path);
        self.agenda.remove(path);
    }

    /// The next turn that is due, and the one after it is planned.
    pub fn poll_turn(&mut self, now: Moment) -> Option<Turn> {
        let (due, path) = self.agenda.pop_due(now)?;
        // A path in the agenda has a cadence: both are set and removed together.
        let cadence = *self.cadences.get(path)?;
        let interval = cadence.interval;
        let late = now.saturating_since(due);
        // Nearly always on time, and a division of 128 bits is not free.
        let missed = if late < interval {
            0
        } else {
            let missed = late.as_nanos() / interval.as_nanos().max(1);
            u32::try_from(missed).unwrap_or(u32::MAX)
        };
        let mut next = due + interval * missed.saturating_add(1);
        // After a first turn ahead of the grid, and the rare kinds alone have one, it goes on along the grid.
        if interval > FIRST_TURN_WITHIN && self.first_turn(cadence, due) != due {
            next = self.first_turn(cadence, now + FIRST_TURN_WITHIN);
        }
        self.agenda.set(path, next);
        Some(Turn {
            path,
            due,
            missed,
            number: self.number(due, interval),
        })
    }

    /// When the next turn is due.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.agenda.next_due()
    }

    /// Ends all turns.
    pub fn clear(&mut self) {
        self.cadences.clear();
        self.agenda.clear();
    }

    fn number(&self, due: Moment, interval: Duration) -> u64 {
        let unix = self
            .origin_unix_nanos
            .cast_unsigned()
            .wrapping_add(due.as_nanos());
        unix / (interval.as_nanos() as u64).max(1)
    }

    /// The first point of the grid at or after `now`.
    fn first_turn(&self, cadence: Cadence, now: Moment) -> Moment {
        let interval = i128::try_from(cadence.interval.as_nanos())
            .unwrap_or(i128::MAX)
            .max(1);
        let offset = interval * i128::from(cadence.phase) / 65_536;
        let unix = i128::from(self.origin_unix_nanos) + i128::from(now.as_nanos());
        let wait = (offset - unix).rem_euclid(interval);
        now + Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Cadence = Cadence {
        interval: Duration::from_secs(1),
        phase: 0,
    };

    const MINUTE: Cadence = Cadence {
        interval: Duration::from_secs(60),
        phase: 0,
    };

    fn path(number: u32) -> PathId {
        PathId::for_test(number)
    }

    #[test]
    fn turns_lie_on_the_grid_of_the_wall_clock() {
        let mut schedule = Schedule::new(1_700_000_000_250_000_000);
        let half = Cadence {
            phase: 32_768,
            ..SECOND
        };
        schedule.set(path(1), half, Moment::ORIGIN);
        assert_eq!(schedule.next_deadline(), Some(Moment::from_millis(250)));
    }

    #[test]
    fn turns_do_not_drift_when_polled_late() {
        let mut schedule = Schedule::new(0);
        schedule.set(path(1), SECOND, Moment::ORIGIN);
        for second in 0..10 {
            let turn = schedule
                .poll_turn(Moment::from_millis(second * 1_000 + 7))
                .unwrap();
            assert_eq!(turn.due, Moment::from_millis(second * 1_000));
            assert_eq!(turn.missed, 0);
        }
    }

    #[test]
    fn after_a_stall_there_is_one_turn_and_the_missed_ones_are_counted() {
        let mut schedule = Schedule::new(0);
        schedule.set(path(1), SECOND, Moment::ORIGIN);
        let late = Moment::from_millis(5_400);
        let turn = schedule.poll_turn(late).unwrap();
        assert_eq!(turn.missed, 5);
        assert_eq!(schedule.poll_turn(late), None);
        assert_eq!(schedule.next_deadline(), Some(Moment::from_millis(6_000)));
    }

    #[test]
    fn setting_the_same_cadence_again_keeps_the_turn() {
        let mut schedule = Schedule::new(0);
        schedule.set(path(1), SECOND, Moment::from_millis(100));
        assert_eq!(
            schedule
                .poll_turn(Moment::from_millis(1_000))
                .unwrap()
                .missed,
            0
        );
        schedule.set(path(1), SECOND, Moment::from_millis(1_000));
        assert_eq!(schedule.next_deadline(), Some(Moment::from_millis(2_000)));
        schedule.remove(path(1));
        assert_eq!(schedule.next_deadline(), None);
    }

    #[test]
    fn a_new_path_of_a_rare_kind_is_probed_within_ten_seconds_and_then_on_its_grid() {
        let half = Cadence {
            phase: 32_768,
            ..MINUTE
        };
        let mut schedule = Schedule::new(0);
        schedule.set(path(1), half, Moment::from_millis(7_000));
        let turns: Vec<u64> = (7..160)
            .filter_map(|second| schedule.poll_turn(Moment::from_millis(second * 1_000)))
            .map(|turn| turn.due.as_millis())
            .collect();
        assert_eq!(turns, [15_000, 30_000, 90_000, 150_000]);
    }

    #[test]
    fn the_first_turn_and_the_one_on_the_grid_do_not_come_together() {
        // The first turn may be at 12.1 s, the grid's at 12.6 s.
        let close = Cadence {
            phase: 13_763,
            ..MINUTE
        };
        let mut schedule = Schedule::new(0);
        schedule.set(path(1), close, Moment::from_millis(3_000));
        let soon = schedule.poll_turn(Moment::from_millis(12_200)).unwrap();
        assert_eq!(soon.missed, 0);
        let next = schedule.next_deadline().unwrap();
        assert!(next > Moment::from_millis(72_000), "{next:?}");
    }

    #[test]
    fn a_path_whose_interval_changes_waits_for_its_turn_on_the_new_grid() {
        let mut schedule = Schedule::new(0);
        schedule.set(path(1), SECOND, Moment::from_millis(500));
        schedule.set(path(1), MINUTE, Moment::from_millis(500));
        assert_eq!(schedule.next_deadline(), Some(Moment::from_millis(60_000)));
    }

    proptest! {
        #[test]
        fn every_turn_of_an_attentive_driver_comes_exactly_once(
            phase in any::<u16>(), origin in 0_i64..10_000_000_000, step in 1_u64..9,
        ) {
            let mut schedule = Schedule::new(origin);
            schedule.set(path(1), Cadence { phase, ..SECOND }, Moment::ORIGIN);
            let mut turns = 0;
            for tick in 0..(20_000 / step) {
                while let Some(turn) = schedule.poll_turn(Moment::from_millis(tick * step)) {
                    prop_assert_eq!(turn.missed, 0);
                    turns += 1;
                }
            }
            prop_assert!((19..=20).contains(&turns), "{} turns in 20 s", turns);
        }
    }
}
