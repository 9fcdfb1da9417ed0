//! Counts of legs, summed up by row, column, zone pair and all together.

use super::ground::Ground;
use super::look::Mask;
use super::loss_rows::LossRow;
use super::shape::Shape;

/// Counts are kept in eighths of a probe: exact sums, in whatever order they are made, of counts that fade.
pub(super) const UNIT: u32 = 8;

/// A leg with fewer packets than this is scant: three.
const SCANT: u32 = 3 * UNIT;

/// What is known of one leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leg {
    /// Packets that should have arrived, in [`UNIT`]s.
    pub(super) sent: u32,
    /// Of those, did not.
    pub(super) lost: u32,
    /// The same in the fast window, in packets.
    pub(super) fast_sent: u32,
    /// See `fast_sent`.
    pub(super) fast_lost: u32,
    /// Losses of the newest slot and of the one before, of the round trip.
    pub(super) slots: [u16; 2],
    /// Packets since the last loss.
    pub(super) quiet: u8,
    /// Losses in a row at its end, if nothing gets through now.
    pub(super) dead: u8,
    /// How long that row has lasted, seconds.
    pub(super) dead_for: u8,
    /// It is not known which leg of a round trip lost them.
    pub(super) is_ambiguous: bool,
}

/// Counts of many legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) sent: u64,
    pub(super) lost: u64,
    pub(super) fast_sent: u64,
    pub(super) fast_lost: u64,
    /// Losses of the newest slot and of the one before, on the round trips of lossy legs.
    pub(super) slots: [u32; 2],
    /// Legs with packets.
    pub(super) legs: u32,
    /// Of those, with few packets and without a loss: they say nothing against one.
    pub(super) scant: u32,
    /// Legs with a loss.
    pub(super) lossy: u32,
    /// Of those, dead.
    pub(super) dead: u32,
    /// Of those that are lossy, ambiguous.
    pub(super) ambiguous: u32,
    /// Of `sent` and `lost`, what ambiguous legs have.
    pub(super) unclear: [u64; 2],
    /// Least number of packets since the last loss.
    pub(super) quiet: u8,
    /// Longest row of losses of a dead leg.
    pub(super) longest: u8,
    /// The same in seconds.
    pub(super) dead_for: u8,
}

impl Sum {
    pub(super) const EMPTY: Self = Self {
        sent: 0,
        lost: 0,
        fast_sent: 0,
        fast_lost: 0,
        slots: [0; 2],
        legs: 0,
        scant: 0,
        lossy: 0,
        dead: 0,
        ambiguous: 0,
        unclear: [0; 2],
        quiet: u8::MAX,
        longest: 0,
        dead_for: 0,
    };

    /// A leg that lost nothing.
    fn add_clean(&mut self, clean: &CleanSum) {
        self.sent += clean.sent;
        self.fast_sent += clean.fast_sent;
        self.legs += clean.legs;
    }

    /// The same without legs that are in it.
    fn subtract(&mut self, other: &Self) {
        self.sent = self.sent.saturating_sub(other.sent);
        self.lost = self.lost.saturating_sub(other.lost);
        self.fast_sent = self.fast_sent.saturating_sub(other.fast_sent);
        self.fast_lost = self.fast_lost.saturating_sub(other.fast_lost);
        self.slots[0] = self.slots[0].saturating_sub(other.slots[0]);
        self.slots[1] = self.slots[1].saturating_sub(other.slots[1]);
        self.legs = self.legs.saturating_sub(other.legs);
        self.scant = self.scant.saturating_sub(other.scant);
        self.lossy = self.lossy.saturating_sub(other.lossy);
        self.dead = self.dead.saturating_sub(other.dead);
        self.ambiguous = self.ambiguous.saturating_sub(other.ambiguous);
        for (own, other) in self.unclear.iter_mut().zip(other.unclear) {
            *own = own.saturating_sub(other);
        }
    }

    #[inline]
    pub(super) fn add(&mut self, leg: Leg) {
        self.sent += u64::from(leg.sent);
        self.lost += u64::from(leg.lost);
        self.fast_sent += u64::from(leg.fast_sent);
        self.fast_lost += u64::from(leg.fast_lost);
        self.legs += 1;
        if leg.lost > 0 {
            self.lossy += 1;
            self.slots[0] += u32::from(leg.slots[0]);
            self.slots[1] += u32::from(leg.slots[1]);
        } else if leg.sent < SCANT {
            self.scant += 1;
        }
        self.dead += u32::from(leg.dead > 0);
        if leg.is_ambiguous {
            self.ambiguous += 1;
            self.unclear[0] += u64::from(leg.sent);
            self.unclear[1] += u64::from(leg.lost);
        }
        self.quiet = self.quiet.min(leg.quiet);
        self.longest = self.longest.max(leg.dead);
        self.dead_for = self.dead_for.max(leg.dead_for);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.fast_sent += other.fast_sent;
        self.fast_lost += other.fast_lost;
        self.slots[0] += other.slots[0];
        self.slots[1] += other.slots[1];
        self.legs += other.legs;
        self.scant += other.scant;
        self.lossy += other.lossy;
        self.dead += other.dead;
        self.ambiguous += other.ambiguous;
        self.unclear[0] += other.unclear[0];
        self.unclear[1] += other.unclear[1];
        self.quiet = self.quiet.min(other.quiet);
        self.longest = self.longest.max(other.longest);
        self.dead_for = self.dead_for.max(other.dead_for);
    }

    /// Share that is lost.
    pub(super) fn ratio(&self) -> f64 {
        if self.sent == 0 {
            return 0.0;
        }
        self.lost as f64 / self.sent as f64
    }

    /// Packets, lost ones among them. A round trip of which nobody knows which way it failed is in the sums of both ways: it is
    /// half a packet of each in the sum of `both_ways`.
    pub(super) fn packets(&self, both_ways: bool) -> (f64, f64) {
        let twice = if both_ways { self.unclear } else { [0; 2] };
        let count = |all: u64, twice: u64| (all as f64 - twice as f64 / 2.0) / f64::from(UNIT);
        (count(self.sent, twice[0]), count(self.lost, twice[1]))
    }

    /// Losses from before the fast window.
    pub(super) fn older(&self) -> u64 {
        let lately: u64 = self.slots.iter().map(|lost| u64::from(*lost)).sum();
        (self.lost / u64::from(UNIT)).saturating_sub(lately)
    }

    /// Nothing gets through on at least half of its legs that lose anything.
    pub(super) fn is_dead(&self) -> bool {
        self.dead > 0 && 2 * self.dead >= self.lossy
    }
}

/// Legs that lost nothing, which nearly all are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CleanSum {
    sent: u64,
    fast_sent: u64,
    legs: u32,
}

impl CleanSum {
    #[inline]
    pub(super) fn add(&mut self, leg: Clean) {
        self.merge(&Self::one(leg));
    }

    fn one(leg: Clean) -> Self {
        Self {
            sent: leg.sent.into(),
            fast_sent: leg.fast_sent.into(),
            legs: 1,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.legs == 0
    }

    // What is taken back may be counted after that, with its whole column: sums wrap around and back.
    fn merge(&mut self, other: &Self) {
        self.sent = self.sent.wrapping_add(other.sent);
        self.fast_sent = self.fast_sent.wrapping_add(other.fast_sent);
        self.legs = self.legs.wrapping_add(other.legs);
    }

    pub(super) fn take_back(&mut self, leg: Clean) {
        let leg = Self::one(leg);
        self.sent = self.sent.wrapping_sub(leg.sent);
        self.fast_sent = self.fast_sent.wrapping_sub(leg.fast_sent);
        self.legs = self.legs.wrapping_sub(leg.legs);
    }
}

/// Clean paths by column, of the sources of one zone. Side by side, so that a row is added many columns at a time.
#[derive(Clone, Debug, Default)]
pub(super) struct CleanColumns {
    sent: Vec<u64>,
    fast_sent: Vec<u64>,
    legs: Vec<u32>,
}

impl CleanColumns {
    pub(super) fn add(&mut self, row: &LossRow) {
        let size = row.clean_sent.len().max(self.sent.len());
        self.sent.resize(size, 0);
        self.fast_sent.resize(size, 0);
        self.legs.resize(size, 0);
        for (sum, sent) in self.sent.iter_mut().zip(&row.clean_sent) {
            *sum += u64::from(*sent);
        }
        for (sum, sent) in self.fast_sent.iter_mut().zip(&row.clean_fast_sent) {
            *sum += u64::from(*sent);
        }
        for (sum, sent) in self.legs.iter_mut().zip(&row.clean_sent) {
            *sum += u32::from(*sent > 0);
        }
    }

    pub(super) fn sum(&self, column: usize) -> CleanSum {
        CleanSum {
            sent: self.sent.get(column).copied().unwrap_or(0),
            fast_sent: self.fast_sent.get(column).copied().unwrap_or(0),
            legs: self.legs.get(column).copied().unwrap_or(0),
        }
    }
}

/// A leg that lost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clean {
    /// Packets, in [`UNIT`]s.
    pub(super) sent: u32,
    /// Packets of the fast window.
    pub(super) fast_sent: u32,
}

impl From<Clean> for Leg {
    fn from(clean: Clean) -> Self {
        Self {
            sent: clean.sent,
            fast_sent: clean.fast_sent,
            quiet: u8::MAX,
            ..Self::default()
        }
    }
}

/// Who is shown legs.
pub(super) trait Visitor {
    /// A path that lost nothing on the way out, and on the way back if it tells the `both_ways` apart.
    fn clean(&mut self, from: usize, to: usize, leg: Clean, both_ways: bool);

    /// All paths of a row that lost nothing.
    fn clean_row(&mut self, from: usize, row: &LossRow, both_ways: bool);

    /// A clean path that was shown is no evidence.
    fn take_back(&mut self, from: usize, to: usize, leg: Clean, both_ways: bool);

    /// A leg that lost something.
    fn leg(&mut self, from: usize, to: usize, leg: Leg);

    /// Some path is slow.
    fn slow(&mut self);
}

/// Something that knows legs.
pub(super) trait Evidence {
    /// Every leg that something is known of. A leg may come twice: as the way out of its source's probes, and as the way
    /// back of its target's.
    fn visit(&self, visitor: &mut impl Visitor);

    /// The legs that a shape covers.
    fn visit_in(&self, shape: Shape, take: impl FnMut(Leg));

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

    /// Everything on the legs that a shape covers.
    fn sum(&self, shape: Shape) -> Sum {
        let mut sum = Sum::EMPTY;
        self.visit_in(shape, |leg| sum.add(leg));
        sum
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
    clean_from: Vec<CleanSum>,
    clean_to: Vec<CleanSum>,
    clean_zones: Vec<CleanSum>,
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
            clean_from: vec![CleanSum::default(); nodes],
            clean_to: vec![CleanSum::default(); nodes],
            clean_zones: vec![CleanSum::default(); zone_count * zone_count],
        }
    }

    /// Clean legs from a place, of a row. They are not between zones nor to anybody before [`Self::add_clean_column_to`].
    pub(super) fn add_clean_row_from(&mut self, from: usize, sum: &CleanSum) {
        self.clean_from[from].merge(sum);
    }

    /// The same to a place.
    pub(super) fn add_clean_row_to(&mut self, to: usize, sum: &CleanSum) {
        self.clean_to[to].merge(sum);
    }

    /// Clean legs to a place, of all rows of a zone.
    pub(super) fn add_clean_column_to(&mut self, to: usize, zones: usize, sum: &CleanSum) {
        self.clean_to[to].merge(sum);
        self.clean_zones[zones].merge(sum);
    }

    /// The same from a place.
    pub(super) fn add_clean_column_from(&mut self, from: usize, zones: usize, sum: &CleanSum) {
        self.clean_from[from].merge(sum);
        self.clean_zones[zones].merge(sum);
    }

    pub(super) fn take_back(&mut self, from: usize, to: usize, zones: usize, leg: Clean) {
        self.clean_from[from].take_back(leg);
        self.clean_to[to].take_back(leg);
        self.clean_zones[zones].take_back(leg);
    }

    #[inline]
    pub(super) fn add_clean(&mut self, from: usize, to: usize, zones: usize, leg: Clean) {
        self.clean_from[from].add(leg);
        self.clean_to[to].add(leg);
        self.clean_zones[zones].add(leg);
    }

    pub(super) fn add(&mut self, from: usize, to: usize, zones: usize, leg: Leg) {
        self.from[from].add(leg);
        self.to[to].add(leg);
        self.zones[zones].add(leg);
    }

    /// All legs are in.
    pub(super) fn close(&mut self) {
        let clean = [&self.clean_from, &self.clean_to, &self.clean_zones];
        let sums = [&mut self.from, &mut self.to, &mut self.zones];
        for (sums, clean) in sums.into_iter().zip(clean) {
            for (sum, clean) in sums.iter_mut().zip(clean) {
                sum.add_clean(clean);
            }
        }
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
