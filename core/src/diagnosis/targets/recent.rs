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
    packets: Ways,
    connections: Ways,
}

/// The ways between nodes by one kind of probe.
#[derive(Debug, Default)]
struct Ways {
    /// By target: sent and lost.
    to: Vec<(f32, f32)>,
    /// Paths that were probed, by the nodes at either end.
    paths: Vec<u32>,
    /// Paths that lost everything for some time, and the last time that they did.
    outages: Vec<(NodeIndex, NodeIndex, Moment)>,
}

/// For each node the share of its paths that lost everything for some time.
#[derive(Debug)]
pub(super) struct Outages {
    packets: Vec<f64>,
    connections: Vec<f64>,
}

impl RecentLoss {
    pub(super) fn new(picture: &Picture) -> Self {
        Self {
            packets: Ways::new(picture, ProbeKind::Udp, OUTAGE),
            connections: Ways::new(picture, ProbeKind::Tcp, CONNECTIONS),
        }
    }

    /// The share that was lost on the way from a node to these hosts, at most, of what `kind` sends.
    pub(super) fn of_way(
        &self,
        source: NodeIndex,
        hosts: &[Option<NodeIndex>],
        outages: &Outages,
        kind: ProbeKind,
    ) -> f64 {
        let packets = self.packets.of_way(source, hosts, &outages.packets);
        if matches!(kind, ProbeKind::DnsUdp | ProbeKind::DnsSearch) {
            return packets;
        }
        let connections = self.connections.of_way(source, hosts, &outages.connections);
        packets.max(connections)
    }

    /// For each node the share of its paths that lost everything for some time since that moment.
    pub(super) fn outages(&self, since: Moment) -> Outages {
        Outages {
            packets: self.packets.outages(since),
            connections: self.connections.outages(since),
        }
    }

    /// Nodes that could not reach some other node since that moment, or cannot now.
    pub(super) fn troubled(&self, since: Moment) -> BTreeSet<NodeIndex> {
        let all = self.packets.outages.iter().chain(&self.connections.outages);
        let since = all.filter(|(_, _, at)| *at >= since);
        since.map(|(source, _, _)| *source).collect()
    }
}

impl Ways {
    /// `row`: losses in a row that are an outage.
    fn new(picture: &Picture, kind: ProbeKind, row: u8) -> Self {
        let nodes = picture.topology.nodes.len();
        let mut found = Self {
            to: vec![(0.0, 0.0); nodes],
            paths: vec![0; nodes],
            outages: Vec::new(),
        };
        let is_it = |layer: &&LayerPicture| {
            layer.layer.kind == kind && matches!(layer.columns, Columns::Nodes)
        };
        for layer in picture.layers.iter().filter(is_it) {
            for (source, cells) in layer.rows.iter().enumerate() {
                for (column, cell) in cells.iter().flat_map(|cells| cells.iter()) {
                    if cell.sent == 0 || source >= nodes || column >= nodes {
                        continue;
                    }
                    let to = &mut found.to[column];
                    *to = (to.0 + cell.long_sent, to.1 + cell.long_lost);
                    found.paths[source] += 1;
                    found.paths[column] += 1;
                    if let Some(at) = cell.lost_at.filter(|_| cell.lost_in_row >= row) {
                        let ends = (NodeIndex(source as u32), NodeIndex(column as u32));
                        found.outages.push((ends.0, ends.1, Mark::moment(at)));
                    }
                }
            }
        }
        found
    }

    fn of_way(&self, source: NodeIndex, hosts: &[Option<NodeIndex>], outages: &[f64]) -> f64 {
        let outage = |node: NodeIndex| outages.get(node.index()).copied().unwrap_or(0.0);
        let of = |host: &Option<NodeIndex>| {
            let host = host.filter(|host| *host != source)?;
            Some(self.to(host).max(outage(host)))
        };
        let of_hosts = hosts.iter().filter_map(of).fold(0.0, f64::max);
        of_hosts.max(outage(source))
    }

    fn outages(&self, since: Moment) -> Vec<f64> {
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

    fn to(&self, host: NodeIndex) -> f64 {
        let counts = self.to.get(host.index());
        counts.map_or(0.0, |(sent, lost)| f64::from(lost / sent.max(1.0)))
    }
}
