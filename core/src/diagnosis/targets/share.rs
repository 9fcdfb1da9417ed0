//! Is a share of something lost, and does it go on?

use super::cells::Cell;
use crate::cell::LONG_FADING;
use crate::finding::{Counted, Estimate};

/// How much better "a share is lost" has to explain the counts than "all is as usual", in nats.
///
/// Asked every second of some hundred groups, chance is to speak once in many years: e^-20 of independent samples that are
/// some 10 s long each.
const PRICE: f64 = 20.0;
/// A share below this is left to the ways between nodes, which are measured far more often.
const LEAST_RATIO: f64 = 0.02;
/// Of the loss in one time, what counts as loss in another.
const SLOT_SHARE: f64 = 0.2;
/// Rows of losses that ended and were followed by another one: a burst has none, two bursts have few.
const LEAST_AGAIN: f64 = 3.0;
/// Time constant of the counts that fade, in seconds.
const FADING: f64 = LONG_FADING.as_secs() as f64;
/// Lengths of rows of replies that are looked at: what is sent in some ten seconds.
const RUNS: [u8; 3] = [2, 3, 5];
/// When a loss is over, so much fewer cells than expected have a short row: at once for the shortest rows. Where a loss has just
/// begun they are fewer, too, and among many cells significantly so, because long rows reach back to before it.
const OVER: f64 = 0.5;
/// What is less likely than this does not happen.
const CHANCE: f64 = 1e-3;

/// Which share is lost. Soon after a loss began that of the longer time is small, and as small wherever the same is lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shares {
    now: f64,
    long: f64,
}

impl Shares {
    /// The larger of each.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            now: self.now.max(other.now),
            long: self.long.max(other.long),
        }
    }

    /// The smaller of each.
    pub(super) fn min(self, other: Self) -> Self {
        Self {
            now: self.now.min(other.now),
            long: self.long.min(other.long),
        }
    }
}

/// Probes of several cells together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counts {
    pub(super) cells: u32,
    sent: f64,
    lost: f64,
    /// Of the losses, what the lower layers explain, at most.
    expected: f64,
    /// The same three of the longer time, for what is small or asked by few.
    long: [f64; 3],
    /// Losses in the newest slot, in the one before, and before both.
    slots: [f64; 3],
    /// Seconds that each of these is about, of all cells together.
    seconds: [f64; 3],
    /// Losses of which another one is known that is not of the same row.
    again: f64,
    /// Losses that followed another one without an answer in between.
    in_row: f64,
    /// Cells with fewer replies in a row than each of [`RUNS`].
    short_runs: [u32; RUNS.len()],
}

impl Counts {
    pub(super) fn of<'a>(cells: impl IntoIterator<Item = &'a Cell<'a>>) -> Self {
        let mut counts = Self::default();
        for cell in cells {
            counts.add(cell);
        }
        counts
    }

    fn add(&mut self, cell: &Cell<'_>) {
        let seen = cell.seen;
        self.cells += 1;
        let [newest, before] = seen.slot_lost.map(f64::from);
        let [sent_now, sent_before] = seen.slot_sent.map(f64::from);
        let (sent, lost) = if sent_now + sent_before > 0.0 {
            let share = cell.older;
            (sent_now + sent_before * share, newest + before * share)
        } else {
            (f64::from(seen.sent), f64::from(seen.lost.min(seen.sent)))
        };
        self.sent += sent;
        self.lost += lost;
        let usual = cell.usual().max(cell.recent);
        self.expected += sent * usual;
        let long = [seen.long_sent, seen.long_lost].map(f64::from);
        for (sum, part) in
            self.long
                .iter_mut()
                .zip([long[0], long[1], long[0] * cell.usual().max(cell.long_ago)])
        {
            *sum += part;
        }
        self.slots[0] += newest;
        self.slots[1] += before;
        self.slots[2] += (f64::from(seen.long_lost) - newest - before).max(0.0);
        let elapsed = cell.slot * (1.0 - cell.older);
        self.seconds[0] += elapsed;
        self.seconds[1] += cell.slot;
        self.seconds[2] += FADING * (-(elapsed + cell.slot) / FADING).exp();
        self.again += (newest + before - f64::from(seen.lost_in_row)).max(0.0);
        // What was lost before a cell started over is not among its losses any more.
        self.in_row += match seen.lost_in_row.saturating_sub(1) {
            further if cell.has_started_over() => further.into(),
            further => f64::from(further).min(newest + before),
        };
        for (run, count) in RUNS.iter().zip(&mut self.short_runs) {
            *count += u32::from(seen.consecutive_replies < *run);
        }
    }

    pub(super) fn ratio(&self) -> f64 {
        if self.sent < 1.0 {
            return 0.0;
        }
        self.lost / self.sent
    }

    /// Something was sent.
    pub(super) fn is_measured(&self) -> bool {
        self.sent >= 1.0
    }

    pub(super) fn estimate(&self) -> Estimate {
        Estimate::of(self.lost.round() as u64, self.sent.round() as u64)
    }

    /// Those of the longer time.
    pub(super) const fn counted(&self) -> Counted {
        Counted {
            sent: self.long[0],
            lost: self.long[1],
            lost_at: None,
        }
    }

    /// A share is lost that nothing explains, and it goes on.
    pub(super) fn is_partial(&self) -> bool {
        let [sent, lost, expected] = self.long;
        let is_lost =
            is_beyond(self.lost, self.sent, self.expected) || is_beyond(lost, sent, expected);
        self.ratio() >= LEAST_RATIO && is_lost && self.goes_on()
    }

    /// A burst is one row of losses of each cell, and is in one slot alone, or in two that meet. When the loss is over, all cells
    /// have their replies in a row.
    fn goes_on(&self) -> bool {
        let rate = |place: usize| self.slots[place] / self.seconds[place].max(0.1);
        let most = (0..3).map(rate).fold(0.0, f64::max);
        let speaks = |place: &usize| self.slots[*place] >= 0.9 && rate(*place) >= SLOT_SHARE * most;
        let is_steady = (0..3).filter(speaks).count() >= 2 || self.again >= LEAST_AGAIN;
        is_steady && !self.is_over() && !self.is_outage()
    }

    /// Was everything lost for a while, and nothing else? Until every cell has asked again, some fail and others answer. How much
    /// is lost of what was asked is then no share of anything, and may be nearly all.
    fn is_outage(&self) -> bool {
        self.again < 1.0 && self.ratio().min(0.5).powf(self.in_row) < CHANCE
    }

    /// Fewer cells have lost something lately than a share of this size makes, by far.
    fn is_over(&self) -> bool {
        let ratio = self.ratio();
        RUNS.iter().zip(&self.short_runs).any(|(run, count)| {
            // A loss is asked again at once, so the first reply after it says nothing.
            let expected = 1.0 - (1.0 - ratio).powi(i32::from(*run) - 1);
            f64::from(*count) < OVER * expected * f64::from(self.cells)
                && at_most(*count, self.cells, expected) < CHANCE
        })
    }

    pub(super) fn shares(&self) -> Shares {
        let [sent, lost, _] = self.long;
        Shares {
            now: self.ratio(),
            long: lost / sent.max(1.0),
        }
    }

    /// Is a share of this size out of the question here, by what was sent lately or by that of the longer time?
    pub(super) fn refutes(&self, shares: Shares) -> bool {
        let [sent, lost, _] = self.long;
        let long = Estimate::of(lost.round() as u64, sent.round() as u64);
        let is_out = self.estimate().upper < shares.now / 2.0 || long.upper < shares.long / 2.0;
        self.is_measured() && is_out
    }
}

/// Is more lost than is expected, and not by chance?
fn is_beyond(lost: f64, sent: f64, expected: f64) -> bool {
    let usual = expected / sent.max(1.0);
    let estimate = Estimate::of(lost.round() as u64, sent.round() as u64);
    lost >= LEAST_RATIO * sent
        && estimate.lower > 1.5 * usual + 0.005
        && gain(lost, sent, usual) > PRICE
}

/// By how much the measured share explains the counts better than `usual` does.
fn gain(lost: f64, sent: f64, usual: f64) -> f64 {
    if lost <= 0.0 || sent <= 0.0 {
        return 0.0;
    }
    let p = (lost / sent).min(1.0 - 1e-9);
    let q = usual.clamp(1e-6, 1.0 - 1e-6);
    if p <= q {
        return 0.0;
    }
    lost * (p / q).ln() + (sent - lost) * ((1.0 - p) / (1.0 - q)).ln()
}

/// The chance that at most `count` of `all` independent things are so, each with this chance.
fn at_most(count: u32, all: u32, chance: f64) -> f64 {
    let (n, p) = (f64::from(all), chance.clamp(0.0, 1.0 - 1e-12));
    if count >= all || p <= 0.0 {
        return 1.0;
    }
    if all > 200 {
        // Far enough from its mean that the shape of the tail does not matter.
        let distance = (n * p - f64::from(count) - 0.5) / (n * p * (1.0 - p)).sqrt();
        return if distance > 3.1 { 0.0 } else { 1.0 };
    }
    let mut term = (1.0 - p).powi(all as i32);
    let mut sum = term;
    for k in 0..count {
        term *= (n - f64::from(k)) / f64::from(k + 1) * p / (1.0 - p);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_of_few_are_those_of_the_binomial_law() {
        assert!((at_most(0, 18, 0.2) - 0.018).abs() < 0.001);
        assert!((at_most(1, 3, 0.5) - 0.5).abs() < 1e-9);
        assert!((at_most(3, 3, 0.5) - 1.0).abs() < 1e-9);
        assert!(at_most(10, 1_000, 0.2) < CHANCE);
        assert!(at_most(200, 1_000, 0.2) > CHANCE);
    }
}
