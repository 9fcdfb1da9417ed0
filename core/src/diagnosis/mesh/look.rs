//! One look at all legs: their sums, apart by the causes that are known already.

use super::ground::Ground;
use super::loss_rows::LossRow;
use super::shape::{Shape, ZoneWays};
use super::tally::{Clean, CleanColumns, CleanSum, Evidence, Leg, Sum, Tally, UNIT, Visitor};

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

    /// Does a cause that is about this place cover its paths?
    fn is_covered(&self, place: usize) -> bool {
        self.from[place] | self.to[place] != 0
    }

    #[inline]
    fn at(&self, from: usize, to: usize, zones: usize) -> Mask {
        self.from[from] | self.to[to] | self.zones.at(zones)
    }
}

/// A leg that lost much, as one of its ends tells.
#[derive(Clone, Copy, Debug)]
struct Suspicious {
    ends: (u32, u32),
    /// The tally that it is in.
    tally: u32,
    /// Packets, in units.
    sent: u32,
    lost: u32,
}

/// Everything that one look at the evidence gives.
#[derive(Debug)]
pub(super) struct Look<'a> {
    ground: &'a Ground<'a>,
    /// One for each set of causes that covers any leg.
    pub(super) tallies: Vec<Tally>,
    /// What a leg explains at most.
    most_of_a_leg: f64,
    /// Legs that have lost so much that they may be notable.
    suspicious: Vec<Suspicious>,
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
    /// Clean paths of whole rows, by zone of the source, and then by node number.
    clean_columns: Vec<CleanColumns>,
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
            suspicious: Vec::new(),
            explained: vec![healthy],
            worth_of_loss: vec![-healthy.ln()],
            ratios: large.iter().map(|(_, ratio)| *ratio).collect(),
            healthy,
            price,
            masks: Masks::of(&large, ground),
            is_plain: large.is_empty(),
            both_ways: false,
            clean_columns: vec![CleanColumns::default(); ground.zone_count()],
            last: 0,
            is_slow: false,
        };
        evidence.visit(&mut look);
        look.add_clean_columns();
        look.tallies.iter_mut().for_each(Tally::close);
        for (path, _) in paths {
            look.take_out(evidence, path);
        }
        look
    }

    /// Legs that may be causes of their own, ascending. Found when they are asked for, which they are not as long as a cause of
    /// many legs explains more.
    pub(super) fn notable(&self) -> Vec<(u32, u32)> {
        let notable = self.suspicious.iter().filter(|leg| self.is_notable(leg));
        let mut legs: Vec<(u32, u32)> = notable.map(|leg| leg.ends).collect();
        legs.sort_unstable();
        legs.dedup();
        legs
    }

    /// May a leg be worth the name of its path? Of the two looks at a leg, one has to explain half of the price.
    fn is_notable(&self, leg: &Suspicious) -> bool {
        let base = self.explained[leg.tally as usize];
        let unit = f64::from(UNIT);
        let (sent, lost) = (f64::from(leg.sent) / unit, f64::from(leg.lost) / unit);
        let ratio = lost / sent;
        // Of the legs that a cause covers half are no worse than it says.
        if ratio <= base {
            return false;
        }
        // The divergence of two distributions is at most their chi-square, which needs no logarithm.
        let most = sent * (ratio - base).powi(2) / (base * (1.0 - base));
        2.0 * most >= self.price
            && 2.0 * (likelihood(sent, lost, ratio) - likelihood(sent, lost, base)) >= self.price
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
        if !row.is_dense() || self.masks.is_covered(from) {
            for (column, leg) in row.each_clean() {
                if let Some(to) = self.ground.place(column) {
                    self.clean(from, to, leg, both_ways);
                }
            }
            return;
        }
        self.both_ways = both_ways;
        self.add_clean_row(from, row);
        // The few paths that a cause of their other end covers are counted with it instead.
        for place in 0..self.masks.covered.len() {
            let to = self.masks.covered[place] as usize;
            let Some(leg) = row.clean_of(self.ground.node(to).index()) else {
                continue;
            };
            let (there, back) = self
                .masks
                .zones
                .between(self.ground.zone(from), self.ground.zone(to));
            let zones = self.zones(from, to);
            self.tally(there).take_back(from, to, zones, leg);
            if both_ways {
                let zones = self.zones(to, from);
                self.tally(back).take_back(to, from, zones, leg);
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
        if 2.0 * most >= self.price {
            self.suspicious.push(Suspicious {
                ends: (from as u32, to as u32),
                tally: self.last as u32,
                sent: leg.sent,
                lost: leg.lost,
            });
        }
    }
}

impl Look<'_> {
    /// The clean paths of a row that has all columns, as those of its source. As those of its targets they are counted when all
    /// rows are in.
    fn add_clean_row(&mut self, from: usize, row: &LossRow) {
        let ground = self.ground;
        let zone = ground.zone(from);
        self.clean_columns[zone].add(row);
        if !self.masks.zones.touches(zone) {
            let mut sum = row.clean;
            for column in ground.unjudged() {
                if let Some(leg) = row.clean_of(column) {
                    sum.take_back(leg);
                }
            }
            self.add_clean_row_of(from, (0, 0), &sum);
            return;
        }
        let mut sums = vec![CleanSum::default(); ground.zone_count()];
        for to in 0..ground.len() {
            if let Some(leg) = row.clean_at(ground.node(to).index()) {
                sums[ground.zone(to)].add(leg);
            }
        }
        for (other, sum) in sums.iter().enumerate() {
            self.add_clean_row_of(from, self.masks.zones.between(zone, other), sum);
        }
    }

    fn add_clean_row_of(&mut self, from: usize, (there, back): (Mask, Mask), sum: &CleanSum) {
        if sum.is_empty() {
            return;
        }
        self.tally(there).add_clean_row_from(from, sum);
        if self.both_ways {
            self.tally(back).add_clean_row_to(from, sum);
        }
    }

    fn add_clean_columns(&mut self) {
        let (ground, both_ways) = (self.ground, self.both_ways);
        let all = std::mem::take(&mut self.clean_columns);
        let pairs = all
            .iter()
            .enumerate()
            .flat_map(|pair| (0..all.len()).map(move |other| (pair, other)));
        for ((zone, columns), other) in pairs.filter(|(_, other)| ground.zone_size(*other) > 0) {
            let (there, back) = self.masks.zones.between(zone, other);
            let places = (0..ground.len()).filter(|place| ground.zone(*place) == other);
            let sums = places.map(|place| (place, columns.sum(ground.node(place).index())));
            let zones = self.masks.zones.place(zone, other);
            let tally = self.tally(there);
            sums.clone()
                .for_each(|(to, sum)| tally.add_clean_column_to(to, zones, &sum));
            if both_ways {
                let zones = self.masks.zones.place(other, zone);
                let tally = self.tally(back);
                sums.for_each(|(from, sum)| tally.add_clean_column_from(from, zones, &sum));
            }
        }
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
