//! The search over all layers, one after the other, each with what is known from those before.

use std::sync::Arc;
use std::time::Duration;

use super::across;
use super::cause::{Cause, What, Word};
use super::flows::{self, FlowCount};
use super::ground::Ground;
use super::leg::{Spells, Sum};
use super::look::Look;
use super::loss::{LossOf, dead_row, is_one_way};
use super::loss_rows::LossRows;
use super::new_flows;
use super::search::{self, Found, Standing};
use super::shape::Shape;
use super::tally::Evidence;
use crate::dark::{Declaration, NodeState};
use crate::diagnosis::{DiagnosisConfig, LayerPicture};
use crate::finding::Pattern;
use crate::path::{Plane, ProbeKind};
use crate::time::Mark;

/// Rows of losses that began together are of the same age, but for an interval and this: windows are a second long.
const TOGETHER: Duration = Duration::from_secs(2);
/// So many of the rows have to be of one age.
const MOSTLY: f32 = 0.9;
/// Of two directions the one that loses less is not at fault if it loses no more than this share of all.
const OTHER_WAY: f64 = 0.15;
/// The fast window of a kind that is sent often, and the report about it.
const HEALING: Duration = Duration::from_secs(20);
/// One path in so many that lost packets lately is more than healthy loss makes.
const LATELY: u32 = 3;
/// A kind that is probed more rarely than this says where a fault is only after one round of all its paths.
const RARE: Duration = Duration::from_secs(5);

/// Everything that the search over the layers needs.
pub(super) struct Localiser<'a> {
    pub(super) ground: &'a Ground<'a>,
    /// Layers whose loss is looked at, those that know the two ways apart first.
    pub(super) layers: &'a [&'a LayerPicture],
    /// What their rows say of loss.
    pub(super) rows: &'a LossRows,
    pub(super) config: &'a DiagnosisConfig,
}

impl<'a> Localiser<'a> {
    /// The loss of a layer.
    pub(super) fn evidence<'b>(
        &'b self,
        layer: &'b LayerPicture,
        left_out: &'b [Shape],
    ) -> LossOf<'b> {
        LossOf {
            layer,
            rows: self.rows.of(layer.layer),
            ground: self.ground,
            healthy: self.config.healthy_loss,
            left_out,
            is_close: true,
        }
    }

    /// The layer of a cause.
    pub(super) fn layer_of(&self, cause: &Cause) -> Option<&'a LayerPicture> {
        let mut layers = self.layers.iter().copied();
        layers.find(|layer| layer.layer == cause.layer)
    }

    /// One look at each layer.
    pub(super) fn survey(&self) -> Vec<Look<'a>> {
        let layers = self.layers.iter();
        let at_first = |layer| LossOf {
            is_close: false,
            ..self.evidence(layer, &[])
        };
        layers
            .map(|layer| search::survey(&at_first(layer), self.ground))
            .collect()
    }

    /// Every cause, with every layer's word on it.
    pub(super) fn causes(&self, looks: Vec<Look<'a>>) -> Vec<Cause> {
        let mut causes = self.declared();
        causes.extend(self.by_flow(&looks));
        for cause in &mut causes {
            self.ask(cause);
        }
        let by_flow: Vec<Shape> = causes
            .iter()
            .filter(|cause| cause.what != What::Loss)
            .map(|cause| cause.shape)
            .collect();
        let mut over: Vec<Cause> = Vec::new();
        for (layer, look) in self.layers.iter().zip(looks) {
            let left_out = if is_one_way(layer.layer.kind) {
                by_flow.as_slice()
            } else {
                &[]
            };
            let evidence = self.evidence(layer, left_out);
            let known = causes.iter().chain(&over);
            let given: Vec<Found> = known.filter_map(|cause| self.given(cause, layer)).collect();
            let mut surveyed = None;
            if given.is_empty() && left_out.is_empty() {
                let at_first = LossOf {
                    is_close: false,
                    ..self.evidence(layer, left_out)
                };
                if !search::is_worth_a_search(&at_first, self.ground, &look) {
                    continue;
                }
                surveyed = evidence.rows.is_up_to_date().then_some(look);
            }
            let most = self.config.max_causes;
            let found = search::search(&evidence, self.ground, surveyed, given, most);
            for found in found {
                let standing = found.standing;
                // What is left on a path of a cause that is over is over as well.
                let is_left = found.shape.is_path()
                    && !found.is_total
                    && over.iter().any(|cause| {
                        cause.layer == layer.layer
                            && is_inside(found.shape, cause.shape, self.ground)
                    });
                let cause = self.cause(layer, &evidence, found);
                // What one layer refutes, no other one, which knows less, brings back.
                match standing {
                    Standing::Found if is_left => over.push(cause),
                    Standing::Over => over.push(cause),
                    Standing::Found | Standing::Given => causes.push(cause),
                }
            }
        }
        causes
    }

    fn cause(&self, layer: &LayerPicture, evidence: &LossOf<'_>, found: Found) -> Cause {
        let is_total = found.is_total && is_total(evidence, found.shape);
        let mut cause = Cause {
            layer: layer.layer,
            shape: found.shape,
            what: What::Loss,
            ratio: found.ratio,
            is_total,
            age: age(found.spells),
            sum: found.sum,
            alternatives: found.alternatives,
            declaration: None,
            words: Vec::new(),
        };
        self.ask(&mut cause);
        let flows = FlowCount::of(layer, self.ground, cause.shape);
        if !is_total && flows.is_cause(cause.of_round_trips()) {
            cause.what = What::Flows(flows);
        }
        cause
    }

    /// Causes that take some flows and spare others.
    fn by_flow(&self, looks: &[Look<'_>]) -> Vec<Cause> {
        let mut causes = Vec::new();
        for (node, found) in new_flows::nodes(self.layers, looks, self.ground) {
            let tcp = |layer: &&&LayerPicture| layer.layer.kind == ProbeKind::Tcp;
            let Some(layer) = self.layers.iter().find(tcp) else {
                continue;
            };
            if found.is_sure() || found.is_open() {
                causes.push(self.flow_cause(layer, Shape::Node(node), What::NewFlows(found), 1.0));
            }
        }
        for layer in self.layers.iter().filter(|l| is_one_way(l.layer.kind)) {
            for (shape, count) in flows::places(layer, self.ground, self.config) {
                let is_known = causes
                    .iter()
                    .any(|known: &Cause| known.shape == shape || is_part_of(shape, known.shape));
                if is_known {
                    continue;
                }
                let shape = self.direction(layer, shape);
                let ratio = f64::from(count.failing) / f64::from(count.tested.max(1));
                causes.push(self.flow_cause(layer, shape, What::Flows(count), ratio));
            }
        }
        causes
    }

    fn flow_cause(&self, layer: &LayerPicture, shape: Shape, what: What, ratio: f64) -> Cause {
        let evidence = self.evidence(layer, &[]);
        Cause {
            layer: layer.layer,
            shape,
            what,
            ratio,
            is_total: false,
            age: age(spells(&evidence, shape)),
            sum: evidence.sum(shape),
            alternatives: Vec::new(),
            declaration: None,
            words: Vec::new(),
        }
    }

    /// Which of the two ways between two places it is, by the legs that lose packets.
    fn direction(&self, layer: &LayerPicture, shape: Shape) -> Shape {
        let (there, back) = match shape {
            Shape::Zones(x, y) => (Shape::ZonePair(x, y), Shape::ZonePair(y, x)),
            Shape::Pair(a, b) => (Shape::Path(a, b), Shape::Path(b, a)),
            Shape::Node(node) => (Shape::Ingress(node), Shape::Egress(node)),
            shape => return shape,
        };
        let evidence = self.evidence(layer, &[]);
        let lost = |shape| evidence.sum(shape).lost as f64;
        let (one, other) = (lost(there), lost(back));
        if other <= OTHER_WAY * (one + other) {
            there
        } else if one <= OTHER_WAY * (one + other) {
            back
        } else {
            shape
        }
    }

    /// What a cause that is known explains in a layer that is about to be searched.
    fn given(&self, cause: &Cause, layer: &LayerPicture) -> Option<Found> {
        if cause.layer == layer.layer {
            return Some(Found::given(cause.shape, cause.ratio));
        }
        let word = cause.words.iter().find(|(known, _)| *known == layer.layer);
        let (_, word) = word?;
        if *word == Word::Clean {
            return None;
        }
        let one_way = is_one_way(layer.layer.kind);
        let (shape, expected) = if one_way {
            (cause.shape, cause.ratio)
        } else {
            (cause.shape.both_ways(), cause.of_round_trips())
        };
        let measured = self.evidence(layer, &[]).sum(shape).ratio();
        let ratio = if cause.is_total {
            1.0
        } else {
            measured.max(expected)
        };
        Some(Found::given(shape, ratio))
    }

    /// Fills in what every other layer says of a cause.
    fn ask(&self, cause: &mut Cause) {
        let own = self.layer_of(cause);
        let lasts = own.is_some_and(|own| across::is_lasting(&self.evidence(own, &[]), cause));
        let others = self
            .layers
            .iter()
            .filter(|layer| layer.layer != cause.layer);
        let words = others.map(|layer| {
            let evidence = self.evidence(layer, &[]);
            (layer.layer, across::word(&evidence, cause, lasts))
        });
        cause.words = words.collect();
    }

    /// Causes that the detector declared: that nothing gets through is its word, which way it is comes out of the counts.
    fn declared(&self) -> Vec<Cause> {
        let mut causes = Vec::new();
        for place in 0..self.ground.len() {
            let node = self
                .ground
                .picture
                .nodes
                .get(self.ground.node(place).index());
            let Some(declaration) = node.and_then(|node| node.declaration.as_ref()) else {
                continue;
            };
            let is_open = node.is_some_and(|node| matches!(node.state, NodeState::Failed(_)));
            if is_open {
                causes.extend(self.declared_cause(place as u32, declaration));
            }
        }
        causes
    }

    fn declared_cause(&self, node: u32, declaration: &Arc<Declaration>) -> Option<Cause> {
        let declared = match declaration.pattern {
            Pattern::Isolated => Shape::Node(node),
            Pattern::IngressDead => Shape::Ingress(node),
            Pattern::EgressDead => Shape::Egress(node),
            _ => return None,
        };
        let plane = declaration.plane.unwrap_or(Plane::Pod);
        let mut vital = self
            .layers
            .iter()
            .filter(|layer| layer.layer.kind.is_vital());
        let layer = vital
            .clone()
            .find(|layer| layer.layer.plane == plane)
            .or_else(|| vital.next())?;
        let evidence = self.evidence(layer, &[]);
        let sum = |shape| evidence.sum(shape);
        let (to, from) = (sum(Shape::Ingress(node)), sum(Shape::Egress(node)));
        if to.dead + from.dead == 0 {
            // It is over, and the detector is about to say so.
            return None;
        }
        let is_dead = |sum: &Sum| 2 * sum.dead >= sum.legs && sum.dead > 0;
        let knows = is_one_way(layer.layer.kind) && to.ambiguous + from.ambiguous == 0;
        // While it heals, one way looks better than the other: a node that was cut off both ways is not renamed.
        let shape = if knows && is_dead(&to) && is_dead(&from) {
            Shape::Node(node)
        } else {
            declared
        };
        let longest = age(spells(&evidence, shape));
        let since = self.ground.picture.now.saturating_since(declaration.since);
        Some(Cause {
            layer: layer.layer,
            shape,
            what: What::Loss,
            ratio: 1.0,
            is_total: true,
            sum: sum(shape),
            alternatives: Vec::new(),
            declaration: Some(Arc::clone(declaration)),
            age: longest.max(since),
            words: Vec::new(),
        })
    }

    /// May it be told? Not before it is known that it is no matter of flows, not while the detector is about to say that the
    /// whole node is dark, and not while the probes of a rare kind have not all had their turn.
    pub(super) fn is_ripe(&self, cause: &Cause) -> bool {
        let Some(layer) = self.layer_of(cause) else {
            return true;
        };
        match cause.what {
            What::Loss => {}
            What::Flows(_) => {
                return !new_flows::takes_connections(self.layers, self.ground, cause.shape);
            }
            What::NewFlows(_) => return true,
        }
        if layer.interval > RARE && cause.age < layer.interval {
            return false;
        }
        if !is_one_way(layer.layer.kind) && self.has_healed(layer, cause) {
            return false;
        }
        if cause.is_total {
            // Until each path had its turn again, a fault that lets some packets through looks like one that lets none.
            let seen = layer.interval.min(RARE) + TOGETHER;
            let is_seen = cause.declaration.is_some() || cause.age >= seen;
            return is_seen && self.is_for_us(cause);
        }
        let flows = FlowCount::of(layer, self.ground, cause.shape);
        !flows.is_open(cause.of_round_trips())
    }

    /// Did UDP, which is sent more often, lose packets at the same place, and has it stopped? Then what a rarer kind remembers is
    /// over as well.
    fn has_healed(&self, layer: &LayerPicture, cause: &Cause) -> bool {
        // What was over before this began is another matter.
        let began = self.ground.picture.now - cause.age - layer.interval - TOGETHER;
        let same = |other: &&&LayerPicture| {
            is_one_way(other.layer.kind) && other.layer.family == layer.layer.family
        };
        let mut udp = self.layers.iter().filter(same);
        udp.any(|udp| {
            // As long as it takes until every path of the rarer kind had its turn, and its fast window is over.
            let rounds = (2 * layer.interval + HEALING).as_secs_f64() / udp.interval.as_secs_f64();
            let (mut lately, mut all) = (0u32, 0u32);
            across::each_touched(udp, self.ground, cause.shape, |_, _, cell| {
                let since = f64::from(cell.consecutive_replies);
                // Few replies in a row are those of a path that lost something, or of one that is young.
                let is_late = |at: Mark| !cause.is_total || at.moment() >= began;
                let has_lost = cell.consecutive_losses == 0 && cell.lost_at.is_some_and(is_late);
                lately += u32::from(has_lost && since < rounds.min(250.0));
                all += 1;
            });
            LATELY * lately >= all && all > 0
        })
    }

    /// Is it ours to say? That a whole node does not answer, and does not say so itself, is the detector's to judge: it may be
    /// dark.
    fn is_for_us(&self, cause: &Cause) -> bool {
        let (Some(node), true, None) = (cause.shape.node(), cause.is_total, &cause.declaration)
        else {
            return true;
        };
        let Some(layer) = self.layer_of(cause) else {
            return true;
        };
        let (mut own, mut others) = (0u32, 0u32);
        across::each_touched(layer, self.ground, cause.shape, |from, _, cell| {
            let dead = u32::from(dead_row(cell) > 0);
            if from == node as usize {
                own += dead;
            } else {
                others += dead;
            }
        });
        own > 0 || others == 0
    }
}

/// Has nothing got through since it began? Rows of losses that began together say so; of a fault that lets something through
/// now and then, they begin at any time.
fn is_total(evidence: &LossOf<'_>, shape: Shape) -> bool {
    let mut rows = Vec::new();
    evidence.visit_in(shape, |_, _, leg| {
        if leg.lost > 0 {
            rows.push((leg.dead > 0).then_some(leg.dead_for));
        }
    });
    let longest = rows.iter().flatten().max().copied().unwrap_or(0);
    let apart = evidence.layer.interval + TOGETHER;
    let alike = rows
        .iter()
        .flatten()
        .filter(|row| Duration::from_secs((longest - **row).into()) <= apart);
    alike.count() as f32 >= MOSTLY * rows.len() as f32
}

/// Is a place inside of another one?
fn is_part_of(shape: Shape, other: Shape) -> bool {
    match (shape, other) {
        (Shape::Pair(a, b) | Shape::Path(a, b), Shape::Node(node)) => a == node || b == node,
        _ => false,
    }
}

/// Does a shape of many legs cover a path, one way at least?
fn is_inside(path: Shape, shape: Shape, ground: &Ground<'_>) -> bool {
    match path {
        Shape::Pair(a, b) | Shape::Path(a, b) => shape.touches(ground, a as usize, b as usize),
        _ => false,
    }
}

/// How long a dead place has been dead.
fn age(spells: Spells) -> Duration {
    Duration::from_secs(spells.dead_for.into())
}

fn spells(evidence: &impl Evidence, shape: Shape) -> Spells {
    let mut spells = Spells::NONE;
    evidence.visit_in(shape, |_, _, leg| spells.add(leg.into()));
    spells
}
