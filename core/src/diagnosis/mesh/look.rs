//! One look at all legs: their sums, apart by the causes that are known already.

use super::ground::Ground;
use super::shape::Shape;
use super::tally::{Clean, Evidence, Leg, Tally, Visitor};

/// Which causes cover a leg, as bits, put together of what its ends and their zones say.
#[derive(Clone, Debug)]
struct Masks {
    from: Vec<u32>,
    to: Vec<u32>,
    zones: Vec<u32>,
    zone_count: usize,
}

impl Masks {
    fn of(causes: &[Shape], ground: &Ground<'_>) -> Self {
        let zone_count = ground.zone_count();
        let mut masks = Self {
            from: vec![0; ground.len()],
            to: vec![0; ground.len()],
            zones: vec![0; zone_count * zone_count],
            zone_count,
        };
        for (k, cause) in causes.iter().enumerate() {
            let bit = 1 << k;
            match *cause {
                Shape::Ingress(node) => masks.to[node as usize] |= bit,
                Shape::Egress(node) => masks.from[node as usize] |= bit,
                Shape::Node(node) => {
                    masks.from[node as usize] |= bit;
                    masks.to[node as usize] |= bit;
                }
                // Single paths are taken out of the sums instead.
                Shape::Path(..) | Shape::Pair(..) => {}
                shape => {
                    for x in 0..zone_count {
                        for y in 0..zone_count {
                            let covers = shape.covers_leg((0, x as u16), (0, y as u16));
                            masks.zones[x * zone_count + y] |= if covers { bit } else { 0 };
                        }
                    }
                }
            }
        }
        masks
    }

    #[inline]
    fn at(&self, from: usize, to: usize, zones: usize) -> u32 {
        self.from[from] | self.to[to] | self.zones[zones]
    }
}

/// Everything that one look at the evidence gives.
#[derive(Debug)]
pub(super) struct Look<'a> {
    ground: &'a Ground<'a>,
    /// One for each set of causes that covers any leg.
    pub(super) tallies: Vec<Tally>,
    /// Legs that may be causes of their own, ascending.
    pub(super) notable: Vec<(u32, u32)>,
    threshold: u32,
    masks: Masks,
    is_plain: bool,
    /// The tally that was used last.
    last: usize,
}

impl<'a> Look<'a> {
    /// Sums up all legs, apart by the causes that cover them.
    pub(super) fn at(evidence: &impl Evidence, ground: &'a Ground<'a>, causes: &[Shape]) -> Self {
        let mut look = Self {
            ground,
            tallies: vec![Tally::new(0, ground)],
            notable: Vec::new(),
            threshold: evidence.notable(),
            masks: Masks::of(causes, ground),
            is_plain: causes.is_empty(),
            last: 0,
        };
        evidence.visit(&mut look);
        look.tallies.iter_mut().for_each(Tally::close);
        look.notable.sort_unstable();
        look.notable.dedup();
        look
    }

    /// The causes that cover a leg, as bits.
    pub(super) fn mask(&self, from: usize, to: usize) -> u32 {
        self.masks.at(from, to, self.zones(from, to))
    }

    /// A single path is a cause: its legs are no part of any other one.
    pub(super) fn take_out(&mut self, evidence: &impl Evidence, path: Shape) {
        let legs = match path {
            Shape::Path(a, b) => vec![(a, b)],
            Shape::Pair(a, b) => vec![(a, b), (b, a)],
            _ => Vec::new(),
        };
        for (from, to) in legs {
            let (from, to) = (from as usize, to as usize);
            let sum = evidence.leg(from, to);
            let (mask, zones) = (self.mask(from, to), self.zones(from, to));
            if sum.legs > 0 {
                self.tally(mask).subtract(from, to, zones, &sum);
            }
        }
    }

    #[inline]
    fn zones(&self, from: usize, to: usize) -> usize {
        self.ground.zone(from) * self.masks.zone_count + self.ground.zone(to)
    }

    #[inline]
    fn tally(&mut self, mask: u32) -> &mut Tally {
        if self.tallies[self.last].causes != mask {
            let known = self.tallies.iter().position(|tally| tally.causes == mask);
            self.last = known.unwrap_or_else(|| {
                self.tallies.push(Tally::new(mask, self.ground));
                self.tallies.len() - 1
            });
        }
        &mut self.tallies[self.last]
    }

    #[inline]
    fn add_clean(&mut self, from: usize, to: usize, leg: Clean) {
        let zones = self.zones(from, to);
        let mask = if self.is_plain {
            0
        } else {
            self.masks.at(from, to, zones)
        };
        self.tally(mask).add_clean(from, to, zones, leg);
    }
}

impl Visitor for Look<'_> {
    #[inline]
    fn clean(&mut self, from: usize, to: usize, leg: Clean) {
        self.add_clean(from, to, leg);
        if leg.both_ways {
            self.add_clean(to, from, leg);
        }
    }

    fn leg(&mut self, from: usize, to: usize, leg: Leg) {
        if leg.lost >= self.threshold || leg.dead > 0 {
            self.notable.push((from as u32, to as u32));
        }
        let zones = self.zones(from, to);
        let mask = self.masks.at(from, to, zones);
        self.tally(mask).add(from, to, zones, leg);
    }
}
