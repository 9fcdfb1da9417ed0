//! The search for the fewest causes that explain what one matrix shows (DETECTION.md §3.3): each has to explain more than
//! it costs to name it.

use std::cell::Cell;

use super::ground::Ground;
use super::leg::{Leg, Spells, Sum, UNIT, Worst};
use super::look::{Look, Mask, bit, explained, likelihood};
use super::shape::Shape;
use super::tally::{Evidence, Tally};

/// A loss is a fault from this many times the healthy loss on.
const NEWS_FACTOR: f64 = 5.0;
/// Share of the legs with a loss that a cause must have, of those that its ratio predicts.
const LEAST_SHARE: f64 = 0.8;
/// The same of a cause that takes both ways. It may lose less one way, and of a cause that takes one way alone only half of the
/// legs lose anything.
const LEAST_SHARE_BOTH_WAYS: f64 = 0.7;
/// Of so many legs, one may look clean by chance.
const FEW: u32 = 4;
/// ln(10³): a cause must be a thousand times likelier than chance …
const CERTAINTY: f64 = 6.907_755;
/// … and so it must be in a hundred looks that are independent of each other, two hours of the fading counts: ln(10²).
const LOOKS: f64 = 4.605_170;
/// Losses that must be missing for a partial fault to be over.
const MISSING: f64 = 4.0;
/// Losses from before the fast window that show that a fault is no burst.
const OLDER: u64 = 2;
/// From here on the terms of a Poisson distribution are too small to add.
const MANY: f64 = 500.0;
/// Packets that follow a loss at once.
const BURST: u8 = 4;
/// A partial fault is over if the fast window would lose so little less often than this.
const CHANCE_OF_CALM: f64 = 0.02;
/// Most causes of one matrix, single paths included.
const MOST: usize = 24;
/// Two explanations that differ by less are the same one: e².
const SAME_GAIN: f64 = 2.0;

/// Why a cause is among those that explain a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is known from elsewhere.
    Given,
    /// It was found, and stands.
    Found,
    /// The long counts remember it, and the newest time refutes it. It explains what is remembered, and is not told.
    Over,
}

/// A cause in one matrix.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub(super) shape: Shape,
    /// The share that it loses.
    pub(super) ratio: f64,
    /// Everything on the legs that it covers.
    pub(super) sum: Sum,
    /// See `sum`.
    pub(super) spells: Spells,
    /// Nothing gets through.
    pub(super) is_total: bool,
    /// Why it is here.
    pub(super) standing: Standing,
    /// What else has the same legs, or explains as much.
    pub(super) alternatives: Vec<Shape>,
}

impl Found {
    /// A cause that is known from elsewhere.
    pub(super) const fn given(shape: Shape, ratio: f64) -> Self {
        Self {
            shape,
            ratio,
            sum: Sum::EMPTY,
            spells: Spells::NONE,
            is_total: ratio > 0.9,
            standing: Standing::Given,
            alternatives: Vec::new(),
        }
    }
}

/// The first look at evidence of which nothing is known.
pub(super) fn survey<'a>(evidence: &impl Evidence, ground: &'a Ground<'a>) -> Look<'a> {
    look_at(evidence, ground, &mut [], 0)
}

/// Does such a look show anything that needs a cause?
pub(super) fn is_worth_a_search(
    evidence: &impl Evidence,
    ground: &Ground<'_>,
    look: &Look<'_>,
) -> bool {
    let step = Step {
        evidence,
        ground,
        look,
        found: &[],
    };
    !step.large(&Shape::candidates(ground)).is_empty() || !step.paths().is_empty()
}

/// The causes that explain `evidence`, beside those that are `given`; the one that explains most first. `surveyed`: the same
/// evidence, if it was looked at with nothing given.
pub(super) fn search<'a>(
    evidence: &impl Evidence,
    ground: &'a Ground<'a>,
    surveyed: Option<Look<'a>>,
    given: Vec<Found>,
    most: usize,
) -> Vec<Found> {
    let mut found = given;
    let known = found.len();
    let candidates = Shape::candidates(ground);
    let mut look = surveyed.unwrap_or_else(|| look_at(evidence, ground, &mut found, known));
    let mut paths: Option<Vec<Worth>> = None;
    while found.len() < known + MOST {
        let told = found[known..].iter().filter(|f| !f.shape.is_path()).count();
        let step = Step {
            evidence,
            ground,
            look: &look,
            found: &found,
        };
        let large = if told < most {
            step.large(&candidates)
        } else {
            Vec::new()
        };
        // Nearly always a cause of many legs explains more than any path can, and there may be very many paths.
        let most_of_large = large.iter().map(|worth| worth.net).reduce(f64::max);
        let is_decided = most_of_large.is_some_and(|most| most > look.most_of_a_path(evidence));
        let paths_now = if is_decided {
            Vec::new()
        } else {
            paths.take().unwrap_or_else(|| step.paths())
        };
        let Some(best) = step.best(&large, &paths_now) else {
            break;
        };
        let shape = best.shape;
        found.push(best);
        if shape.is_path() {
            look.take_out(evidence, shape);
            // What a path explains does not depend on other paths.
            paths = Some(paths_now);
        } else {
            look = look_at(evidence, ground, &mut found, known);
        }
    }
    found.split_off(known)
}

/// Sums up everything with the causes that are known, and measures these anew.
fn look_at<'a>(
    evidence: &impl Evidence,
    ground: &'a Ground<'a>,
    found: &mut [Found],
    known: usize,
) -> Look<'a> {
    let causes: Vec<(Shape, f64)> = found.iter().map(|f| (f.shape, f.ratio)).collect();
    let pairs = Shape::Pair(0, 1).family_size(ground);
    let look = Look::at(evidence, ground, &causes, pairs.ln() + CERTAINTY + LOOKS);
    refine(found, &look, known);
    look
}

struct Step<'a, E> {
    evidence: &'a E,
    ground: &'a Ground<'a>,
    look: &'a Look<'a>,
    found: &'a [Found],
}

/// What a candidate would explain.
struct Worth {
    shape: Shape,
    /// Gain less price.
    net: f64,
    gain: f64,
    sum: Sum,
    /// Of paths alone, whose worth is kept for the next looks, at which they may be covered by other causes.
    spells: Option<Spells>,
    ratio: f64,
}

impl<E: Evidence> Step<'_, E> {
    /// The single paths that are worth their name.
    fn paths(&self) -> Vec<Worth> {
        let mut worths = Vec::new();
        let notable = self.look.notable(self.evidence);
        for &(from, to) in &notable {
            let is_second = from > to && notable.binary_search(&(to, from)).is_ok();
            worths.extend(self.worth(Shape::Path(from, to)));
            if !is_second {
                worths.extend(self.worth(Shape::Pair(from.min(to), from.max(to))));
            }
        }
        worths
    }

    /// Of these candidates of many legs, those that are worth their name.
    fn large(&self, candidates: &[Shape]) -> Vec<Worth> {
        let free = candidates.iter().filter(|shape| !self.is_taken(**shape));
        free.filter_map(|shape| self.worth(*shape)).collect()
    }

    /// What explains most for its price, if anything is worth it.
    fn best(&self, large: &[Worth], paths: &[Worth]) -> Option<Found> {
        let free = paths.iter().filter(|path| !self.is_taken(path.shape));
        let worths: Vec<&Worth> = large.iter().chain(free).collect();
        let best = worths
            .iter()
            .max_by(|a, b| a.net.total_cmp(&b.net).then_with(|| b.shape.cmp(&a.shape)))?;
        let same = |worth: &&&Worth| {
            worth.shape != best.shape
                && (worth.gain - best.gain).abs() < SAME_GAIN
                && worth.sum.legs == best.sum.legs
        };
        let spells = best.spells;
        let spells = spells.unwrap_or_else(|| self.spells(best.shape));
        Some(Found {
            shape: best.shape,
            ratio: best.ratio,
            sum: best.sum,
            spells,
            is_total: best.sum.is_dead(),
            standing: if is_over(&best.sum, spells.quiet) {
                Standing::Over
            } else {
                Standing::Found
            },
            alternatives: worths.iter().filter(same).map(|w| w.shape).collect(),
        })
    }

    /// Of the legs that are in the sum of a candidate.
    fn spells(&self, shape: Shape) -> Spells {
        let mut masks = Vec::new();
        self.each_part(shape, |mask, part| {
            if mask == 0 || self.is_news(part, self.explained(mask)) {
                masks.push(mask);
            }
        });
        let spells = Cell::new(Spells::NONE);
        let take = |from: usize, to: usize, leg: Leg| {
            let mask = self.look.mask(from, to, leg.is_ambiguous);
            if shape.covers(self.ground, from, to) && masks.contains(&mask) {
                let mut all = spells.get();
                all.add(leg.into());
                spells.set(all);
            }
        };
        if shape.is_path() {
            self.evidence.visit_in(shape, take);
        } else {
            let is_asked =
                |x, y, worst: &Worst| shape.may_cover(x, y) && !spells.get().have(worst.spells);
            self.evidence.visit_lossy(is_asked, take);
        }
        spells.get()
    }

    fn is_taken(&self, shape: Shape) -> bool {
        self.found.iter().any(|found| match (found.shape, shape) {
            (Shape::Pair(a, b), Shape::Path(x, y)) | (Shape::Path(x, y), Shape::Pair(a, b)) => {
                (x, y) == (a, b) || (x, y) == (b, a)
            }
            (one, other) => one == other,
        })
    }

    /// What a candidate is worth; `None`: nothing, or it does not look like its legs.
    fn worth(&self, shape: Shape) -> Option<Worth> {
        let healthy = self.evidence.healthy();
        let mut gain = 0.0;
        let mut sum = Sum::EMPTY;
        let both_ways = shape == shape.both_ways();
        self.each_part(shape, |mask, part| {
            let base = self.explained(mask);
            if self.is_news(part, base) {
                let (sent, lost) = part.packets(both_ways);
                gain += likelihood(sent, lost, part.ratio()) - likelihood(sent, lost, base);
                sum.merge(part);
            } else if mask == 0 {
                sum.merge(part);
            }
        });
        let ratio = sum.ratio();
        if gain <= 0.0 || ratio <= NEWS_FACTOR * healthy || !self.has_shape(shape, &sum, ratio) {
            return None;
        }
        let (sent, _) = sum.packets(both_ways);
        let price =
            shape.family_size(self.ground).ln() + 0.5 * sent.max(1.0).ln() + CERTAINTY + LOOKS;
        let net = gain - price;
        (net > 0.0).then(|| Worth {
            shape,
            net,
            gain,
            sum,
            spells: shape.is_path().then(|| self.spells(shape)),
            ratio,
        })
    }

    /// The legs of a candidate, apart by the causes that explain them already.
    fn each_part(&self, shape: Shape, mut take: impl FnMut(Mask, &Sum)) {
        let ways: &[(u32, u32)] = match shape {
            Shape::Path(from, to) => &[(from, to)],
            Shape::Pair(from, to) => &[(from, to), (to, from)],
            _ => {
                let tallies = self.look.tallies.iter();
                tallies.for_each(|tally| take(tally.causes, &tally.sum(shape)));
                return;
            }
        };
        let mut parts: Vec<(Mask, Sum)> = Vec::new();
        for (from, to) in ways.iter().map(|(a, b)| (*a as usize, *b as usize)) {
            for leg in self.evidence.words(from, to).into_iter().flatten() {
                let mask = self.look.mask(from, to, leg.is_ambiguous);
                let known = parts.iter().position(|(known, _)| *known == mask);
                let place = known.unwrap_or_else(|| {
                    parts.push((mask, Sum::EMPTY));
                    parts.len() - 1
                });
                parts[place].1.add(leg);
            }
        }
        for (mask, part) in parts {
            take(mask, &part);
        }
    }

    /// Does a part lose more than is explained already?
    fn is_news(&self, part: &Sum, base: f64) -> bool {
        let healthy = self.evidence.healthy();
        let ratio = part.ratio();
        ratio > NEWS_FACTOR * healthy && (base <= healthy || ratio > 1.5 * base + 0.02)
    }

    /// The loss that causes explain together.
    fn explained(&self, mask: Mask) -> f64 {
        let large = self.found.iter().filter(|found| !found.shape.is_path());
        explained(
            large.map(|found| found.ratio),
            mask,
            self.evidence.healthy(),
        )
    }

    /// Do the legs of a candidate look as if they had one cause?
    fn has_shape(&self, shape: Shape, sum: &Sum, ratio: f64) -> bool {
        if let Shape::Pair(a, b) = shape {
            let (one, other) = (
                self.evidence.leg(a as usize, b as usize),
                self.evidence.leg(b as usize, a as usize),
            );
            // One leg alone is a path.
            return one.lost > 0 && other.lost > 0 && one.ratio().min(other.ratio()) > 0.3 * ratio;
        }
        if matches!(shape, Shape::Path(..)) {
            return true;
        }
        if sum.legs < 2 {
            return false;
        }
        let each = sum.sent as f64 / f64::from(UNIT) / f64::from(sum.legs);
        let predicted = 1.0 - (1.0 - ratio.min(1.0)).powf(each);
        let told = sum.legs - sum.scant;
        // Of a small mesh one leg that has been quiet for a while is already a large share.
        let lossy = sum.lossy + u32::from(told >= FEW && sum.lossy < told);
        let lossy = f64::from(lossy) / f64::from(told.max(1));
        let least = if shape == shape.both_ways() {
            LEAST_SHARE_BOTH_WAYS
        } else {
            LEAST_SHARE
        };
        lossy >= least * predicted && ratio >= self.evidence.least_ratio()
    }
}

/// Is a partial fault over, or was it but one burst?
///
/// What confirms a loss is lost with it, so a burst looks like several. Whatever goes on is therefore renewed in the fast
/// window.
fn is_over(sum: &Sum, quiet: u8) -> bool {
    if sum.is_dead() {
        return false;
    }
    if sum.fast_lost == 0 {
        return true;
    }
    let fast = sum.fast_lost as f64 / (sum.fast_sent as f64).max(1.0);
    // The first replies after a loss may be those of the burst that confirms it.
    let quiet = f64::from(sum.legs) * f64::from(quiet.saturating_sub(BURST));
    if fast.max(sum.ratio()) * quiet >= MISSING {
        return true;
    }
    if is_one_burst(sum) || is_interrupted(sum) {
        return true;
    }
    if fast > sum.ratio() / 2.0 {
        return false;
    }
    let expected = sum.ratio() * sum.fast_sent as f64;
    at_most(sum.fast_lost, expected) < CHANCE_OF_CALM
}

/// Are all losses in one slot of the fast window? What goes on is in both of them, or older.
fn is_one_burst(sum: &Sum) -> bool {
    let [newest, before] = sum.slots;
    let is_known = newest + before > 0;
    is_known && sum.older() < OLDER && (newest == 0 || before == 0)
}

/// Is what is lost now something new after a time in which nothing was? Half of the fast window, about, is in the slot before
/// the newest one; had the older loss gone on, some of it would be there.
fn is_interrupted(sum: &Sum) -> bool {
    let [_, before] = sum.slots;
    before == 0 && sum.older() >= OLDER && sum.ratio() * sum.fast_sent as f64 / 2.0 >= MISSING
}

/// Probability of at most so many events where `expected` are (Poisson).
fn at_most(events: u64, expected: f64) -> f64 {
    if expected <= 0.0 || events as f64 >= expected {
        return 1.0;
    }
    if expected > MANY {
        // Half of what is expected, of many, never comes by chance.
        return if events as f64 > 0.9 * expected {
            1.0
        } else {
            0.0
        };
    }
    let mut term = (-expected).exp();
    let mut sum = term;
    for k in 1..=events {
        term *= expected / k as f64;
        sum += term;
    }
    sum.min(1.0)
}

/// The severity of causes whose legs overlap, by coordinate descent over the shares that get through (`NetBouncer`'s model: a
/// leg lets through the product of what its causes let through).
fn refine(found: &mut [Found], look: &Look<'_>, known: usize) {
    let large: Vec<usize> = (0..found.len())
        .filter(|at| !found[*at].shape.is_path())
        .collect();
    for _ in 0..8 {
        let mut moved: f64 = 0.0;
        for (k, at) in large.iter().enumerate().filter(|(_, at)| **at >= known) {
            let (mut above, mut below) = (0.0, 0.0);
            let covered = |tally: &&Tally| tally.causes & bit(k) != 0;
            for tally in look.tallies.iter().filter(covered) {
                let sum = tally.sum(Shape::Everywhere);
                if sum.sent == 0 {
                    continue;
                }
                let others: f64 = large
                    .iter()
                    .enumerate()
                    .filter(|(other, _)| *other != k && tally.causes & bit(*other) != 0)
                    .map(|(_, other)| 1.0 - found[*other].ratio)
                    .product();
                let weight = sum.sent as f64;
                above += weight * others * (1.0 - sum.ratio());
                below += weight * others * others;
            }
            if below > 0.0 {
                let ratio = 1.0 - (above / below).clamp(0.0, 1.0);
                moved = moved.max((ratio - found[*at].ratio).abs());
                found[*at].ratio = ratio;
            }
        }
        if moved < 1e-6 {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_losses_where_many_are_expected_are_calm() {
        assert!(at_most(0, 5.0) < 0.01);
        assert!(at_most(3, 3.0) > 0.99);
        assert!((at_most(1, 3.0) - 4.0 * (-3f64).exp()).abs() < 1e-9);
    }
}
