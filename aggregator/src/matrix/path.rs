//! One path in words: everything that its cells hold, and what is known beside them.

use meshprobe_core::cell::PathCell;
use meshprobe_core::ids::NodeIndex;

use super::targets::{Group, TargetColumn};
use super::{LayerCells, Matrix, PathKey};
use crate::pipeline::Now;
use crate::snapshot::{CellDetail, Found, Traced};

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
            let received =
                heard.and_then(|cell| cell.fast_window(now.moment, cells.thresholds()).received);
            let found = found(matrix, cells, source, target.0, now);
            Some(detail(cells, cell, received, found, now))
        })
        .collect()
}

/// The cells from a node to a target that is no node.
pub(crate) fn target_cell_details(
    matrix: &Matrix,
    source: NodeIndex,
    target: TargetColumn,
    now: Now,
) -> Vec<CellDetail> {
    let layers = matrix.layers().iter();
    layers
        .filter(|cells| Group::of_layer(cells.layer) == target.group)
        .filter_map(|cells| {
            let cell = cells.cell(source.index(), target.index as usize)?;
            cell.updated_at()?;
            let found = found(matrix, cells, source, target.index, now);
            Some(detail(cells, cell, None, found, now))
        })
        .collect()
}

impl Matrix {
    /// The newest trace of each layer from one node to another.
    pub(crate) fn traced(&self, source: NodeIndex, target: NodeIndex, now: Now) -> Vec<Traced> {
        let leads = |path: &PathKey| {
            let is_node = Group::of_layer(path.layer) == Group::NODES;
            is_node && path.source == source && path.column == target.0
        };
        self.traced_by(leads, now)
    }

    /// The newest trace of each layer from a node to a target that is no node.
    pub(crate) fn traced_target(
        &self,
        source: NodeIndex,
        target: TargetColumn,
        now: Now,
    ) -> Vec<Traced> {
        self.traced_by(|path| path.source == source && path.leads_to(target), now)
    }

    fn traced_by(&self, leads: impl Fn(&PathKey) -> bool, now: Now) -> Vec<Traced> {
        let traces = self.traces.of(leads).into_iter();
        traces
            .map(|(route, at)| Traced {
                route: route.clone(),
                at: now.wall_at(at),
            })
            .collect()
    }
}

fn found(
    matrix: &Matrix,
    cells: &LayerCells,
    source: NodeIndex,
    column: u32,
    now: Now,
) -> Option<Found> {
    let path = PathKey {
        layer: cells.layer,
        source,
        column,
    };
    let (detail, at) = matrix.details.get(&path)?;
    Some(Found {
        detail,
        at: now.wall_at(at),
    })
}

fn detail(
    cells: &LayerCells,
    cell: &PathCell,
    received: Option<u32>,
    found: Option<Found>,
    now: Now,
) -> CellDetail {
    let window = cell.fast_window(now.moment, cells.thresholds());
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
        found,
    }
}
