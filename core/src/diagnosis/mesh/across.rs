//! What the other layers say of a cause that one layer shows.

use std::time::Duration;

use super::cause::{Cause, Word};
use super::ground::Ground;
use super::loss::is_told;
use super::shape::Shape;
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

/// What `layer` says of a cause that another layer shows.
pub(super) fn word(layer: &LayerPicture, ground: &Ground<'_>, cause: &Cause, healthy: f64) -> Word {
    if cause.is_total {
        word_of_outage(layer, ground, cause.shape, cause.age)
    } else {
        word_of_loss(layer, ground, cause, healthy)
    }
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

fn word_of_loss(layer: &LayerPicture, ground: &Ground<'_>, cause: &Cause, healthy: f64) -> Word {
    let (shape, ratio) = (cause.shape, cause.ratio);
    // Answers to probes from before the loss say nothing of it.
    let turns = cause.age.saturating_sub(TO_BE_TOLD).as_secs_f64() / layer.interval.as_secs_f64();
    let is_heavy = ratio >= HEAVY && !cause.age.is_zero();
    let most = if is_heavy { turns } else { f64::INFINITY };
    // How much likelier "clean" is than "it loses as much as the other layer says".
    let mut odds = 0.0;
    let mut sent = 0.0;
    each_touched(layer, ground, shape, |from, to, cell| {
        let both = shape.covers(ground, from, to) && shape.covers(ground, to, from);
        let round_trip = if both {
            1.0 - (1.0 - ratio).powi(2)
        } else {
            ratio
        };
        let lossy = (CONNECTIONS_LOSE * round_trip).clamp(2.0 * healthy, 0.999);
        let (n, l) = (f64::from(cell.long_sent), f64::from(cell.long_lost));
        let answered = (n - l).min(most);
        odds += l * (healthy / lossy).ln() + answered * ((1.0 - healthy) / (1.0 - lossy)).ln();
        sent += n;
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
            for from in all {
                let row = layer.rows.get(ground.node(from).index());
                let Some(Some(row)) = row else { continue };
                for (column, cell) in row.iter() {
                    let Some(to) = ground.place(column) else {
                        continue;
                    };
                    // Most cells of such a row are not even read.
                    if shape.touches(ground, from, to) && from != to && is_told(cell) {
                        take(from, to, cell);
                    }
                }
            }
        }
    }
}
