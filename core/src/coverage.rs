//! What time the newest slots of a row are about.
//!
//! Windows of two probers end at different moments, so what a source sent and what its target received are never of
//! exactly the same time. Both are compared as rates: counts of the two newest slots over the time that reports cover in them.

use std::time::Duration;

use crate::time::Moment;
use crate::verdict::Thresholds;

/// One row's reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Coverage {
    /// End of the newest window; `None`: there was none.
    end: Option<Moment>,
    /// Reports so far: whoever keeps what follows from the row sees by it that there is something new.
    version: u64,
    seconds: [f32; 2],
    /// Length of the newest window.
    newest: Duration,
}

impl Coverage {
    /// A report about this row, of a window of such a length.
    pub fn add(&mut self, window: Duration, end: Moment, thresholds: &Thresholds) {
        self.version += 1;
        let slot = |moment: Moment| {
            moment.as_millis() / 1_000 / u64::from(thresholds.window_seconds.max(1))
        };
        if let Some(before) = self.end {
            if before >= end {
                return;
            }
            match slot(end) - slot(before) {
                0 => {}
                1 => self.seconds = [0.0, self.seconds[0]],
                _ => self.seconds = [0.0; 2],
            }
        }
        self.end = Some(end);
        self.newest = window;
        self.seconds[0] += window.as_secs_f32();
    }

    /// Slots have another length from now on.
    pub fn restart(&mut self) {
        self.seconds = [0.0; 2];
    }

    /// Reports so far.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// End of the newest window.
    pub const fn end(&self) -> Option<Moment> {
        self.end
    }

    /// When the newest window began.
    pub fn newest_start(&self) -> Option<Moment> {
        self.end.map(|end| end - self.newest)
    }

    /// Time that reports cover in the two newest slots, seconds.
    pub fn seconds(&self) -> f32 {
        self.seconds[0] + self.seconds[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(windows: &[(u64, u64)]) -> f32 {
        let thresholds = Thresholds::for_mesh(90, 1.0, 10.0);
        let mut coverage = Coverage::default();
        for (millis, end) in windows {
            coverage.add(
                Duration::from_millis(*millis),
                Moment::from_millis(*end),
                &thresholds,
            );
        }
        coverage.seconds()
    }

    #[test]
    fn the_two_newest_slots_are_covered_by_what_ended_in_them() {
        let close = |a: f32, b: f32| assert!((a - b).abs() < 1e-3, "{a} {b}");
        close(covered(&[(10_000, 15_000)]), 10.0);
        close(covered(&[(10_000, 15_000), (10_000, 25_000)]), 20.0);
        close(
            covered(&[
                (10_000, 15_000),
                (10_000, 25_000),
                (3_000, 28_000),
                (7_000, 35_000),
            ]),
            20.0,
        );
        close(covered(&[(10_000, 15_000), (10_000, 45_000)]), 10.0);
        // The same window again, of another plane's prober, is no other time.
        close(covered(&[(10_000, 15_000), (10_000, 15_000)]), 10.0);
    }
}
