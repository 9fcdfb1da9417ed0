//! What earlier measurements found, so that the next one is shorter, and when all sizes are due.

use std::time::Duration;

use meshprobe_core::time::Moment;
use parking_lot::Mutex;

use super::measurement::Known;
use crate::path_id::{PathId, PathTable};

/// Time between two measurements with all sizes of the ladder: the raise timer of RFC 8899 §5.1.1.
const THOROUGH_INTERVAL: Duration = Duration::from_secs(600);

#[derive(Clone, Copy, Debug)]
struct Entry {
    known: Known,
    thorough_at: Moment,
}

/// By path.
#[derive(Debug, Default)]
pub struct History(Mutex<PathTable<Entry>>);

impl History {
    /// Before a measurement: what is known of the path, and whether all sizes are due. The first one is short: a mesh that
    /// starts has other things to do.
    pub fn begin(&self, path: PathId, now: Moment) -> (Known, bool) {
        let mut entries = self.0.lock();
        let Some(entry) = entries.get_mut(path) else {
            let entry = Entry {
                known: Known::default(),
                thorough_at: now,
            };
            entries.insert(path, entry);
            return (Known::default(), false);
        };
        let thorough = now.saturating_since(entry.thorough_at) >= THOROUGH_INTERVAL;
        if thorough {
            entry.thorough_at = now;
        }
        (entry.known, thorough)
    }

    /// After a measurement.
    pub fn end(&self, path: PathId, known: Known) {
        if let Some(entry) = self.0.lock().get_mut(path) {
            entry.known = known;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sizes_are_due_ten_minutes_after_the_first_measurement_and_after_each_other() {
        let history = History::default();
        let path = PathId::for_test(3);
        let known = Known {
            forward: 1400,
            reverse: 1500,
        };
        let minute = |minutes| Moment::from_millis(minutes * 60_000);
        assert_eq!(history.begin(path, minute(1)), (Known::default(), false));
        history.end(path, known);
        let due: Vec<u64> = (2..=32)
            .filter(|now| history.begin(path, minute(*now)) == (known, true))
            .collect();
        assert_eq!(due, [11, 21, 31]);
    }

    #[test]
    fn a_path_in_the_slot_of_another_one_begins_anew() {
        let history = History::default();
        history.begin(PathId::new(3, 0), Moment::ORIGIN);
        history.end(
            PathId::new(3, 0),
            Known {
                forward: 9,
                reverse: 9,
            },
        );
        let now = Moment::from_millis(3_600_000);
        let begun = history.begin(PathId::new(3, 1), now);
        assert_eq!(begun, (Known::default(), false));
    }
}
