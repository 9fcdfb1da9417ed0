//! What was lost lately between nodes.
//!
//! What lies between nodes and is over still has its losses in the counts of targets, and nothing that is found now explains
//! them.

use std::collections::BTreeSet;

use super::cells::OUTAGE;
use crate::diagnosis::{Columns, LayerPicture, Picture};
use crate::ids::NodeIndex;
use crate::path::ProbeKind;
use crate::time::{Mark, Moment};

/// Connections that fail in a row and are no chance: each of them is asked for three times.
const CONNECTIONS: u8 = 2;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct RecentLoss {
    /// By target: sent and lost.
    to: Vec<(f32, f32)>,
    /// Paths that were probed, by the nodes at either end.
    paths: Vec<u32>,
    /// Paths that lost everything for some time, and the last time that they did.
    outages: Vec<(NodeIndex, NodeIndex, Moment)>,
    /// Nodes whose connections to some other node failed in a row, and the last time that one did.
    unconnected: Vec<(NodeIndex, Moment)>,
}

impl RecentLoss {
    pub(super) fn new(picture: &Picture) -> Self {
        let nodes = picture.topology.nodes.len();
        let mut found = Self {
            to: vec![(0.0, 0.0); nodes],
            paths: vec![0; nodes],
            outages: Vec::new(),
            unconnected: Vec::new(),
        };
        let tcp = |layer: &&LayerPicture| {
            layer.layer.kind == ProbeKind::Tcp && matches!(layer.columns, Columns::Nodes)
        };
        for layer in picture.layers.iter().filter(tcp) {
            for (source, row) in layer.rows.iter().enumerate() {
                let lost = row.iter().flat_map(|row| &row.cells);
                let lost = lost.filter(|cell| cell.lost_in_row >= CONNECTIONS);
                let last = lost.filter_map(|cell| cell.lost_at).max();
                let source = NodeIndex(source as u32);
                found
                    .unconnected
                    .extend(last.map(|at| (source, at.moment())));
            }
        }
        let vital = |layer: &&LayerPicture| {
            layer.layer.kind == ProbeKind::Udp && matches!(layer.columns, Columns::Nodes)
        };
        for layer in picture.layers.iter().filter(vital) {
            for (source, row) in layer.rows.iter().enumerate() {
                for (column, cell) in row.iter().flat_map(|row| row.iter()) {
                    if cell.sent == 0 || source >= nodes || column >= nodes {
                        continue;
                    }
                    add(&mut found.to[column], cell.long_sent, cell.long_lost);
                    found.paths[source] += 1;
                    found.paths[column] += 1;
                    if let Some(at) = cell.lost_at.filter(|_| cell.lost_in_row >= OUTAGE) {
                        let ends = (NodeIndex(source as u32), NodeIndex(column as u32));
                        found.outages.push((ends.0, ends.1, Mark::moment(at)));
                    }
                }
            }
        }
        found
    }

    /// The share that was lost on the way from a node to these hosts, at most. `outages`: see [`Self::outages`].
    pub(super) fn of_way(
        &self,
        source: NodeIndex,
        hosts: &[Option<NodeIndex>],
        outages: &[f64],
    ) -> f64 {
        let outage = |node: NodeIndex| outages.get(node.index()).copied().unwrap_or(0.0);
        let of = |host: &Option<NodeIndex>| {
            let host = host.filter(|host| *host != source)?;
            Some(self.to(host).max(outage(host)))
        };
        let of_hosts = hosts.iter().filter_map(of).fold(0.0, f64::max);
        of_hosts.max(outage(source))
    }

    /// For each node the share of its paths that lost everything for some time since that moment.
    pub(super) fn outages(&self, since: Moment) -> Vec<f64> {
        let mut counts = vec![0_u32; self.paths.len()];
        for (source, target, _) in self.outages.iter().filter(|(_, _, at)| *at >= since) {
            counts[source.index()] += 1;
            counts[target.index()] += 1;
        }
        let shares = counts.iter().zip(&self.paths);
        shares
            .map(|(count, paths)| f64::from(*count) / f64::from((*paths).max(1)))
            .collect()
    }

    /// Nodes that could not reach some other node since that moment, or cannot now.
    pub(super) fn troubled(&self, since: Moment) -> BTreeSet<NodeIndex> {
        let lost = self.outages.iter().map(|(source, _, at)| (source, at));
        let unconnected = self.unconnected.iter().map(|(source, at)| (source, at));
        let all = lost.chain(unconnected).filter(|(_, at)| **at >= since);
        all.map(|(source, _)| *source).collect()
    }

    fn to(&self, host: NodeIndex) -> f64 {
        let counts = self.to.get(host.index());
        counts.map_or(0.0, |(sent, lost)| f64::from(lost / sent.max(1.0)))
    }
}

fn add(counts: &mut (f32, f32), sent: f32, lost: f32) {
    counts.0 += sent;
    counts.1 += lost;
}
