//! For a driver that knows how a path's next turns would end, and has no need to take them: the simulator.

use meshprobe_core::time::Moment;

use super::Sender;
use crate::path_id::PathId;

impl Sender {
    /// The path's next turn is the first one of its grid at or after `until`.
    pub fn skip_until(&mut self, path: PathId, until: Moment) {
        self.schedule.skip_until(path, until);
    }

    /// Is nothing of the path under way, and no extra probe of it due?
    pub fn is_idle(&self, path: PathId) -> bool {
        self.targets
            .get(path)
            .is_none_or(|target| target.suspicion.is_none() && target.flights.pending_count() == 0)
    }
}
