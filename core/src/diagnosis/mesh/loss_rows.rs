//! What each row of a layer says of loss, worked out once for as long as the row stands.
//!
//! Nearly all paths lose nothing, and of these two numbers are enough. What is asked of a row after that goes over those numbers,
//! side by side, and over the few paths that lost something, instead of over all cells.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::cell_sums::CellSum;
use super::ground::Ground;
use super::leg::{Clean, Leg, Sum};
use super::loss::{clean, is_one_way, is_told, legs_of};
use super::loss_sums::{LossSums, Seats};
use super::slow::is_slow;
use crate::diagnosis::per_row::PerRow;
use crate::diagnosis::{CellPicture, LayerPicture, RowPicture};
use crate::path::Layer;
use crate::time::Mark;

/// Two ends that report of the same loss at once do so within this.
const AT_ONCE: Duration = Duration::from_secs(2);

/// The rows of all layers between nodes. What stays of the picture before is not worked out again.
#[derive(Clone, Debug, Default)]
pub(in crate::diagnosis) struct LossRows {
    layers: HashMap<Layer, LayerRows>,
    seats: Seats,
}

impl LossRows {
    /// The rows of these layers, and of no others.
    pub(super) fn update(&mut self, layers: &[&LayerPicture], ground: &Ground<'_>) {
        let mut before = std::mem::take(&mut self.layers);
        let seats = ground.seats();
        if seats != self.seats {
            for rows in before.values_mut() {
                rows.sums = LossSums::NONE;
            }
            self.seats = seats;
        }
        for layer in layers {
            let before = before.remove(&layer.layer).unwrap_or_default();
            let rows = LayerRows::of(layer, before, &self.seats);
            self.layers.insert(layer.layer, rows);
        }
    }

    /// Those of one layer that it was updated with.
    pub(super) fn of(&self, layer: Layer) -> &LayerRows {
        static NONE: LayerRows = LayerRows {
            rows: PerRow::NONE,
            sums: LossSums::NONE,
            outdated: OnceLock::new(),
        };
        self.layers.get(&layer).unwrap_or(&NONE)
    }
}

/// The rows of one layer.
#[derive(Clone, Debug, Default)]
pub(super) struct LayerRows {
    rows: PerRow<LossRow>,
    /// What they add up to.
    pub(super) sums: LossSums,
    /// By source, see [`Self::outdated`].
    outdated: OnceLock<HashMap<u32, Vec<u32>>>,
}

impl LayerRows {
    fn of(layer: &LayerPicture, before: Self, seats: &Seats) -> Self {
        let one_way = is_one_way(layer.layer.kind);
        let rows = before.rows.renewed(layer, |row| LossRow::of(row, one_way));
        Self {
            sums: before
                .sums
                .renewed(|source| rows.known(source), seats, one_way),
            rows,
            outdated: OnceLock::new(),
        }
    }

    /// The row of a source, if it ever reported.
    pub(super) fn row(&self, source: usize) -> Option<&LossRow> {
        self.rows.get(source).map(|(_, row)| row)
    }

    /// What the cells of a source's row add up to, by zone of the target.
    pub(super) fn cells(&self, source: usize, ground: &Ground<'_>) -> &[CellSum] {
        let row = self.rows.get(source);
        row.map_or(&[], |(row, _)| {
            let work_out = || CellSum::by_zone(row, source, ground);
            self.sums.cells(source, work_out)
        })
    }

    /// Columns of a source, ascending, about which it says nothing of now: the other end has lost something on the same path since
    /// the source last reported. Who loses most reports worst.
    pub(super) fn outdated(&self, source: usize) -> &[u32] {
        let outdated = self.outdated.get_or_init(|| self.find_outdated());
        let source = u32::try_from(source).ok();
        source
            .and_then(|source| outdated.get(&source))
            .map_or(&[], Vec::as_slice)
    }

    /// Does every source speak of now?
    pub(super) fn is_up_to_date(&self) -> bool {
        self.outdated
            .get_or_init(|| self.find_outdated())
            .is_empty()
    }

    fn find_outdated(&self) -> HashMap<u32, Vec<u32>> {
        let mut outdated: HashMap<u32, Vec<u32>> = HashMap::new();
        // In the order of the other ends, which are the columns.
        for (other_end, _, row) in self.rows.iter() {
            for &(source, lost) in &row.lost {
                let picture = self.rows.get(source as usize).map(|(picture, _)| picture);
                if picture.is_some_and(|picture| is_outdated(picture.cell(other_end), lost)) {
                    outdated.entry(source).or_default().push(other_end as u32);
                }
            }
        }
        outdated
    }
}

/// Was this, which the other end lost, lost after the cell was last heard of?
fn is_outdated(cell: &CellPicture, lost: Mark) -> bool {
    cell.reported_at
        .is_some_and(|reported| lost.moment() > reported.moment() + AT_ONCE)
}

/// One row.
#[derive(Debug, Default)]
pub(super) struct LossRow {
    /// The columns that the clean cells are about; `None`: all, from 0 on.
    pub(super) columns: Option<Arc<[u32]>>,
    /// Of paths that lost nothing: packets, in units; nothing where the cell is no such path.
    pub(super) clean_sent: Vec<u32>,
    /// Packets of the fast window of the same.
    pub(super) clean_fast_sent: Vec<u16>,
    /// Paths that lost something, by column, ascending.
    pub(super) lossy: Vec<PathLegs>,
    /// Some path is slow.
    pub(super) is_slow: bool,
    /// Columns with a loss that is remembered, ascending, with the newest.
    lost: Vec<(u32, Mark)>,
}

/// What a path tells of its legs.
#[derive(Clone, Copy, Debug)]
pub(super) struct PathLegs {
    pub(super) column: u32,
    /// Nothing gets through now.
    pub(super) is_dead: bool,
    /// The way out, or the round trip; `None`: nothing is known of it.
    pub(super) out: Option<Leg>,
    /// The way back.
    pub(super) back: Option<Leg>,
}

/// What is known of a path.
#[derive(Clone, Copy, Debug)]
pub(super) enum Told<'a> {
    /// It lost nothing.
    Clean(Clean),
    /// It lost something.
    Lossy(&'a PathLegs),
}

impl Told<'_> {
    /// Nothing gets through now.
    pub(super) const fn is_dead(self) -> bool {
        matches!(self, Self::Lossy(path) if path.is_dead)
    }

    /// The way out, or the round trip, and the way back.
    pub(super) fn legs(self, one_way: bool) -> [Option<Leg>; 2] {
        match self {
            Self::Clean(clean) => [Some(clean.into()), one_way.then(|| clean.into())],
            Self::Lossy(path) => [path.out, path.back],
        }
    }

    /// The same as sums of one leg.
    pub(super) fn sums(self, one_way: bool) -> [Option<Sum>; 2] {
        match self {
            Self::Clean(clean) => [Some(clean.into()), one_way.then(|| clean.into())],
            Self::Lossy(path) => [path.out.map(Sum::of), path.back.map(Sum::of)],
        }
    }
}

impl LossRow {
    fn of(row: &RowPicture, one_way: bool) -> Self {
        let mut of = Self {
            columns: row.columns.clone(),
            clean_sent: vec![0; row.cells.len()],
            clean_fast_sent: vec![0; row.cells.len()],
            ..Self::default()
        };
        for (place, (column, cell)) in row.iter().enumerate() {
            if !is_told(cell) {
                continue;
            }
            of.is_slow |= is_slow(cell);
            if let Some(lost) = cell.lost_at {
                of.lost.push((column as u32, lost));
            }
            if let Some(clean) = clean(cell) {
                of.clean_sent[place] = clean.sent;
                of.clean_fast_sent[place] = clean.fast_sent as u16;
            } else {
                of.lossy.push(legs_of(column, cell, one_way));
            }
        }
        of
    }

    /// Is there a cell for each column, from 0 on?
    pub(super) const fn is_dense(&self) -> bool {
        self.columns.is_none()
    }

    /// The clean path of a column.
    fn clean_of(&self, column: usize) -> Option<Clean> {
        let place = match &self.columns {
            None => column,
            Some(columns) => columns.binary_search(&(column as u32)).ok()?,
        };
        let sent = *self.clean_sent.get(place)?;
        (sent > 0).then(|| Clean {
            sent,
            fast_sent: self.clean_fast_sent[place].into(),
        })
    }

    /// What is known of the path to a column.
    pub(super) fn path(&self, column: usize) -> Option<Told<'_>> {
        if let Some(clean) = self.clean_of(column) {
            return Some(Told::Clean(clean));
        }
        let column = column as u32;
        let lossy = self.lossy.binary_search_by_key(&column, |path| path.column);
        lossy.ok().map(|place| Told::Lossy(&self.lossy[place]))
    }

    /// All paths of which something is known, with their columns; those that are clean first.
    pub(super) fn each(&self) -> impl Iterator<Item = (usize, Told<'_>)> {
        let clean = self.each_clean();
        let clean = clean.map(|(column, clean)| (column, Told::Clean(clean)));
        let lossy = self.lossy.iter();
        clean.chain(lossy.map(|path| (path.column as usize, Told::Lossy(path))))
    }

    /// All clean paths, with their columns.
    pub(super) fn each_clean(&self) -> impl Iterator<Item = (usize, Clean)> {
        let columns = self.columns.as_deref();
        let cells = self.clean_sent.iter().zip(&self.clean_fast_sent);
        let clean = cells.enumerate().filter(|(_, (sent, _))| **sent > 0);
        clean.map(move |(place, (sent, fast_sent))| {
            let column = columns.map_or(place, |columns| columns[place] as usize);
            let clean = Clean {
                sent: *sent,
                fast_sent: (*fast_sent).into(),
            };
            (column, clean)
        })
    }
}
