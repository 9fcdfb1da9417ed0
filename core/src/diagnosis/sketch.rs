//! Pictures for tests: a small mesh whose probes are really drawn, one by one, through legs that lose a share of them.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Arrived, CellPicture, Columns, LayerPicture, NodePicture, Picture, RowPicture, Topology,
    TopologyNode,
};
use crate::dark::NodeState;
use crate::detail::Detail;
use crate::ids::{NodeName, ZoneIndex};
use crate::lifecycle::Lifecycle;
use crate::outcome::OutcomeClass;
use crate::path::{Family, Layer, Plane, ProbeKind};
use crate::time::{Mark, Moment};
use crate::verdict::Verdict;

/// Long enough ago for the fading counts to be full.
const HISTORY: f64 = 320.0;
/// Time constant of the fading counts.
const FADING: f64 = 80.0;
const FAST_WINDOW: f64 = 15.0;

const NOW: Moment = Moment::from_millis(1_000_000);

/// How a mesh is, and what has happened to it.
pub(super) struct Sketch {
    /// Zone of each node; nodes are `n0`, `n1`, …, zones `z0`, `z1`, ….
    pub(super) zones: Vec<u16>,
    pub(super) layers: Vec<Layer>,
    pub(super) faults: Vec<SketchFault>,
    /// Loss of every leg at any time.
    pub(super) noise: f64,
    pub(super) seed: u64,
    /// What the newest probe of a path found.
    detail: Box<DetailOf>,
    /// Round trips that take a hundred times what is normal.
    slow: Box<SlowOf>,
}

type DetailOf = dyn Fn(Layer, usize, usize) -> Option<Detail>;
type SlowOf = dyn Fn(Layer, usize, usize) -> bool;

/// Loss of legs for a time.
pub(super) struct SketchFault {
    /// Share that a leg of a layer loses.
    pub(super) loss: Box<dyn Fn(Layer, usize, usize) -> f64>,
    /// How many seconds before the picture it began, and ended.
    pub(super) from: f64,
    pub(super) to: f64,
}

pub(super) const fn layer(kind: ProbeKind, plane: Plane, family: Family) -> Layer {
    Layer {
        kind,
        plane,
        family,
    }
}

pub(super) const UDP: Layer = layer(ProbeKind::Udp, Plane::Pod, Family::V4);
pub(super) const TCP: Layer = layer(ProbeKind::Tcp, Plane::Pod, Family::V4);
pub(super) const HOST: Layer = layer(ProbeKind::Tcp, Plane::Host, Family::V4);
pub(super) const MTU: Layer = layer(ProbeKind::Mtu, Plane::Pod, Family::V4);
pub(super) const QUIC: Layer = layer(ProbeKind::Quic, Plane::Pod, Family::V4);
pub(super) const UDP6: Layer = layer(ProbeKind::Udp, Plane::Pod, Family::V6);
pub(super) const TCP6: Layer = layer(ProbeKind::Tcp, Plane::Pod, Family::V6);

impl Sketch {
    /// So many nodes, spread over so many zones, all well.
    pub(super) fn of(nodes: usize, zones: usize) -> Self {
        Self {
            zones: (0..nodes).map(|node| (node % zones) as u16).collect(),
            layers: vec![UDP, TCP, HOST],
            faults: Vec::new(),
            noise: 0.0,
            seed: 1,
            detail: Box::new(|_, _, _| None),
            slow: Box::new(|_, _, _| false),
        }
    }

    pub(super) fn layers(mut self, layers: &[Layer]) -> Self {
        self.layers = layers.to_vec();
        self
    }

    pub(super) fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    pub(super) fn noise(mut self, noise: f64) -> Self {
        self.noise = noise;
        self
    }

    /// Legs that lose a share from so many seconds ago until now.
    pub(super) fn fault(
        self,
        seconds_ago: f64,
        loss: impl Fn(Layer, usize, usize) -> f64 + 'static,
    ) -> Self {
        self.past_fault(seconds_ago, 0.0, loss)
    }

    /// Legs that lost a share for a time that is over.
    pub(super) fn past_fault(
        mut self,
        from: f64,
        to: f64,
        loss: impl Fn(Layer, usize, usize) -> f64 + 'static,
    ) -> Self {
        self.faults.push(SketchFault {
            loss: Box::new(loss),
            from,
            to,
        });
        self
    }

    pub(super) fn details(
        mut self,
        of: impl Fn(Layer, usize, usize) -> Option<Detail> + 'static,
    ) -> Self {
        self.detail = Box::new(of);
        self
    }

    pub(super) fn slow(mut self, is: impl Fn(Layer, usize, usize) -> bool + 'static) -> Self {
        self.slow = Box::new(is);
        self
    }

    pub(super) fn picture(&self) -> Picture {
        let now = NOW;
        let node = |(number, zone): (usize, &u16)| {
            Some(TopologyNode {
                name: NodeName::try_from(format!("n{number}")).unwrap(),
                zone: ZoneIndex(zone + 1),
                lifecycle: Lifecycle::Active,
                is_warming_up: false,
                addresses: Vec::new(),
            })
        };
        let zone_count = self.zones.iter().max().map_or(0, |zone| zone + 1);
        let mut zones = vec![String::new()];
        zones.extend((0..zone_count).map(|zone| format!("z{zone}")));
        let topology = Topology {
            nodes: self.zones.iter().enumerate().map(node).collect(),
            zones,
        };
        let nodes = self.zones.iter().map(|_| NodePicture {
            state: NodeState::Ok,
            is_reporting: true,
            ..NodePicture::UNKNOWN
        });
        Picture {
            known: Arc::default(),
            now,
            topology: Arc::new(topology),
            layers: self.layers.iter().map(|layer| self.layer(*layer)).collect(),
            nodes: nodes.collect(),
            traces: Vec::new(),
        }
    }

    fn layer(&self, layer: Layer) -> LayerPicture {
        let interval = match layer.kind {
            ProbeKind::Udp => 1,
            ProbeKind::Quic => 30,
            ProbeKind::Mtu => 60,
            _ => 5,
        };
        let interval = Duration::from_secs(interval);
        let size = self.zones.len();
        let rows = (0..size).map(|from| {
            let cells = (0..size).map(|to| {
                if from == to {
                    CellPicture::NOT_SAMPLED
                } else {
                    self.cell(layer, interval, from, to)
                }
            });
            let details = (0..size).filter(|to| *to != from).filter_map(|to| {
                let detail = (self.detail)(layer, from, to)?;
                Some((to as u32, detail))
            });
            Some(Arc::new(RowPicture::dense(
                cells.collect(),
                details.collect(),
            )))
        });
        LayerPicture {
            layer,
            interval,
            columns: Columns::Nodes,
            rows: rows.collect(),
        }
    }

    fn leg_loss(&self, layer: Layer, from: usize, to: usize, age: f64) -> f64 {
        let mut through = 1.0 - self.noise;
        for fault in &self.faults {
            if age <= fault.from && age > fault.to {
                through *= 1.0 - (fault.loss)(layer, from, to);
            }
        }
        1.0 - through
    }

    fn cell(&self, layer: Layer, interval: Duration, from: usize, to: usize) -> CellPicture {
        let key =
            (layer.kind as u64) << 40 | (layer.plane as u64) << 36 | (layer.family as u64) << 32;
        let mut dice = Dice(
            self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ key ^ ((from as u64) << 16 | to as u64),
        );
        dice.next();
        let step = interval.as_secs_f64();
        let follow_ups = match layer.kind {
            ProbeKind::Udp => 4,
            ProbeKind::Mtu => 0,
            _ => 3,
        };
        let phase = dice.chance() * step;
        let mut cell = CellPicture {
            verdict: Verdict::Healthy,
            rtt: Some(Duration::from_micros(500)),
            rtt_baseline: Some(Duration::from_micros(500)),
            ..CellPicture::NOT_SAMPLED
        };
        let (mut sent, mut lost, mut arrived) = (0.0, 0.0, 0.0);
        let (mut fast_sent, mut fast_lost, mut fast_arrived) = (0u16, 0u16, 0u16);
        let fast = FAST_WINDOW.max(3.0 * step);
        let mut age = HISTORY.max(6.0 * step) - phase;
        let mut row_began = age;
        let mut arrived_in_row = 0_u32;
        while age > 0.0 {
            let weight = (-age / FADING).exp();
            let was_down = cell.consecutive_losses > 0;
            let mut probes = 1;
            let mut k = 0;
            while k < probes {
                let out = dice.chance() >= self.leg_loss(layer, from, to, age);
                let back = out && dice.chance() >= self.leg_loss(layer, to, from, age);
                sent += weight;
                arrived += if out { weight } else { 0.0 };
                if age <= fast {
                    fast_sent += 1;
                    fast_lost += u16::from(!back);
                    fast_arrived += u16::from(out);
                }
                let slot = (age / 10.0).floor() as usize;
                if let (Some(sent), Some(lost)) =
                    (cell.slot_sent.get_mut(slot), cell.slot_lost.get_mut(slot))
                {
                    *sent += 1;
                    *lost += u16::from(!back);
                }
                if back {
                    cell.consecutive_losses = 0;
                    arrived_in_row = 0;
                    cell.consecutive_replies = cell.consecutive_replies.saturating_add(1);
                } else {
                    lost += weight;
                    arrived_in_row += u32::from(out);
                    cell.consecutive_losses = cell.consecutive_losses.saturating_add(1);
                    cell.consecutive_replies = 0;
                    cell.lost_at = Some(Mark::new(NOW - Duration::from_secs_f64(age)));
                    cell.failure = Some(OutcomeClass::Timeout);
                    if k == 0 && !was_down {
                        row_began = age;
                        probes += follow_ups;
                    }
                }
                k += 1;
            }
            age -= step;
        }
        if (self.slow)(layer, from, to) {
            cell.rtt = Some(Duration::from_millis(50));
        }
        if cell.consecutive_losses > 0 {
            let arrived = match arrived_in_row {
                0 => Arrived::Nothing,
                n if 2 * n >= u32::from(cell.consecutive_losses) => Arrived::Most,
                _ => Arrived::Few,
            };
            cell.arrived_in_row = (layer.kind == ProbeKind::Udp).then_some(arrived);
            cell.failing_for = Duration::from_secs_f64(row_began.min(255.0).floor());
        }
        cell.sent = fast_sent;
        cell.lost = fast_lost;
        cell.long_sent = sent as f32;
        cell.long_lost = lost as f32;
        if layer.kind == ProbeKind::Udp {
            cell.received = Some(fast_arrived);
            cell.long_received = Some(arrived as f32);
        }
        cell.verdict = match cell.consecutive_losses {
            0 if fast_lost > 0 => Verdict::Lossy,
            0 => Verdict::Healthy,
            1..=3 => Verdict::Suspect,
            _ => Verdict::Down,
        };
        cell
    }
}

/// `SplitMix64`: the same seed gives the same mesh.
pub(super) struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn chance(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
