//! Counts of legs, summed up by row, column, zone pair and all together.

use super::ground::Ground;
use super::shape::Shape;

/// Counts are kept in eighths of a probe: exact sums, in whatever order they are made, of counts that fade.
pub(super) const UNIT: u32 = 8;

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
    /// Of those, with a loss.
    pub(super) lossy: u32,
    /// Of those, dead.
    pub(super) dead: u32,
    /// Of those that are lossy, ambiguous.
    pub(super) ambiguous: u32,
    /// Least number of packets since the last loss.
    pub(super) quiet: u8,
    /// Longest row of losses of a dead leg.
    pub(super) longest: u8,
}

impl Sum {
    pub(super) const EMPTY: Self = Self {
        sent: 0,
        lost: 0,
        fast_sent: 0,
        fast_lost: 0,
        slots: [0; 2],
        legs: 0,
        lossy: 0,
        dead: 0,
        ambiguous: 0,
        quiet: u8::MAX,
        longest: 0,
    };

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
        }
        self.dead += u32::from(leg.dead > 0);
        self.ambiguous += u32::from(leg.is_ambiguous);
        self.quiet = self.quiet.min(leg.quiet);
        self.longest = self.longest.max(leg.dead);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.lost += other.lost;
        self.fast_sent += other.fast_sent;
        self.fast_lost += other.fast_lost;
        self.slots[0] += other.slots[0];
        self.slots[1] += other.slots[1];
        self.legs += other.legs;
        self.lossy += other.lossy;
        self.dead += other.dead;
        self.ambiguous += other.ambiguous;
        self.quiet = self.quiet.min(other.quiet);
        self.longest = self.longest.max(other.longest);
    }

    /// Share that is lost.
    pub(super) fn ratio(&self) -> f64 {
        if self.sent == 0 {
            return 0.0;
        }
        self.lost as f64 / self.sent as f64
    }

    /// Packets, lost ones among them.
    pub(super) fn packets(&self) -> (f64, f64) {
        let unit = f64::from(UNIT);
        (self.sent as f64 / unit, self.lost as f64 / unit)
    }

    /// Nothing gets through on at least half of its legs that lose anything.
    pub(super) fn is_dead(&self) -> bool {
        self.dead > 0 && 2 * self.dead >= self.lossy
    }
}

/// Something that knows legs.
pub(super) trait Evidence {
    /// Every leg that something is known of. A leg may come twice: as the way out of its source's probes, and as the way
    /// back of its target's.
    fn visit(&self, take: impl FnMut(usize, usize, Leg));

    /// Everything that is known of one leg.
    fn leg(&self, from: usize, to: usize) -> Sum;

    /// The share that is lost where all is well.
    fn healthy(&self) -> f64;

    /// Losses of one leg, in [`UNIT`]s, that may be a cause of their own.
    fn notable(&self) -> u32;

    /// Does it know the two ways between two nodes apart?
    fn is_one_way(&self) -> bool;

    /// Least share that a cause of many legs takes.
    fn least_ratio(&self) -> f64 {
        0.0
    }
}

/// The sums of all legs that the same causes explain.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// Bit k: the k-th cause covers them.
    pub(super) causes: u32,
    from: Vec<Sum>,
    to: Vec<Sum>,
    zones: Vec<Sum>,
    all: Sum,
    zone_count: usize,
}

impl Tally {
    fn new(causes: u32, ground: &Ground<'_>) -> Self {
        let zone_count = ground.zone_count();
        Self {
            causes,
            from: vec![Sum::EMPTY; ground.len()],
            to: vec![Sum::EMPTY; ground.len()],
            zones: vec![Sum::EMPTY; zone_count * zone_count],
            all: Sum::EMPTY,
            zone_count,
        }
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

/// Everything that one look at the evidence gives.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// One for each set of causes that covers any leg.
    pub(super) tallies: Vec<Tally>,
    /// Legs that may be causes of their own, ascending.
    pub(super) notable: Vec<(u32, u32)>,
}

impl Look {
    /// Sums up all legs, apart by the causes that cover them.
    pub(super) fn at(evidence: &impl Evidence, ground: &Ground<'_>, causes: &[Shape]) -> Self {
        let mut look = Self {
            tallies: vec![Tally::new(0, ground)],
            notable: Vec::new(),
        };
        let (tallies, notable) = (&mut look.tallies, &mut look.notable);
        let threshold = evidence.notable();
        let zone_count = ground.zone_count();
        evidence.visit(|from, to, leg| {
            if leg.lost >= threshold || leg.dead > 0 {
                notable.push((from as u32, to as u32));
            }
            let mut mask = 0;
            for (k, cause) in causes.iter().enumerate() {
                mask |= u32::from(cause.covers(ground, from, to)) << k;
            }
            let number = if mask == 0 {
                0
            } else {
                let known = tallies.iter().position(|tally| tally.causes == mask);
                known.unwrap_or_else(|| {
                    tallies.push(Tally::new(mask, ground));
                    tallies.len() - 1
                })
            };
            let tally = &mut tallies[number];
            tally.from[from].add(leg);
            tally.to[to].add(leg);
            tally.zones[ground.zone(from) * zone_count + ground.zone(to)].add(leg);
        });
        for tally in tallies.iter_mut() {
            tally.all = tally.from.iter().fold(Sum::EMPTY, |mut all, sum| {
                all.merge(sum);
                all
            });
        }
        notable.sort_unstable();
        notable.dedup();
        look
    }
}
