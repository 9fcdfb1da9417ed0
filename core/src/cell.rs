//! The state of one path in the matrix: 40 octets, from which its verdict follows.
//!
//! A cell takes one [`Summary`] after the other and keeps just what the rules of DETECTION.md §1 need: two slots of the
//! length of the fast window (ten seconds; longer for kinds that are sent rarely), the row of losses at its end, a CUSUM for
//! small loss, baselines for slowness; and for the diagnosis the counts of a longer time, which fade.
//! It has no clock; `now` is a [`Moment`], kept as tenths of a second since the driver's origin.

mod fading;
mod last_loss;
mod round_trip;

use std::time::Duration;

pub use fading::LONG_FADING;
use fading::{Fading, fade};
use last_loss::LastLoss;

use crate::outcome::OutcomeClass;
use crate::time::Moment;
use crate::verdict::{CUSUM_LOSS, CUSUM_SUCCESS, Thresholds, Verdict, wilson_bounds};
use crate::window::Summary;

/// Successes in a row that refute a loss of p1 = 5 %: 0 of 73 has an upper Wilson bound of 0.05.
const REFUTES_LOSS: u8 = 73;
/// A longer row of losses than random loss usually makes: at 50 % loss, one row in a thousand is that long.
const OUTAGE: u8 = 10;
/// Unless what else was lost makes such a row more often than this: then it is heavy loss and no outage.
const CHANCE_OF_ROW: f32 = 0.01;
/// Losses of one row that count as random loss.
const ROW_COUNTS: u32 = 2;

/// Has the path lost enough, lately, to be lossy? Kept until refuted.
const LOSSY: u8 = 0b0000_1000;
/// It answers again after an outage, and has too few samples since then.
const RECOVERING: u8 = 0b0001_0000;
const VERDICT_BITS: u8 = 0b0000_0111;

/// One path in the matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathCell {
    /// End of the newest window, tenths of a second since the origin, plus one; zero: never.
    updated: u32,
    /// When the target last reported that it received something: seconds since the origin, modulo [`RECEIVED_TURN`], plus
    /// one; zero: never, or so long ago that it does not matter.
    received_updated: u16,
    last_loss: LastLoss,
    /// In 1/[`CUSUM_SCALE`].
    cusum: u16,
    long_sent: Fading,
    long_lost: Fading,
    /// Of those, known to be lost on the way out, and on the way back.
    long_out: Fading,
    long_back: Fading,
    sent: [u16; 2],
    lost: [u16; 2],
    /// Saturate.
    received: [u8; 2],
    /// Median and tail in 1/256 of a code; zero: none.
    baseline: u16,
    tail_baseline: u16,
    rtt_min: u8,
    rtt_median: u8,
    rtt_max: u8,
    tail_bits: u8,
    consecutive_losses: u8,
    /// With a loss at the end: seconds that the row of losses there has lasted. Without: replies since the end of the
    /// newest window with a loss in it. Both saturate.
    run: u8,
    last_failure: u8,
    /// Verdict (3 bits), LOSSY, RECOVERING, windows seen by the baseline (3 bits).
    flags: u8,
}

const _: () = assert!(size_of::<PathCell>() <= 40);

/// Seconds after which `received_updated` would begin anew: 18 hours.
const RECEIVED_TURN: u32 = u16::MAX as u32;
/// The alarm level of a mesh of 5,000 nodes is 29; 64 fit, in steps of a fiftieth of a success.
const CUSUM_SCALE: f32 = 1_000.0;

/// Counts of a path over some 80 s, which fade instead of ending (see [`PathCell::long_counts`]).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LongCounts {
    /// Valid probes.
    pub sent: f32,
    /// Of those, not answered in time.
    pub lost: f32,
    /// Of those, known to be lost on the way out.
    pub out: f32,
    /// Of those, known to be lost on the way back.
    pub back: f32,
}

/// What the fast window holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FastWindow {
    /// Valid probes.
    pub sent: u32,
    /// Of those, not answered in time.
    pub lost: u32,
    /// Probes that the target says arrived; `None`: it did not say, or they are more than can be counted.
    pub received: Option<u32>,
    /// Lower Wilson bound of the loss ratio.
    pub loss_lower: f64,
    /// Upper Wilson bound of the loss ratio.
    pub loss_upper: f64,
}

impl Default for PathCell {
    fn default() -> Self {
        Self::NOT_SAMPLED
    }
}

impl PathCell {
    /// A path that the plan does not probe.
    pub const NOT_SAMPLED: Self = Self {
        updated: 0,
        received_updated: 0,
        last_loss: LastLoss::NONE,
        cusum: 0,
        long_sent: Fading::ZERO,
        long_lost: Fading::ZERO,
        long_out: Fading::ZERO,
        long_back: Fading::ZERO,
        sent: [0; 2],
        lost: [0; 2],
        received: [0; 2],
        baseline: 0,
        tail_baseline: 0,
        rtt_min: 0,
        rtt_median: 0,
        rtt_max: 0,
        tail_bits: 0,
        consecutive_losses: 0,
        run: 0,
        last_failure: 0,
        flags: Verdict::NotSampled as u8,
    };

    /// A path that the plan probes, before its first window.
    pub const EMPTY: Self = Self {
        flags: Verdict::NoData as u8,
        ..Self::NOT_SAMPLED
    };

    /// Takes what one window saw. Returns the verdict before and after if it changed.
    #[inline]
    pub fn apply(
        &mut self,
        summary: &Summary,
        now: Moment,
        thresholds: &Thresholds,
    ) -> Option<(Verdict, Verdict)> {
        let now = tenths(now);
        let before = self.judged();
        self.note_loss(summary, now);
        let outage_over = summary.replied > 0 && self.is_in_outage();
        if outage_over {
            self.start_over();
        }
        self.turn_slots(now, slot(thresholds));
        self.forget_received(now, slot(thresholds));
        let elapsed = now.saturating_sub(self.updated.saturating_sub(1));
        let faded = fade(elapsed);
        self.long_sent.fade(faded);
        self.long_lost.fade(faded);
        self.long_out.fade(faded);
        self.long_back.fade(faded);
        self.updated = now + 1;
        if !summary.lost_ways.is_empty() && !outage_over {
            let in_mid = in_mid(summary.window_millis);
            self.long_out.add(summary.lost_ways.out as f32 * in_mid);
            self.long_back.add(summary.lost_ways.back as f32 * in_mid);
        }
        if summary.sent > 0 {
            self.count(summary, outage_over, (elapsed, now), thresholds);
        } else if self.consecutive_losses > 0 {
            self.run = self.run.saturating_add(seconds(elapsed, now));
        }
        if !summary.rtt_median.is_none() {
            self.learn_rtt(summary);
        }
        let after = self.judge(now, thresholds);
        self.flags = (self.flags & !VERDICT_BITS) | after as u8;
        (before != after).then_some((before, after))
    }

    /// Takes the number of probes that the target received of this path's source in a window.
    #[inline]
    pub fn apply_received(&mut self, received: u32, now: Moment, thresholds: &Thresholds) {
        let now = tenths(now);
        self.turn_slots(now, slot(thresholds));
        self.received_updated = (now / 10 % RECEIVED_TURN) as u16 + 1;
        let received = u8::try_from(received).unwrap_or(u8::MAX);
        self.received[0] = self.received[0].saturating_add(received);
    }

    /// The verdict at `now`: as judged at the last window, unless that is too long ago.
    #[inline]
    pub fn verdict(&self, now: Moment, thresholds: &Thresholds) -> Verdict {
        match self.judged() {
            Verdict::NotSampled => Verdict::NotSampled,
            _ if self.is_stale(tenths(now), thresholds) => Verdict::NoData,
            verdict => verdict,
        }
    }

    /// The counts of the fast window at `now`.
    pub fn fast_window(&self, now: Moment, thresholds: &Thresholds) -> FastWindow {
        let slot = slot(thresholds);
        let mut turned = *self;
        turned.turn_slots(tenths(now), slot);
        let (sent, lost) = turned.weighted(tenths(now), slot);
        let (loss_lower, loss_upper) = wilson_bounds(lost, sent);
        let received_fresh = self
            .received_age(tenths(now))
            .is_some_and(|age| age * 10 < 2 * slot)
            && !turned.received.contains(&u8::MAX);
        FastWindow {
            sent,
            lost,
            received: received_fresh.then(|| {
                let rest = slot - tenths(now) % slot;
                u32::from(turned.received[0]) + u32::from(turned.received[1]) * rest / slot
            }),
            loss_lower,
            loss_upper,
        }
    }

    /// The counts of a longer time, for small loss, as of `end`: each window counts e^(−age/80 s) of what it held, its age
    /// taken from its middle.
    ///
    /// `end` is when the newest window of the path's reporter ended, and not now. Then they are the same multiple of the rate
    /// however the windows of a reporter lie, and what a source sent can be compared with what its target received,
    /// whose windows end at other times.
    pub fn long_counts(&self, end: Moment) -> LongCounts {
        let updated = self.updated.saturating_sub(1);
        let left = fade(tenths(end).saturating_sub(updated));
        let sent = self.long_sent.get() * left;
        LongCounts {
            sent,
            lost: (self.long_lost.get() * left).min(sent),
            out: self.long_out.get() * left,
            back: self.long_back.get() * left,
        }
    }

    /// Valid probes, and those that arrived, in the two newest slots of a reporter whose newest window ended at `end`.
    pub fn newest_slots(&self, end: Moment, thresholds: &Thresholds) -> (u32, u32) {
        let mut turned = *self;
        turned.turn_slots(tenths(end), slot(thresholds));
        let [newest, before] = turned.received.map(u32::from);
        (
            turned.sent.into_iter().map(u32::from).sum(),
            newest + before,
        )
    }

    /// The fast window has another length from now on: what was counted in the old one is over.
    pub fn restart_window(&mut self) {
        self.sent = [0; 2];
        self.lost = [0; 2];
        self.received = [0; 2];
    }

    /// Losses in a row at the end of the newest window.
    pub const fn consecutive_losses(&self) -> u8 {
        self.consecutive_losses
    }

    /// Replies since the end of the newest window with a loss in it; saturates.
    pub const fn consecutive_replies(&self) -> u8 {
        if self.consecutive_losses == 0 {
            self.run
        } else {
            0
        }
    }

    /// How long the row of losses at the end of the newest window has lasted; whole seconds, saturates at 255.
    pub const fn failing_for(&self) -> Duration {
        Duration::from_secs(if self.consecutive_losses == 0 {
            0
        } else {
            self.run as u64
        })
    }

    /// Losses in the slot of the fast window that `now` is in, and in the whole slot before it.
    pub fn lost_by_slot(&self, now: Moment, thresholds: &Thresholds) -> [u16; 2] {
        self.by_slot(now, thresholds).1
    }

    /// Valid probes, and losses, in the slot of the fast window that `now` is in, and in the whole slot before it.
    pub fn by_slot(&self, now: Moment, thresholds: &Thresholds) -> ([u16; 2], [u16; 2]) {
        let mut turned = *self;
        turned.turn_slots(tenths(now), slot(thresholds));
        (turned.sent, turned.lost)
    }

    /// When something was last lost, lately, as the end of the window that has it, and the row of losses that it was the end
    /// of; rows of more than 15 are not told apart.
    pub fn last_loss(&self) -> Option<(Moment, u8)> {
        self.last_loss.get(self.updated.checked_sub(1)?)
    }

    /// How the last failed probe ended.
    pub fn last_failure(&self) -> Option<OutcomeClass> {
        OutcomeClass::from_number(self.last_failure)
    }

    /// End of the newest window; `None`: there was none.
    pub fn updated_at(&self) -> Option<Moment> {
        Some(Moment::from_millis(
            u64::from(self.updated.checked_sub(1)?) * 100,
        ))
    }

    fn judged(&self) -> Verdict {
        Verdict::from_number(self.flags & VERDICT_BITS).unwrap_or(Verdict::NoData)
    }

    fn is_stale(&self, now: u32, thresholds: &Thresholds) -> bool {
        let Some(updated) = self.updated.checked_sub(1) else {
            return true;
        };
        now.saturating_sub(updated) as f32 > thresholds.stale_after_seconds * 10.0
    }

    /// Is the row of losses at the end longer than what was lost beside it explains? A path that loses four of five probes
    /// has rows of ten all the time.
    fn is_in_outage(&self) -> bool {
        let row = f32::from(self.consecutive_losses);
        let beside = |sent: f32, lost: f32| (lost - row).max(0.0) / (sent - row).max(1.0);
        let sum = |counts: [u16; 2]| counts.into_iter().map(f32::from).sum();
        let fast = beside(sum(self.sent), sum(self.lost));
        let long = beside(self.long_sent.get(), self.long_lost.get());
        self.consecutive_losses >= OUTAGE
            && fast
                .max(long)
                .min(1.0)
                .powi(i32::from(self.consecutive_losses))
                < CHANCE_OF_ROW
    }

    /// An outage is over: what was lost in it says nothing about the loss from now on.
    fn start_over(&mut self) {
        let row = match self.consecutive_losses {
            u8::MAX => f32::MAX,
            row => row.into(),
        };
        let row = row.min(self.long_lost.get());
        self.long_sent = Fading::from(self.long_sent.get() - row);
        self.long_lost = Fading::from(self.long_lost.get() - row);
        self.sent = [0; 2];
        self.lost = [0; 2];
        self.flags |= RECOVERING;
    }

    /// End of the newest window, up to `now`, in which the path's source received something of its target; `None`: there was
    /// none, lately.
    pub fn received_at(&self, now: Moment) -> Option<Moment> {
        let age = self.received_age(tenths(now))?;
        let now = now.as_millis() / 1_000;
        Some(Moment::from_millis(now.saturating_sub(age.into()) * 1_000))
    }

    fn note_loss(&mut self, summary: &Summary, now: u32) {
        let (lost, at_end) = (summary.lost(), u32::from(summary.consecutive_losses));
        if lost == 0 {
            return self.last_loss.forget(now);
        }
        let before = u32::from(self.consecutive_losses);
        let row = match (summary.replied, at_end) {
            (0, _) | (_, 0) => before + lost,
            (_, at_end) => at_end.min(lost),
        };
        self.last_loss.set(now, row);
    }

    /// Seconds since the target reported that it received something; `None`: it did not, lately.
    fn received_age(&self, now: u32) -> Option<u32> {
        let then = u32::from(self.received_updated.checked_sub(1)?);
        Some((now / 10 % RECEIVED_TURN + RECEIVED_TURN - then) % RECEIVED_TURN)
    }

    /// A word that is too old to matter is forgotten before it would look new again.
    fn forget_received(&mut self, now: u32, slot: u32) {
        if self
            .received_age(now)
            .is_some_and(|age| age * 10 >= 2 * slot)
        {
            self.received_updated = 0;
        }
    }

    /// The slot of the newest counts, whoever they are from.
    fn newest_slot(&self, now: u32, slot: u32) -> u32 {
        let updated = self.updated.saturating_sub(1);
        // Slots are whole seconds long: that the word on what was received is not as exact does not matter.
        let received = self
            .received_age(now)
            .map_or(0, |age| (now / 10).saturating_sub(age));
        (updated / slot).max(received * 10 / slot)
    }

    fn turn_slots(&mut self, now: u32, slot: u32) {
        let (before, slot) = (self.newest_slot(now, slot), now / slot);
        if slot <= before {
            return;
        }
        let follows = slot == before + 1;
        for counter in [&mut self.sent, &mut self.lost] {
            *counter = [0, if follows { counter[0] } else { 0 }];
        }
        self.received = [0, if follows { self.received[0] } else { 0 }];
    }

    /// `elapsed`: tenths of a second since the end of the window before.
    fn count(
        &mut self,
        summary: &Summary,
        outage_over: bool,
        (elapsed, now): (u32, u32),
        thresholds: &Thresholds,
    ) {
        // Of the window in which an outage ended, what counts is what came after: the row at its end.
        let lost = if outage_over {
            u32::from(summary.consecutive_losses).min(summary.lost())
        } else {
            summary.lost()
        };
        let sent = summary.replied + lost;
        self.sent[0] = add(self.sent[0], sent);
        self.lost[0] = add(self.lost[0], lost);
        let in_mid = in_mid(summary.window_millis);
        self.long_sent.add(sent as f32 * in_mid);
        self.long_lost.add(lost as f32 * in_mid);
        let events = self.independent_losses(lost, summary);
        let before = self.consecutive_losses;
        self.consecutive_losses = if lost == 0 {
            0
        } else {
            summary.consecutive_losses
        };
        let replies = self.consecutive_replies();
        self.run = if self.consecutive_losses > 0 {
            let goes_on = before > 0 && summary.replied == 0;
            let window = summary.window_millis / 100;
            let (lasted, more) = if goes_on {
                (self.run, elapsed)
            } else {
                let row = u32::from(self.consecutive_losses).min(sent);
                (0, window * row / sent.max(1))
            };
            lasted.saturating_add(seconds(more, now))
        } else if lost > 0 {
            0
        } else if before > 0 {
            summary.replied.min(255) as u8
        } else {
            replies.saturating_add(summary.replied.min(255) as u8)
        };
        if let Some(class) = summary.last_failure {
            self.last_failure = class as u8;
        }
        let step = events as f32 * CUSUM_LOSS + summary.replied as f32 * CUSUM_SUCCESS;
        let alarm = thresholds.cusum_alarm;
        let mut cusum = (f32::from(self.cusum) / CUSUM_SCALE + step).clamp(0.0, alarm);
        if cusum >= alarm {
            self.flags |= LOSSY;
        } else if self.consecutive_replies() >= REFUTES_LOSS || cusum < alarm / 2.0 {
            self.flags &= !LOSSY;
            if self.consecutive_replies() >= REFUTES_LOSS {
                cusum = 0.0;
            }
        }
        self.cusum = (cusum * CUSUM_SCALE).ceil() as u16;
    }

    /// How many of the lost probes say something about random loss, which is what the CUSUM looks for.
    ///
    /// A burst inside one second is one event. Of a row of losses the first two count: a longer one is an
    /// outage, which has a verdict of its own.
    fn independent_losses(&self, lost: u32, summary: &Summary) -> u32 {
        let before = u32::from(self.consecutive_losses);
        let after = u32::from(summary.consecutive_losses).min(lost);
        let counted = if summary.replied == 0 {
            (before + lost).min(ROW_COUNTS) - before.min(ROW_COUNTS)
        } else if before >= ROW_COUNTS {
            after.min(ROW_COUNTS)
        } else {
            lost - after + after.min(ROW_COUNTS)
        };
        counted.min(summary.window_millis.div_ceil(1_000))
    }

    /// Valid and lost probes of the fast window: the current slot, and of the one before what still counts.
    fn weighted(&self, now: u32, slot: u32) -> (u32, u32) {
        let rest = slot - now % slot;
        let weigh = |c: [u16; 2]| u32::from(c[0]) + (u32::from(c[1]) * rest).div_ceil(slot);
        (weigh(self.sent), weigh(self.lost))
    }

    fn judge(&mut self, now: u32, thresholds: &Thresholds) -> Verdict {
        if self.consecutive_losses >= thresholds.down_after {
            return Verdict::Down;
        }
        if self.consecutive_losses > 0 {
            return Verdict::Suspect;
        }
        // Of almost every path nothing was lost and the current slot alone is enough: no need to weigh the other one.
        let is_plain = self.lost == [0; 2] && u32::from(self.sent[0]) >= thresholds.min_samples;
        if !is_plain {
            let (sent, lost) = self.weighted(now, slot(thresholds));
            if sent < thresholds.min_samples {
                return if self.flags & RECOVERING == 0 {
                    Verdict::NoData
                } else {
                    Verdict::Suspect
                };
            }
            if lost * 2 > sent && wilson_bounds(lost, sent).0 > 0.5 {
                self.flags &= !RECOVERING;
                return Verdict::Down;
            }
        }
        self.flags &= !RECOVERING;
        if self.flags & LOSSY != 0 {
            return Verdict::Lossy;
        }
        if self.is_slow() {
            return Verdict::Slow;
        }
        Verdict::Healthy
    }
}

/// What is left, at the end of a window of so many milliseconds, of what happened in its middle.
fn in_mid(window_millis: u32) -> f32 {
    fade(window_millis / 200)
}

/// Length of a slot of the fast window in tenths of a second.
fn slot(thresholds: &Thresholds) -> u32 {
    u32::from(thresholds.window_seconds.max(1)) * 10
}

fn tenths(now: Moment) -> u32 {
    u32::try_from(now.as_millis() / 100).unwrap_or(u32::MAX - 1)
}

/// Whole seconds that ended in the last so many tenths of one before `now`: of windows that follow each other, however short
/// they are, these add up to the seconds of all of them.
fn seconds(tenths: u32, now: u32) -> u8 {
    u8::try_from(now / 10 - now.saturating_sub(tenths) / 10).unwrap_or(u8::MAX)
}

fn add(counter: u16, n: u32) -> u16 {
    u16::try_from(u32::from(counter) + n.min(u32::from(u16::MAX))).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
