//! One look at all legs: their sums, apart by the causes that are known already.

use std::cell::Cell;

use super::ground::Ground;
use super::leg::{Leg, Sum, UNIT};
use super::shape::{Shape, ZoneWays};
use super::tally::{End, Evidence, OTHERS, Tally, Visitor, Way};

/// A set of causes of many legs: bit k stands for the k-th of them. Single paths have no bit, they are taken out of the
/// sums instead. Should there be more causes than bits, the last ones share a bit: these are whole nodes that the detector
/// has declared, of which each takes everything.
pub(super) type Mask = u64;

/// The bit of the k-th cause of many legs.
pub(super) const fn bit(k: usize) -> Mask {
    let last = Mask::BITS as usize - 1;
    1 << if k < last { k } else { last }
}

/// Which causes cover a leg, put together of what its ends and their zones say.
#[derive(Clone, Debug)]
struct Masks {
    from: Vec<Mask>,
    to: Vec<Mask>,
    zones: ZoneWays<Mask>,
    /// Places that causes of their own cover, ascending.
    covered: Vec<u32>,
}

impl Masks {
    /// `causes`: those of many legs, in order.
    fn of(causes: &[(Shape, f64)], ground: &Ground<'_>) -> Self {
        let mut from: Vec<Mask> = vec![0; ground.len()];
        let mut to = from.clone();
        for (k, (cause, _)) in causes.iter().enumerate() {
            match *cause {
                Shape::Ingress(node) => to[node as usize] |= bit(k),
                Shape::Egress(node) => from[node as usize] |= bit(k),
                Shape::Node(node) => {
                    from[node as usize] |= bit(k);
                    to[node as usize] |= bit(k);
                }
                _ => {}
            }
        }
        let of_zones = |(_, (cause, _)): &(usize, &(Shape, f64))| cause.node().is_none();
        let zones = ZoneWays::of(ground, |x, y| {
            let covering = causes.iter().enumerate().filter(of_zones);
            let covering = covering.filter(|(_, (cause, _))| cause.covers_leg((0, x), (0, y)));
            covering.fold(0, |mask, (k, _)| mask | bit(k))
        });
        let covered = (0..ground.len()).filter(|place| from[*place] | to[*place] != 0);
        let covered = covered.map(|place| place as u32).collect();
        Self {
            from,
            to,
            zones,
            covered,
        }
    }

    #[inline]
    fn at(&self, from: usize, to: usize, zones: usize) -> Mask {
        self.from[from] | self.to[to] | self.zones.at(zones)
    }

    /// The causes that cover the legs between two zones whose ends have none of their own; of either way, if it is not clear
    /// which one lost them.
    fn of_zones(&self, (from, to): (usize, usize), is_unclear: bool) -> Mask {
        let (own, back) = self.zones.between(from, to);
        if is_unclear { own | back } else { own }
    }
}

/// Everything that one look at the evidence gives.
#[derive(Debug)]
pub(super) struct Look<'a> {
    ground: &'a Ground<'a>,
    /// One for each set of causes that covers any leg.
    pub(super) tallies: Vec<Tally>,
    /// The share that each cause takes.
    ratios: Vec<f64>,
    healthy: f64,
    /// What a path has to explain to be worth its name.
    price: f64,
    masks: Masks,
    /// The tally that was used last.
    last: usize,
    /// Some path is slow.
    pub(super) is_slow: bool,
}

impl<'a> Look<'a> {
    /// Sums up all legs, apart by the causes that cover them, which take these shares. A path is notable if it may explain
    /// `price` by itself.
    pub(super) fn at(
        evidence: &impl Evidence,
        ground: &'a Ground<'a>,
        causes: &[(Shape, f64)],
        price: f64,
    ) -> Self {
        let (paths, large): (Vec<(Shape, f64)>, Vec<_>) =
            causes.iter().partition(|(shape, _)| shape.is_path());
        let mut look = Self {
            ground,
            tallies: vec![Tally::new(0, ground)],
            ratios: large.iter().map(|(_, ratio)| *ratio).collect(),
            healthy: evidence.healthy(),
            price,
            masks: Masks::of(&large, ground),
            last: 0,
            is_slow: false,
        };
        evidence.visit(&mut look);
        look.tallies.iter_mut().for_each(Tally::close);
        for (path, _) in paths {
            look.take_out(evidence, path);
        }
        look
    }

    /// Legs that may be causes of their own, ascending. Found when they are asked for, which they are not as long as a cause of
    /// many legs explains more.
    pub(super) fn notable(&self, evidence: &impl Evidence) -> Vec<(u32, u32)> {
        let bases = self.explained_by_zones();
        let mut legs: Vec<(u32, u32)> = Vec::new();
        evidence.visit_lossy(
            |x, y, worst| {
                let (sent, ratio) = (packets(worst.sent), worst.ratio);
                self.may_be_worth(sent, ratio, bases.at(bases.place(x, y)))
            },
            |from, to, leg| {
                if self.is_notable(from, to, leg) {
                    legs.push((from as u32, to as u32));
                }
            },
        );
        legs.sort_unstable();
        legs.dedup();
        legs
    }

    /// May a leg be worth the name of its path? Of the two looks at a leg, one has to explain half of the price.
    fn is_notable(&self, from: usize, to: usize, leg: Leg) -> bool {
        let (sent, lost, ratio) = (packets(leg.sent), packets(leg.lost), leg.ratio());
        if !self.may_be_worth(sent, ratio, self.healthy) {
            return false;
        }
        let base = self.explained(self.mask(from, to, leg.is_ambiguous));
        self.may_be_worth(sent, ratio, base)
            && 2.0 * (likelihood(sent, lost, ratio) - likelihood(sent, lost, base)) >= self.price
    }

    /// The same as far as it is known without a logarithm. The less is explained, the sooner it is so.
    fn may_be_worth(&self, sent: f64, ratio: f64, base: f64) -> bool {
        // Of the legs that a cause covers half are no worse than it says.
        if ratio <= base {
            return false;
        }
        // The divergence of two distributions is at most their chi-square.
        let most = sent * (ratio - base).powi(2) / (base * (1.0 - base));
        2.0 * most >= self.price
    }

    /// No path, which has two legs with two words on each, explains more. What the causes take is measured anew after the look,
    /// so this is twice as much as the look itself says.
    pub(super) fn most_of_a_path(&self, evidence: &impl Evidence) -> f64 {
        let bases = self.explained_by_zones();
        // Even if all of it were lost.
        let worth = |lost: u32, base: f64| packets(lost) * -base.ln();
        let most = Cell::new(0.0);
        evidence.visit_lossy(
            |x, y, worst| worth(worst.lost, bases.at(bases.place(x, y))) > most.get(),
            |from, to, leg| {
                let base = self.explained(self.mask(from, to, leg.is_ambiguous));
                most.set(worth(leg.lost, base).max(most.get()));
            },
        );
        2.0 * 4.0 * most.get()
    }

    /// The loss of legs between zones that is explained, if no cause is about one of their ends alone.
    fn explained_by_zones(&self) -> ZoneWays<f64> {
        ZoneWays::of(self.ground, |x, y| {
            let zones = &self.masks.zones;
            self.explained(zones.at(zones.place(x.into(), y.into())))
        })
    }

    /// The loss of legs that a set of causes covers, as far as they explain it.
    fn explained(&self, mask: Mask) -> f64 {
        if mask == 0 {
            return self.healthy;
        }
        explained(self.ratios.iter().copied(), mask, self.healthy)
    }

    /// The sum of the legs of a shape that no cause covers.
    pub(super) fn plain(&self, shape: Shape) -> Sum {
        self.tallies[0].sum(shape)
    }

    /// The causes that may take packets of a leg, as bits: of a round trip of which nobody knows which way lost them, those
    /// that cover either way.
    pub(super) fn mask(&self, from: usize, to: usize, is_ambiguous: bool) -> Mask {
        let own = self.masks.at(from, to, self.zones(from, to));
        if !is_ambiguous {
            return own;
        }
        own | self.masks.at(to, from, self.zones(to, from))
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
            let zones = self.zones(from, to);
            for leg in evidence.words(from, to).into_iter().flatten() {
                let mask = self.mask(from, to, leg.is_ambiguous);
                let leg = Sum::of(leg);
                self.tally(mask).subtract(from, to, zones, &leg);
            }
        }
    }

    #[inline]
    fn zones(&self, from: usize, to: usize) -> usize {
        self.masks
            .zones
            .place(self.ground.zone(from), self.ground.zone(to))
    }

    #[inline]
    fn tally(&mut self, mask: Mask) -> &mut Tally {
        if self.tallies[self.last].causes != mask {
            let known = self.tallies.iter().position(|tally| tally.causes == mask);
            self.last = known.unwrap_or_else(|| {
                self.tallies.push(Tally::new(mask, self.ground));
                self.tallies.len() - 1
            });
        }
        &mut self.tallies[self.last]
    }
}

impl Visitor for Look<'_> {
    fn leg(&mut self, from: usize, to: usize, leg: &Sum) {
        let zones = self.zones(from, to);
        let mask = self.mask(from, to, leg.ambiguous > 0);
        self.tally(mask).add(from, to, zones, leg);
    }

    fn way(&mut self, way: &Way<'_>, end: End) {
        let ((from, x), (to, y)) = (way.from, way.to);
        let zones = self.masks.zones.place(x.into(), y.into());
        let mask = self.masks.of_zones((x.into(), y.into()), way.is_unclear);
        let tally = self.tally(mask);
        if from == OTHERS {
            tally.add_to(to as usize, way.sum);
        } else {
            tally.add_from(from as usize, way.sum);
        }
        if end == End::Source {
            tally.add_between(zones, way.sum);
        }
    }

    fn apart(&self) -> Vec<u32> {
        self.masks.covered.clone()
    }

    fn set_apart(&mut self, from: usize, to: usize, leg: &Sum) {
        let zones = (self.ground.zone(from), self.ground.zone(to));
        let mask = self.masks.of_zones(zones, leg.ambiguous > 0);
        let zones = self.zones(from, to);
        self.tally(mask).subtract(from, to, zones, leg);
        self.leg(from, to, leg);
    }

    fn take_back(&mut self, from: usize, to: usize, leg: &Sum) {
        let zones = self.zones(from, to);
        let mask = self.mask(from, to, leg.ambiguous > 0);
        self.tally(mask).subtract(from, to, zones, leg);
    }

    fn slow(&mut self) {
        self.is_slow = true;
    }
}

/// [`UNIT`]s as packets.
fn packets(units: u32) -> f64 {
    f64::from(units) / f64::from(UNIT)
}

/// The loss of legs that a set of causes covers, as far as they explain it. `ratios`: the share that each cause of many legs
/// takes.
pub(super) fn explained(ratios: impl Iterator<Item = f64>, mask: Mask, healthy: f64) -> f64 {
    let covering = ratios.enumerate().filter(|(k, _)| mask & bit(*k) != 0);
    let through: f64 = covering.map(|(_, ratio)| 1.0 - ratio).product();
    1.0 - through * (1.0 - healthy)
}

/// ln of the probability of so many losses at a ratio.
pub(super) fn likelihood(sent: f64, lost: f64, ratio: f64) -> f64 {
    let ratio = ratio.clamp(1e-9, 1.0 - 1e-9);
    lost * ratio.ln() + (sent - lost) * (1.0 - ratio).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_bit_of_its_own_as_long_as_there_are_some() {
        let bits: Vec<Mask> = (0..200).map(bit).collect();
        assert!(bits.iter().all(|bit| bit.is_power_of_two()));
        let own = &bits[..63];
        assert_eq!(own.iter().fold(0, |all, bit| all | bit).count_ones(), 63);
        assert!(
            bits[63..]
                .iter()
                .all(|bit| *bit == bits[63] && !own.contains(bit))
        );
    }
}
