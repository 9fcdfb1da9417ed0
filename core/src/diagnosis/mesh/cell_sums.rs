//! What the cells of many paths add up to: all that a layer needs for its word on a cause that another one shows.

use super::across::each_touched;
use super::ground::Ground;
use super::loss::{LossOf, is_told};
use super::shape::{Shape, ZoneWays};
use crate::diagnosis::{CellPicture, RowPicture};

/// Losses in a row that say that a path fails now: its probe and what confirms it.
const FAILS_AFTER: u8 = 3;

/// Counts of round trips.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CellSum {
    pub(super) paths: u32,
    /// Of those, have lost their newest probe.
    pub(super) lossy: u32,
    /// Of those, fail now.
    pub(super) failing: u32,
    /// Probes of the newest slot of the fast window and of the one before.
    pub(super) slot_sent: [u64; 2],
    /// Of those, lost.
    pub(super) slot_lost: [u64; 2],
    /// The same over a minute or two.
    pub(super) long_sent: f64,
    /// See `long_sent`.
    pub(super) long_lost: f64,
}

impl CellSum {
    /// Of every judged path of a layer of which a leg is in the shape. Of shapes that are about zones the sums of each row are
    /// known once they were asked for.
    pub(super) fn of(evidence: &LossOf<'_>, shape: Shape) -> Self {
        let (layer, ground) = (evidence.layer, evidence.ground);
        let mut sum = Self::default();
        if shape.is_path() || shape.node().is_some() {
            each_touched(layer, ground, shape, |_, _, cell| sum.add(cell));
            return sum;
        }
        let ways = ZoneWays::covered(shape, ground);
        for from in 0..ground.len() {
            let zone = ground.zone(from);
            if !ways.touches(zone) {
                continue;
            }
            let zones = evidence.rows.cells(ground.node(from).index(), ground);
            for (other, cells) in zones.iter().enumerate() {
                if ways.between(zone, other) != (false, false) {
                    sum.merge(cells);
                }
            }
        }
        sum
    }

    /// Of the paths of a row, by zone of the target.
    pub(super) fn by_zone(row: &RowPicture, source: usize, ground: &Ground<'_>) -> Vec<Self> {
        let mut zones = vec![Self::default(); ground.zone_count()];
        for (column, cell) in row.iter() {
            if let Some(to) = ground.place(column)
                && column != source
                && is_told(cell)
            {
                zones[ground.zone(to)].add(cell);
            }
        }
        zones
    }

    fn add(&mut self, cell: &CellPicture) {
        self.paths += 1;
        self.lossy += u32::from(cell.consecutive_losses > 0);
        self.failing += u32::from(cell.consecutive_losses >= FAILS_AFTER);
        for slot in 0..2 {
            self.slot_sent[slot] += u64::from(cell.slot_sent[slot]);
            self.slot_lost[slot] += u64::from(cell.slot_lost[slot]);
        }
        self.long_sent += f64::from(cell.long_sent);
        self.long_lost += f64::from(cell.long_lost);
    }

    fn merge(&mut self, other: &Self) {
        self.paths += other.paths;
        self.lossy += other.lossy;
        self.failing += other.failing;
        for slot in 0..2 {
            self.slot_sent[slot] += other.slot_sent[slot];
            self.slot_lost[slot] += other.slot_lost[slot];
        }
        self.long_sent += other.long_sent;
        self.long_lost += other.long_lost;
    }
}
