//! How the cell of a path looks in a picture.
//!
//! Which way lost a packet is known exactly once a reply comes back, by the replies' own numbers
//! ([`crate::window::LostWays`]). While none does, what the target says it received tells. Windows of two probers end at different
//! moments, so what a source sent and what its target received are compared as rates, over the time that reports of each of
//! them cover; and the target's word on a row of losses counts only if it is of the time of that row.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::{Arrived, CellPicture};
use crate::cell::{LongCounts, PathCell};
use crate::coverage::Coverage;
use crate::rtt::Rtt;
use crate::time::{Mark, Moment};
use crate::verdict::Thresholds;

/// A row of losses of which something arrived has to be so many times as old as the time of it that the target has not reported
/// yet.
const SHARED: u32 = 2;
/// A target that has received nothing for so long receives nothing: three probes at the usual interval.
const NOTHING_FOR: Duration = Duration::from_secs(3);
/// Which way lost it has to be known of so much of what was lost.
const MOSTLY: f32 = 0.5;
/// What is left of a loss that is forgotten.
const NEXT_TO_NOTHING: f32 = 0.05;
/// No window is longer than this, unless its report could not be delivered at once.
const USUAL_WINDOW: Duration = Duration::from_secs(1);
/// How much of a row of losses a target must have lived through before its word on it counts. Moments are known to a second.
const LIVED_THROUGH: Duration = Duration::from_secs(1);

/// A path as its target sees it.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'a> {
    /// The target's own cell of the way back, which counts what it received; `None`: it has none.
    pub cell: Option<&'a PathCell>,
    /// What time the target's reports cover.
    pub coverage: Coverage,
}

impl CellPicture {
    /// What a picture at `now` shows of a cell. `own`: what time the reports of its source cover; `heard`: where targets count
    /// what arrives.
    pub fn of(
        cell: &PathCell,
        own: &Coverage,
        heard: Option<Heard<'_>>,
        now: Moment,
        thresholds: &Thresholds,
    ) -> Self {
        let end = own.end().unwrap_or(now);
        let fast = cell.fast_window(now, thresholds);
        let long = cell.long_counts(end);
        let development = Development {
            cell,
            own,
            end,
            now,
            thresholds,
        };
        let arrived_in_row = heard.and_then(|heard| development.arrived_in_row(&heard));
        let (received, long_received) = heard
            .and_then(|_| development.received((fast.sent, fast.lost), long))
            .unzip();
        let short = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
        let (slot_sent, slot_lost) = cell.by_slot(now, thresholds);
        let (_, median, _) = cell.rtt();
        let last_loss = cell.last_loss();
        Self {
            verdict: cell.verdict(now, thresholds),
            failure: cell.last_failure(),
            consecutive_losses: cell.consecutive_losses(),
            consecutive_replies: cell.consecutive_replies(),
            failing_for: cell.failing_for(),
            arrived_in_row,
            sent: short(fast.sent),
            lost: short(fast.lost),
            slot_sent,
            slot_lost,
            received: received.map(short),
            long_sent: long.sent,
            long_lost: long.lost,
            long_received,
            rtt: median.rtt().map(Rtt::as_duration),
            rtt_baseline: cell.rtt_baseline().rtt().map(Rtt::as_duration),
            reported_at: cell.updated_at().map(Mark::new),
            lost_at: last_loss.map(|(at, _)| Mark::new(at)),
            lost_in_row: last_loss.map_or(0, |(_, row)| row),
        }
    }
}

struct Development<'a> {
    cell: &'a PathCell,
    own: &'a Coverage,
    /// End of the source's newest window.
    end: Moment,
    now: Moment,
    thresholds: &'a Thresholds,
}

impl Development<'_> {
    /// See [`CellPicture::arrived_in_row`].
    fn arrived_in_row(&self, heard: &Heard<'_>) -> Option<Arrived> {
        let began = self.end - self.cell.failing_for();
        let their_end = heard.coverage.end()?;
        if self.cell.consecutive_losses() == 0 || their_end < began + LIVED_THROUGH {
            return None;
        }
        let received = heard.cell.and_then(|cell| cell.received_at(their_end));
        let Some(received) = received.filter(|at| *at > began) else {
            return Some(Arrived::Nothing);
        };
        let since = their_end.saturating_since(received);
        if since >= NOTHING_FOR {
            return Some(Arrived::Nothing);
        }
        // What arrived in a window that began before the row may have arrived before the row.
        let start = heard.coverage.newest_start()?;
        let window = their_end.saturating_since(start).max(USUAL_WINDOW);
        let is_later = received >= began + window + LIVED_THROUGH;
        (is_later || (start >= began && since < LIVED_THROUGH))
            .then(|| self.share_in_row(heard, their_end))
            .flatten()
    }

    /// Most of a row, or a part of it? Some of it arrived. The target's windows end at other moments than the source's, so both are
    /// compared as rates, once the time that only one of them has reported of is a small part of the row.
    fn share_in_row(&self, heard: &Heard<'_>, their_end: Moment) -> Option<Arrived> {
        let unheard = self.end.saturating_since(their_end);
        if self.cell.failing_for() < SHARED * unheard {
            return None;
        }
        let arrived = heard.cell.map_or(0, |cell| {
            let (_, arrived) = cell.newest_slots(their_end, self.thresholds);
            arrived
        });
        let (sent, _) = self.cell.newest_slots(self.end, self.thresholds);
        let rate = |count: u32, seconds: f32| count as f32 / seconds.max(0.1);
        let share =
            rate(arrived, heard.coverage.seconds()) / rate(sent, self.own.seconds()).max(1e-6);
        let fast = self.cell.fast_window(self.now, self.thresholds);
        let lost = fast.lost as f32;
        let answered = fast.sent as f32 - lost;
        let arrived = (fast.sent as f32 * share.min(1.0) - answered).max(0.0);
        Some(if 2.0 * arrived >= lost {
            Arrived::Most
        } else {
            Arrived::Few
        })
    }

    /// Of the probes of the fast window, and of the longer time, those that arrived; `None`: it is not known of most of what was
    /// lost before the row of losses that goes on now.
    fn received(&self, (sent, lost): (u32, u32), long: LongCounts) -> Option<(u32, f32)> {
        if lost == 0 && long.lost < NEXT_TO_NOTHING {
            return Some((sent, long.sent));
        }
        let told = long.out + long.back;
        let before = long.lost - f32::from(self.cell.consecutive_losses());
        if told < NEXT_TO_NOTHING || told < MOSTLY * before {
            return None;
        }
        let out = long.out / told;
        let lost_out = (lost as f32 * out).round() as u32;
        Some((sent - lost_out.min(lost), long.sent - long.lost * out))
    }
}
