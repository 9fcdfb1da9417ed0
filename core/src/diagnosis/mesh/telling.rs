//! From a cause to the finding that people read.

use super::cause::{Cause, What};
use super::localiser::Localiser;
use super::loss::is_one_way;
use super::measure::{self, Paths, estimate};
use super::naming::{self, Extent};
use super::sentence;
use super::shape::Shape;
use super::tally::Evidence;
use crate::finding::{Alternative, Confidence, Estimate, Finding, Pattern, Scope};

/// What is said of a cause.
pub(super) fn finding(
    localiser: &Localiser<'_>,
    cause: &Cause,
    extent: Extent,
    pattern: Pattern,
    scope: Scope,
) -> Finding {
    let ground = localiser.ground;
    let layer = localiser.layer_of(cause);
    let paths = layer.map(|layer| Paths::of(layer, ground, cause.shape, cause.is_total));
    let paths = paths.unwrap_or_default();
    let sum = layer.map(|layer| localiser.evidence(layer, &[]).sum(cause.shape));
    let is_share = matches!(cause.what, What::Loss) && !cause.is_total;
    let sum_of_share = sum.as_ref().filter(|_| is_share);
    let counted = sum_of_share.map(|sum| measure::counted(sum, &paths));
    let loss = match cause.what {
        What::Loss => {
            let shares = sum.as_ref().map(estimate);
            let shares = shares.unwrap_or_else(|| (Estimate::of(0, 0), Estimate::of(0, 0)));
            let picture = ground.picture;
            counted.map_or(shares.0, |counted| {
                let known = &picture.known;
                known.share((pattern, &scope), counted, shares, picture.now)
            })
        }
        What::Flows(count) => Estimate::of(count.failing.into(), count.tested.into()),
        What::NewFlows(found) => Estimate::of(found.failing.into(), found.judged.into()),
    };
    let summary = sentence::summary(cause, extent, &loss, ground);
    let mut finding = Finding::new(pattern, scope, summary);
    finding.plane = match extent {
        Extent::Plane(plane) => Some(plane),
        _ => None,
    };
    finding.since = match (&cause.declaration, cause.is_total) {
        (Some(declaration), _) => Some(declaration.since),
        (None, true) => Some(ground.picture.now - cause.age),
        (None, false) => None,
    };
    finding.evidence = sentence::evidence(cause, &loss, &paths);
    let working = paths.working.iter();
    finding.counter_examples = working
        .map(|path| format!("{path} works ({})", cause.layer))
        .collect();
    finding.failing = paths.failing;
    finding.judged = paths.judged;
    finding.paths = paths.named;
    finding.alternatives = alternatives(localiser, cause, extent);
    finding.confidence = confidence(cause, &finding);
    finding.loss = Some(loss);
    finding.counted = counted;
    finding
}

/// What the same counts allow as well.
fn alternatives(localiser: &Localiser<'_>, cause: &Cause, extent: Extent) -> Vec<Alternative> {
    let mut shapes = cause.alternatives.clone();
    let is_unclear = cause.sum.ambiguous > 0 && 2 * cause.sum.ambiguous >= cause.sum.lossy;
    if let (true, Shape::Node(node)) = (is_unclear, cause.shape) {
        shapes.extend([Shape::Ingress(node), Shape::Egress(node)]);
    }
    let alternatives = shapes.into_iter().map(|shape| Alternative {
        pattern: naming::pattern(shape, extent, cause.is_total),
        scope: naming::scope(shape, extent, localiser.ground),
    });
    alternatives.collect()
}

fn confidence(cause: &Cause, finding: &Finding) -> Confidence {
    if let What::NewFlows(found) = cause.what {
        return if found.is_full {
            Confidence::Certain
        } else {
            Confidence::Suspected
        };
    }
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
