//! One path in words: everything that its cells hold.

use meshprobe_core::cell::PathCell;
use meshprobe_core::ids::NodeIndex;

use super::{LayerCells, Matrix};
use crate::pipeline::Now;
use crate::snapshot::CellDetail;

/// The cells from one node to another, each layer with data.
pub(crate) fn cell_details(
    matrix: &Matrix,
    source: NodeIndex,
    target: NodeIndex,
    now: Now,
) -> Vec<CellDetail> {
    let layers = matrix.layers().iter();
    layers
        .filter(|cells| cells.layer.kind.is_between_nodes() && source != target)
        .filter_map(|cells| {
            let cell = cells.cell(source.index(), target.index())?;
            cell.updated_at()?;
            // What the target received of the source is in the target's own row.
            let heard = cells.cell(target.index(), source.index());
            let received = heard.and_then(|cell| cell.fast_window(now.moment).received);
            Some(detail(cells, cell, received, now))
        })
        .collect()
}

/// The cells from a node to a DNS target.
pub(crate) fn dns_cell_details(
    matrix: &Matrix,
    source: NodeIndex,
    column: usize,
    now: Now,
) -> Vec<CellDetail> {
    let layers = matrix.layers().iter();
    layers
        .filter(|cells| !cells.layer.kind.is_between_nodes())
        .filter_map(|cells| {
            let cell = cells.cell(source.index(), column)?;
            cell.updated_at()?;
            Some(detail(cells, cell, None, now))
        })
        .collect()
}

fn detail(cells: &LayerCells, cell: &PathCell, received: Option<u32>, now: Now) -> CellDetail {
    let window = cell.fast_window(now.moment);
    let (min, median, max) = cell.rtt();
    CellDetail {
        layer: cells.layer,
        verdict: cell.verdict(now.moment, cells.thresholds()),
        sent: window.sent,
        replied: window.sent - window.lost.min(window.sent),
        received,
        consecutive_losses: cell.consecutive_losses().into(),
        rtt_min: min.rtt(),
        rtt_median: median.rtt(),
        rtt_max: max.rtt(),
        rtt_baseline: cell.rtt_baseline().rtt(),
        last_failure: cell.last_failure(),
        updated_at: cell.updated_at().map(|at| now.wall_at(at)),
        loss_lower: window.loss_lower,
        loss_upper: window.loss_upper,
    }
}
