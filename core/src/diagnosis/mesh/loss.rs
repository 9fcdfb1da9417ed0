//! Loss of one layer, as legs.

use super::ground::Ground;
use super::leg::{Clean, Leg, Sum, UNIT, Worst};
use super::loss_rows::{LayerRows, LossRow, PathLegs, Told};
use super::loss_sums::LossSums;
use super::shape::Shape;
use super::tally::{End, Evidence, Visitor};
use crate::diagnosis::{Arrived, CellPicture, LayerPicture};
use crate::path::ProbeKind;
use crate::verdict::{Verdict, wilson_bounds};

/// Losses in a row after which nothing is taken to get through.
const DEAD_AFTER: u8 = 4;
/// A row of losses is an outage if the path's usual loss makes one that long less often than this.
const CHANCE_OF_ROW: f32 = 0.01;
/// From this share on, all is lost.
const NEARLY_ALL: f32 = 0.95;
/// Losses that the fast window should have seen, of which it saw none: what the long counts remember is over.
const EXPECTED_UNSEEN: f32 = 3.0;

/// One layer between nodes.
#[derive(Debug)]
pub(super) struct LossOf<'a> {
    pub(super) layer: &'a LayerPicture,
    /// The same, as it was worked out before.
    pub(super) rows: &'a LayerRows,
    pub(super) ground: &'a Ground<'a>,
    /// Loss that is no news.
    pub(super) healthy: f64,
    /// Places whose paths lose packets by flow, and not by chance: unless they are dead, they are not counted.
    pub(super) left_out: &'a [Shape],
    /// Rows that are behind are compared with what their targets know. That costs a look at each path's way back, so it is
    /// done where there is something to explain.
    pub(super) is_close: bool,
}

impl LossOf<'_> {
    /// What a path tells; `None`: nothing, or nothing of now.
    fn path(&self, from: usize, to: usize) -> Option<Told<'_>> {
        let source = self.ground.node(from).index();
        let column = self.ground.node(to).index();
        let path = self.rows.row(source)?.path(column)?;
        let is_evidence =
            !self.is_outdated(source, column) && !self.is_left_out(from, to, path.is_dead());
        is_evidence.then_some(path)
    }

    /// The paths of a source that tell something of now, be they left out or not, with their targets.
    fn each_path(&self, from: usize) -> impl Iterator<Item = (usize, Told<'_>)> {
        let source = self.ground.node(from).index();
        let paths = self.rows.row(source).into_iter().flat_map(LossRow::each);
        paths.filter_map(move |(column, path)| {
            let to = self.ground.place(column)?;
            (!self.is_outdated(source, column)).then_some((to, path))
        })
    }

    /// The same of the paths that start or end at one of these places, which ascend.
    fn each_path_at(&self, places: &[u32], mut take: impl FnMut(usize, usize, Told<'_>)) {
        if places.is_empty() {
            return;
        }
        for from in 0..self.ground.len() {
            if places.binary_search(&(from as u32)).is_ok() {
                self.each_path(from)
                    .for_each(|(to, path)| take(from, to, path));
                continue;
            }
            let source = self.ground.node(from).index();
            let Some(row) = self.rows.row(source) else {
                continue;
            };
            for to in places.iter().map(|to| *to as usize) {
                let column = self.ground.node(to).index();
                let path = row.path(column);
                if let Some(path) = path.filter(|_| !self.is_outdated(source, column)) {
                    take(from, to, path);
                }
            }
        }
    }

    /// The paths that are left out, although they tell something of now.
    fn each_left_out(&self, mut take: impl FnMut(usize, usize, Told<'_>)) {
        if self.left_out.is_empty() {
            return;
        }
        for from in 0..self.ground.len() {
            for (to, path) in self.each_path(from) {
                if self.is_left_out(from, to, path.is_dead()) {
                    take(from, to, path);
                }
            }
        }
    }

    fn is_left_out(&self, from: usize, to: usize, is_dead: bool) -> bool {
        let mut places = self.left_out.iter();
        !is_dead && places.any(|place| place.touches(self.ground, from, to))
    }

    /// Does a source say nothing of now about a column?
    fn is_outdated(&self, source: usize, column: usize) -> bool {
        self.is_close
            && self
                .rows
                .outdated(source)
                .binary_search(&(column as u32))
                .is_ok()
    }

    /// What the paths that tell something of now add up to.
    fn sums(&self) -> &LossSums {
        if self.is_close {
            self.rows.sums_of_now()
        } else {
            &self.rows.kept.sums
        }
    }

    fn one_way(&self) -> bool {
        is_one_way(self.layer.layer.kind)
    }
}

/// The legs that are known of a path, with their ends.
fn with_ends<T>(
    from: usize,
    to: usize,
    [out, back]: [Option<T>; 2],
) -> impl Iterator<Item = (usize, usize, T)> {
    let out = out.map(|leg| (from, to, leg));
    let back = back.map(|leg| (to, from, leg));
    out.into_iter().chain(back)
}

impl Evidence for LossOf<'_> {
    fn visit(&self, visitor: &mut impl Visitor) {
        let (sums, one_way) = (self.sums(), self.one_way());
        for place in 0..self.ground.len() {
            let row = self.rows.row(self.ground.node(place).index());
            if row.is_some_and(|row| row.is_slow) {
                visitor.slow();
            }
            for end in [End::Source, End::Target] {
                sums.each_way(self.ground, place, end, |way| visitor.way(way, end));
            }
        }
        self.each_path_at(&visitor.apart(), |from, to, path| {
            for (from, to, leg) in with_ends(from, to, path.sums(one_way)) {
                visitor.set_apart(from, to, &leg);
            }
        });
        self.each_left_out(|from, to, path| {
            for (from, to, leg) in with_ends(from, to, path.sums(one_way)) {
                visitor.take_back(from, to, &leg);
            }
        });
    }

    fn visit_lossy(
        &self,
        mut is_asked: impl FnMut(usize, usize, &Worst) -> bool,
        mut take: impl FnMut(usize, usize, Leg),
    ) {
        let mut asked = Vec::new();
        for from in 0..self.ground.len() {
            let source = self.ground.node(from).index();
            let own = self.ground.zone(from);
            let worst = self.rows.kept.worst(source).iter().enumerate();
            asked.clear();
            asked.extend(
                worst.map(|(zone, [out, back])| {
                    is_asked(own, zone, out) || is_asked(zone, own, back)
                }),
            );
            let row = self.rows.row(source).filter(|_| asked.contains(&true));
            for path in row.map_or(&[][..], |row| &row.lossy) {
                let column = path.column as usize;
                let Some(to) = self.ground.place(column) else {
                    continue;
                };
                if asked[self.ground.zone(to)]
                    && !self.is_outdated(source, column)
                    && !self.is_left_out(from, to, path.is_dead)
                {
                    for (from, to, leg) in with_ends(from, to, [path.out, path.back]) {
                        take(from, to, leg);
                    }
                }
            }
        }
    }

    fn visit_in(&self, shape: Shape, mut take: impl FnMut(usize, usize, Leg)) {
        let covers = |from, to| shape.covers(self.ground, from, to);
        if let Shape::Path(a, b) | Shape::Pair(a, b) = shape {
            let (a, b) = (a as usize, b as usize);
            for (from, to) in [(a, b), (b, a)].into_iter().filter(|(a, b)| covers(*a, *b)) {
                let words = self.words(from, to).into_iter().flatten();
                words.for_each(|leg| take(from, to, leg));
            }
            return;
        }
        let mut take = |from, to, leg| {
            if covers(from, to) {
                take(from, to, leg);
            }
        };
        if let Some(node) = shape.node() {
            self.each_path_at(&[node], |from, to, path| {
                if !self.is_left_out(from, to, path.is_dead()) {
                    for (from, to, leg) in with_ends(from, to, path.legs(self.one_way())) {
                        take(from, to, leg);
                    }
                }
            });
            return;
        }
        self.visit_lossy(|x, y, _| shape.may_cover(x, y), take);
    }

    fn sum(&self, shape: Shape) -> Sum {
        let mut sum = Sum::EMPTY;
        if shape.is_path() {
            self.visit_in(shape, |_, _, leg| sum.add(leg));
            return sum;
        }
        sum = self.sums().sum(self.ground, shape);
        self.each_left_out(|from, to, path| {
            for (from, to, leg) in with_ends(from, to, path.sums(self.one_way())) {
                if shape.covers(self.ground, from, to) {
                    sum.subtract(&leg);
                }
            }
        });
        sum
    }

    fn words(&self, from: usize, to: usize) -> [Option<Leg>; 2] {
        let legs = |from, to| {
            let path = self.path(from, to);
            path.map_or([None; 2], |path| path.legs(self.one_way()))
        };
        let [out, _] = legs(from, to);
        if !self.one_way() {
            return [out, None];
        }
        let [_, back] = legs(to, from);
        [out, back]
    }

    fn healthy(&self) -> f64 {
        self.healthy
    }
}

/// Do the targets of this kind count what they receive?
pub(super) const fn is_one_way(kind: ProbeKind) -> bool {
    matches!(kind, ProbeKind::Udp)
}

/// Does the cell say anything of now?
pub(super) fn is_told(cell: &CellPicture) -> bool {
    !matches!(cell.verdict, Verdict::NotSampled | Verdict::NoData)
        && (cell.sent > 0 || cell.long_sent > 0.0)
}

/// Losses in a row at the path's end, if nothing gets through it now; else zero.
pub(super) fn dead_row(cell: &CellPicture) -> u8 {
    let row = cell.consecutive_losses;
    if row < DEAD_AFTER {
        return 0;
    }
    let is_all = cell.long_lost >= NEARLY_ALL * cell.long_sent;
    if is_all || chance_of_row(cell) < CHANCE_OF_ROW {
        row
    } else {
        0
    }
}

/// How probable the row of losses is by what became of the path's other probes. A young path, or one of a rare kind, has few of
/// them, so their share says little of the path's own: the predictive distribution of a binomial with a flat prior
/// (beta-binomial; Gelman et al., Bayesian Data Analysis, §2.3).
fn chance_of_row(cell: &CellPicture) -> f32 {
    let row = f32::from(cell.consecutive_losses);
    let answered = (cell.long_sent - cell.long_lost).max(0.0);
    let lost = (cell.long_lost - row).max(0.0);
    let mut chance = 1.0;
    for nth in 0..cell.consecutive_losses {
        let lost = lost + 1.0 + f32::from(nth);
        chance *= lost / (lost + answered + 1.0);
        if chance < CHANCE_OF_ROW {
            break;
        }
    }
    chance
}

/// Of a path that lost nothing, which nearly all are, there is not much to say.
pub(super) fn clean(cell: &CellPicture) -> Option<Clean> {
    let is_clean = cell.lost == 0
        && cell.consecutive_losses == 0
        && cell.long_lost * (2 * UNIT) as f32 <= 1.0
        && cell.long_sent >= f32::from(cell.sent);
    is_clean.then(|| Clean {
        // A path of which next to nothing is known is still one.
        sent: ((cell.long_sent * UNIT as f32 + 0.5) as u32).max(1),
        fast_sent: u32::from(cell.sent),
    })
}

/// What a path tells of its legs.
pub(super) fn legs_of(column: usize, cell: &CellPicture, one_way: bool) -> PathLegs {
    let counts = Counts::of(cell);
    let whole = round_trip(cell, &counts);
    let (out, back) = if one_way {
        let (out, back) = legs(cell, &counts, whole);
        let known = |leg: Leg| (leg.sent > 0).then_some(leg);
        (known(out), known(back))
    } else {
        (Some(whole), None)
    };
    PathLegs {
        column: column as u32,
        is_dead: dead_row(cell) > 0,
        out,
        back,
    }
}

/// What a path says of its round trip.
fn round_trip(cell: &CellPicture, counts: &Counts) -> Leg {
    Leg {
        sent: counts.sent,
        lost: counts.lost,
        fast_sent: u32::from(cell.sent),
        fast_lost: u32::from(cell.lost),
        slots: cell.slot_lost,
        quiet: cell.consecutive_replies,
        dead: counts.dead,
        dead_for: if counts.dead > 0 {
            cell.failing_for.as_secs() as u8
        } else {
            0
        },
        is_ambiguous: false,
    }
}

/// What a path says of the way out and of the way back.
fn legs(cell: &CellPicture, counts: &Counts, whole: Leg) -> (Leg, Leg) {
    if whole.lost == 0 && whole.fast_lost == 0 {
        return (whole, whole);
    }
    let Some(arrived) = counts.arrived else {
        let leg = Leg {
            is_ambiguous: whole.lost > 0,
            ..whole
        };
        return (leg, leg);
    };
    let (fast_sent, fast_lost) = (u32::from(cell.sent), u32::from(cell.lost));
    let fast_replied = fast_sent.saturating_sub(fast_lost);
    let fast_arrived = cell.received.map_or(fast_sent, u32::from);
    let fast_arrived = fast_arrived.clamp(fast_replied, fast_sent);
    let replied = counts.sent - counts.lost;
    let out_is_dead = counts.dead > 0 && arrived == 0;
    let out = Leg {
        sent: counts.sent,
        lost: counts.sent - arrived,
        fast_sent,
        fast_lost: fast_sent - fast_arrived,
        slots: whole.slots,
        quiet: whole.quiet,
        dead: if out_is_dead { counts.dead } else { 0 },
        dead_for: if out_is_dead { whole.dead_for } else { 0 },
        is_ambiguous: false,
    };
    let back = Leg {
        sent: arrived,
        lost: arrived - replied,
        fast_sent: fast_arrived,
        fast_lost: fast_arrived - fast_replied,
        slots: whole.slots,
        quiet: whole.quiet,
        dead: if out_is_dead { 0 } else { counts.dead },
        dead_for: if out_is_dead { 0 } else { whole.dead_for },
        is_ambiguous: false,
    };
    (out, back)
}

/// The counts that a path is judged by.
struct Counts {
    sent: u32,
    lost: u32,
    /// Of `sent`, arrived at the target: between the replies and `sent`.
    arrived: Option<u32>,
    dead: u8,
}

impl Counts {
    /// Of a path that is dead, the row of losses alone: what came before says nothing of now. Of any other, the long
    /// counts, unless the fast window refutes them: the loss is over, or it is younger than they are.
    fn of(cell: &CellPicture) -> Self {
        let (sent, lost) = (u32::from(cell.sent), u32::from(cell.lost));
        let mut dead = dead_row(cell);
        if cell.arrived_in_row == Some(Arrived::Few) {
            // Each way loses a share, so neither is dead.
            dead = 0;
        }
        if dead > 0 {
            let row = u32::from(dead) * UNIT;
            let arrived = |arrived| if arrived == Arrived::Most { row } else { 0 };
            return Self {
                sent: row,
                lost: row,
                arrived: cell.arrived_in_row.map(arrived),
                dead,
            };
        }
        let expected = cell.long_lost * f32::from(cell.sent);
        let is_over = lost == 0 && expected >= EXPECTED_UNSEEN * cell.long_sent;
        let least = |(least, _): (f64, f64)| least * f64::from(cell.long_sent);
        let is_young = lost > 0 && least(wilson_bounds(lost, sent)) > f64::from(cell.long_lost);
        if is_over || is_young || cell.long_sent < f32::from(cell.sent) {
            let replied = sent.saturating_sub(lost);
            let arrived = cell
                .received
                .map(|r| u32::from(r).clamp(replied, sent) * UNIT);
            return Self {
                sent: sent * UNIT,
                lost: lost * UNIT,
                arrived,
                dead,
            };
        }
        let units = |count: f32| (count * UNIT as f32 + 0.5) as u32;
        let sent = units(cell.long_sent);
        let lost = units(cell.long_lost).min(sent);
        let arrived = cell
            .long_received
            .map(|r| units(r).clamp(sent - lost, sent));
        Self {
            sent,
            lost,
            arrived,
            dead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that ends with a row of losses, after so many probes of which so many were lost.
    fn row(losses: u8, before: u8, lost: u8) -> CellPicture {
        CellPicture {
            consecutive_losses: losses,
            long_sent: f32::from(before) + f32::from(losses),
            long_lost: f32::from(lost) + f32::from(losses),
            ..CellPicture::NOT_SAMPLED
        }
    }

    #[test]
    fn a_row_of_losses_is_an_outage_as_soon_as_the_answers_before_it_say_so() {
        for (before, from) in [(3, 5), (4, 4), (10, 4), (80, 4)] {
            assert_eq!(dead_row(&row(from - 1, before, 0)), 0, "{before}");
            for losses in from..100 {
                let found = dead_row(&row(losses, before, 0));
                assert_eq!(found, losses, "after {before} answers");
            }
        }
    }

    #[test]
    fn a_row_that_the_usual_loss_of_the_path_makes_is_none() {
        assert_eq!(dead_row(&row(4, 100, 50)), 0);
        assert_eq!(dead_row(&row(10, 100, 80)), 0);
        assert_eq!(dead_row(&row(5, 0, 0)), 5, "it never answered");
    }
}
