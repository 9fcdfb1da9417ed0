//! The search for the largest packet that passes in one direction. Pure: no socket, no clock.
//!
//! It works in rounds of packets that are sent together (RFC 8899 §5.3 searches one size at a time; a black hole costs a
//! timeout for each, so here the sizes of a round share one):
//!
//! 1. the ladder: sizes that networks are known to have, so that the first round mostly finds the exact limit;
//! 2. narrowing: sizes spread over what is left between the largest that passed and the smallest that did not, and the one
//!    right above the largest that passed, several times;
//! 3. confirming: the smallest that fails and the largest that should pass, several times again.
//!
//! # A lost packet is no limit
//! Only answers prove something: a size that passed once passes. A size fails when so many packets right above the largest
//! passed size were lost that chance is no explanation: at least [`FEWEST_LOSSES`], more where packets of sizes that pass
//! are lost as well ([`Search::needed_losses`]), and as many again in a round of its own. A round without any answer says nothing
//! (the path or the peer was away for that time), so each one has packets of a size that passes.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Sizes of IP packets that networks have: MEASUREMENT.md §4 says which encapsulation makes which.
pub const LADDER: [u16; 25] = [
    1280, 1320, 1340, 1370, 1380, 1390, 1400, 1410, 1420, 1430, 1440, 1450, 1460, 1480, 1500, 8901,
    8920, 8930, 8941, 8950, 8951, 8980, 8981, 9000, 9001,
];

/// Below the ladder: what every IPv4 host must take, and round numbers.
const LOWER_LADDER: [u16; 3] = [576, 1006, 1200];

/// Losses that make a size fail, and as many again that confirm it.
pub const FEWEST_LOSSES: u32 = 3;

/// More losses than this are not waited for: on a path that is so lossy no limit is found.
const MOST_LOSSES: u32 = 30;

/// The chance that losses by accident are taken for a limit.
const MISTAKE: f64 = 1e-4;

/// Sizes of one narrowing round.
const SPREAD: u16 = 10;

/// Packets of a size that passes, in every round.
const CONTROLS: usize = 2;

/// Rounds without an answer, one after the other, until the search gives up.
const SILENT_ROUNDS: u32 = 4;

/// What said that a size does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Nothing: the largest size of the search passes.
    None,
    /// Larger ones vanish.
    Losses,
    /// A message or the own kernel refused the size above.
    Refused,
}

/// The end of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The largest size that passes.
    pub size: u16,
    /// Why none larger.
    pub limit: Limit,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send packets of these sizes at once.
    Send(Vec<u16>),
    /// Done.
    Found(Found),
    /// Nothing is answered, whatever its size.
    Silent,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Search {
    smallest: u16,
    largest: u16,
    hint: Option<u16>,
    /// The largest size that passed; zero: none yet.
    passed: u16,
    answers: u32,
    /// Lost packets by size, of rounds that had an answer. Those of sizes that pass are accidents.
    losses: BTreeMap<u16, u32>,
    /// The smallest size that was refused.
    refused: Option<u16>,
    /// What refusals allow.
    allowed: Option<u16>,
    rounds: u32,
    silent: u32,
    /// The size that the last round was to confirm as failing.
    confirming: Option<u16>,
    confirmed: Option<u16>,
}

impl Search {
    /// Searches `sizes`; `hint` is what passed the last time.
    pub fn new(sizes: RangeInclusive<u16>, hint: Option<u16>) -> Self {
        Self {
            smallest: *sizes.start(),
            largest: *sizes.end(),
            hint,
            passed: 0,
            answers: 0,
            losses: BTreeMap::new(),
            refused: None,
            allowed: None,
            rounds: 0,
            silent: 0,
            confirming: None,
            confirmed: None,
        }
    }

    /// A packet of this size came through.
    pub fn handle_passed(&mut self, size: u16) {
        self.answers += 1;
        self.passed = self.passed.max(size);
        // What passes was not refused by anybody on this way: the message was false, or of another way.
        self.refused = self.refused.filter(|refused| *refused > self.passed);
        self.allowed = self.allowed.filter(|allowed| *allowed >= self.passed);
        self.confirmed = self.confirmed.filter(|size| *size > self.passed);
    }

    /// Somebody said that this size is too large, and what would not be (`None`: not told).
    pub fn handle_refused(&mut self, size: u16, allowed: Option<u16>) {
        if size > self.passed && size <= self.largest {
            self.refused = Some(self.refused.map_or(size, |known| known.min(size)));
            let may = self.passed.max(self.smallest)..size;
            let allowed = allowed.filter(|allowed| may.contains(allowed));
            self.allowed = match (self.allowed, allowed) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
    }

    /// A round is over; these sizes got neither an answer nor a refusal.
    pub fn handle_round(&mut self, lost: &[u16], answered: bool) {
        self.rounds += 1;
        if !answered {
            self.silent += 1;
            return;
        }
        self.silent = 0;
        for size in lost {
            *self.losses.entry(*size).or_default() += 1;
        }
        if let Some(size) = self.confirming.take()
            && size > self.passed
        {
            self.confirmed = Some(size);
        }
    }

    /// The largest size that passed so far.
    pub const fn passed(&self) -> u16 {
        self.passed
    }

    /// What the refusals that were not contradicted allow.
    pub const fn allowed(&self) -> Option<u16> {
        self.allowed
    }

    /// Losses that make a size fail, by the share of accidents so far: their chance is below `MISTAKE`.
    pub fn needed_losses(&self) -> u32 {
        let accidents = self.accidents();
        // One of each is assumed beforehand, so that a few answers do not make a perfect network.
        let share = f64::from(accidents + 1) / f64::from(self.answers + accidents + 2);
        let needed = (MISTAKE.ln() / share.ln()).ceil() as u32;
        needed.clamp(FEWEST_LOSSES, MOST_LOSSES)
    }

    /// Packets of sizes that pass were lost outside the rounds of this search.
    pub fn handle_accidents(&mut self, count: u32) {
        if count > 0 && self.passed > 0 {
            *self.losses.entry(self.passed).or_default() += count;
        }
    }

    /// What to do next.
    pub fn next_step(&mut self) -> Step {
        if self.passed >= self.largest {
            return self.found(Limit::None);
        }
        if self.silent >= SILENT_ROUNDS {
            return Step::Silent;
        }
        if self.passed == 0 {
            return Step::Send(vec![self.smallest, self.smallest, self.largest]);
        }
        let above = self.passed + 1;
        let lost_above = self.losses.get(&above).copied().unwrap_or(0);
        if self.refused == Some(above) || (self.allowed == Some(self.passed) && lost_above > 0) {
            return self.found(Limit::Refused);
        }
        if self.confirmed == Some(above) {
            return self.found(Limit::Losses);
        }
        let needed = self.needed_losses();
        let mut sizes = vec![self.passed; CONTROLS];
        if lost_above >= needed {
            self.confirming = Some(above);
            let copies = FEWEST_LOSSES.max(needed / 2) as usize;
            sizes.extend(std::iter::repeat_n(above, copies));
            if self.largest > above {
                sizes.extend(std::iter::repeat_n(self.largest, copies));
            }
        } else if self.rounds <= 1 {
            self.plan_ladder(&mut sizes);
        } else {
            self.plan_narrowing(needed, &mut sizes);
        }
        Step::Send(sizes)
    }

    fn found(&self, limit: Limit) -> Step {
        Step::Found(Found {
            size: self.passed,
            limit,
        })
    }

    fn plan_ladder(&self, sizes: &mut Vec<u16>) {
        let inside = |size: &u16| (self.passed + 1..self.largest).contains(size);
        sizes.extend(ladder().filter(inside));
        let known = [self.hint, self.allowed].into_iter().flatten();
        let known = known.flat_map(|size| [size, size.saturating_add(1)]);
        sizes.extend(known.filter(inside));
        sizes.extend([self.largest; 2]);
    }

    fn plan_narrowing(&self, needed: u32, sizes: &mut Vec<u16>) {
        let above = self.passed + 1;
        let end = self.failing().unwrap_or(self.largest);
        let copies = needed.min(2 * FEWEST_LOSSES) as usize;
        sizes.extend(std::iter::repeat_n(above, copies));
        if let Some(allowed) = self.allowed {
            sizes.extend([allowed, allowed.saturating_add(1)].map(|size| size.min(self.largest)));
        }
        let gap = end.saturating_sub(above);
        let parts = SPREAD.min(gap);
        for part in 1..=parts {
            let offset = u32::from(gap) * u32::from(part) / u32::from(SPREAD.max(parts));
            sizes.push(above + offset.max(1) as u16);
        }
        if self.failing().is_none() {
            sizes.extend([self.largest; 2]);
        }
    }

    /// The smallest size that seems to fail: where the search goes on below. It need not be sure, for the end of the
    /// search tests the size right above the largest that passed.
    fn failing(&self) -> Option<u16> {
        let enough = match self.accidents() {
            0 => 1,
            1..=3 => 2,
            _ => 3,
        };
        let mut seen = 0;
        let lost = self.losses.range(self.passed + 1..).find(|(_, count)| {
            seen += *count;
            seen >= enough
        });
        let lost = lost.map(|(size, _)| *size);
        match (lost, self.refused) {
            (Some(lost), Some(refused)) => Some(lost.min(refused)),
            (lost, refused) => lost.or(refused),
        }
    }

    /// Losses of sizes that pass.
    fn accidents(&self) -> u32 {
        self.losses.range(..=self.passed).map(|(_, n)| n).sum()
    }
}

/// All sizes of the ladder, ascending.
pub fn ladder() -> impl Iterator<Item = u16> {
    LOWER_LADDER.into_iter().chain(LADDER)
}

#[cfg(test)]
mod tests;
