//! Dead flows: a member of a group of equal paths takes some source ports and spares the others; a full connection table takes
//! those that are new.

use super::across::each_touched;
use super::ground::Ground;
use super::loss::{dead_row, is_told};
use super::marks::{Marks, each_path};
use super::search::{Standing, search};
use super::shape::Shape;
use crate::detail::{Detail, FlowLoss};
use crate::diagnosis::{CellPicture, DiagnosisConfig, LayerPicture};

/// Share of lossy paths that look as if a flow was dead, by chance.
const DEAD_BY_CHANCE: f64 = 0.02;
/// Of the paths of a cause so many have a dead flow, at least: each path tries but a few ports of a group of sixteen.
const LEAST_RATIO: f64 = 0.15;
/// Of the flows of a group of equal paths no more are dead; where more fail, everything does.
const MOST_FAILING: f64 = 0.6;
/// Of what is lost, the flows that do not fail lose at most this share as often: a dead member spares them.
const SPARED: f64 = 0.25;
/// A path that has dead flows loses a probe each time that it comes to one. When as many, and half as many again, are missing,
/// they are dead no more.
const MISSING: f64 = 1.5;
/// So many probes of living flows tell whether they are spared.
const LIVING_TELL: u32 = 20;
/// Flows of a path that have to be judged, on average, before it is said that none is dead.
const ENOUGH: u32 = 4;

/// Flows of the paths of a place.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct FlowCount {
    /// Paths whose prober counts by flow.
    pub(super) paths: u32,
    /// Paths of which every judged flow fails.
    pub(super) whole: u32,
    /// Flows that were judged.
    pub(super) tested: u32,
    /// Of those, dead.
    pub(super) failing: u32,
    /// Probes of the others.
    living_sent: u32,
    /// Of those, lost.
    living_lost: u32,
    /// Paths with dead flows, and what these should have lost since each path's last loss.
    hit: u32,
    missing: f64,
}

impl FlowCount {
    /// Of the paths that a shape touches.
    pub(super) fn of(layer: &LayerPicture, ground: &Ground<'_>, shape: Shape) -> Self {
        let mut count = Self::default();
        each_flow_loss(layer, ground, shape, |cell, flows| {
            if cell.long_lost <= 0.0 {
                return;
            }
            // Where every flow fails it is no matter of flows.
            if flows.failing > 0 && flows.failing >= flows.tested {
                count.whole += 1;
                return;
            }
            count.paths += 1;
            count.tested += flows.tested;
            count.failing += flows.failing;
            count.living_sent += flows.living_sent;
            count.living_lost += flows.living_lost;
            if flows.failing > 0 {
                let dead = f64::from(flows.failing) / f64::from(flows.tested.max(1));
                count.hit += 1;
                count.missing += dead * f64::from(cell.consecutive_replies);
            }
        });
        count
    }

    /// Some flows are dead now, and most of the others live and lose little.
    fn is_plausible(&self) -> bool {
        let share = f64::from(self.failing) / f64::from(self.tested.max(1));
        !self.is_over()
            && self.whole <= self.paths
            && share <= MOST_FAILING
            && self.spares_others(share)
    }

    /// Are losses missing that dead flows would have made? Each path visits its flows in turn.
    fn is_over(&self) -> bool {
        self.missing > MISSING * f64::from(self.hit)
    }

    /// Do the flows that do not fail lose far less than a share of all?
    fn spares_others(&self, ratio: f64) -> bool {
        is_spared(self.living_sent, self.living_lost, ratio)
    }

    /// Are flows that lose everything what a share of lost round trips consists of?
    pub(super) fn is_cause(&self, ratio: f64) -> bool {
        let share = f64::from(self.failing) / f64::from(self.tested.max(1));
        self.failing > 1
            && !self.is_over()
            && self.whole <= self.paths
            && share <= MOST_FAILING
            && 2.0 * share >= ratio
            && self.spares_others(ratio)
            && self.tested >= ENOUGH * self.paths
    }

    /// Are there too few judged flows to say that a share of lost packets is no matter of flows?
    pub(super) fn is_open(&self, ratio: f64) -> bool {
        if self.paths == 0 || self.whole > self.paths || ratio > MOST_FAILING {
            return false;
        }
        if self.living_sent >= LIVING_TELL && !self.spares_others(ratio) {
            return false;
        }
        let expected = f64::from(self.tested) * ratio;
        if 2.0 * f64::from(self.failing) >= expected && self.failing > 1 {
            return true;
        }
        self.tested < ENOUGH * self.paths && expected < f64::from(ENOUGH)
    }
}

/// Places where some flows are dead, with what is known of their flows.
pub(super) fn places(
    layer: &LayerPicture,
    ground: &Ground<'_>,
    config: &DiagnosisConfig,
) -> Vec<(Shape, FlowCount)> {
    let mut any = false;
    each_detail(layer, |flows| any |= flows.failing > 0);
    if !any {
        return Vec::new();
    }
    let mut marks = Marks::new(ground, DEAD_BY_CHANCE, LEAST_RATIO);
    each_path(layer, ground, |from, to, cell| {
        if !is_told(cell) || dead_row(cell) > 0 {
            return;
        }
        match flows(layer, ground, from, to) {
            Some(flows) if flows.failing > 0 && flows.failing >= flows.tested => {}
            Some(flows) if flows.failing > 0 => {
                let share = f64::from(flows.failing) / f64::from(flows.tested.max(1));
                let missing = share * f64::from(cell.consecutive_replies);
                if missing > MISSING {
                    marks.push(from, to, 0);
                } else if is_spared(flows.living_sent, flows.living_lost, share) {
                    marks.push(from, to, 1);
                }
            }
            Some(flows) if flows.tested > 0 => marks.push(from, to, 0),
            None if is_clean(cell) => marks.push(from, to, 0),
            _ => {}
        }
    });
    marks.sort();
    let found = search(&marks, ground, None, Vec::new(), config.max_causes);
    let found = found.into_iter().filter(|f| f.standing == Standing::Found);
    found
        .map(|f| f.shape.both_ways())
        .map(|shape| (shape, FlowCount::of(layer, ground, shape)))
        .filter(|(_, count)| count.is_plausible())
        .collect()
}

/// See [`SPARED`]. Where the living ones are not told apart, they are taken to be spared.
fn is_spared(sent: u32, lost: u32, ratio: f64) -> bool {
    f64::from(lost) <= SPARED * ratio * f64::from(sent)
}

fn is_clean(cell: &CellPicture) -> bool {
    cell.lost == 0 && cell.long_lost < 0.5
}

pub(super) fn flows<'a>(
    layer: &'a LayerPicture,
    ground: &Ground<'_>,
    from: usize,
    to: usize,
) -> Option<&'a FlowLoss> {
    let row = layer.rows.get(ground.node(from).index())?;
    match row.as_deref()?.detail(ground.node(to).index())? {
        Detail::Udp(detail) => detail.flows.as_ref(),
        _ => None,
    }
}

/// What is known of the flows of each path that a shape touches.
fn each_flow_loss(
    layer: &LayerPicture,
    ground: &Ground<'_>,
    shape: Shape,
    mut take: impl FnMut(&CellPicture, &FlowLoss),
) {
    if shape.is_path() || shape.node().is_some() {
        each_touched(layer, ground, shape, |from, to, cell| {
            if let Some(flows) = flows(layer, ground, from, to) {
                take(cell, flows);
            }
        });
        return;
    }
    // Few paths have details.
    for from in 0..ground.len() {
        let row = layer.rows.get(ground.node(from).index());
        let Some(Some(row)) = row else { continue };
        for (column, detail) in &row.details {
            let column = *column as usize;
            let cell = row.cell(column);
            if let Detail::Udp(detail) = detail
                && let Some(flows) = &detail.flows
                && let Some(to) = ground.place(column)
                && from != to
                && shape.touches(ground, from, to)
                && is_told(cell)
            {
                take(cell, flows);
            }
        }
    }
}

fn each_detail(layer: &LayerPicture, mut take: impl FnMut(&FlowLoss)) {
    for row in layer.rows.iter().flatten() {
        for (_, detail) in &row.details {
            if let Detail::Udp(detail) = detail
                && let Some(flows) = &detail.flows
            {
                take(flows);
            }
        }
    }
}
