//! What is worked out of the rows of a layer by node and zone, kept from look to look.
//!
//! From one look to the next a tenth of the rows is new. What such a row said before is taken out of the sums, and what it says
//! now is put in.

use std::sync::{Arc, OnceLock};

use super::cell_sums::CellSum;
use super::leg::Worst;
use super::loss_rows::LossRow;
use super::loss_sums::{LossSums, Seat};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// By source.
    rows: Vec<Option<Arc<LossRow>>>,
    /// What they add up to.
    pub(super) sums: LossSums,
    /// See [`Self::worst`].
    worst: Vec<[Worst; 2]>,
    /// See [`Self::cells`].
    cells: Vec<OnceLock<Vec<CellSum>>>,
}

impl Kept {
    /// Of no rows.
    pub(super) const NONE: Self = Self {
        rows: Vec::new(),
        sums: LossSums::NONE,
        worst: Vec::new(),
        cells: Vec::new(),
    };

    /// The same for these rows, by source, of nodes that have these seats.
    pub(super) fn renewed<'a>(
        self,
        rows: impl Fn(usize) -> Option<&'a Arc<LossRow>>,
        seats: &[Seat],
        one_way: bool,
    ) -> Self {
        let known = self.rows.iter().enumerate();
        let known = known.filter_map(|(source, row)| Some((row.as_ref()?, rows(source))));
        let (stay, go): (Vec<_>, Vec<_>) = known.partition(|(old, new)| is_same(Some(old), *new));
        // It may be less to put in what stays than to take out what goes.
        let mut kept = if self.sums.seats() == seats && stay.len() >= go.len() {
            self
        } else {
            Self::of_none(seats, one_way)
        };
        for (source, seat) in seats.iter().enumerate() {
            let row = rows(source).filter(|_| seat.is_some());
            if !is_same(kept.rows[source].as_ref(), row) {
                kept.put(source, row);
            }
        }
        kept
    }

    fn of_none(seats: &[Seat], one_way: bool) -> Self {
        let sums = LossSums::of_none(seats, one_way);
        Self {
            rows: vec![None; seats.len()],
            worst: vec![[Worst::NONE; 2]; seats.len() * sums.zone_count()],
            cells: vec![OnceLock::new(); seats.len()],
            sums,
        }
    }

    /// Another row of a source.
    fn put(&mut self, source: usize, row: Option<&Arc<LossRow>>) {
        if let Some(before) = self.rows[source].take() {
            self.sums.take_out(source, &before);
        }
        let place = self.sums.place(source, 0);
        let worst = &mut self.worst[place..place + self.sums.zone_count()];
        worst.fill([Worst::NONE; 2]);
        self.cells[source] = OnceLock::new();
        let Some(row) = row else { return };
        self.sums.put_in(source, row);
        for path in &row.lossy {
            if let Some(zone) = self.sums.zone(path.column as usize) {
                let [out, back] = &mut worst[zone];
                path.out.into_iter().for_each(|leg| out.add(leg));
                path.back.into_iter().for_each(|leg| back.add(leg));
            }
        }
        self.rows[source] = Some(Arc::clone(row));
    }

    /// The worst legs of the paths from a source, by zone of the target: out, and back.
    pub(super) fn worst(&self, source: usize) -> &[[Worst; 2]] {
        let place = self.sums.place(source, 0);
        let worst = self.worst.get(place..place + self.sums.zone_count());
        worst.unwrap_or(&[])
    }

    /// What the cells of the paths from a source add up to, by zone of the target; worked out when it is first asked for.
    pub(super) fn cells(
        &self,
        source: usize,
        work_out: impl FnOnce() -> Vec<CellSum>,
    ) -> &[CellSum] {
        let cells = self.cells.get(source);
        cells.map_or(&[], |cells| cells.get_or_init(work_out))
    }
}

fn is_same(one: Option<&Arc<LossRow>>, other: Option<&Arc<LossRow>>) -> bool {
    one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
}
