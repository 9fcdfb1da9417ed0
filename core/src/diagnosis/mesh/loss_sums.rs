//! What the paths of a layer add up to by node and zone, kept from look to look.
//!
//! From one look to the next a tenth of the rows is new. What such a row said before is taken out of the sums of its columns,
//! and what it says now is put in. A look adds up these sums, not the legs: there are millions of them.

use std::sync::{Arc, OnceLock};

use super::cell_sums::CellSum;
use super::ground::Ground;
use super::leg::{Clean, Leg, Sum, Worst};
use super::loss_rows::{LossRow, PathLegs};
use super::shape::Shape;
use super::tally::{End, OTHERS, Way};

/// The zone of each node, by number; `None`: it is not judged, and its paths are in no sum.
pub(super) type Seats = Vec<Option<u16>>;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct LossSums {
    /// By source.
    rows: Vec<Option<RowSums>>,
    /// By zone of the source.
    columns: Vec<ColumnSums>,
}

impl LossSums {
    /// Of no rows.
    pub(super) const NONE: Self = Self {
        rows: Vec::new(),
        columns: Vec::new(),
    };

    /// Those of these rows, by source. `self` are sums of rows that were seen from the same seats.
    pub(super) fn renewed<'a>(
        self,
        rows: impl Fn(usize) -> Option<&'a Arc<LossRow>>,
        seats: &Seats,
        one_way: bool,
    ) -> Self {
        let known = self.rows.iter().enumerate();
        let known = known.filter_map(|(source, known)| Some(known.as_ref()?.is_of(rows(source))));
        let (stay, go): (Vec<bool>, Vec<bool>) = known.partition(|stays| *stays);
        // It may be less to put in what stays than to take out what goes.
        let mut sums = if self.rows.len() == seats.len() && stay.len() >= go.len() {
            self
        } else {
            Self::of_none(seats, one_way)
        };
        let zone_count = sums.columns.len();
        let each = sums.rows.iter_mut().zip(seats).enumerate();
        for (source, (known, zone)) in each {
            let Some(zone) = *zone else { continue };
            let columns = &mut sums.columns[usize::from(zone)];
            let row = rows(source);
            if known.as_ref().is_some_and(|known| known.is_of(row)) {
                continue;
            }
            if let Some(known) = known.take() {
                columns.take_out(&known.row);
            }
            if let Some(row) = row {
                columns.put_in(row);
                *known = Some(RowSums::of(row, seats, zone_count, one_way));
            }
        }
        sums
    }

    fn of_none(seats: &Seats, one_way: bool) -> Self {
        let zones = seats.iter().flatten().max().map_or(0, |last| last + 1);
        Self {
            rows: vec![None; seats.len()],
            columns: vec![ColumnSums::of_none(seats.len(), one_way); zones.into()],
        }
    }

    /// The worst legs of the paths from a source to each zone: out, and back.
    pub(super) fn worst(&self, source: usize) -> &[[Worst; 2]] {
        let row = self.rows.get(source).and_then(Option::as_ref);
        row.map_or(&[], |row| &row.worst)
    }

    /// What the cells of the paths from a source add up to, by zone of the target; worked out when it is first asked for.
    pub(super) fn cells(
        &self,
        source: usize,
        work_out: impl FnOnce() -> Vec<CellSum>,
    ) -> &[CellSum] {
        let row = self.rows.get(source).and_then(Option::as_ref);
        row.map_or(&[], |row| row.cells.get_or_init(work_out))
    }

    /// The legs of all paths of which a place is this end, by zone at the other one.
    pub(super) fn each_way(
        &self,
        ground: &Ground<'_>,
        place: usize,
        end: End,
        mut take: impl FnMut(&Way<'_>),
    ) {
        let number = ground.node(place).index();
        let one = (place as u32, ground.zone(place) as u16);
        let mut take = |zone: usize, sum: &Sum, is_out: bool, is_unclear: bool| {
            let other = (OTHERS, zone as u16);
            let (from, to) = if is_out == (end == End::Source) {
                (one, other)
            } else {
                (other, one)
            };
            if sum.legs > 0 {
                take(&Way {
                    from,
                    to,
                    sum,
                    is_unclear,
                });
            }
        };
        match end {
            End::Source => {
                let Some(Some(row)) = self.rows.get(number) else {
                    return;
                };
                for zone in 0..self.columns.len() {
                    row.zones.each(zone, |sum, is_out, is_unclear| {
                        take(zone, sum, is_out, is_unclear);
                    });
                }
            }
            End::Target => {
                for (zone, columns) in self.columns.iter().enumerate() {
                    columns.each(number, |sum, is_out, is_unclear| {
                        take(zone, sum, is_out, is_unclear);
                    });
                }
            }
        }
    }

    /// The legs that a shape of many legs covers.
    pub(super) fn sum(&self, ground: &Ground<'_>, shape: Shape) -> Sum {
        let mut sum = Sum::EMPTY;
        let mut add = |way: &Way<'_>| {
            if shape.covers_leg(way.from, way.to) {
                sum.merge(way.sum);
            }
        };
        if let Some(node) = shape.node() {
            for end in [End::Source, End::Target] {
                self.each_way(ground, node as usize, end, &mut add);
            }
        } else {
            for source in 0..ground.len() {
                self.each_way(ground, source, End::Source, &mut add);
            }
        }
        sum
    }
}

/// The paths of a source, by zone of the target.
#[derive(Clone, Debug)]
struct RowSums {
    row: Arc<LossRow>,
    zones: Sums,
    /// See [`LossSums::worst`].
    worst: Vec<[Worst; 2]>,
    /// See [`LossSums::cells`].
    cells: OnceLock<Vec<CellSum>>,
}

impl RowSums {
    fn of(row: &Arc<LossRow>, seats: &Seats, zone_count: usize, one_way: bool) -> Self {
        let mut of = Self {
            row: Arc::clone(row),
            zones: Sums::of_none(zone_count, one_way),
            worst: vec![[Worst::NONE; 2]; zone_count],
            cells: OnceLock::new(),
        };
        let zone = |column: usize| seats.get(column).copied().flatten().map(usize::from);
        let mut clean = vec![CleanSum::default(); zone_count];
        for (column, leg) in row.each_clean() {
            if let Some(zone) = zone(column) {
                clean[zone].add(leg);
            }
        }
        for (zone, clean) in clean.into_iter().enumerate() {
            of.zones.put_in_clean(zone, &clean.into());
        }
        for path in &row.lossy {
            if let Some(zone) = zone(path.column as usize) {
                of.zones.put_in(zone, path);
                let [out, back] = &mut of.worst[zone];
                path.out.into_iter().for_each(|leg| out.add(leg));
                path.back.into_iter().for_each(|leg| back.add(leg));
            }
        }
        of
    }

    fn is_of(&self, row: Option<&Arc<LossRow>>) -> bool {
        row.is_some_and(|row| Arc::ptr_eq(row, &self.row))
    }
}

/// The paths of the sources of one zone, by column. Columns that are no node's are in no sum.
#[derive(Clone, Debug)]
struct ColumnSums {
    lossy: Sums,
    clean: CleanColumns,
}

impl ColumnSums {
    fn of_none(columns: usize, one_way: bool) -> Self {
        Self {
            lossy: Sums::of_none(columns, one_way),
            clean: CleanColumns::of_none(columns),
        }
    }

    fn put_in(&mut self, row: &LossRow) {
        self.clean.put_in(row);
        for path in &row.lossy {
            self.lossy.put_in(path.column as usize, path);
        }
    }

    fn take_out(&mut self, row: &LossRow) {
        self.clean.take_out(row);
        for path in &row.lossy {
            self.lossy.take_out(path.column as usize, path);
        }
    }

    fn each(&self, column: usize, mut take: impl FnMut(&Sum, bool, bool)) {
        self.lossy.each(column, &mut take);
        let clean = self.clean.sum(column);
        take(&clean, true, false);
        if self.lossy.is_one_way() {
            take(&clean, false, false);
        }
    }
}

/// Sums of legs by number, apart by what is known of their direction.
#[derive(Clone, Debug)]
struct Sums {
    /// In the direction of the probes.
    out: Vec<Sum>,
    /// In that of the replies. None here and in `unclear`: of a kind that knows round trips alone.
    back: Vec<Sum>,
    /// Of round trips of which nobody knows which way lost them: the same in both directions.
    unclear: Vec<Sum>,
}

impl Sums {
    fn of_none(count: usize, one_way: bool) -> Self {
        let back = vec![Sum::EMPTY; if one_way { count } else { 0 }];
        Self {
            out: vec![Sum::EMPTY; count],
            unclear: back.clone(),
            back,
        }
    }

    fn is_one_way(&self) -> bool {
        !self.back.is_empty()
    }

    fn put_in_clean(&mut self, number: usize, clean: &Sum) {
        self.out[number].merge(clean);
        if self.is_one_way() {
            self.back[number].merge(clean);
        }
    }

    fn put_in(&mut self, number: usize, path: &PathLegs) {
        self.each_leg(number, path, Sum::add);
    }

    fn take_out(&mut self, number: usize, path: &PathLegs) {
        self.each_leg(number, path, |sum, leg| sum.subtract(&Sum::of(leg)));
    }

    fn each_leg(&mut self, number: usize, path: &PathLegs, change: impl Fn(&mut Sum, Leg)) {
        let is_unclear = path.out.is_some_and(|out| out.is_ambiguous);
        let legs = if is_unclear {
            [(&mut self.unclear, path.out), (&mut self.back, None)]
        } else {
            [(&mut self.out, path.out), (&mut self.back, path.back)]
        };
        for (sums, leg) in legs {
            if let (Some(sum), Some(leg)) = (sums.get_mut(number), leg) {
                change(sum, leg);
            }
        }
    }

    /// Each sum of a number, whether it is in the direction of the probes, and whether nobody knows.
    fn each(&self, number: usize, mut take: impl FnMut(&Sum, bool, bool)) {
        take(&self.out[number], true, false);
        if self.is_one_way() {
            take(&self.back[number], false, false);
            take(&self.unclear[number], true, true);
            take(&self.unclear[number], false, true);
        }
    }
}

/// Clean legs.
#[derive(Clone, Copy, Debug, Default)]
struct CleanSum {
    sent: u64,
    fast_sent: u64,
    legs: u32,
}

impl CleanSum {
    fn add(&mut self, leg: Clean) {
        self.sent += u64::from(leg.sent);
        self.fast_sent += u64::from(leg.fast_sent);
        self.legs += 1;
    }
}

impl From<CleanSum> for Sum {
    fn from(clean: CleanSum) -> Self {
        Self {
            sent: clean.sent,
            fast_sent: clean.fast_sent,
            legs: clean.legs,
            ..Self::EMPTY
        }
    }
}

/// Clean paths by column, side by side: a row is put in many columns at a time.
#[derive(Clone, Debug)]
struct CleanColumns {
    sent: Vec<u64>,
    fast_sent: Vec<u64>,
    legs: Vec<u32>,
}

impl CleanColumns {
    fn of_none(columns: usize) -> Self {
        Self {
            sent: vec![0; columns],
            fast_sent: vec![0; columns],
            legs: vec![0; columns],
        }
    }

    fn put_in(&mut self, row: &LossRow) {
        self.change(row, |sum, one| sum + one, |sum, one| sum + one);
    }

    fn take_out(&mut self, row: &LossRow) {
        self.change(row, |sum, one| sum - one, |sum, one| sum - one);
    }

    fn change(
        &mut self,
        row: &LossRow,
        packets: impl Fn(u64, u64) -> u64,
        legs: impl Fn(u32, u32) -> u32,
    ) {
        if !row.is_dense() {
            let columns = self.sent.len();
            for (column, leg) in row.each_clean().filter(|(column, _)| *column < columns) {
                self.sent[column] = packets(self.sent[column], leg.sent.into());
                self.fast_sent[column] = packets(self.fast_sent[column], leg.fast_sent.into());
                self.legs[column] = legs(self.legs[column], 1);
            }
            return;
        }
        for (sum, sent) in self.sent.iter_mut().zip(&row.clean_sent) {
            *sum = packets(*sum, (*sent).into());
        }
        for (sum, sent) in self.fast_sent.iter_mut().zip(&row.clean_fast_sent) {
            *sum = packets(*sum, (*sent).into());
        }
        for (sum, sent) in self.legs.iter_mut().zip(&row.clean_sent) {
            *sum = legs(*sum, u32::from(*sent > 0));
        }
    }

    fn sum(&self, column: usize) -> Sum {
        let clean = CleanSum {
            sent: self.sent[column],
            fast_sent: self.fast_sent[column],
            legs: self.legs[column],
        };
        clean.into()
    }
}
