//! What the other layers say of a cause that one layer shows.

use std::time::Duration;

use super::cause::{Cause, Word};
use super::cell_sums::CellSum;
use super::ground::Ground;
use super::loss::{LossOf, is_told};
use super::shape::{Shape, ZoneWays};
use crate::diagnosis::{CellPicture, LayerPicture};

/// Layers that are probed more rarely are not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// From a probe's turn to its result in the matrix.
const TO_BE_TOLD: Duration = Duration::from_millis(1_500);
/// ln of how much likelier one of two explanations must be: e³ is twenty times.
const DECIDED: f64 = 3.0;
/// Of the loss that UDP shows, at least this share befalls connections, which try again.
const CONNECTIONS_LOSE: f64 = 0.7;

/// A share from which on most of a place's paths have losses in a row, which tell how long it lasts at least.
const HEAVY: f64 = 0.5;
/// A loss lasts if it took so much of what its share predicts from the whole slot before the newest. Lossy paths are probed
/// five times as often, so it took two thirds of that slot's time.
const WHOLE_SLOT: f64 = 0.9;
/// At least so much of that slot was after it began.
const OF_THE_SLOT_BEFORE: f64 = 0.5;

/// What a layer, of which this is the evidence, says of a cause that another layer shows, which lasts ([`is_lasting`]) or may have
/// begun just now.
pub(super) fn word(evidence: &LossOf<'_>, cause: &Cause, lasts: bool) -> Word {
    if cause.is_total {
        return word_of_outage(evidence, cause);
    }
    if cause.ratio < HEAVY || lasts || cause.age.is_zero() {
        let cells = CellSum::of(evidence, cause.shape);
        let counts = if cause.ratio >= HEAVY && lasts {
            slot_counts(&cells)
        } else {
            long_counts(&cells)
        };
        return word_of_loss(evidence, cause, counts, cells.long_sent);
    }
    // Answers to probes from before the loss say nothing of it, and losses from before the newest answers neither.
    let interval = evidence.layer.interval;
    let turns = cause.age.saturating_sub(TO_BE_TOLD).as_secs_f64() / interval.as_secs_f64();
    let (mut answered, mut lost, mut sent) = (0.0, 0.0, 0.0);
    each_touched(
        evidence.layer,
        evidence.ground,
        cause.shape,
        |_, _, cell| {
            answered += f64::from(cell.consecutive_replies).min(turns);
            lost += f64::from(cell.consecutive_losses);
            sent += f64::from(cell.long_sent);
        },
    );
    match word_of_loss(evidence, cause, (answered, lost), sent) {
        // Many paths have their turns in the next seconds.
        Word::Unknown if interval <= LONGEST_WAIT && !cause.shape.is_path() => Word::Pending,
        word => word,
    }
}

/// Does a cause, as its own layer shows it, last for longer than the newest slot of the fast window?
pub(super) fn is_lasting(evidence: &LossOf<'_>, cause: &Cause) -> bool {
    let cells = CellSum::of(evidence, cause.shape);
    let ([_, sent_before], [_, lost_before]) = (cells.slot_sent, cells.slot_lost);
    let predicted = sent_before as f64 * cause.of_round_trips();
    lost_before > 0 && lost_before as f64 >= WHOLE_SLOT * predicted
}

/// Answers and losses over a minute or two.
fn long_counts(cells: &CellSum) -> (f64, f64) {
    (cells.long_sent - cells.long_lost, cells.long_lost)
}

/// The same since the middle of the slot before the newest.
fn slot_counts(cells: &CellSum) -> (f64, f64) {
    let of = |[newest, before]: [u64; 2]| newest as f64 + OF_THE_SLOT_BEFORE * before as f64;
    let lost = of(cells.slot_lost);
    (of(cells.slot_sent) - lost, lost)
}

fn word_of_outage(evidence: &LossOf<'_>, cause: &Cause) -> Word {
    let cells = CellSum::of(evidence, cause.shape);
    let interval = evidence.layer.interval;
    if cells.paths == 0 {
        return Word::Unknown;
    }
    if 2 * cells.failing >= cells.paths {
        return Word::Affected;
    }
    if interval > LONGEST_WAIT {
        return Word::Unknown;
    }
    if cause.age < interval + TO_BE_TOLD || cells.lossy > cells.failing {
        return Word::Pending;
    }
    if 5 * cells.failing <= cells.paths {
        Word::Clean
    } else {
        Word::Unknown
    }
}

/// `sent`: probes over a minute or two; without any the other counts say nothing.
fn word_of_loss(
    evidence: &LossOf<'_>,
    cause: &Cause,
    (answered, lost): (f64, f64),
    sent: f64,
) -> Word {
    let healthy = evidence.healthy;
    let lossy = (CONNECTIONS_LOSE * cause.of_round_trips()).clamp(2.0 * healthy, 0.999);
    // How much likelier "clean" is than "it loses as much as the other layer says", by each loss and each answer.
    let (by_loss, by_answer) = (
        (healthy / lossy).ln(),
        ((1.0 - healthy) / (1.0 - lossy)).ln(),
    );
    let odds = lost * by_loss + answered * by_answer;
    if sent <= 0.0 || odds.abs() < DECIDED {
        Word::Unknown
    } else if odds > 0.0 {
        Word::Clean
    } else {
        Word::Affected
    }
}

/// Every judged path of a layer of which a leg is in the shape.
pub(super) fn each_touched(
    layer: &LayerPicture,
    ground: &Ground<'_>,
    shape: Shape,
    mut take: impl FnMut(usize, usize, &CellPicture),
) {
    let mut look = |from: usize, to: usize| {
        let row = layer.rows.get(ground.node(from).index());
        let Some(Some(row)) = row else { return };
        let cell = row.cell(ground.node(to).index());
        if from != to && is_told(cell) {
            take(from, to, cell);
        }
    };
    let all = 0..ground.len();
    match shape {
        Shape::Path(a, b) | Shape::Pair(a, b) => {
            look(a as usize, b as usize);
            look(b as usize, a as usize);
        }
        Shape::Node(node) | Shape::Ingress(node) | Shape::Egress(node) => {
            for other in all {
                look(node as usize, other);
                look(other, node as usize);
            }
        }
        Shape::Everywhere | Shape::Zone(_) | Shape::Zones(..) | Shape::ZonePair(..) => {
            let ways = ZoneWays::covered(shape, ground);
            for from in all {
                let row = layer.rows.get(ground.node(from).index());
                let (zone, Some(Some(row))) = (ground.zone(from), row) else {
                    continue;
                };
                if !ways.touches(zone) {
                    continue;
                }
                for (column, cell) in row.iter() {
                    let Some(to) = ground.place(column) else {
                        continue;
                    };
                    let is_touched = ways.between(zone, ground.zone(to)) != (false, false);
                    // Most cells of such a row are not even read.
                    if is_touched && from != to && is_told(cell) {
                        take(from, to, cell);
                    }
                }
            }
        }
    }
}
