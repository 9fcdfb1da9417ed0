//! One look at all legs: their sums, apart by the causes that are known already.

use super::ground::Ground;
use super::loss_rows::LossRow;
use super::shape::Shape;
use super::tally::{Clean, Evidence, Leg, Sum, Tally, UNIT, Visitor};

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
    zones: Vec<Mask>,
    zone_count: usize,
    /// Places that causes of their own cover, ascending.
    covered: Vec<u32>,
}

impl Masks {
    /// `causes`: those of many legs, in order.
    fn of(causes: &[(Shape, f64)], ground: &Ground<'_>) -> Self {
        let zone_count = ground.zone_count();
        let mut masks = Self {
            from: vec![0; ground.len()],
            to: vec![0; ground.len()],
            zones: vec![0; zone_count * zone_count],
            zone_count,
            covered: Vec::new(),
        };
        for (k, (cause, _)) in causes.iter().enumerate() {
            let bit = bit(k);
            match *cause {
                Shape::Ingress(node) => masks.to[node as usize] |= bit,
                Shape::Egress(node) => masks.from[node as usize] |= bit,
                Shape::Node(node) => {
                    masks.from[node as usize] |= bit;
                    masks.to[node as usize] |= bit;
                }
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
        let covered = (0..ground.len()).filter(|place| masks.from[*place] | masks.to[*place] != 0);
        masks.covered = covered.map(|place| place as u32).collect();
        masks
    }

    /// Does a cause cover more of a source's paths, out or back, than those to `covered` places?
    fn is_row_covered(&self, from: usize, zone: usize) -> bool {
        let mut zones = 0..self.zone_count;
        self.from[from] | self.to[from] != 0
            || zones.any(|other| {
                self.zones[zone * self.zone_count + other]
                    | self.zones[other * self.zone_count + zone]
                    != 0
            })
    }

    #[inline]
    fn at(&self, from: usize, to: usize, zones: usize) -> Mask {
        self.from[from] | self.to[to] | self.zones[zones]
    }
}

/// Everything that one look at the evidence gives.
#[derive(Debug)]
pub(super) struct Look<'a> {
    ground: &'a Ground<'a>,
    /// One for each set of causes that covers any leg.
    pub(super) tallies: Vec<Tally>,
    /// What a leg explains at most.
    most_of_a_leg: f64,
    /// Legs that may be causes of their own, ascending.
    pub(super) notable: Vec<(u32, u32)>,
    /// Loss that is explained, by tally.
    explained: Vec<f64>,
    /// What one loss explains at most, by tally.
    worth_of_loss: Vec<f64>,
    /// The share that each cause takes.
    ratios: Vec<f64>,
    healthy: f64,
    /// What a path has to explain to be worth its name.
    price: f64,
    masks: Masks,
    is_plain: bool,
    /// The paths of whole rows were clean on the way back as well.
    both_ways: bool,
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
        let healthy = evidence.healthy();
        let mut look = Self {
            ground,
            tallies: vec![Tally::new(0, ground)],
            most_of_a_leg: 0.0,
            notable: Vec::new(),
            explained: vec![healthy],
            worth_of_loss: vec![-healthy.ln()],
            ratios: large.iter().map(|(_, ratio)| *ratio).collect(),
            healthy,
            price,
            masks: Masks::of(&large, ground),
            is_plain: large.is_empty(),
            both_ways: false,
            last: 0,
            is_slow: false,
        };
        evidence.visit(&mut look);
        let both_ways = look.both_ways;
        let tallies = look.tallies.iter_mut();
        tallies.for_each(|tally| tally.close(ground, both_ways));
        look.notable.sort_unstable();
        look.notable.dedup();
        for (path, _) in paths {
            look.take_out(evidence, path);
        }
        look
    }

    /// No path, which has two legs with two words on each, explains more. What the causes take is measured anew after the look,
    /// so this is twice as much as the look itself says.
    pub(super) fn most_of_a_path(&self) -> f64 {
        2.0 * 4.0 * self.most_of_a_leg
    }

    /// The sum of the legs of a shape that no cause covers.
    pub(super) fn plain(&self, shape: Shape) -> Sum {
        self.tallies[0].sum(shape)
    }

    /// The causes that may take packets of a leg, as bits: of a round trip of which nobody knows which way lost them, those
    /// that cover either way.
    pub(super) fn mask(&self, from: usize, to: usize, leg: &Leg) -> Mask {
        let own = self.masks.at(from, to, self.zones(from, to));
        if self.is_plain || !leg.is_ambiguous {
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
                let mask = self.mask(from, to, &leg);
                let mut sum = Sum::EMPTY;
                sum.add(leg);
                self.tally(mask).subtract(from, to, zones, &sum);
            }
        }
    }

    #[inline]
    fn zones(&self, from: usize, to: usize) -> usize {
        self.ground.zone(from) * self.masks.zone_count + self.ground.zone(to)
    }

    #[inline]
    fn tally(&mut self, mask: Mask) -> &mut Tally {
        if self.tallies[self.last].causes != mask {
            let known = self.tallies.iter().position(|tally| tally.causes == mask);
            self.last = known.unwrap_or_else(|| {
                self.tallies.push(Tally::new(mask, self.ground));
                let explained = explained(self.ratios.iter().copied(), mask, self.healthy);
                self.explained.push(explained);
                self.worth_of_loss.push(-explained.ln());
                self.tallies.len() - 1
            });
        }
        &mut self.tallies[self.last]
    }

    /// The tally of a clean leg, and the zones that it is between.
    #[inline]
    fn tally_of_clean(&mut self, from: usize, to: usize) -> (&mut Tally, usize) {
        let zones = self.zones(from, to);
        let mask = if self.is_plain {
            0
        } else {
            self.masks.at(from, to, zones)
        };
        (self.tally(mask), zones)
    }
}

impl Visitor for Look<'_> {
    fn clean(&mut self, from: usize, to: usize, leg: Clean, both_ways: bool) {
        let (tally, zones) = self.tally_of_clean(from, to);
        tally.add_clean(from, to, zones, leg);
        if both_ways {
            let (tally, zones) = self.tally_of_clean(to, from);
            tally.add_clean(to, from, zones, leg);
        }
    }

    fn take_back(&mut self, from: usize, to: usize, leg: Clean, both_ways: bool) {
        let (tally, zones) = self.tally_of_clean(from, to);
        tally.take_back(from, to, zones, leg);
        if both_ways {
            let (tally, zones) = self.tally_of_clean(to, from);
            tally.take_back(to, from, zones, leg);
        }
    }

    fn clean_row(&mut self, from: usize, row: &LossRow, both_ways: bool) {
        let ground = self.ground;
        if !row.is_dense() || self.masks.is_row_covered(from, ground.zone(from)) {
            for (column, leg) in row.each_clean() {
                if let Some(to) = ground.place(column) {
                    self.clean(from, to, leg, both_ways);
                }
            }
            return;
        }
        self.both_ways = both_ways;
        self.tallies[0].add_clean_row(from, row, ground);
        // The few paths that a cause covers are counted with it instead.
        for place in 0..self.masks.covered.len() {
            let to = self.masks.covered[place] as usize;
            let Some(leg) = row.clean_of(ground.node(to).index()) else {
                continue;
            };
            let (there, back) = (self.zones(from, to), self.zones(to, from));
            let tally = &mut self.tallies[0];
            tally.take_back(from, to, there, leg);
            if both_ways {
                tally.take_back(to, from, back, leg);
            }
            self.clean(from, to, leg, both_ways);
        }
    }

    fn slow(&mut self) {
        self.is_slow = true;
    }

    fn leg(&mut self, from: usize, to: usize, leg: Leg) {
        let zones = self.zones(from, to);
        let mask = self.mask(from, to, &leg);
        self.tally(mask).add(from, to, zones, leg);
        if leg.lost == 0 {
            return;
        }
        // Even if all of it were lost.
        let most = f64::from(leg.lost) / f64::from(UNIT) * self.worth_of_loss[self.last];
        self.most_of_a_leg = self.most_of_a_leg.max(most);
        if 2.0 * most >= self.price && self.is_notable(leg) {
            self.notable.push((from as u32, to as u32));
        }
    }
}

impl Look<'_> {
    /// May the leg be worth the name of its path? It has been added just now. Of the two looks at a leg, one has to explain half of
    /// the price.
    fn is_notable(&self, leg: Leg) -> bool {
        let base = self.explained[self.last];
        let unit = f64::from(UNIT);
        let (sent, lost) = (f64::from(leg.sent) / unit, f64::from(leg.lost) / unit);
        let ratio = lost / sent;
        // Of the legs that a cause covers half are no worse than it says.
        ratio > base
            && 2.0 * (likelihood(sent, lost, ratio) - likelihood(sent, lost, base)) >= self.price
    }
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
