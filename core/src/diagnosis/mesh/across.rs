//! What the other layers say of a cause that one layer shows.

use std::time::Duration;

use super::cause::{Cause, Word};
use super::ground::Ground;
use super::loss::is_told;
use super::shape::{Shape, ZoneWays};
use crate::diagnosis::{CellPicture, LayerPicture};

/// Losses in a row that say that a path fails now: its probe and what confirms it.
const FAILS_AFTER: u8 = 3;
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

/// What `layer` says of a cause that another layer shows, which lasts ([`is_lasting`]) or may have begun just now.
pub(super) fn word(
    layer: &LayerPicture,
    ground: &Ground<'_>,
    cause: &Cause,
    lasts: bool,
    healthy: f64,
) -> Word {
    if cause.is_total {
        return word_of_outage(layer, ground, cause.shape, cause.age);
    }
    if cause.ratio >= HEAVY && lasts {
        return word_of_loss(layer, ground, cause, &slot_counts, healthy);
    }
    if cause.ratio < HEAVY || cause.age.is_zero() {
        return word_of_loss(layer, ground, cause, &long_counts, healthy);
    }
    // Answers to probes from before the loss say nothing of it, and losses from before the newest answers neither.
    let turns = cause.age.saturating_sub(TO_BE_TOLD).as_secs_f64() / layer.interval.as_secs_f64();
    let young = |cell: &CellPicture| {
        let answered = f64::from(cell.consecutive_replies).min(turns);
        (answered, f64::from(cell.consecutive_losses))
    };
    match word_of_loss(layer, ground, cause, &young, healthy) {
        // Many paths have their turns in the next seconds.
        Word::Unknown if layer.interval <= LONGEST_WAIT && !cause.shape.is_path() => Word::Pending,
        word => word,
    }
}

/// Does a cause, as its own layer shows it, last for longer than the newest slot of the fast window?
pub(super) fn is_lasting(layer: &LayerPicture, ground: &Ground<'_>, cause: &Cause) -> bool {
    let (mut sent, mut lost) = (0u32, 0u32);
    each_touched(layer, ground, cause.shape, |_, _, cell| {
        let ([_, sent_before], [_, lost_before]) = (cell.slot_sent, cell.slot_lost);
        sent += u32::from(sent_before);
        lost += u32::from(lost_before);
    });
    let predicted = f64::from(sent) * cause.of_round_trips();
    lost > 0 && f64::from(lost) >= WHOLE_SLOT * predicted
}

/// Answers and losses of a path over a minute or two.
fn long_counts(cell: &CellPicture) -> (f64, f64) {
    let lost = f64::from(cell.long_lost);
    (f64::from(cell.long_sent) - lost, lost)
}

/// The same since the middle of the slot before the newest.
fn slot_counts(cell: &CellPicture) -> (f64, f64) {
    let of =
        |[newest, before]: [u16; 2]| f64::from(newest) + OF_THE_SLOT_BEFORE * f64::from(before);
    let lost = of(cell.slot_lost);
    (of(cell.slot_sent) - lost, lost)
}

fn word_of_outage(layer: &LayerPicture, ground: &Ground<'_>, shape: Shape, age: Duration) -> Word {
    let (mut failing, mut fine) = (0u32, 0u32);
    let mut undecided = 0u32;
    each_touched(layer, ground, shape, |_, _, cell| {
        match cell.consecutive_losses {
            0 => fine += 1,
            row if row >= FAILS_AFTER => failing += 1,
            _ => undecided += 1,
        }
    });
    let judged = failing + fine + undecided;
    if judged == 0 {
        return Word::Unknown;
    }
    if 2 * failing >= judged {
        return Word::Affected;
    }
    if layer.interval > LONGEST_WAIT {
        return Word::Unknown;
    }
    if age < layer.interval + TO_BE_TOLD || undecided > 0 {
        return Word::Pending;
    }
    if 5 * failing <= judged {
        Word::Clean
    } else {
        Word::Unknown
    }
}

fn word_of_loss(
    layer: &LayerPicture,
    ground: &Ground<'_>,
    cause: &Cause,
    counts: &dyn Fn(&CellPicture) -> (f64, f64),
    healthy: f64,
) -> Word {
    let lossy = (CONNECTIONS_LOSE * cause.of_round_trips()).clamp(2.0 * healthy, 0.999);
    // How much likelier "clean" is than "it loses as much as the other layer says", by each loss and each answer.
    let (by_loss, by_answer) = (
        (healthy / lossy).ln(),
        ((1.0 - healthy) / (1.0 - lossy)).ln(),
    );
    let (mut odds, mut sent) = (0.0, 0.0);
    each_touched(layer, ground, cause.shape, |_, _, cell| {
        let (answered, lost) = counts(cell);
        odds += lost * by_loss + answered * by_answer;
        sent += f64::from(cell.long_sent);
    });
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
