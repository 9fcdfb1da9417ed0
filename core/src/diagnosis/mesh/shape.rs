//! The shapes that a cause may have in one matrix, and the legs that each of them covers.

use super::ground::Ground;

/// A set of legs (one way from a node to another) that one cause would break. Numbers are places in the [`Ground`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Shape {
    /// All legs.
    Everywhere,
    /// Between a zone and all others, both ways.
    Zone(u16),
    /// Between two zones, both ways.
    Zones(u16, u16),
    /// From a zone to another.
    ZonePair(u16, u16),
    /// To and from a node.
    Node(u32),
    /// To a node.
    Ingress(u32),
    /// From a node.
    Egress(u32),
    /// Between two nodes, both ways.
    Pair(u32, u32),
    /// From a node to another.
    Path(u32, u32),
}

impl Shape {
    /// Does it cover the leg from one place to another?
    #[inline]
    pub(super) fn covers(self, ground: &Ground<'_>, from: usize, to: usize) -> bool {
        match self {
            Self::Zone(_) | Self::Zones(..) | Self::ZonePair(..) => {
                let zones = (ground.zone(from) as u16, ground.zone(to) as u16);
                self.covers_leg((from as u32, zones.0), (to as u32, zones.1))
            }
            _ => self.covers_leg((from as u32, 0), (to as u32, 0)),
        }
    }

    /// The same, of places and their zones.
    #[inline]
    pub(super) fn covers_leg(self, from: (u32, u16), to: (u32, u16)) -> bool {
        let ((a, x), (b, y)) = (from, to);
        match self {
            Self::Everywhere => true,
            Self::Zone(zone) => (x == zone) != (y == zone),
            Self::Zones(one, other) => (x, y) == (one, other) || (x, y) == (other, one),
            Self::ZonePair(one, other) => (x, y) == (one, other),
            Self::Node(node) => a == node || b == node,
            Self::Ingress(node) => b == node,
            Self::Egress(node) => a == node,
            Self::Pair(one, other) => (a, b) == (one, other) || (a, b) == (other, one),
            Self::Path(one, other) => (a, b) == (one, other),
        }
    }

    /// Does it cover any leg from a zone to another? It may not if it is about a node.
    pub(super) fn may_cover(self, from: usize, to: usize) -> bool {
        let others = |zone: usize| (u32::MAX, zone as u16);
        self.is_path() || self.node().is_some() || self.covers_leg(others(from), others(to))
    }

    /// Does it touch the round trip between two places: one of its legs?
    pub(super) fn touches(self, ground: &Ground<'_>, from: usize, to: usize) -> bool {
        self.covers(ground, from, to) || self.covers(ground, to, from)
    }

    /// Is it about one path only?
    pub(super) const fn is_path(self) -> bool {
        matches!(self, Self::Path(..) | Self::Pair(..))
    }

    /// The node that it is all about.
    pub(super) const fn node(self) -> Option<u32> {
        match self {
            Self::Node(node) | Self::Ingress(node) | Self::Egress(node) => Some(node),
            _ => None,
        }
    }

    /// The same place, both ways: what a round trip sees of it.
    pub(super) fn both_ways(self) -> Self {
        match self {
            Self::Ingress(node) | Self::Egress(node) => Self::Node(node),
            Self::ZonePair(x, y) => Self::Zones(x.min(y), x.max(y)),
            Self::Path(a, b) => Self::Pair(a.min(b), a.max(b)),
            shape => shape,
        }
    }

    /// How many shapes of its family there are: what naming one of them costs.
    pub(super) fn family_size(self, ground: &Ground<'_>) -> f64 {
        let (nodes, zones) = (ground.len() as f64, ground.zone_count() as f64);
        match self {
            Self::Everywhere => 1.0,
            Self::Zone(_) => zones,
            Self::Zones(..) => (zones * (zones - 1.0) / 2.0).max(1.0),
            Self::ZonePair(..) => (zones * (zones - 1.0)).max(1.0),
            Self::Node(_) | Self::Ingress(_) | Self::Egress(_) => nodes,
            Self::Pair(..) => (nodes * (nodes - 1.0) / 2.0).max(1.0),
            Self::Path(..) => (nodes * (nodes - 1.0)).max(1.0),
        }
    }

    /// Every shape but the single paths that this mesh can tell apart.
    ///
    /// Left out is what is another shape under a larger name: a zone of one node is that node, the cut between the only two
    /// zones is theirs, and two nodes are a pair.
    pub(super) fn candidates(ground: &Ground<'_>) -> Vec<Self> {
        let nodes = ground.len() as u32;
        let mut shapes = Vec::with_capacity(3 * nodes as usize + 8);
        if nodes < 3 {
            return shapes;
        }
        shapes.push(Self::Everywhere);
        zone_shapes(ground, &mut shapes);
        for node in 0..nodes {
            shapes.extend([Self::Node(node), Self::Ingress(node), Self::Egress(node)]);
        }
        shapes
    }
}

/// Something about the legs from each zone to each zone, worked out once for many legs.
#[derive(Clone, Debug)]
pub(super) struct ZoneWays<T> {
    zone_count: usize,
    ways: Vec<T>,
}

impl ZoneWays<bool> {
    /// Does a shape that is about no single node cover them?
    pub(super) fn covered(shape: Shape, ground: &Ground<'_>) -> Self {
        Self::of(ground, |x, y| shape.covers_leg((0, x), (0, y)))
    }
}

impl<T: Copy + Default + PartialEq> ZoneWays<T> {
    pub(super) fn of(ground: &Ground<'_>, way: impl Fn(u16, u16) -> T) -> Self {
        let zone_count = ground.zone_count();
        let ways = (0..zone_count).flat_map(|x| (0..zone_count).map(move |y| (x, y)));
        Self {
            zone_count,
            ways: ways.map(|(x, y)| way(x as u16, y as u16)).collect(),
        }
    }

    /// Where the legs from one zone to another stand.
    #[inline]
    pub(super) const fn place(&self, from: usize, to: usize) -> usize {
        from * self.zone_count + to
    }

    /// That of the legs of a place.
    #[inline]
    pub(super) fn at(&self, place: usize) -> T {
        self.ways[place]
    }

    /// That of the legs from one zone to another, and of those back.
    #[inline]
    pub(super) fn between(&self, one: usize, other: usize) -> (T, T) {
        let way = |from, to| self.at(self.place(from, to));
        (way(one, other), way(other, one))
    }

    /// Is there anything about legs from or to a zone?
    pub(super) fn touches(&self, zone: usize) -> bool {
        let nothing = (T::default(), T::default());
        (0..self.zone_count).any(|other| self.between(zone, other) != nothing)
    }
}

fn zone_shapes(ground: &Ground<'_>, shapes: &mut Vec<Shape>) {
    let zones = ground.zone_count();
    let is_named = |zone: &usize| !ground.zone_name(*zone).is_empty();
    if zones < 2 {
        return;
    }
    let is_single = |zone: usize| ground.zone_size(zone) < 2;
    if zones > 2 {
        let cut = (0..zones).filter(|zone| is_named(zone) && !is_single(*zone));
        shapes.extend(cut.map(|zone| Shape::Zone(zone as u16)));
    }
    for x in (0..zones).filter(is_named) {
        for y in (x + 1..zones).filter(is_named) {
            let legs = ground.zone_size(x) * ground.zone_size(y);
            let is_node = zones == 2 && (is_single(x) || is_single(y));
            if legs < 2 || is_node {
                continue;
            }
            let (a, b) = (x as u16, y as u16);
            shapes.push(Shape::Zones(a, b));
            if legs > 2 {
                shapes.extend([Shape::ZonePair(a, b), Shape::ZonePair(b, a)]);
            }
        }
    }
}
