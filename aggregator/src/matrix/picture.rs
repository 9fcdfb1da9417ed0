//! Rows of the matrix as the diagnosis sees them.
//!
//! A row is built again only when there is something new in it: its source reported, its last report became too old, or it
//! has losses and somebody reported what arrived. What is left is shared with the picture before.

use std::sync::Arc;
use std::time::Duration;

use meshprobe_core::cell::PathCell;
use meshprobe_core::coverage::Coverage;
use meshprobe_core::detail::Detail;
use meshprobe_core::diagnosis::{CellPicture, Heard, RowPicture};
use meshprobe_core::ids::NodeIndex;
use meshprobe_core::path::ProbeKind;
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
    /// The row of a source at `now`; `None`: it never reported in this layer. `columns` are the places in the picture, in
    /// order, with the columns that stand there; the picture has `width` places.
    pub(crate) fn build_row(
        &self,
        cells: &LayerCells,
        source: NodeIndex,
        columns: impl Iterator<Item = (usize, usize)>,
        width: usize,
        now: Moment,
    ) -> Option<BuiltRow> {
        let coverage = cells.coverage(source.index());
        let end = coverage.end()?;
        let row = cells.rows.get(source.index())?;
        let view = RowView {
            cells,
            details: &self.details,
            source,
            coverage,
            now,
        };
        let mut places = Vec::new();
        let mut pictures = Vec::new();
        let mut details = Vec::new();
        let (mut is_broken, mut sent, mut lost) = (false, 0_u64, 0_u64);
        for (place, column) in columns {
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
    coverage: Coverage,
    now: Moment,
}

impl RowView<'_> {
    fn cell(&self, cell: &PathCell, column: usize) -> CellPicture {
        let heard = is_counted(self.cells.layer.kind).then(|| Heard {
            cell: self.cells.cell(column, self.source.index()),
            coverage: self.cells.coverage(column),
        });
        CellPicture::of(
            cell,
            &self.coverage,
            heard,
            self.now,
            self.cells.thresholds(),
        )
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

#[cfg(test)]
mod tests {
    use meshprobe_core::diagnosis::Arrived;
    use meshprobe_core::rtt::RttCode;
    use meshprobe_core::window::{LostWays, Summary};

    use super::super::tests::{NODES, UDP, apply, matrix, summary};
    use super::*;

    fn seconds(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1_000)
    }

    fn built(matrix: &Matrix, source: u32, now: u64) -> BuiltRow {
        let cells = matrix.layer(UDP).unwrap();
        let (source, width) = (NodeIndex(source), NODES as usize);
        let columns = (0..width).map(|column| (column, column));
        matrix
            .build_row(cells, source, columns, width, seconds(now))
            .unwrap()
    }

    fn has_news(matrix: &Matrix, source: u32, built: &BuiltRow, now: u64) -> bool {
        let cells = matrix.layer(UDP).unwrap();
        cells.has_news(NodeIndex(source), Some(built), seconds(now))
    }

    /// A report of ten probes in ten seconds from `source` to `target` of which so many were answered; so many arrived of
    /// those of the target.
    fn report(
        matrix: &mut Matrix,
        source: u32,
        target: u32,
        (replied, received): (u32, u32),
        end: u64,
    ) {
        let summary = Summary {
            window_millis: 10_000,
            consecutive_losses: if replied == 0 { 10 } else { 0 },
            ..summary(10, replied, received)
        };
        apply(matrix, source, &[(target, summary)], seconds(end));
    }

    #[test]
    fn a_row_is_built_again_when_its_source_reported_and_when_that_is_too_long_ago() {
        let mut matrix = matrix();
        report(&mut matrix, 0, 1, (10, 10), 100);
        let row = built(&matrix, 0, 101);
        assert!(!has_news(&matrix, 0, &row, 109));
        assert_eq!(row.row.cell(1).verdict, Verdict::Healthy);
        report(&mut matrix, 1, 0, (10, 10), 105);
        assert!(!has_news(&matrix, 0, &row, 109), "nothing was lost");
        assert!(has_news(&matrix, 0, &row, 126), "the last word is too old");
        let stale = built(&matrix, 0, 126);
        assert_eq!(stale.row.cell(1).verdict, Verdict::NoData);
        assert!(!has_news(&matrix, 0, &stale, 300));
        report(&mut matrix, 0, 1, (10, 10), 310);
        assert!(has_news(&matrix, 0, &stale, 310));
    }

    #[test]
    fn a_row_with_losses_is_built_again_because_its_targets_say_what_arrived() {
        let mut matrix = matrix();
        report(&mut matrix, 0, 1, (0, 10), 100);
        report(&mut matrix, 1, 0, (10, 10), 100);
        let row = built(&matrix, 0, 101);
        assert_eq!(row.row.cell(1).verdict, Verdict::Down);
        assert!(has_news(&matrix, 0, &row, 102));
    }

    #[test]
    fn which_way_lost_the_probes_is_what_the_replies_say_whether_the_target_reports_or_not() {
        let mut matrix = matrix();
        for n in 0..12 {
            let summary = Summary {
                lost_ways: LostWays { out: 2, back: 3 },
                ..summary(10, 5, 0)
            };
            apply(&mut matrix, 0, &[(1, summary)], seconds(100 + 10 * n));
        }
        for now in [211, 215, 216] {
            let row = built(&matrix, 0, now);
            let cell = row.row.cell(1);
            let arrived = f64::from(cell.received.unwrap()) / f64::from(cell.sent);
            assert!((arrived - 0.8).abs() < 0.03, "{now}: {cell:?}");
            let long = cell.long_received.unwrap() / cell.long_sent;
            assert!((long - 0.8).abs() < 0.01, "{now}: {cell:?}");
        }
    }

    #[test]
    fn nothing_arrived_is_a_word_and_no_word_is_none() {
        let mut matrix = matrix();
        for n in 0..3 {
            report(&mut matrix, 0, 1, (0, 10), 100 + 10 * n);
            report(&mut matrix, 1, 0, (10, 0), 102 + 10 * n);
            report(&mut matrix, 0, 2, (9, 10), 100 + 10 * n);
        }
        let row = built(&matrix, 0, 123);
        let (dead, lossy) = (row.row.cell(1), row.row.cell(2));
        assert_eq!(dead.arrived_in_row, Some(Arrived::Nothing));
        assert_eq!((dead.received, lossy.received), (None, None));
        // The third node never reports.
        report(&mut matrix, 0, 2, (0, 10), 130);
        let row = built(&matrix, 0, 131);
        assert_eq!(row.row.cell(2).arrived_in_row, None);
    }

    #[test]
    fn round_trip_times_and_baselines_are_told() {
        let mut matrix = matrix();
        for n in 0..8 {
            report(&mut matrix, 0, 1, (10, 10), 100 + 10 * n);
        }
        let row = built(&matrix, 0, 171);
        let cell = row.row.cell(1);
        let rtt = RttCode::from_nanos(250_000).rtt().unwrap().as_duration();
        assert_eq!((cell.rtt, cell.rtt_baseline), (Some(rtt), Some(rtt)));
        assert_eq!(*row.row.cell(0), CellPicture::NOT_SAMPLED);
    }
}
