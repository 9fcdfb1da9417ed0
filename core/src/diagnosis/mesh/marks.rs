//! Paths of which it is only known whether something is wrong with them: too slow, too small, with dead flows.

use super::ground::Ground;
use super::leg::{Leg, Sum, UNIT, Worst};
use super::shape::Shape;
use super::tally::{Evidence, Visitor};
use crate::diagnosis::{CellPicture, Columns, LayerPicture, Picture};
use crate::path::ProbeKind;

/// One mark: from, to, how often in a row it was seen; zero: all is well.
type Mark = (u32, u32, u8);

/// Legs, good ones and bad ones.
#[derive(Clone, Debug)]
pub(super) struct Marks<'a> {
    ground: &'a Ground<'a>,
    legs: Vec<Mark>,
    /// Share of bad ones where all is well.
    pub(super) healthy: f64,
    /// Least share of bad ones among the legs of a cause.
    pub(super) least_ratio: f64,
}

impl<'a> Marks<'a> {
    /// Nothing is known yet.
    pub(super) const fn new(ground: &'a Ground<'a>, healthy: f64, least_ratio: f64) -> Self {
        Self {
            ground,
            legs: Vec::new(),
            healthy,
            least_ratio,
        }
    }

    /// A leg is well (`seen` is zero), or has been bad so many times in a row.
    pub(super) fn push(&mut self, from: usize, to: usize, seen: u8) {
        self.legs.push((from as u32, to as u32, seen));
    }

    /// All legs are in.
    pub(super) fn sort(&mut self) {
        self.legs.sort_unstable();
    }

    fn each(&self, mut take: impl FnMut(usize, usize, Leg)) {
        for &(from, to, seen) in &self.legs {
            take(from as usize, to as usize, leg(seen));
        }
    }
}

fn leg(seen: u8) -> Leg {
    let bad = u32::from(seen > 0);
    Leg {
        sent: UNIT,
        lost: bad * UNIT,
        fast_sent: 1,
        fast_lost: bad,
        dead: seen,
        ..Leg::default()
    }
}

impl Evidence for Marks<'_> {
    fn visit(&self, visitor: &mut impl Visitor) {
        self.each(|from, to, leg| visitor.leg(from, to, &Sum::of(leg)));
    }

    fn visit_lossy(
        &self,
        _: impl FnMut(usize, usize, &Worst) -> bool,
        take: impl FnMut(usize, usize, Leg),
    ) {
        self.each(take);
    }

    fn visit_in(&self, shape: Shape, mut take: impl FnMut(usize, usize, Leg)) {
        self.each(|from, to, leg| {
            if shape.covers(self.ground, from, to) {
                take(from, to, leg);
            }
        });
    }

    fn sum(&self, shape: Shape) -> Sum {
        let mut sum = Sum::EMPTY;
        self.visit_in(shape, |_, _, leg| sum.add(leg));
        sum
    }

    fn words(&self, from: usize, to: usize) -> [Option<Leg>; 2] {
        let key = (from as u32, to as u32);
        let first = self.legs.partition_point(|(a, b, _)| (*a, *b) < key);
        let mut same = self.legs[first..]
            .iter()
            .take_while(|(a, b, _)| (*a, *b) == key)
            .map(|(_, _, seen)| leg(*seen));
        [same.next(), same.next()]
    }

    fn healthy(&self) -> f64 {
        self.healthy
    }

    fn least_ratio(&self) -> f64 {
        self.least_ratio
    }
}

/// The layers between nodes of a kind, in their order: pod network first.
pub(super) fn layers_of(picture: &Picture, kind: ProbeKind) -> impl Iterator<Item = &LayerPicture> {
    let mut layers: Vec<&LayerPicture> = picture
        .layers
        .iter()
        .filter(|layer| matches!(layer.columns, Columns::Nodes) && layer.layer.kind == kind)
        .collect();
    layers.sort_by_key(|layer| layer.layer);
    layers.into_iter()
}

/// Every path of a layer between two judged nodes.
pub(super) fn each_path(
    layer: &LayerPicture,
    ground: &Ground<'_>,
    mut take: impl FnMut(usize, usize, &CellPicture),
) {
    for from in 0..ground.len() {
        let Some(Some(row)) = layer.rows.get(ground.node(from).index()) else {
            continue;
        };
        for (column, cell) in row.iter() {
            match ground.place(column) {
                Some(to) if to != from => take(from, to, cell),
                _ => {}
            }
        }
    }
}
