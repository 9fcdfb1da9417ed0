//! Counts of legs, summed up by row, column, zone pair and all together.

use super::ground::Ground;
use super::leg::{Leg, Sum, Worst};
use super::look::Mask;
use super::shape::Shape;

/// Which end of its paths a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Source,
    Target,
}

/// In place of a node: all of its zone.
pub(super) const OTHERS: u32 = u32::MAX;

/// The legs between a node and all nodes of a zone, one way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way<'a> {
    /// Place and zone of the node, or [`OTHERS`] and the zone.
    pub(super) from: (u32, u16),
    /// See `from`.
    pub(super) to: (u32, u16),
    pub(super) sum: &'a Sum,
    /// Nobody knows which way of their round trips lost them.
    pub(super) is_unclear: bool,
}

/// Who is shown legs.
pub(super) trait Visitor {
    /// One leg.
    fn leg(&mut self, from: usize, to: usize, leg: &Sum);

    /// Legs of paths of which a node is this end. All of its paths are shown so, and each path with both of its ends.
    fn way(&mut self, way: &Way<'_>, end: End);

    /// Places whose legs have to be shown one by one after that.
    fn apart(&self) -> Vec<u32>;

    /// A leg of such a place.
    fn set_apart(&mut self, from: usize, to: usize, leg: &Sum);

    /// A leg that was shown is no evidence.
    fn take_back(&mut self, from: usize, to: usize, leg: &Sum);

    /// Some path is slow.
    fn slow(&mut self);
}

/// Something that knows legs.
pub(super) trait Evidence {
    /// Every leg that something is known of. A leg may come twice: as the way out of its source's probes, and as the way
    /// back of its target's.
    fn visit(&self, visitor: &mut impl Visitor);

    /// Legs with their ends; those may be left out that lost nothing, or are in a group, from a zone to another, of which
    /// `is_asked` says that it is not asked for.
    fn visit_lossy(
        &self,
        is_asked: impl FnMut(usize, usize, &Worst) -> bool,
        take: impl FnMut(usize, usize, Leg),
    );

    /// The legs that a shape covers, with their ends; those may be left out whose paths lost nothing.
    fn visit_in(&self, shape: Shape, take: impl FnMut(usize, usize, Leg));

    /// Everything on the legs that a shape covers.
    fn sum(&self, shape: Shape) -> Sum;

    /// What is known of one leg, by who says it.
    fn words(&self, from: usize, to: usize) -> [Option<Leg>; 2];

    /// Everything that is known of one leg.
    fn leg(&self, from: usize, to: usize) -> Sum {
        let mut sum = Sum::EMPTY;
        self.words(from, to)
            .into_iter()
            .flatten()
            .for_each(|leg| sum.add(leg));
        sum
    }

    /// The share that is lost where all is well.
    fn healthy(&self) -> f64;

    /// Least share that a cause of many legs takes.
    fn least_ratio(&self) -> f64 {
        0.0
    }
}

/// The sums of all legs that the same causes explain.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Which causes those are.
    pub(super) causes: Mask,
    from: Vec<Sum>,
    to: Vec<Sum>,
    zones: Vec<Sum>,
    all: Sum,
    zone_count: usize,
}

impl Tally {
    pub(super) fn new(causes: Mask, ground: &Ground<'_>) -> Self {
        let (nodes, zone_count) = (ground.len(), ground.zone_count());
        Self {
            causes,
            from: vec![Sum::EMPTY; nodes],
            to: vec![Sum::EMPTY; nodes],
            zones: vec![Sum::EMPTY; zone_count * zone_count],
            all: Sum::EMPTY,
            zone_count,
        }
    }

    /// Legs from a place.
    pub(super) fn add_from(&mut self, from: usize, sum: &Sum) {
        self.from[from].merge(sum);
    }

    /// The same to a place.
    pub(super) fn add_to(&mut self, to: usize, sum: &Sum) {
        self.to[to].merge(sum);
    }

    /// The same between zones.
    pub(super) fn add_between(&mut self, zones: usize, sum: &Sum) {
        self.zones[zones].merge(sum);
    }

    pub(super) fn add(&mut self, from: usize, to: usize, zones: usize, sum: &Sum) {
        self.add_from(from, sum);
        self.add_to(to, sum);
        self.add_between(zones, sum);
    }

    /// All legs are in.
    pub(super) fn close(&mut self) {
        for sum in &self.from {
            self.all.merge(sum);
        }
    }

    pub(super) fn subtract(&mut self, from: usize, to: usize, zones: usize, sum: &Sum) {
        self.from[from].subtract(sum);
        self.to[to].subtract(sum);
        self.zones[zones].subtract(sum);
        self.all.subtract(sum);
    }

    fn zone_pair(&self, x: usize, y: usize) -> &Sum {
        &self.zones[x * self.zone_count + y]
    }

    /// The sum of the legs that a shape covers; not for single paths.
    pub(super) fn sum(&self, shape: Shape) -> Sum {
        let mut sum = Sum::EMPTY;
        match shape {
            Shape::Everywhere => sum = self.all,
            Shape::Zone(zone) => {
                let zone = usize::from(zone);
                for other in (0..self.zone_count).filter(|other| *other != zone) {
                    sum.merge(self.zone_pair(zone, other));
                    sum.merge(self.zone_pair(other, zone));
                }
            }
            Shape::Zones(x, y) => {
                sum = *self.zone_pair(x.into(), y.into());
                sum.merge(self.zone_pair(y.into(), x.into()));
            }
            Shape::ZonePair(x, y) => sum = *self.zone_pair(x.into(), y.into()),
            Shape::Node(node) => {
                sum = self.from[node as usize];
                sum.merge(&self.to[node as usize]);
            }
            Shape::Ingress(node) => sum = self.to[node as usize],
            Shape::Egress(node) => sum = self.from[node as usize],
            Shape::Pair(..) | Shape::Path(..) => {}
        }
        sum
    }
}
