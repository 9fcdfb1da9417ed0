//! Counts of one leg, and of many.

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

impl Leg {
    /// Share that is lost.
    pub(super) fn ratio(&self) -> f64 {
        f64::from(self.lost) / f64::from(self.sent)
    }
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
    };

    /// One leg.
    pub(super) fn of(leg: Leg) -> Self {
        let mut sum = Self::EMPTY;
        sum.add(leg);
        sum
    }

    /// The same without legs that are in it.
    pub(super) fn subtract(&mut self, other: &Self) {
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

impl From<Clean> for Sum {
    fn from(clean: Clean) -> Self {
        Self {
            sent: clean.sent.into(),
            fast_sent: clean.fast_sent.into(),
            legs: 1,
            ..Self::EMPTY
        }
    }
}

/// Rows of losses of many legs, and how long ago the last one was. Unlike a [`Sum`] it cannot be told without legs that are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spells {
    /// Least number of packets since the last loss.
    pub(super) quiet: u8,
    /// Longest row of losses of a dead leg.
    pub(super) longest: u8,
    /// The same in seconds.
    pub(super) dead_for: u8,
}

impl Spells {
    pub(super) const NONE: Self = Self {
        quiet: u8::MAX,
        longest: 0,
        dead_for: 0,
    };

    pub(super) fn add(&mut self, other: Self) {
        self.quiet = self.quiet.min(other.quiet);
        self.longest = self.longest.max(other.longest);
        self.dead_for = self.dead_for.max(other.dead_for);
    }

    /// Are these in it already?
    pub(super) fn have(mut self, other: Self) -> bool {
        let before = self;
        self.add(other);
        self == before
    }
}

impl From<Leg> for Spells {
    fn from(leg: Leg) -> Self {
        Self {
            quiet: leg.quiet,
            longest: leg.dead,
            dead_for: leg.dead_for,
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

/// No leg of a group is worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Worst {
    /// Most packets of a leg, in [`UNIT`]s.
    pub(super) sent: u32,
    /// Most losses of a leg.
    pub(super) lost: u32,
    /// Largest share that a leg lost.
    pub(super) ratio: f64,
    pub(super) spells: Spells,
}

impl Worst {
    pub(super) const NONE: Self = Self {
        sent: 0,
        lost: 0,
        ratio: 0.0,
        spells: Spells::NONE,
    };

    pub(super) fn add(&mut self, leg: Leg) {
        self.sent = self.sent.max(leg.sent);
        self.lost = self.lost.max(leg.lost);
        self.ratio = self.ratio.max(leg.ratio());
        self.spells.add(leg.into());
    }
}
