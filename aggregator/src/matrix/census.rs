//! Counting all paths by verdict, over and over, a few rows at a time.
//!
//! Verdicts change when reports come and also when they do not (a silent row becomes `NoData`), so counts are taken by
//! walking the matrix instead of being kept up to date. A mesh of 200 nodes is counted twice a second; one of 5,000 in
//! some seconds, at a few per cent of a core.

use meshprobe_core::ids::NodeIndex;
use meshprobe_core::verdict::Verdict;

use super::{Listing, Matrix};
use crate::membership::Membership;
use crate::snapshot::{LayerCensus, VerdictCounts};
use meshprobe_core::time::Moment;

/// The counts of one complete walk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CensusResult {
    /// Each layer, in order.
    pub(crate) layers: Vec<LayerCensus>,
    failing_in: Vec<u32>,
    failing_out: Vec<u32>,
}

impl CensusResult {
    /// Paths between nodes that lead to this node and are Down or Suspect.
    pub(crate) fn failing_in(&self, node: NodeIndex) -> u32 {
        self.failing_in.get(node.index()).copied().unwrap_or(0)
    }

    /// Paths that start at this node and are Down or Suspect.
    pub(crate) fn failing_out(&self, node: NodeIndex) -> u32 {
        self.failing_out.get(node.index()).copied().unwrap_or(0)
    }

    fn count(&mut self, counter: fn(&mut Self) -> &mut Vec<u32>, index: usize) {
        let counters = counter(self);
        if counters.len() <= index {
            counters.resize(index + 1, 0);
        }
        counters[index] += 1;
    }
}

/// A walk under way.
#[derive(Debug, Default)]
pub(crate) struct Census {
    listings: Vec<Listing>,
    layer: usize,
    row: usize,
    paths: VerdictCounts,
    result: CensusResult,
    is_walking: bool,
}

impl Census {
    /// Is a walk under way?
    pub(crate) fn is_walking(&self) -> bool {
        self.is_walking
    }

    /// Begins a walk over all layers that have data now.
    pub(crate) fn start(&mut self, matrix: &Matrix, membership: &Membership) {
        let layers = matrix.layers().iter();
        *self = Self {
            listings: layers
                .map(|cells| Listing::new(cells.layer, membership, matrix))
                .collect(),
            is_walking: true,
            ..Self::default()
        };
    }

    /// Counts rows until about `budget` cells are counted. The result when the walk is complete.
    pub(crate) fn step(
        &mut self,
        matrix: &Matrix,
        now: Moment,
        budget: usize,
    ) -> Option<CensusResult> {
        let mut left = budget;
        while let Some(listing) = self.listings.get(self.layer) {
            let cells = matrix.layer(listing.layer);
            while let Some(source) = listing.sources.get(self.row).copied() {
                if left == 0 {
                    return None;
                }
                let row = self.row;
                self.row += 1;
                left = left.saturating_sub(listing.columns.len().max(1));
                for (position, column) in listing.columns.iter().enumerate() {
                    let verdict = listing.verdict(cells, row, position, now);
                    self.paths.add(verdict);
                    if matches!(verdict, Verdict::Down | Verdict::Suspect) {
                        self.result.count(|r| &mut r.failing_out, source.index());
                        if listing.layer.kind.is_between_nodes() {
                            self.result.count(|r| &mut r.failing_in, *column);
                        }
                    }
                }
            }
            self.result.layers.push(LayerCensus {
                layer: listing.layer,
                paths: std::mem::take(&mut self.paths),
            });
            self.layer += 1;
            self.row = 0;
        }
        self.is_walking = false;
        Some(std::mem::take(&mut self.result))
    }
}
