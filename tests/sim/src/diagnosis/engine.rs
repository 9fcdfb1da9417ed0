//! A mesh, second by second: what every prober measures, and when it reports it.
//!
//! Nearly all probes of a large mesh come through. So losses of the healthy network are drawn by how many probes it takes
//! to the next one, and only paths that lost something, or that a rule touches, have a cell of their own.
//!
//! Reports travel by a management way that faults spare unless they are about it, as in the lab.

use std::sync::Arc;

use meshprobe_core::outcome::OutcomeClass;
use meshprobe_core::path::{Layer, Plane, ProbeKind};
use meshprobe_core::window::LostWays;
use meshprobe_prober::path_id::PathId;

use super::flows;
use super::node::Node;
use super::path::{Row, is_due, phase};
use super::rule::Rule;
use super::sizes;
use super::target::TargetRow;
use super::wire::{Condition, HEALTHY_LOSS, Wire, tcp_success};
use super::world::{LayerSpec, World};
use crate::chance::Chance;

/// How long a path that failed is probed closely, seconds.
const WATCH: u32 = 4;
/// Extra probes in the first second of that, and in each further one.
const BURST: u32 = 12;
const WATCHING: u32 = 10;
/// Extra probes of slow kinds after a first loss.
const FOLLOW_UPS: u32 = 3;
/// Rows of losses that are reported at once.
const TELLING: [u32; 2] = [4, 5];

/// The paths of one layer.
#[derive(Clone, Debug)]
pub(super) enum Rows {
    Nodes(Vec<Row>),
    Targets(Vec<TargetRow>),
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub(super) world: Arc<World>,
    /// Seconds.
    pub(super) now: u32,
    pub(super) chance: Chance,
    pub(super) layers: Vec<Rows>,
    pub(super) nodes: Vec<Node>,
    pub(super) rules: Arc<[Rule]>,
    /// When the rules changed.
    pub(super) since: u32,
}

impl Engine {
    /// A healthy mesh that has just started.
    pub(super) fn new(world: Arc<World>, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let count = world.nodes();
        let layers = world
            .layers
            .iter()
            .map(|spec| {
                if spec.targets.is_empty() {
                    let odds = healthy_loss(spec.layer);
                    let row = |source| Row::new(source, spec, chance.until(odds));
                    Rows::Nodes((0..count).map(row).collect())
                } else {
                    Rows::Targets((0..count).map(|_| TargetRow::new(spec)).collect())
                }
            })
            .collect();
        let nodes = (0..count).map(|node| Node::new(&world, node)).collect();
        Self {
            world,
            now: 0,
            chance,
            layers,
            nodes,
            rules: Arc::new([]),
            since: 0,
        }
    }

    /// The same mesh, from here on with other luck.
    pub(super) fn reseed(&mut self, seed: u64) {
        self.chance = Chance::new(seed);
    }

    /// From now on these rules are in force, and no others.
    pub(super) fn set_rules(&mut self, rules: Vec<Rule>) {
        self.rules = rules.into();
        self.since = self.now;
        let wire = Wire {
            world: &self.world,
            rules: &self.rules,
            since: self.since,
        };
        for (spec, rows) in self.world.layers.iter().zip(&mut self.layers) {
            let Rows::Nodes(rows) = rows else { continue };
            for row in rows {
                row.conditions.clear();
                // Packets that nothing delays any more are as fast as before.
                row.paths.values_mut().for_each(|path| path.micros = 0);
                if wire.rules.is_empty() {
                    continue;
                }
                for target in targets_of(spec, row.source, self.world.spec.nodes) {
                    if let Some(found) = wire.condition(spec.layer, row.source, target) {
                        row.conditions.push((target, found));
                    }
                }
            }
        }
        for (number, node) in self.nodes.iter_mut().enumerate() {
            node.handle_rules(&wire, number, self.now);
        }
    }

    /// One second passes.
    pub(super) fn tick(&mut self) {
        self.now += 1;
        for layer in 0..self.layers.len() {
            match &self.layers[layer] {
                Rows::Nodes(_) => self.probe_nodes(layer),
                Rows::Targets(_) => self.probe_targets(layer),
            }
        }
        self.report();
    }

    fn probe_nodes(&mut self, layer: usize) {
        let world = Arc::clone(&self.world);
        let spec = &world.layers[layer];
        for source in 0..world.spec.nodes {
            if !self.nodes[source].is_probing {
                self.miss(layer, source);
                continue;
            }
            self.lose_by_chance(layer, spec, source);
            self.probe_conditions(layer, spec, source);
        }
    }

    /// Nobody hears a prober that does not probe.
    fn miss(&mut self, layer: usize, silent: usize) {
        let world = Arc::clone(&self.world);
        let spec = &world.layers[layer];
        if !counts_arrivals(spec.layer) {
            return;
        }
        let now = self.now;
        let Rows::Nodes(rows) = &mut self.layers[layer] else {
            return;
        };
        for row in rows.iter_mut().filter(|row| row.source != silent) {
            row.path(spec, silent, now).received -= spec.at_once as i32;
        }
    }

    fn lose_by_chance(&mut self, layer: usize, spec: &LayerSpec, source: usize) {
        let nodes = self.world.spec.nodes;
        let odds = healthy_loss(spec.layer);
        if spec.sample.is_some() {
            for target in targets_of(spec, source, nodes) {
                if is_due(spec, phase(spec, source, target), self.now) && self.chance.happens(odds)
                {
                    self.lose_one(layer, spec, source, target);
                }
            }
            return;
        }
        let every = spec.every as usize;
        // The targets whose turn it is are `first`, `first + every`, …
        let into = (self.now as usize + 7 * source) % every;
        let first = (every - into) % every;
        let due = nodes.saturating_sub(first).div_ceil(every) as u64 * u64::from(spec.at_once);
        let mut from = 0;
        loop {
            let Rows::Nodes(rows) = &mut self.layers[layer] else {
                return;
            };
            let left = &mut rows[source].until_loss;
            if *left >= due - from {
                *left -= due - from;
                return;
            }
            let place = from + *left;
            *left = self.chance.until(odds);
            from = place + 1;
            let target = first + (place / u64::from(spec.at_once)) as usize * every;
            if target != source {
                self.lose_one(layer, spec, source, target);
            }
        }
    }

    /// A healthy path loses a probe; one with a condition has its own dice.
    fn lose_one(&mut self, layer: usize, spec: &LayerSpec, source: usize, target: usize) {
        let Rows::Nodes(rows) = &mut self.layers[layer] else {
            return;
        };
        let row = &mut rows[source];
        let is_plain = row.condition(target).is_none();
        if is_plain && row.paths.get(&target).is_none_or(|path| path.streak == 0) {
            let arrived = self.chance.happens(0.5);
            let fate = Fate {
                arrived,
                class: OutcomeClass::Timeout,
                is_regular: true,
            };
            self.count(layer, spec, (source, target), fate);
            self.follow_up(layer, spec, (source, target), &Condition::default());
        }
    }

    fn probe_conditions(&mut self, layer: usize, spec: &LayerSpec, source: usize) {
        let Rows::Nodes(rows) = &self.layers[layer] else {
            return;
        };
        let row = &rows[source];
        // Paths that failed and are not broken any more have to be seen to answer.
        let failing = row
            .paths
            .iter()
            .filter(|(target, path)| path.streak > 0 && row.condition(**target).is_none())
            .map(|(target, _)| (*target, Condition::default()));
        let mut conditions: Vec<(usize, Condition)> = failing.collect();
        conditions.extend_from_slice(&row.conditions);
        for (target, condition) in conditions {
            let ends = (source, target);
            if is_due(spec, phase(spec, source, target), self.now) {
                for _ in 0..spec.at_once {
                    let before = self.streak(layer, ends);
                    self.probe_once(layer, spec, ends, &condition, true);
                    if before == 0 && self.streak(layer, ends) == 1 {
                        self.follow_up(layer, spec, ends, &condition);
                    }
                }
            }
            self.watch(layer, spec, ends, &condition);
        }
    }

    fn streak(&self, layer: usize, (source, target): (usize, usize)) -> u32 {
        let Rows::Nodes(rows) = &self.layers[layer] else {
            return 0;
        };
        rows[source]
            .paths
            .get(&target)
            .map_or(0, |path| path.streak)
    }

    /// One probe of a path, with its own dice.
    fn probe_once(
        &mut self,
        layer: usize,
        spec: &LayerSpec,
        ends: (usize, usize),
        condition: &Condition,
        is_regular: bool,
    ) {
        let now = self.now;
        let dead = flows::is_dead(
            condition,
            spec.layer,
            ends,
            self.port(layer, spec, ends),
            now,
        );
        let (mut forward, mut back) = (condition.forward, condition.back);
        if dead.0 {
            forward = 1.0;
        }
        if dead.1 {
            back = 1.0;
        }
        if condition.invalid > 0.0 && self.chance.happens(condition.invalid) {
            self.nodes[ends.0].invalid += 1;
            self.path(layer, spec, ends).extra -= i32::from(is_regular);
            return;
        }
        if spec.layer.kind == ProbeKind::Mtu {
            self.measure_size(layer, spec, ends, (forward, back), condition);
            return;
        }
        let there = (1.0 - forward) * (1.0 - HEALTHY_LOSS);
        let returns = (1.0 - back) * (1.0 - HEALTHY_LOSS);
        let arrived = self.chance.happens(there);
        let replied = arrived && self.chance.happens(trips(spec.layer, there, returns));
        let fate = Fate {
            arrived,
            class: if replied {
                OutcomeClass::Reply
            } else if forward + back > 0.0 {
                condition.ends.unwrap_or(OutcomeClass::Timeout)
            } else {
                OutcomeClass::Timeout
            },
            is_regular,
        };
        self.count(layer, spec, ends, fate);
        self.path(layer, spec, ends).micros = condition.micros;
    }

    /// A measurement of the largest packet: it repeats what is lost, and finds nothing out where nothing gets through.
    fn measure_size(
        &mut self,
        layer: usize,
        spec: &LayerSpec,
        ends: (usize, usize),
        (forward, back): (f64, f64),
        condition: &Condition,
    ) {
        let round = (1.0 - forward) * (1.0 - back);
        let path = self.path(layer, spec, ends);
        if round < 0.3 {
            path.extra -= 1;
            return;
        }
        let (class, detail) = sizes::measure(condition);
        path.detail = Some(detail);
        let fate = Fate {
            arrived: true,
            class,
            is_regular: true,
        };
        self.count(layer, spec, ends, fate);
    }

    /// What follows a first loss at once.
    fn follow_up(
        &mut self,
        layer: usize,
        spec: &LayerSpec,
        ends: (usize, usize),
        condition: &Condition,
    ) {
        let probes = match spec.layer.kind {
            ProbeKind::Udp => {
                self.path(layer, spec, ends).watched_until = self.now + WATCH;
                self.nodes[ends.0].watched_until = self.now + WATCH;
                BURST
            }
            ProbeKind::Mtu => 0,
            _ => FOLLOW_UPS,
        };
        self.probe_until_answered(layer, spec, ends, condition, probes);
    }

    fn watch(
        &mut self,
        layer: usize,
        spec: &LayerSpec,
        ends: (usize, usize),
        condition: &Condition,
    ) {
        let now = self.now;
        let Rows::Nodes(rows) = &self.layers[layer] else {
            return;
        };
        let path = rows[ends.0].paths.get(&ends.1);
        let is_watched = path.is_some_and(|path| {
            path.streak > 0 && path.watched_until > now && path.watched_until < now + WATCH
        });
        if is_watched {
            self.probe_until_answered(layer, spec, ends, condition, WATCHING);
        }
    }

    fn probe_until_answered(
        &mut self,
        layer: usize,
        spec: &LayerSpec,
        ends: (usize, usize),
        condition: &Condition,
        probes: u32,
    ) {
        for _ in 0..probes {
            self.probe_once(layer, spec, ends, condition, false);
            if self.streak(layer, ends) == 0 {
                return;
            }
        }
    }

    /// Enters what became of a probe into the windows of both ends.
    fn count(&mut self, layer: usize, spec: &LayerSpec, ends: (usize, usize), fate: Fate) {
        let (source, target) = ends;
        let now = self.now;
        let counts = counts_arrivals(spec.layer);
        let port = counts.then(|| self.port(layer, spec, ends));
        let path = self.path(layer, spec, ends);
        path.port = path.port.wrapping_add(1);
        path.extra += i32::from(!fate.is_regular);
        let before = path.streak;
        if fate.class.is_loss() {
            path.lost += 1;
            path.streak += 1;
            path.failure = Some(fate.class);
            path.untold = path.untold.plus(LostWays {
                out: u32::from(counts && !fate.arrived),
                back: u32::from(counts && fate.arrived),
            });
        } else {
            path.streak = 0;
            path.lost_ways = path.lost_ways.plus(std::mem::take(&mut path.untold));
        }
        let after = path.streak;
        let is_told_at_once = (before == 0) != (after == 0)
            || (TELLING.contains(&after) && spec.layer.kind.is_vital());
        if is_told_at_once {
            self.nodes[source].is_hurried = true;
        }
        if let Some(port) = port {
            self.note_flow(layer, ends, port, fate.class);
            let more = i32::from(fate.arrived) - i32::from(fate.is_regular);
            if more != 0 {
                let Rows::Nodes(rows) = &mut self.layers[layer] else {
                    return;
                };
                rows[target].path(spec, source, now).received += more;
            }
        }
    }

    fn port(&self, layer: usize, spec: &LayerSpec, ends: (usize, usize)) -> u16 {
        let Rows::Nodes(rows) = &self.layers[layer] else {
            return 0;
        };
        let turn = rows[ends.0].paths.get(&ends.1).map_or(0, |path| path.port);
        let turn = turn.wrapping_add(phase(spec, ends.0, ends.1) as u8);
        flows::port(ends.0, turn, self.now)
    }

    fn note_flow(&mut self, layer: usize, ends: (usize, usize), port: u16, class: OutcomeClass) {
        let now = super::cell::moment(self.now);
        let Rows::Nodes(rows) = &mut self.layers[layer] else {
            return;
        };
        let row = &mut rows[ends.0];
        if row.condition(ends.1).is_none() && !row.flows.is_lossy(path_id(ends.1)) {
            return;
        }
        let id = path_id(ends.1);
        if class.is_loss() {
            row.flows.handle_loss(id, port, now);
        } else {
            row.flows.handle_answer(id, port, now);
        }
    }

    fn path(
        &mut self,
        layer: usize,
        spec: &LayerSpec,
        (source, target): (usize, usize),
    ) -> &mut super::path::Path {
        let now = self.now;
        match &mut self.layers[layer] {
            Rows::Nodes(rows) => rows[source].path(spec, target, now),
            Rows::Targets(_) => unreachable!("the paths of a layer between nodes"),
        }
    }

    fn probe_targets(&mut self, layer: usize) {
        let world = Arc::clone(&self.world);
        let spec = &world.layers[layer];
        let rules = Arc::clone(&self.rules);
        let wire = Wire {
            world: &world,
            rules: &rules,
            since: self.since,
        };
        let Rows::Targets(rows) = &mut self.layers[layer] else {
            return;
        };
        for (source, row) in rows.iter_mut().enumerate() {
            let node = &mut self.nodes[source];
            if node.is_probing {
                let starved = if node.is_starved { 0.6 } else { 0.0 };
                row.tick(spec, source, &wire, self.now, starved, &mut self.chance);
                node.is_hurried |= row.take_news();
            }
        }
    }

    /// Who has something to say says it, if it gets through.
    fn report(&mut self) {
        let now = self.now;
        let world = Arc::clone(&self.world);
        for source in 0..self.nodes.len() {
            let node = &mut self.nodes[source];
            if !node.wants_to_report(now) || !self.chance.happens(node.delivery) {
                continue;
            }
            let start = node.window_start;
            if start == now {
                continue;
            }
            node.handle_reported(now);
            for (spec, rows) in world.layers.iter().zip(&mut self.layers) {
                match rows {
                    Rows::Nodes(rows) => {
                        let row = &mut rows[source];
                        flows::tell(spec, row, now);
                        row.report(spec, start, now, counts_arrivals(spec.layer));
                    }
                    Rows::Targets(rows) => rows[source].report(spec, start, now),
                }
            }
        }
    }
}

/// What became of a probe.
#[derive(Clone, Copy, Debug)]
struct Fate {
    /// At the target.
    arrived: bool,
    class: OutcomeClass,
    /// One that every path sends, and no confirming one.
    is_regular: bool,
}

/// A path in the tables of its source.
pub(super) fn path_id(target: usize) -> PathId {
    PathId::new(target as u32, 0)
}

/// Do targets count the probes of this layer that arrive?
pub(super) fn counts_arrivals(layer: Layer) -> bool {
    layer.kind == ProbeKind::Udp
}

/// Whom a source probes.
pub(super) fn targets_of(
    spec: &LayerSpec,
    source: usize,
    nodes: usize,
) -> impl Iterator<Item = usize> + use<> {
    let sample = spec.sample.filter(|sample| *sample + 1 < nodes);
    (0..nodes).filter(move |target| {
        *target != source
            && sample.is_none_or(|sample| (*target + nodes - source) % nodes <= sample)
    })
}

/// How probable it is that the answer comes, once the probe has arrived.
fn trips(layer: Layer, arrives: f64, returns: f64) -> f64 {
    let round = arrives * returns;
    match layer.kind {
        // The echo after the handshake.
        ProbeKind::Tcp if layer.plane == Plane::Pod => {
            returns * tcp_success(round) / round.max(1e-9)
        }
        // The handshake, then the echo.
        ProbeKind::Quic => returns * round,
        _ => returns,
    }
}

/// Share of the probes that a healthy network loses on their way and back.
fn healthy_loss(layer: Layer) -> f64 {
    let arrives = 1.0 - HEALTHY_LOSS;
    match layer.kind {
        // A measurement repeats what is lost.
        ProbeKind::Mtu => 0.0,
        _ => 1.0 - arrives * trips(layer, arrives, arrives),
    }
}
