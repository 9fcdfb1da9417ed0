//! Round trips that take much longer than they used to.

use std::time::Duration;

use super::ground::Ground;
use super::leg::Sum;
use super::loss::is_told;
use super::marks::{Marks, each_path, layers_of};
use super::measure::Paths;
use super::naming::place;
use super::search::{Standing, search};
use super::sentence;
use super::shape::Shape;
use super::tally::Evidence;
use crate::diagnosis::{CellPicture, DiagnosisConfig, LayerPicture, Picture};
use crate::finding::{Confidence, Estimate, Finding, NamedPath, Pattern, Scope};
use crate::path::{Layer, Plane, ProbeKind};
use crate::rtt;
use crate::verdict::Verdict;

/// Share of paths that are slow by chance.
const SLOW_BY_CHANCE: f64 = 1e-3;
/// Of the paths of a cause so many are slow, at least.
const LEAST_RATIO: f64 = 0.6;

/// Slow nodes, zone pairs, paths, meshes, in the layers of which some path is slow.
pub(super) fn findings(
    picture: &Picture,
    ground: &Ground<'_>,
    slow: &[Layer],
    explained: &[Shape],
    config: &DiagnosisConfig,
) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for layer in layers_of(picture, ProbeKind::Udp).filter(|layer| slow.contains(&layer.layer)) {
        let marks = marks(layer, ground, explained);
        let found = search(&marks, ground, None, Vec::new(), config.max_causes);
        for found in found.iter().filter(|f| f.standing == Standing::Found) {
            let scope = Scope::of(place(found.shape.both_ways(), ground));
            let is_known = findings.iter().any(|known| known.scope == scope);
            if !is_known {
                findings.push(finding(
                    picture,
                    layer,
                    ground,
                    &marks.sum(found.shape),
                    found.shape,
                    scope,
                ));
            }
        }
    }
    findings
}

fn marks<'a>(layer: &LayerPicture, ground: &'a Ground<'a>, explained: &[Shape]) -> Marks<'a> {
    let mut marks = Marks::new(ground, SLOW_BY_CHANCE, LEAST_RATIO);
    each_path(layer, ground, |from, to, cell| {
        let is_broken = explained
            .iter()
            .any(|shape| shape.touches(ground, from, to));
        if is_told(cell) && cell.rtt.is_some() && !is_broken {
            marks.push(from, to, u8::from(is_slow(cell)));
        }
    });
    marks.sort();
    marks
}

/// Is the median of the newest window far above its baseline?
#[inline]
pub(super) fn is_slow(cell: &CellPicture) -> bool {
    match (cell.rtt, cell.rtt_baseline) {
        (Some(rtt), Some(normal)) => rtt::is_slow(rtt, normal) && is_told(cell),
        _ => cell.verdict == Verdict::Slow,
    }
}

fn finding(
    picture: &Picture,
    layer: &LayerPicture,
    ground: &Ground<'_>,
    sum: &Sum,
    shape: Shape,
    scope: Scope,
) -> Finding {
    let mut slow: Vec<(Duration, Duration)> = Vec::new();
    let mut paths = Paths::default();
    each_path(layer, ground, |from, to, cell| {
        if !shape.covers(ground, from, to) {
            return;
        }
        if !is_slow(cell) {
            return;
        }
        if let (Some(rtt), Some(normal)) = (cell.rtt, cell.rtt_baseline) {
            slow.push((rtt, normal));
        }
        if paths.named.len() < Finding::MAX_PATHS {
            paths.named.push(NamedPath {
                source: ground.name(from).to_string(),
                target: ground.name(to).to_string(),
                layer: layer.layer,
            });
        }
    });
    let (bad, all) = (sum.lossy, sum.legs);
    slow.sort_unstable();
    let times = slow.get(slow.len() / 2).map(|(rtt, _)| *rtt);
    slow.sort_unstable_by_key(|(_, normal)| *normal);
    let normal = slow.get(slow.len() / 2).map(|(_, normal)| *normal);
    let subject = format!(
        "Round trips {}",
        sentence::between(shape.both_ways(), ground)
    );
    let how = match (times, normal) {
        (Some(rtt), Some(normal)) => format!("take {}, {} is normal", time(rtt), time(normal)),
        _ => "take much longer than they used to".to_owned(),
    };
    let host_is_fast = layer.layer.plane == Plane::Pod && is_fast_on_host(picture, ground, shape);
    let clean = if host_is_fast {
        "; the host network is as fast as ever"
    } else {
        ""
    };
    let mut finding = Finding::new(Pattern::Slow, scope, format!("{subject} {how}{clean}"));
    finding.plane = host_is_fast.then_some(Plane::Pod);
    finding.loss = Some(Estimate::of(u64::from(bad), u64::from(all)));
    finding.confidence = if all >= 4 {
        Confidence::Certain
    } else {
        Confidence::Likely
    };
    finding.evidence = vec![
        format!("{bad} of {all} probed paths are slow ({})", layer.layer),
        "a path is slow whose median is three times its baseline and 1 ms above it".to_owned(),
    ];
    finding.failing = bad;
    finding.judged = all;
    finding.paths = paths.named;
    finding
}

/// Are the same paths as fast as ever on the host network?
fn is_fast_on_host(picture: &Picture, ground: &Ground<'_>, shape: Shape) -> bool {
    let (mut slow, mut all) = (0u32, 0u32);
    let hosts = [ProbeKind::Udp, ProbeKind::Tcp];
    let layers = hosts.into_iter().flat_map(|kind| layers_of(picture, kind));
    for layer in layers.filter(|layer| layer.layer.plane == Plane::Host) {
        each_path(layer, ground, |from, to, cell| {
            if shape.covers(ground, from, to) && is_told(cell) && cell.rtt.is_some() {
                slow += u32::from(is_slow(cell));
                all += 1;
            }
        });
    }
    all > 0 && 5 * slow <= all
}

/// "51 ms", "0.42 ms".
fn time(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1_000.0;
    if millis >= 10.0 {
        format!("{millis:.0} ms")
    } else {
        format!("{millis:.2} ms")
    }
}
