//! Reading a layer for somebody who wants to see it, a few rows at a time.
//!
//! A layer of 5,000 nodes takes the better part of a second to read. The mesh task reads it in steps between reports, so
//! neither ingest nor the judgement of dark nodes waits for a viewer. The rows of one reading may thus be some hundred
//! milliseconds apart in age.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::Timestamp;
use meshprobe_core::ids::NodeIndex;
use meshprobe_core::lifecycle::Lifecycle;
use meshprobe_core::path::{Family, Layer, Plane, ProbeKind};
use meshprobe_core::time::Moment;
use meshprobe_core::verdict::Verdict;

use super::{LayerCells, Matrix};
use crate::membership::{Member, Membership};
use crate::plan::Ring;
use crate::snapshot::{LOSS_NO_DATA, LayerSnapshot, PathEnd};

/// The rows and columns of a layer: which cells there are to read.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) layer: Layer,
    pub(crate) sources: Vec<NodeIndex>,
    pub(crate) columns: Vec<usize>,
    /// Does the plan probe this column at all?
    planned: Vec<bool>,
    /// Kinds that probe a sample of their paths: the columns that each row has.
    sampled: Option<Vec<Vec<usize>>>,
    source_ends: Arc<[PathEnd]>,
    target_ends: Arc<[PathEnd]>,
}

impl Listing {
    /// The present nodes by name, against each other or against the targets of the layer.
    pub(crate) fn new(layer: Layer, membership: &Membership, matrix: &Matrix) -> Self {
        let mut nodes: Vec<(NodeIndex, &Member)> = membership.present().collect();
        nodes.sort_unstable_by(|a, b| a.1.profile.name.cmp(&b.1.profile.name));
        let sources = nodes.iter().map(|(node, _)| *node).collect();
        let source_ends: Arc<[PathEnd]> =
            nodes.iter().map(|(_, member)| node_end(member)).collect();
        let is_sent = matrix.rhythm.has(layer);
        if layer.kind.is_between_nodes() {
            let has_address = |member: &Member| {
                let addresses = &member.profile.addresses;
                let fits = addresses
                    .iter()
                    .any(|a| a.plane == layer.plane && Family::of(a.ip) == layer.family);
                is_sent && fits && member.lifecycle != Lifecycle::Gone
            };
            return Self {
                sampled: (layer.kind == ProbeKind::Quic)
                    .then(|| quic_samples(layer.plane, &nodes, matrix.rhythm.quic_sample)),
                layer,
                sources,
                columns: nodes.iter().map(|(node, _)| node.index()).collect(),
                planned: nodes
                    .iter()
                    .map(|(_, member)| has_address(member))
                    .collect(),
                target_ends: Arc::clone(&source_ends),
                source_ends,
            };
        }
        let targets: Vec<_> = matrix.targets.of_layer(layer).collect();
        let end = |key: &dyn ToString| PathEnd {
            name: key.to_string(),
            zone: String::new(),
        };
        Self {
            layer,
            sources,
            columns: targets.iter().map(|(column, _)| *column).collect(),
            planned: vec![is_sent; targets.len()],
            sampled: None,
            source_ends,
            target_ends: targets.iter().map(|(_, key)| end(key)).collect(),
        }
    }

    /// The verdict of the path in this row and column of the listing.
    #[inline]
    pub(crate) fn verdict(
        &self,
        cells: Option<&LayerCells>,
        row: usize,
        position: usize,
        now: Moment,
    ) -> Verdict {
        let (source, column) = (self.sources[row], self.columns[position]);
        if self.layer.kind.is_between_nodes() && column == source.index() {
            return Verdict::NotSampled;
        }
        let found = cells.and_then(|c| Some((c, c.cell(source.index(), column)?)));
        let verdict = found.map_or(Verdict::NoData, |(c, cell)| {
            cell.verdict(now, c.thresholds())
        });
        if verdict == Verdict::NoData && !self.is_planned(row, position) {
            return Verdict::NotSampled;
        }
        verdict
    }

    fn is_planned(&self, row: usize, position: usize) -> bool {
        let is_sampled = |samples: &Vec<Vec<usize>>| samples[row].contains(&self.columns[position]);
        self.planned[position] && self.sampled.as_ref().is_none_or(is_sampled)
    }
}

/// The columns that each of these nodes probes by QUIC.
fn quic_samples(plane: Plane, nodes: &[(NodeIndex, &Member)], size: usize) -> Vec<Vec<usize>> {
    let ring = Ring::of_quic(nodes.iter().copied(), plane);
    let sample = |(_, member): &(NodeIndex, &Member)| {
        ring.after(&member.profile.name, size)
            .map(NodeIndex::index)
            .collect()
    };
    nodes.iter().map(sample).collect()
}

fn node_end(member: &Member) -> PathEnd {
    PathEnd {
        name: member.profile.name.to_string(),
        zone: member.profile.zone.clone(),
    }
}

/// A reading under way.
#[derive(Debug)]
pub(crate) struct Reading {
    listing: Listing,
    next_row: usize,
    verdicts: Vec<u8>,
    rtt_median: Vec<u8>,
    loss_percent: Vec<u8>,
}

impl Reading {
    /// Begins to read.
    pub(crate) fn new(listing: Listing) -> Self {
        let cells = listing.sources.len() * listing.columns.len();
        Self {
            listing,
            next_row: 0,
            verdicts: Vec::with_capacity(cells),
            rtt_median: Vec::with_capacity(cells),
            loss_percent: Vec::with_capacity(cells),
        }
    }

    /// The layer that is read.
    pub(crate) fn layer(&self) -> Layer {
        self.listing.layer
    }

    /// Reads rows until about `budget` cells are read. True: the reading is complete.
    pub(crate) fn step(&mut self, cells: Option<&LayerCells>, now: Moment, budget: usize) -> bool {
        let mut left = budget;
        while let Some(source) = self.listing.sources.get(self.next_row).copied() {
            if left == 0 {
                return false;
            }
            let row = self.next_row;
            self.next_row += 1;
            left = left.saturating_sub(self.listing.columns.len().max(1));
            for position in 0..self.listing.columns.len() {
                let verdict = self.listing.verdict(cells, row, position, now);
                let column = self.listing.columns[position];
                let cell = cells.and_then(|c| c.cell(source.index(), column));
                let sampled = cells.zip(cell).filter(|_| verdict > Verdict::NoData);
                let (rtt, loss) = sampled.map_or((0, LOSS_NO_DATA), |(cells, cell)| {
                    let window = cell.fast_window(now, cells.thresholds());
                    let loss = (window.lost * 100).checked_div(window.sent);
                    (
                        cell.rtt().1.as_octet(),
                        loss.map_or(LOSS_NO_DATA, |l| l as u8),
                    )
                });
                self.verdicts.push(verdict as u8);
                self.rtt_median.push(rtt);
                self.loss_percent.push(loss);
            }
        }
        true
    }

    /// A hash of what was read: rows, columns and verdicts.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.verdicts.hash(&mut hasher);
        for end in self
            .listing
            .source_ends
            .iter()
            .chain(self.listing.target_ends.iter())
        {
            end.name.hash(&mut hasher);
        }
        hasher.finish()
    }

    /// The complete reading.
    pub(crate) fn finish(self, at: Timestamp, version: u64) -> LayerSnapshot {
        LayerSnapshot {
            layer: self.listing.layer,
            at,
            version,
            sources: self.listing.source_ends,
            targets: self.listing.target_ends,
            verdicts: self.verdicts.into(),
            rtt_median: self.rtt_median.into(),
            loss_percent: self.loss_percent.into(),
        }
    }
}
