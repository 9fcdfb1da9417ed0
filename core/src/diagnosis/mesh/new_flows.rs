//! A node whose new flows fail while those that exist live: its connection table is full.
//!
//! Every TCP probe is a new connection; STAMP keeps its ports, but for one that is replaced every few seconds. So of such a
//! node TCP is dead and UDP loses the probes of its newest ports; a blocked TCP leaves UDP alone.

use super::across::each_touched;
use super::flows::flows;
use super::ground::Ground;
use super::look::Look;
use super::loss::is_told;
use super::shape::Shape;
use crate::detail::{Detail, FlowLoss};
use crate::diagnosis::LayerPicture;
use crate::path::{Plane, ProbeKind};

/// Half of the source ports of UDP probes are replaced in turn: no more of its packets are of new flows.
const MOST_NEW: f64 = 0.55;
/// A table is full from this share on.
const FULL: f64 = 0.95;
/// Share of a node's TCP paths that fail, and of its UDP paths at most.
const MOST_FAIL: f64 = 0.8;
const FEW_FAIL: f64 = 0.25;
/// One in so many of its UDP paths loses packets soon after its new flows begin to fail: more than healthy loss makes.
const LOSSY_OF: u32 = 10;
/// Lost connections of a path that count, and how many make a path that fails for sure.
const LOSSES_COUNT: u8 = 3;
/// Where dead flows or old connections show what it is, so many lost connections in a row are enough, on average of its paths:
/// a group of two equal paths, one of them dead, takes as many on all paths at once in one of a hundred cases.
const EARLY: f64 = 1.5;

/// The nodes whose TCP is dead and whose UDP is not, while the TCP of the others works. `looks` are those at `layers`.
pub(super) fn nodes(
    layers: &[&LayerPicture],
    looks: &[Look<'_>],
    ground: &Ground<'_>,
) -> Vec<(u32, NewFlows)> {
    let mut found: Vec<(u32, NewFlows)> = Vec::new();
    let surveyed = layers.iter().zip(looks);
    for (_, look) in surveyed.filter(|(layer, _)| is_pod_tcp(layer)) {
        let all = look.plain(Shape::Everywhere);
        for node in 0..ground.len() as u32 {
            let own = look.plain(Shape::Node(node));
            // If most of what fails has nothing to do with the node, it is not the node.
            let is_most = |own: u32, all: u32| own > 1 && 2 * own >= all;
            if (is_most(own.dead, all.dead) || is_most(own.lossy, all.lossy))
                && !found.iter().any(|(known, _)| *known == node)
            {
                let close = NewFlows::of(layers, ground, node);
                found.extend(close.map(|close| (node, close)));
            }
        }
    }
    found
}

fn is_pod_tcp(layer: &LayerPicture) -> bool {
    layer.layer.kind == ProbeKind::Tcp && layer.layer.plane == Plane::Pod
}

/// What is known of a node whose TCP is dead and whose UDP is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NewFlows {
    /// Connections in its table, and how many fit.
    pub(super) table: Option<(u32, u32)>,
    /// The table is full.
    pub(super) is_full: bool,
    /// UDP paths of it with dead flows.
    pub(super) dead_flows: u32,
    /// UDP paths of it that lose packets now.
    pub(super) lossy: u32,
    /// QUIC paths of it whose handshake fails and whose old connection lives.
    pub(super) old_connections: u32,
    /// Its questions to DNS servers by UDP, each of which is a new flow.
    pub(super) questions: u32,
    /// Of those, not answered now.
    pub(super) unanswered: u32,
    /// UDP paths of it.
    pub(super) paths: u32,
    /// TCP paths of it that fail.
    pub(super) failing: u32,
    /// TCP paths of it.
    pub(super) judged: u32,
}

/// Do most new connections of a place fail? Then dead flows there are no dead member of a group of equal paths, which takes
/// few connections.
pub(super) fn takes_connections(
    layers: &[&LayerPicture],
    ground: &Ground<'_>,
    shape: Shape,
) -> bool {
    let (mut judged, mut failing) = (0u32, 0u32);
    for layer in layers.iter().filter(|layer| is_pod_tcp(layer)) {
        each_touched(layer, ground, shape, |_, _, cell| {
            judged += 1;
            failing += u32::from(cell.consecutive_losses > 0);
        });
    }
    judged > 1 && f64::from(failing) >= MOST_FAIL * f64::from(judged)
}

impl NewFlows {
    /// Does something show that it is the age of a flow that decides?
    pub(super) const fn is_sure(&self) -> bool {
        self.is_full || self.dead_flows > 0 || self.old_connections > 0
    }

    /// May it be so, and will it be known soon?
    pub(super) const fn is_open(&self) -> bool {
        let by_probes = self.lossy > 0 && LOSSY_OF * self.lossy >= self.paths;
        // A port of the probes is replaced every few seconds, and then visited in turn: questions know earlier.
        let by_questions = self.unanswered > 0 && 2 * self.unanswered >= self.questions;
        by_probes || by_questions
    }

    /// What `layers` say of a node; `None`: its new flows do not fail, or all of its flows do.
    pub(super) fn of(layers: &[&LayerPicture], ground: &Ground<'_>, node: u32) -> Option<Self> {
        let shape = Shape::Node(node);
        let mut found = Self::default();
        let mut udp_failing = 0u32;
        let (mut sent, mut lost) = (0u32, 0u32);
        let (mut surely, mut losses) = (0u32, 0u32);
        for layer in layers.iter().filter(|l| l.layer.plane == Plane::Pod) {
            match layer.layer.kind {
                ProbeKind::Tcp => each_touched(layer, ground, shape, |_, _, cell| {
                    found.judged += 1;
                    let row = cell.consecutive_losses.min(LOSSES_COUNT);
                    found.failing += u32::from(row > 0);
                    surely += u32::from(row == LOSSES_COUNT);
                    losses += u32::from(row);
                }),
                ProbeKind::Udp => each_touched(layer, ground, shape, |from, to, cell| {
                    found.paths += 1;
                    udp_failing += u32::from(cell.consecutive_losses > 3);
                    found.lossy += u32::from(cell.slot_lost[0] > 0 || cell.consecutive_losses > 0);
                    let flows = flows(layer, ground, from, to);
                    let is_mixed =
                        |flows: &FlowLoss| flows.failing > 0 && flows.failing < flows.tested;
                    found.dead_flows += u32::from(flows.is_some_and(is_mixed));
                    sent += u32::from(cell.sent);
                    lost += u32::from(cell.lost);
                }),
                ProbeKind::Quic => each_touched(layer, ground, shape, |from, to, cell| {
                    let row = layer.rows[ground.node(from).index()].as_deref();
                    let detail = row.and_then(|row| row.detail(ground.node(to).index()));
                    let lives =
                        matches!(detail, Some(Detail::Quic(quic)) if quic.long_flow_age.is_some());
                    found.old_connections += u32::from(lives && cell.consecutive_losses > 0);
                }),
                _ => {}
            }
        }
        let judged = f64::from(found.judged);
        let is_early = f64::from(found.failing) >= MOST_FAIL * judged
            && f64::from(losses) >= EARLY * judged
            && (found.dead_flows > 0 || found.old_connections > 0);
        let is_hit = found.judged > 1
            && (is_early || f64::from(surely) >= MOST_FAIL * judged)
            && found.paths > 0
            && f64::from(lost) <= MOST_NEW * f64::from(sent)
            && f64::from(udp_failing) <= FEW_FAIL * f64::from(found.paths);
        if !is_hit {
            return None;
        }
        let index = ground.node(node as usize).index();
        for layer in &ground.picture.layers {
            let Some(Some(row)) = layer.rows.get(index) else {
                continue;
            };
            if layer.layer.kind == ProbeKind::DnsUdp {
                let told = row.cells.iter().filter(|cell| is_told(cell));
                for cell in told {
                    found.questions += 1;
                    found.unanswered += u32::from(cell.consecutive_losses > 1);
                }
            }
        }
        let known = ground.picture.nodes.get(ground.node(node as usize).index());
        let probers = known.map_or(&[][..], |node| &node.probers);
        let facts = probers.iter().filter_map(|prober| prober.facts.as_deref());
        found.table = facts.filter_map(|facts| facts.conntrack).max();
        found.is_full = found
            .table
            .is_some_and(|(used, size)| f64::from(used) >= FULL * f64::from(size));
        Some(found)
    }
}
