//! How much a cause takes, and which paths show it.

use super::across::each_touched;
use super::ground::Ground;
use super::leg::{Sum, UNIT};
use super::loss::dead_row;
use super::shape::Shape;
use crate::diagnosis::{CellPicture, LayerPicture};
use crate::finding::{Counted, Estimate, Finding, NamedPath};
use crate::outcome::OutcomeClass;
use crate::time::{Mark, Moment};

/// The paths that a cause touches, counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    pub(super) judged: u32,
    pub(super) failing: u32,
    /// Some of the failing ones.
    pub(super) named: Vec<NamedPath>,
    /// Some of those that work although they should not, as "a→b".
    pub(super) working: Vec<String>,
    /// How most failed probes ended, where they agree.
    pub(super) failure: Option<OutcomeClass>,
    /// End of the newest window in which one of them lost something.
    pub(super) lost_at: Option<Moment>,
}

/// Most counter-examples that are named.
const MOST_WORKING: usize = 4;

impl Paths {
    /// The paths of a layer that a shape touches.
    pub(super) fn of(
        layer: &LayerPicture,
        ground: &Ground<'_>,
        shape: Shape,
        is_total: bool,
    ) -> Self {
        let mut paths = Self::default();
        let mut failures: Vec<(OutcomeClass, u32)> = Vec::new();
        each_touched(layer, ground, shape, |from, to, cell| {
            paths.judged += 1;
            paths.lost_at = paths.lost_at.max(cell.lost_at.map(Mark::moment));
            if fails(cell, is_total) {
                paths.failing += 1;
                if let Some(class) = cell.failure {
                    match failures.iter_mut().find(|(known, _)| *known == class) {
                        Some((_, count)) => *count += 1,
                        None => failures.push((class, 1)),
                    }
                }
                if paths.named.len() < Finding::MAX_PATHS {
                    paths.named.push(NamedPath {
                        source: ground.name(from).to_string(),
                        target: ground.name(to).to_string(),
                        layer: layer.layer,
                    });
                }
            } else if is_total && paths.working.len() < MOST_WORKING {
                let (from, to) = (ground.name(from), ground.name(to));
                paths.working.push(format!("{from}→{to}"));
            }
        });
        failures.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let most = failures
            .first()
            .filter(|(_, count)| 2 * count > paths.failing);
        paths.failure = most.map(|(class, _)| *class);
        paths
    }
}

fn fails(cell: &CellPicture, is_total: bool) -> bool {
    if is_total {
        dead_row(cell) > 0 || cell.consecutive_losses > 2
    } else {
        cell.lost > 0 || cell.long_lost >= 1.0
    }
}

/// The share that a cause takes, with its interval: out of the long counts, unless the fast window says otherwise, as it
/// does when the loss is younger than they are; and the share by the fast window alone.
pub(super) fn estimate(sum: &Sum) -> (Estimate, Estimate) {
    let unit = u64::from(UNIT);
    let long = Estimate::of(sum.lost / unit, sum.sent / unit);
    let fast = Estimate::of(sum.fast_lost, sum.fast_sent);
    let agrees = long.ratio >= fast.lower && long.ratio <= fast.upper;
    let said = if agrees || sum.is_dead() || fast.lost == 0 {
        long
    } else {
        fast
    };
    (said, fast)
}

/// The long counts.
pub(super) fn counted(sum: &Sum, paths: &Paths) -> Counted {
    let unit = f64::from(UNIT);
    Counted {
        sent: sum.sent as f64 / unit,
        lost: sum.lost as f64 / unit,
        lost_at: paths.lost_at,
    }
}
