//! Windows of a path's cell, and what time they cover.

use std::time::Duration;

use meshprobe_core::cell::PathCell;
use meshprobe_core::coverage::Coverage;
use meshprobe_core::time::Moment;
use meshprobe_core::verdict::Thresholds;
use meshprobe_core::window::Summary;

/// Takes a window that ends at second `now`.
pub(super) fn apply(cell: &mut PathCell, summary: &Summary, now: u32, thresholds: &Thresholds) {
    let at = moment(now);
    cell.apply(summary, at, thresholds);
    if summary.received > 0 {
        cell.apply_received(summary.received, at, thresholds);
    }
}

/// A report of a window from second `start` to second `end`.
pub(super) fn cover(coverage: &mut Coverage, start: u32, end: u32, thresholds: &Thresholds) {
    let window = Duration::from_secs(u64::from(end - start));
    coverage.add(window, moment(end), thresholds);
}

/// A second of the run.
pub(super) const fn moment(second: u32) -> Moment {
    Moment::from_millis(second as u64 * 1_000)
}
