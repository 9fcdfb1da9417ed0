//! What each row of a layer says of loss, worked out once for as long as the row stands.
//!
//! Nearly all paths lose nothing, and of these two numbers are enough. What is asked of a row after that goes over those numbers,
//! side by side, and over the few paths that lost something, instead of over all cells.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::cell_sums::CellSum;
use super::ground::Ground;
use super::kept::Kept;
use super::leg::{Clean, Leg, Sum};
use super::loss::{clean, is_one_way, is_told, legs_of};
use super::loss_sums::{LossSums, Seat};
use super::outdated::{Outdated, Reports};
use super::slow::is_slow;
use crate::diagnosis::per_row::PerRow;
use crate::diagnosis::{LayerPicture, RowPicture};
use crate::path::Layer;
use crate::time::Mark;

/// The rows of all layers between nodes. What stays of the picture before is not worked out again.
#[derive(Clone, Debug, Default)]
pub(in crate::diagnosis) struct LossRows {
    layers: HashMap<Layer, LayerRows>,
}

impl LossRows {
    /// The rows of these layers, and of no others.
    pub(super) fn update(&mut self, layers: &[&LayerPicture], ground: &Ground<'_>) {
        let mut before = std::mem::take(&mut self.layers);
        let seats = ground.seats();
        for layer in layers {
            let before = before.remove(&layer.layer).unwrap_or_default();
            let rows = LayerRows::of(layer, before, &seats);
            self.layers.insert(layer.layer, rows);
        }
    }

    /// Those of one layer that it was updated with.
    pub(super) fn of(&self, layer: Layer) -> &LayerRows {
        static NONE: LayerRows = LayerRows {
            rows: PerRow::NONE,
            kept: Kept::NONE,
            outdated: OnceLock::new(),
        };
        self.layers.get(&layer).unwrap_or(&NONE)
    }
}

/// The rows of one layer.
#[derive(Clone, Debug, Default)]
pub(super) struct LayerRows {
    rows: PerRow<LossRow>,
    /// By node and zone, those that are outdated among them.
    pub(super) kept: Kept,
    /// See [`Self::outdated`].
    outdated: OnceLock<Outdated>,
}

impl LayerRows {
    fn of(layer: &LayerPicture, before: Self, seats: &[Seat]) -> Self {
        let one_way = is_one_way(layer.layer.kind);
        let rows = before.rows.renewed(layer, |row| LossRow::of(row, one_way));
        Self {
            kept: before
                .kept
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
            self.kept.cells(source, work_out)
        })
    }

    /// Columns of a source, ascending, about which it says nothing of now.
    pub(super) fn outdated(&self, source: usize) -> &[u32] {
        self.known_outdated().columns(source)
    }

    /// Does every source speak of now?
    pub(super) fn is_up_to_date(&self) -> bool {
        self.known_outdated().sums_of_others().is_none()
    }

    /// What the paths add up to of which the source speaks of now.
    pub(super) fn sums_of_now(&self) -> &LossSums {
        let sums = self.known_outdated().sums_of_others();
        sums.unwrap_or(&self.kept.sums)
    }

    fn known_outdated(&self) -> &Outdated {
        self.outdated
            .get_or_init(|| Outdated::of(&self.rows, &self.kept.sums))
    }
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
    pub(super) lost: Vec<(u32, Mark)>,
    /// When the paths were last heard of.
    pub(super) reports: Reports,
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
            of.reports.add(cell);
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

    /// What is known of the paths to some columns, which ascend.
    pub(super) fn paths(&self, columns: &[u32]) -> impl Iterator<Item = (usize, Told<'_>)> {
        let mut lossy = self.lossy.iter().peekable();
        columns.iter().filter_map(move |column| {
            while lossy.next_if(|path| path.column < *column).is_some() {}
            let path = lossy.peek().filter(|path| path.column == *column);
            let column = *column as usize;
            let path = path.map(|path| Told::Lossy(path));
            let path = path.or_else(|| self.clean_of(column).map(Told::Clean));
            Some((column, path?))
        })
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
