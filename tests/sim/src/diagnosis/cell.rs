//! What a picture shows of a path's cell, as the aggregator makes it.
//!
//! Windows of two probers end at different seconds. So what a source sent and what its target received are compared as
//! rates, over the time that reports of each of them cover.

use std::time::Duration;

use meshprobe_core::cell::PathCell;
use meshprobe_core::diagnosis::CellPicture;
use meshprobe_core::rtt::RttCode;
use meshprobe_core::time::Moment;
use meshprobe_core::verdict::Thresholds;
use meshprobe_core::window::Summary;

/// What reports of one source cover of the two newest slots of the fast window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Coverage {
    /// End of the newest window, seconds.
    pub(super) end: u32,
    seconds: [u32; 2],
}

impl Coverage {
    /// A report of a window from second `start` to second `end`.
    pub(super) fn add(&mut self, start: u32, end: u32, thresholds: &Thresholds) {
        let slot = |second: u32| second / u32::from(thresholds.window_seconds.max(1));
        match slot(end) - slot(self.end) {
            0 => {}
            1 => self.seconds = [0, self.seconds[0]],
            _ => self.seconds = [0; 2],
        }
        self.end = end;
        self.seconds[0] += end - start;
    }

    fn total(&self) -> f32 {
        (self.seconds[0] + self.seconds[1]) as f32
    }

    /// Is the newest report too old to say anything?
    pub(super) fn is_stale(&self, now: u32, thresholds: &Thresholds) -> bool {
        (now - self.end) as f32 >= thresholds.stale_after_seconds
    }
}

/// A path as its target sees it: its own cell of the way back, and its reports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<'a> {
    pub(super) cell: &'a PathCell,
    pub(super) coverage: &'a Coverage,
}

/// Takes a window that ends at second `now`.
pub(super) fn apply(cell: &mut PathCell, summary: &Summary, now: u32, thresholds: &Thresholds) {
    let at = moment(now);
    cell.apply(summary, at, thresholds);
    if summary.received > 0 {
        cell.apply_received(summary.received, summary.window_millis, at, thresholds);
    }
}

/// What a picture at second `now` shows of a path; `heard`: where targets count arrivals.
pub(super) fn picture(
    cell: &PathCell,
    coverage: &Coverage,
    heard: Option<Heard<'_>>,
    now: u32,
    thresholds: &Thresholds,
) -> CellPicture {
    if cell.updated_at().is_none() {
        return CellPicture::NOT_SAMPLED;
    }
    let at = moment(now);
    let fast = cell.fast_window(at, thresholds);
    let long = cell.long_counts(moment(coverage.end));
    let (received, long_received) = heard
        .filter(|heard| !heard.coverage.is_stale(now, thresholds))
        .map(|heard| {
            if fast.lost == 0 && long.lost < 0.05 {
                return (fast.sent, long.sent);
            }
            let end = moment(heard.coverage.end);
            let (_, arrived) = heard.cell.newest_slots(end, thresholds);
            let (sent, _) = cell.newest_slots(moment(coverage.end), thresholds);
            let rate = |count: u32, seconds: f32| count as f32 / seconds.max(0.1);
            let share =
                rate(arrived, heard.coverage.total()) / rate(sent, coverage.total()).max(1e-6);
            let received = (fast.sent as f32 * share.min(1.0)).round() as u32;
            (
                received.clamp(fast.sent.saturating_sub(fast.lost), fast.sent),
                heard
                    .cell
                    .long_received(end)
                    .clamp(long.sent - long.lost, long.sent),
            )
        })
        .unzip();
    let time = |code: RttCode| code.to_nanos().map(Duration::from_nanos);
    CellPicture {
        verdict: cell.verdict(at, thresholds),
        failure: cell.last_failure(),
        consecutive_losses: cell.consecutive_losses(),
        consecutive_replies: cell.consecutive_replies(),
        sent: short(fast.sent),
        lost: short(fast.lost),
        slot_lost: cell.lost_by_slot(at, thresholds),
        received: received.map(short),
        long_sent: long.sent,
        long_lost: long.lost,
        long_received,
        rtt: time(cell.rtt().1),
        rtt_baseline: time(cell.rtt_baseline()),
    }
}

/// A second of the run.
pub(super) const fn moment(second: u32) -> Moment {
    Moment::from_millis(second as u64 * 1_000)
}

fn short(count: u32) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}
