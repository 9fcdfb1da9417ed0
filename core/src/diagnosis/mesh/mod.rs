//! Causes on the ways between nodes.
//!
//! Each layer is searched by itself (`search`), the one that knows the two ways apart first. Then every other layer is asked
//! what it says of each cause (`across`): what only the pod network shows is the overlay's, what only one kind shows is a
//! firewall's, what only one family shows is that family's. What is not known yet, because the other layers' probes have
//! not had their turn, is not told yet; it explains its paths all the same.
//!
//! | file | what is in it |
//! |---|---|
//! | `ground` | who is judged |
//! | `shape` | the shapes of causes, and what they cover |
//! | `tally`, `loss` | counts of legs, and how a layer's paths become legs |
//! | `search` | the fewest shapes that explain the counts |
//! | `across`, `cause` | what every layer says of a cause |
//! | `naming`, `sentence`, `measure` | its name, its sentences, its numbers |
//! | `explained` | what the stages after this one have to know |

mod across;
mod cause;
mod explained;
mod ground;
mod loss;
mod measure;
mod naming;
mod search;
mod sentence;
mod shape;
mod tally;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub use explained::{Explained, ExplainedCause};

use self::cause::{Cause, Word};
use self::ground::Ground;
use self::loss::{LossOf, is_one_way};
use self::measure::{Paths, estimate, sum_of};
use self::search::{Found, Standing};
use self::shape::Shape;
use self::tally::Evidence;
use super::{Columns, DiagnosisConfig, LayerPicture, Picture};
use crate::dark::{Declaration, NodeState};
use crate::finding::{Alternative, Confidence, Finding, Pattern, Scope};
use crate::path::{Layer, Plane, ProbeKind};

/// A first loss is followed by as many that take no time: four packets by UDP, three by the other kinds.
const BURST: u8 = 5;
/// Rows of losses that began together are at least this share of the longest one.
const SAME_ROW: f32 = 0.8;
/// So many of the rows have to be alike.
const MOSTLY: f32 = 0.9;

/// Causes between nodes, and what they explain.
pub(super) fn findings(picture: &Picture, config: &DiagnosisConfig) -> (Vec<Finding>, Explained) {
    let ground = Ground::of(picture);
    let mut explained = Explained::of(&ground);
    if ground.len() < 2 {
        return (Vec::new(), explained);
    }
    let layers = layers(picture);
    let left_out = BTreeSet::new();
    let search = Localiser {
        ground: &ground,
        layers: &layers,
        config,
        left_out: &left_out,
    };
    let mut findings = Vec::new();
    for cause in search.causes() {
        let is_known = search.is_for_us(&cause);
        let extent = naming::extent(&cause);
        let shown = extent.unwrap_or(naming::Extent::All);
        let pattern = naming::pattern(cause.shape, shown, cause.is_total);
        let scope = naming::scope(cause.shape, shown, &ground);
        explained.add(&cause, shown, pattern, scope.clone());
        if let (Some(extent), true) = (extent, is_known) {
            findings.push(search.finding(&cause, extent, pattern, scope));
        }
    }
    (findings, explained)
}

/// The layers between nodes whose loss tells where a fault is, in the order in which they are searched: those that know the
/// two ways apart first.
fn layers(picture: &Picture) -> Vec<&LayerPicture> {
    let is_ours = |layer: &&LayerPicture| {
        matches!(layer.columns, Columns::Nodes)
            && matches!(
                layer.layer.kind,
                ProbeKind::Udp | ProbeKind::Tcp | ProbeKind::Quic | ProbeKind::Icmp
            )
    };
    let mut layers: Vec<&LayerPicture> = picture.layers.iter().filter(is_ours).collect();
    let rank = |kind: ProbeKind| match kind {
        ProbeKind::Udp => 0,
        ProbeKind::Tcp => 1,
        ProbeKind::Icmp => 2,
        _ => 3,
    };
    layers.sort_by_key(|layer| {
        let Layer {
            kind,
            plane,
            family,
        } = layer.layer;
        (rank(kind), plane, family)
    });
    layers
}

struct Localiser<'a> {
    ground: &'a Ground<'a>,
    layers: &'a [&'a LayerPicture],
    config: &'a DiagnosisConfig,
    left_out: &'a BTreeSet<(u32, u32)>,
}

impl Localiser<'_> {
    fn evidence<'b>(&'b self, layer: &'b LayerPicture) -> LossOf<'b> {
        LossOf {
            layer,
            ground: self.ground,
            healthy: self.config.healthy_loss,
            left_out: self.left_out,
        }
    }

    /// Every cause, with every layer's word on it.
    fn causes(&self) -> Vec<Cause> {
        let mut causes = self.declared();
        for cause in &mut causes {
            self.ask(cause);
        }
        let mut over: Vec<Cause> = Vec::new();
        for layer in self.layers {
            let evidence = self.evidence(layer);
            let known = causes.iter().chain(&over);
            let given = known.filter_map(|cause| self.given(cause, layer));
            let found = search::search(
                &evidence,
                self.ground,
                given.collect(),
                self.config.max_causes,
            );
            for found in found {
                let mut cause = Cause {
                    layer: layer.layer,
                    shape: found.shape,
                    ratio: found.ratio,
                    is_total: found.is_total && self.is_total(&evidence, found.shape),
                    age: age(layer, found.sum.longest),
                    sum: found.sum,
                    alternatives: found.alternatives,
                    declaration: None,
                    words: Vec::new(),
                };
                self.ask(&mut cause);
                // What one layer refutes, no other one, which knows less, brings back.
                match found.standing {
                    Standing::Over => over.push(cause),
                    Standing::Found | Standing::Given => causes.push(cause),
                }
            }
        }
        causes
    }

    /// What a cause that is known explains in a layer that is about to be searched.
    fn given(&self, cause: &Cause, layer: &LayerPicture) -> Option<Found> {
        if cause.layer == layer.layer {
            return cause
                .declaration
                .is_some()
                .then(|| Found::given(cause.shape, cause.ratio));
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
        let measured = sum_of(&self.evidence(layer), self.ground, shape).ratio();
        Some(Found::given(shape, measured.max(expected)))
    }

    /// Has nothing got through since it began? Rows of losses of one length say so; of a fault that lets something through
    /// now and then, they are of any length.
    fn is_total(&self, evidence: &LossOf<'_>, shape: Shape) -> bool {
        let mut rows = Vec::new();
        evidence.visit(|from, to, leg| {
            if leg.lost > 0 && shape.covers(self.ground, from, to) {
                rows.push(leg.dead);
            }
        });
        let longest = rows.iter().copied().max().unwrap_or(0);
        let least = (f32::from(longest) * SAME_ROW) as u8;
        let alike = rows
            .iter()
            .filter(|row| row.saturating_add(2 * BURST) >= least);
        let alike = alike.filter(|row| **row > 0).count();
        alike as f32 >= MOSTLY * rows.len() as f32
    }

    /// Fills in what every other layer says of a cause.
    fn ask(&self, cause: &mut Cause) {
        let total_since = cause.is_total.then_some(cause.age);
        let others = self
            .layers
            .iter()
            .filter(|layer| layer.layer != cause.layer);
        let words = others.map(|layer| {
            let word = across::word(
                layer,
                self.ground,
                cause.shape,
                cause.ratio,
                total_since,
                self.config.healthy_loss,
            );
            (layer.layer, word)
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
        let evidence = self.evidence(layer);
        let sum = |shape| sum_of(&evidence, self.ground, shape);
        let (to, from) = (sum(Shape::Ingress(node)), sum(Shape::Egress(node)));
        if to.dead + from.dead == 0 {
            // It is over, and the detector is about to say so.
            return None;
        }
        let is_dead = |sum: &tally::Sum| 2 * sum.dead >= sum.legs && sum.dead > 0;
        let knows = is_one_way(layer.layer.kind) && to.ambiguous + from.ambiguous == 0;
        let shape = match (is_dead(&to), is_dead(&from)) {
            (true, true) if knows => Shape::Node(node),
            (true, false) if knows && 5 * from.dead < from.legs => Shape::Ingress(node),
            (false, true) if knows && 5 * to.dead < to.legs => Shape::Egress(node),
            _ => declared,
        };
        let sum = sum(shape);
        let longest = age(layer, sum.longest);
        let since = self.ground.picture.now.saturating_since(declaration.since);
        Some(Cause {
            layer: layer.layer,
            shape,
            ratio: 1.0,
            is_total: true,
            sum,
            alternatives: Vec::new(),
            declaration: Some(Arc::clone(declaration)),
            age: longest.max(since),
            words: Vec::new(),
        })
    }

    /// Is it ours to say? That a whole node does not answer, and does not say so itself, is the detector's to judge: it may be
    /// dark.
    fn is_for_us(&self, cause: &Cause) -> bool {
        let (Some(node), true, None) = (cause.shape.node(), cause.is_total, &cause.declaration)
        else {
            return true;
        };
        let Some(layer) = self.layers.iter().find(|l| l.layer == cause.layer) else {
            return true;
        };
        let (mut own, mut others) = (0u32, 0u32);
        across::each_touched(layer, self.ground, cause.shape, |from, _, cell| {
            let dead = u32::from(loss::dead_row(cell) > 0);
            if from == node as usize {
                own += dead;
            } else {
                others += dead;
            }
        });
        own > 0 || others == 0
    }

    fn finding(
        &self,
        cause: &Cause,
        extent: naming::Extent,
        pattern: Pattern,
        scope: Scope,
    ) -> Finding {
        let ground = self.ground;
        let layer = self.layers.iter().find(|layer| layer.layer == cause.layer);
        let (loss, paths) = match layer {
            Some(layer) => {
                let (loss, _) = estimate(&self.evidence(layer), ground, cause.shape);
                let paths = Paths::of(layer, ground, cause.shape, cause.is_total);
                (loss, paths)
            }
            None => (measure::share(0, 0), Paths::default()),
        };
        let mut finding = Finding::new(
            pattern,
            scope,
            sentence::summary(cause, extent, &loss, ground),
        );
        finding.plane = match extent {
            naming::Extent::Plane(plane) => Some(plane),
            _ => None,
        };
        finding.since = cause
            .is_total
            .then(|| ground.picture.now - cause.age)
            .or_else(|| cause.declaration.as_ref().map(|declared| declared.since));
        finding.evidence = sentence::evidence(cause, &loss, &paths);
        finding.counter_examples = paths
            .working
            .iter()
            .map(|path| format!("{path} works ({})", cause.layer))
            .collect();
        finding.failing = paths.failing;
        finding.judged = paths.judged;
        finding.paths = paths.named;
        finding.alternatives = self.alternatives(cause, extent);
        finding.confidence = confidence(cause, &finding);
        finding.loss = Some(loss);
        finding
    }

    fn alternatives(&self, cause: &Cause, extent: naming::Extent) -> Vec<Alternative> {
        let mut shapes = cause.alternatives.clone();
        if cause.sum.ambiguous > 0
            && 2 * cause.sum.ambiguous >= cause.sum.lossy
            && let Shape::Node(node) = cause.shape
        {
            shapes.extend([Shape::Ingress(node), Shape::Egress(node)]);
        }
        let alternatives = shapes.into_iter().map(|shape| Alternative {
            pattern: naming::pattern(shape, extent, cause.is_total),
            scope: naming::scope(shape, extent, self.ground),
        });
        alternatives.collect()
    }
}

fn confidence(cause: &Cause, finding: &Finding) -> Confidence {
    if !finding.alternatives.is_empty() || !finding.counter_examples.is_empty() {
        return Confidence::Suspected;
    }
    let is_measured = is_one_way(cause.layer.kind) && cause.sum.ambiguous == 0;
    if is_measured && finding.judged >= 4 {
        Confidence::Certain
    } else {
        Confidence::Likely
    }
}

/// How long a row of losses has lasted, at least.
fn age(layer: &LayerPicture, row: u8) -> Duration {
    let burst = if is_one_way(layer.layer.kind) {
        BURST
    } else {
        BURST - 1
    };
    layer.interval * u32::from(row.saturating_sub(burst))
}

#[cfg(test)]
mod tests;
