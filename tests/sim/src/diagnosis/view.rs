//! From the mesh to a picture of it.

use std::sync::Arc;

use meshprobe_core::cell::PathCell;
use meshprobe_core::detail::Detail;
use meshprobe_core::diagnosis::{
    CellPicture, Heard, LayerPicture, Picture, RowPicture, Topology, TopologyNode,
};
use meshprobe_core::path::ProbeKind;
use meshprobe_core::time::Moment;

use super::cell::moment;
use super::engine::{Engine, Rows, counts_arrivals, targets_of};
use super::path::{Row, phase};
use super::sizes;
use super::world::{LayerSpec, World};

/// Nodes of the largest mesh whose healthy paths have details in the picture.
const MOST_DETAILS: usize = 60;
/// A row is looked at again after so many seconds, for its last word may have become too old.
const AGES: u32 = 10;

impl Engine {
    /// What the aggregator knows now.
    pub(super) fn picture(&mut self) -> Picture {
        let now = self.now;
        let world = Arc::clone(&self.world);
        let layers = world
            .layers
            .iter()
            .zip(&mut self.layers)
            .map(|(spec, rows)| LayerPicture {
                layer: spec.layer,
                interval: spec.interval,
                columns: spec.columns.clone(),
                rows: match rows {
                    Rows::Nodes(rows) => show_nodes(&world, spec, rows, now),
                    Rows::Targets(rows) => {
                        for row in rows.iter_mut() {
                            if row.is_changed || now.is_multiple_of(AGES) || row.shown.is_none() {
                                row.shown = Some(Arc::new(row.picture(spec, now)));
                                row.is_changed = false;
                            }
                        }
                        rows.iter().map(|row| row.shown.clone()).collect()
                    }
                },
            })
            .collect();
        Picture {
            known: Arc::default(),
            now: moment(now),
            topology: self.topology(),
            layers,
            nodes: self.nodes.iter().map(|node| node.picture(now)).collect(),
            traces: Vec::new(),
        }
    }

    fn topology(&self) -> Arc<Topology> {
        if self.nodes.iter().all(|node| node.lifecycle.is_judged()) {
            return Arc::clone(&self.world.topology);
        }
        let nodes = self.world.topology.nodes.iter().zip(&self.nodes);
        let nodes = nodes.map(|(known, node)| {
            known.as_ref().map(|known| TopologyNode {
                lifecycle: node.lifecycle,
                ..known.clone()
            })
        });
        Arc::new(Topology {
            nodes: nodes.collect(),
            zones: self.world.topology.zones.clone(),
        })
    }
}

fn show_nodes(
    world: &World,
    spec: &LayerSpec,
    rows: &mut [Row],
    now: u32,
) -> Vec<Option<Arc<RowPicture>>> {
    let shown: Vec<Option<RowPicture>> = rows
        .iter()
        .map(|row| {
            let is_due = row.is_changed || row.shown.is_none() || now.is_multiple_of(AGES);
            is_due.then(|| show_row(world, spec, row, rows, now))
        })
        .collect();
    for (row, shown) in rows.iter_mut().zip(shown) {
        if let Some(shown) = shown {
            row.shown = Some(Arc::new(shown));
            row.is_changed = false;
        }
    }
    rows.iter().map(|row| row.shown.clone()).collect()
}

fn show_row(world: &World, spec: &LayerSpec, row: &Row, rows: &[Row], now: u32) -> RowPicture {
    let (source, nodes) = (row.source, world.nodes());
    let counts = counts_arrivals(spec.layer);
    let show = |cell: &PathCell, heard: Option<Heard<'_>>| {
        CellPicture::of(cell, &row.coverage, heard, moment(now), &spec.thresholds)
    };
    // What nobody has lost anything of looks the same from both ends, as long as the target reports at all.
    let regular: Vec<CellPicture> = row.regular.iter().map(|cell| show(cell, None)).collect();
    let heard_of = |target: usize| {
        let there = &rows[target];
        let normal = &there.regular[phase(spec, target, source)];
        let cell = there.paths.get(&source).map_or(normal, |path| &path.cell);
        let coverage = there.coverage;
        let cell = Some(cell);
        counts.then_some(Heard { cell, coverage })
    };
    let mut cells = vec![CellPicture::NOT_SAMPLED; nodes];
    let mut details: Vec<(u32, Detail)> = Vec::new();
    let has_details = spec.layer.kind == ProbeKind::Mtu && nodes <= MOST_DETAILS;
    let mut own = row.paths.iter().peekable();
    for target in targets_of(spec, source, nodes) {
        while own.peek().is_some_and(|(at, _)| **at < target) {
            own.next();
        }
        let path = own.peek().filter(|(at, _)| **at == target);
        cells[target] = match path {
            None => {
                let mut cell = regular[phase(spec, source, target)];
                if counts && !is_stale(&rows[target], spec, now) {
                    cell.received = Some(cell.sent);
                    cell.long_received = Some(cell.long_sent);
                }
                cell
            }
            Some((_, path)) => show(&path.cell, heard_of(target)),
        };
        let detail = path.and_then(|(_, path)| path.detail.clone());
        let detail = detail.or_else(|| has_details.then(sizes::healthy));
        details.extend(detail.map(|detail| (target as u32, detail)));
    }
    RowPicture::dense(cells, details)
}

/// Is the newest report too old to say anything?
fn is_stale(row: &Row, spec: &LayerSpec, now: u32) -> bool {
    let end = row.coverage.end().unwrap_or(Moment::from_millis(0));
    moment(now).saturating_since(end).as_secs_f32() >= spec.thresholds.stale_after_seconds
}
