//! Which rows and columns a person should look at: a dark node's column makes one failing cell in every other row, and
//! those rows are not to blame.
//!
//! Greedy: the row or column with the most failing cells is blamed if most of its judged cells fail; its cells are
//! explained and leave the count; and so on. This is for reading a table, not a diagnosis: incidents are that.

use super::heat::{Axis, Counts, HeatTable, Spot};

/// The blamed rows and columns of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blame {
    rows: Vec<bool>,
    columns: Vec<bool>,
}

/// A row or column, while cells are being explained.
#[derive(Clone, Copy, Default)]
struct Tally {
    failing: u64,
    judged: u64,
    is_blamed: bool,
}

impl Tally {
    fn count(&mut self, spot: Spot) {
        self.failing += u64::from(is_failing(spot));
        self.judged += u64::from(is_judged(spot));
    }

    fn explain(&mut self, spot: Spot) {
        self.failing -= u64::from(is_failing(spot));
        self.judged -= u64::from(is_judged(spot));
    }

    fn is_candidate(self) -> bool {
        !self.is_blamed && self.failing * 2 > self.judged
    }
}

fn is_failing(spot: Spot) -> bool {
    Counts::over(std::iter::once(spot)).failing() > 0
}

fn is_judged(spot: Spot) -> bool {
    Counts::over(std::iter::once(spot)).judged() > 0
}

impl Blame {
    pub(super) fn of(heat: &HeatTable) -> Self {
        let mut rows = vec![Tally::default(); heat.sources.len()];
        let mut columns = vec![Tally::default(); heat.targets.len()];
        for (row, row_tally) in rows.iter_mut().enumerate() {
            for (column, column_tally) in columns.iter_mut().enumerate() {
                row_tally.count(heat.spot(row, column));
                column_tally.count(heat.spot(row, column));
            }
        }
        while let Some((is_row, index)) = worst(&rows, &columns) {
            if is_row {
                rows[index].is_blamed = true;
                let crossing = columns
                    .iter_mut()
                    .enumerate()
                    .filter(|(_, tally)| !tally.is_blamed);
                crossing.for_each(|(column, tally)| tally.explain(heat.spot(index, column)));
            } else {
                columns[index].is_blamed = true;
                let crossing = rows
                    .iter_mut()
                    .enumerate()
                    .filter(|(_, tally)| !tally.is_blamed);
                crossing.for_each(|(row, tally)| tally.explain(heat.spot(row, index)));
            }
        }
        let blamed =
            |tallies: Vec<Tally>| tallies.into_iter().map(|tally| tally.is_blamed).collect();
        Self {
            rows: blamed(rows),
            columns: blamed(columns),
        }
    }

    pub(super) fn is_row_blamed(&self, row: usize) -> bool {
        self.rows[row]
    }

    pub(super) fn is_column_blamed(&self, column: usize) -> bool {
        self.columns[column]
    }

    /// What is left of a row when blamed columns have taken theirs; a blamed row keeps all.
    pub(super) fn row_counts(&self, heat: &HeatTable, row: usize) -> Counts {
        let columns =
            (0..heat.targets.len()).filter(|column| self.rows[row] || !self.columns[*column]);
        Counts::over(columns.map(|column| heat.spot(row, column)))
    }

    /// What is left of a column when blamed rows have taken theirs; a blamed column keeps all.
    pub(super) fn column_counts(&self, heat: &HeatTable, column: usize) -> Counts {
        let rows = (0..heat.sources.len()).filter(|row| self.columns[column] || !self.rows[*row]);
        Counts::over(rows.map(|row| heat.spot(row, column)))
    }

    /// Every row and column with failing cells that nothing else explains: the blamed first, then by number.
    pub(super) fn ranking<'a>(&self, heat: &'a HeatTable) -> Vec<Ranked<'a>> {
        let into = heat
            .targets
            .iter()
            .enumerate()
            .map(|(column, axis)| Ranked {
                axis,
                is_source: false,
                is_blamed: self.columns[column],
                counts: self.column_counts(heat, column),
            });
        let from = heat.sources.iter().enumerate().map(|(row, axis)| Ranked {
            axis,
            is_source: true,
            is_blamed: self.rows[row],
            counts: self.row_counts(heat, row),
        });
        let mut ranking: Vec<Ranked<'_>> = into
            .chain(from)
            .filter(|ranked| ranked.counts.failing() > 0)
            .collect();
        ranking
            .sort_by_key(|ranked| std::cmp::Reverse((ranked.is_blamed, ranked.counts.failing())));
        ranking
    }
}

/// A row or column with its unexplained failures.
#[derive(Debug)]
pub(super) struct Ranked<'a> {
    pub(super) axis: &'a Axis,
    pub(super) is_source: bool,
    pub(super) is_blamed: bool,
    pub(super) counts: Counts,
}

/// The candidate with the most failing cells; a column wins a tie: a node that is not reached is the usual case.
fn worst(rows: &[Tally], columns: &[Tally]) -> Option<(bool, usize)> {
    let numbered = |is_row: bool, tallies: &[Tally]| -> Vec<(u64, bool, usize)> {
        let candidates = tallies
            .iter()
            .enumerate()
            .filter(|(_, tally)| tally.is_candidate());
        candidates
            .map(|(index, tally)| (tally.failing, !is_row, index))
            .collect()
    };
    let all = numbered(true, rows)
        .into_iter()
        .chain(numbered(false, columns));
    all.max_by_key(|(failing, is_column, index)| (*failing, *is_column, std::cmp::Reverse(*index)))
        .map(|(_, is_column, index)| (!is_column, index))
}

#[cfg(test)]
mod tests {
    use meshprobe_core::verdict::Verdict;

    use super::*;
    use crate::samples;

    fn blame(mesh: &samples::MeshBuilder) -> (Vec<usize>, Vec<usize>) {
        let heat = HeatTable::try_from(&mesh.build()).unwrap();
        let Blame { rows, columns } = Blame::of(&heat);
        let numbers =
            |blamed: Vec<bool>| (0..blamed.len()).filter(|index| blamed[*index]).collect();
        (numbers(rows), numbers(columns))
    }

    #[test]
    fn of_a_dark_node_only_its_column_is_blamed_at_any_size() {
        for nodes in [2, 3, 4, 12, 100] {
            assert_eq!(
                blame(samples::mesh(nodes, 1).dark(1)),
                (vec![], vec![1]),
                "{nodes} nodes"
            );
        }
    }

    #[test]
    fn two_dark_nodes_are_two_columns() {
        assert_eq!(
            blame(samples::mesh(5, 1).dark(1).dark(3)),
            (vec![], vec![1, 3])
        );
    }

    #[test]
    fn a_node_that_cannot_send_is_a_row() {
        let mut mesh = samples::mesh(6, 2);
        for column in [0, 1, 3, 4, 5] {
            mesh.set_cell(2, column, Verdict::Down, None, Some(100));
        }
        assert_eq!(blame(&mesh), (vec![2], vec![]));
    }

    #[test]
    fn a_single_path_blames_nobody() {
        let mut mesh = samples::mesh(6, 2);
        mesh.set_cell(0, 3, Verdict::Lossy, Some(300), Some(5));
        assert_eq!(blame(&mesh), (vec![], vec![]));
        assert_eq!(blame(&samples::mesh(6, 2)), (vec![], vec![]));
    }
}
