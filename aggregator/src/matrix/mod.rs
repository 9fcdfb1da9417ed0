//! The matrix: one cell of 40 octets for each path, in dense rows by node number.
//!
//! One task owns it; there is no lock. A row is allocated when its source first reports in that layer and grows with the
//! mesh, so memory follows the paths that exist and no growth copies the whole matrix.
//!
//! What j received from i is kept in j's row, in the cell j→i, because j's report is at hand then; a path's `received` is
//! therefore read from the cell of the reverse path. Writing it to the row of i would touch a cache line far away for
//! each path, and cost more than all the rest.

mod census;
mod details;
mod dictionary;
mod path;
mod picture;
mod reading;
mod target_pictures;
mod targets;
mod traces;

#[cfg(test)]
mod tests;

use std::time::Duration;

use meshprobe_core::cell::PathCell;
use meshprobe_core::coverage::Coverage;
use meshprobe_core::detail::Detail;
use meshprobe_core::diagnosis::TracePicture;
use meshprobe_core::ids::NodeIndex;
use meshprobe_core::path::{Layer, Plane, ProbeKind};
use meshprobe_core::time::Moment;
use meshprobe_core::verdict::Thresholds;
use meshprobe_proto::report::{Row, Rows};
use meshprobe_proto::v1;

use crate::plan::PlanConfig;

pub(crate) use census::{Census, CensusResult};
pub(crate) use details::{Details, Keeping, PathKey};
pub use dictionary::DictionaryError;
pub(crate) use dictionary::{Column, Dictionary};
pub(crate) use path::{cell_details, target_cell_details};
pub(crate) use picture::BuiltRow;
pub(crate) use reading::{Listing, Reading};
use targets::Group;
pub(crate) use targets::Targets;
pub use traces::TraceError;
use traces::Traces;
pub(crate) use traces::check_route;

/// Rows grow in steps of so many cells.
const ROW_STEP: usize = 16;
/// The fast window of a cell; a report about an older time says nothing about now.
pub(crate) const FAST_WINDOW: Duration = Duration::from_secs(10);

/// One run of an MTU probe holds its losses and their confirmation already.
const MTU_DOWN_AFTER: u8 = 1;

/// The rhythm of the mesh, from which thresholds follow.
#[derive(Clone, Debug)]
pub(crate) struct Rhythm {
    /// Intervals of kinds and planes; one second for those that are not in it.
    pub(crate) intervals: Vec<(ProbeKind, Plane, Duration)>,
    /// One report in this time when all is well.
    pub(crate) report_interval: Duration,
    /// Peers that each prober probes by QUIC.
    pub(crate) quic_sample: usize,
}

impl Rhythm {
    /// The rhythm that this plan asks for.
    pub(crate) fn of(plan: &PlanConfig) -> Self {
        let schedules = plan.schedules.iter();
        Self {
            intervals: schedules.map(|s| (s.kind, s.plane, s.interval)).collect(),
            report_interval: plan.report_interval,
            quic_sample: plan.quic_sample,
        }
    }

    /// Is this kind sent on this plane at all?
    fn has(&self, layer: Layer) -> bool {
        let mut kinds = self.intervals.iter();
        kinds.any(|(kind, plane, _)| (*kind, *plane) == (layer.kind, layer.plane))
    }

    fn interval(&self, layer: Layer) -> Duration {
        let mut kinds = self.intervals.iter();
        let found = kinds.find(|(kind, plane, _)| (*kind, *plane) == (layer.kind, layer.plane));
        found.map_or(Duration::from_secs(1), |(_, _, interval)| *interval)
    }

    fn thresholds(&self, layer: Layer, nodes: usize) -> Thresholds {
        let interval = self.interval(layer);
        let nodes = nodes as u64;
        let paths = nodes * nodes.saturating_sub(1);
        let thresholds = Thresholds::for_mesh(
            paths,
            interval.as_secs_f64(),
            self.report_interval.as_secs_f64(),
        );
        Thresholds {
            down_after: if layer.kind == ProbeKind::Mtu {
                MTU_DOWN_AFTER
            } else {
                thresholds.down_after
            },
            ..thresholds
        }
    }
}

/// The cells of one layer.
#[derive(Debug)]
pub(crate) struct LayerCells {
    pub(crate) layer: Layer,
    thresholds: Thresholds,
    /// By source; empty: it never reported in this layer.
    rows: Vec<Vec<PathCell>>,
    /// By source, as `rows`.
    coverage: Vec<Coverage>,
}

impl LayerCells {
    /// The cell, if its row reaches so far.
    #[inline]
    pub(crate) fn cell(&self, source: usize, column: usize) -> Option<&PathCell> {
        let slot = slot(self.layer, source, column)?;
        self.rows.get(source)?.get(slot)
    }

    pub(crate) fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// What a source has reported of lately.
    pub(crate) fn coverage(&self, source: usize) -> Coverage {
        self.coverage.get(source).copied().unwrap_or_default()
    }

    fn set_thresholds(&mut self, thresholds: Thresholds) {
        if thresholds.window_seconds != self.thresholds.window_seconds {
            for cell in self.rows.iter_mut().flatten() {
                cell.restart_window();
            }
            for coverage in &mut self.coverage {
                coverage.restart();
            }
        }
        self.thresholds = thresholds;
    }

    fn row_mut(&mut self, source: NodeIndex, width: usize) -> &mut Vec<PathCell> {
        let index = source.index();
        if self.rows.len() <= index {
            self.rows.resize_with(index + 1, Vec::new);
            self.coverage.resize(index + 1, Coverage::default());
        }
        let row = &mut self.rows[index];
        if row.len() < width {
            // Exact at first; in steps when the mesh grows under it, so that each join does not copy every row.
            let length = if row.is_empty() {
                width
            } else {
                width.next_multiple_of(ROW_STEP)
            };
            row.reserve_exact(length - row.len());
            row.resize(length, PathCell::EMPTY);
        }
        row
    }
}

/// Where in its source's row the cell of a column lies. A mesh has no path from a node to itself, and no cell for it.
#[inline]
fn slot(layer: Layer, source: usize, column: usize) -> Option<usize> {
    if !layer.kind.is_between_nodes() {
        return Some(column);
    }
    (column != source).then(|| column - usize::from(column > source))
}

/// The time that a report is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Length of its window.
    pub(crate) window: Duration,
    /// End of its window.
    pub(crate) end: Moment,
}

/// What applying a block did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    /// Paths that were updated.
    pub(crate) paths: u64,
    /// Rows about nodes that are not in the mesh (any more), or about the prober itself.
    pub(crate) skipped: u64,
}

/// Every path of the mesh.
#[derive(Debug)]
pub(crate) struct Matrix {
    rhythm: Rhythm,
    nodes: usize,
    /// Numbers of nodes are below this one.
    bound: usize,
    layers: Vec<LayerCells>,
    pub(crate) targets: Targets,
    details: Details,
    traces: Traces,
}

impl Matrix {
    /// No paths yet.
    pub(crate) fn new(rhythm: Rhythm) -> Self {
        Self {
            rhythm,
            nodes: 0,
            bound: 0,
            layers: Vec::new(),
            targets: Targets::default(),
            details: Details::default(),
            traces: Traces::default(),
        }
    }

    /// Numbers of nodes are below `bound` from now on.
    pub(crate) fn grow(&mut self, bound: usize) {
        self.bound = self.bound.max(bound);
    }

    /// The plan asks for another rhythm.
    pub(crate) fn set_rhythm(&mut self, rhythm: Rhythm) {
        self.rhythm = rhythm;
        self.set_nodes(self.nodes);
    }

    /// There are so many nodes now: with the number of paths the chance of a false alarm changes.
    pub(crate) fn set_nodes(&mut self, nodes: usize) {
        self.nodes = nodes;
        for cells in &mut self.layers {
            cells.set_thresholds(self.rhythm.thresholds(cells.layer, nodes));
        }
    }

    /// The plan has other targets: those that it does not have any more leave nothing behind.
    pub(crate) fn follow_targets(&mut self, plan: &PlanConfig) {
        for target in self.targets.follow(plan) {
            self.details.forget_target(target);
            self.traces.forget_target(target);
            for cells in &mut self.layers {
                if Group::of_layer(cells.layer) != target.group {
                    continue;
                }
                for row in &mut cells.rows {
                    if let Some(cell) = row.get_mut(target.index as usize) {
                        *cell = PathCell::EMPTY;
                    }
                }
            }
        }
    }

    /// The layers that have data, in order.
    pub(crate) fn layers(&self) -> &[LayerCells] {
        &self.layers
    }

    /// One layer.
    pub(crate) fn layer(&self, layer: Layer) -> Option<&LayerCells> {
        let found = self
            .layers
            .binary_search_by_key(&layer, |cells| cells.layer);
        found.ok().map(|i| &self.layers[i])
    }

    /// Can this block be applied? The number of the first target that cannot be.
    pub(crate) fn check(
        layer: Layer,
        target_delta: &[u32],
        columns: &[Column],
    ) -> Result<(), WrongTarget> {
        let mut target = 0_u32;
        let group = Group::of_layer(layer);
        for delta in target_delta {
            target = target.wrapping_add(*delta);
            match columns.get(target as usize) {
                Some(column) if column.group() == group => {}
                Some(_) => return Err(WrongTarget::Layer(target)),
                None => return Err(WrongTarget::Unknown(target)),
            }
        }
        Ok(())
    }

    /// Takes the rows of one block that [`Self::check`] found good. `on_row` sees each row of a vital kind.
    #[inline]
    pub(crate) fn apply(
        &mut self,
        source: NodeIndex,
        layer: Layer,
        rows: Rows<'_>,
        columns: &[Column],
        span: Span,
        mut on_row: impl FnMut(NodeIndex, &Row),
    ) -> Applied {
        let group = Group::of_layer(layer);
        let is_mesh = group == Group::NODES;
        let width = if is_mesh {
            self.bound.saturating_sub(1)
        } else {
            self.targets.width(group)
        };
        let number = self.layer_number(layer);
        let cells = &mut self.layers[number];
        let thresholds = cells.thresholds;
        cells.row_mut(source, width);
        let Span { window, end } = span;
        cells.coverage[source.index()].add(window, end, &thresholds);
        let cells = &mut cells.rows[source.index()];
        let mut applied = Applied::default();
        for row in rows {
            let column = columns.get(row.target.0 as usize);
            let index = column.and_then(|column| column.index());
            let found = index.and_then(|index| {
                let slot = slot(layer, source.index(), index)?;
                Some((index, cells.get_mut(slot)?))
            });
            let Some((index, cell)) = found else {
                applied.skipped += 1;
                continue;
            };
            cell.apply(&row.summary, end, &thresholds);
            if row.summary.received > 0 {
                let summary = &row.summary;
                cell.apply_received(summary.received, end, &thresholds);
            }
            applied.paths += 1;
            if !is_mesh {
                self.targets.see(group, index);
            }
            if layer.kind.is_vital() {
                on_row(NodeIndex(index as u32), &row);
            }
        }
        applied
    }

    /// Takes what the newest probe of a path found, in a report whose rows were applied. `None`: the target is not in the
    /// mesh.
    pub(crate) fn keep_detail(
        &mut self,
        source: NodeIndex,
        layer: Layer,
        column: Column,
        detail: &Detail,
        at: Moment,
    ) -> Option<Keeping> {
        let path = Self::path_key(source, layer, column)?;
        Some(self.details.keep(path, detail, at))
    }

    /// Takes a trace that [`check_route`] found good.
    pub(crate) fn keep_trace(
        &mut self,
        source: NodeIndex,
        layer: Layer,
        column: Column,
        route: v1::TraceRoute,
        at: Moment,
    ) {
        if let Some(path) = Self::path_key(source, layer, column) {
            self.traces.keep(path, route, at);
        }
    }

    fn path_key(source: NodeIndex, layer: Layer, column: Column) -> Option<PathKey> {
        let column = u32::try_from(column.index()?).ok()?;
        Some(PathKey {
            layer,
            source,
            column,
        })
    }

    /// The details of all paths.
    pub(crate) fn details(&self) -> &Details {
        &self.details
    }

    /// A node's number is free again: nothing of it stays behind for the next one.
    pub(crate) fn clear_node(&mut self, node: NodeIndex) {
        self.details.forget_node(node);
        self.traces.forget_node(node);
        for cells in &mut self.layers {
            if let Some(row) = cells.rows.get_mut(node.index()) {
                *row = Vec::new();
                cells.coverage[node.index()] = Coverage::default();
            }
            if !cells.layer.kind.is_between_nodes() {
                continue;
            }
            let layer = cells.layer;
            for (source, row) in cells.rows.iter_mut().enumerate() {
                let slot = slot(layer, source, node.index());
                if let Some(cell) = slot.and_then(|slot| row.get_mut(slot)) {
                    *cell = PathCell::EMPTY;
                }
            }
        }
    }

    /// The traces that were taken since then; `place` is where the column of a path stands in a picture.
    pub(crate) fn trace_pictures(
        &self,
        since: Moment,
        place: impl Fn(&PathKey) -> Option<u32>,
    ) -> Vec<TracePicture> {
        self.traces.pictures(since, place)
    }

    /// Time between two probes of a path of this layer.
    pub(crate) fn interval(&self, layer: Layer) -> Duration {
        self.rhythm.interval(layer)
    }

    /// Octets that the cells take.
    pub(crate) fn cell_bytes(&self) -> usize {
        let rows = self.layers.iter().flat_map(|cells| &cells.rows);
        rows.map(|row| row.capacity() * size_of::<PathCell>()).sum()
    }

    fn layer_number(&mut self, layer: Layer) -> usize {
        let found = self
            .layers
            .binary_search_by_key(&layer, |cells| cells.layer);
        found.unwrap_or_else(|index| {
            let thresholds = self.rhythm.thresholds(layer, self.nodes);
            let cells = LayerCells {
                layer,
                thresholds,
                rows: Vec::new(),
                coverage: Vec::new(),
            };
            self.layers.insert(index, cells);
            index
        })
    }

    #[cfg(test)]
    fn layer_mut(&mut self, layer: Layer) -> &mut LayerCells {
        let number = self.layer_number(layer);
        &mut self.layers[number]
    }
}

/// A target number that a block must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrongTarget {
    /// It is in no dictionary.
    Unknown(u32),
    /// It does not belong to the layer.
    Layer(u32),
}
