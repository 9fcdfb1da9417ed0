//! The matrix as it is drawn: checked, ordered by zone and name, every cell decoded.

use jiff::Timestamp;
use meshprobe_core::path::Layer;
use meshprobe_core::rtt::{Rtt, RttCode};
use meshprobe_core::verdict::Verdict;
use meshprobe_proto::v1;

use crate::render::order::natural;
use crate::render::time;

/// `loss_percent` of a cell without data.
const NO_LOSS_KNOWN: u8 = 255;

/// The aggregator's answer contradicts itself.
#[derive(Debug, thiserror::Error)]
#[error("the aggregator sent a malformed matrix: {0}")]
pub struct MalformedMatrix(String);

/// A row or a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Name of the node or DNS target.
    pub name: String,
    /// Its zone; empty for DNS targets and where it is unknown.
    pub zone: String,
}

/// What is where a row and a column meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spot {
    /// A node and itself: no path.
    Own,
    /// A path.
    Path {
        /// Its verdict.
        verdict: Verdict,
        /// Median round-trip time, if there were answers.
        rtt: Option<Rtt>,
        /// Loss in percent, if there were probes.
        loss: Option<u8>,
    },
}

impl Spot {
    /// The verdict of a path.
    pub fn verdict(self) -> Option<Verdict> {
        match self {
            Self::Own => None,
            Self::Path { verdict, .. } => Some(verdict),
        }
    }
}

/// How many paths have which verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; 8]);

impl Counts {
    pub(super) fn over(spots: impl Iterator<Item = Spot>) -> Self {
        let mut counts = Self::default();
        for verdict in spots.filter_map(Spot::verdict) {
            counts.0[verdict as usize] += 1;
        }
        counts
    }

    /// Paths with this verdict.
    pub fn of(self, verdict: Verdict) -> u64 {
        self.0[verdict as usize]
    }

    /// All paths.
    pub fn total(self) -> u64 {
        self.0.iter().sum()
    }

    /// Paths with which something is wrong.
    pub fn failing(self) -> u64 {
        Verdict::ALL
            .into_iter()
            .filter(|v| v.is_unhealthy())
            .map(|v| self.of(v))
            .sum()
    }

    /// Paths that were judged: those with data.
    pub fn judged(self) -> u64 {
        self.of(Verdict::Healthy) + self.failing()
    }

    /// Most of the paths that were judged fail.
    pub fn is_mostly_failing(self) -> bool {
        self.failing() * 2 > self.judged()
    }
}

/// One layer, ready to be drawn.
#[derive(Clone, Debug)]
pub struct HeatTable {
    /// Which layer.
    pub layer: Layer,
    /// When it was so.
    pub at: Option<Timestamp>,
    /// Rows, by zone and name.
    pub sources: Vec<Axis>,
    /// Columns, by zone and name.
    pub targets: Vec<Axis>,
    /// Are the columns the same nodes as the rows?
    pub is_square: bool,
    spots: Vec<Spot>,
}

impl TryFrom<&v1::Matrix> for HeatTable {
    type Error = MalformedMatrix;

    fn try_from(matrix: &v1::Matrix) -> Result<Self, MalformedMatrix> {
        let layer = matrix
            .layer
            .as_ref()
            .ok_or_else(|| MalformedMatrix("it names no layer".to_owned()))?;
        let layer = Layer::try_from(layer).map_err(|error| MalformedMatrix(error.to_string()))?;
        check_sizes(matrix)?;
        let rows = ordered(&matrix.sources, &matrix.source_zones);
        let columns = ordered(&matrix.targets, &matrix.target_zones);
        let between_nodes = layer.kind.is_between_nodes();
        let spots = rows
            .iter()
            .flat_map(|row| columns.iter().map(move |column| (*row, *column)))
            .map(|(row, column)| {
                if between_nodes && matrix.sources[row] == matrix.targets[column] {
                    Spot::Own
                } else {
                    spot(matrix, row * matrix.targets.len() + column)
                }
            })
            .collect();
        let sources = axes(&rows, &matrix.sources, &matrix.source_zones);
        let targets = axes(&columns, &matrix.targets, &matrix.target_zones);
        Ok(Self {
            layer,
            at: time::timestamp(matrix.at),
            is_square: between_nodes && sources == targets,
            sources,
            targets,
            spots,
        })
    }
}

impl HeatTable {
    /// Where a row and a column meet.
    pub fn spot(&self, row: usize, column: usize) -> Spot {
        self.spots[row * self.targets.len() + column]
    }

    /// Over the whole table.
    pub fn counts(&self) -> Counts {
        Counts::over(self.spots.iter().copied())
    }

    /// Of the paths from some sources to some targets.
    pub fn block_counts(
        &self,
        rows: std::ops::Range<usize>,
        columns: std::ops::Range<usize>,
    ) -> Counts {
        let spots = rows.flat_map(|row| columns.clone().map(move |column| (row, column)));
        Counts::over(spots.map(|(row, column)| self.spot(row, column)))
    }
}

fn check_sizes(matrix: &v1::Matrix) -> Result<(), MalformedMatrix> {
    let cells = matrix.sources.len() * matrix.targets.len();
    for (what, length, expected) in [
        (
            "source zones",
            matrix.source_zones.len(),
            matrix.sources.len(),
        ),
        (
            "target zones",
            matrix.target_zones.len(),
            matrix.targets.len(),
        ),
        ("verdicts", matrix.verdicts.len(), cells),
        ("round-trip times", matrix.rtt_median.len(), cells),
        ("losses", matrix.loss_percent.len(), cells),
    ] {
        if length != expected {
            return Err(MalformedMatrix(format!(
                "{length} {what} where {expected} belong"
            )));
        }
    }
    Ok(())
}

/// The positions in the order in which they are drawn.
fn ordered(names: &[String], zones: &[String]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by(|a, b| {
        natural(&zones[*a], &zones[*b]).then_with(|| natural(&names[*a], &names[*b]))
    });
    order
}

fn axes(order: &[usize], names: &[String], zones: &[String]) -> Vec<Axis> {
    order
        .iter()
        .map(|index| Axis {
            name: names[*index].clone(),
            zone: zones[*index].clone(),
        })
        .collect()
}

fn spot(matrix: &v1::Matrix, cell: usize) -> Spot {
    Spot::Path {
        // A verdict of a newer version says nothing that could be shown.
        verdict: Verdict::from_number(matrix.verdicts[cell]).unwrap_or(Verdict::NoData),
        rtt: RttCode::from_octet(matrix.rtt_median[cell]).rtt(),
        loss: Some(matrix.loss_percent[cell]).filter(|loss| *loss != NO_LOSS_KNOWN),
    }
}
