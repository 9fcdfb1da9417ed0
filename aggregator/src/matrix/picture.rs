//! Rows of the matrix as the diagnosis sees them.
//!
//! A row is built again only when there is something new in it: its source reported, its last report became too old, or it
//! has losses and somebody reported what arrived. What is left is shared with the picture before.

use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::cell::{LongCounts, PathCell};
use meshprobe_core::detail::Detail;
use meshprobe_core::diagnosis::{CellPicture, RowPicture};
use meshprobe_core::ids::NodeIndex;
use meshprobe_core::path::ProbeKind;
use meshprobe_core::rtt::Rtt;
use meshprobe_core::time::Moment;
use meshprobe_core::verdict::Verdict;

use super::{Details, LayerCells, Matrix, PathKey, slot};

/// A row with less than this share of its paths probed names the columns that it has.
const SPARSE: usize = 4;

/// A row that loses one in so many matters.
const LOSSY: u64 = 100;

/// A row that was built, and what tells that it has to be built again.
#[derive(Clone, Debug)]
pub(crate) struct BuiltRow {
    pub(crate) row: Arc<RowPicture>,
    version: u64,
    /// The last word of its source is too old from then on; `None`: it is already.
    stale_at: Option<Moment>,
    /// So much of it is lost that what its targets say of it matters at once, and not just with its source's next report.
    has_losses: bool,
}

/// Whose rows tell what arrived: responders of ours count UDP probes.
const fn is_counted(kind: ProbeKind) -> bool {
    matches!(kind, ProbeKind::Udp)
}

impl LayerCells {
    /// How many sources there may be.
    pub(crate) fn sources(&self) -> usize {
        self.rows.len()
    }

    /// Has the source a row that differs from what was built of it?
    pub(crate) fn has_news(
        &self,
        source: NodeIndex,
        built: Option<&BuiltRow>,
        now: Moment,
    ) -> bool {
        let coverage = self.coverage(source.index());
        match built {
            None => coverage.end().is_some(),
            Some(built) => {
                built.version != coverage.version()
                    || built.stale_at.is_some_and(|at| at <= now)
                    || (built.has_losses && built.stale_at.is_some() && is_counted(self.layer.kind))
            }
        }
    }

    fn stale_after(&self) -> Duration {
        Duration::from_secs_f32(self.thresholds().stale_after_seconds)
    }
}

impl Matrix {
    /// The row of a source at `now`, by these columns; `None`: it never reported in this layer. A column that is `None`
    /// is no target any more.
    pub(crate) fn build_row(
        &self,
        cells: &LayerCells,
        source: NodeIndex,
        columns: impl ExactSizeIterator<Item = usize>,
        now: Moment,
    ) -> Option<BuiltRow> {
        let coverage = cells.coverage(source.index());
        let end = coverage.end()?;
        let row = cells.rows.get(source.index())?;
        let view = RowView {
            cells,
            details: &self.details,
            source,
            end,
            now,
        };
        let width = columns.len();
        let mut places = Vec::with_capacity(width);
        let mut pictures = Vec::with_capacity(width);
        let mut details = Vec::new();
        let (mut is_broken, mut sent, mut lost) = (false, 0_u64, 0_u64);
        for (place, column) in columns.enumerate() {
            let cell = slot(cells.layer, source.index(), column).and_then(|slot| row.get(slot));
            let Some(cell) = cell.filter(|cell| cell.updated_at().is_some()) else {
                continue;
            };
            let picture = view.cell(cell, column);
            is_broken |= picture.verdict == Verdict::Down;
            sent += u64::from(picture.sent);
            lost += u64::from(picture.lost);
            if let Some(detail) = view.detail(column, picture.verdict) {
                details.push((place as u32, detail));
            }
            places.push(place as u32);
            pictures.push(picture);
        }
        let row = if places.len() * SPARSE < width {
            RowPicture {
                columns: Some(places.into()),
                cells: pictures,
                details,
            }
        } else {
            let mut all = vec![CellPicture::NOT_SAMPLED; width];
            for (place, picture) in places.into_iter().zip(pictures) {
                all[place as usize] = picture;
            }
            RowPicture::dense(all, details)
        };
        let stale_at = end + cells.stale_after();
        Some(BuiltRow {
            row: Arc::new(row),
            version: coverage.version(),
            stale_at: (stale_at > now).then_some(stale_at),
            has_losses: is_broken || lost * LOSSY > sent,
        })
    }
}

/// What is the same for all cells of a row.
struct RowView<'a> {
    cells: &'a LayerCells,
    details: &'a Details,
    source: NodeIndex,
    end: Moment,
    now: Moment,
}

impl RowView<'_> {
    fn cell(&self, cell: &PathCell, column: usize) -> CellPicture {
        let thresholds = self.cells.thresholds();
        let fast = cell.fast_window(self.now, thresholds);
        let long = cell.long_counts(self.end);
        let (received, long_received) = self
            .received(cell, column, fast.sent, fast.lost, long)
            .unzip();
        let (_, median, _) = cell.rtt();
        let short = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
        CellPicture {
            verdict: cell.verdict(self.now, thresholds),
            failure: cell.last_failure(),
            consecutive_losses: cell.consecutive_losses(),
            consecutive_replies: cell.consecutive_replies(),
            sent: short(fast.sent),
            lost: short(fast.lost),
            slot_lost: cell.lost_by_slot(self.now, thresholds),
            received: received.map(short),
            long_sent: long.sent,
            long_lost: long.lost,
            long_received,
            rtt: median.rtt().map(Rtt::as_duration),
            rtt_baseline: cell.rtt_baseline().rtt().map(Rtt::as_duration),
        }
    }

    /// Of the probes of the fast window, and of the longer time, those that arrived; `None`: the target does not say.
    ///
    /// Whatever was answered has arrived. Where something was lost, the target's word decides how much of it: as a share,
    /// because it speaks of a time that is shifted against the source's.
    fn received(
        &self,
        cell: &PathCell,
        column: usize,
        sent: u32,
        lost: u32,
        long: LongCounts,
    ) -> Option<(u32, f32)> {
        if !is_counted(self.cells.layer.kind) {
            return None;
        }
        let theirs = self.cells.coverage(column);
        let their_end = theirs.end()?;
        if self.now.saturating_since(their_end) >= self.cells.stale_after() {
            return None;
        }
        if lost == 0 && long.lost < 0.05 {
            return Some((sent, long.sent));
        }
        let thresholds = self.cells.thresholds();
        let heard = self.cells.cell(column, self.source.index());
        let (arrived, long_arrived) = heard.map_or((0, 0.0), |heard| {
            let (_, arrived) = heard.newest_slots(their_end, thresholds);
            (arrived, heard.long_received(their_end))
        });
        let (sent_lately, _) = cell.newest_slots(self.end, thresholds);
        let ours = self.cells.coverage(self.source.index());
        let rate = |count: u32, seconds: f32| count as f32 / seconds.max(0.1);
        let share = rate(arrived, theirs.seconds()) / rate(sent_lately, ours.seconds()).max(1e-6);
        let received = (sent as f32 * share.min(1.0)).round() as u32;
        Some((
            received.clamp(sent.saturating_sub(lost), sent),
            long_arrived.clamp(long.sent - long.lost, long.sent),
        ))
    }

    /// What the newest probe found. Of UDP only what a failing path says: that of the others is large and tells nothing.
    fn detail(&self, column: usize, verdict: Verdict) -> Option<Detail> {
        let kind = self.cells.layer.kind;
        if kind == ProbeKind::Udp && !verdict.is_unhealthy() {
            return None;
        }
        let path = PathKey {
            layer: self.cells.layer,
            source: self.source,
            column: column as u32,
        };
        let (detail, _) = self.details.get(&path)?;
        Detail::try_from(&detail).ok()
    }
}
