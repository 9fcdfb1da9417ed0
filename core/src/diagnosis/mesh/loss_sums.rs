//! What the paths of a layer add up to by node and zone.
//!
//! A look adds up these sums, not the legs: there are millions of them.

use super::ground::Ground;
use super::leg::{Clean, Leg, Sum};
use super::loss_rows::{LossRow, PathLegs, Told};
use super::shape::Shape;
use super::tally::{End, OTHERS, Way};

/// The zone of a node; `None`: it is not judged, and its paths are in no sum.
pub(super) type Seat = Option<u16>;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct LossSums {
    /// By node.
    seats: Vec<Seat>,
    /// The paths of each source, by zone of the target: see [`Self::place`].
    rows: Sums,
    /// By zone of the source.
    columns: Vec<ColumnSums>,
}

impl LossSums {
    /// Of no nodes.
    pub(super) const NONE: Self = Self {
        seats: Vec::new(),
        rows: Sums::NONE,
        columns: Vec::new(),
    };

    /// Of no paths, between nodes that have these seats.
    pub(super) fn of_none(seats: &[Seat], one_way: bool) -> Self {
        let zones = seats.iter().flatten().max().map_or(0, |last| last + 1);
        Self {
            seats: seats.to_vec(),
            rows: Sums::of_none(seats.len() * usize::from(zones), one_way),
            columns: vec![ColumnSums::of_none(seats.len(), one_way); zones.into()],
        }
    }

    /// By node.
    pub(super) fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// How many zones judged nodes are in.
    pub(super) fn zone_count(&self) -> usize {
        self.columns.len()
    }

    /// The zone of a judged node.
    pub(super) fn zone(&self, node: usize) -> Option<usize> {
        self.seats.get(node).copied().flatten().map(usize::from)
    }

    /// Where what is kept of the paths from a source to a zone stands.
    pub(super) fn place(&self, source: usize, zone: usize) -> usize {
        source * self.zone_count() + zone
    }

    /// The row of a source is to be in it.
    pub(super) fn put_in(&mut self, source: usize, row: &LossRow) {
        let Some(own) = self.zone(source) else { return };
        self.columns[own].put_in(row);
        for (zone, clean) in self.clean_by_zone(row).into_iter().enumerate() {
            let place = self.place(source, zone);
            self.rows.put_in_clean(place, &clean.into());
        }
        for path in &row.lossy {
            if let Some(zone) = self.zone(path.column as usize) {
                let place = self.place(source, zone);
                self.rows.put_in(place, path);
            }
        }
    }

    fn clean_by_zone(&self, row: &LossRow) -> Vec<CleanSum> {
        let mut zones = vec![CleanSum::default(); self.zone_count()];
        if !row.is_dense() {
            for (column, leg) in row.each_clean() {
                if let Some(zone) = self.zone(column) {
                    zones[zone].add(leg.sent, leg.fast_sent);
                }
            }
            return zones;
        }
        // No question is asked of each of a million cells that has its own answer.
        let cells = row.clean_sent.iter().zip(&row.clean_fast_sent);
        for (seat, (sent, fast_sent)) in self.seats.iter().zip(cells) {
            if let Some(zone) = seat {
                zones[usize::from(*zone)].add(*sent, (*fast_sent).into());
            }
        }
        zones
    }

    /// The row of a source is no longer to be in it.
    pub(super) fn take_out(&mut self, source: usize, row: &LossRow) {
        let Some(own) = self.zone(source) else { return };
        self.columns[own].take_out(row);
        for zone in 0..self.zone_count() {
            let place = self.place(source, zone);
            self.rows.clear(place);
        }
    }

    /// The same of one path of it.
    pub(super) fn take_out_path(&mut self, source: usize, column: usize, path: Told<'_>) {
        if let (Some(own), Some(other)) = (self.zone(source), self.zone(column)) {
            let place = self.place(source, other);
            self.rows.take_out(place, path);
            self.columns[own].take_out_path(column, path);
        }
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
        for (zone, columns) in self.columns.iter().enumerate() {
            let other = (OTHERS, zone as u16);
            let take = |sum: &Sum, is_out: bool, is_unclear: bool| {
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
                End::Source => self.rows.each(self.place(number, zone), take),
                End::Target => columns.each(number, take),
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
            self.lossy.take_out(path.column as usize, Told::Lossy(path));
        }
    }

    fn take_out_path(&mut self, column: usize, path: Told<'_>) {
        match path {
            Told::Clean(leg) => self.clean.take_out_one(column, leg),
            Told::Lossy(_) => self.lossy.take_out(column, path),
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
#[derive(Clone, Debug, Default)]
struct Sums {
    /// In the direction of the probes.
    out: Vec<Sum>,
    /// In that of the replies. None here and in `unclear`: of a kind that knows round trips alone.
    back: Vec<Sum>,
    /// Of round trips of which nobody knows which way lost them: the same in both directions.
    unclear: Vec<Sum>,
}

impl Sums {
    const NONE: Self = Self {
        out: Vec::new(),
        back: Vec::new(),
        unclear: Vec::new(),
    };

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

    fn put_in(&mut self, number: usize, path: &PathLegs) {
        self.each_leg(number, path, Sum::add);
    }

    fn put_in_clean(&mut self, number: usize, clean: &Sum) {
        for sums in [&mut self.out, &mut self.back] {
            sums.get_mut(number)
                .into_iter()
                .for_each(|sum| sum.merge(clean));
        }
    }

    fn clear(&mut self, number: usize) {
        for sums in [&mut self.out, &mut self.back, &mut self.unclear] {
            if let Some(sum) = sums.get_mut(number) {
                *sum = Sum::EMPTY;
            }
        }
    }

    fn take_out(&mut self, number: usize, path: Told<'_>) {
        match path {
            Told::Lossy(path) => {
                self.each_leg(number, path, |sum, leg| sum.subtract(&Sum::of(leg)));
            }
            Told::Clean(leg) => {
                for sums in [&mut self.out, &mut self.back] {
                    sums.get_mut(number)
                        .into_iter()
                        .for_each(|sum| sum.subtract(&leg.into()));
                }
            }
        }
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
    /// One leg, or none: that is one without packets.
    fn add(&mut self, sent: u32, fast_sent: u32) {
        self.sent += u64::from(sent);
        self.fast_sent += u64::from(fast_sent);
        self.legs += u32::from(sent > 0);
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

    fn take_out_one(&mut self, column: usize, leg: Clean) {
        self.sent[column] -= u64::from(leg.sent);
        self.fast_sent[column] -= u64::from(leg.fast_sent);
        self.legs[column] -= 1;
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
