//! Paths of which the source says nothing of now: the other end has lost something on them since the source last reported. Who
//! loses most reports worst.

use std::time::Duration;

use super::loss_rows::LossRow;
use super::loss_sums::LossSums;
use crate::diagnosis::CellPicture;
use crate::diagnosis::per_row::PerRow;
use crate::time::Mark;

/// Two ends that report of the same loss at once do so within this.
const AT_ONCE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Outdated {
    /// By source, ascending.
    columns: Vec<Vec<u32>>,
    /// What all other paths add up to; `None`: there are no outdated ones.
    sums: Option<LossSums>,
}

impl Outdated {
    /// Those of a layer. `sums`: what its rows add up to.
    pub(super) fn of(rows: &PerRow<LossRow>, sums: &LossSums) -> Self {
        let mut of = Self {
            columns: suspects(rows),
            sums: None,
        };
        for (source, columns) in of.columns.iter_mut().enumerate() {
            let suspects = std::mem::take(columns);
            let Some((_, row)) = rows.get(source) else {
                continue;
            };
            for (column, path) in row.paths(&suspects) {
                let others = of.sums.get_or_insert_with(|| sums.clone());
                others.take_out_path(source, column, path);
                columns.push(column as u32);
            }
        }
        of
    }

    /// Those of a source.
    pub(super) fn columns(&self, source: usize) -> &[u32] {
        self.columns.get(source).map_or(&[], Vec::as_slice)
    }

    /// What all other paths add up to; `None`: none is outdated.
    pub(super) const fn sums_of_others(&self) -> Option<&LossSums> {
        self.sums.as_ref()
    }
}

/// By source, the columns that are outdated if anything is known of the path.
fn suspects(rows: &PerRow<LossRow>) -> Vec<Vec<u32>> {
    let sources = 0..rows.len();
    let reports = sources.map(|source| Some(rows.get(source)?.1.reports));
    let reports: Vec<Option<Reports>> = reports.collect();
    let mut suspects: Vec<Vec<u32>> = vec![Vec::new(); rows.len()];
    // In the order of the other ends, which are the columns.
    for (other_end, _, row) in rows.iter() {
        for &(source, lost) in &row.lost {
            let source = source as usize;
            let Some(Some(reports)) = reports.get(source) else {
                continue;
            };
            // Cells are far apart in memory: few of them are asked.
            let is_suspect = reports.are_before(lost).unwrap_or_else(|| {
                let row = rows.get(source);
                row.is_some_and(|(row, _)| is_outdated(row.cell(other_end), lost))
            });
            if is_suspect {
                suspects[source].push(other_end as u32);
            }
        }
    }
    suspects
}

/// Was this, which the other end lost, lost after the cell was last heard of?
pub(super) fn is_outdated(cell: &CellPicture, lost: Mark) -> bool {
    cell.reported_at
        .is_some_and(|reported| is_before(reported, lost))
}

fn is_before(reported: Mark, lost: Mark) -> bool {
    lost.moment() > reported.moment() + AT_ONCE
}

/// When the cells of a row were last heard of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Reports {
    oldest: Option<Mark>,
    newest: Option<Mark>,
    /// Of some cell it is not known.
    is_unclear: bool,
}

impl Reports {
    pub(super) fn add(&mut self, cell: &CellPicture) {
        let Some(reported) = cell.reported_at else {
            self.is_unclear = true;
            return;
        };
        self.oldest = Some(self.oldest.map_or(reported, |oldest| oldest.min(reported)));
        self.newest = self.newest.max(Some(reported));
    }

    /// Are all cells outdated if the other end lost something then, or none of them? `None`: some are.
    fn are_before(&self, lost: Mark) -> Option<bool> {
        match (self.oldest, self.newest) {
            _ if self.is_unclear => None,
            (Some(oldest), _) if !is_before(oldest, lost) => Some(false),
            (_, Some(newest)) if !is_before(newest, lost) => None,
            (_, newest) => Some(newest.is_some()),
        }
    }
}
