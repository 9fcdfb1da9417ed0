//! How the cell of a path looks in a picture.
//!
//! Windows of two probers end at different moments. So what a source sent and what its target received are compared as
//! rates, over the time that reports of each of them cover; and the target's word on a loss counts only if it is of the time
//! of that loss.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::CellPicture;
use crate::cell::{LongCounts, PathCell};
use crate::coverage::Coverage;
use crate::rtt::Rtt;
use crate::time::{Mark, Moment};
use crate::verdict::Thresholds;

/// What a target says of a loss that is younger than the fast window has to be of the same time, to this much: the probes
/// that confirm a loss would otherwise look as if they had not arrived, or as if they had.
const SAME_TIME: Duration = Duration::from_secs(3);
/// A row of losses has to be so many times as old as the time of it that the target has not reported yet.
const SHARED: u32 = 5;
/// The same of a row of which some probes are known to arrive.
const SHARED_IF_ANY: u32 = 2;
/// A target that has received nothing for so long receives nothing: three probes at the usual interval.
const NOTHING_FOR: Duration = Duration::from_secs(3);
/// A loss is older than the fast window if so much of it is.
const MOSTLY: f32 = 0.5;
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
        let arrives = arrived_in_row == Some(true);
        let received = heard
            .and_then(|heard| development.received(&heard, (fast.sent, fast.lost), long, arrives));
        let (received, long_received) = received.unzip();
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
    fn arrived_in_row(&self, heard: &Heard<'_>) -> Option<bool> {
        let row = self.cell.failing_for();
        let began = self.end - row;
        let their_end = heard.coverage.end()?;
        if self.cell.consecutive_losses() == 0 || their_end < began + LIVED_THROUGH {
            return None;
        }
        let received = heard.cell.and_then(|cell| cell.received_at(their_end));
        let Some(received) = received.filter(|at| *at > began) else {
            return Some(false);
        };
        let since = their_end.saturating_since(received);
        if since >= NOTHING_FOR {
            return Some(false);
        }
        // What arrived in a window that began before the row may have arrived before the row.
        let start = heard.coverage.newest_start()?;
        let window = their_end.saturating_since(start).max(USUAL_WINDOW);
        if received >= began + window + LIVED_THROUGH {
            return Some(true);
        }
        (start >= began && since < LIVED_THROUGH).then_some(true)
    }

    /// Of the probes of the fast window, and of the longer time, those that arrived; `None`: the target does not say.
    ///
    /// Whatever was answered has arrived. Where something was lost, the target's word decides how much of it: as a share,
    /// because it speaks of a time that is shifted against the source's. `arrives`: it is known that probes of the row of losses
    /// arrive, so it is only asked how many.
    fn received(
        &self,
        heard: &Heard<'_>,
        (sent, lost): (u32, u32),
        long: LongCounts,
        arrives: bool,
    ) -> Option<(u32, f32)> {
        let theirs = heard.coverage;
        let their_end = theirs.end()?;
        let age = self.now.saturating_since(their_end).as_secs_f32();
        if age >= self.thresholds.stale_after_seconds {
            return None;
        }
        if lost == 0 && long.lost < 0.05 {
            return Some((sent, long.sent));
        }
        let unheard = self.end.saturating_since(their_end);
        let slots = self.cell.lost_by_slot(self.now, self.thresholds);
        let older = long.lost - slots.map(f32::from).iter().sum::<f32>();
        let row = self.cell.failing_for();
        let shared = if arrives { SHARED_IF_ANY } else { SHARED };
        if (unheard > SAME_TIME && older < MOSTLY * long.lost)
            || (!row.is_zero() && row < shared * unheard)
        {
            return None;
        }
        let (arrived, long_arrived) = heard.cell.map_or((0, 0.0), |cell| {
            let (_, arrived) = cell.newest_slots(their_end, self.thresholds);
            (arrived, cell.long_received(their_end))
        });
        let (sent_lately, _) = self.cell.newest_slots(self.end, self.thresholds);
        let rate = |count: u32, seconds: f32| count as f32 / seconds.max(0.1);
        let share =
            rate(arrived, theirs.seconds()) / rate(sent_lately, self.own.seconds()).max(1e-6);
        let received = (sent as f32 * share.min(1.0)).round() as u32;
        Some((
            received.clamp(sent.saturating_sub(lost), sent),
            long_arrived.clamp(long.sent - long.lost, long.sent),
        ))
    }
}
